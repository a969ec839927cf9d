//! Elements of paths into an object, as `managedFields` writes them.

use std::fmt;

use serde_json::Value;

/// One step from a value to a value within.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// `f:NAME`: a field of an object or a key of a map.
    Field(String),
    /// `k:{"name":"a"}`: the item of a list with these keys. Compact JSON with sorted names, so that equal keys are equal text.
    Key(String),
    /// `v:"a"`: the item of a set with this value, as compact JSON.
    Value(String),
    /// `i:3`: the item at this place. Never written for new data, but read.
    Index(i64),
}

impl Element {
    /// The element that `managedFields` writes as `text`, or what is wrong with it.
    pub fn parse(text: &str) -> Result<Element, String> {
        let (kind, rest) = text
            .split_once(':')
            .ok_or_else(|| format!("path element {text:?} has no kind"))?;
        let json = || -> Result<Value, String> {
            serde_json::from_str(rest).map_err(|error| format!("path element {text:?}: {error}"))
        };
        match kind {
            "f" => Ok(Element::Field(rest.to_owned())),
            "k" => match json()? {
                keys @ Value::Object(_) => Ok(Element::Key(keys.to_string())),
                _ => Err(format!("path element {text:?} is not an object of keys")),
            },
            "v" => Ok(Element::Value(json()?.to_string())),
            "i" => rest
                .parse()
                .map(Element::Index)
                .map_err(|error| format!("path element {text:?}: {error}")),
            _ => Err(format!("path element {text:?} is of unknown kind {kind:?}")),
        }
    }

    /// How `managedFields` writes this element.
    pub fn encode(&self) -> String {
        match self {
            Element::Field(name) => format!("f:{name}"),
            Element::Key(keys) => format!("k:{keys}"),
            Element::Value(value) => format!("v:{value}"),
            Element::Index(index) => format!("i:{index}"),
        }
    }
}

/// How messages write paths: `.spec.containers[name="a"].image`.
impl fmt::Display for Element {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(formatter, ".{name}"),
            Element::Value(value) => write!(formatter, "[={value}]"),
            Element::Index(index) => write!(formatter, "[{index}]"),
            Element::Key(keys) => {
                let parsed: Value = serde_json::from_str(keys).unwrap_or_default();
                let pairs: Vec<String> = parsed
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                write!(formatter, "[{}]", pairs.join(","))
            }
        }
    }
}

/// A path from the object's root, as messages write it.
pub fn path_text(path: &[Element]) -> String {
    path.iter().map(Element::to_string).collect()
}

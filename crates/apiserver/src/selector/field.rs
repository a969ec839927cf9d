//! Field selectors.

use serde_json::Value;

use crate::jsonpath::JsonPath;
use crate::resource_type::ResourceType;
use crate::status::Status;

/// A parsed field selector, bound to the fields of one kind. The empty one matches everything.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

#[derive(Debug, Clone, PartialEq)]
struct FieldRequirement {
    field: String,
    path: JsonPath,
    missing: String,
    equal: bool,
    value: String,
}

impl FieldSelector {
    /// Parses `metadata.name=x,status.phase!=Running` for a kind. Error: 400, for a field that the kind does not select
    /// by, or a part that is no comparison.
    pub fn parse(text: &str, resource: &ResourceType) -> Result<FieldSelector, Status> {
        let mut requirements = Vec::new();
        for part in split_terms(text) {
            if part.is_empty() {
                continue;
            }
            let Some((field, equal, value)) = split_term(&part) else {
                return Err(Status::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                )));
            };
            let value = unescape(&value).ok_or_else(|| {
                Status::bad_request(format!(
                    "invalid field selector: unknown escape in '{part}'"
                ))
            })?;
            let (path, missing) = field_path(&field, resource)?;
            requirements.push(FieldRequirement {
                field,
                path,
                missing,
                equal,
                value,
            });
        }
        Ok(FieldSelector { requirements })
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether the object fulfils every requirement.
    pub fn matches(&self, object: &Value) -> bool {
        self.requirements.iter().all(|requirement| {
            let actual = match requirement.path.first(object) {
                None | Some(Value::Null) => requirement.missing.clone(),
                Some(Value::String(text)) if text.is_empty() => requirement.missing.clone(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            (actual == requirement.value) == requirement.equal
        })
    }

    /// The one value that the selector asks of a field (`metadata.name=x`).
    pub fn exact_value(&self, field: &str) -> Option<&str> {
        self.requirements
            .iter()
            .find(|requirement| requirement.equal && requirement.field == field)
            .map(|requirement| requirement.value.as_str())
    }

    /// The one name that the selector asks for.
    pub fn exact_name(&self) -> Option<&str> {
        self.exact_value("metadata.name")
    }
}

fn field_path(field: &str, resource: &ResourceType) -> Result<(JsonPath, String), Status> {
    let unknown = || {
        let plain = !resource.is_custom() && resource.selectable_fields.is_empty();
        Status::bad_request(match plain {
            true => format!(
                "\"{field}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
            ),
            false => format!("field label not supported: {field}"),
        })
    };
    let (path, missing) = match field {
        "metadata.name" | "metadata.namespace" => (format!(".{field}"), String::new()),
        _ => resource
            .selectable_fields
            .iter()
            .find(|candidate| candidate.name == field)
            .map(|found| (found.json_path.clone(), found.missing.clone()))
            .ok_or_else(unknown)?,
    };
    let path = JsonPath::parse(&path).map_err(Status::internal)?;
    Ok((path, missing))
}

/// Splits at commas that are not escaped.
fn split_terms(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for letter in text.chars() {
        if letter == ',' && !escaped {
            parts.push(String::new());
            continue;
        }
        if let Some(last) = parts.last_mut() {
            last.push(letter);
        }
        escaped = letter == '\\' && !escaped;
    }
    parts
}

/// Field, whether equality is asked, value as written.
fn split_term(term: &str) -> Option<(String, bool, String)> {
    for (at, _) in term.char_indices() {
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = term[at..].strip_prefix(operator) {
                return Some((term[..at].to_owned(), equal, value.to_owned()));
            }
        }
    }
    None
}

/// Undoes `\\`, `\,` and `\=`; `None` for any other escape.
fn unescape(value: &str) -> Option<String> {
    let mut plain = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next()? {
                escaped @ ('\\' | ',' | '=') => plain.push(escaped),
                _ => return None,
            },
            ',' | '=' => return None,
            other => plain.push(other),
        }
    }
    Some(plain)
}

//! Request bodies become JSON values. Duplicate keys are recorded on the way, because a parsed
//! value can no longer tell.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::protobuf;
use crate::status::Status;

/// The media types of bodies, as the error text lists them.
pub(crate) const BODY_TYPES: [&str; 3] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

/// What a body held.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decoded {
    /// The value; of duplicate keys the last.
    pub(crate) value: Value,
    /// Paths of keys that stood twice in one map, e.g. `data.a`.
    pub(crate) duplicates: Vec<String>,
}

/// Decodes a body by its `Content-Type`; without one it is JSON. Protobuf is accepted only for
/// built-in kinds, of which alone the field numbers are known.
///
/// # Errors
/// 415 for any other type; 400 when the bytes are not what the type says.
pub(crate) fn body(
    content_type: Option<&str>,
    bytes: &Bytes,
    protobuf_too: bool,
) -> Result<Decoded, Status> {
    let media_type = media_type(content_type.unwrap_or("application/json"));
    match media_type.as_str() {
        "application/json" | "" => json(bytes),
        "application/yaml" => yaml(bytes),
        "application/vnd.kubernetes.protobuf" if protobuf_too => protobuf::decode(bytes)
            .map(|found| Decoded {
                value: found.object,
                duplicates: Vec::new(),
            })
            .map_err(|why| Status::bad_request(format!("the protobuf body cannot be read: {why}"))),
        _ if protobuf_too => Err(Status::unsupported_media_type(&BODY_TYPES)),
        _ => Err(Status::unsupported_media_type(&BODY_TYPES[..2])),
    }
}

/// The media type alone: lower case, without parameters.
pub(crate) fn media_type(header: &str) -> String {
    header
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase()
}

/// Decodes JSON.
///
/// # Errors
/// 400 with the place of the fault.
pub(crate) fn json(bytes: &[u8]) -> Result<Decoded, Status> {
    let mut duplicates = Vec::new();
    let mut path = String::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Seed {
        path: &mut path,
        duplicates: &mut duplicates,
    }
    .deserialize(&mut deserializer)
    .and_then(|value| deserializer.end().map(|()| value))
    .map_err(|error| Status::bad_request(format!("the body is not valid JSON: {error}")))?;
    Ok(Decoded { value, duplicates })
}

/// Decodes YAML (of which JSON is a part).
///
/// # Errors
/// 400 with the place of the fault.
pub(crate) fn yaml(bytes: &[u8]) -> Result<Decoded, Status> {
    // A JSON body under a YAML type is what kubectl and kube send for server-side apply.
    if bytes.first() == Some(&b'{')
        && let Ok(decoded) = json(bytes)
    {
        return Ok(decoded);
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Status::bad_request(format!("the body is not UTF-8: {error}")))?;
    let value = serde_saphyr::from_str(text)
        .map_err(|error| Status::bad_request(format!("the body is not valid YAML: {error}")))?;
    Ok(Decoded {
        value,
        duplicates: Vec::new(),
    })
}

struct Seed<'a> {
    path: &'a mut String,
    duplicates: &'a mut Vec<String>,
}

impl Seed<'_> {
    /// Runs `step` with `segment` at the end of the path.
    fn at<T>(&mut self, segment: fmt::Arguments<'_>, step: impl FnOnce(Seed<'_>) -> T) -> T {
        use fmt::Write as _;
        let length = self.path.len();
        // Writing to a String cannot fail.
        let _ = self.path.write_fmt(segment);
        let result = step(Seed {
            path: self.path,
            duplicates: self.duplicates,
        });
        self.path.truncate(length);
        result
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let index = list.len();
            let item = self.at(format_args!("[{index}]"), |seed| {
                access.next_element_seed(seed)
            })?;
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let dot = if self.path.is_empty() { "" } else { "." };
            let twice = map.contains_key(&key);
            let value = self.at(format_args!("{dot}{key}"), |seed| {
                if twice && seed.duplicates.len() < MAXIMUM_DUPLICATES {
                    seed.duplicates.push(seed.path.clone());
                }
                access.next_value_seed(seed)
            })?;
            map.insert(key, value);
        }
        if map.len() > MAXIMUM_KEYS {
            return Err(A::Error::custom("a map has too many keys"));
        }
        Ok(Value::Object(map))
    }
}

/// More would not help anybody to find their error, and the warnings go into headers.
const MAXIMUM_DUPLICATES: usize = 100;
/// A body of 3 MiB has no room for more keys of four bytes; kept as a guard for other callers.
const MAXIMUM_KEYS: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn duplicate_keys_are_named_by_path() {
        let text = br#"{"data":{"a":"1","a":"2"},"list":[{"x":1},{"y":1,"y":2}]}"#;
        let decoded = json(text).expect("JSON");
        assert_eq!(
            decoded.value,
            json!({"data": {"a": "2"}, "list": [{"x": 1}, {"y": 2}]})
        );
        assert_eq!(decoded.duplicates, ["data.a", "list[1].y"]);
    }

    #[test]
    fn the_content_type_decides_and_unknown_ones_are_refused() {
        let text = Bytes::from_static(b"a: 1\n");
        let decoded = body(Some("application/yaml; charset=utf-8"), &text, true).expect("YAML");
        assert_eq!(decoded.value, json!({"a": 1}));
        assert_eq!(body(None, &text, true).expect_err("not JSON").code, 400);
        assert_eq!(
            body(Some("text/plain"), &text, true)
                .expect_err("no type of ours")
                .code,
            415
        );
        let custom = body(Some("application/vnd.kubernetes.protobuf"), &text, false);
        assert_eq!(
            custom.expect_err("protobuf is for built-in kinds").code,
            415
        );
    }

    #[test]
    fn bytes_after_the_value_are_an_error() {
        assert_eq!(json(b"{} x").expect_err("trailing").code, 400);
    }
}

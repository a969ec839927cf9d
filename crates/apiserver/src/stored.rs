//! The form in which objects are stored, and how it is served without parsing.
//!
//! Stored bytes are JSON without `resourceVersion` (the store's revision is it), and always begin
//! `{"kind":K,"apiVersion":V,"metadata":{`. So the version of the object can be put in by copying
//! three slices, and a list of ten thousand objects is served without parsing one.

use bytes::Bytes;
use serde_json::{Map, Value};
use store::Entry;

use crate::metadata;

const METADATA: &[u8] = b"\"metadata\":{";

/// An object's key: `/registry/<group or core>/<resource>/<namespace or ->/<name>`.
pub(crate) fn key(group: &str, resource: &str, namespace: Option<&str>, name: &str) -> String {
    format!(
        "{}{name}",
        prefix(group, resource, Some(namespace.unwrap_or("-")))
    )
}

/// The prefix of a resource's keys; with `namespace` of those in one namespace (`-` for
/// cluster-scoped kinds).
pub(crate) fn prefix(group: &str, resource: &str, namespace: Option<&str>) -> String {
    let group = if group.is_empty() { "core" } else { group };
    match namespace {
        Some(namespace) => format!("/registry/{group}/{resource}/{namespace}/"),
        None => format!("/registry/{group}/{resource}/"),
    }
}

/// The parts of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyParts<'a> {
    /// API group; empty for the core group.
    pub(crate) group: &'a str,
    /// Plural resource name.
    pub(crate) resource: &'a str,
    /// `None` for cluster-scoped kinds.
    pub(crate) namespace: Option<&'a str>,
    /// Object name.
    pub(crate) name: &'a str,
}

/// Reads a key back; `None` when it is no object's key.
pub(crate) fn parts(key: &str) -> Option<KeyParts<'_>> {
    let mut segments = key.strip_prefix("/registry/")?.splitn(4, '/');
    let group = segments.next()?;
    let resource = segments.next()?;
    let namespace = segments.next()?;
    let name = segments.next()?;
    Some(KeyParts {
        group: if group == "core" { "" } else { group },
        resource,
        namespace: (namespace != "-").then_some(namespace),
        name,
    })
}

/// The bytes to store for an object: without `resourceVersion`, kind and version first. The
/// object must be a map with a kind and an apiVersion.
pub(crate) fn encode(object: &Value) -> Bytes {
    let empty = Map::new();
    let map = object.as_object().unwrap_or(&empty);
    let metadata_map = map
        .get("metadata")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let mut out = Vec::with_capacity(1024);
    out.push(b'{');
    write_field(&mut out, "kind", map.get("kind").unwrap_or(&Value::Null));
    out.push(b',');
    write_field(
        &mut out,
        "apiVersion",
        map.get("apiVersion").unwrap_or(&Value::Null),
    );
    out.push(b',');
    out.extend_from_slice(METADATA);
    let mut first = true;
    for (key, value) in metadata_map {
        if key == "resourceVersion" || key == "selfLink" {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        write_field(&mut out, key, value);
    }
    out.push(b'}');
    for (key, value) in map {
        if !matches!(key.as_str(), "kind" | "apiVersion" | "metadata") {
            out.push(b',');
            write_field(&mut out, key, value);
        }
    }
    out.push(b'}');
    Bytes::from(out)
}

fn write_field(out: &mut Vec<u8>, key: &str, value: &Value) {
    let result = serde_json::to_writer(&mut *out, key).and_then(|()| {
        out.push(b':');
        serde_json::to_writer(&mut *out, value)
    });
    // A Value has only string keys and a Vec takes every byte.
    result.expect("a JSON value can be written into memory");
}

/// Appends the stored bytes to `out` with the resource version put in. `header` replaces kind and
/// apiVersion: `Some("")` leaves them out (items of typed lists), `None` keeps the stored ones.
pub(crate) fn splice(out: &mut Vec<u8>, bytes: &[u8], revision: u64, header: Option<&str>) {
    let Some(at) = find(bytes, METADATA) else {
        // Not written by `encode`; served as it is rather than lost.
        out.extend_from_slice(bytes);
        return;
    };
    match header {
        Some(header) => {
            out.push(b'{');
            out.extend_from_slice(header.as_bytes());
        }
        None => out.extend_from_slice(&bytes[..at]),
    }
    out.extend_from_slice(METADATA);
    out.extend_from_slice(format!("\"resourceVersion\":\"{revision}\"").as_bytes());
    let rest = &bytes[at + METADATA.len()..];
    if rest.first() != Some(&b'}') {
        out.push(b',');
    }
    out.extend_from_slice(rest);
}

/// The `"kind":…,"apiVersion":…,` that [`splice`] puts in front of an object.
pub(crate) fn header(kind: &str, api_version: &str) -> String {
    format!(
        "\"kind\":{},\"apiVersion\":{},",
        Value::from(kind),
        Value::from(api_version)
    )
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Parses stored bytes and sets the resource version.
///
/// # Errors
/// When the bytes are not JSON: the store was changed by somebody else.
pub(crate) fn decode(bytes: &[u8], revision: u64) -> Result<Value, serde_json::Error> {
    let mut value: Value = serde_json::from_slice(bytes)?;
    if value.is_object() {
        metadata::set(
            &mut value,
            "resourceVersion",
            Some(Value::from(revision.to_string())),
        );
    }
    Ok(value)
}

/// Parses a store entry and sets the resource version.
///
/// # Errors
/// As [`decode`].
pub(crate) fn decode_entry(entry: &Entry) -> Result<Value, serde_json::Error> {
    decode(&entry.value, entry.modified)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object() -> Value {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"metadata": "{"},
            "metadata": {"name": "a", "namespace": "n", "resourceVersion": "7", "uid": "u"},
        })
    }

    #[test]
    fn what_was_encoded_is_served_with_its_revision() {
        let bytes = encode(&object());
        assert!(!String::from_utf8_lossy(&bytes).contains("resourceVersion"));
        let mut out = Vec::new();
        splice(&mut out, &bytes, 12, None);
        let served: Value = serde_json::from_slice(&out).expect("JSON");
        let mut expected = object();
        expected["metadata"]["resourceVersion"] = json!("12");
        assert_eq!(served, expected);
        assert_eq!(decode(&bytes, 12).expect("JSON"), expected);
    }

    #[test]
    fn the_header_can_be_replaced_or_left_out() {
        let bytes = encode(&object());
        let mut out = Vec::new();
        splice(&mut out, &bytes, 1, Some(&header("ConfigMap", "x/v2")));
        let served: Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(served["apiVersion"], "x/v2");
        out.clear();
        splice(&mut out, &bytes, 1, Some(""));
        let served: Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(served.get("kind"), None);
        assert_eq!(served["metadata"]["name"], "a");
    }

    #[test]
    fn keys_can_be_read_back() {
        for (group, namespace) in [("", Some("n")), ("a.io", None)] {
            let key = key(group, "foos", namespace, "x.y");
            let expected = KeyParts {
                group,
                resource: "foos",
                namespace,
                name: "x.y",
            };
            assert_eq!(parts(&key), Some(expected));
        }
    }
}

//! Protobuf request bodies of Kubernetes clients become the JSON objects that they stand for.
//!
//! client-go's typed clients send built-in kinds as protobuf and have no fall-back, so a server has to read it. Nothing is
//! ever written as protobuf: every client accepts JSON answers.
//!
//! A body is the four bytes `k8s\0`, then a `runtime.Unknown` that names the kind and carries the object's own message,
//! which [`message`] walks by the tables of [`table`].

mod message;
mod scalar;
mod table;
mod wire;

use message::{Message, Walk};
use serde_json::{Map, Value};
use wire::{Payload, Reader};

/// The content type of bodies that [`decode`] reads.
pub const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What a body starts with.
const MAGIC: &[u8; 4] = b"k8s\0";

/// A decoded body.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// `v1`, `policy/v1`: as the client named it.
    pub api_version: String,
    /// `ConfigMap`: as the client named it.
    pub kind: String,
    /// The object as its JSON, `apiVersion` and `kind` included.
    pub object: Value,
}

/// Turns a protobuf request body into the JSON object that it stands for.
///
/// `body` starts with the frame `k8s\0`. Fields this server does not know are left out, as Go does it.
///
/// # Errors
/// A sentence saying what is wrong: no frame, a kind without a table, a truncated or malformed field (with its path), an
/// object nested deeper or made of more values than the bounds of [`message`] allow.
pub fn decode(body: &[u8]) -> Result<Decoded, String> {
    let frame = body
        .strip_prefix(MAGIC)
        .ok_or("the body does not start with the Kubernetes protobuf prefix 'k8s\\0'")?;
    let unknown = Unknown::read(frame)?;
    if !unknown.content_encoding.is_empty() {
        return Err(format!(
            "content encoding {:?} is not supported",
            unknown.content_encoding
        ));
    }
    let Unknown {
        api_version,
        kind,
        raw,
        ..
    } = unknown;
    let message = find(&api_version, &kind).ok_or_else(|| {
        format!(
            "no kind {kind:?} is known in version {api_version:?} for protobuf; send JSON instead"
        )
    })?;
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), Value::String(api_version.clone()));
    object.insert("kind".to_owned(), Value::String(kind.clone()));
    Walk::default().fill(message, raw, &mut object)?;
    Ok(Decoded {
        api_version,
        kind,
        object: Value::Object(object),
    })
}

fn find(api_version: &str, kind: &str) -> Option<&'static Message> {
    table::KINDS
        .iter()
        .find(|(version, name, _)| *version == api_version && *name == kind)
        .map(|(_, _, message)| *message)
        .or_else(|| {
            let mut common = table::KINDS_OF_EVERY_VERSION.iter();
            common
                .find(|(name, _)| *name == kind)
                .map(|(_, message)| *message)
        })
}

/// `runtime.Unknown` and the `runtime.TypeMeta` within, flattened.
#[derive(Debug, Default)]
struct Unknown<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
    content_encoding: String,
}

impl<'a> Unknown<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut unknown = Unknown::default();
        let mut fields = Reader::new(bytes);
        while let Some((number, payload)) = fields.next_field()? {
            match (number, payload) {
                (1, Payload::Bytes(type_meta)) => {
                    let mut names = Reader::new(type_meta);
                    while let Some((number, payload)) = names.next_field()? {
                        match (number, payload) {
                            (1, Payload::Bytes(text)) => unknown.api_version = scalar::text(text)?,
                            (2, Payload::Bytes(text)) => unknown.kind = scalar::text(text)?,
                            _ => {}
                        }
                    }
                }
                (2, Payload::Bytes(raw)) => unknown.raw = raw,
                (3, Payload::Bytes(text)) => unknown.content_encoding = scalar::text(text)?,
                // 4 is the content type of `raw`: empty or protobuf, since that is what stands in a protobuf body.
                _ => {}
            }
        }
        Ok(unknown)
    }
}

#[cfg(test)]
mod tests;

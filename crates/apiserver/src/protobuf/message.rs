//! Walks a protobuf message by its table and fills a JSON object with what it says.

use serde_json::{Map, Value};

use super::scalar;
use super::wire::{Payload, Reader};

/// How deep messages may nest. A schema in a CustomResourceDefinition takes two to three messages per level and real ones
/// stay under 30 levels; the bound keeps the walk far from the end of the stack, whatever the body says.
const DEPTH: u32 = 128;

/// How many JSON values one body may make. A value takes some 32 bytes of memory but only two on the wire, so without a bound
/// a body of 3 MiB could ask for fifty times as much. The largest CustomResourceDefinitions have some 30,000.
const VALUES: u32 = 500_000;

/// A message type: which numbers it has and what they mean.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) fields: &'static [Field],
}

/// One field of a message.
#[derive(Debug)]
pub(super) struct Field {
    number: u32,
    name: &'static str,
    kind: Kind,
    many: Many,
    zero: Zero,
}

/// What one value of a field is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    Bytes,
    Flag,
    Integer,
    Double,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    RawJson,
    /// A message around a list of texts, which is only the list in JSON.
    TextList,
    /// One schema, or a list of them.
    SchemaOrArray,
    /// A schema, or whether anything is allowed.
    SchemaOrBool,
    /// A schema, or a list of property names.
    SchemaOrStringArray,
    Message(&'static Message),
}

/// How often a field stands in its object.
#[derive(Debug, Clone, Copy)]
pub(super) enum Many {
    One,
    /// Its members are members of the object around it.
    Inline,
    List,
    /// By text keys.
    Map,
}

/// What becomes of a value that is zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Zero {
    /// Said on the wire is said in JSON: pointers, and fields that Go always writes.
    Keep,
    /// Go's `omitempty` on a plain value: zero means not said, though the wire always has it.
    Omit,
}

/// One line of a table.
pub(super) const fn field(
    number: u32,
    name: &'static str,
    kind: Kind,
    many: Many,
    zero: Zero,
) -> Field {
    Field {
        number,
        name,
        kind,
        many,
        zero,
    }
}

/// A walk through one body, with what is left of its bounds.
#[derive(Debug)]
pub(super) struct Walk {
    depth: u32,
    values: u32,
}

impl Default for Walk {
    fn default() -> Self {
        Walk {
            depth: DEPTH,
            values: VALUES,
        }
    }
}

impl Walk {
    /// Reads `bytes` as `message` into `object`. An error names the path of the field it is about.
    pub(super) fn fill(
        &mut self,
        message: &Message,
        bytes: &[u8],
        object: &mut Map<String, Value>,
    ) -> Result<(), String> {
        self.depth = self
            .depth
            .checked_sub(1)
            .ok_or_else(|| format!("nests deeper than {DEPTH} messages"))?;
        let mut fields = Reader::new(bytes);
        while let Some((number, payload)) = fields.next_field()? {
            let Some(field) = message.fields.iter().find(|field| field.number == number) else {
                continue;
            };
            self.set(field, payload, object)
                .map_err(|error| at(field.name, &error))?;
        }
        self.depth += 1;
        Ok(())
    }

    fn set(
        &mut self,
        field: &Field,
        payload: Payload<'_>,
        object: &mut Map<String, Value>,
    ) -> Result<(), String> {
        match (field.many, field.kind, payload) {
            (Many::Inline, Kind::Message(message), Payload::Bytes(bytes)) => {
                self.fill(message, bytes, object)
            }
            // Written twice means merged, as in protobuf.
            (Many::One, Kind::Message(message), Payload::Bytes(bytes)) => {
                self.count()?;
                let value = object
                    .entry(field.name)
                    .or_insert_with(|| Value::Object(Map::new()));
                let Value::Object(inner) = value else {
                    return Err(wrong_type());
                };
                self.fill(message, bytes, inner)
            }
            (Many::List, kind, payload) => {
                let value = object
                    .entry(field.name)
                    .or_insert_with(|| Value::Array(Vec::new()));
                let Value::Array(list) = value else {
                    return Err(wrong_type());
                };
                if let (Kind::Integer, Payload::Bytes(packed)) = (kind, payload) {
                    let mut packed = Reader::new(packed);
                    while !packed.is_empty() {
                        self.count()?;
                        list.push(Value::from(packed.varint()?.cast_signed()));
                    }
                    return Ok(());
                }
                let value = self.value(kind, payload)?;
                list.push(value);
                Ok(())
            }
            (Many::Map, kind, Payload::Bytes(entry)) => {
                let (key, value) = self.entry(kind, entry)?;
                let values = object
                    .entry(field.name)
                    .or_insert_with(|| Value::Object(Map::new()));
                let Value::Object(values) = values else {
                    return Err(wrong_type());
                };
                values.insert(key, value);
                Ok(())
            }
            (Many::One, kind, payload) => {
                let value = self.value(kind, payload)?;
                if value.is_null() || (field.zero == Zero::Omit && is_zero(&value)) {
                    object.remove(field.name);
                } else {
                    object.insert(field.name.to_owned(), value);
                }
                Ok(())
            }
            _ => Err(wrong_type()),
        }
    }

    fn entry(&mut self, kind: Kind, bytes: &[u8]) -> Result<(String, Value), String> {
        let (mut key, mut written) = (String::new(), None);
        let mut fields = Reader::new(bytes);
        while let Some((number, payload)) = fields.next_field()? {
            match (number, payload) {
                (1, Payload::Bytes(bytes)) => key = scalar::text(bytes)?,
                (2, payload) => written = Some(payload),
                _ => {}
            }
        }
        // A value that is not written is the type's zero, which an empty payload means for all kinds that maps hold.
        let value = self
            .value(kind, written.unwrap_or(Payload::Bytes(&[])))
            .map_err(|error| at(&key, &error))?;
        Ok((key, value))
    }

    fn value(&mut self, kind: Kind, payload: Payload<'_>) -> Result<Value, String> {
        self.count()?;
        match (kind, payload) {
            (Kind::Flag, Payload::Varint(value)) => Ok(Value::Bool(value != 0)),
            (Kind::Integer, Payload::Varint(value)) => Ok(Value::from(value.cast_signed())),
            (Kind::Double, Payload::Fixed64(bits)) => scalar::double(bits),
            (Kind::Text, Payload::Bytes(bytes)) => scalar::text(bytes).map(Value::String),
            (Kind::Bytes, Payload::Bytes(bytes)) => Ok(scalar::base64(bytes)),
            (Kind::Quantity, Payload::Bytes(bytes)) => scalar::quantity(bytes),
            (Kind::IntOrString, Payload::Bytes(bytes)) => scalar::int_or_string(bytes),
            (Kind::Time, Payload::Bytes(bytes)) => scalar::time(bytes),
            (Kind::MicroTime, Payload::Bytes(bytes)) => scalar::micro_time(bytes),
            (Kind::RawJson, Payload::Bytes(bytes)) => scalar::raw_json(bytes),
            (Kind::TextList, Payload::Bytes(bytes)) => {
                let texts = scalar::text_list(bytes)?;
                for _ in &texts {
                    self.count()?;
                }
                Ok(Value::Array(texts))
            }
            (Kind::Message(message), Payload::Bytes(bytes)) => self.message(message, bytes),
            (
                Kind::SchemaOrArray | Kind::SchemaOrBool | Kind::SchemaOrStringArray,
                Payload::Bytes(bytes),
            ) => self.schema_or(kind, bytes),
            _ => Err(wrong_type()),
        }
    }

    fn message(&mut self, message: &Message, bytes: &[u8]) -> Result<Value, String> {
        let mut object = Map::new();
        self.fill(message, bytes, &mut object)?;
        Ok(Value::Object(object))
    }

    /// The three types of JSON schema that are either a schema or something else, never both.
    fn schema_or(&mut self, kind: Kind, bytes: &[u8]) -> Result<Value, String> {
        let (mut schema, mut allows, mut list) = (None, false, Vec::new());
        let mut fields = Reader::new(bytes);
        while let Some((number, payload)) = fields.next_field()? {
            match (kind, number, payload) {
                (Kind::SchemaOrBool, 1, Payload::Varint(value)) => allows = value != 0,
                (Kind::SchemaOrBool, 2, Payload::Bytes(bytes)) | (_, 1, Payload::Bytes(bytes)) => {
                    schema = Some(self.message(&super::table::JSON_SCHEMA_PROPS, bytes)?);
                }
                (Kind::SchemaOrArray, 2, Payload::Bytes(bytes)) => {
                    self.count()?;
                    list.push(self.message(&super::table::JSON_SCHEMA_PROPS, bytes)?);
                }
                (Kind::SchemaOrStringArray, 2, Payload::Bytes(bytes)) => {
                    self.count()?;
                    list.push(Value::String(scalar::text(bytes)?));
                }
                _ => {}
            }
        }
        Ok(match (schema, kind) {
            (Some(schema), _) => schema,
            (None, Kind::SchemaOrBool) => Value::Bool(allows),
            (None, _) => Value::Array(list),
        })
    }

    fn count(&mut self) -> Result<(), String> {
        self.values = self
            .values
            .checked_sub(1)
            .ok_or_else(|| format!("the object has more than {VALUES} values"))?;
        Ok(())
    }
}

fn at(name: &str, error: &str) -> String {
    // A path in front of a path joins to a longer one: `spec: containers: ...` reads `spec.containers: ...`.
    match error.strip_prefix('.') {
        Some(path) => format!(".{name}.{path}"),
        None => format!(".{name}: {error}"),
    }
}

fn wrong_type() -> String {
    "the wire type is not that of this field".to_owned()
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
    }
}

#[cfg(test)]
impl Message {
    /// Checks that numbers and names are unique, here and in every message below.
    pub(super) fn check(&'static self) {
        fn walk(message: &'static Message, path: &mut Vec<*const Message>) {
            if path.contains(&std::ptr::from_ref(message)) {
                return;
            }
            path.push(std::ptr::from_ref(message));
            for (index, field) in message.fields.iter().enumerate() {
                let later = &message.fields[index + 1..];
                assert!(
                    later.iter().all(|other| other.number != field.number),
                    "{field:?}"
                );
                assert!(
                    later.iter().all(|other| other.name != field.name),
                    "{field:?}"
                );
                if let Kind::Message(message) = field.kind {
                    walk(message, path);
                }
            }
        }
        walk(self, &mut Vec::new());
    }
}

//! Filling in declared defaults.

use serde_json::Value;

use super::{MAX_DEPTH, Node, Schema};

impl Schema {
    /// Adds the defaults of fields that are missing, at every level whose parent exists. A null where the schema has a
    /// default and does not allow null counts as missing. Doing it twice changes nothing more.
    pub fn default(&self, value: &mut Value) {
        default_node(self.node(), value, 0);
    }
}

fn default_node(node: &Node, value: &mut Value, depth: usize) {
    if depth >= MAX_DEPTH {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, schema) in &node.properties {
                let Some(default) = schema.default_value().filter(|default| !default.is_null())
                else {
                    continue;
                };
                let missing = match fields.get(name) {
                    None => true,
                    Some(Value::Null) => !schema.is_nullable(),
                    Some(_) => false,
                };
                if missing {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, child) in fields.iter_mut() {
                let schema = node
                    .properties
                    .get(name)
                    .or(node.additional_properties.as_ref());
                if let Some(schema) = schema {
                    default_element(schema, child, depth + 1);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = &node.items else { return };
            for item in items {
                default_element(schema, item, depth + 1);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A null item or map value takes the default of its own schema, as a null field does.
fn default_element(schema: &Schema, value: &mut Value, depth: usize) {
    if value.is_null()
        && !schema.is_nullable()
        && let Some(default) = schema.default_value().filter(|default| !default.is_null())
    {
        *value = default.clone();
    }
    default_node(schema.node(), value, depth);
}

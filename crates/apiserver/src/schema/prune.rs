//! Fields that the schema does not know: naming them and dropping them.

use serde_json::Value;

use super::{MAX_DEPTH, Node, Nulls, Schema};

impl Schema {
    /// The paths of fields that the schema does not know, `spec.containers[0].zzz`, in the order of the value.
    pub fn unknown_fields(&self, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        walk_unknown(self.node(), value, &mut String::new(), &mut found, 0);
        found
    }

    /// Drops every field that the schema does not know. For built-in kinds it also drops nulls, and empty texts where
    /// only certain words may stand: both mean "not given" there.
    pub fn prune(&self, value: &mut Value) {
        prune_node(self.node(), value, 0);
    }
}

fn walk_unknown(
    node: &Node,
    value: &Value,
    path: &mut String,
    found: &mut Vec<String>,
    depth: usize,
) {
    if depth >= MAX_DEPTH {
        return;
    }
    let length = path.len();
    match value {
        Value::Object(fields) => {
            for (name, child) in fields {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                match known(node, name) {
                    Known::Schema(schema) => {
                        walk_unknown(schema.node(), child, path, found, depth + 1);
                    }
                    Known::Kept => {}
                    Known::No => found.push(path.clone()),
                }
                path.truncate(length);
            }
        }
        Value::Array(items) => {
            let Some(schema) = &node.items else { return };
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                walk_unknown(schema.node(), item, path, found, depth + 1);
                path.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

enum Known<'a> {
    Schema(&'a Schema),
    Kept,
    No,
}

fn known<'a>(node: &'a Node, name: &str) -> Known<'a> {
    if let Some(schema) = node
        .properties
        .get(name)
        .or(node.additional_properties.as_ref())
    {
        return Known::Schema(schema);
    }
    match node.preserve_unknown_fields || node.any_property {
        true => Known::Kept,
        false => Known::No,
    }
}

fn is_not_given(node: &Node, value: &Value) -> bool {
    match value {
        Value::Null => !node.nullable,
        Value::String(text) => text.is_empty() && !node.enumeration.is_empty(),
        _ => false,
    }
}

fn prune_node(node: &Node, value: &mut Value, depth: usize) {
    if depth >= MAX_DEPTH {
        return;
    }
    match value {
        Value::Object(fields) => fields.retain(|name, child| match known(node, name) {
            Known::Schema(schema) => {
                let schema = schema.node();
                if schema.nulls == Nulls::Absent && is_not_given(schema, child) {
                    return false;
                }
                prune_node(schema, child, depth + 1);
                true
            }
            Known::Kept => true,
            Known::No => false,
        }),
        Value::Array(items) => {
            let Some(schema) = &node.items else { return };
            for item in items {
                prune_node(schema.node(), item, depth + 1);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

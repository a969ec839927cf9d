//! `meta.k8s.io/v1` Table: columns and rows for `kubectl get`.
//!
//! Built-in kinds have cells made by code ([`builtin`]), as `kubectl` users know them; custom resources have the
//! columns of their definition. Ages are texts made here, from the `now` of the caller.

mod age;
mod builtin;
mod declared;
mod pod;

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::jsonpath::JsonPath;
use crate::resource_type::{PrinterColumn, ResourceType};

pub use age::{age, human_duration};
pub use declared::validate_columns;

/// The API version of tables and partial objects.
pub const META_API_VERSION: &str = "meta.k8s.io/v1";

const NAME_DESCRIPTION: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically.";
const AGE_DESCRIPTION: &str = "CreationTimestamp is the server time when the object was created, as an age. Clients may not set it.";

/// What stands in `rows[].object` (`?includeObject=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// The metadata, as PartialObjectMetadata.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

impl IncludeObject {
    /// Parses the query parameter; absent is `Metadata`. `None`: no such policy.
    pub fn parse(text: &str) -> Option<IncludeObject> {
        match text {
            "None" => Some(IncludeObject::None),
            "" | "Metadata" => Some(IncludeObject::Metadata),
            "Object" => Some(IncludeObject::Object),
            _ => None,
        }
    }
}

/// One column as a table declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Definition {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i32,
}

impl Definition {
    fn to_value(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.kind,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        })
    }
}

/// The cells of one kind's rows, made ready once per list or watch.
#[derive(Debug, Clone)]
pub struct Columns {
    definitions: Vec<Definition>,
    cells: Cells,
}

#[derive(Debug, Clone)]
enum Cells {
    BuiltIn(fn(&Value, Timestamp) -> Vec<Value>),
    Custom(Vec<CustomCell>),
}

#[derive(Debug, Clone)]
struct CustomCell {
    kind: String,
    /// `None`: the definition's path cannot be read; the cell stays empty.
    path: Option<JsonPath>,
}

impl Columns {
    /// The columns of a kind. A custom resource without columns has Name and Age; a built-in kind that has no columns
    /// of its own too.
    pub fn of(resource: &ResourceType) -> Columns {
        if !resource.is_custom()
            && let Some((columns, cells)) = builtin::columns(&resource.group, &resource.names.kind)
        {
            let definitions = columns.iter().map(builtin::Column::definition).collect();
            return Columns {
                definitions,
                cells: Cells::BuiltIn(cells),
            };
        }
        let age = PrinterColumn {
            name: "Age".to_owned(),
            kind: "date".to_owned(),
            description: AGE_DESCRIPTION.to_owned(),
            json_path: ".metadata.creationTimestamp".to_owned(),
            ..PrinterColumn::default()
        };
        let declared = match resource.columns.is_empty() {
            true => std::slice::from_ref(&age),
            false => &resource.columns,
        };
        let mut definitions = vec![name_definition()];
        let mut cells = Vec::with_capacity(declared.len());
        for column in declared {
            definitions.push(Definition {
                name: column.name.clone(),
                kind: column.kind.clone(),
                format: column.format.clone(),
                description: column.description.clone(),
                priority: column.priority,
            });
            cells.push(CustomCell {
                kind: column.kind.clone(),
                path: JsonPath::parse(&column.json_path).ok(),
            });
        }
        Columns {
            definitions,
            cells: Cells::Custom(cells),
        }
    }

    /// The cells of one object's row.
    pub fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        match &self.cells {
            Cells::BuiltIn(make) => make(object, now),
            Cells::Custom(columns) => {
                let mut cells = vec![name_cell(object)];
                cells.extend(
                    columns
                        .iter()
                        .map(|column| custom_cell(column, object, now)),
                );
                cells
            }
        }
    }

    /// One row: cells, and the object as far as asked.
    pub fn row(&self, object: &Value, include: IncludeObject, now: Timestamp) -> Value {
        json!({
            "cells": self.cells(object, now),
            "object": match include {
                IncludeObject::None => Value::Null,
                IncludeObject::Metadata => partial_object(object),
                IncludeObject::Object => object.clone(),
            },
        })
    }

    /// A whole table. `metadata` is that of the list (for one object: its `resourceVersion` alone). `with_definitions`
    /// is false for all but the first event of a watch.
    pub fn table<'a>(
        &self,
        objects: impl IntoIterator<Item = &'a Value>,
        metadata: Value,
        include: IncludeObject,
        now: Timestamp,
        with_definitions: bool,
    ) -> Value {
        let rows: Vec<Value> = objects
            .into_iter()
            .map(|object| self.row(object, include, now))
            .collect();
        json!({
            "kind": "Table",
            "apiVersion": META_API_VERSION,
            "metadata": metadata,
            "columnDefinitions": match with_definitions {
                true => self.definitions(),
                false => Value::Null,
            },
            "rows": rows,
        })
    }

    /// `columnDefinitions`.
    pub fn definitions(&self) -> Value {
        self.definitions.iter().map(Definition::to_value).collect()
    }
}

fn name_definition() -> Definition {
    Definition {
        name: "Name".to_owned(),
        kind: "string".to_owned(),
        format: "name".to_owned(),
        description: NAME_DESCRIPTION.to_owned(),
        priority: 0,
    }
}

/// The metadata of a table of one object: its resource version.
pub fn metadata_of(object: &Value) -> Value {
    let mut metadata = Map::new();
    if let Some(version) = object.pointer("/metadata/resourceVersion") {
        metadata.insert("resourceVersion".to_owned(), version.clone());
    }
    Value::Object(metadata)
}

/// `PartialObjectMetadata` of an object.
pub fn partial_object(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": META_API_VERSION,
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

fn name_cell(object: &Value) -> Value {
    object
        .pointer("/metadata/name")
        .cloned()
        .unwrap_or_else(|| json!(""))
}

fn custom_cell(column: &CustomCell, object: &Value, now: Timestamp) -> Value {
    let value = column.path.as_ref().and_then(|path| path.first(object));
    let Some(value) = value else {
        return Value::Null;
    };
    match (column.kind.as_str(), value) {
        (_, Value::Null) => Value::Null,
        ("string", Value::String(_)) => value.clone(),
        ("string", other) => Value::from(other.to_string()),
        ("integer", Value::Number(number)) => match number.as_f64() {
            Some(float) if number.is_f64() => json!(float as i64),
            _ => value.clone(),
        },
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) => match text.parse::<Timestamp>() {
            Ok(time) => Value::from(human_duration(now.duration_since(time))),
            Err(_) => json!("<invalid>"),
        },
        _ => Value::Null,
    }
}

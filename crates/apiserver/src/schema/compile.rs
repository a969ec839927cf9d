//! From the OpenAPI v3 form to compiled nodes, with the rules of structural schemas.
//!
//! Custom resources must be structural: every field, item and map value says its type, and `allOf`, `anyOf`, `oneOf`
//! and `not` only add value checks. Built-in kinds are written by us and may use references.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

use super::pattern::Pattern;
use super::{Definitions, ListType, MAX_DEPTH, MapType, Node, Nulls, Schema, Type};
use crate::builtin_schema;
use crate::status::Cause;

/// A schema with more faults than this lists only the first ones.
const MAX_CAUSES: usize = 100;

const TYPE_NAMES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Root,
    Field,
    Item,
    /// Inside `allOf`, `anyOf`, `oneOf`, `not`: value checks only.
    Nested,
}

pub(super) struct Compiler {
    /// `Some`: a built-in kind, whose references are found here.
    definitions: Option<Definitions>,
    pub(super) causes: Vec<Cause>,
}

impl Schema {
    /// Compiles the `openAPIV3Schema` of a custom resource. `apiVersion`, `kind` and `metadata` need not be declared:
    /// they are those of every object. Errors: every rule of structural schemas that is broken, with paths from
    /// `openAPIV3Schema`.
    pub fn compile(schema: &Value) -> Result<Schema, Vec<Cause>> {
        Schema::compile_at(schema, "openAPIV3Schema")
    }

    /// [`Schema::compile`], with errors' paths starting at `path`, e.g. `spec.versions[0].schema.openAPIV3Schema`.
    pub fn compile_at(schema: &Value, path: &str) -> Result<Schema, Vec<Cause>> {
        let mut compiler = Compiler {
            definitions: None,
            causes: Vec::new(),
        };
        let compiled = compiler.compile(schema, path, Level::Root, 0);
        match compiler.causes.is_empty() {
            true => Ok(compiled),
            false => {
                compiler.causes.truncate(MAX_CAUSES);
                Err(compiler.causes)
            }
        }
    }

    /// Compiles named definitions that may refer to each other by `$ref: "#/components/schemas/NAME"`. No structural
    /// rule is asked of them; nulls mean "not given".
    pub(crate) fn compile_definitions(
        definitions: &BTreeMap<String, Value>,
    ) -> Result<BTreeMap<String, Schema>, Vec<Cause>> {
        let cell: Definitions = Arc::new(OnceLock::new());
        let mut compiler = Compiler {
            definitions: Some(Arc::clone(&cell)),
            causes: Vec::new(),
        };
        let compiled: BTreeMap<String, Schema> = definitions
            .iter()
            .map(|(name, schema)| {
                (
                    name.clone(),
                    compiler.compile(schema, name, Level::Field, 0),
                )
            })
            .collect();
        if !compiler.causes.is_empty() {
            return Err(compiler.causes);
        }
        // The cell is new, so nobody has filled it.
        let _ = cell.set(compiled.clone());
        Ok(compiled)
    }
}

impl Compiler {
    pub(super) fn is_structural(&self) -> bool {
        self.definitions.is_none()
    }

    fn compile(&mut self, schema: &Value, path: &str, level: Level, depth: usize) -> Schema {
        if depth >= MAX_DEPTH {
            let detail = format!("must not nest deeper than {MAX_DEPTH} levels");
            self.causes.push(Cause::forbidden(path, &detail));
            return Schema::anything();
        }
        let Value::Object(keywords) = schema else {
            self.causes
                .push(Cause::invalid(path, schema, "must be an object"));
            return Schema::anything();
        };
        if let Some(Value::String(reference)) = keywords.get("$ref") {
            return self.reference(reference, keywords, path);
        }
        let mut node = Node::default();
        if !self.is_structural() {
            node.nulls = Nulls::Absent;
        }
        self.shape(&mut node, keywords, path, level);
        self.merge_rules(&mut node, keywords, path);
        self.value_rules(&mut node, keywords, path);
        self.children(&mut node, keywords, path, level, depth);
        self.combinations(&mut node, keywords, path, depth);
        if self.is_structural() {
            self.structural_rules(&node, keywords, path, level);
            if level == Level::Root || node.embedded_resource {
                add_object_fields(&mut node);
            }
        }
        node.default = keywords.get("default").cloned();
        let compiled = Schema::from_node(node);
        if self.is_structural() {
            self.check_default(&compiled, path);
        }
        compiled
    }

    fn reference(&mut self, reference: &str, keywords: &Map<String, Value>, path: &str) -> Schema {
        let Some(definitions) = &self.definitions else {
            self.causes.push(Cause::forbidden(
                format!("{path}.$ref"),
                "$ref is not supported",
            ));
            return Schema::anything();
        };
        let name = reference.rsplit('/').next().unwrap_or_default();
        Schema::reference(
            name,
            Arc::clone(definitions),
            keywords.get("default").cloned(),
        )
    }

    fn shape(&mut self, node: &mut Node, keywords: &Map<String, Value>, path: &str, level: Level) {
        let flag = |name: &str| keywords.get(name).and_then(Value::as_bool).unwrap_or(false);
        node.nullable = flag("nullable");
        node.int_or_string = flag("x-kubernetes-int-or-string")
            || keywords.get("format").and_then(Value::as_str) == Some("int-or-string");
        node.preserve_unknown_fields = flag("x-kubernetes-preserve-unknown-fields");
        node.embedded_resource = flag("x-kubernetes-embedded-resource");
        if let Some(Value::String(name)) = keywords.get("type").filter(|_| level != Level::Nested)
            && !name.is_empty()
        {
            node.value_type = Type::from_name(name);
            if node.value_type.is_none() {
                let field = format!("{path}.type");
                let value = Value::from(name.as_str());
                self.causes
                    .push(Cause::not_supported(field, &value, &TYPE_NAMES));
            }
        }
    }

    fn merge_rules(&mut self, node: &mut Node, keywords: &Map<String, Value>, path: &str) {
        let text = |name: &str| keywords.get(name).and_then(Value::as_str);
        node.list_type = match text("x-kubernetes-list-type") {
            None => None,
            Some("atomic") => Some(ListType::Atomic),
            Some("set") => Some(ListType::Set),
            Some("map") => Some(ListType::Map),
            Some(other) => {
                self.causes.push(Cause::not_supported(
                    format!("{path}.x-kubernetes-list-type"),
                    &Value::from(other),
                    &["atomic", "map", "set"],
                ));
                None
            }
        };
        node.map_type = match text("x-kubernetes-map-type") {
            None | Some("granular") => MapType::Granular,
            Some("atomic") => MapType::Atomic,
            Some(other) => {
                self.causes.push(Cause::not_supported(
                    format!("{path}.x-kubernetes-map-type"),
                    &Value::from(other),
                    &["atomic", "granular"],
                ));
                MapType::Granular
            }
        };
        node.list_keys = strings(keywords.get("x-kubernetes-list-map-keys"));
        node.patch_merge_key = text("x-kubernetes-patch-merge-key").map(str::to_owned);
        for strategy in text("x-kubernetes-patch-strategy")
            .unwrap_or_default()
            .split(',')
        {
            match strategy {
                "merge" => node.patch_strategy.merge = true,
                "retainKeys" => node.patch_strategy.retain_keys = true,
                "replace" => node.patch_strategy.replace = true,
                _ => {}
            }
        }
    }

    fn value_rules(&mut self, node: &mut Node, keywords: &Map<String, Value>, path: &str) {
        let number = |name: &str| keywords.get(name).and_then(Value::as_f64);
        let count = |name: &str| keywords.get(name).and_then(Value::as_u64);
        let flag = |name: &str| keywords.get(name).and_then(Value::as_bool).unwrap_or(false);
        node.required = strings(keywords.get("required"));
        node.enumeration = match keywords.get("enum") {
            Some(Value::Array(values)) => values.clone(),
            _ => Vec::new(),
        };
        node.minimum = number("minimum");
        node.maximum = number("maximum");
        node.exclusive_minimum = flag("exclusiveMinimum");
        node.exclusive_maximum = flag("exclusiveMaximum");
        node.multiple_of = number("multipleOf").filter(|factor| *factor > 0.0);
        node.min_length = count("minLength");
        node.max_length = count("maxLength");
        node.min_items = count("minItems");
        node.max_items = count("maxItems");
        node.min_properties = count("minProperties");
        node.max_properties = count("maxProperties");
        node.format = keywords
            .get("format")
            .and_then(Value::as_str)
            .map(str::to_owned);
        if let Some(source) = keywords.get("pattern").and_then(Value::as_str)
            && !source.is_empty()
        {
            match Pattern::new(source) {
                Ok(pattern) => node.pattern = Some(pattern),
                Err(why) => self.causes.push(Cause::invalid(
                    format!("{path}.pattern"),
                    &Value::from(source),
                    &format!("must be a valid regular expression, but isn't: {why}"),
                )),
            }
        }
    }

    fn children(
        &mut self,
        node: &mut Node,
        keywords: &Map<String, Value>,
        path: &str,
        level: Level,
        depth: usize,
    ) {
        let (field, item) = match level {
            Level::Nested => (Level::Nested, Level::Nested),
            Level::Root | Level::Field | Level::Item => (Level::Field, Level::Item),
        };
        if let Some(Value::Object(properties)) = keywords.get("properties") {
            for (name, schema) in properties {
                let at = format!("{path}.properties[{name}]");
                let child = self.compile(schema, &at, field, depth + 1);
                node.properties.insert(name.clone(), child);
            }
        }
        match keywords.get("additionalProperties") {
            None | Some(Value::Null) => {}
            Some(Value::Bool(true)) => node.any_property = true,
            Some(Value::Bool(false)) => {
                if self.is_structural() {
                    self.causes.push(Cause::forbidden(
                        format!("{path}.additionalProperties"),
                        "additionalProperties cannot be set to false",
                    ));
                }
            }
            Some(schema) => {
                let at = format!("{path}.additionalProperties");
                node.additional_properties = Some(self.compile(schema, &at, field, depth + 1));
            }
        }
        match keywords.get("items") {
            None | Some(Value::Null) => {}
            Some(Value::Array(_)) => self.causes.push(Cause::forbidden(
                format!("{path}.items"),
                "items must be a schema object and not an array",
            )),
            Some(schema) => {
                let at = format!("{path}.items");
                node.items = Some(self.compile(schema, &at, item, depth + 1));
            }
        }
    }

    fn combinations(
        &mut self,
        node: &mut Node,
        keywords: &Map<String, Value>,
        path: &str,
        depth: usize,
    ) {
        node.all_of = self.nested(node, keywords, "allOf", path, depth);
        node.any_of = self.nested(node, keywords, "anyOf", path, depth);
        node.one_of = self.nested(node, keywords, "oneOf", path, depth);
        if let Some(schema @ Value::Object(_)) = keywords.get("not") {
            let at = format!("{path}.not");
            self.check_nested(node, schema, &at);
            node.not = Some(self.compile_nested(schema, &at, depth));
        }
    }

    fn nested(
        &mut self,
        node: &Node,
        keywords: &Map<String, Value>,
        keyword: &str,
        path: &str,
        depth: usize,
    ) -> Vec<Schema> {
        let Some(Value::Array(schemas)) = keywords.get(keyword) else {
            return Vec::new();
        };
        // The one form in which nested types are allowed; the node's own flag says the same.
        if node.int_or_string && int_or_string_types(schemas) {
            return Vec::new();
        }
        let mut compiled = Vec::with_capacity(schemas.len());
        for (index, schema) in schemas.iter().enumerate() {
            let at = format!("{path}.{keyword}[{index}]");
            if node.int_or_string
                && keyword == "allOf"
                && let Some(Value::Array(types)) = schema.get("anyOf")
                && int_or_string_types(types)
            {
                let mut rest = schema.clone();
                if let Value::Object(rest) = &mut rest {
                    rest.remove("anyOf");
                }
                compiled.push(self.compile_nested(&rest, &at, depth));
                continue;
            }
            self.check_nested(node, schema, &at);
            compiled.push(self.compile_nested(schema, &at, depth));
        }
        compiled
    }

    fn compile_nested(&mut self, schema: &Value, path: &str, depth: usize) -> Schema {
        // Built-in definitions may say types in oneOf (Quantity), so they are read as full nodes.
        let level = if self.is_structural() {
            Level::Nested
        } else {
            Level::Field
        };
        self.compile(schema, path, level, depth + 1)
    }
}

/// What every object has, also where the schema does not say: `apiVersion`, `kind`, `metadata`. A declared
/// `metadata.name` keeps its value rules.
fn add_object_fields(node: &mut Node) {
    for name in ["apiVersion", "kind"] {
        node.properties.entry(name.to_owned()).or_insert_with(|| {
            Schema::from_node(Node {
                value_type: Some(Type::String),
                ..Node::default()
            })
        });
    }
    let mut metadata = builtin_schema::object_meta().node().clone();
    if let Some(declared) = node.properties.get("metadata") {
        for (name, rules) in declared.properties() {
            metadata.properties.insert(name.to_owned(), rules.clone());
        }
        metadata.required = declared.required_fields().to_vec();
    }
    node.properties
        .insert("metadata".to_owned(), Schema::from_node(metadata));
}

fn int_or_string_types(schemas: &[Value]) -> bool {
    let is = |schema: &Value, name: &str| {
        schema.as_object().is_some_and(|keywords| {
            keywords.len() == 1 && keywords.get("type").and_then(Value::as_str) == Some(name)
        })
    };
    matches!(schemas, [first, second] if is(first, "integer") && is(second, "string"))
}

fn strings(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(items)) => items
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

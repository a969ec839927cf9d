//! The rules of structural schemas, and what is refused by name.

use serde_json::{Map, Value};

use super::compile::{Compiler, Level};
use super::{ListType, MapType, Node, Schema, Type};
use crate::status::Cause;

/// Keywords that shape a value, which nested value checks must not have.
const STRUCTURAL_KEYWORDS: [&str; 12] = [
    "additionalProperties",
    "default",
    "description",
    "nullable",
    "title",
    "type",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
];

impl Compiler {
    /// Fields and items that a nested check speaks of must be declared beside it.
    pub(super) fn check_nested(&mut self, node: &Node, nested: &Value, path: &str) {
        if !self.is_structural() {
            return;
        }
        let Value::Object(keywords) = nested else {
            return;
        };
        for keyword in STRUCTURAL_KEYWORDS {
            if keywords.get(keyword).is_some_and(|value| !value.is_null()) {
                let field = format!("{path}.{keyword}");
                self.causes
                    .push(Cause::forbidden(field, "must be empty to be structural"));
            }
        }
        let outer = path.rsplit_once('.').map_or("", |(outer, _)| outer);
        if let Some(Value::Object(properties)) = keywords.get("properties") {
            for (name, schema) in properties {
                match node.properties.get(name) {
                    Some(declared) => {
                        let declared = declared.clone();
                        self.check_nested_children(declared.node(), schema, path);
                    }
                    None => self.causes.push(Cause::required(
                        format!("{outer}.properties[{name}]"),
                        &format!("because it is defined in {path}.properties[{name}]"),
                    )),
                }
            }
        }
        if keywords.get("items").is_some_and(Value::is_object) && node.items.is_none() {
            self.causes.push(Cause::required(
                format!("{outer}.items"),
                &format!("because it is defined in {path}.items"),
            ));
        }
    }

    fn check_nested_children(&mut self, node: &Node, nested: &Value, path: &str) {
        let Some(Value::Object(properties)) = nested.get("properties") else {
            return;
        };
        for (name, schema) in properties {
            match node.properties.get(name) {
                Some(declared) => {
                    let declared = declared.clone();
                    self.check_nested_children(declared.node(), schema, path);
                }
                None => self.causes.push(Cause::required(
                    format!("properties[{name}]"),
                    &format!("because it is defined inside {path}"),
                )),
            }
        }
    }

    pub(super) fn structural_rules(
        &mut self,
        node: &Node,
        keywords: &Map<String, Value>,
        path: &str,
        level: Level,
    ) {
        self.refuse_keywords(keywords, path);
        if level == Level::Nested {
            return;
        }
        self.type_rules(node, keywords, path, level);
        self.list_rules(node, path);
        if node.additional_properties.is_some() || node.any_property {
            let field = format!("{path}.additionalProperties");
            if !node.properties.is_empty() {
                let detail = "additionalProperties and properties are mutual exclusive";
                self.causes.push(Cause::forbidden(field.clone(), detail));
            }
            if node.embedded_resource {
                let detail = "must not be used if x-kubernetes-embedded-resource is set";
                self.causes.push(Cause::forbidden(field.clone(), detail));
            }
            if level == Level::Root {
                self.causes
                    .push(Cause::forbidden(field, "must not be used at the root"));
            }
        }
        if node.embedded_resource && !node.preserve_unknown_fields && node.properties.is_empty() {
            self.causes.push(Cause::required(
                format!("{path}.properties"),
                "must not be empty if x-kubernetes-embedded-resource is true without \
                 x-kubernetes-preserve-unknown-fields",
            ));
        }
        if (level == Level::Root || node.embedded_resource)
            && let Some(metadata) = node.properties.get("metadata")
            && metadata
                .properties()
                .any(|(name, _)| name != "name" && name != "generateName")
        {
            self.causes.push(Cause::forbidden(
                format!("{path}.properties[metadata]"),
                "must not specify anything other than name and generateName, but metadata is \
                 implicitly specified",
            ));
        }
    }

    fn refuse_keywords(&mut self, keywords: &Map<String, Value>, path: &str) {
        for keyword in [
            "definitions",
            "dependencies",
            "id",
            "patternProperties",
            "additionalItems",
        ] {
            if keywords.get(keyword).is_some_and(|value| !value.is_null()) {
                let detail = format!("{keyword} is not supported");
                self.causes
                    .push(Cause::forbidden(format!("{path}.{keyword}"), &detail));
            }
        }
        if keywords.get("uniqueItems") == Some(&Value::Bool(true)) {
            self.causes.push(Cause::forbidden(
                format!("{path}.uniqueItems"),
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            ));
        }
        if let Some(Value::Array(rules)) = keywords.get("x-kubernetes-validations")
            && !rules.is_empty()
        {
            self.causes.push(Cause::forbidden(
                format!("{path}.x-kubernetes-validations"),
                "CEL validation rules are not served yet, and a rule is never skipped; remove the \
                 rules, or say the same with pattern, enum, minimum, anyOf and the like",
            ));
        }
    }

    fn type_rules(&mut self, node: &Node, keywords: &Map<String, Value>, path: &str, level: Level) {
        let field = || format!("{path}.type");
        let given = keywords
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if node.embedded_resource && given != "object" {
            let detail = "must be object if x-kubernetes-embedded-resource is true";
            self.causes.push(match given.is_empty() {
                true => Cause::required(field(), detail),
                false => Cause::invalid(field(), &Value::from(given), detail),
            });
        } else if given.is_empty() && !node.int_or_string && !node.preserve_unknown_fields {
            self.causes.push(Cause::required(
                field(),
                match level {
                    Level::Root => "must not be empty at the root",
                    Level::Item => "must not be empty for specified array items",
                    Level::Field | Level::Nested => "must not be empty for specified object fields",
                },
            ));
        }
        if level == Level::Root && !given.is_empty() && given != "object" {
            let value = Value::from(given);
            self.causes.push(Cause::invalid(
                field(),
                &value,
                "must be object at the root",
            ));
        }
        if node.int_or_string && !given.is_empty() {
            let detail = "must be empty if x-kubernetes-int-or-string is true";
            self.causes.push(Cause::forbidden(field(), detail));
        }
        if given == "array" && node.items.is_none() {
            self.causes.push(Cause::required(
                format!("{path}.items"),
                "must be specified",
            ));
        }
    }

    fn list_rules(&mut self, node: &Node, path: &str) {
        let keys_field = format!("{path}.x-kubernetes-list-map-keys");
        let Some(list_type) = node.list_type else {
            if !node.list_keys.is_empty() {
                let detail = "x-kubernetes-list-type must be map if \
                              x-kubernetes-list-map-keys is non-empty";
                self.causes.push(Cause::required(
                    format!("{path}.x-kubernetes-list-type"),
                    detail,
                ));
            }
            return;
        };
        if node.value_type != Some(Type::Array) {
            let detail = "must be array if x-kubernetes-list-type is specified";
            self.causes
                .push(Cause::required(format!("{path}.type"), detail));
        }
        let items = node.items.clone();
        let items = items.as_ref().map(Schema::node);
        match list_type {
            ListType::Atomic => {}
            ListType::Set => {
                let is_open = items.is_some_and(|items| match items.value_type {
                    Some(Type::Object) => items.map_type != MapType::Atomic,
                    Some(Type::Array) => items.list_type.is_some_and(|t| t != ListType::Atomic),
                    _ => false,
                });
                if is_open {
                    self.causes.push(Cause::forbidden(
                        format!("{path}.items"),
                        "items of a list of type set must be scalars, or atomic",
                    ));
                }
            }
            ListType::Map if node.list_keys.is_empty() => {
                let detail = "must not be empty if x-kubernetes-list-type is map";
                self.causes.push(Cause::required(keys_field, detail));
            }
            ListType::Map => {
                for (index, key) in node.list_keys.iter().enumerate() {
                    let declared = items.and_then(|items| items.properties.get(key));
                    let Some(declared) = declared else {
                        self.causes.push(Cause::invalid(
                            format!("{keys_field}[{index}]"),
                            &Value::from(key.as_str()),
                            "entries must all be names of item properties",
                        ));
                        continue;
                    };
                    let is_sure = declared.default_value().is_some()
                        || items.is_some_and(|items| items.required.contains(key));
                    if !is_sure {
                        self.causes.push(Cause::required(
                            format!("{path}.items.properties[{key}].default"),
                            "this property is in x-kubernetes-list-map-keys, so it must have a \
                             default or be a required property",
                        ));
                    }
                }
            }
        }
    }

    pub(super) fn check_default(&mut self, schema: &Schema, path: &str) {
        let Some(default) = schema.default_value() else {
            return;
        };
        let field = format!("{path}.default");
        let unknown = schema.unknown_fields(default);
        if let Some(first) = unknown.first() {
            let detail = format!("must not have unknown fields, but has {first}");
            self.causes
                .push(Cause::invalid(field.clone(), default, &detail));
        }
        // Defaults inside it are filled before anybody sees it.
        let mut filled = default.clone();
        schema.default(&mut filled);
        self.causes
            .extend(schema.validate_at(&filled, None, &field));
    }
}

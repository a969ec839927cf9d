//! What is wrong with a value: types, bounds, enums, combinations, duplicates; with upstream's texts.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::causes::{NO_PATH, not_in_enum, too_long, too_many};
use super::{ListType, MAX_DEPTH, Node, Nulls, Schema, Type, format};
use crate::status::Cause;

/// An object with more faults than this lists only the first ones.
const MAX_CAUSES: usize = 100;

impl Schema {
    /// Everything that is wrong with `value`; empty if nothing. `old` is the stored object of an update: parts that did
    /// not change are not judged again, so that a schema may be tightened without locking objects.
    pub fn validate(&self, value: &Value, old: Option<&Value>) -> Vec<Cause> {
        self.validate_at(value, old, "")
    }

    /// [`Schema::validate`] for a value that stands at `path` in its object.
    pub fn validate_at(&self, value: &Value, old: Option<&Value>, path: &str) -> Vec<Cause> {
        let mut validator = Validator {
            causes: Vec::new(),
            depth: 0,
        };
        validator.check(self.node(), value, old, path);
        validator.causes.truncate(MAX_CAUSES);
        validator.causes
    }
}

struct Validator {
    causes: Vec<Cause>,
    depth: usize,
}

impl Validator {
    fn check(&mut self, node: &Node, value: &Value, old: Option<&Value>, path: &str) {
        if old == Some(value) || self.causes.len() >= MAX_CAUSES {
            return;
        }
        if self.depth >= MAX_DEPTH {
            let detail = format!("must not nest deeper than {MAX_DEPTH} levels");
            self.causes.push(Cause::forbidden(path, &detail));
            return;
        }
        self.depth += 1;
        self.check_node(node, value, old, path);
        self.depth -= 1;
    }

    fn check_node(&mut self, node: &Node, value: &Value, old: Option<&Value>, path: &str) {
        if value.is_null() && node.nulls == Nulls::Absent {
            return;
        }
        if !has_type(node, value) {
            self.wrong_type(node, value, path);
            return;
        }
        self.combinations(node, value, path);
        match value {
            Value::String(text) => self.string(node, text, value, path),
            Value::Number(number) => {
                self.number(node, number.as_f64().unwrap_or_default(), value, path);
            }
            Value::Array(items) => self.array(node, items, old, path),
            Value::Object(fields) => self.object(node, fields, old, path),
            Value::Null | Value::Bool(_) => {}
        }
        if !node.enumeration.is_empty() && !node.enumeration.iter().any(|one| same(one, value)) {
            self.causes
                .push(not_in_enum(path, value, &node.enumeration));
        }
    }

    fn wrong_type(&mut self, node: &Node, value: &Value, path: &str) {
        let wanted = match node.value_type {
            Some(wanted) => wanted.name(),
            None => "integer,string",
        };
        let actual = type_name(value);
        let detail = format!("{path} in body must be of type {wanted}: \"{actual}\"");
        self.causes
            .push(Cause::type_invalid(path, &Value::from(actual), &detail));
    }

    fn invalid(&mut self, path: &str, value: &Value, rule: &str) {
        self.causes.push(Cause::invalid(
            path,
            value,
            &format!("{path} in body {rule}"),
        ));
    }

    fn string(&mut self, node: &Node, text: &str, value: &Value, path: &str) {
        if node.min_length.is_some() || node.max_length.is_some() {
            let length = text.chars().count() as u64;
            if let Some(limit) = node.max_length.filter(|limit| length > *limit) {
                self.causes.push(too_long(path, limit));
            }
            if let Some(limit) = node.min_length.filter(|limit| length < *limit) {
                self.invalid(
                    path,
                    value,
                    &format!("should be at least {limit} chars long"),
                );
            }
        }
        if let Some(pattern) = &node.pattern
            && !pattern.is_match(text)
        {
            self.invalid(path, value, &format!("should match '{}'", pattern.source()));
        }
        if let Some(name) = &node.format
            && !format::matches(name, text)
        {
            let detail = format!("{path} in body must be of type {name}: {value}");
            self.causes.push(Cause::type_invalid(path, value, &detail));
        }
    }

    fn number(&mut self, node: &Node, number: f64, value: &Value, path: &str) {
        if let Some(factor) = node.multiple_of {
            let times = number / factor;
            if times != times.trunc() {
                self.invalid(path, value, &format!("should be a multiple of {factor}"));
            }
        }
        if let Some(limit) = node.maximum {
            if node.exclusive_maximum && number >= limit {
                self.invalid(path, value, &format!("should be less than {limit}"));
            } else if number > limit {
                self.invalid(
                    path,
                    value,
                    &format!("should be less than or equal to {limit}"),
                );
            }
        }
        if let Some(limit) = node.minimum {
            if node.exclusive_minimum && number <= limit {
                self.invalid(path, value, &format!("should be greater than {limit}"));
            } else if number < limit {
                self.invalid(
                    path,
                    value,
                    &format!("should be greater than or equal to {limit}"),
                );
            }
        }
        if let Some(name) = &node.format
            && let Value::Number(exact) = value
            && !format::in_range(name, exact)
        {
            let detail = format!("{path} in body must be of type {name}: {value}");
            self.causes.push(Cause::type_invalid(path, value, &detail));
        }
    }

    fn array(&mut self, node: &Node, items: &[Value], old: Option<&Value>, path: &str) {
        if let Some(limit) = node.max_items.filter(|limit| items.len() as u64 > *limit) {
            self.causes.push(too_many(path, items.len(), limit));
        }
        if let Some(limit) = node.min_items.filter(|limit| (items.len() as u64) < *limit) {
            let count = Value::from(items.len());
            self.invalid(path, &count, &format!("should have at least {limit} items"));
        }
        // Built-in kinds judge duplicates kind by kind; their list types only say how to merge.
        if node.nulls == Nulls::Refuse {
            self.duplicates(node, items, path);
        }
        let Some(schema) = &node.items else { return };
        let earlier = earlier_items(node, old);
        for (index, item) in items.iter().enumerate() {
            let before = match earlier.is_empty() {
                true => None,
                false => {
                    item_keys(node, item).and_then(|key| earlier.get(&key.to_string()).copied())
                }
            };
            self.check(schema.node(), item, before, &format!("{path}[{index}]"));
        }
    }

    fn duplicates(&mut self, node: &Node, items: &[Value], path: &str) {
        if !matches!(node.list_type, Some(ListType::Set | ListType::Map)) {
            return;
        }
        let mut seen = std::collections::BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let key = match node.list_type {
                Some(ListType::Map) => item_keys(node, item),
                _ => Some(item.clone()),
            };
            let Some(key) = key else { continue };
            if !seen.insert(key.to_string()) {
                self.causes
                    .push(Cause::duplicate(format!("{path}[{index}]"), &key));
            }
        }
    }

    fn object(
        &mut self,
        node: &Node,
        fields: &Map<String, Value>,
        old: Option<&Value>,
        path: &str,
    ) {
        let child_path = |name: &str| match path.is_empty() {
            true => name.to_owned(),
            false => format!("{path}.{name}"),
        };
        if let Some(limit) = node
            .max_properties
            .filter(|limit| fields.len() as u64 > *limit)
        {
            self.causes.push(too_many(path, fields.len(), limit));
        }
        if let Some(limit) = node
            .min_properties
            .filter(|limit| (fields.len() as u64) < *limit)
        {
            let count = Value::from(fields.len());
            self.invalid(
                path,
                &count,
                &format!("should have at least {limit} properties"),
            );
        }
        for name in &node.required {
            let missing = match fields.get(name) {
                None => true,
                Some(value) => value.is_null() && node.nulls == Nulls::Absent,
            };
            if missing {
                self.causes.push(Cause::required(child_path(name), ""));
            }
        }
        if node.embedded_resource && node.nulls == Nulls::Refuse {
            for name in ["apiVersion", "kind"] {
                let given = fields.get(name).and_then(Value::as_str).unwrap_or_default();
                if given.is_empty() {
                    let cause = Cause::required(child_path(name), "must not be empty");
                    self.causes.push(cause);
                }
            }
        }
        for (name, value) in fields {
            let schema = node
                .properties
                .get(name)
                .or(node.additional_properties.as_ref());
            if let Some(schema) = schema {
                let before = old.and_then(|old| old.get(name));
                self.check(schema.node(), value, before, &child_path(name));
            }
        }
    }

    fn combinations(&mut self, node: &Node, value: &Value, path: &str) {
        let mut failed = false;
        for schema in &node.all_of {
            let causes = self.apart(schema, value, path);
            failed |= !causes.is_empty();
            self.causes.extend(causes);
        }
        if failed {
            self.combination(path, "must validate all the schemas (allOf)");
        }
        if !node.any_of.is_empty() {
            let (valid, best) = self.alternatives(&node.any_of, value, path);
            if valid == 0 {
                self.combination(path, "must validate at least one schema (anyOf)");
                self.causes.extend(best);
            }
        }
        if !node.one_of.is_empty() {
            let (valid, best) = self.alternatives(&node.one_of, value, path);
            let rule = "must validate one and only one schema (oneOf).";
            if valid == 0 {
                self.combination(path, &format!("{rule} Found none valid"));
                self.causes.extend(best);
            } else if valid > 1 {
                self.combination(path, &format!("{rule} Found {valid} valid alternatives"));
            }
        }
        if let Some(schema) = &node.not
            && self.apart(schema, value, path).is_empty()
        {
            self.combination(path, "must not validate the schema (not)");
        }
    }

    fn combination(&mut self, path: &str, rule: &str) {
        let detail = format!("\"{path}\" {rule}");
        self.causes
            .push(Cause::invalid(NO_PATH, &Value::from(""), &detail));
    }

    /// The faults by one nested schema alone.
    fn apart(&self, schema: &Schema, value: &Value, path: &str) -> Vec<Cause> {
        let mut validator = Validator {
            causes: Vec::new(),
            depth: self.depth,
        };
        validator.check(schema.node(), value, None, path);
        validator.causes
    }

    /// How many alternatives are met, and the faults of the one that came nearest.
    fn alternatives(&self, schemas: &[Schema], value: &Value, path: &str) -> (usize, Vec<Cause>) {
        let mut valid = 0;
        let mut best: Option<Vec<Cause>> = None;
        for schema in schemas {
            let causes = self.apart(schema, value, path);
            if causes.is_empty() {
                valid += 1;
            } else if best.as_ref().is_none_or(|best| causes.len() < best.len()) {
                best = Some(causes);
            }
        }
        (valid, best.unwrap_or_default())
    }
}

fn has_type(node: &Node, value: &Value) -> bool {
    if value.is_null() && node.nullable {
        return true;
    }
    if node.int_or_string {
        return value.is_string() || is_whole(value);
    }
    match node.value_type {
        None => true,
        Some(Type::Object) => value.is_object(),
        Some(Type::Array) => value.is_array(),
        Some(Type::String) => value.is_string(),
        Some(Type::Integer) => is_whole(value),
        Some(Type::Number) => value.is_number(),
        Some(Type::Boolean) => value.is_boolean(),
    }
}

fn is_whole(value: &Value) -> bool {
    value.is_i64()
        || value.is_u64()
        || value
            .as_f64()
            .is_some_and(|number| number.trunc() == number)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_whole(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Equality in which 1 and 1.0 are the same number.
fn same(one: &Value, other: &Value) -> bool {
    one == other || (one.is_number() && other.is_number() && one.as_f64() == other.as_f64())
}

/// The key fields of a list item, as an object; `None` if the item is no object.
fn item_keys(node: &Node, item: &Value) -> Option<Value> {
    let fields = item.as_object()?;
    let keys: Map<String, Value> = node
        .list_keys
        .iter()
        .filter_map(|key| Some((key.clone(), fields.get(key)?.clone())))
        .collect();
    Some(Value::Object(keys))
}

/// The items of the stored list by their keys; only lists of type map say which item is which.
fn earlier_items<'a>(node: &Node, old: Option<&'a Value>) -> BTreeMap<String, &'a Value> {
    match (node.list_type, old) {
        (Some(ListType::Map), Some(Value::Array(items))) => items
            .iter()
            .filter_map(|item| Some((item_keys(node, item)?.to_string(), item)))
            .collect(),
        _ => BTreeMap::new(),
    }
}

//! Objects seen through their schema: which fields a value has, what differs between two values, and merging them.
//!
//! The schema says which lists and maps are one field (atomic) and by what the items of others are told apart. Where there is no
//! schema, maps are granular and lists are atomic.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::element::Element;
use super::field_set::FieldSet;
use crate::schema::{ListType, MapType, Schema};

/// A schema node, or its absence.
#[derive(Debug, Clone, Copy)]
pub struct Type<'a>(pub Option<&'a Schema>);

/// How a value takes part in ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One field: a scalar, an atomic list, an atomic map.
    Leaf,
    List,
    Map,
}

impl<'a> Type<'a> {
    fn shape(self, value: &Value) -> Shape {
        match value {
            Value::Object(_)
                if self
                    .0
                    .is_some_and(|schema| schema.map_type() == MapType::Atomic) =>
            {
                Shape::Leaf
            }
            Value::Object(_) => Shape::Map,
            Value::Array(_) if self.list_type() == ListType::Atomic => Shape::Leaf,
            Value::Array(_) => Shape::List,
            _ => Shape::Leaf,
        }
    }

    /// The type of a field, and whether the schema names the field (keys of maps have no name there).
    fn field(self, name: &str) -> (Type<'a>, bool) {
        let named = self
            .0
            .is_some_and(|schema| schema.node().properties.contains_key(name));
        (Type(self.0.and_then(|schema| schema.property(name))), named)
    }

    fn items(self) -> Type<'a> {
        Type(self.0.and_then(Schema::items))
    }

    fn list_type(self) -> ListType {
        self.0.map_or(ListType::Atomic, Schema::list_type)
    }

    /// The element of a list's item. A key that the item lacks has its default, or is left out.
    pub(crate) fn item(self, item: &Value) -> Element {
        if self.list_type() != ListType::Map {
            return Element::Value(item.to_string());
        }
        let keys = self.0.map_or(&[][..], Schema::list_keys);
        let values = keys
            .iter()
            .filter_map(|key| Some((key.clone(), self.key(item, key)?.clone())));
        Element::Key(Value::Object(values.collect()).to_string())
    }

    /// The value of one key of a list's item, or its default.
    pub(crate) fn key<'v>(self, item: &'v Value, key: &str) -> Option<&'v Value>
    where
        'a: 'v,
    {
        item.get(key)
            .or_else(|| self.items().field(key).0.0?.default_value())
    }
}

/// The fields that a value has.
pub fn field_set(schema: &Schema, value: &Value) -> FieldSet {
    let mut set = fields(Type(Some(schema)), value);
    set.member = false;
    set
}

fn fields(of: Type<'_>, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    match (of.shape(value), value) {
        (Shape::Map, Value::Object(map)) => {
            for (name, value) in map {
                let (field, named) = of.field(name);
                let mut below = fields(field, value);
                let is_empty = value.as_object().is_some_and(Map::is_empty);
                below.member |= !named || is_empty;
                set.attach(Element::Field(name.clone()), below);
            }
        }
        (Shape::List, Value::Array(list)) => {
            for item in list {
                let mut below = fields(of.items(), item);
                below.member = true;
                set.attach(of.item(item), below);
            }
        }
        _ => set.member = true,
    }
    set
}

/// Every path that a value has, containers and empty lists too.
pub fn all_paths(schema: &Schema, value: &Value) -> FieldSet {
    fn walk(of: Type<'_>, value: &Value) -> FieldSet {
        let mut set = FieldSet::leaf();
        match (of.shape(value), value) {
            (Shape::Map, Value::Object(map)) => {
                for (name, value) in map {
                    set.attach(Element::Field(name.clone()), walk(of.field(name).0, value));
                }
            }
            (Shape::List, Value::Array(list)) => {
                for item in list {
                    set.attach(of.item(item), walk(of.items(), item));
                }
            }
            _ => {}
        }
        set
    }
    FieldSet {
        member: false,
        ..walk(Type(Some(schema)), value)
    }
}

/// What differs between two values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Fields that only the second has.
    pub added: FieldSet,
    /// Fields that both have, with different values.
    pub modified: FieldSet,
    /// Fields that only the first has.
    pub removed: FieldSet,
}

impl Changes {
    fn attach(&mut self, element: &Element, below: Changes) {
        self.added.attach(element.clone(), below.added);
        self.modified.attach(element.clone(), below.modified);
        self.removed.attach(element.clone(), below.removed);
    }
}

/// What differs from `before` to `after`.
pub fn compare(schema: &Schema, before: &Value, after: &Value) -> Changes {
    compared(Type(Some(schema)), Some(before), Some(after))
}

fn compared(of: Type<'_>, before: Option<&Value>, after: Option<&Value>) -> Changes {
    let mut changes = Changes::default();
    let ((Some(some), _) | (None, Some(some))) = (before, after) else {
        return changes;
    };
    let shape = of.shape(some);
    if let (Some(left), Some(right)) = (before, after)
        && (shape != of.shape(right) || left.is_array() != right.is_array())
    {
        changes.removed.children = fields(of, left).children;
        changes.added.children = fields(of, right).children;
        changes.modified.member = true;
        return changes;
    }
    let both_empty = [before, after]
        .into_iter()
        .flatten()
        .all(is_empty_container);
    if shape == Shape::Leaf || both_empty {
        match (before, after) {
            (None, _) => changes.added.member = true,
            (_, None) => changes.removed.member = true,
            (Some(left), Some(right)) => changes.modified.member = !same(left, right),
        }
        return changes;
    }
    if shape == Shape::Map {
        let (left, right) = (
            before.and_then(Value::as_object),
            after.and_then(Value::as_object),
        );
        let names: BTreeSet<&String> = left.into_iter().chain(right).flat_map(Map::keys).collect();
        for name in names {
            let left = left.and_then(|map| map.get(name));
            let right = right.and_then(|map| map.get(name));
            let below = compared(of.field(name).0, left, right);
            changes.attach(&Element::Field(name.clone()), below);
        }
    } else {
        compare_lists(of, before, after, &mut changes);
    }
    changes.added.member = before.is_none();
    changes.removed.member = after.is_none();
    changes
}

fn compare_lists(
    of: Type<'_>,
    before: Option<&Value>,
    after: Option<&Value>,
    changes: &mut Changes,
) {
    let mut items: BTreeMap<Element, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    for item in before.and_then(Value::as_array).into_iter().flatten() {
        items.entry(of.item(item)).or_default().0.push(item);
    }
    for item in after.and_then(Value::as_array).into_iter().flatten() {
        items.entry(of.item(item)).or_default().1.push(item);
    }
    for (element, (left, right)) in items {
        let below = match (left.as_slice(), right.as_slice()) {
            ([_, _, ..], [_, ..]) | ([_, ..], [_, _, ..]) => {
                // An element that stands several times (only old data has that) is one field.
                let differs = left.len() != right.len()
                    || left
                        .iter()
                        .zip(&right)
                        .any(|(left, right)| !same(left, right));
                let modified = FieldSet {
                    member: differs,
                    ..FieldSet::default()
                };
                Changes {
                    modified,
                    ..Changes::default()
                }
            }
            (left, right) => compared(of.items(), left.first().copied(), right.first().copied()),
        };
        changes.attach(&element, below);
    }
}

fn is_empty_container(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// Equality as JSON has it: 1 and 1.0 are one number.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || left.as_f64() == right.as_f64()
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(name, left)| right.get(name).is_some_and(|right| same(left, right)))
        }
        _ => left == right,
    }
}

/// `live` with the fields of `applied` set. Nothing is removed: fields that `applied` lacks stay.
pub fn merge(schema: &Schema, live: &Value, applied: &Value) -> Value {
    merged(Type(Some(schema)), live, applied)
}

fn merged(of: Type<'_>, live: &Value, applied: &Value) -> Value {
    match (of.shape(applied), live, applied) {
        (Shape::Map, Value::Object(live), Value::Object(applied)) => {
            let mut result = live.clone();
            for (name, value) in applied {
                let value = match live.get(name) {
                    Some(live) => merged(of.field(name).0, live, value),
                    None => value.clone(),
                };
                result.insert(name.clone(), value);
            }
            Value::Object(result)
        }
        (Shape::List, Value::Array(live), Value::Array(applied)) => {
            Value::Array(merge_lists(of, live, applied))
        }
        _ => applied.clone(),
    }
}

/// Items of `applied` come in their order. Items that only `live` has keep their order, and stand as early as the items that both
/// have allow.
fn merge_lists(of: Type<'_>, live: &[Value], applied: &[Value]) -> Vec<Value> {
    let live: Vec<(Element, &Value)> = live.iter().map(|item| (of.item(item), item)).collect();
    let applied: Vec<(Element, &Value)> =
        applied.iter().map(|item| (of.item(item), item)).collect();
    let only_live: BTreeSet<&Element> = {
        let applied: BTreeSet<&Element> = applied.iter().map(|(element, _)| element).collect();
        live.iter()
            .map(|(element, _)| element)
            .filter(|element| !applied.contains(element))
            .collect()
    };
    // The first of several live items with one element: duplicates are old data, and the applied item replaces them all.
    let mut places: BTreeMap<&Element, &Value> = BTreeMap::new();
    for (element, item) in &live {
        places.entry(element).or_insert(item);
    }
    let mut shared = applied
        .iter()
        .map(|(element, _)| element)
        .filter(|element| places.contains_key(element));
    let mut next_shared = shared.next();
    let mut waiting = live.iter().peekable();
    let mut result = Vec::with_capacity(live.len() + applied.len());
    for (element, item) in &applied {
        while let Some((live, value)) = waiting.next_if(|(live, _)| Some(live) != next_shared) {
            if only_live.contains(live) {
                result.push((*value).clone());
            }
        }
        if next_shared == Some(element) {
            next_shared = shared.next();
        }
        result.push(match places.get(element) {
            Some(live) => merged(of.items(), live, item),
            None => (*item).clone(),
        });
    }
    result.extend(
        waiting
            .filter(|(live, _)| only_live.contains(live))
            .map(|(_, value)| (*value).clone()),
    );
    result
}

/// `value` without the fields in `set`: a path in the set takes all below it away. A container that is not in the set stays,
/// even with nothing left in it.
pub fn remove(schema: &Schema, value: &Value, set: &FieldSet) -> Value {
    removed(Type(Some(schema)), value, set)
}

fn removed(of: Type<'_>, value: &Value, set: &FieldSet) -> Value {
    let keep = |element: &Element, below: Type<'_>, value: &Value| match set.children.get(element) {
        None => Some(value.clone()),
        Some(child) if child.member => None,
        Some(child) => Some(removed(below, value, child)),
    };
    match (of.shape(value), value) {
        (Shape::Map, Value::Object(map)) => {
            let left = map.iter().filter_map(|(name, value)| {
                let kept = keep(&Element::Field(name.clone()), of.field(name).0, value)?;
                Some((name.clone(), kept))
            });
            Value::Object(left.collect())
        }
        (Shape::List, Value::Array(list)) => {
            let left = list
                .iter()
                .filter_map(|item| keep(&of.item(item), of.items(), item));
            Value::Array(left.collect())
        }
        _ => value.clone(),
    }
}

/// The same set, with every field that the schema names and that has something of the set below it.
#[must_use]
pub fn with_named_fields(schema: &Schema, set: &FieldSet) -> FieldSet {
    named(Type(Some(schema)), set)
}

fn named(of: Type<'_>, set: &FieldSet) -> FieldSet {
    let children = set.children.iter().map(|(element, child)| {
        let (below, is_named) = match element {
            Element::Field(name) => of.field(name),
            _ => (of.items(), false),
        };
        let mut child = named(below, child);
        child.member |= is_named && !child.children.is_empty();
        (element.clone(), child)
    });
    FieldSet {
        member: set.member,
        children: children.collect(),
    }
}

/// The same set for a schema that has changed since: what is atomic now is owned whole.
#[must_use]
pub fn fitted(schema: &Schema, set: &FieldSet) -> FieldSet {
    fit(Type(Some(schema)), set)
}

fn fit(of: Type<'_>, set: &FieldSet) -> FieldSet {
    let is_atomic = of.0.is_some_and(|schema| match schema.value_type() {
        Some(crate::schema::Type::Array) => schema.list_type() == ListType::Atomic,
        Some(crate::schema::Type::Object) => schema.map_type() == MapType::Atomic,
        _ => false,
    });
    if is_atomic && !set.children.is_empty() {
        return FieldSet::leaf();
    }
    let children = set.children.iter().map(|(element, child)| {
        let below = match element {
            Element::Field(name) => of.field(name).0,
            _ => of.items(),
        };
        (element.clone(), fit(below, child))
    });
    FieldSet {
        member: set.member,
        children: children.collect(),
    }
}

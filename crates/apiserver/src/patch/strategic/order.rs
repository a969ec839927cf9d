//! The order of merged lists: items of the patch in the patch's order, all others where they were, as far as both allow.

use serde_json::Value;

/// The `$patch` directive of a list item.
pub(super) fn directive(item: &Value) -> Option<&str> {
    item.get(super::PATCH).and_then(Value::as_str)
}

/// Whether two items are the same one: equal scalars, or objects whose merge keys are equal.
fn is_same(left: &Value, right: &Value, key: Option<&str>) -> bool {
    match key {
        Some(key) => left.get(key).is_some() && left.get(key) == right.get(key),
        None => left == right,
    }
}

fn place(list: &[Value], item: &Value, key: Option<&str>) -> Option<usize> {
    list.iter().position(|other| is_same(other, item, key))
}

/// Whether every item stands in `wanted`, and in that order.
pub(super) fn is_ordered_as(items: &[&Value], wanted: &[Value], key: Option<&str>) -> bool {
    let mut rest = wanted.iter();
    items
        .iter()
        .all(|item| rest.any(|other| is_same(other, item, key)))
}

/// `merged`, with the items that stand in `wanted` in that order, and the others in the order of `present`. The two sequences
/// are interleaved: an item that is not in `wanted` comes before the first wanted item that it preceded in `present`.
pub(super) fn arrange(
    merged: Vec<Value>,
    wanted: &[Value],
    present: &[Value],
    key: Option<&str>,
) -> Vec<Value> {
    let (mut ours, mut others): (Vec<Value>, Vec<Value>) = merged
        .into_iter()
        .partition(|item| place(wanted, item, key).is_some());
    ours.sort_by_key(|item| place(wanted, item, key));
    others.sort_by_key(|item| place(present, item, key).unwrap_or(usize::MAX));
    let mut result = Vec::with_capacity(ours.len() + others.len());
    let mut others = others.into_iter().peekable();
    for item in ours {
        let here = place(present, &item, key);
        while let (Some(other), Some(here)) = (others.peek(), here) {
            if place(present, other, key).is_some_and(|other| other < here) {
                result.extend(others.next());
            } else {
                break;
            }
        }
        result.push(item);
    }
    result.extend(others);
    result
}

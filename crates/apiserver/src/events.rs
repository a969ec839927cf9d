//! Events have two forms: `v1` and `events.k8s.io/v1`. They are stored in the first.

use serde_json::{Map, Value};

/// Fields of `v1` Event and their names in `events.k8s.io/v1`; all others have the same name.
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// The `events.k8s.io/v1` form of a `v1` Event.
pub(crate) fn to_view(object: Value) -> Value {
    rename(object, |name| {
        RENAMED
            .iter()
            .find(|pair| pair.0 == name)
            .map(|pair| pair.1)
    })
}

/// The `v1` form of an `events.k8s.io/v1` Event.
pub(crate) fn from_view(object: Value) -> Value {
    rename(object, |name| {
        RENAMED
            .iter()
            .find(|pair| pair.1 == name)
            .map(|pair| pair.0)
    })
}

fn rename(object: Value, new_name: impl Fn(&str) -> Option<&'static str>) -> Value {
    let Value::Object(map) = object else {
        return object;
    };
    let renamed: Map<String, Value> = map
        .into_iter()
        .map(|(key, value)| match new_name(&key) {
            Some(other) => (other.to_owned(), value),
            None => (key, value),
        })
        .collect();
    Value::Object(renamed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_survives_the_way_there_and_back() {
        let core = json!({
            "kind": "Event", "involvedObject": {"name": "vm"}, "message": "m", "reason": "Started",
            "count": 2, "reportingComponent": "c", "metadata": {"name": "e"},
        });
        let view = to_view(core.clone());
        assert_eq!(view["regarding"]["name"], "vm");
        assert_eq!(view["note"], "m");
        assert_eq!(from_view(view), core);
    }
}

//! What upstream's documents say and `k8s-openapi` does not: group, version and kind of definitions, how lists and
//! maps are merged, and constant defaults.

mod kinds;
mod lists;
mod values;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

pub(super) use kinds::KINDS;
use lists::{ATOMIC_MAPS, LISTS, complete_list};
use values::{DEFAULTS, ENUMS, ZEROES};

const CORE: &str = "io.k8s.api.core.v1.";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.";
const AUTHORIZATION_TYPES: &str = "io.k8s.api.authorization.v1.";
const AUTHENTICATION_TYPES: &str = "io.k8s.api.authentication.v1.";

/// Writes the tables into the definitions.
pub(super) fn complete(definitions: &mut BTreeMap<String, Value>) {
    for (prefix, name, lists) in LISTS {
        for (field, list) in *lists {
            if let Some(keywords) = property(definitions, prefix, name, field) {
                complete_list(keywords, list);
            }
        }
    }
    for (prefix, name) in ATOMIC_MAPS {
        if let Some(Value::Object(keywords)) = definitions.get_mut(&format!("{prefix}{name}")) {
            keywords.insert("x-kubernetes-map-type".to_owned(), json!("atomic"));
        }
    }
    for (prefix, name, zeroes) in ZEROES {
        if let Some(Value::Object(keywords)) = definitions.get_mut(&format!("{prefix}{name}")) {
            not_required(keywords, |field| {
                zeroes.iter().any(|(zero, _)| field == zero)
            });
        }
    }
    for (prefix, name, defaults) in DEFAULTS.iter().chain(ZEROES) {
        for (field, text) in *defaults {
            let default = serde_json::from_str::<Value>(text);
            if let (Some(keywords), Ok(default)) =
                (property(definitions, prefix, name, field), default)
            {
                keywords.insert("default".to_owned(), default);
            }
        }
    }
    for (prefix, name, field, words) in ENUMS {
        if let Some(keywords) = property(definitions, prefix, name, field) {
            keywords.insert("enum".to_owned(), json!(words));
        }
    }
    for entry in KINDS {
        if let Some(Value::Object(keywords)) = definitions.get_mut(entry.definition) {
            let identity =
                json!([{"group": entry.group, "kind": entry.kind, "version": entry.version}]);
            keywords.insert("x-kubernetes-group-version-kind".to_owned(), identity);
        }
    }
}

/// Takes fields off the list of required ones. An empty list must not stand in a document.
pub(super) fn not_required(keywords: &mut Map<String, Value>, drop: impl Fn(&Value) -> bool) {
    if let Some(Value::Array(required)) = keywords.get_mut("required") {
        required.retain(|field| !drop(field));
        if required.is_empty() {
            keywords.remove("required");
        }
    }
}

fn property<'a>(
    definitions: &'a mut BTreeMap<String, Value>,
    prefix: &str,
    name: &str,
    field: &str,
) -> Option<&'a mut Map<String, Value>> {
    definitions
        .get_mut(&format!("{prefix}{name}"))?
        .get_mut("properties")?
        .get_mut(field)?
        .as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_tables_names_something_that_exists() {
        let definitions = crate::builtin_schema::definitions();
        let field_exists = |prefix: &str, name: &str, field: &str| {
            definitions
                .get(&format!("{prefix}{name}"))
                .and_then(|schema| schema.get("properties")?.get(field))
                .is_some()
        };
        let mut missing = Vec::new();
        for (prefix, name, lists) in LISTS {
            for (field, _) in *lists {
                if !field_exists(prefix, name, field) {
                    missing.push(format!("{prefix}{name}.{field}"));
                }
            }
        }
        for (prefix, name, defaults) in DEFAULTS.iter().chain(ZEROES) {
            for (field, text) in *defaults {
                assert!(serde_json::from_str::<Value>(text).is_ok(), "{text}");
                if !field_exists(prefix, name, field) {
                    missing.push(format!("{prefix}{name}.{field}"));
                }
            }
        }
        for (prefix, name, field, _) in ENUMS {
            if !field_exists(prefix, name, field) {
                missing.push(format!("{prefix}{name}.{field}"));
            }
        }
        for (prefix, name) in ATOMIC_MAPS {
            if !definitions.contains_key(&format!("{prefix}{name}")) {
                missing.push(format!("{prefix}{name}"));
            }
        }
        for entry in KINDS {
            if !definitions.contains_key(entry.definition) {
                missing.push(entry.definition.to_owned());
            }
        }
        assert_eq!(missing, Vec::<String>::new());
    }
}

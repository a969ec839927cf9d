//! CustomResourceDefinitions: what is wrong with one, its status, and the kinds that it defines.
//! A definition is established in the write that creates it, and served before that is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use store::{Listing, Store};

use crate::builtin::{self, EXTENSIONS_GROUP, STORED_VERBS};
use crate::extension::Extensions;
use crate::metadata;
use crate::names;
use crate::object::Write;
use crate::registry::{CodeSubresource, Kind, Registry, Role, Storage};
use crate::resource_type::{
    GenerationRule, NameRule, Names, Origin, PrinterColumn, ResourceType, Scale, SelectableField,
    Strategy,
};
use crate::schema::Schema;
use crate::status::{Cause, Status};
use crate::table::{Columns, validate_columns};

/// The plural name of definitions.
pub(crate) const DEFINITIONS: &str = "customresourcedefinitions";
/// The finalizer that keeps a definition until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Whether a kind is CustomResourceDefinition itself.
pub(crate) fn is_definition(kind: &Kind) -> bool {
    kind.is(EXTENSIONS_GROUP, DEFINITIONS)
}

/// The definitions in the store, by name, with their revisions.
fn stored(store: &Store) -> Result<Vec<(Value, u64)>, Status> {
    let prefix = crate::stored::prefix(EXTENSIONS_GROUP, DEFINITIONS, None);
    let page = store
        .list(&prefix, Listing::default())
        .map_err(|error| crate::object::store_failure(&error))?;
    page.entries
        .iter()
        .map(|entry| {
            let value = crate::stored::decode_entry(entry).map_err(Status::internal)?;
            Ok((value, entry.modified))
        })
        .collect()
}

/// The table of all kinds: built-in ones, groups served by code, and those that stored definitions
/// define. Kinds of definitions that did not change are taken from `before`.
pub(crate) fn build(
    store: &Store,
    extensions: &Extensions,
    before: Option<&Registry>,
) -> Result<Registry, Status> {
    let mut kinds = match before {
        Some(before) => before
            .kinds()
            .filter(|kind| !kind.resource.is_custom())
            .cloned()
            .collect(),
        None => builtin::kinds(),
    };
    // Discovery's order is the table's.
    kinds.sort_by_key(|kind| builtin::position(&kind.resource.group, &kind.resource.names.plural));
    for (definition, revision) in stored(store)? {
        kinds.extend(kinds_of(&definition, revision, before));
    }
    let subresources = extensions
        .subresources
        .iter()
        .map(|(group, resource, subresource, handler)| CodeSubresource {
            name: (group.clone(), resource.clone(), subresource.clone()),
            handler: Arc::clone(handler),
        })
        .collect();
    Ok(Registry::new(
        kinds,
        extensions.groups.clone(),
        subresources,
    ))
}

/// The kinds of one definition, one for each served version.
fn kinds_of(definition: &Value, revision: u64, before: Option<&Registry>) -> Vec<Arc<Kind>> {
    if !has_condition(definition, "Established") {
        return Vec::new();
    }
    let versions = definition["spec"]["versions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    versions
        .iter()
        .filter(|version| version["served"] == true)
        .filter_map(|version| {
            let group = text(&definition["spec"], "group");
            let plural = text(&definition["status"]["acceptedNames"], "plural");
            let known = before.and_then(|known| known.find(group, text(version, "name"), plural));
            match known {
                Some(kind) if kind.definition_revision == revision => Some(Arc::clone(kind)),
                _ => kind_of(definition, version, revision).map(Arc::new),
            }
        })
        .collect()
}

fn has_condition(definition: &Value, kind: &str) -> bool {
    definition["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == kind && condition["status"] == "True")
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or("")
}

fn texts(value: &Value, field: &str) -> Vec<String> {
    let list = value
        .get(field)
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// One version of a definition as a kind. `None` when its schema does not compile, which validation
/// at its write excludes.
fn kind_of(definition: &Value, version: &Value, revision: u64) -> Option<Kind> {
    let spec = &definition["spec"];
    let accepted = &definition["status"]["acceptedNames"];
    let group = text(spec, "group").to_owned();
    let version_name = text(version, "name").to_owned();
    let open_api_schema = version["schema"]["openAPIV3Schema"].clone();
    let schema = match Schema::compile(&open_api_schema) {
        Ok(schema) => schema,
        Err(causes) => {
            let name = metadata::name(definition);
            tracing::error!(
                name,
                version_name,
                ?causes,
                "a stored schema does not compile"
            );
            return None;
        }
    };
    let storage_version = spec["versions"]
        .as_array()?
        .iter()
        .find(|version| version["storage"] == true)
        .map(|version| text(version, "name").to_owned())?;
    let subresources = &version["subresources"];
    let scale = subresources
        .get("scale")
        .filter(|scale| scale.is_object())
        .map(|scale| Scale {
            spec_replicas_path: text(scale, "specReplicasPath").to_owned(),
            status_replicas_path: text(scale, "statusReplicasPath").to_owned(),
            label_selector_path: Some(text(scale, "labelSelectorPath").to_owned())
                .filter(|path| !path.is_empty()),
        });
    let plural = text(accepted, "plural").to_owned();
    let deprecated = version["deprecated"] == true;
    let api_version = crate::resource_type::api_version(&group, &version_name);
    let kind_name = text(accepted, "kind").to_owned();
    let deprecation_warning = deprecated.then(|| {
        version["deprecationWarning"].as_str().map_or_else(
            || format!("{api_version} {kind_name} is deprecated"),
            str::to_owned,
        )
    });
    let default_on_read = has_defaults(&open_api_schema);
    let resource = ResourceType {
        version: version_name,
        names: Names {
            plural: plural.clone(),
            singular: text(accepted, "singular").to_owned(),
            kind: kind_name,
            list_kind: text(accepted, "listKind").to_owned(),
            short_names: texts(accepted, "shortNames"),
            categories: texts(accepted, "categories"),
        },
        namespaced: text(spec, "scope") == "Namespaced",
        origin: Origin::CustomResource,
        open_api_schema: Arc::new(open_api_schema),
        strategy: Strategy {
            status: subresources.get("status").is_some_and(Value::is_object),
            scale,
            unconditional_update: false,
            create_on_update: false,
            graceful_delete: false,
            generation: GenerationRule::NonMetadata,
            name_rule: NameRule::Subdomain,
        },
        columns: columns(version),
        selectable_fields: selectable_fields(version),
        verbs: STORED_VERBS.to_vec(),
        deprecation_warning,
        group: group.clone(),
    };
    Some(Kind {
        columns: Columns::of(&resource),
        storage: Storage {
            api_version: crate::resource_type::api_version(&group, &storage_version),
            group,
            plural,
        },
        resource,
        schema,
        default_on_read,
        terminating: metadata::is_deleting(definition),
        definition_revision: revision,
        role: Role::Stored,
    })
}

fn columns(version: &Value) -> Vec<PrinterColumn> {
    let list = version["additionalPrinterColumns"]
        .as_array()
        .into_iter()
        .flatten();
    list.map(|column| PrinterColumn {
        name: text(column, "name").to_owned(),
        kind: text(column, "type").to_owned(),
        format: text(column, "format").to_owned(),
        description: text(column, "description").to_owned(),
        priority: column["priority"]
            .as_i64()
            .and_then(|one| i32::try_from(one).ok())
            .unwrap_or(0),
        json_path: text(column, "jsonPath").to_owned(),
    })
    .collect()
}

fn selectable_fields(version: &Value) -> Vec<SelectableField> {
    let list = version["selectableFields"].as_array().into_iter().flatten();
    list.map(|field| text(field, "jsonPath"))
        .map(|path| SelectableField {
            name: path.trim_start_matches('.').to_owned(),
            json_path: path.to_owned(),
            missing: String::new(),
        })
        .collect()
}

/// Whether a schema has a default anywhere. A property of that name does not count.
fn has_defaults(schema: &Value) -> bool {
    let Some(map) = schema.as_object() else {
        return false;
    };
    map.contains_key("default")
        || map.iter().any(|(key, value)| match key.as_str() {
            "properties" => value
                .as_object()
                .is_some_and(|map| map.values().any(has_defaults)),
            "items" | "additionalProperties" => has_defaults(value),
            _ => false,
        })
}

/// Before a definition is written: its defaults, its validation, its status. Other kinds pass.
///
/// # Errors
/// 422 with everything that is wrong.
pub(crate) fn before_write(
    write: &Write<'_>,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if !is_definition(write.kind) {
        return Ok(());
    }
    if write.subresource.is_none() {
        defaults(object);
        let causes = validate(object, old);
        if !causes.is_empty() {
            return Err(write.invalid(metadata::name(object), causes));
        }
        if old.is_none() {
            let mut finalizers: Vec<String> = metadata::finalizers(object)
                .into_iter()
                .map(str::to_owned)
                .collect();
            finalizers.retain(|name| name != CLEANUP);
            finalizers.push(CLEANUP.to_owned());
            metadata::set_finalizers(object, &finalizers);
        }
    }
    let others = stored(&write.server.store)?;
    let names = Taken::new(
        &others,
        text(&object["spec"], "group"),
        metadata::name(object),
    );
    establish(object, &names, &metadata::time(write.server.now()));
    Ok(())
}

fn defaults(object: &mut Value) {
    let spec = &mut object["spec"];
    let kind = text(&spec["names"], "kind").to_owned();
    if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
        names
            .entry("singular")
            .or_insert_with(|| Value::from(kind.to_ascii_lowercase()));
        names
            .entry("listKind")
            .or_insert_with(|| Value::from(format!("{kind}List")));
    }
    if spec["conversion"].is_null() && spec.is_object() {
        spec["conversion"] = json!({"strategy": "None"});
    }
}

fn validate(object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let spec = &object["spec"];
    let mut causes = Vec::new();
    let group = text(spec, "group");
    let plural = text(&spec["names"], "plural");
    let name = metadata::name(object);
    if name != format!("{plural}.{group}") {
        let why = "must be spec.names.plural+\".\"+spec.group";
        causes.push(Cause::invalid("metadata.name", &json!(name), why));
    }
    match names::fault(NameRule::Subdomain, group) {
        _ if group.is_empty() => causes.push(Cause::required("spec.group", "")),
        Some(why) => causes.push(Cause::invalid("spec.group", &json!(group), &why)),
        None if !group.contains('.') => {
            let why = "should be a domain with at least one dot";
            causes.push(Cause::invalid("spec.group", &json!(group), why));
        }
        None => {}
    }
    let scope = text(spec, "scope");
    if !matches!(scope, "Cluster" | "Namespaced") {
        let supported = ["Cluster", "Namespaced"];
        causes.push(Cause::not_supported(
            "spec.scope",
            &json!(scope),
            &supported,
        ));
    }
    for field in ["plural", "singular", "kind", "listKind"] {
        let value = text(&spec["names"], field);
        let path = format!("spec.names.{field}");
        if value.is_empty() {
            causes.push(Cause::required(path, ""));
        } else if let Some(why) = names::fault(NameRule::Label, &value.to_ascii_lowercase()) {
            causes.push(Cause::invalid(path, &json!(value), &why));
        }
    }
    if text(&spec["conversion"], "strategy") != "None" {
        let strategy = json!(text(&spec["conversion"], "strategy"));
        causes.push(Cause::not_supported(
            "spec.conversion.strategy",
            &strategy,
            &["None"],
        ));
    }
    versions(spec, &mut causes);
    if let Some(old) = old {
        for (field, value, before) in [
            ("spec.group", &spec["group"], &old["spec"]["group"]),
            ("spec.scope", &spec["scope"], &old["spec"]["scope"]),
            (
                "spec.names.plural",
                &spec["names"]["plural"],
                &old["spec"]["names"]["plural"],
            ),
        ] {
            if value != before {
                causes.push(Cause::invalid(field, value, "field is immutable"));
            }
        }
    }
    causes
}

fn versions(spec: &Value, causes: &mut Vec<Cause>) {
    let list = spec["versions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if list.is_empty() {
        causes.push(Cause::required(
            "spec.versions",
            "must have at least one version",
        ));
    }
    let mut seen = BTreeSet::new();
    let mut storage = 0;
    for (index, version) in list.iter().enumerate() {
        let path = format!("spec.versions[{index}]");
        let name = text(version, "name");
        if let Some(why) = names::fault(NameRule::Label, name) {
            causes.push(Cause::invalid(format!("{path}.name"), &json!(name), &why));
        }
        if !seen.insert(name) {
            causes.push(Cause::duplicate(format!("{path}.name"), &json!(name)));
        }
        storage += usize::from(version["storage"] == true);
        let schema = &version["schema"]["openAPIV3Schema"];
        let schema_path = format!("{path}.schema.openAPIV3Schema");
        if schema.is_object() {
            if let Err(found) = Schema::compile_at(schema, &schema_path) {
                causes.extend(found);
            }
        } else {
            causes.push(Cause::required(schema_path, "schemas are required"));
        }
        causes.extend(validate_columns(
            &version["additionalPrinterColumns"],
            &format!("{path}.additionalPrinterColumns"),
        ));
    }
    if storage != 1 && !list.is_empty() {
        let why = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", &json!(seen), why));
    }
}

/// Names that other definitions of a group have.
struct Taken<'a> {
    resources: BTreeMap<&'a str, &'a str>,
    kinds: BTreeMap<&'a str, &'a str>,
}

impl<'a> Taken<'a> {
    fn new(definitions: &'a [(Value, u64)], group: &str, except: &str) -> Taken<'a> {
        let mut taken = Taken {
            resources: BTreeMap::new(),
            kinds: BTreeMap::new(),
        };
        for (definition, _) in definitions {
            let owner = metadata::name(definition);
            if text(&definition["spec"], "group") != group || owner == except {
                continue;
            }
            let accepted = &definition["status"]["acceptedNames"];
            for field in ["plural", "singular"] {
                taken.resources.insert(text(accepted, field), owner);
            }
            let short_names = accepted["shortNames"].as_array().into_iter().flatten();
            for name in short_names.filter_map(Value::as_str) {
                taken.resources.insert(name, owner);
            }
            for field in ["kind", "listKind"] {
                taken.kinds.insert(text(accepted, field), owner);
            }
        }
        taken
    }

    /// The first conflict of these names: reason and message.
    fn conflict(&self, names: &Value) -> Option<(&'static str, String)> {
        let describe = |name: &str| format!("\"{name}\" is already in use");
        for (field, table, reason) in [
            ("plural", &self.resources, "PluralConflict"),
            ("singular", &self.resources, "SingularConflict"),
            ("kind", &self.kinds, "KindConflict"),
            ("listKind", &self.kinds, "ListKindConflict"),
        ] {
            let name = text(names, field);
            if table.contains_key(name) {
                return Some((reason, describe(name)));
            }
        }
        let short_names = names["shortNames"].as_array().into_iter().flatten();
        short_names
            .filter_map(Value::as_str)
            .find(|name| self.resources.contains_key(name))
            .map(|name| ("ShortNamesConflict", describe(name)))
    }
}

/// Sets the status of a definition: accepted names, conditions, stored versions.
fn establish(object: &mut Value, taken: &Taken<'_>, now: &str) {
    let names = object["spec"]["names"].clone();
    if !object["status"].is_object() {
        object["status"] = json!({});
    }
    let accepted = match taken.conflict(&names) {
        None => {
            object["status"]["acceptedNames"] = names;
            set_condition(
                object,
                "NamesAccepted",
                "True",
                "NoConflicts",
                "no conflicts found",
                now,
            );
            true
        }
        Some((reason, message)) => {
            set_condition(object, "NamesAccepted", "False", reason, &message, now);
            has_condition(object, "Established")
        }
    };
    if accepted {
        let message = "the initial names have been accepted";
        set_condition(
            object,
            "Established",
            "True",
            "InitialNamesAccepted",
            message,
            now,
        );
    } else {
        let message = "not all names are accepted";
        set_condition(object, "Established", "False", "NotAccepted", message, now);
        if !object["status"]["acceptedNames"].is_object() {
            object["status"]["acceptedNames"] = json!({"plural": "", "kind": ""});
        }
    }
    let storage = object["spec"]["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|version| version["storage"] == true)
        .map(|version| version["name"].clone());
    if !object["status"]["storedVersions"].is_array() {
        object["status"]["storedVersions"] = json!([]);
    }
    if let (Some(storage), Some(list)) =
        (storage, object["status"]["storedVersions"].as_array_mut())
        && !list.contains(&storage)
    {
        list.push(storage);
    }
}

/// Marks a definition that is on its way out.
pub(crate) fn mark_terminating(object: &mut Value, now: Timestamp) {
    let message = "CustomResource deletion is pending";
    set_condition(
        object,
        "Terminating",
        "True",
        "InstanceDeletionPending",
        message,
        &metadata::time(now),
    );
}

/// Sets a condition; its time changes only with its status.
fn set_condition(
    object: &mut Value,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: &str,
) {
    if !object["status"]["conditions"].is_array() {
        object["status"]["conditions"] = json!([]);
    }
    let Some(list) = object["status"]["conditions"].as_array_mut() else {
        return;
    };
    let present = list.iter_mut().find(|condition| condition["type"] == kind);
    let since = match &present {
        Some(condition) if condition["status"] == status => condition["lastTransitionTime"].clone(),
        _ => json!(now),
    };
    let condition = json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since,
    });
    match present {
        Some(present) => *present = condition,
        None => list.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> Value {
        json!({
            "metadata": {"name": "foos.ex.io"},
            "spec": {
                "group": "ex.io", "scope": "Namespaced",
                "names": {"plural": "foos", "kind": "Foo", "shortNames": ["fo"]},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object"}}}],
            },
        })
    }

    fn fields(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut object = definition();
        change(&mut object);
        defaults(&mut object);
        validate(&object, None)
            .into_iter()
            .map(|cause| cause.field)
            .collect()
    }

    #[test]
    fn a_definition_is_judged_field_by_field() {
        assert!(fields(|_| ()).is_empty());
        let wrong = fields(|object| object["metadata"]["name"] = json!("foo.ex.io"));
        assert_eq!(wrong, ["metadata.name"]);
        assert_eq!(
            fields(|object| object["spec"]["scope"] = json!("Both")),
            ["spec.scope"]
        );
        let none = fields(|object| object["spec"]["versions"] = json!([]));
        assert_eq!(none, ["spec.versions"]);
        let unstored = fields(|object| object["spec"]["versions"][0]["storage"] = json!(false));
        assert_eq!(unstored, ["spec.versions"]);
        let webhook =
            fields(|object| object["spec"]["conversion"] = json!({"strategy": "Webhook"}));
        assert_eq!(webhook, ["spec.conversion.strategy"]);
    }

    #[test]
    fn a_definition_whose_names_are_free_is_established_at_once() {
        let mut object = definition();
        defaults(&mut object);
        establish(&mut object, &Taken::new(&[], "ex.io", "foos.ex.io"), "t1");
        assert!(has_condition(&object, "Established") && has_condition(&object, "NamesAccepted"));
        assert_eq!(object["status"]["acceptedNames"]["listKind"], "FooList");
        assert_eq!(object["status"]["storedVersions"], json!(["v1"]));
        assert_eq!(kinds_of(&object, 1, None).len(), 1);
    }

    #[test]
    fn a_definition_whose_names_are_taken_is_not_served() {
        let mut first = definition();
        defaults(&mut first);
        establish(&mut first, &Taken::new(&[], "ex.io", "foos.ex.io"), "t1");
        let mut second = definition();
        second["metadata"]["name"] = json!("bars.ex.io");
        second["spec"]["names"] = json!({"plural": "bars", "singular": "bar", "kind": "Foo"});
        defaults(&mut second);
        let others = [(first, 1)];
        establish(
            &mut second,
            &Taken::new(&others, "ex.io", "bars.ex.io"),
            "t1",
        );
        assert_eq!(second["status"]["conditions"][0]["reason"], "KindConflict");
        assert!(kinds_of(&second, 2, None).is_empty());
    }

    #[test]
    fn a_property_called_default_is_no_default() {
        let plain = json!({"properties": {"default": {"type": "string"}}});
        assert!(!has_defaults(&plain));
        let nested = json!({"properties": {"a": {"items": {"default": 1}}}});
        assert!(has_defaults(&nested));
    }
}

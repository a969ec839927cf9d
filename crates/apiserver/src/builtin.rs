//! The kinds that are always there, as data: names, scope and rules. Their schemas come from
//! `builtin_schema`; what is special about a few of them stands in `special`.

use std::sync::Arc;

use serde_json::json;

use crate::builtin_schema;
use crate::registry::{Kind, Role, Storage};
use crate::resource_type::{
    GenerationRule, NameRule, Names, Origin, ResourceType, SelectableField, Strategy,
};
use crate::schema::Schema;
use crate::table::Columns;

/// The group of CustomResourceDefinitions.
pub(crate) const EXTENSIONS_GROUP: &str = "apiextensions.k8s.io";

/// One line of the table.
struct Line {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    namespaced: bool,
    status: bool,
    unconditional_update: bool,
    create_on_update: bool,
    generation: GenerationRule,
    name_rule: NameRule,
    review: bool,
}

const fn line(group: &'static str, kind: &'static str, plural: &'static str) -> Line {
    Line {
        group,
        version: "v1",
        kind,
        plural,
        short_names: &[],
        categories: &[],
        namespaced: true,
        status: false,
        unconditional_update: true,
        create_on_update: false,
        generation: GenerationRule::None,
        name_rule: NameRule::Subdomain,
        review: false,
    }
}

const fn review(group: &'static str, kind: &'static str, plural: &'static str) -> Line {
    Line {
        namespaced: false,
        review: true,
        ..line(group, kind, plural)
    }
}

const LINES: &[Line] = &[
    Line {
        short_names: &["cm"],
        ..line("", "ConfigMap", "configmaps")
    },
    Line {
        short_names: &["ev"],
        unconditional_update: true,
        create_on_update: true,
        ..line("", "Event", "events")
    },
    Line {
        short_names: &["ns"],
        namespaced: false,
        status: true,
        name_rule: NameRule::Label,
        ..line("", "Namespace", "namespaces")
    },
    Line {
        short_names: &["no"],
        namespaced: false,
        status: true,
        ..line("", "Node", "nodes")
    },
    Line {
        short_names: &["pvc"],
        status: true,
        ..line("", "PersistentVolumeClaim", "persistentvolumeclaims")
    },
    Line {
        short_names: &["po"],
        categories: &["all"],
        status: true,
        generation: GenerationRule::Spec,
        ..line("", "Pod", "pods")
    },
    line("", "Secret", "secrets"),
    Line {
        short_names: &["sa"],
        ..line("", "ServiceAccount", "serviceaccounts")
    },
    Line {
        short_names: &["crd", "crds"],
        categories: &["api-extensions"],
        namespaced: false,
        status: true,
        unconditional_update: false,
        generation: GenerationRule::Spec,
        ..line(
            EXTENSIONS_GROUP,
            "CustomResourceDefinition",
            "customresourcedefinitions",
        )
    },
    review(
        "authentication.k8s.io",
        "SelfSubjectReview",
        "selfsubjectreviews",
    ),
    review(
        "authorization.k8s.io",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
    ),
    review(
        "authorization.k8s.io",
        "SelfSubjectRulesReview",
        "selfsubjectrulesreviews",
    ),
    review(
        "authorization.k8s.io",
        "SubjectAccessReview",
        "subjectaccessreviews",
    ),
    Line {
        unconditional_update: false,
        create_on_update: true,
        ..line("coordination.k8s.io", "Lease", "leases")
    },
    // Without the short name, so that `kubectl get ev` has one meaning.
    Line {
        create_on_update: true,
        ..line("events.k8s.io", "Event", "events")
    },
    Line {
        short_names: &["pc"],
        namespaced: false,
        generation: GenerationRule::NonMetadata,
        ..line("scheduling.k8s.io", "PriorityClass", "priorityclasses")
    },
];

/// The verbs of stored kinds, in discovery's order.
pub(crate) const STORED_VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// All built-in kinds, in discovery's order.
pub(crate) fn kinds() -> Vec<Arc<Kind>> {
    LINES.iter().map(|line| Arc::new(kind(line))).collect()
}

/// Where discovery lists a built-in kind.
pub(crate) fn position(group: &str, plural: &str) -> usize {
    LINES
        .iter()
        .position(|line| line.group == group && line.plural == plural)
        .unwrap_or(LINES.len())
}

fn kind(line: &Line) -> Kind {
    let api_version = crate::resource_type::api_version(line.group, line.version);
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    // A test of `builtin_schema` says that every kind of the table has one.
    let schema = builtin_schema::schema(line.group, line.version, line.kind)
        .unwrap_or_else(Schema::anything);
    let open_api_schema = builtin_schema::open_api_schema(line.group, line.version, line.kind)
        .cloned()
        .unwrap_or_else(|| json!({"type": "object"}));
    let resource = ResourceType {
        group: line.group.to_owned(),
        version: line.version.to_owned(),
        names: Names {
            plural: line.plural.to_owned(),
            singular: line.kind.to_ascii_lowercase(),
            kind: line.kind.to_owned(),
            list_kind: format!("{}List", line.kind),
            short_names: owned(line.short_names),
            categories: owned(line.categories),
        },
        namespaced: line.namespaced,
        origin: Origin::BuiltIn,
        open_api_schema: Arc::new(open_api_schema),
        strategy: Strategy {
            status: line.status,
            scale: None,
            unconditional_update: line.unconditional_update,
            create_on_update: line.create_on_update,
            graceful_delete: line.group.is_empty() && line.plural == "pods",
            generation: line.generation,
            name_rule: line.name_rule,
        },
        columns: Vec::new(),
        selectable_fields: selectable_fields(line.group, line.plural),
        verbs: if line.review {
            vec!["create"]
        } else {
            STORED_VERBS.to_vec()
        },
        deprecation_warning: None,
    };
    let events_view = line.group == "events.k8s.io";
    let role = match (line.review, events_view) {
        (true, _) => Role::Review,
        (false, true) => Role::EventView,
        (false, false) => Role::Stored,
    };
    Kind {
        storage: Storage {
            group: if events_view {
                String::new()
            } else {
                line.group.to_owned()
            },
            plural: line.plural.to_owned(),
            api_version: if events_view {
                "v1".to_owned()
            } else {
                api_version
            },
        },
        columns: Columns::of(&resource),
        resource,
        schema,
        default_on_read: false,
        terminating: false,
        definition_revision: 0,
        role,
    }
}

fn selectable_fields(group: &str, plural: &str) -> Vec<SelectableField> {
    let field = |name: &str, path: &str, missing: &str| SelectableField {
        name: name.to_owned(),
        json_path: path.to_owned(),
        missing: missing.to_owned(),
    };
    let same = |name: &str| field(name, &format!(".{name}"), "");
    match (group, plural) {
        ("", "pods") => vec![
            same("spec.nodeName"),
            same("spec.restartPolicy"),
            same("spec.schedulerName"),
            same("spec.serviceAccountName"),
            field("spec.hostNetwork", ".spec.hostNetwork", "false"),
            same("status.phase"),
            same("status.podIP"),
            field("status.podIPs", ".status.podIPs[0].ip", ""),
            same("status.nominatedNodeName"),
        ],
        ("", "nodes") => vec![field("spec.unschedulable", ".spec.unschedulable", "false")],
        ("", "namespaces") => vec![same("status.phase")],
        ("", "secrets") => vec![same("type")],
        ("", "events") => {
            let mut fields: Vec<SelectableField> = [
                "kind",
                "namespace",
                "name",
                "uid",
                "apiVersion",
                "resourceVersion",
                "fieldPath",
            ]
            .iter()
            .map(|name| same(&format!("involvedObject.{name}")))
            .collect();
            fields.push(same("reason"));
            fields.push(same("reportingComponent"));
            fields.push(field("source", ".source.component", ""));
            fields.push(same("type"));
            fields
        }
        ("events.k8s.io", "events") => {
            let mut fields: Vec<SelectableField> = [
                "kind",
                "namespace",
                "name",
                "uid",
                "apiVersion",
                "resourceVersion",
                "fieldPath",
            ]
            .iter()
            .map(|name| same(&format!("regarding.{name}")))
            .collect();
            fields.push(same("reason"));
            fields.push(same("reportingController"));
            fields.push(same("type"));
            fields
        }
        _ => Vec::new(),
    }
}

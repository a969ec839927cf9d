//! Paths and operations of a kind, apart from how either version of OpenAPI writes them.

use serde_json::{Map, Value, json};

use super::schemas::{definition_name, list_name};
use super::{Descriptor, Subresource};
use crate::builtin_schema::{DELETE_OPTIONS, PATCH, STATUS};

/// A query parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) description: &'static str,
}

const fn text(name: &'static str, description: &'static str) -> Parameter {
    Parameter {
        name,
        kind: "string",
        description,
    }
}

const fn integer(name: &'static str, description: &'static str) -> Parameter {
    Parameter {
        kind: "integer",
        ..text(name, description)
    }
}

const fn boolean(name: &'static str, description: &'static str) -> Parameter {
    Parameter {
        kind: "boolean",
        ..text(name, description)
    }
}

const DRY_RUN: Parameter = text(
    "dryRun",
    "When present, indicates that modifications should not be persisted. The only valid value is All: every stage runs but the write.",
);
const FIELD_MANAGER: Parameter = text(
    "fieldManager",
    "The name of the actor that makes these changes, at most 128 printable characters. Required for apply requests.",
);
const FIELD_VALIDATION: Parameter = text(
    "fieldValidation",
    "What the server does about unknown and duplicate fields: Ignore, Warn (the default) or Strict.",
);
const FORCE: Parameter = boolean(
    "force",
    "For apply requests: take over fields that other managers own. Must be unset for other patches.",
);
const RESOURCE_VERSION: Parameter = text(
    "resourceVersion",
    "Which state may be served: unset the most recent, 0 any, else one not older than this version.",
);

const GET: &[Parameter] = &[RESOURCE_VERSION];
const WRITE: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
const PATCHING: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE];
const DELETE: &[Parameter] = &[
    DRY_RUN,
    integer(
        "gracePeriodSeconds",
        "Seconds before the object is deleted; 0 is at once.",
    ),
    boolean("orphanDependents", "Deprecated: use propagationPolicy."),
    text(
        "propagationPolicy",
        "What happens to dependants: Orphan, Background or Foreground.",
    ),
];
const LIST: &[Parameter] = &[
    boolean(
        "allowWatchBookmarks",
        "Whether a watch may hold events of type BOOKMARK.",
    ),
    text(
        "continue",
        "The token of the list's next page, from the answer before.",
    ),
    text(
        "fieldSelector",
        "Restricts the list by fields of its objects.",
    ),
    text(
        "labelSelector",
        "Restricts the list by labels of its objects.",
    ),
    integer(
        "limit",
        "The most objects in one answer; the rest by continue.",
    ),
    RESOURCE_VERSION,
    text(
        "resourceVersionMatch",
        "How resourceVersion is meant: Exact or NotOlderThan.",
    ),
    boolean(
        "sendInitialEvents",
        "Whether a watch begins with the present objects and a bookmark.",
    ),
    integer(
        "timeoutSeconds",
        "Seconds after which the server ends the call.",
    ),
    boolean("watch", "Stream changes instead of a list."),
];

const JSON_BODY: &[&str] = &["application/json", "application/yaml"];
const BUILT_IN_PATCH: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const CUSTOM_PATCH: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
];

/// What is sent.
#[derive(Debug)]
pub(super) struct Body {
    /// Name of its definition; `None`: any JSON.
    pub(super) definition: Option<String>,
    pub(super) media_types: &'static [&'static str],
    pub(super) required: bool,
}

/// One method of one path.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) action: &'static str,
    pub(super) id: String,
    pub(super) tag: String,
    pub(super) description: String,
    pub(super) query: &'static [Parameter],
    pub(super) body: Option<Body>,
    pub(super) statuses: &'static [(&'static str, &'static str)],
    /// Name of the answer's definition; `None`: any JSON.
    pub(super) answer: Option<String>,
    /// Group, version, kind.
    pub(super) kind: (String, String, String),
}

/// One path.
#[derive(Debug)]
pub(super) struct PathItem {
    pub(super) path: String,
    pub(super) in_namespace: bool,
    pub(super) named: bool,
    pub(super) operations: Vec<Operation>,
}

const OK: &[(&str, &str)] = &[("200", "OK")];
const OK_OR_CREATED: &[(&str, &str)] = &[("200", "OK"), ("201", "Created")];
const CREATED: &[(&str, &str)] = &[("200", "OK"), ("201", "Created"), ("202", "Accepted")];
const DELETED: &[(&str, &str)] = &[("200", "OK"), ("202", "Accepted")];

/// Every path of a kind: collection, collection over all namespaces, object, sub-resources.
pub(super) fn path_items(descriptor: &Descriptor<'_>) -> Vec<PathItem> {
    let resource = descriptor.resource;
    let prefix = match resource.group.as_str() {
        "" => format!("/api/{}", resource.version),
        group => format!("/apis/{group}/{}", resource.version),
    };
    let plural = &resource.names.plural;
    let collection = match resource.namespaced {
        true => format!("{prefix}/namespaces/{{namespace}}/{plural}"),
        false => format!("{prefix}/{plural}"),
    };
    let object = format!("{collection}/{{name}}");
    let maker = Maker { descriptor };
    let mut items = vec![
        item(collection, resource.namespaced, false, maker.collection()),
        item(object.clone(), resource.namespaced, true, maker.object()),
    ];
    if resource.namespaced && resource.verbs.contains(&"list") {
        let list = maker.list("ForAllNamespaces");
        items.push(item(format!("{prefix}/{plural}"), false, false, vec![list]));
    }
    for subresource in &descriptor.subresources {
        let path = format!("{object}/{}", subresource.name);
        items.push(item(
            path,
            resource.namespaced,
            true,
            maker.subresource(subresource),
        ));
    }
    items.retain(|item| !item.operations.is_empty());
    items
}

fn item(path: String, in_namespace: bool, named: bool, operations: Vec<Operation>) -> PathItem {
    PathItem {
        path,
        in_namespace,
        named,
        operations,
    }
}

struct Maker<'a> {
    descriptor: &'a Descriptor<'a>,
}

impl Maker<'_> {
    fn allows(&self, verb: &str) -> bool {
        self.descriptor.resource.verbs.contains(&verb)
    }

    fn operation(
        &self,
        method: &'static str,
        action: &'static str,
        verb: &str,
        suffix: &str,
    ) -> Operation {
        let resource = self.descriptor.resource;
        let scope = match resource.namespaced && suffix != "ForAllNamespaces" {
            true => "Namespaced",
            false => "",
        };
        let kind = &resource.names.kind;
        let version = capitalized(&resource.version);
        Operation {
            method,
            action,
            id: format!(
                "{verb}{}{version}{scope}{kind}{suffix}",
                group_words(resource)
            ),
            tag: format!(
                "{}_{}",
                lower_first(&group_words(resource)),
                resource.version
            ),
            description: String::new(),
            query: &[],
            body: None,
            statuses: OK,
            answer: Some(definition_name(resource)),
            kind: (
                resource.group.clone(),
                resource.version.clone(),
                kind.clone(),
            ),
        }
    }

    fn body(&self) -> Option<Body> {
        Some(Body {
            definition: Some(definition_name(self.descriptor.resource)),
            media_types: JSON_BODY,
            required: true,
        })
    }

    fn patch_body(&self) -> Option<Body> {
        let media_types = if self.descriptor.resource.is_custom() {
            CUSTOM_PATCH
        } else {
            BUILT_IN_PATCH
        };
        Some(Body {
            definition: Some(PATCH.to_owned()),
            media_types,
            required: true,
        })
    }

    fn list(&self, suffix: &str) -> Operation {
        let resource = self.descriptor.resource;
        Operation {
            description: format!("list or watch objects of kind {}", resource.names.kind),
            query: LIST,
            answer: Some(list_name(resource)),
            ..self.operation("get", "list", "list", suffix)
        }
    }

    fn collection(&self) -> Vec<Operation> {
        let kind = &self.descriptor.resource.names.kind;
        let mut operations = Vec::new();
        if self.allows("list") {
            operations.push(self.list(""));
        }
        if self.allows("create") {
            operations.push(Operation {
                description: format!("create {kind}"),
                query: WRITE,
                body: self.body(),
                statuses: CREATED,
                ..self.operation("post", "post", "create", "")
            });
        }
        if self.allows("deletecollection") {
            let mut operation = Operation {
                description: format!("delete collection of {kind}"),
                query: DELETE,
                body: delete_body(),
                answer: Some(STATUS.to_owned()),
                ..self.operation("delete", "deletecollection", "deleteCollection", "")
            };
            operation.id = operation
                .id
                .replacen("deleteCollection", "deleteCollectionOf", 1);
            operations.push(operation);
        }
        operations
    }

    fn object(&self) -> Vec<Operation> {
        let kind = &self.descriptor.resource.names.kind;
        let mut operations = Vec::new();
        if self.allows("get") {
            operations.push(Operation {
                description: format!("read the specified {kind}"),
                query: GET,
                ..self.operation("get", "get", "read", "")
            });
        }
        if self.allows("update") {
            operations.push(Operation {
                description: format!("replace the specified {kind}"),
                query: WRITE,
                body: self.body(),
                statuses: OK_OR_CREATED,
                ..self.operation("put", "put", "replace", "")
            });
        }
        if self.allows("patch") {
            operations.push(Operation {
                description: format!("partially update the specified {kind}"),
                query: PATCHING,
                body: self.patch_body(),
                statuses: OK_OR_CREATED,
                ..self.operation("patch", "patch", "patch", "")
            });
        }
        if self.allows("delete") {
            operations.push(Operation {
                description: format!("delete a {kind}"),
                query: DELETE,
                body: delete_body(),
                statuses: DELETED,
                answer: Some(STATUS.to_owned()),
                ..self.operation("delete", "delete", "delete", "")
            });
        }
        operations
    }

    fn subresource(&self, subresource: &Subresource<'_>) -> Vec<Operation> {
        let resource = self.descriptor.resource;
        let name = subresource.name;
        let suffix = capitalized(name);
        let (kind, definition) = match subresource.kind {
            None => {
                let (group, version) = (resource.group.clone(), resource.version.clone());
                let kind = (group, version, resource.names.kind.clone());
                (kind, Some(definition_name(resource)))
            }
            Some((group, version, kind)) => {
                let definition = crate::builtin_schema::definition_name(group, version, kind);
                let owned = (group.to_owned(), version.to_owned(), kind.to_owned());
                (owned, definition.map(str::to_owned))
            }
        };
        // What log, exec and the like answer is not the object.
        let is_stream = matches!(name, "log" | "exec" | "attach" | "portforward" | "proxy");
        let answer = definition.clone().filter(|_| !is_stream);
        let body = || {
            Some(Body {
                definition: answer.clone(),
                media_types: JSON_BODY,
                required: true,
            })
        };
        let mut operations = Vec::new();
        for verb in subresource.verbs {
            let operation = match *verb {
                "get" => Operation {
                    description: format!("read {name} of the specified {}", resource.names.kind),
                    ..self.operation("get", "get", "read", &suffix)
                },
                "create" => Operation {
                    description: format!("create {name} of a {}", resource.names.kind),
                    query: WRITE,
                    body: body().filter(|_| !is_stream),
                    statuses: CREATED,
                    ..self.operation("post", "post", "create", &suffix)
                },
                "update" => Operation {
                    description: format!("replace {name} of the specified {}", resource.names.kind),
                    query: WRITE,
                    body: body(),
                    statuses: OK_OR_CREATED,
                    ..self.operation("put", "put", "replace", &suffix)
                },
                "patch" => Operation {
                    description: format!(
                        "partially update {name} of the specified {}",
                        resource.names.kind
                    ),
                    query: PATCHING,
                    body: self.patch_body(),
                    statuses: OK_OR_CREATED,
                    ..self.operation("patch", "patch", "patch", &suffix)
                },
                _ => continue,
            };
            operations.push(Operation {
                kind: kind.clone(),
                answer: answer.clone(),
                ..operation
            });
        }
        operations
    }
}

fn delete_body() -> Option<Body> {
    Some(Body {
        definition: Some(DELETE_OPTIONS.to_owned()),
        media_types: JSON_BODY,
        required: false,
    })
}

/// `Core`, `Coordination` (of coordination.k8s.io), `KubevirtIo` (of kubevirt.io).
fn group_words(resource: &crate::resource_type::ResourceType) -> String {
    if resource.group.is_empty() {
        return "Core".to_owned();
    }
    let words = match resource.is_custom() {
        true => resource.group.as_str(),
        false => resource.group.split('.').next().unwrap_or_default(),
    };
    words.split(['.', '-']).map(capitalized).collect()
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_ascii_uppercase().to_string() + letters.as_str()
    })
}

fn lower_first(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_ascii_lowercase().to_string() + letters.as_str()
    })
}

/// The `x-kubernetes-...` fields of an operation.
pub(super) fn extensions(operation: &Operation, into: &mut Map<String, Value>) {
    let (group, version, kind) = &operation.kind;
    into.insert("x-kubernetes-action".to_owned(), json!(operation.action));
    into.insert(
        "x-kubernetes-group-version-kind".to_owned(),
        json!({"group": group, "kind": kind, "version": version}),
    );
}

/// The parameters that all operations of a path share: name, kind of place, text.
pub(super) fn shared_parameters(
    item: &PathItem,
) -> Vec<(&'static str, &'static str, &'static str)> {
    let mut shared = Vec::new();
    if item.named {
        shared.push(("name", "path", "name of the object"));
    }
    if item.in_namespace {
        shared.push((
            "namespace",
            "path",
            "object name and auth scope, such as for teams and projects",
        ));
    }
    shared.push(("pretty", "query", "If 'true', then the output is indented."));
    shared
}

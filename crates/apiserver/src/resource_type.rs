//! One served kind in one version: its names, scope, schema and rules. Built-in kinds and
//! CustomResourceDefinitions both become this.

use std::sync::Arc;

use serde_json::Value;

/// Where a kind comes from. Some texts and rules of upstream differ by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Compiled in.
    BuiltIn,
    /// Defined by a CustomResourceDefinition object.
    CustomResource,
}

/// When `metadata.generation` grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerationRule {
    /// Never set.
    None,
    /// When `spec` changed.
    Spec,
    /// When anything outside `metadata` (and `status`, if it is a sub-resource) changed.
    NonMetadata,
}

/// The rules by which objects of a kind are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strategy {
    /// `/status` is a sub-resource: the main endpoint ignores status and the reverse.
    pub status: bool,
    /// `/scale` is a sub-resource.
    pub scale: Option<Scale>,
    /// PUT without `metadata.resourceVersion` overwrites.
    pub unconditional_update: bool,
    /// PUT or apply to a missing name creates it (PUT only; apply always creates).
    pub create_on_update: bool,
    /// DELETE waits for a grace period (Pods).
    pub graceful_delete: bool,
    /// When the generation grows.
    pub generation: GenerationRule,
    /// How names are checked.
    pub name_rule: NameRule,
}

/// Which names a kind allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain, up to 253 characters.
    Subdomain,
    /// RFC 1123 label, up to 63 characters.
    Label,
    /// Anything that can be one segment of a path.
    PathSegment,
}

/// Paths of the scale sub-resource, in the simple JSONPath of CRDs (`.spec.replicas`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// Where the wanted count is.
    pub spec_replicas_path: String,
    /// Where the present count is.
    pub status_replicas_path: String,
    /// Where the selector is, as a string.
    pub label_selector_path: Option<String>,
}

/// A column of `kubectl get`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PrinterColumn {
    /// Heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: String,
    /// OpenAPI format, e.g. `name`; often empty.
    pub format: String,
    /// Shown by clients that explain columns.
    pub description: String,
    /// 0: always shown; greater: only with `-o wide`.
    pub priority: i32,
    /// JSONPath without braces, e.g. `.status.phase`.
    pub json_path: String,
}

/// A field that field selectors may name, beyond `metadata.name` and `metadata.namespace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectableField {
    /// The name in the selector, e.g. `spec.nodeName`.
    pub name: String,
    /// JSONPath without braces, e.g. `.spec.nodeName`.
    pub json_path: String,
    /// The value of an object that lacks the field, e.g. `false` for `spec.unschedulable`.
    pub missing: String,
}

/// Names of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// Plural, lower case: the path segment, e.g. `configmaps`.
    pub plural: String,
    /// Singular, lower case, e.g. `configmap`.
    pub singular: String,
    /// Kind, e.g. `ConfigMap`.
    pub kind: String,
    /// Kind of lists, e.g. `ConfigMapList`.
    pub list_kind: String,
    /// Short names, e.g. `cm`.
    pub short_names: Vec<String>,
    /// Categories, e.g. `all`.
    pub categories: Vec<String>,
}

/// One kind in one version.
#[derive(Debug, Clone)]
pub struct ResourceType {
    /// API group; empty for the core group.
    pub group: String,
    /// Version, e.g. `v1`.
    pub version: String,
    /// Names.
    pub names: Names,
    /// Objects live in namespaces.
    pub namespaced: bool,
    /// Built in or custom.
    pub origin: Origin,
    /// The `openAPIV3Schema` of this version (a structural schema; `true`-like when open).
    pub open_api_schema: Arc<Value>,
    /// Rules for writing.
    pub strategy: Strategy,
    /// Columns; empty means Name and Age.
    pub columns: Vec<PrinterColumn>,
    /// Fields for field selectors.
    pub selectable_fields: Vec<SelectableField>,
    /// Verbs of the main endpoint in discovery's words, e.g. `get`, `list`, `watch`, `create`,
    /// `update`, `patch`, `delete`, `deletecollection`. Virtual kinds have only `create`.
    pub verbs: Vec<&'static str>,
    /// `Some(text)`: the version is deprecated, and each request is answered with this warning.
    pub deprecation_warning: Option<String>,
}

impl ResourceType {
    /// `v1` or `group/v1`.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// `configmaps` or `foos.example.io`, as error texts name the resource.
    pub fn qualified_resource(&self) -> String {
        if self.group.is_empty() {
            self.names.plural.clone()
        } else {
            format!("{}.{}", self.names.plural, self.group)
        }
    }

    /// `ConfigMap` or `Foo.example.io`, as error texts name the kind.
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() {
            self.names.kind.clone()
        } else {
            format!("{}.{}", self.names.kind, self.group)
        }
    }

    /// Whether the kind is custom.
    pub fn is_custom(&self) -> bool {
        self.origin == Origin::CustomResource
    }
}

/// `v1` or `group/v1`.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

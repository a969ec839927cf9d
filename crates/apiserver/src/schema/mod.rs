//! Compiled structural schemas: one node type for custom resources and built-in kinds.
//!
//! A [`Schema`] is made once, from the OpenAPI v3 form that a CustomResourceDefinition carries (or that
//! [`crate::builtin_schema`] makes for built-in kinds), and then answers four questions about a JSON value:
//! which fields it does not know ([`Schema::unknown_fields`]), what is left without them ([`Schema::prune`]), what
//! the value looks like with its defaults ([`Schema::default`]), and what is wrong with it ([`Schema::validate`]).
//! Patches and managed fields walk the same nodes through the accessors ([`Schema::property`], [`Schema::items`],
//! [`Schema::list_type`], ...).
//!
//! Every walk is bounded by [`MAX_DEPTH`]: schemas of built-in kinds refer to themselves.

mod causes;
mod compile;
mod default;
mod format;
mod pattern;
mod prune;
mod structural;
mod validate;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};

use serde_json::Value;

/// How deep a value may nest before a walk stops. JSON bodies are parsed with a limit of 128 levels, so nothing that
/// came in by HTTP is cut.
pub const MAX_DEPTH: usize = 160;

/// The JSON type that a node asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `object`
    Object,
    /// `array`
    Array,
    /// `string`
    String,
    /// `integer`
    Integer,
    /// `number`
    Number,
    /// `boolean`
    Boolean,
}

impl Type {
    /// The name as written in a schema.
    pub fn name(self) -> &'static str {
        match self {
            Type::Object => "object",
            Type::Array => "array",
            Type::String => "string",
            Type::Integer => "integer",
            Type::Number => "number",
            Type::Boolean => "boolean",
        }
    }

    /// The type of that name, as written in a schema.
    pub fn from_name(name: &str) -> Option<Type> {
        [
            Type::Object,
            Type::Array,
            Type::String,
            Type::Integer,
            Type::Number,
            Type::Boolean,
        ]
        .into_iter()
        .find(|candidate| candidate.name() == name)
    }
}

/// How a list is merged and owned (`x-kubernetes-list-type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListType {
    /// One value, replaced whole.
    #[default]
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Objects, told apart by their keys ([`Schema::list_keys`]).
    Map,
}

/// How a map is merged and owned (`x-kubernetes-map-type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MapType {
    /// Every key has its own owner.
    #[default]
    Granular,
    /// One value, replaced whole.
    Atomic,
}

/// The strategic merge strategies of a field (`x-kubernetes-patch-strategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PatchStrategy {
    /// `merge`: the list is merged, by [`Schema::patch_merge_key`] for objects and by value for scalars.
    pub merge: bool,
    /// `retainKeys`: a patch may list the keys that stay.
    pub retain_keys: bool,
    /// `replace`: the map or list is replaced whole.
    pub replace: bool,
}

/// One node of a compiled structural schema. Cloning is cheap: nodes are shared.
#[derive(Clone)]
pub struct Schema {
    link: Link,
}

#[derive(Clone)]
enum Link {
    Node(Arc<Node>),
    Reference {
        name: Arc<str>,
        definitions: Definitions,
        /// A default that stands beside the reference.
        default: Option<Value>,
    },
}

/// Named nodes that references point at; filled once, after all of them are compiled.
pub(crate) type Definitions = Arc<OnceLock<BTreeMap<String, Schema>>>;

/// What is done with a JSON `null` where the schema does not say `nullable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Nulls {
    /// A null is a value of the wrong type (custom resources).
    #[default]
    Refuse,
    /// A null is a field that was not given, and so is an empty text in place of a word (built-in kinds).
    Absent,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    pub(crate) value_type: Option<Type>,
    pub(crate) nullable: bool,
    pub(crate) nulls: Nulls,
    pub(crate) int_or_string: bool,
    pub(crate) preserve_unknown_fields: bool,
    pub(crate) embedded_resource: bool,
    pub(crate) properties: BTreeMap<String, Schema>,
    pub(crate) additional_properties: Option<Schema>,
    /// `additionalProperties: true`: any key with any value.
    pub(crate) any_property: bool,
    pub(crate) items: Option<Schema>,
    pub(crate) list_type: Option<ListType>,
    pub(crate) list_keys: Vec<String>,
    pub(crate) map_type: MapType,
    pub(crate) patch_merge_key: Option<String>,
    pub(crate) patch_strategy: PatchStrategy,
    pub(crate) default: Option<Value>,
    pub(crate) required: Vec<String>,
    pub(crate) enumeration: Vec<Value>,
    pub(crate) minimum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) min_length: Option<u64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) min_properties: Option<u64>,
    pub(crate) max_properties: Option<u64>,
    pub(crate) pattern: Option<pattern::Pattern>,
    pub(crate) format: Option<String>,
    pub(crate) all_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) not: Option<Schema>,
}

static ANYTHING: LazyLock<Node> = LazyLock::new(|| Node {
    preserve_unknown_fields: true,
    nullable: true,
    ..Node::default()
});

impl fmt::Debug for Schema {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.link {
            Link::Node(node) => node.fmt(formatter),
            // Only the name: a definition may hold itself.
            Link::Reference { name, .. } => write!(formatter, "Reference({name})"),
        }
    }
}

impl Schema {
    pub(crate) fn from_node(node: Node) -> Schema {
        Schema {
            link: Link::Node(Arc::new(node)),
        }
    }

    pub(crate) fn reference(
        name: &str,
        definitions: Definitions,
        default: Option<Value>,
    ) -> Schema {
        Schema {
            link: Link::Reference {
                name: Arc::from(name),
                definitions,
                default,
            },
        }
    }

    /// A schema that takes every value and keeps every field.
    pub fn anything() -> Schema {
        Schema::from_node(ANYTHING.clone())
    }

    /// The node itself, with references followed. A reference to nothing (or a circle of bare references) takes
    /// anything; `builtin_schema` has a test that there is none.
    pub(crate) fn node(&self) -> &Node {
        let mut current = self;
        for _ in 0..MAX_DEPTH {
            match &current.link {
                Link::Node(node) => return node,
                Link::Reference {
                    name, definitions, ..
                } => match definitions.get().and_then(|named| named.get(&**name)) {
                    Some(next) => current = next,
                    None => return &ANYTHING,
                },
            }
        }
        &ANYTHING
    }

    /// The JSON type asked for; `None` where any type will do (and for int-or-string).
    pub fn value_type(&self) -> Option<Type> {
        self.node().value_type
    }

    /// The schema of a field: a declared property, else that of `additionalProperties`. `None`: not a known field
    /// (whether it is kept says [`Schema::preserves_unknown_fields`]).
    pub fn property(&self, name: &str) -> Option<&Schema> {
        let node = self.node();
        node.properties
            .get(name)
            .or(node.additional_properties.as_ref())
    }

    /// The declared properties, by name.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &Schema)> {
        self.node()
            .properties
            .iter()
            .map(|(name, schema)| (name.as_str(), schema))
    }

    /// The schema of the values of a map.
    pub fn additional_properties(&self) -> Option<&Schema> {
        self.node().additional_properties.as_ref()
    }

    /// The schema of the items of a list.
    pub fn items(&self) -> Option<&Schema> {
        self.node().items.as_ref()
    }

    /// `x-kubernetes-list-type`; a list that does not say is atomic.
    pub fn list_type(&self) -> ListType {
        self.node().list_type.unwrap_or_default()
    }

    /// `x-kubernetes-list-map-keys`, in the schema's order; empty unless [`ListType::Map`].
    pub fn list_keys(&self) -> &[String] {
        &self.node().list_keys
    }

    /// `x-kubernetes-map-type`; a map that does not say is granular.
    pub fn map_type(&self) -> MapType {
        self.node().map_type
    }

    /// `x-kubernetes-patch-merge-key`: the field that tells list items apart in a strategic merge patch.
    pub fn patch_merge_key(&self) -> Option<&str> {
        self.node().patch_merge_key.as_deref()
    }

    /// `x-kubernetes-patch-strategy`.
    pub fn patch_strategy(&self) -> PatchStrategy {
        self.node().patch_strategy
    }

    /// The declared default.
    pub fn default_value(&self) -> Option<&Value> {
        match &self.link {
            Link::Reference {
                default: Some(default),
                ..
            } => Some(default),
            Link::Node(_) | Link::Reference { .. } => self.node().default.as_ref(),
        }
    }

    /// Whether fields without a schema are kept (`x-kubernetes-preserve-unknown-fields`, `additionalProperties: true`).
    pub fn preserves_unknown_fields(&self) -> bool {
        let node = self.node();
        node.preserve_unknown_fields || node.any_property
    }

    /// `x-kubernetes-embedded-resource`.
    pub fn is_embedded_resource(&self) -> bool {
        self.node().embedded_resource
    }

    /// `x-kubernetes-int-or-string` (also Quantity).
    pub fn is_int_or_string(&self) -> bool {
        self.node().int_or_string
    }

    /// Whether null is a value here.
    pub fn is_nullable(&self) -> bool {
        self.node().nullable
    }

    /// The names of required fields.
    pub fn required_fields(&self) -> &[String] {
        &self.node().required
    }
}

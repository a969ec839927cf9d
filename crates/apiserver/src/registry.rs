//! The table of served kinds. It is built anew, off-line, when a CustomResourceDefinition changes,
//! and swapped in whole: a request sees one table from its beginning to its end.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use store::Entry;

use crate::discovery::Documents;
use crate::events;
use crate::extension::{Extension, Handler};
use crate::resource_type::ResourceType;
use crate::schema::Schema;
use crate::status::Status;
use crate::stored;
use crate::table::Columns;

/// What answers requests for a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Objects are stored.
    Stored,
    /// A question that is answered and forgotten (`SelfSubjectAccessReview` and its kin).
    Review,
    /// `events.k8s.io` Events: another form of the core group's Events.
    EventView,
}

/// Where and in which form the objects of a kind are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storage {
    /// Group in the key.
    pub(crate) group: String,
    /// Resource in the key.
    pub(crate) plural: String,
    /// `apiVersion` of stored objects.
    pub(crate) api_version: String,
}

/// One served kind in one version with everything that was prepared for it.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Names and rules.
    pub(crate) resource: ResourceType,
    /// The compiled schema.
    pub(crate) schema: Schema,
    /// The columns of its tables.
    pub(crate) columns: Columns,
    /// Where and in which form objects are stored.
    pub(crate) storage: Storage,
    /// Stored objects are pruned and defaulted when read, since the schema has defaults and may be
    /// newer than they are.
    pub(crate) default_on_read: bool,
    /// The definition is on its way out: nothing new is created.
    pub(crate) terminating: bool,
    /// The revision of the definition from which this was made; 0 for built-in kinds.
    pub(crate) definition_revision: u64,
    /// What answers.
    pub(crate) role: Role,
}

impl Kind {
    /// The key of an object.
    pub(crate) fn key(&self, namespace: Option<&str>, name: &str) -> String {
        stored::key(&self.storage.group, &self.storage.plural, namespace, name)
    }

    /// The prefix of the keys of a namespace's objects, or of all.
    pub(crate) fn prefix(&self, namespace: Option<&str>) -> String {
        stored::prefix(&self.storage.group, &self.storage.plural, namespace)
    }

    /// Whether this is the version in which objects are stored.
    pub(crate) fn is_storage_version(&self) -> bool {
        self.role == Role::Stored && self.storage.api_version == self.resource.api_version()
    }

    /// An object as this version shows it, from the stored form.
    pub(crate) fn to_served(&self, mut object: Value) -> Value {
        if self.role == Role::EventView {
            object = events::to_view(object);
        }
        self.stamp(&mut object, self.resource.api_version());
        if self.default_on_read {
            self.schema.prune(&mut object);
            self.schema.default(&mut object);
        }
        object
    }

    /// An object in the stored form, from the form of this version.
    pub(crate) fn to_stored(&self, mut object: Value) -> Value {
        if self.role == Role::EventView {
            object = events::from_view(object);
        }
        self.stamp(&mut object, self.storage.api_version.clone());
        object
    }

    fn stamp(&self, object: &mut Value, api_version: String) {
        if let Some(map) = object.as_object_mut() {
            map.insert(
                "kind".to_owned(),
                Value::from(self.resource.names.kind.clone()),
            );
            map.insert("apiVersion".to_owned(), Value::from(api_version));
        }
    }

    /// A store entry as this version shows it.
    pub(crate) fn read(&self, entry: &Entry) -> Result<Value, Status> {
        self.read_bytes(&entry.value, entry.modified)
    }

    /// Stored bytes of a revision as this version shows them.
    pub(crate) fn read_bytes(&self, bytes: &[u8], revision: u64) -> Result<Value, Status> {
        let object = stored::decode(bytes, revision).map_err(|error| {
            Status::internal(format!(
                "a stored object of {} cannot be read: {error}",
                self.resource.qualified_resource()
            ))
        })?;
        Ok(self.to_served(object))
    }

    /// Whether this is the kind `plural` of `group`.
    pub(crate) fn is(&self, group: &str, plural: &str) -> bool {
        self.resource.group == group && self.resource.names.plural == plural
    }

    /// Whether stored bytes can be served without parsing.
    pub(crate) fn serves_bytes(&self) -> bool {
        !self.default_on_read && self.role == Role::Stored
    }
}

/// A group as discovery lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    /// Name; empty for the core group.
    pub(crate) name: String,
    /// Versions, the preferred one first.
    pub(crate) versions: Vec<String>,
}

/// A sub-resource served by code beside a stored kind.
#[derive(Clone)]
pub(crate) struct CodeSubresource {
    /// Group, resource, sub-resource.
    pub(crate) name: (String, String, String),
    /// Who answers.
    pub(crate) handler: Arc<dyn Handler>,
}

type KindKey = (String, String, String);

/// All served kinds.
pub(crate) struct Registry {
    kinds: BTreeMap<KindKey, Arc<Kind>>,
    /// Groups in discovery's order: core, built-in, extensions, custom.
    pub(crate) groups: Vec<Group>,
    /// Groups served by code.
    pub(crate) extensions: Vec<Extension>,
    /// Sub-resources served by code.
    pub(crate) subresources: Vec<CodeSubresource>,
    documents: OnceLock<Documents>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Registry")
            .field("groups", &self.groups)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// A table of these kinds. The order of `kinds` is the order of groups and versions.
    pub(crate) fn new(
        kinds: impl IntoIterator<Item = Arc<Kind>>,
        extensions: Vec<Extension>,
        subresources: Vec<CodeSubresource>,
    ) -> Registry {
        let mut groups: Vec<Group> = Vec::new();
        let mut table = BTreeMap::new();
        let mut custom = Vec::new();
        for kind in kinds {
            let resource = &kind.resource;
            let place = (resource.group.clone(), resource.version.clone());
            if resource.is_custom() {
                custom.push(place);
            } else {
                add(&mut groups, place);
            }
            let key = (
                resource.group.clone(),
                resource.version.clone(),
                resource.names.plural.clone(),
            );
            table.insert(key, kind);
        }
        for extension in &extensions {
            for version in &extension.versions {
                add(&mut groups, (extension.group.clone(), version.clone()));
            }
        }
        // Custom groups are sorted, and within one the versions by Kubernetes' order of priority.
        custom.sort_by(|one, two| {
            one.0
                .cmp(&two.0)
                .then_with(|| version_priority(&two.1).cmp(&version_priority(&one.1)))
        });
        for place in custom {
            add(&mut groups, place);
        }
        Registry {
            kinds: table,
            groups,
            extensions,
            subresources,
            documents: OnceLock::new(),
        }
    }

    /// The kind at `/apis/<group>/<version>/<plural>`.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        // The key is three strings, and a lookup by three borrowed ones needs the owned form.
        self.kinds
            .get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    /// The kind of a group and resource in the version in which it is stored.
    pub(crate) fn stored(&self, group: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.kinds
            .values()
            .find(|kind| kind.is(group, plural) && kind.is_storage_version())
    }

    /// The kind named as an owner reference names it.
    pub(crate) fn by_kind(&self, api_version: &str, kind_name: &str) -> Option<&Arc<Kind>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.kinds.values().find(|kind| {
            kind.resource.group == group
                && kind.resource.version == version
                && kind.resource.names.kind == kind_name
                && kind.role == Role::Stored
        })
    }

    /// Every kind in every version, sorted.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.values()
    }

    /// The kinds of one group and version, by plural name.
    pub(crate) fn of_version<'a>(
        &'a self,
        group: &'a str,
        version: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Kind>> {
        self.kinds
            .values()
            .filter(move |kind| kind.resource.group == group && kind.resource.version == version)
    }

    /// Every stored kind once, in the version in which it is stored.
    pub(crate) fn stored_kinds(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.values().filter(|kind| kind.is_storage_version())
    }

    /// Whether the group and version exist at all.
    pub(crate) fn has_version(&self, group: &str, version: &str) -> bool {
        self.groups
            .iter()
            .any(|known| known.name == group && known.versions.iter().any(|v| v == version))
    }

    /// The code behind a group, if code serves it.
    pub(crate) fn extension(&self, group: &str, version: &str) -> Option<&Extension> {
        self.extensions.iter().find(|extension| {
            extension.group == group && extension.versions.iter().any(|known| known == version)
        })
    }

    /// The code behind a sub-resource, if code serves it.
    pub(crate) fn subresource(
        &self,
        group: &str,
        resource: &str,
        subresource: &str,
    ) -> Option<&Arc<dyn Handler>> {
        self.subresources
            .iter()
            .find(|served| {
                let name = &served.name;
                name.0 == group && name.1 == resource && name.2 == subresource
            })
            .map(|served| &served.handler)
    }

    /// Discovery and OpenAPI documents of this table, made when first asked for.
    pub(crate) fn documents(&self) -> &Documents {
        self.documents.get_or_init(|| Documents::new(self))
    }
}

fn add(groups: &mut Vec<Group>, (name, version): (String, String)) {
    match groups.iter_mut().find(|group| group.name == name) {
        Some(group) => {
            if !group.versions.contains(&version) {
                group.versions.push(version);
            }
        }
        None => groups.push(Group {
            name,
            versions: vec![version],
        }),
    }
}

/// The order of versions: `v2` > `v1` > `v1beta2` > `v1beta1` > `v1alpha1` > anything else.
fn version_priority(version: &str) -> (u8, u64, u64, std::cmp::Reverse<&str>) {
    let unknown = (0, 0, 0, std::cmp::Reverse(version));
    let Some(rest) = version.strip_prefix('v') else {
        return unknown;
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let Ok(major) = rest[..digits].parse() else {
        return unknown;
    };
    let tail = &rest[digits..];
    let minor = |word: &str| {
        tail.strip_prefix(word)
            .and_then(|number| number.parse().ok())
    };
    let nothing = std::cmp::Reverse("");
    if tail.is_empty() {
        (3, major, 0, nothing)
    } else if let Some(minor) = minor("beta") {
        (2, major, minor, nothing)
    } else if let Some(minor) = minor("alpha") {
        (1, major, minor, nothing)
    } else {
        unknown
    }
}

#[cfg(test)]
mod tests {
    use super::version_priority;

    #[test]
    fn stable_versions_come_before_betas_and_newer_ones_before_older() {
        let mut versions = [
            "v1alpha3", "foo", "v1", "v10beta3", "v2", "v1beta1", "v10", "bar",
        ];
        versions.sort_by(|one, two| version_priority(two).cmp(&version_priority(one)));
        assert_eq!(
            versions,
            [
                "v10", "v2", "v1", "v10beta3", "v1beta1", "v1alpha3", "bar", "foo"
            ]
        );
    }
}

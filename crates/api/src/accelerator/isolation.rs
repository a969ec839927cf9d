//! Emulated guests of several owners on one node. The owner is the namespace.
//!
//! QEMU's security policy covers guests on hardware virtualization only; an emulated guest is kept from
//! its neighbours by its process' jail alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::effective::Scope;
use super::policy::Problem;
use crate::kubevirt::KubeVirt;
use crate::names;

/// What happens when emulated guests of several namespaces would share a node.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub enum EmulationMultiTenancy {
    /// They share it.
    Allow,
    /// They share it, and everybody is told.
    #[default]
    Warn,
    /// They do not.
    Deny,
}

impl EmulationMultiTenancy {
    /// All of them, the most lenient first.
    pub const ALL: [Self; 3] = [Self::Allow, Self::Warn, Self::Deny];

    /// The value of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|value| value.to_string() == name)
    }
}

impl fmt::Display for EmulationMultiTenancy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// What is in force about several owners, and who says so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tenancy {
    /// What is in force.
    pub value: EmulationMultiTenancy,
    /// The place that decided it.
    pub decided_by: String,
    /// What was not understood.
    pub problems: Vec<Problem>,
}

impl Default for Tenancy {
    fn default() -> Self {
        cluster_tenancy(None)
    }
}

/// What the KubeVirt object says for the whole cluster.
pub fn cluster_tenancy(kubevirt: Option<&KubeVirt>) -> Tenancy {
    let said = kubevirt.and_then(|object| {
        let value = object
            .spec
            .configuration
            .as_ref()?
            .emulation_multi_tenancy?;
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let place = format!("KubeVirt {namespace}/{name} spec.configuration.emulationMultiTenancy");
        Some((value, place))
    });
    let (value, decided_by) = said.unwrap_or((Default::default(), "default".to_owned()));
    Tenancy {
        value,
        decided_by,
        problems: Vec::new(),
    }
}

/// What is in force for a namespace with these labels: the stricter of the cluster's word and its own.
/// A value that is none counts as `Deny`.
pub fn tenancy(cluster: &Tenancy, namespace: &str, labels: &BTreeMap<String, String>) -> Tenancy {
    let key = names::labels::EMULATION_MULTI_TENANCY;
    let mut tenancy = cluster.clone();
    let Some(text) = labels.get(key) else {
        return tenancy;
    };
    let place = format!("{:?} {namespace} label {key}", Scope::Namespace);
    let value = EmulationMultiTenancy::parse(text).unwrap_or_else(|| {
        let message = format!(
            "{place}: \"{text}\" is none of Allow, Warn and Deny and counts as Deny; write one of \
             them, or remove the label"
        );
        tenancy.problems.push(Problem::new("InvalidValue", message));
        EmulationMultiTenancy::Deny
    });
    if value > tenancy.value {
        tenancy.value = value;
        tenancy.decided_by = place;
    }
    tenancy
}

/// The owner of an emulated guest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tenant {
    /// Its namespace.
    pub namespace: String,
    /// What is in force for that namespace.
    pub tenancy: Tenancy,
}

impl Tenant {
    fn word(&self) -> (&str, &Tenancy) {
        (&self.namespace, &self.tenancy)
    }
}

/// How an emulated guest stands to the others on its node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Isolation {
    /// All emulated guests there are of one owner.
    OneOwner,
    /// They are of several.
    Shared {
        /// The strictest word of all owners that share the node.
        value: EmulationMultiTenancy,
        /// Whose word it is.
        decided_by: String,
        /// The other namespaces.
        with: BTreeSet<String>,
    },
}

/// What is in force where an emulated guest of a namespace is, or would be, beside those of `others`: the
/// strictest word of all of them, the first of several; none if there is no other namespace. The word of
/// each owner counts: nobody gets a neighbour that he does not want.
pub fn strictest<'names, 'words>(
    (namespace, own): (&str, &'words Tenancy),
    others: impl IntoIterator<Item = (&'names str, &'words Tenancy)>,
) -> Option<&'words Tenancy> {
    let mut others = others
        .into_iter()
        .filter(|(other, _)| *other != namespace)
        .peekable();
    others.peek()?;
    let stricter = |strictest: &'words Tenancy, (_, other): (&str, &'words Tenancy)| {
        if other.value > strictest.value {
            other
        } else {
            strictest
        }
    };
    Some(others.fold(own, stricter))
}

/// How an emulated guest of `owner` stands, or would stand, to the emulated guests of `others` on the
/// same node, by [`strictest`].
pub fn isolation<'a>(owner: &Tenant, others: impl IntoIterator<Item = &'a Tenant>) -> Isolation {
    let others: Vec<&Tenant> = others.into_iter().collect();
    let named = others.iter().map(|other| other.word());
    let Some(strictest) = strictest(owner.word(), named) else {
        return Isolation::OneOwner;
    };
    let with = others.iter().map(|other| other.namespace.clone());
    Isolation::Shared {
        value: strictest.value,
        decided_by: strictest.decided_by.clone(),
        with: with.filter(|other| *other != owner.namespace).collect(),
    }
}

impl Isolation {
    /// May the guest be on this node?
    pub fn is_permitted(&self) -> bool {
        !matches!(
            self,
            Self::Shared {
                value: EmulationMultiTenancy::Deny,
                ..
            }
        )
    }

    /// What its owner is told: none if there is nothing to tell.
    pub fn warning(&self) -> Option<String> {
        let Self::Shared {
            value,
            decided_by,
            with,
        } = self
        else {
            return None;
        };
        let with: Vec<&str> = with.iter().map(String::as_str).collect();
        let with = with.join(", ");
        let told = "QEMU's maintainers do not promise that emulation (TCG) keeps a guest from its host or \
                    its neighbours";
        let way_out = "keep guests of owners who do not trust each other apart, or use a node whose \
                       hardware virtualization works";
        match value {
            EmulationMultiTenancy::Allow => None,
            EmulationMultiTenancy::Warn => Some(format!(
                "emulated virtual machines of the namespace(s) {with} share its node: {told}; {way_out}"
            )),
            EmulationMultiTenancy::Deny => Some(format!(
                "emulated virtual machines of the namespace(s) {with} are on the node, and {decided_by} does \
                 not let owners share one: {told}; {way_out}"
            )),
        }
    }
}

//! What somebody who writes a virtual machine is told at once about its accelerator, beside doing it.

use std::collections::BTreeMap;

use super::effective::{Cap, EffectivePolicy, Scope, effective};
use super::isolation::{EmulationMultiTenancy, Isolation, Tenant, isolation, tenancy};
use super::{Accelerator, EmulationPolicy, NodeFacts};
use crate::configuration::ClusterConfiguration;
use crate::names;

/// What QEMU's security policy says of emulated guests, in our words.
const NO_BOUNDARY: &str = "QEMU's maintainers do not count on software emulation (TCG) to keep a guest \
    from its host or from its neighbours";

/// A virtual machine that is written.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// The labels of that namespace.
    pub namespace_labels: &'a BTreeMap<String, String>,
    /// The place of its own policy, e.g. `spec.template.spec.emulationPolicy`, and what it says.
    pub own: Option<(&'a str, EmulationPolicy)>,
    /// The accelerator that its annotation forces.
    pub forced: Option<Accelerator>,
    /// The guest's architecture, in Go's names.
    pub architecture: &'a str,
}

/// The sentences that a client is warned with.
///
/// `nodes` are all nodes of the cluster; `emulated` are the namespaces that have emulated guests now,
/// with their labels.
pub fn advice(
    wish: &Wish<'_>,
    cluster: &ClusterConfiguration,
    nodes: &[NodeFacts],
    emulated: &BTreeMap<String, BTreeMap<String, String>>,
) -> Vec<String> {
    let cap = Cap::of_labels(Scope::Namespace, wish.namespace, wish.namespace_labels);
    let own = wish.own.map(|(place, policy)| (place.to_owned(), policy));
    let policy = effective(&cluster.emulation, own, cap.as_ref());
    let mut warnings = Vec::new();
    if let (Some((place, own)), Some(cap)) = (wish.own, &cap)
        && cap.policy < own
    {
        warnings.push(format!(
            "{place}: {own} is more than {} permits, so {} is in force; set that label to {own}, or the \
             field to {}",
            cap.place, cap.policy, cap.policy
        ));
    }
    warnings.extend(cap.and_then(|cap| cap.problem).map(|it| it.message));
    if wish.forced == Some(Accelerator::Tcg) && !policy.policy.permits_software() {
        warnings.push(format!(
            "the annotation {} asks for software emulation, which is not permitted (policy {}, by {}); it \
             will wait until that changes",
            names::annotations::ACCELERATOR,
            policy.policy,
            policy.decided_by
        ));
    }
    if may_be_emulated(wish, &policy, nodes) {
        warnings.extend(neighbours(wish, cluster, emulated));
    }
    warnings
}

/// Whether it is to be expected that the guest is emulated: nothing better works anywhere.
fn may_be_emulated(wish: &Wish<'_>, policy: &EffectivePolicy, nodes: &[NodeFacts]) -> bool {
    let works = nodes
        .iter()
        .any(|node| node.verdict.usable && node.architecture == wish.architecture);
    match wish.forced {
        Some(Accelerator::Kvm) => false,
        Some(Accelerator::Tcg) => policy.policy.permits_software(),
        None => policy.policy.permits_software() && !works,
    }
}

/// What is to be said of emulated guests of other namespaces.
fn neighbours(
    wish: &Wish<'_>,
    cluster: &ClusterConfiguration,
    emulated: &BTreeMap<String, BTreeMap<String, String>>,
) -> Option<String> {
    let tenant = |namespace: &str, labels: &BTreeMap<String, String>| Tenant {
        namespace: namespace.to_owned(),
        tenancy: tenancy(&cluster.tenancy, namespace, labels),
    };
    let others: Vec<Tenant> = emulated
        .iter()
        .map(|(namespace, labels)| tenant(namespace, labels))
        .collect();
    let owner = tenant(wish.namespace, wish.namespace_labels);
    let Isolation::Shared {
        value,
        decided_by,
        with,
    } = isolation(&owner, &others)
    else {
        return None;
    };
    let with: Vec<&str> = with.iter().map(String::as_str).collect();
    let with = with.join(", ");
    match value {
        EmulationMultiTenancy::Allow => None,
        EmulationMultiTenancy::Warn => Some(format!(
            "this virtual machine will run under software emulation, perhaps on one node with emulated \
             virtual machines of the namespace(s) {with}: {NO_BOUNDARY}; do not run untrusted guests of \
             different owners on one node, or use a node whose hardware virtualization works"
        )),
        EmulationMultiTenancy::Deny => Some(format!(
            "this virtual machine will run under software emulation, and never on one node with emulated \
             virtual machines of the namespace(s) {with}, because {decided_by} says Deny: it waits where \
             there is no other node"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accelerator::{ClusterPolicy, NodeVerdict};

    fn labels(key: &str, value: &str) -> BTreeMap<String, String> {
        [(key.to_owned(), value.to_owned())].into()
    }

    fn cluster(policy: EmulationPolicy, tenancy: EmulationMultiTenancy) -> ClusterConfiguration {
        let mut cluster = ClusterConfiguration::of_architecture("amd64");
        cluster.emulation = ClusterPolicy {
            policy,
            ..ClusterPolicy::default()
        };
        cluster.tenancy.value = tenancy;
        cluster
    }

    fn nodes(usable: bool) -> Vec<NodeFacts> {
        vec![NodeFacts {
            verdict: NodeVerdict {
                usable,
                ..NodeVerdict::default()
            },
            architecture: "amd64".to_owned(),
            ..NodeFacts::default()
        }]
    }

    /// The first words of each warning.
    fn told(
        wish: &Wish<'_>,
        cluster: &ClusterConfiguration,
        usable: bool,
        others: &[(&str, &str)],
    ) -> String {
        let emulated = others
            .iter()
            .map(|(namespace, tenancy)| {
                let labels = labels(names::labels::EMULATION_MULTI_TENANCY, tenancy);
                ((*namespace).to_owned(), labels)
            })
            .collect();
        advice(wish, cluster, &nodes(usable), &emulated).join("\n")
    }

    #[test]
    fn a_guest_that_will_be_emulated_beside_other_owners_is_warned_of() {
        use EmulationMultiTenancy::{Allow, Deny, Warn};
        use EmulationPolicy::{None as No, Software};
        let none = BTreeMap::new();
        let wish = Wish {
            namespace: "a",
            namespace_labels: &none,
            own: None,
            forced: None,
            architecture: "amd64",
        };
        let arm = Wish {
            architecture: "arm64",
            ..wish
        };
        let forced = |forced| Wish {
            forced: Some(forced),
            ..wish
        };
        let strict = labels(names::labels::EMULATION_MULTI_TENANCY, "Deny");
        let strict = Wish {
            namespace_labels: &strict,
            ..wish
        };
        let b = [("b", "Allow")];
        for (wish, policy, tenancy, usable, others, expected) in [
            (
                wish,
                Software,
                Warn,
                false,
                &b[..],
                "do not run untrusted guests",
            ),
            (
                wish,
                Software,
                Deny,
                false,
                &b[..],
                "because default says Deny",
            ),
            (wish, Software, Allow, false, &b[..], ""),
            (wish, Software, Warn, false, &[("a", "Allow")], ""),
            (wish, Software, Warn, false, &[], ""),
            (wish, Software, Warn, true, &b[..], ""),
            (wish, No, Warn, false, &b[..], ""),
            (
                arm,
                Software,
                Warn,
                true,
                &b[..],
                "do not run untrusted guests",
            ),
            (
                forced(Accelerator::Tcg),
                Software,
                Warn,
                true,
                &b[..],
                "do not run untrusted",
            ),
            (forced(Accelerator::Kvm), Software, Warn, false, &b[..], ""),
            (
                strict,
                Software,
                Warn,
                false,
                &b[..],
                "because Namespace a label",
            ),
            (
                wish,
                Software,
                Warn,
                false,
                &[("c", "Deny")],
                "because Namespace c label",
            ),
        ] {
            let told = told(&wish, &cluster(policy, tenancy), usable, others);
            assert!(told.contains(expected), "{told}");
            assert_eq!(told.is_empty(), expected.is_empty(), "{told}");
        }
    }

    #[test]
    fn a_policy_above_its_namespace_and_a_wish_that_waits_are_told() {
        let cap = labels(names::labels::EMULATION_POLICY, "None");
        let wish = Wish {
            namespace: "a",
            namespace_labels: &cap,
            own: Some(("spec.emulationPolicy", EmulationPolicy::Software)),
            forced: Some(Accelerator::Tcg),
            architecture: "amd64",
        };
        let cluster = cluster(EmulationPolicy::Software, EmulationMultiTenancy::Warn);
        assert_eq!(
            told(&wish, &cluster, false, &[])
                .lines()
                .collect::<Vec<_>>(),
            [
                "spec.emulationPolicy: Software is more than Namespace a label anyvirt.io/emulation-policy \
                 permits, so None is in force; set that label to Software, or the field to None",
                "the annotation anyvirt.io/accelerator asks for software emulation, which is not permitted \
                 (policy None, by Namespace a label anyvirt.io/emulation-policy); it will wait until that \
                 changes"
            ]
        );
        let unreadable = labels(names::labels::EMULATION_POLICY, "soft");
        let wish = Wish {
            namespace_labels: &unreadable,
            own: None,
            forced: None,
            ..wish
        };
        let told = told(&wish, &cluster, false, &[]);
        assert!(
            told.contains("\"soft\" is no policy and counts as None"),
            "{told}"
        );
    }
}

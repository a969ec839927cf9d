//! The guest of a launcher pod as placing sees it: what would run it on a node, what that costs
//! there, and who may be beside it.

use api::accelerator::{
    self, Accelerator, EffectivePolicy, EmulationMultiTenancy, EmulationPolicy, NodeFacts, Tenancy,
};
use api::configuration::ClusterConfiguration;
use api::names::{annotations, labels};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde::Serialize;
use std::collections::BTreeMap;

/// What of a launcher pod's guest matters for placing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Guest {
    /// Its owner.
    pub(super) namespace: String,
    /// Its virtual processors.
    pub(super) processors: i128,
    policy: EmulationPolicy,
    forced: Option<Accelerator>,
    /// In Go's names; none: any node's own.
    architecture: Option<String>,
}

impl Guest {
    /// The guest of `pod`; none if it is no launcher pod.
    pub(super) fn of(pod: &Pod) -> Option<Self> {
        let is_launcher = pod.labels().get(labels::KUBEVIRT).map(String::as_str)
            == Some(labels::KUBEVIRT_LAUNCHER);
        if !is_launcher {
            return None;
        }
        let annotated = pod.annotations();
        let policy = EffectivePolicy::of_annotations(annotated);
        let processors = annotated.get(annotations::PROCESSORS);
        let selector = pod.spec.as_ref().and_then(|it| it.node_selector.as_ref());
        let architecture = selector.into_iter().flatten().find_map(|(key, value)| {
            match key.strip_prefix(labels::VM_ARCHITECTURE_PREFIX) {
                Some(architecture) => Some(architecture.to_owned()),
                None => (key == labels::ARCHITECTURE).then(|| value.clone()),
            }
        });
        Some(Self {
            namespace: pod.namespace().unwrap_or_default(),
            // A pod of an earlier version does not say; there is no guest without a processor.
            processors: processors
                .and_then(|it| it.parse().ok())
                .unwrap_or(1)
                .max(1),
            policy: policy.map(|it| it.policy).unwrap_or_default(),
            // A value nobody understands was told when the pod was made.
            forced: accelerator::forced(annotated).unwrap_or_default(),
            architecture,
        })
    }

    /// The same for an owner without a name and no processors.
    pub(super) fn anybodys(&self) -> Self {
        Self {
            namespace: String::new(),
            processors: 0,
            ..self.clone()
        }
    }

    /// What would run it on a node; none if the node would refuse it.
    pub(super) fn accelerator(&self, node: &NodeFacts) -> Option<Accelerator> {
        let policy = EffectivePolicy {
            policy: self.policy,
            decided_by: String::new(),
            considered: Vec::new(),
            problems: Vec::new(),
        };
        let architecture = self.architecture.as_deref();
        let architecture = architecture.unwrap_or(&node.architecture);
        let decision = accelerator::resolve(&policy, self.forced, architecture, node).ok()?;
        Some(decision.accelerator)
    }

    /// Whether it runs in software only where it cannot run on hardware.
    pub(super) fn prefers_hardware(&self) -> bool {
        self.may_be_emulated() && self.forced.is_none()
    }

    /// Whether it runs in software anywhere.
    pub(super) fn may_be_emulated(&self) -> bool {
        accelerator::may_be_emulated(self.policy, self.forced)
    }
}

/// What the cluster says of where emulated guests may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// The most virtual processors of emulated guests for each core of a node.
    pub emulated_processors_per_core: u32,
    /// What is in force about several owners on one node, by namespace.
    pub tenancies: BTreeMap<String, Tenancy>,
    /// The same for namespaces that are not listed.
    pub tenancy: Tenancy,
}

impl Default for Rules {
    fn default() -> Self {
        Self::of(&ClusterConfiguration::of_architecture(""), [])
    }
}

impl Rules {
    /// Those of a configuration, and of the namespaces with these names and labels.
    pub fn of<'a>(
        cluster: &ClusterConfiguration,
        namespaces: impl IntoIterator<Item = (&'a str, &'a BTreeMap<String, String>)>,
    ) -> Self {
        let tenancies = namespaces
            .into_iter()
            .filter(|(_, labels)| labels.contains_key(labels::EMULATION_MULTI_TENANCY))
            .map(|(name, labels)| {
                let tenancy = accelerator::tenancy(&cluster.tenancy, name, labels);
                (name.to_owned(), tenancy)
            });
        Self {
            emulated_processors_per_core: cluster.emulated_processors_per_core,
            tenancies: tenancies.collect(),
            tenancy: cluster.tenancy.clone(),
        }
    }

    /// Who forbids that an emulated guest of `namespace` joins emulated guests of `others`.
    pub(super) fn forbids<'a>(
        &self,
        namespace: &str,
        others: impl Iterator<Item = &'a str>,
    ) -> Option<&str> {
        let of = |namespace: &str| self.tenancies.get(namespace).unwrap_or(&self.tenancy);
        let others = others.map(|other| (other, of(other)));
        let strictest = accelerator::strictest((namespace, of(namespace)), others)?;
        (strictest.value == EmulationMultiTenancy::Deny).then_some(&strictest.decided_by)
    }
}

//! The cluster's configuration: of the KubeVirt object, and of the legacy ConfigMap, whose keys win.

mod legacy;
mod machines;
mod setting;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::accelerator::{ClusterInputs, ClusterPolicy, Problem, Tenancy, cluster_tenancy};
use crate::kubevirt::{EffectiveValue, KubeVirt};
use crate::quantity::Quantity;
use crate::unserved;
use crate::warm_start::Mode;
pub use machines::{GUEST_ARCHITECTURES, Machines};
use setting::{Fault, Setting};

/// The feature gate that permits volumes of the kind `hostDisk`.
pub const HOST_DISK_GATE: &str = "HostDisk";

/// The default of `emulatedProcessorsPerCore`: as many as may share a core by the default of
/// `cpuAllocationRatio`, whatever runs them. Busy ones get a tenth of a core each then, which is slow,
/// but boots; more would only make all of them miss their deadlines.
const EMULATED_PROCESSORS_PER_CORE: u32 = 10;

/// Where a value comes from that nobody wrote.
const BY_DEFAULT: &str = "default";

/// Of the objects of a kind that there should be one of (KubeVirt, HyperConverged), the one with the
/// least of these counts: the one with the usual name, else the first by namespace and name.
pub fn precedence(metadata: &ObjectMeta, namespace: &str, name: &str) -> impl Ord + use<> {
    let has = |found: &Option<String>, wanted: &str| found.as_deref() == Some(wanted);
    let is_usual = has(&metadata.namespace, namespace) && has(&metadata.name, name);
    (!is_usual, metadata.namespace.clone(), metadata.name.clone())
}

/// How many guests stand by on each node, restored from templates before their machines are known.
#[derive(Clone, Debug, PartialEq)]
pub struct WarmStartPool {
    /// Of each template in demand.
    pub size: u32,
    /// The most memory that all of them take; none: a part of the node's.
    pub maximum_memory: Option<Quantity>,
}

impl WarmStartPool {
    /// The most of each template.
    pub const LARGEST: u32 = 16;
}

impl Default for WarmStartPool {
    /// One takes little, and only of templates that somebody has asked for.
    fn default() -> Self {
        Self {
            size: 1,
            maximum_memory: None,
        }
    }
}

/// How virtual machines are made, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterConfiguration {
    /// Who may be emulated.
    pub emulation: ClusterPolicy,
    /// What happens when emulated guests of several namespaces would share a node; a namespace may be
    /// stricter.
    pub tenancy: Tenancy,
    /// The most virtual processors of emulated guests for each core of a node; at least 1.
    pub emulated_processors_per_core: u32,
    /// Whether guests that say nothing themselves start from templates.
    pub warm_start: Mode,
    /// How many guests stand by for such starts.
    pub warm_start_pool: WarmStartPool,
    /// Feature gates that are on.
    pub feature_gates: BTreeSet<String>,
    /// Architecture of guests that name none, in Go's names.
    pub architecture: String,
    /// Machine type of guests of the host's architecture that name none; of others see
    /// [`ClusterConfiguration::machines`].
    pub machine_type: String,
    /// Patterns of machine types that are allowed for such guests.
    pub emulated_machines: Vec<String>,
    /// Machine types of guests of other architectures, where they are not upstream's.
    foreign_machines: BTreeMap<String, Machines>,
    /// Processor model of guests that name none.
    pub cpu_model: String,
    /// Processor request of guests that ask for none and give no limit.
    pub cpu_request: Option<Quantity>,
    /// Virtual processors per processor that is asked for; at least 1.
    pub cpu_allocation_ratio: u32,
    /// Guest memory as a percentage of the memory that is asked for; at least 1.
    pub memory_overcommit: u32,
    /// Labels that every launcher pod's node must have.
    pub node_selectors: BTreeMap<String, String>,
    /// Eviction strategy of guests that name none.
    pub eviction_strategy: Option<String>,
    /// What was not understood or has no effect, [`ClusterPolicy::problems`] included.
    pub problems: Vec<Problem>,
    /// The place of each setting that is not the default, by [`Setting`].
    places: BTreeMap<Setting, String>,
}

impl ClusterConfiguration {
    /// The configuration of a cluster in which nothing is configured, for guests of `architecture`.
    pub fn of_architecture(architecture: &str) -> Self {
        let machines = Machines::of_architecture(architecture);
        Self {
            emulation: ClusterPolicy::default(),
            tenancy: Tenancy::default(),
            emulated_processors_per_core: EMULATED_PROCESSORS_PER_CORE,
            warm_start: Mode::default(),
            warm_start_pool: WarmStartPool::default(),
            feature_gates: BTreeSet::new(),
            architecture: architecture.to_owned(),
            machine_type: machines.default,
            emulated_machines: machines.allowed,
            foreign_machines: BTreeMap::new(),
            cpu_model: "host-model".to_owned(),
            cpu_request: None,
            cpu_allocation_ratio: 10,
            memory_overcommit: 100,
            node_selectors: BTreeMap::new(),
            eviction_strategy: None,
            problems: Vec::new(),
            places: BTreeMap::new(),
        }
    }

    /// The configuration that follows from `inputs`, for guests of the host's `architecture`
    /// (`amd64`, `arm64`). A setting that is not understood keeps its last good value, or else is looked
    /// for in the next place, and is reported.
    pub fn read(inputs: &ClusterInputs<'_>, architecture: &str) -> Self {
        let mut read = Self::of_architecture(architecture);
        read.emulation = ClusterPolicy::read(inputs);
        read.tenancy = cluster_tenancy(inputs.kubevirt);
        read.problems.clone_from(&read.emulation.problems);
        if let Some(object) = inputs.kubevirt {
            read.report_unserved(object);
            read.read_foreign_machines(object);
        }
        for setting in Setting::ALL {
            read.settle(setting, inputs);
        }
        for (namespace, data) in &inputs.config_maps {
            read.problems
                .extend(legacy::without_effect(namespace, data));
        }
        read
    }

    /// The place that says [`ClusterConfiguration::warm_start`].
    pub fn warm_start_decided_by(&self) -> &str {
        self.places
            .get(&Setting::WarmStart)
            .map_or(BY_DEFAULT, String::as_str)
    }

    /// Every value in force with the place where it comes from.
    pub fn effective(&self) -> Vec<EffectiveValue> {
        let value = |field: &str, value: String, from: &str| EffectiveValue {
            field: format!("spec.configuration.{field}"),
            value,
            from: from.to_owned(),
        };
        let emulation = &self.emulation;
        let tenancy = &self.tenancy;
        let mut all = vec![
            value(
                "emulationPolicy",
                emulation.policy.to_string(),
                &emulation.decided_by,
            ),
            value(
                "emulationMultiTenancy",
                tenancy.value.to_string(),
                &tenancy.decided_by,
            ),
        ];
        all.extend(Setting::ALL.map(|setting| {
            let from = self.places.get(&setting).map_or(BY_DEFAULT, String::as_str);
            value(&setting.path(&self.architecture), setting.shown(self), from)
        }));
        all
    }

    fn report_unserved(&mut self, object: &KubeVirt) {
        let object_name = setting::object_name(object);
        let spec = serde_json::to_value(&object.spec).unwrap_or_default();
        for (path, field) in unserved::found(unserved::KUBEVIRT, &spec) {
            if spec
                .pointer(&pointer(&path))
                .is_some_and(|value| value == &serde_json::json!({}))
            {
                continue;
            }
            let message = format!(
                "{object_name} spec.{path} has no effect in anyvirt; {}",
                field.instead
            );
            self.problems.push(Problem::new("NotServed", message));
        }
    }

    /// Takes the value of the strongest place that says something, and tells which others disagree.
    fn settle(&mut self, setting: Setting, inputs: &ClusterInputs<'_>) {
        let mut decided: Option<(String, String)> = None;
        for (place, text) in setting.written(inputs, &self.architecture) {
            let mut tried = self.clone();
            match (setting.set(&mut tried, &text), &decided) {
                (Ok(()), None) => {
                    decided = Some((place, setting.shown(&tried)));
                    *self = tried;
                }
                (Ok(()), Some((by, said))) => {
                    let shown = setting.shown(&tried);
                    if shown != *said {
                        let message = format!(
                            "{place} says {shown:?}, but {by} says {said:?} and wins; make them agree, \
                             or remove one"
                        );
                        self.problems.push(Problem::new("Conflict", message));
                    }
                }
                (Err(Fault::NotServed(why)), _) => {
                    let message = format!("{place}: {why}");
                    self.problems.push(Problem::new("NotServed", message));
                }
                (Err(Fault::Invalid { value, wanted }), before) => {
                    let kept = match before {
                        None => self.keep_last_good(setting, inputs),
                        Some(_) => None,
                    };
                    let told = match &kept {
                        Some((by, value)) => {
                            format!("the last good value stays: {value:?}, by {by}")
                        }
                        None => "it is ignored".to_owned(),
                    };
                    let message =
                        format!("{place}: {value:?} is not {wanted}; {told}; write {wanted}");
                    self.problems.push(Problem::new("InvalidValue", message));
                    decided = decided.or(kept);
                }
            }
        }
        if let Some((place, _)) = decided {
            self.places.insert(setting, place);
        }
    }

    /// Sets what was in force before, if that is known; its place and value.
    fn keep_last_good(
        &mut self,
        setting: Setting,
        inputs: &ClusterInputs<'_>,
    ) -> Option<(String, String)> {
        let field = format!("spec.configuration.{}", setting.path(&self.architecture));
        let last = inputs
            .last_values
            .iter()
            .find(|last| last.field == field && last.from != BY_DEFAULT)?;
        setting.set(self, &last.value).ok()?;
        Some((last.from.clone(), last.value.clone()))
    }
}

fn pointer(path: &str) -> String {
    format!("/{}", path.replace('.', "/"))
}

//! The settings that are served beside the emulation policy: where each is written, what it may be.

use std::collections::BTreeMap;

use super::{ClusterConfiguration, WarmStartPool};
use crate::accelerator::ClusterInputs;
use crate::kubevirt::{KubeVirt, KubeVirtConfiguration};
use crate::names;
use crate::quantity::Quantity;
use crate::warm_start::Mode;

/// A setting of the cluster.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Setting {
    FeatureGates,
    MachineType,
    EmulatedMachines,
    CpuModel,
    CpuRequest,
    MemoryOvercommit,
    CpuAllocationRatio,
    NodeSelectors,
    DefaultNetworkInterface,
    EvictionStrategy,
    EmulatedProcessorsPerCore,
    WarmStart,
    WarmStartPoolSize,
    WarmStartPoolMemory,
}

/// Why a value has no effect.
pub(super) enum Fault {
    /// It is not what it must be.
    Invalid { value: String, wanted: &'static str },
    /// KubeVirt knows it, this version does not; with the way out.
    NotServed(String),
}

impl Setting {
    pub(super) const ALL: [Self; 14] = [
        Self::FeatureGates,
        Self::MachineType,
        Self::EmulatedMachines,
        Self::CpuModel,
        Self::CpuRequest,
        Self::MemoryOvercommit,
        Self::CpuAllocationRatio,
        Self::NodeSelectors,
        Self::DefaultNetworkInterface,
        Self::EvictionStrategy,
        Self::EmulatedProcessorsPerCore,
        Self::WarmStart,
        Self::WarmStartPoolSize,
        Self::WarmStartPoolMemory,
    ];

    /// Its field below `spec.configuration` of the KubeVirt object.
    pub(super) fn path(self, architecture: &str) -> String {
        match self {
            Self::FeatureGates => "developerConfiguration.featureGates",
            Self::MachineType => {
                return format!("architectureConfiguration.{architecture}.machineType");
            }
            Self::EmulatedMachines => {
                return format!("architectureConfiguration.{architecture}.emulatedMachines");
            }
            Self::CpuModel => "cpuModel",
            Self::CpuRequest => "cpuRequest",
            Self::MemoryOvercommit => "developerConfiguration.memoryOvercommit",
            Self::CpuAllocationRatio => "developerConfiguration.cpuAllocationRatio",
            Self::NodeSelectors => "developerConfiguration.nodeSelectors",
            Self::DefaultNetworkInterface => "network.defaultNetworkInterface",
            Self::EvictionStrategy => "evictionStrategy",
            Self::EmulatedProcessorsPerCore => "emulatedProcessorsPerCore",
            Self::WarmStart => "warmStart",
            Self::WarmStartPoolSize => "warmStartPool.size",
            Self::WarmStartPoolMemory => "warmStartPool.maximumMemory",
        }
        .to_owned()
    }

    /// Its key in the legacy ConfigMap.
    pub(super) fn key(self) -> Option<&'static str> {
        match self {
            Self::FeatureGates => Some("feature-gates"),
            Self::MachineType => Some("machine-type"),
            Self::EmulatedMachines => Some("emulated-machines"),
            Self::CpuModel => Some("default-cpu-model"),
            Self::CpuRequest => Some("cpu-request"),
            Self::MemoryOvercommit => Some("memory-overcommit"),
            Self::CpuAllocationRatio => Some("cpu-allocation-ratio"),
            Self::NodeSelectors => Some("node-selectors"),
            Self::DefaultNetworkInterface => Some("default-network-interface"),
            Self::EvictionStrategy
            | Self::EmulatedProcessorsPerCore
            | Self::WarmStart
            | Self::WarmStartPoolSize
            | Self::WarmStartPoolMemory => None,
        }
    }

    /// What is written about it, the strongest place first.
    pub(super) fn written(
        self,
        inputs: &ClusterInputs<'_>,
        architecture: &str,
    ) -> Vec<(String, String)> {
        let mut written = Vec::new();
        for (namespace, data) in &inputs.config_maps {
            let Some(key) = self.key() else { break };
            let text = data.get(key).map(|text| text.trim());
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                let place = format!("ConfigMap {namespace}/{} {key}", names::CONFIG_MAP);
                written.push((place, text.to_owned()));
            }
        }
        if let Some(object) = inputs.kubevirt {
            let configuration = object.spec.configuration.as_ref();
            if let Some(text) = configuration.and_then(|it| self.of_object(it, architecture)) {
                let place = format!(
                    "{} spec.configuration.{}",
                    object_name(object),
                    self.path(architecture)
                );
                written.push((place, text));
            }
        }
        written
    }

    fn of_object(
        self,
        configuration: &KubeVirtConfiguration,
        architecture: &str,
    ) -> Option<String> {
        let developer = configuration.developer_configuration.as_ref();
        let machines = configuration.architecture_configuration.as_ref();
        let machines = machines.and_then(|all| {
            if architecture == "arm64" {
                all.arm64.as_ref()
            } else {
                all.amd64.as_ref()
            }
        });
        let text = match self {
            Self::FeatureGates => {
                let developer = developer?;
                let off = &developer.disabled_feature_gates;
                let on = developer.feature_gates.iter();
                let on: Vec<&str> = on
                    .filter(|gate| !off.contains(gate))
                    .map(String::as_str)
                    .collect();
                on.join(",")
            }
            Self::MachineType => machines?.machine_type.clone()?,
            Self::EmulatedMachines => machines?.emulated_machines.join(","),
            Self::CpuModel => configuration.cpu_model.clone()?,
            Self::CpuRequest => configuration.cpu_request.as_ref()?.0.clone(),
            Self::MemoryOvercommit => developer?.memory_overcommit?.to_string(),
            Self::CpuAllocationRatio => developer?.cpu_allocation_ratio?.to_string(),
            Self::NodeSelectors => lines(&developer?.node_selectors),
            Self::DefaultNetworkInterface => configuration
                .network
                .as_ref()?
                .default_network_interface
                .clone()?,
            Self::EvictionStrategy => configuration.eviction_strategy.clone()?,
            Self::EmulatedProcessorsPerCore => {
                configuration.emulated_processors_per_core?.to_string()
            }
            Self::WarmStart => configuration.warm_start?.to_string(),
            Self::WarmStartPoolSize => configuration.warm_start_pool.as_ref()?.size?.to_string(),
            Self::WarmStartPoolMemory => {
                let pool = configuration.warm_start_pool.as_ref()?;
                pool.maximum_memory.as_ref()?.0.clone()
            }
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// Sets it to what a text says.
    pub(super) fn set(
        self,
        configuration: &mut ClusterConfiguration,
        text: &str,
    ) -> Result<(), Fault> {
        let invalid = |wanted| Fault::Invalid {
            value: text.to_owned(),
            wanted,
        };
        let at_least_one = || text.parse().ok().filter(|number| *number >= 1);
        let items = || {
            let items = text.split(',').map(str::trim);
            items.filter(|item| !item.is_empty()).map(str::to_owned)
        };
        match self {
            Self::FeatureGates => configuration.feature_gates = items().collect(),
            Self::MachineType => text.clone_into(&mut configuration.machine_type),
            Self::EmulatedMachines => configuration.emulated_machines = items().collect(),
            Self::CpuModel => text.clone_into(&mut configuration.cpu_model),
            Self::CpuRequest => {
                let request = Quantity::from(text);
                request
                    .to_thousandths()
                    .ok_or_else(|| invalid("an amount of processors such as 100m"))?;
                configuration.cpu_request = Some(request);
            }
            Self::MemoryOvercommit => {
                configuration.memory_overcommit =
                    at_least_one().ok_or_else(|| invalid("a percentage of at least 1"))?;
            }
            Self::CpuAllocationRatio => {
                configuration.cpu_allocation_ratio =
                    at_least_one().ok_or_else(|| invalid("a whole number of at least 1"))?;
            }
            Self::EmulatedProcessorsPerCore => {
                configuration.emulated_processors_per_core =
                    at_least_one().ok_or_else(|| invalid("a whole number of at least 1"))?;
            }
            Self::WarmStart => {
                configuration.warm_start =
                    Mode::parse(text).ok_or_else(|| invalid("Never, Auto or Require"))?;
            }
            Self::WarmStartPoolSize => {
                let size = text.parse().ok();
                let size = size.filter(|size| *size <= WarmStartPool::LARGEST);
                configuration.warm_start_pool.size =
                    size.ok_or_else(|| invalid("a whole number from 0 to 16"))?;
            }
            Self::WarmStartPoolMemory => {
                let memory = Quantity::from(text);
                let bytes = memory.to_units();
                bytes.ok_or_else(|| invalid("an amount of memory such as 512Mi"))?;
                configuration.warm_start_pool.maximum_memory = Some(memory);
            }
            Self::NodeSelectors => configuration.node_selectors = selectors(text)?,
            Self::DefaultNetworkInterface if text == "masquerade" => {}
            Self::DefaultNetworkInterface => {
                return Err(Fault::NotServed(format!(
                    "the binding {text} is not served by this version of anyvirt; interfaces are attached \
                     by masquerade; write masquerade"
                )));
            }
            Self::EvictionStrategy if matches!(text, "None" | "LiveMigrateIfPossible") => {
                configuration.eviction_strategy = Some(text.to_owned());
            }
            Self::EvictionStrategy => {
                return Err(Fault::NotServed(format!(
                    "the strategy {text} is not served by this version of anyvirt, because guests are not \
                     migrated; write None or LiveMigrateIfPossible"
                )));
            }
        }
        Ok(())
    }

    /// What is in force, as text that [`Setting::set`] reads.
    pub(super) fn shown(self, configuration: &ClusterConfiguration) -> String {
        match self {
            Self::FeatureGates => {
                let gates: Vec<&str> = configuration
                    .feature_gates
                    .iter()
                    .map(String::as_str)
                    .collect();
                gates.join(",")
            }
            Self::MachineType => configuration.machine_type.clone(),
            Self::EmulatedMachines => configuration.emulated_machines.join(","),
            Self::CpuModel => configuration.cpu_model.clone(),
            Self::CpuRequest => {
                let request = configuration.cpu_request.as_ref();
                request.map(|request| request.0.clone()).unwrap_or_default()
            }
            Self::MemoryOvercommit => configuration.memory_overcommit.to_string(),
            Self::CpuAllocationRatio => configuration.cpu_allocation_ratio.to_string(),
            Self::NodeSelectors => lines(&configuration.node_selectors),
            Self::DefaultNetworkInterface => "masquerade".to_owned(),
            Self::EmulatedProcessorsPerCore => {
                configuration.emulated_processors_per_core.to_string()
            }
            Self::WarmStart => configuration.warm_start.to_string(),
            Self::WarmStartPoolSize => configuration.warm_start_pool.size.to_string(),
            Self::WarmStartPoolMemory => {
                let memory = configuration.warm_start_pool.maximum_memory.as_ref();
                memory.map(|memory| memory.0.clone()).unwrap_or_default()
            }
            Self::EvictionStrategy => {
                let strategy = configuration.eviction_strategy.clone();
                strategy.unwrap_or_else(|| "None".to_owned())
            }
        }
    }
}

/// The object as places name it.
pub(super) fn object_name(object: &KubeVirt) -> String {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    format!("KubeVirt {namespace}/{name}")
}

fn lines(selectors: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = selectors
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    lines.join("\n")
}

fn selectors(text: &str) -> Result<BTreeMap<String, String>, Fault> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| match line.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok((key.trim().to_owned(), value.trim().to_owned()))
            }
            _ => Err(Fault::Invalid {
                value: line.to_owned(),
                wanted: "a line of the form label=value",
            }),
        })
        .collect()
}

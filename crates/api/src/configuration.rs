//! The cluster's configuration: of the KubeVirt object, and of the legacy ConfigMap, whose keys win.

use std::collections::{BTreeMap, BTreeSet};

use crate::accelerator::{ClusterInputs, ClusterPolicy, Problem, SWITCH, Tenancy, cluster_tenancy};
use crate::kubevirt::{KubeVirt, KubeVirtConfiguration, MachineTypes};
use crate::names;
use crate::quantity::Quantity;
use crate::unserved;

/// The feature gate that permits volumes of the kind `hostDisk`.
pub const HOST_DISK_GATE: &str = "HostDisk";

/// The default of `emulatedProcessorsPerCore`: as many as may share a core by the default of
/// `cpuAllocationRatio`, whatever runs them. Busy ones get a tenth of a core each then, which is slow,
/// but boots; more would only make all of them miss their deadlines.
const EMULATED_PROCESSORS_PER_CORE: u32 = 10;

/// How virtual machines are made, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterConfiguration {
    /// Who may be emulated.
    pub emulation: ClusterPolicy,
    /// Whether emulated guests of several namespaces may share a node.
    pub tenancy: Tenancy,
    /// The most virtual processors of emulated guests for each core of a node; at least 1.
    pub emulated_processors_per_core: u32,
    /// Feature gates that are on.
    pub feature_gates: BTreeSet<String>,
    /// Architecture of guests that name none, in Go's names.
    pub architecture: String,
    /// Machine type of guests that name none.
    pub machine_type: String,
    /// Patterns of machine types that are allowed.
    pub emulated_machines: Vec<String>,
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
}

impl ClusterConfiguration {
    /// The configuration of a cluster in which nothing is configured, for guests of `architecture`.
    pub fn of_architecture(architecture: &str) -> Self {
        let (machine_type, emulated_machines): (_, &[_]) = match architecture {
            "arm64" => ("virt", &["virt*"]),
            "s390x" => ("s390-ccw-virtio", &["s390-ccw-virtio*"]),
            _ => ("q35", &["q35*", "pc-q35*"]),
        };
        Self {
            emulation: ClusterPolicy::default(),
            tenancy: Tenancy::default(),
            emulated_processors_per_core: EMULATED_PROCESSORS_PER_CORE,
            feature_gates: BTreeSet::new(),
            architecture: architecture.to_owned(),
            machine_type: machine_type.to_owned(),
            emulated_machines: emulated_machines
                .iter()
                .map(|&pattern| pattern.to_owned())
                .collect(),
            cpu_model: "host-model".to_owned(),
            cpu_request: None,
            cpu_allocation_ratio: 10,
            memory_overcommit: 100,
            node_selectors: BTreeMap::new(),
            eviction_strategy: None,
            problems: Vec::new(),
        }
    }

    /// The configuration that follows from `inputs`, for guests of the host's `architecture`
    /// (`amd64`, `arm64`). A setting that is not understood keeps its default and is reported.
    pub fn read(inputs: &ClusterInputs<'_>, architecture: &str) -> Self {
        let mut read = Self::of_architecture(architecture);
        read.emulation = ClusterPolicy::read(inputs);
        read.problems.clone_from(&read.emulation.problems);
        read.tenancy = cluster_tenancy(inputs.kubevirt);
        if let Some(object) = inputs.kubevirt {
            read.apply_object(object);
        }
        // The first ConfigMap is the strongest, so it is applied last.
        for (namespace, data) in inputs.config_maps.iter().rev() {
            for (key, value) in *data {
                let place = format!("ConfigMap {namespace}/{} {key}", names::CONFIG_MAP);
                read.apply_key(&place, key, value.trim());
            }
        }
        read
    }

    fn apply_object(&mut self, object: &KubeVirt) {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let object_name = format!("KubeVirt {namespace}/{name}");
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
        let Some(configuration) = &object.spec.configuration else {
            return;
        };
        let place = format!("{object_name} spec.configuration");
        self.apply_developer(&place, configuration);
        if let Some(model) = configuration
            .cpu_model
            .as_deref()
            .filter(|model| !model.is_empty())
        {
            model.clone_into(&mut self.cpu_model);
        }
        if let Some(request) = &configuration.cpu_request {
            self.set_cpu_request(&format!("{place}.cpuRequest"), request.clone());
        }
        let machines = configuration
            .architecture_configuration
            .as_ref()
            .and_then(|all| {
                if self.architecture == "arm64" {
                    all.arm64.as_ref()
                } else {
                    all.amd64.as_ref()
                }
            });
        if let Some(MachineTypes {
            machine_type,
            emulated_machines,
            ..
        }) = machines
        {
            if let Some(name) = machine_type.as_deref().filter(|name| !name.is_empty()) {
                name.clone_into(&mut self.machine_type);
            }
            if !emulated_machines.is_empty() {
                self.emulated_machines.clone_from(emulated_machines);
            }
        }
        match configuration.emulated_processors_per_core {
            None => {}
            Some(0) => self.invalid(
                &format!("{place}.emulatedProcessorsPerCore"),
                "0",
                "a whole number of at least 1",
            ),
            Some(most) => self.emulated_processors_per_core = most,
        }
        let network = configuration.network.as_ref();
        if let Some(binding) =
            network.and_then(|network| network.default_network_interface.as_ref())
        {
            self.set_default_binding(&format!("{place}.network.defaultNetworkInterface"), binding);
        }
        if let Some(strategy) = &configuration.eviction_strategy {
            self.set_eviction_strategy(&format!("{place}.evictionStrategy"), strategy);
        }
    }

    fn apply_developer(&mut self, place: &str, configuration: &KubeVirtConfiguration) {
        let Some(developer) = &configuration.developer_configuration else {
            return;
        };
        let place = format!("{place}.developerConfiguration");
        let on = developer.feature_gates.iter();
        let on = on.filter(|gate| !developer.disabled_feature_gates.contains(gate));
        self.feature_gates.extend(on.cloned());
        self.node_selectors.clone_from(&developer.node_selectors);
        if let Some(percent) = developer.memory_overcommit {
            self.set_memory_overcommit(&format!("{place}.memoryOvercommit"), &percent.to_string());
        }
        if let Some(ratio) = developer.cpu_allocation_ratio {
            self.set_cpu_ratio(&format!("{place}.cpuAllocationRatio"), &ratio.to_string());
        }
    }

    fn apply_key(&mut self, place: &str, key: &str, value: &str) {
        if value.is_empty() || key == SWITCH {
            return;
        }
        let list = || {
            value
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
        };
        match key {
            "feature-gates" => self.feature_gates = list().map(str::to_owned).collect(),
            "emulated-machines" => self.emulated_machines = list().map(str::to_owned).collect(),
            "machine-type" => value.clone_into(&mut self.machine_type),
            "default-cpu-model" => value.clone_into(&mut self.cpu_model),
            "cpu-request" => self.set_cpu_request(place, Quantity::from(value)),
            "memory-overcommit" => self.set_memory_overcommit(place, value),
            "cpu-allocation-ratio" => self.set_cpu_ratio(place, value),
            "default-network-interface" => self.set_default_binding(place, value),
            "node-selectors" => self.set_node_selectors(place, value),
            _ => self.report_key(place, key),
        }
    }

    fn report_key(&mut self, place: &str, key: &str) {
        const KNOWN: [&str; 11] = [
            "dev.imagePullPolicy",
            "memBalloonStatsPeriod",
            "migrations",
            "ovmfPath",
            "permitBridgeInterfaceOnPodNetwork",
            "permitSlirpInterface",
            "permittedHostDevices",
            "pvc-tolerate-less-space-up-to-percent",
            "selinuxLauncherType",
            "smbios",
            "supported-guest-agent",
        ];
        if KNOWN.contains(&key) {
            let message = format!("{place} has no effect in anyvirt; remove it");
            self.problems.push(Problem::new("NotServed", message));
        } else if !self.problems.iter().any(|problem| {
            // The misspelt switch was reported with a better hint.
            problem.reason == "Misspelt" && problem.message.contains(&format!("the key {key},"))
        }) {
            let message = format!("{place} is not a key of this ConfigMap; remove it");
            self.problems.push(Problem::new("UnknownKey", message));
        }
    }

    fn invalid(&mut self, place: &str, value: &str, wanted: &str) {
        let message = format!("{place}: \"{value}\" is not {wanted}; the default stays");
        self.problems.push(Problem::new("InvalidValue", message));
    }

    fn set_cpu_request(&mut self, place: &str, request: Quantity) {
        match request.to_thousandths() {
            Some(_) => self.cpu_request = Some(request),
            None => self.invalid(place, &request.0, "an amount of processors such as 100m"),
        }
    }

    fn set_memory_overcommit(&mut self, place: &str, value: &str) {
        match value.parse() {
            Ok(percent) if percent >= 1 => self.memory_overcommit = percent,
            _ => self.invalid(place, value, "a percentage of at least 1"),
        }
    }

    fn set_cpu_ratio(&mut self, place: &str, value: &str) {
        match value.parse() {
            Ok(ratio) if ratio >= 1 => self.cpu_allocation_ratio = ratio,
            _ => self.invalid(place, value, "a whole number of at least 1"),
        }
    }

    fn set_default_binding(&mut self, place: &str, value: &str) {
        if value != "masquerade" {
            let message = format!(
                "{place}: the binding {value} is not served by this version of anyvirt; interfaces \
                 are attached by masquerade; write masquerade"
            );
            self.problems.push(Problem::new("NotServed", message));
        }
    }

    fn set_eviction_strategy(&mut self, place: &str, value: &str) {
        if matches!(value, "None" | "LiveMigrateIfPossible") {
            self.eviction_strategy = Some(value.to_owned());
        } else {
            let message = format!(
                "{place}: the strategy {value} is not served by this version of anyvirt, because \
                 guests are not migrated; write None or LiveMigrateIfPossible"
            );
            self.problems.push(Problem::new("NotServed", message));
        }
    }

    fn set_node_selectors(&mut self, place: &str, value: &str) {
        let mut selectors = BTreeMap::new();
        for line in value.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    selectors.insert(key.trim().to_owned(), value.trim().to_owned());
                }
                _ => return self.invalid(place, line, "a line of the form label=value"),
            }
        }
        self.node_selectors = selectors;
    }
}

fn pointer(path: &str) -> String {
    format!("/{}", path.replace('.', "/"))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn kubevirt(spec: serde_json::Value) -> KubeVirt {
        serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1",
            "kind": "KubeVirt",
            "metadata": {"namespace": "kubevirt", "name": "kubevirt"},
            "spec": spec,
        }))
        .unwrap()
    }

    fn read(object: Option<&KubeVirt>, data: &[(&str, &str)]) -> ClusterConfiguration {
        let data: BTreeMap<String, String> = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let inputs = ClusterInputs {
            config_maps: vec![("openshift-cnv", &data)],
            kubevirt: object,
            ..ClusterInputs::default()
        };
        ClusterConfiguration::read(&inputs, "amd64")
    }

    #[test]
    fn nothing_configured_has_upstreams_defaults_and_no_problems() {
        let read = read(None, &[]);
        assert_eq!(read, ClusterConfiguration::of_architecture("amd64"));
        assert_eq!(
            (read.machine_type.as_str(), read.cpu_model.as_str()),
            ("q35", "host-model")
        );
    }

    #[test]
    fn upstreams_default_object_has_no_problems() {
        let object = kubevirt(json!({
            "certificateRotateStrategy": {},
            "configuration": {"developerConfiguration": {"featureGates": ["HostDisk"]}},
            "customizeComponents": {},
            "workloadUpdateStrategy": {},
        }));
        let read = read(Some(&object), &[]);
        assert_eq!(read.problems, []);
        assert!(read.feature_gates.contains(HOST_DISK_GATE));
    }

    #[test]
    fn a_key_of_the_config_map_wins_over_the_object() {
        let object = kubevirt(json!({"configuration": {
            "cpuModel": "Haswell",
            "architectureConfiguration": {"amd64": {"machineType": "pc-q35-7.1"}},
            "developerConfiguration": {"cpuAllocationRatio": 4, "memoryOvercommit": 150},
        }}));
        let read = read(
            Some(&object),
            &[
                ("machine-type", "pc-q35-7.2"),
                ("node-selectors", "a=b\n c = d\n"),
                ("cpu-request", "1"),
            ],
        );
        assert_eq!(read.machine_type, "pc-q35-7.2");
        assert_eq!(
            (read.cpu_model.as_str(), read.cpu_allocation_ratio),
            ("Haswell", 4)
        );
        assert_eq!(read.memory_overcommit, 150);
        assert_eq!(read.node_selectors.get("c").map(String::as_str), Some("d"));
        assert_eq!(read.cpu_request, Some(Quantity::from("1")));
        assert_eq!(read.problems, []);
    }

    #[test]
    fn the_bound_of_emulated_processors_is_that_of_the_object_if_it_is_one() {
        for (written, expected, problems) in [
            (json!({}), 10, 0),
            (json!({"emulatedProcessorsPerCore": 3}), 3, 0),
            (json!({"emulatedProcessorsPerCore": 0}), 10, 1),
        ] {
            let read = read(Some(&kubevirt(json!({"configuration": written}))), &[]);
            assert_eq!(read.emulated_processors_per_core, expected);
            assert_eq!(read.problems.len(), problems);
        }
    }

    #[test]
    fn what_has_no_effect_is_reported_by_name() {
        let object = kubevirt(json!({"configuration": {
            "migrations": {"allowPostCopy": true},
            "network": {"defaultNetworkInterface": "bridge"},
            "evictionStrategy": "LiveMigrate",
        }}));
        let read = read(
            Some(&object),
            &[
                ("smbios", "x"),
                ("colour", "red"),
                ("cpu-request", "much"),
                ("useEmulation", "true"),
            ],
        );
        let text: Vec<String> = read
            .problems
            .iter()
            .map(|found| format!("{}: {}", found.reason, found.message))
            .collect();
        expect![[r#"
            Misspelt: ConfigMap openshift-cnv/kubevirt-config has the key useEmulation, which has no effect; the switch is called debug.useEmulation
            NotServed: KubeVirt kubevirt/kubevirt spec.configuration.migrations has no effect in anyvirt; remove it
            NotServed: KubeVirt kubevirt/kubevirt spec.configuration.network.defaultNetworkInterface: the binding bridge is not served by this version of anyvirt; interfaces are attached by masquerade; write masquerade
            NotServed: KubeVirt kubevirt/kubevirt spec.configuration.evictionStrategy: the strategy LiveMigrate is not served by this version of anyvirt, because guests are not migrated; write None or LiveMigrateIfPossible
            UnknownKey: ConfigMap openshift-cnv/kubevirt-config colour is not a key of this ConfigMap; remove it
            InvalidValue: ConfigMap openshift-cnv/kubevirt-config cpu-request: "much" is not an amount of processors such as 100m; the default stays
            NotServed: ConfigMap openshift-cnv/kubevirt-config smbios has no effect in anyvirt; remove it"#]]
        .assert_eq(&text.join("\n"));
    }
}

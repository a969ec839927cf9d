//! Every rule with what it says, word for word.

mod standing;
mod waiting;

use expect_test::Expect;
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod};
use serde_json::{Value, json};

use super::{CauseId, Explanation, MachineSeen, Standing, machine};
use crate::accelerator::{ClusterPolicy, EmulationPolicy};
use crate::virtual_machine::VirtualMachine;
use crate::virtual_machine_instance::VirtualMachineInstance;

/// A cluster with one VM, `demo/fedora`, on one node without KVM, where nobody permits emulation.
struct World {
    machine: Value,
    instance: Option<Value>,
    pod: Option<Value>,
    events: Vec<Value>,
    nodes: Vec<Value>,
    namespace: Value,
    cluster: ClusterPolicy,
}

const NEITHER: &str = "0/1 nodes are available: 1 Insufficient devices.kubevirt.io/kvm, 1 Insufficient \
                       devices.kubevirt.io/vhost-net.";
/// Figure 1 of the article, as it stands there.
const FIGURE_1: &str = "0/6 nodes are available: ... Insufficient devices.kubevirt.io/vhost-net.";

fn a_node(name: &str, usable: bool) -> Value {
    let (status, reason, message) = if usable {
        ("True", "Usable", "a guest ran through all stages in 3 ms")
    } else {
        ("False", "DeviceMissing", "/dev/kvm does not exist")
    };
    json!({
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/arch": "amd64", "kubevirt.io/vm-arch-amd64": "true"},
            "annotations": {},
        },
        "status": {"conditions": [
            {"type": "Ready", "status": "True"},
            {"type": "HardwareVirtualization", "status": status, "reason": reason, "message": message},
        ]},
    })
}

impl World {
    fn new() -> Self {
        let spec =
            json!({"domain": {"devices": {"interfaces": [{"name": "default", "masquerade": {}}]}}});
        Self {
            machine: json!({
                "metadata": {"name": "fedora", "namespace": "demo"},
                "spec": {"runStrategy": "Always", "template": {"metadata": {"annotations": {}}, "spec": spec}},
                "status": {"printableStatus": "Starting", "conditions": []},
            }),
            instance: Some(json!({
                "metadata": {"name": "fedora", "namespace": "demo", "annotations": {}},
                "spec": spec,
                "status": {"phase": "Scheduling", "conditions": []},
            })),
            pod: Some(
                json!({"metadata": {"name": "virt-launcher-fedora-abcde", "namespace": "demo"}}),
            ),
            events: Vec::new(),
            nodes: vec![a_node("one", false)],
            namespace: json!({"metadata": {"name": "demo", "labels": {}}}),
            cluster: policy(EmulationPolicy::None),
        }
    }

    /// The scheduler finds no node, and says so.
    fn unschedulable(message: &str) -> Self {
        let mut world = Self::new();
        world.say("PodScheduled", "False", "Unschedulable", message);
        world
    }

    fn say(&mut self, type_: &str, status: &str, reason: &str, message: &str) {
        let condition =
            json!({"type": type_, "status": status, "reason": reason, "message": message});
        let object = self.instance.as_mut().unwrap_or(&mut self.machine);
        object["status"]["conditions"]
            .as_array_mut()
            .unwrap()
            .push(condition);
    }

    fn running(accelerator: Value) -> Self {
        let mut world = Self::new();
        let instance = world.instance.as_mut().unwrap();
        instance["status"]["phase"] = json!("Running");
        instance["status"]["nodeName"] = json!("one");
        instance["status"]["accelerator"] = accelerator;
        world
    }

    fn instance(&mut self) -> &mut Value {
        self.instance.as_mut().unwrap()
    }

    fn explained(self) -> Explanation {
        let vm: VirtualMachine = serde_json::from_value(self.machine).unwrap();
        let vmi: Option<VirtualMachineInstance> =
            self.instance.map(|it| serde_json::from_value(it).unwrap());
        let pod: Option<Pod> = self.pod.map(|it| serde_json::from_value(it).unwrap());
        let all = |values: Vec<Value>| {
            values
                .into_iter()
                .map(|it| serde_json::from_value(it).unwrap())
        };
        let nodes: Vec<Node> = all(self.nodes).collect();
        let events: Vec<Event> = self
            .events
            .into_iter()
            .map(|it| serde_json::from_value(it).unwrap())
            .collect();
        let namespace: Namespace = serde_json::from_value(self.namespace).unwrap();
        machine(&MachineSeen {
            machine: Some(&vm),
            instance: vmi.as_ref(),
            pod: pod.as_ref(),
            events: &events,
            nodes: &nodes,
            namespace: Some(&namespace),
            cluster: &self.cluster,
            architecture: "amd64",
        })
    }
}

fn policy(policy: EmulationPolicy) -> ClusterPolicy {
    ClusterPolicy {
        policy,
        decided_by: "ConfigMap openshift-cnv/kubevirt-config debug.useEmulation".to_owned(),
        ..ClusterPolicy::default()
    }
}

fn told(explanation: &Explanation) -> String {
    let mut text = format!(
        "{:?} ({:?})\n{}\n",
        explanation.cause_id, explanation.standing, explanation.cause
    );
    for evidence in &explanation.evidence {
        text.push_str(&format!("- {}: {}\n", evidence.source, evidence.text));
    }
    for remedy in &explanation.remedies {
        text.push_str(&format!(
            "> {} | {} | {}\n",
            remedy.title, remedy.effect, remedy.cost
        ));
        if let Some(command) = &remedy.command {
            text.push_str(&format!("  $ {command}\n"));
        }
    }
    text
}

fn check(explanation: &Explanation, expected: &Expect) {
    expected.assert_eq(&told(explanation));
}

fn causes(explanation: &Explanation) -> (CauseId, Standing) {
    (explanation.cause_id, explanation.standing)
}

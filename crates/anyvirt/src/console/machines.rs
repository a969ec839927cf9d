//! What the console asks about virtual machines: what is the matter with one, and what would follow from a change.
//! Everything is read with the rights of who asks.

use api::accelerator::{SWITCH, permit_emulation};
use api::explain::{Explanation, Remedy};
use api::outlook::{Applied, SWITCH_NAMESPACE};
use apiserver::{Body, Cause, Status};
use http::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::query;

/// `GET explain?namespace=NS&name=VM`.
pub(super) async fn explain(client: &kube::Client, query: &str) -> Result<Response<Body>, Status> {
    let form = "?namespace=NS&name=VM";
    let namespace = query::name(query, "namespace", form)?;
    let name = query::name(query, "name", form)?;
    let explained = cli::explain::machine(client, namespace, name).await;
    let explanation = explained
        .map_err(status)?
        .ok_or_else(|| Status::not_found(api::names::GROUP, "virtualmachines", name))?;
    Ok(super::answer(&told(&explanation, namespace, name)))
}

fn told(explanation: &Explanation, namespace: &str, name: &str) -> Value {
    json!({
        "cause": explanation.cause,
        "causeId": explanation.cause_id,
        "standing": explanation.standing,
        "evidence": explanation.evidence,
        "cures": explanation.remedies.iter().map(|remedy| cure(remedy, namespace, name)).collect::<Vec<_>>(),
    })
}

/// A cure of this machine, and what the console can do of it by itself.
fn cure(remedy: &Remedy, namespace: &str, name: &str) -> Value {
    let mut cure = json!({
        "title": remedy.title,
        "effect": remedy.effect,
        "cost": remedy.cost,
        "reversible": remedy.reversible,
    });
    if let Some(command) = &remedy.command {
        cure["command"] = json!(command);
        if let Some(action) = action(command, namespace, name) {
            cure["action"] = action;
        }
    }
    cure
}

/// The change of one object that a cure's command makes, if it is one: a merge patch, or a JSON patch.
fn action(command: &str, namespace: &str, name: &str) -> Option<Value> {
    if Some(command) == permit_emulation().command.as_deref() {
        let map = api::names::CONFIG_MAP;
        let path = format!("/api/v1/namespaces/{SWITCH_NAMESPACE}/configmaps/{map}");
        let body = json!({"data": {SWITCH: "true"}});
        return Some(json!({"kind": "patch", "path": path, "body": body}));
    }
    let machine = format!("/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachines/{name}");
    if command == format!("anyvirt emulation on --vm {name} -n {namespace}") {
        let body = json!({"spec": {"template": {"spec": {"emulationPolicy": "Software"}}}});
        return Some(json!({"kind": "patch", "path": machine, "body": body}));
    }
    let quoted = |words: &str| {
        let body = command.strip_prefix(words)?.strip_suffix('\'')?;
        serde_json::from_str::<Value>(body).ok()
    };
    if let Some(body) = quoted("kubectl -n kubevirt patch kubevirt kubevirt --type=merge -p '") {
        let path = "/apis/kubevirt.io/v1/namespaces/kubevirt/kubevirts/kubevirt";
        return Some(json!({"kind": "patch", "path": path, "body": body}));
    }
    let body = quoted(&format!(
        "kubectl patch vm/{name} -n {namespace} --type=json -p='"
    ))?;
    Some(json!({"kind": "json-patch", "path": machine, "body": body}))
}

/// The body of `consequences`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    object: Value,
}

/// `POST consequences` with `{"object": OBJECT}`, the object as it would be applied.
pub(super) async fn consequences(
    client: &kube::Client,
    body: &[u8],
) -> Result<Response<Body>, Status> {
    let asked: Asked = serde_json::from_slice(body).map_err(|error| {
        Status::bad_request(format!("the body is {{\"object\": OBJECT}}: {error}"))
    })?;
    let kind = asked.object["kind"].as_str().unwrap_or_default().to_owned();
    let name = asked.object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let applied = Applied::read(asked.object).map_err(|error| {
        Status::invalid(
            "",
            &kind,
            &name,
            vec![Cause::new("FieldValueInvalid", "", error)],
        )
    })?;
    let told = match applied {
        // Of no kind that bears on machines.
        None => api::outlook::Consequences::default(),
        Some(applied) => {
            let cluster = cli::cluster::look(client).await.map_err(status)?;
            api::outlook::consequences(&cluster, &applied)
        }
    };
    let told = serde_json::to_value(told).map_err(Status::internal)?;
    Ok(super::answer(&told))
}

/// The API's own answer to who asks, or that it cannot be asked.
pub(super) fn status(error: kube::Error) -> Status {
    match error {
        kube::Error::Api(refused) => Status::new(refused.code, refused.reason, refused.message),
        other => Status::internal(other),
    }
}

#[cfg(test)]
mod tests {
    use api::accelerator::{ClusterPolicy, EmulationPolicy};
    use api::explain::MachineSeen;
    use api::virtual_machine::VirtualMachine;
    use api::virtual_machine_instance::VirtualMachineInstance;
    use k8s_openapi::api::core::v1::Node;

    use super::*;

    #[test]
    fn permitting_emulation_is_a_button_and_other_cures_are_words() {
        let cure = |remedy: &Remedy| cure(remedy, "team-a", "vm");
        let button = cure(&permit_emulation());
        assert_eq!(
            button["action"],
            json!({
                "kind": "patch",
                "path": "/api/v1/namespaces/openshift-cnv/configmaps/kubevirt-config",
                "body": {"data": {"debug.useEmulation": "true"}},
            })
        );
        let words = cure(&Remedy::new("Wait", "it may come", "time", true));
        assert_eq!(
            words,
            json!({"title": "Wait", "effect": "it may come", "cost": "time", "reversible": true})
        );
    }

    #[test]
    fn a_command_that_changes_one_object_is_a_button_for_that_object() {
        let machine = "/apis/kubevirt.io/v1/namespaces/team-a/virtualmachines/vm";
        let kubevirt = "/apis/kubevirt.io/v1/namespaces/kubevirt/kubevirts/kubevirt";
        let policy = json!({"spec": {"template": {"spec": {"emulationPolicy": "Software"}}}});
        let model = json!([{"op": "add", "path": "/spec/x/model", "value": "e1000e"}]);
        for (command, expected) in [
            (
                "anyvirt emulation on --vm vm -n team-a".to_owned(),
                json!({"kind": "patch", "path": machine, "body": policy}),
            ),
            (
                format!("kubectl patch vm/vm -n team-a --type=json -p='{model}'"),
                json!({"kind": "json-patch", "path": machine, "body": model}),
            ),
            (
                "kubectl -n kubevirt patch kubevirt kubevirt --type=merge -p '{\"spec\":{}}'"
                    .to_owned(),
                json!({"kind": "patch", "path": kubevirt, "body": {"spec": {}}}),
            ),
        ] {
            assert_eq!(
                action(&command, "team-a", "vm"),
                Some(expected),
                "{command}"
            );
        }
        for command in [
            "anyvirt emulation on --vm other -n team-a",
            "anyvirt emulation on --vm vm && anyvirt emulation auto --node n",
            "kubectl edit vm/vm -n team-a",
            "kubectl patch vm/vm -n team-b --type=json -p='[]'",
            "sudo modprobe vhost_net",
        ] {
            assert_eq!(action(command, "team-a", "vm"), None, "{command}");
        }
    }

    /// The VM `demo/fedora` with these annotations, of whose one node the scheduler says `message`: its KVM
    /// works or does not, where `place` decides `policy`.
    fn explained(
        message: &str,
        annotations: &Value,
        usable: bool,
        (policy, place): (EmulationPolicy, &str),
    ) -> Explanation {
        let spec =
            json!({"domain": {"devices": {"interfaces": [{"name": "default", "masquerade": {}}]}}});
        let metadata = json!({"name": "fedora", "namespace": "demo", "annotations": annotations});
        let vm: VirtualMachine = read(json!({
            "metadata": {"name": "fedora", "namespace": "demo"},
            "spec": {"runStrategy": "Always", "template": {"metadata": {"annotations": annotations}, "spec": spec}},
        }));
        let message = format!("0/1 nodes are available: {message}");
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
        let vmi: VirtualMachineInstance = read(json!({
            "metadata": metadata,
            "spec": spec,
            "status": {"phase": "Scheduling", "conditions": [condition]},
        }));
        let (status, reason) = if usable {
            ("True", "Usable")
        } else {
            ("False", "DeviceMissing")
        };
        let node: Node = read(json!({
            "metadata": {
                "name": "one",
                "labels": {"kubernetes.io/arch": "amd64", "kubevirt.io/vm-arch-amd64": "true"},
            },
            "status": {"conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "HardwareVirtualization", "status": status, "reason": reason, "message": "it was tried"},
            ]},
        }));
        api::explain::machine(&MachineSeen {
            machine: Some(&vm),
            instance: Some(&vmi),
            pod: None,
            events: &[],
            nodes: &[node],
            namespace: None,
            cluster: &ClusterPolicy {
                policy,
                decided_by: place.to_owned(),
                ..ClusterPolicy::default()
            },
            architecture: "amd64",
        })
    }

    fn read<T: serde::de::DeserializeOwned>(object: Value) -> T {
        serde_json::from_value(object).unwrap()
    }

    /// Their commands are written in another crate: a word that is changed there takes a button away here.
    #[test]
    fn every_real_cure_that_changes_one_object_is_a_button() {
        const NO_KVM: &str = "1 Insufficient devices.kubevirt.io/kvm, 1 Insufficient \
             devices.kubevirt.io/vhost-net.";
        const FIELD: &str = "KubeVirt kubevirt/kubevirt spec.configuration.emulationPolicy";
        const SWITCH_PLACE: &str = "ConfigMap openshift-cnv/kubevirt-config debug.useEmulation";
        const CLUSTER: &str = "Permit software emulation in the whole cluster";
        const ALONE: &str = "Permit software emulation for fedora alone";
        let none = json!({});
        let forced = json!({"anyvirt.io/accelerator": "kvm"});
        let denied = (EmulationPolicy::None, SWITCH_PLACE);
        let permitted = (EmulationPolicy::Software, SWITCH_PLACE);
        let map = "/api/v1/namespaces/openshift-cnv/configmaps/kubevirt-config";
        let kubevirt = "/apis/kubevirt.io/v1/namespaces/kubevirt/kubevirts/kubevirt";
        let machine = "/apis/kubevirt.io/v1/namespaces/demo/virtualmachines/fedora";
        for (message, annotations, usable, policy, expected) in [
            (
                NO_KVM,
                &none,
                false,
                denied,
                vec![(CLUSTER, map), (ALONE, machine)],
            ),
            (
                NO_KVM,
                &none,
                false,
                (EmulationPolicy::None, FIELD),
                vec![(CLUSTER, kubevirt), (ALONE, machine)],
            ),
            (
                "1 Insufficient devices.kubevirt.io/vhost-net.",
                &none,
                true,
                denied,
                vec![
                    (CLUSTER, map),
                    (ALONE, machine),
                    ("Give it an e1000e network card", machine),
                ],
            ),
            (
                "1 node(s) didn't match Pod's node affinity/selector.",
                &forced,
                false,
                permitted,
                vec![("Remove the annotation anyvirt.io/accelerator", machine)],
            ),
            (
                "1 node(s) would have more than 10 emulated processors per core (KubeVirt \
                 spec.configuration.emulatedProcessorsPerCore).",
                &none,
                false,
                permitted,
                vec![("Let more emulated processors share a core", kubevirt)],
            ),
            (
                "1 node(s) had emulated guests of other namespaces (forbidden by KubeVirt kubevirt/kubevirt \
                 spec.configuration.emulationMultiTenancy).",
                &none,
                false,
                permitted,
                vec![(
                    "Permit emulated guests of several namespaces on one node",
                    kubevirt,
                )],
            ),
        ] {
            let explained = explained(message, annotations, usable, policy);
            let told = told(&explained, "demo", "fedora");
            let cures = told["cures"].as_array().unwrap();
            let buttons: Vec<_> = cures
                .iter()
                .filter_map(|cure| {
                    Some((cure["title"].as_str()?, cure["action"]["path"].as_str()?))
                })
                .collect();
            assert_eq!(buttons, expected, "{told:#}");
        }
    }
}

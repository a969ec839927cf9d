use super::decide::{Action, Decision, Seen, decide};
use crate::engine::Next;
use api::condition;
use api::snapshot::{
    Phase, VirtualMachineSnapshot, VirtualMachineSnapshotContent, VirtualMachineSnapshotStatus,
};
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

fn now() -> Timestamp {
    "2026-11-23T12:01:00Z".parse().unwrap()
}

fn unchanged(_: &mut Value) {}

fn snapshot(memory: bool, change: impl FnOnce(&mut Value)) -> VirtualMachineSnapshot {
    let mut snapshot = json!({
        "apiVersion": "snapshot.kubevirt.io/v1beta1", "kind": "VirtualMachineSnapshot",
        "metadata": {
            "name": "s", "namespace": "ns", "uid": "s-uid", "creationTimestamp": "2026-11-23T12:00:00Z",
            "finalizers": ["snapshot.kubevirt.io/vmsnapshot-protection"],
        },
        "spec": {
            "source": { "apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "m" },
            "includeMemory": memory,
        },
    });
    change(&mut snapshot);
    serde_json::from_value(snapshot).unwrap()
}

fn vm(change: impl FnOnce(&mut Value)) -> VirtualMachine {
    let mut vm = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
        "metadata": { "name": "m", "namespace": "ns", "uid": "vm-uid", "generation": 3, "labels": { "a": "b" },
            "annotations": { "note": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}" } },
        "spec": { "runStrategy": "Always", "template": { "spec": {
            "domain": { "devices": {}, "memory": { "guest": "1Gi" } },
            "volumes": [{ "name": "root", "containerDisk": { "image": "registry/web:1" } }],
        } } },
        "status": { "printableStatus": "Running" },
    });
    change(&mut vm);
    serde_json::from_value(vm).unwrap()
}

fn locked(vm: &mut Value) {
    vm["status"]["snapshotInProgress"] = json!("s");
}

fn vmi(change: impl FnOnce(&mut Value)) -> VirtualMachineInstance {
    let mut vmi = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": { "name": "m", "namespace": "ns", "uid": "vmi-uid" },
        "spec": { "domain": { "devices": {}, "memory": { "guest": "2Gi" } } },
        "status": { "phase": "Running", "nodeName": "n1" },
    });
    change(&mut vmi);
    serde_json::from_value(vmi).unwrap()
}

fn content(memory: bool, status: Value) -> VirtualMachineSnapshotContent {
    let memory =
        memory.then(|| json!({ "nodeName": "n1", "instanceName": "m", "instanceUID": "vmi-uid" }));
    serde_json::from_value(json!({
        "apiVersion": "snapshot.kubevirt.io/v1beta1", "kind": "VirtualMachineSnapshotContent",
        "metadata": { "name": "vmsnapshot-content-s-uid", "namespace": "ns", "uid": "c-uid" },
        "spec": { "virtualMachineSnapshotName": "s", "source": {}, "memory": memory },
        "status": status,
    }))
    .unwrap()
}

fn names(decision: &Decision) -> String {
    let name = |action: &Action| match action {
        Action::Hold => "hold",
        Action::LetGo => "let go",
        Action::Lock => "lock",
        Action::Unlock => "unlock",
        Action::Capture(_) => "capture",
        Action::Finish(_) => "finish",
        Action::Drop => "drop",
        Action::Leave => "leave",
    };
    let names: Vec<&str> = decision.actions.iter().map(name).collect();
    names.join(" ")
}

fn reason(status: &VirtualMachineSnapshotStatus, type_: &str) -> String {
    let found = condition::find(&status.conditions, type_).unwrap();
    format!(
        "{} {}",
        found.status,
        found.reason.clone().unwrap_or_default()
    )
}

fn ready() -> Value {
    json!({ "readyToUse": true, "creationTime": "2026-11-23T12:00:30Z" })
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn each_look_does_what_comes_next() {
    let held = |memory| snapshot(memory, unchanged);
    let new = snapshot(false, |it| it["metadata"]["finalizers"] = json!([]));
    let late = snapshot(true, |it| {
        it["metadata"]["creationTimestamp"] = json!("2026-11-23T11:00:00Z")
    });
    let patient = snapshot(true, |it| {
        it["metadata"]["creationTimestamp"] = json!("2026-11-23T11:00:00Z");
        it["spec"]["failureDeadline"] = json!("0");
    });
    let free = vm(unchanged);
    let ours = vm(locked);
    let others = vm(|vm| vm["status"]["snapshotInProgress"] = json!("other"));
    let restored = vm(|vm| vm["status"]["restoreInProgress"] = json!("r"));
    let going = vm(|vm| vm["metadata"]["deletionTimestamp"] = json!("2026-11-23T12:00:59Z"));
    let host_disk = vm(|vm| {
        locked(vm);
        vm["spec"]["template"]["spec"]["volumes"] =
            json!([{ "name": "d", "hostDisk": { "path": "/d", "type": "Disk" } }]);
    });
    let replaced = snapshot(true, |it| {
        it["status"] = json!({ "phase": "InProgress", "sourceUID": "older" })
    });
    let runs = vmi(unchanged);
    let starts = vmi(|vmi| vmi["status"]["phase"] = json!("Scheduled"));
    let another = vmi(|vmi| vmi["metadata"]["uid"] = json!("later"));
    let empty = || Some(content(false, json!({})));
    let waiting = || Some(content(true, json!({})));
    let whole = |memory| Some(content(memory, ready()));
    let broken = Some(content(
        true,
        json!({ "error": { "message": "the disk is full" } }),
    ));
    for (case, snapshot, content, vm, vmi, actions, phase, progressing) in [
        (
            "new, nothing there",
            &new,
            None,
            None,
            None,
            "hold",
            Phase::InProgress,
            "False Source does not exist",
        ),
        (
            "free",
            &held(false),
            None,
            Some(&free),
            None,
            "lock",
            Phase::InProgress,
            "True Source not locked and operation in progress",
        ),
        (
            "locked by another",
            &held(false),
            None,
            Some(&others),
            None,
            "",
            Phase::InProgress,
            "True Source not locked and operation in progress",
        ),
        (
            "being restored",
            &held(false),
            None,
            Some(&restored),
            None,
            "",
            Phase::InProgress,
            "True Source not locked and operation in progress",
        ),
        (
            "going",
            &held(false),
            None,
            Some(&going),
            None,
            "",
            Phase::Failed,
            "False In error state",
        ),
        (
            "locked, off",
            &held(false),
            None,
            Some(&ours),
            None,
            "capture",
            Phase::InProgress,
            "True Source locked and operation in progress",
        ),
        (
            "captured",
            &held(false),
            empty(),
            Some(&ours),
            None,
            "finish",
            Phase::InProgress,
            "True Source locked and operation in progress",
        ),
        (
            "whole",
            &held(false),
            whole(false),
            Some(&ours),
            None,
            "unlock",
            Phase::Succeeded,
            "False Operation complete",
        ),
        (
            "memory of what is off",
            &held(true),
            None,
            Some(&free),
            None,
            "",
            Phase::Failed,
            "False In error state",
        ),
        (
            "memory of what starts",
            &held(true),
            None,
            Some(&ours),
            Some(&starts),
            "unlock",
            Phase::Failed,
            "False In error state",
        ),
        (
            "memory with a hostDisk",
            &held(true),
            None,
            Some(&host_disk),
            Some(&runs),
            "unlock",
            Phase::Failed,
            "False In error state",
        ),
        (
            "memory",
            &held(true),
            None,
            Some(&ours),
            Some(&runs),
            "capture",
            Phase::InProgress,
            "True Source locked and operation in progress",
        ),
        (
            "memory is being kept",
            &held(true),
            waiting(),
            Some(&ours),
            Some(&runs),
            "",
            Phase::InProgress,
            "True Source locked and operation in progress",
        ),
        (
            "its guest ended",
            &held(true),
            waiting(),
            Some(&ours),
            None,
            "unlock drop",
            Phase::Failed,
            "False In error state",
        ),
        (
            "its guest is another",
            &held(true),
            waiting(),
            Some(&ours),
            Some(&another),
            "unlock drop",
            Phase::Failed,
            "False In error state",
        ),
        (
            "it could not be kept",
            &held(true),
            broken,
            Some(&ours),
            Some(&runs),
            "unlock drop",
            Phase::Failed,
            "False In error state",
        ),
        (
            "it is kept, and ended since",
            &held(true),
            whole(true),
            Some(&ours),
            None,
            "unlock",
            Phase::Succeeded,
            "False Operation complete",
        ),
        (
            "too late",
            &late,
            waiting(),
            Some(&ours),
            Some(&runs),
            "unlock drop",
            Phase::Failed,
            "False In error state",
        ),
        (
            "late, without deadline",
            &patient,
            waiting(),
            Some(&ours),
            Some(&runs),
            "",
            Phase::InProgress,
            "True Source locked and operation in progress",
        ),
        (
            "another source",
            &replaced,
            None,
            Some(&free),
            Some(&runs),
            "",
            Phase::Failed,
            "False In error state",
        ),
    ] {
        let content: Option<VirtualMachineSnapshotContent> = content;
        let seen = Seen {
            snapshot,
            content: content.as_ref(),
            vm,
            vmi,
        };
        let decision = decide(&seen, now());
        assert_eq!(names(&decision), actions, "{case}");
        assert_eq!(decision.status.phase, Some(phase), "{case}");
        assert_eq!(
            reason(&decision.status, "Progressing"),
            progressing,
            "{case}"
        );
        assert_eq!(
            decision.status.ready_to_use,
            Some(phase == Phase::Succeeded),
            "{case}"
        );
        let failed = condition::is_true(&decision.status.conditions, "Failure");
        assert_eq!(failed, phase == Phase::Failed, "{case}");
        assert_eq!(decision.status.error.is_some(), failed, "{case}");
        // Saying it again changes nothing.
        if decision.status.phase != Some(Phase::Failed) {
            let mut again = snapshot.clone();
            again.status = Some(decision.status.clone());
            let later = now().checked_add(Duration::from_secs(1)).unwrap();
            let seen = Seen {
                snapshot: &again,
                ..seen
            };
            assert_eq!(decide(&seen, later).status, decision.status, "{case}");
        }
    }
}

#[test]
fn a_snapshot_is_looked_at_again_when_its_time_is_over() {
    let snapshot = snapshot(true, unchanged);
    let seen = Seen {
        snapshot: &snapshot,
        content: None,
        vm: None,
        vmi: None,
    };
    let left = Duration::from_secs(240);
    assert_eq!(decide(&seen, now()).next, Next::After(left));
}

#[test]
fn a_snapshot_that_goes_takes_its_content_along_unless_it_is_to_stay() {
    let going = |policy: Option<&str>,
                 content: &Option<VirtualMachineSnapshotContent>,
                 vm: &VirtualMachine| {
        let snapshot = snapshot(true, |it| {
            it["metadata"]["deletionTimestamp"] = json!("2026-11-23T12:00:59Z");
            it["spec"]["deletionPolicy"] = json!(policy);
        });
        let seen = Seen {
            snapshot: &snapshot,
            content: content.as_ref(),
            vm: Some(vm),
            vmi: None,
        };
        names(&decide(&seen, now()))
    };
    let (free, ours) = (vm(unchanged), vm(locked));
    let whole = Some(content(true, ready()));
    assert_eq!(going(None, &whole, &free), "drop let go");
    assert_eq!(going(Some("Delete"), &whole, &ours), "unlock drop let go");
    assert_eq!(going(Some("Retain"), &whole, &free), "leave let go");
    assert_eq!(
        going(Some("Retain"), &Some(content(true, json!({}))), &ours),
        "unlock drop let go"
    );
    assert_eq!(going(None, &None, &free), "let go");
}

#[test]
fn a_snapshot_that_was_taken_says_what_became_of_it() {
    let over = snapshot(true, |it| {
        it["status"] = json!({ "phase": "Succeeded", "readyToUse": true, "sourceUID": "vm-uid" });
    });
    for (content, ready_to_use, said) in [
        (
            Some(content(true, ready())),
            true,
            "True Operation complete",
        ),
        (
            Some(content(true, json!({ "error": { "message": "damaged" } }))),
            false,
            "False In error state",
        ),
        (None, false, "False In error state"),
    ] {
        let vm = vm(unchanged);
        let seen = Seen {
            snapshot: &over,
            content: content.as_ref(),
            vm: Some(&vm),
            vmi: None,
        };
        let decision = decide(&seen, now());
        assert_eq!(names(&decision), "");
        assert_eq!(decision.status.ready_to_use, Some(ready_to_use));
        assert_eq!(reason(&decision.status, "Ready"), said);
        assert_eq!(decision.status.error.is_some(), !ready_to_use);
        let mut again = over.clone();
        again.status = Some(decision.status.clone());
        let later = now().checked_add(Duration::from_secs(9)).unwrap();
        let seen = Seen {
            snapshot: &again,
            ..seen
        };
        assert_eq!(decide(&seen, later).status, decision.status);
    }
}

fn captured(
    snapshot: &VirtualMachineSnapshot,
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
) -> (Value, Value) {
    let seen = Seen {
        snapshot,
        content: None,
        vm: Some(vm),
        vmi,
    };
    let decision = decide(&seen, now());
    let content = decision.actions.iter().find_map(|action| match action {
        Action::Capture(content) => Some(serde_json::to_value(content).unwrap()),
        _ => None,
    });
    (
        content.unwrap(),
        serde_json::to_value(&decision.status).unwrap(),
    )
}

#[test]
fn a_content_has_the_machine_as_it_is_and_names_whose_memory_its_node_keeps() {
    let runs = vmi(unchanged);
    let (content, status) = captured(&snapshot(true, unchanged), &vm(locked), Some(&runs));
    assert_eq!(content["metadata"]["name"], "vmsnapshot-content-s-uid");
    assert_eq!(
        content["metadata"]["finalizers"],
        json!(["snapshot.kubevirt.io/vmsnapshotcontent-protection"])
    );
    assert_eq!(
        content["spec"]["memory"],
        json!({ "nodeName": "n1", "instanceName": "m", "instanceUID": "vmi-uid" })
    );
    let machine = &content["spec"]["source"]["virtualMachine"];
    assert_eq!(machine["metadata"]["annotations"], json!({ "note": "x" }));
    assert_eq!(
        machine["spec"]["template"]["spec"]["domain"]["memory"]["guest"],
        "1Gi"
    );
    assert_eq!(
        status["snapshotVolumes"],
        json!({ "includedVolumes": ["root"] })
    );
    assert_eq!(status["indications"], json!(["Online", "Memory"]));
    assert_eq!(
        status["virtualMachineSnapshotContentName"],
        "vmsnapshot-content-s-uid"
    );
    let (content, status) = captured(&snapshot(false, unchanged), &vm(locked), None);
    assert_eq!(content["spec"]["memory"], Value::Null);
    assert_eq!(
        status["snapshotVolumes"],
        json!({ "excludedVolumes": ["root"] })
    );
    assert_eq!(status["indications"], json!(["PartialSnapshot"]));
    // Its template was changed since it was started: what runs is what is kept.
    let outdated = vmi(|vmi| {
        vmi["metadata"]["annotations"] = json!({ "anyvirt.io/template-fingerprint": "0" })
    });
    let (content, _) = captured(&snapshot(true, unchanged), &vm(locked), Some(&outdated));
    let machine = &content["spec"]["source"]["virtualMachine"];
    assert_eq!(
        machine["spec"]["template"]["spec"]["domain"]["memory"]["guest"],
        "2Gi"
    );
}

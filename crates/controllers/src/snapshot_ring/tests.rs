use super::decide::{Action, decide};
use crate::engine::Next;
use api::snapshot::VirtualMachineSnapshot;
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

fn now() -> Timestamp {
    "2026-11-23T12:10:00Z".parse().unwrap()
}

fn vm(change: impl FnOnce(&mut Value)) -> VirtualMachine {
    let mut vm = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
        "metadata": { "name": "m", "namespace": "ns", "uid": "vm-uid",
            "annotations": { "anyvirt.io/snapshot-ring": "every=1m,keep=2" } },
        "spec": { "runStrategy": "Always" },
    });
    change(&mut vm);
    serde_json::from_value(vm).unwrap()
}

fn vmi(status: Value) -> VirtualMachineInstance {
    serde_json::from_value(json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": { "name": "m", "namespace": "ns", "uid": "vmi-uid" },
        "spec": { "domain": { "devices": {} } }, "status": status,
    }))
    .unwrap()
}

/// Snapshots, by minutes and seconds after twelve, and phase.
fn ring(all: &[(&str, &str)]) -> Vec<Arc<VirtualMachineSnapshot>> {
    let snapshot = |(at, phase): &(&str, &str)| {
        serde_json::from_value(json!({
            "apiVersion": "snapshot.kubevirt.io/v1beta1", "kind": "VirtualMachineSnapshot",
            "metadata": { "name": format!("s{at}"), "namespace": "ns", "creationTimestamp": format!("2026-11-23T12:{at}Z") },
            "spec": { "source": { "kind": "VirtualMachine", "name": "m" } },
            "status": { "phase": phase },
        }))
        .unwrap()
    };
    all.iter().map(|it| Arc::new(snapshot(it))).collect()
}

fn told(
    vm: &VirtualMachine,
    vmi: Option<&VirtualMachineInstance>,
    all: &[(&str, &str)],
) -> (String, Next) {
    let (actions, next) = decide(vm, vmi, &ring(all), now());
    let names = actions.iter().map(|action| match action {
        Action::Take(_) => "take".to_owned(),
        Action::Delete(name) => format!("delete {name}"),
    });
    (names.collect::<Vec<_>>().join(", "), next)
}

#[test]
fn a_ring_takes_one_when_it_is_time_and_keeps_so_many() {
    let vm = vm(|_| {});
    let runs = vmi(json!({ "phase": "Running" }));
    let minute = || Next::After(Duration::from_secs(60));
    for (all, actions, next) in [
        (&[][..], "take", minute()),
        (&[("08:59", "Succeeded")], "take", minute()),
        (
            &[("09:30", "Succeeded")],
            "",
            Next::After(Duration::from_secs(30)),
        ),
        (
            &[("09:30", "Failed")],
            "",
            Next::After(Duration::from_secs(30)),
        ),
        (&[("08:00", "InProgress")], "", Next::OnChange),
        (
            &[
                ("07:30", "Succeeded"),
                ("08:30", "Succeeded"),
                ("09:30", "Succeeded"),
            ],
            "delete s07:30",
            Next::After(Duration::from_secs(30)),
        ),
        // What failed goes, once something came after it, and takes nobody's place.
        (
            &[
                ("07:00", "Succeeded"),
                ("08:00", "Failed"),
                ("09:00", "Succeeded"),
            ],
            "delete s08:00, take",
            minute(),
        ),
    ] {
        assert_eq!(
            told(&vm, Some(&runs), all),
            (actions.to_owned(), next),
            "{all:?}"
        );
    }
}

#[test]
fn a_ring_rests_while_there_is_nothing_new_to_keep() {
    let runs = vmi(json!({ "phase": "Running" }));
    let paused =
        vmi(json!({ "phase": "Running", "conditions": [{ "type": "Paused", "status": "True" }] }));
    let starts = vmi(json!({ "phase": "Scheduled" }));
    let plain = vm(|_| {});
    for (case, vm, vmi) in [
        ("off", &plain, None),
        ("starts", &plain, Some(&starts)),
        ("paused", &plain, Some(&paused)),
        (
            "locked",
            &vm(|vm| vm["status"] = json!({ "snapshotInProgress": "x" })),
            Some(&runs),
        ),
        (
            "restored",
            &vm(|vm| vm["status"] = json!({ "restoreInProgress": "x" })),
            Some(&runs),
        ),
        (
            "going",
            &vm(|vm| vm["metadata"]["deletionTimestamp"] = json!("2026-11-23T12:00:00Z")),
            Some(&runs),
        ),
        (
            "no ring",
            &vm(|vm| vm["metadata"]["annotations"] = json!({})),
            Some(&runs),
        ),
    ] {
        assert_eq!(
            told(vm, vmi, &[]),
            (String::new(), Next::OnChange),
            "{case}"
        );
    }
}

#[test]
fn a_snapshot_of_a_ring_goes_with_its_machine() {
    let vm = vm(|_| {});
    let runs = vmi(json!({ "phase": "Running" }));
    let (actions, _) = decide(&vm, Some(&runs), &[], now());
    let [Action::Take(snapshot)] = actions.as_slice() else {
        panic!("{actions:?}");
    };
    let snapshot = serde_json::to_value(snapshot).unwrap();
    assert_eq!(snapshot["metadata"]["name"], "m-ring-20261123t121000z");
    assert_eq!(snapshot["metadata"]["ownerReferences"][0]["uid"], "vm-uid");
    assert_eq!(
        snapshot["metadata"]["labels"]["anyvirt.io/snapshot-ring"],
        "vm-uid"
    );
    assert_eq!(snapshot["spec"]["includeMemory"], true);
}

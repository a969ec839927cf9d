//! What is told of a guest that goes on, or does not.

use serde_json::json;

use super::*;

fn instance(more: serde_json::Value) -> VirtualMachineInstance {
    serde_json::from_value(json!({
        "metadata": { "name": "vm", "namespace": "ns", "uid": "vmi-1", "annotations": more },
        "spec": { "domain": { "devices": {} } },
    }))
    .expect("a VMI")
}

#[test]
fn what_a_guest_has_taken_over_is_told_from_what_waits() {
    use api::launcher::saved::{Record, files as names};
    let data = tempfile::tempdir().expect("a folder");
    let store = Store::open(data.path().join("saved")).expect("opened");
    let vmi = instance(json!({}));
    assert!(!is_taken_over(&store, &vmi, "u-1"));
    assert!(!is_taken_over(&store, &vmi, "../u-1"));
    let folder = store.prepare("u-1").expect("a folder");
    let record = serde_json::to_vec(&Record::default()).expect("JSON");
    std::fs::write(folder.join(names::RECORD), record).expect("written");
    let made = Made {
        owner: owner(&vmi),
        shape: json!({}),
        processor: None,
        made_at: Timestamp::UNIX_EPOCH,
    };
    let stored = store.commit("u-1", made).expect("taken in");
    assert!(!is_taken_over(&store, &vmi, "u-1"));
    let of = |name: &str| stored.directory.join(name);
    std::fs::rename(of(names::RECORD), of(names::USED)).expect("renamed");
    assert!(is_taken_over(&store, &vmi, "u-1"));
}

#[test]
fn where_nothing_is_left_to_go_on_from_the_way_out_is_named() {
    let suspended = instance(json!({}));
    let used = nothing_saved(&suspended, "u-1", "n1", true);
    let gone = nothing_saved(&suspended, "u-1", "n1", false);
    assert!(used.starts_with("a guest has gone on from what was saved as u-1 already"));
    assert!(gone.starts_with("nothing is saved as u-1 in namespace ns on node n1"));
    for told in [used, gone] {
        assert!(
            told.ends_with("anyvirt resume -n ns vm --discard"),
            "{told}"
        );
    }
    let restored = instance(json!({ annotations::LAST_RESTORE: "r-1" }));
    assert!(!nothing_saved(&restored, "u-1", "n1", true).contains("--discard"));
}

#[test]
fn what_a_launcher_saved_by_itself_is_not_taken_for_what_it_was_asked_for_in_vain() {
    for (there, expected) in [
        (&["vm"][..], true),
        (&["vm", "own"], true),
        // It was taken in, and then we ended.
        (&[], true),
        (&["own"], false),
    ] {
        let has = |id: &str| there.contains(&id);
        assert_eq!(was_asked("vm", "own", has), expected, "{there:?}");
    }
}

#[test]
fn a_machine_goes_on_from_what_is_its_own_or_a_snapshots_and_from_nothing_else() {
    let of_vm: VirtualMachineInstance = serde_json::from_value(json!({
        "metadata": { "name": "vm", "namespace": "ns", "uid": "vmi-1", "ownerReferences": [
            { "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": "vm", "uid": "vm-1", "controller": true },
        ] },
        "spec": { "domain": { "devices": {} } },
    }))
    .expect("a VMI");
    let alone = instance(json!({}));
    let saved_of = |kind: &str, uid: &str| Owner {
        kind: kind.to_owned(),
        namespace: "ns".to_owned(),
        name: "other".to_owned(),
        uid: uid.to_owned(),
    };
    let (vm, vmi) = ("VirtualMachine", "VirtualMachineInstance");
    let content = "VirtualMachineSnapshotContent";
    let (clock, everything) = (Renewal::Clock, Renewal::Everything);
    for (kind, uid, by, renewal, expected) in [
        (vm, "vm-1", &of_vm, clock, Some(true)),
        (vmi, "vmi-1", &of_vm, clock, Some(true)),
        (vmi, "vmi-1", &alone, clock, Some(true)),
        // Of a snapshot there may be many.
        (content, "c-1", &of_vm, clock, Some(false)),
        (content, "c-1", &alone, everything, Some(false)),
        // Whoever wrote the annotation.
        (vm, "vm-2", &of_vm, clock, None),
        (vm, "vm-1", &alone, clock, None),
        (vmi, "vmi-2", &alone, clock, None),
        // What one machine alone may go on from makes no other one.
        (vm, "vm-1", &of_vm, everything, None),
        ("Pod", "p-1", &alone, clock, None),
    ] {
        let told = may_use(&saved_of(kind, uid), by, renewal);
        assert_eq!(told.clone().ok(), expected, "{kind} {uid} {renewal:?}");
        if let Err(why) = told {
            assert!(why.contains(&format!("that of {kind} other")), "{why}");
        }
    }
    let wrong = instance(json!({ annotations::RESUME_AS: "Nobody" }));
    let why = may_use(&saved_of(vmi, "vmi-1"), &wrong, clock).expect_err("refused");
    assert!(
        why.contains("\"Nobody\" is not Clock or Everything"),
        "{why}"
    );
}

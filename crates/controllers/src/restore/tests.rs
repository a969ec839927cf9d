use super::decide::{Action, Decision, Seen, decide};
use crate::engine::Next;
use api::condition;
use api::snapshot::{VirtualMachineRestore, VirtualMachineSnapshot, VirtualMachineSnapshotContent};
use api::virtual_machine::VirtualMachine;
use api::virtual_machine_instance::VirtualMachineInstance;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

fn now() -> Timestamp {
    "2026-11-23T12:01:00Z".parse().unwrap()
}

fn unchanged(_: &mut Value) {}

fn restore(target: &str, change: impl FnOnce(&mut Value)) -> VirtualMachineRestore {
    let mut restore = json!({
        "apiVersion": "snapshot.kubevirt.io/v1beta1", "kind": "VirtualMachineRestore",
        "metadata": {
            "name": "r", "namespace": "ns", "uid": "r-uid", "creationTimestamp": "2026-11-23T12:00:00Z",
            "finalizers": ["snapshot.kubevirt.io/vmrestore-protection"],
        },
        "spec": {
            "target": { "apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": target },
            "virtualMachineSnapshotName": "s",
        },
    });
    change(&mut restore);
    serde_json::from_value(restore).unwrap()
}

fn stops(restore: &mut Value) {
    restore["spec"]["targetReadinessPolicy"] = json!("StopTarget");
}

fn snapshot(status: Value) -> VirtualMachineSnapshot {
    serde_json::from_value(json!({
        "apiVersion": "snapshot.kubevirt.io/v1beta1", "kind": "VirtualMachineSnapshot",
        "metadata": { "name": "s", "namespace": "ns", "uid": "s-uid" },
        "spec": { "source": { "kind": "VirtualMachine", "name": "m" } }, "status": status,
    }))
    .unwrap()
}

fn taken() -> VirtualMachineSnapshot {
    snapshot(json!({ "phase": "Succeeded", "readyToUse": true, "sourceUID": "vm-uid" }))
}

fn content(memory: Option<bool>) -> VirtualMachineSnapshotContent {
    serde_json::from_value(json!({
        "apiVersion": "snapshot.kubevirt.io/v1beta1", "kind": "VirtualMachineSnapshotContent",
        "metadata": { "name": "vmsnapshot-content-s-uid", "namespace": "ns", "uid": "c-uid" },
        "spec": {
            "source": { "virtualMachine": {
                "metadata": { "name": "m", "namespace": "ns", "uid": "vm-uid", "labels": { "app": "web" },
                    "annotations": { "note": "x", "anyvirt.io/snapshot-ring": "every=1m,keep=5", "anyvirt.io/suspended": "false" } },
                "spec": { "runStrategy": "Always", "template": {
                    "metadata": { "annotations": { "anyvirt.io/generated-firmware-identity": "u s" } },
                    "spec": {
                        "domain": {
                            "devices": { "interfaces": [{ "name": "default", "masquerade": {}, "macAddress": "02:00:00:00:00:01" }] },
                            "firmware": { "uuid": "6f1c6a52-6a0a-4b0e-8b5b-0a2d6c3e9f10", "serial": "s" },
                            "memory": { "guest": "1Gi" },
                        },
                        "networks": [{ "name": "default", "pod": {} }],
                    },
                } },
            } },
            "memory": memory.map(|_| json!({ "nodeName": "n1", "instanceName": "m", "instanceUID": "i" })),
        },
        "status": { "readyToUse": true, "memory": memory.map(|renewable| json!({ "renewable": renewable })) },
    }))
    .unwrap()
}

/// One with memory that its node was asked to look through, and has, for these restores.
fn checked(
    requested: &str,
    answered: &str,
    problem: Option<&str>,
) -> VirtualMachineSnapshotContent {
    let mut content = serde_json::to_value(content(Some(true))).unwrap();
    content["metadata"]["annotations"] = json!({ "anyvirt.io/check-requested": requested });
    content["status"]["memory"]["checked"] = json!({ "restoreUID": answered, "problem": problem });
    serde_json::from_value(content).unwrap()
}

fn vm(strategy: &str, change: impl FnOnce(&mut Value)) -> VirtualMachine {
    let mut vm = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
        "metadata": { "name": "m", "namespace": "ns", "uid": "vm-uid", "annotations": { "anyvirt.io/snapshot-ring": "every=1m,keep=5" } },
        "spec": { "runStrategy": strategy, "template": { "spec": { "domain": { "devices": {} } } } },
        "status": { "printableStatus": "Stopped" },
    });
    change(&mut vm);
    serde_json::from_value(vm).unwrap()
}

fn locked(vm: &mut Value) {
    vm["status"]["restoreInProgress"] = json!("r");
}

fn written(vm: &mut Value) {
    locked(vm);
    vm["metadata"]["annotations"]["restore.kubevirt.io/lastRestoreUID"] = json!("r-r-uid");
}

fn resuming(vm: &mut Value) {
    written(vm);
    vm["metadata"]["annotations"]["anyvirt.io/resume-from"] = json!("c-uid");
}

fn vmi(phase: &str, resumes: bool) -> VirtualMachineInstance {
    let annotated = resumes.then(|| {
        json!({ "anyvirt.io/resume-from": "c-uid", "restore.kubevirt.io/lastRestoreUID": "r-r-uid" })
    });
    serde_json::from_value(json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": { "name": "m", "namespace": "ns", "uid": "vmi-uid", "annotations": annotated },
        "spec": { "domain": { "devices": {} } },
        "status": { "phase": phase, "conditions": [
            { "type": "Synchronized", "status": "False", "message": "the state file is damaged" },
        ] },
    }))
    .unwrap()
}

fn names(decision: &Decision) -> String {
    let name = |action: &Action| match action {
        Action::Hold => "hold",
        Action::LetGo => "let go",
        Action::Own => "own",
        Action::Lock => "lock",
        Action::Unlock => "unlock",
        Action::Check => "check",
        Action::Stop { at_once: true } => "stop at once",
        Action::Stop { at_once: false } => "stop",
        Action::Write(_) => "write",
        Action::Create(_) => "create",
        Action::Consume => "consume",
        Action::LeaveStopped => "leave stopped",
    };
    let names: Vec<&str> = decision.actions.iter().map(name).collect();
    names.join(" ")
}

/// The reason of the condition that says how it stands.
fn said(decision: &Decision) -> String {
    let conditions = &decision.status.conditions;
    let failure = condition::find(conditions, "Failure");
    let told = failure
        .or_else(|| condition::find(conditions, "Progressing"))
        .unwrap();
    format!(
        "{}{} {}",
        told.type_.chars().next().unwrap(),
        told.status,
        told.reason.clone().unwrap()
    )
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn each_look_does_what_comes_next() {
    let same = restore("m", unchanged);
    let fork = restore("m2", unchanged);
    let owned = |it: &mut Value| {
        it["metadata"]["ownerReferences"] =
            json!([{ "apiVersion": "v", "kind": "k", "name": "m", "uid": "vm-uid" }])
    };
    let own = restore("m", owned);
    let new = restore("m", |it| it["metadata"]["finalizers"] = json!([]));
    let plain = || Some(content(None));
    let memory = || Some(content(Some(true)));
    let running = vmi("Running", false);
    let halted = vm("Halted", unchanged);
    let off = "PTrue Waiting for target VM to be powered off";
    let init = "PTrue Initializing VirtualMachineRestore";
    let update = "PTrue Updating target spec";
    let other = vm("Halted", |vm| vm["metadata"]["uid"] = json!("another"));
    for (case, restore, snapshot, content, vm, vmi, actions, expected) in [
        (
            "new",
            &new,
            Some(taken()),
            plain(),
            Some(&halted),
            None,
            "hold",
            init,
        ),
        (
            "no snapshot",
            &same,
            None,
            None,
            Some(&halted),
            None,
            "",
            "PTrue VirtualMachineSnapshot s does not exist",
        ),
        (
            "not ready",
            &same,
            Some(snapshot(json!({ "phase": "InProgress" }))),
            None,
            Some(&halted),
            None,
            "",
            "PTrue VirtualMachineSnapshot s is not ready to use",
        ),
        (
            "lost since it was taken",
            &restore("m", stops),
            Some(snapshot(
                json!({ "phase": "Succeeded", "readyToUse": false, "error": { "message": "what was kept is not there any more" } }),
            )),
            memory(),
            Some(&vm("Always", unchanged)),
            Some(&running),
            "",
            "FTrue VirtualMachineSnapshot s is of no use any more: what was kept is not there any more",
        ),
        (
            "failed one",
            &same,
            Some(snapshot(json!({ "phase": "Failed" }))),
            None,
            Some(&halted),
            None,
            "",
            "FTrue VirtualMachineSnapshot s failed and is invalid to use",
        ),
        (
            "off",
            &same,
            Some(taken()),
            plain(),
            Some(&halted),
            None,
            "lock",
            init,
        ),
        (
            "off and locked",
            &same,
            Some(taken()),
            plain(),
            Some(&vm("Halted", locked)),
            None,
            "write",
            update,
        ),
        (
            "another machine",
            &same,
            Some(taken()),
            plain(),
            Some(&other),
            None,
            "",
            "FTrue restore source and restore target are different but restore target already exists",
        ),
        (
            "written",
            &own,
            Some(taken()),
            plain(),
            Some(&vm("Halted", written)),
            None,
            "unlock",
            "PFalse Operation complete",
        ),
        (
            "written, not owned",
            &same,
            Some(taken()),
            plain(),
            Some(&vm("Halted", written)),
            None,
            "own unlock",
            "PFalse Operation complete",
        ),
        (
            "the machine is gone",
            &same,
            Some(taken()),
            plain(),
            None,
            None,
            "create",
            update,
        ),
        (
            "a new one",
            &fork,
            Some(taken()),
            plain(),
            None,
            None,
            "create",
            update,
        ),
        (
            "a new one with memory",
            &fork,
            Some(taken()),
            memory(),
            None,
            None,
            "create",
            update,
        ),
        (
            "nothing renews it",
            &fork,
            Some(taken()),
            Some(content(Some(false))),
            None,
            None,
            "",
            "FTrue NoHook: the guest cannot go on as another machine: nothing in it can renew it",
        ),
        (
            "the same needs no hook",
            &same,
            Some(taken()),
            Some(content(Some(false))),
            Some(&halted),
            None,
            "lock",
            init,
        ),
        (
            "runs, waits",
            &same,
            Some(taken()),
            plain(),
            Some(&vm("Always", unchanged)),
            Some(&running),
            "",
            "PTrue Waiting for target VM to be powered off. Please stop the restore target to proceed with restore",
        ),
        (
            "runs, is stopped",
            &restore("m", stops),
            Some(taken()),
            plain(),
            Some(&vm("Always", unchanged)),
            Some(&running),
            "stop",
            off,
        ),
        (
            "runs, is stopped at once",
            &restore("m", stops),
            Some(taken()),
            Some(checked("r-uid", "r-uid", None)),
            Some(&vm("Always", unchanged)),
            Some(&running),
            "stop at once",
            off,
        ),
        (
            "about to start",
            &restore("m", stops),
            Some(taken()),
            plain(),
            Some(&vm("Always", unchanged)),
            None,
            "stop",
            off,
        ),
        (
            "by hand, off",
            &same,
            Some(taken()),
            plain(),
            Some(&vm("Manual", unchanged)),
            None,
            "lock",
            init,
        ),
        (
            "runs, fails",
            &restore("m", |it| {
                it["spec"]["targetReadinessPolicy"] = json!("FailImmediate")
            }),
            Some(taken()),
            plain(),
            Some(&vm("Always", unchanged)),
            Some(&running),
            "",
            "FTrue Restore target VMI still exists",
        ),
        (
            "runs for too long",
            &restore("m", |it| {
                it["metadata"]["creationTimestamp"] = json!("2026-11-23T11:56:00Z")
            }),
            Some(taken()),
            plain(),
            Some(&vm("Always", unchanged)),
            Some(&running),
            "",
            "FTrue Restore target failed to be ready within 5m0s",
        ),
        (
            "runs, for ever",
            &restore("m", |it| {
                it["metadata"]["creationTimestamp"] = json!("2026-11-23T11:00:00Z");
                it["spec"]["targetReadinessPolicy"] = json!("WaitEventually");
            }),
            Some(taken()),
            plain(),
            Some(&vm("Always", unchanged)),
            Some(&running),
            "",
            "PTrue Waiting for target VM to be powered off. Please stop the restore target to proceed with restore",
        ),
        (
            "restored by another",
            &same,
            Some(taken()),
            plain(),
            Some(&vm("Halted", |vm| {
                vm["status"]["restoreInProgress"] = json!("x")
            })),
            None,
            "",
            "PTrue VirtualMachineRestore \"x\" in progress",
        ),
        (
            "being snapshot",
            &same,
            Some(taken()),
            plain(),
            Some(&vm("Halted", |vm| {
                vm["status"]["snapshotInProgress"] = json!("x")
            })),
            None,
            "",
            "PTrue VirtualMachineSnapshot \"x\" in progress",
        ),
        (
            "suspended",
            &restore("m", stops),
            Some(taken()),
            memory(),
            Some(&vm("Always", |vm| {
                vm["metadata"]["annotations"]["anyvirt.io/suspended"] = json!("true");
            })),
            None,
            "",
            "FTrue virtual machine m is suspended; resume it first (anyvirt resume m), or throw its guest away (anyvirt resume m --discard)",
        ),
        (
            "its instance is to come",
            &own,
            Some(taken()),
            memory(),
            Some(&vm("Always", resuming)),
            None,
            "",
            "PTrue Waiting for the guest to go on from its memory",
        ),
        (
            "an older instance is there",
            &own,
            Some(taken()),
            memory(),
            Some(&vm("Always", resuming)),
            Some(&vmi("Failed", false)),
            "",
            "PTrue Waiting for the guest to go on from its memory",
        ),
        (
            "it goes on",
            &own,
            Some(taken()),
            memory(),
            Some(&vm("Always", resuming)),
            Some(&vmi("Running", true)),
            "consume unlock",
            "PFalse Operation complete",
        ),
        (
            "it does not go on",
            &own,
            Some(taken()),
            memory(),
            Some(&vm("Always", resuming)),
            Some(&vmi("Failed", true)),
            "leave stopped unlock",
            "FTrue the guest did not go on from its memory: the state file is damaged; the virtual machine is left stopped, and the snapshot as it is",
        ),
    ] {
        let seen = Seen {
            restore,
            snapshot: snapshot.as_ref(),
            content: content.as_ref(),
            vm,
            vmi,
            gone: None,
        };
        let decision = decide(&seen, now());
        assert_eq!(names(&decision), actions, "{case}");
        assert_eq!(said(&decision), expected, "{case}");
        let complete = expected == "PFalse Operation complete";
        assert_eq!(decision.status.complete, Some(complete), "{case}");
        assert_eq!(decision.status.restore_time.is_some(), complete, "{case}");
    }
}

#[test]
fn a_machine_is_stopped_for_a_memory_only_after_its_node_has_looked_through_that_for_this_restore()
{
    let (restore, snapshot) = (restore("m", stops), taken());
    let (vm, runs) = (vm("Always", unchanged), vmi("Running", false));
    let checks = "PTrue Checking the snapshot's memory before the target VM is stopped";
    let damaged = Some("its file state is damaged");
    for (case, content, actions, expected) in [
        ("nobody has", content(Some(true)), "check", checks),
        (
            "for an earlier one",
            checked("x-uid", "x-uid", None),
            "check",
            checks,
        ),
        (
            "another one has its turn",
            checked("y-uid", "x-uid", None),
            "",
            checks,
        ),
        (
            "is being looked through",
            checked("r-uid", "x-uid", None),
            "",
            checks,
        ),
        (
            "damaged",
            checked("r-uid", "r-uid", damaged),
            "",
            "FTrue no guest can go on from VirtualMachineSnapshot s: its file state is damaged; the virtual machine was not stopped for it",
        ),
        (
            "whole",
            checked("r-uid", "r-uid", None),
            "stop at once",
            "PTrue Waiting for target VM to be powered off",
        ),
        // What was found stays true while another restore asks.
        (
            "whole, and another one asks",
            checked("y-uid", "r-uid", None),
            "stop at once",
            "PTrue Waiting for target VM to be powered off",
        ),
    ] {
        let seen = Seen {
            restore: &restore,
            snapshot: Some(&snapshot),
            content: Some(&content),
            vm: Some(&vm),
            vmi: Some(&runs),
            gone: None,
        };
        let decision = decide(&seen, now());
        assert_eq!(names(&decision), actions, "{case}");
        assert_eq!(said(&decision), expected, "{case}");
    }
}

#[test]
fn who_waits_for_people_is_looked_at_again_when_their_time_is_over() {
    let (restore, snapshot, content) = (restore("m", unchanged), taken(), content(None));
    let (vm, vmi) = (vm("Always", unchanged), vmi("Running", false));
    let seen = Seen {
        restore: &restore,
        snapshot: Some(&snapshot),
        content: Some(&content),
        vm: Some(&vm),
        vmi: Some(&vmi),
        gone: None,
    };
    let left = Duration::from_secs(240);
    assert_eq!(decide(&seen, now()).next, Next::After(left));
}

#[test]
fn a_restore_that_is_over_or_goes_leaves_its_target_to_others() {
    let over = |status: Value| restore("m", move |it| it["status"] = status);
    let complete = || over(json!({ "complete": true }));
    let failed = || over(json!({ "conditions": [{ "type": "Failure", "status": "True" }] }));
    let going = || {
        restore("m", |it| {
            it["metadata"]["deletionTimestamp"] = json!("2026-11-23T12:00:59Z")
        })
    };
    let (free, ours) = (vm("Halted", unchanged), vm("Halted", locked));
    let resumes = vm("Always", resuming);
    let (runs, starts) = (vmi("Running", true), vmi("Scheduled", true));
    for (case, restore, vm, vmi, actions) in [
        ("complete", complete(), Some(&free), None, ""),
        ("complete, locked", complete(), Some(&ours), None, "unlock"),
        (
            "complete, not consumed",
            complete(),
            Some(&resumes),
            Some(&runs),
            "consume unlock",
        ),
        (
            "failed, resuming",
            failed(),
            Some(&resumes),
            Some(&starts),
            "leave stopped unlock",
        ),
        ("going", going(), Some(&free), None, "let go"),
        ("going, its machine too", going(), None, None, "let go"),
        ("going, locked", going(), Some(&ours), None, "unlock let go"),
        (
            "going, resuming",
            going(),
            Some(&resumes),
            Some(&starts),
            "leave stopped unlock let go",
        ),
        (
            "going, resumed",
            going(),
            Some(&resumes),
            Some(&runs),
            "consume unlock let go",
        ),
    ] {
        let seen = Seen {
            restore: &restore,
            snapshot: None,
            content: None,
            vm,
            vmi,
            gone: None,
        };
        assert_eq!(names(&decide(&seen, now())), actions, "{case}");
    }
}

fn made(
    restore: &VirtualMachineRestore,
    content: &VirtualMachineSnapshotContent,
    vm: Option<&VirtualMachine>,
) -> Value {
    let snapshot = taken();
    let seen = Seen {
        restore,
        snapshot: Some(&snapshot),
        content: Some(content),
        vm,
        vmi: None,
        gone: None,
    };
    let decision = decide(&seen, now());
    let made = decision.actions.iter().find_map(|action| match action {
        Action::Write(vm) | Action::Create(vm) => Some(serde_json::to_value(vm).unwrap()),
        _ => None,
    });
    made.unwrap_or_else(|| panic!("{}", said(&decision)))
}

#[test]
fn the_same_machine_gets_the_spec_of_the_snapshot_and_is_off_unless_its_memory_goes_on() {
    let target = vm("Halted", locked);
    let plain = made(&restore("m", unchanged), &content(None), Some(&target));
    assert_eq!(plain["spec"]["runStrategy"], "Halted");
    assert_eq!(
        plain["spec"]["template"]["spec"]["domain"]["memory"]["guest"],
        "1Gi"
    );
    let mac = "/spec/template/spec/domain/devices/interfaces/0/macAddress";
    assert_eq!(plain.pointer(mac).unwrap(), "02:00:00:00:00:01");
    assert_eq!(
        plain["metadata"]["annotations"],
        json!({
            "anyvirt.io/snapshot-ring": "every=1m,keep=5", "restore.kubevirt.io/lastRestoreUID": "r-r-uid",
        })
    );
    let memory = made(
        &restore("m", unchanged),
        &content(Some(false)),
        Some(&target),
    );
    assert_eq!(memory["spec"]["runStrategy"], "Always");
    assert_eq!(
        memory["metadata"]["annotations"]["anyvirt.io/resume-from"],
        "c-uid"
    );
    assert_eq!(
        memory["metadata"]["annotations"]["anyvirt.io/resume-as"],
        "Clock"
    );
    assert_eq!(
        memory["metadata"]["annotations"]["anyvirt.io/resume-node"],
        "n1"
    );
}

#[test]
fn a_fork_has_nothing_that_makes_its_source_itself() {
    let fork = made(&restore("m2", unchanged), &content(Some(true)), None);
    assert_eq!(fork["metadata"]["name"], "m2");
    assert_eq!(fork["metadata"]["namespace"], "ns");
    assert_eq!(fork["metadata"]["labels"], json!({ "app": "web" }));
    assert_eq!(
        fork["metadata"]["annotations"],
        json!({
            "note": "x", "restore.kubevirt.io/lastRestoreUID": "r-r-uid", "anyvirt.io/resume-from": "c-uid",
            "anyvirt.io/resume-as": "Everything", "anyvirt.io/resume-node": "n1",
        })
    );
    let template = &fork["spec"]["template"];
    assert_eq!(template["spec"]["domain"]["firmware"], json!({}));
    assert_eq!(
        template["spec"]["domain"]["devices"]["interfaces"][0],
        json!({ "name": "default", "masquerade": {} })
    );
    assert!(
        !template["metadata"]
            .to_string()
            .contains("generated-firmware")
    );
    // What somebody gives it by patches it has.
    let patch = json!({ "op": "add", "path": "/spec/template/spec/domain/devices/interfaces/0/macAddress", "value": "02:00:00:00:00:02" });
    let given = restore("m2", |it| {
        it["spec"]["patches"] = json!([patch.to_string()])
    });
    let fork = made(&given, &content(None), None);
    assert_eq!(
        fork["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"][0]["macAddress"],
        "02:00:00:00:00:02"
    );
    assert_eq!(fork["spec"]["runStrategy"], "Halted");
}

#[test]
fn a_restore_whose_node_is_gone_fails_before_its_target_is_stopped_and_while_it_waits() {
    let restore = restore("m", stops);
    let (snapshot, content) = (taken(), content(Some(true)));
    let own = {
        let mut own = restore.clone();
        own.metadata.owner_references = Some(vec![
            serde_json::from_value(json!({
                "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": "m", "uid": "vm-uid",
            }))
            .unwrap(),
        ]);
        own
    };
    let runs = vmi("Running", false);
    for (case, restore, vm, vmi, actions) in [
        (
            "it runs",
            &restore,
            vm("Always", unchanged),
            Some(&runs),
            "",
        ),
        (
            "it waits",
            &own,
            vm("Always", resuming),
            None,
            "leave stopped unlock",
        ),
    ] {
        let seen = |gone| Seen {
            restore,
            snapshot: Some(&snapshot),
            content: Some(&content),
            vm: Some(&vm),
            vmi,
            gone,
        };
        let decision = decide(&seen(Some("n1")), now());
        assert_eq!(names(&decision), actions, "{case}");
        let why = said(&decision);
        assert!(
            why.starts_with("FTrue NodeGone: the memory of VirtualMachineSnapshot s is on node n1"),
            "{case}: {why}"
        );
        // As long as there is that node, it goes on.
        let decision = decide(&seen(None), now());
        assert!(!said(&decision).starts_with("FTrue"), "{case}");
    }
}

#[test]
fn a_patch_that_does_not_fit_ends_no_guest() {
    let restore = restore("m", |it| {
        stops(it);
        it["spec"]["patches"] =
            json!([json!({ "op": "remove", "path": "/spec/nothing" }).to_string()]);
    });
    let (snapshot, content) = (taken(), content(Some(true)));
    let (vm, vmi) = (vm("Always", unchanged), vmi("Running", false));
    let seen = Seen {
        restore: &restore,
        snapshot: Some(&snapshot),
        content: Some(&content),
        vm: Some(&vm),
        vmi: Some(&vmi),
        gone: None,
    };
    let decision = decide(&seen, now());
    assert_eq!(names(&decision), "");
    assert!(
        said(&decision).contains("does not apply"),
        "{}",
        said(&decision)
    );
}

#[test]
fn a_patch_that_does_not_fit_fails_the_restore_in_words() {
    for (patch, memory, expected) in [
        (
            json!({ "op": "remove", "path": "/spec/nothing" }),
            None,
            "does not apply",
        ),
        (
            json!({ "op": "replace", "path": "/spec/template", "value": 7 }),
            None,
            "is no virtual machine",
        ),
        (
            json!({ "op": "replace", "path": "/spec/runStrategy", "value": "Halted" }),
            Some(true),
            "goes on from its memory runs",
        ),
    ] {
        let restore = restore("m2", |it| {
            it["spec"]["patches"] = json!([patch.to_string()])
        });
        let (snapshot, content) = (taken(), content(memory));
        let seen = Seen {
            restore: &restore,
            snapshot: Some(&snapshot),
            content: Some(&content),
            vm: None,
            vmi: None,
            gone: None,
        };
        let decision = decide(&seen, now());
        assert_eq!(names(&decision), "", "{patch}");
        assert!(said(&decision).contains(expected), "{}", said(&decision));
    }
}

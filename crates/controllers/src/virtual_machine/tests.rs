use super::decide::{Action, Decision, decide};
use super::instance::{Start, TEMPLATE_FINGERPRINT, instance};
use super::status::{Failure, status};
use crate::engine::Next;
use api::condition::{self, Condition};
use api::virtual_machine::{PrintableStatus, StateChangeAction, VirtualMachine};
use api::virtual_machine_instance::VirtualMachineInstance;
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn vm(strategy: &str, change: impl FnOnce(&mut Value)) -> VirtualMachine {
    let mut vm = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
        "metadata": {
            "name": "m", "namespace": "ns", "uid": "vm-uid", "generation": 3,
            "finalizers": ["kubevirt.io/virtualMachineControllerFinalize"],
        },
        "spec": { "runStrategy": strategy, "template": {
            "metadata": { "labels": { "app": "web" } },
            "spec": { "domain": { "devices": {}, "memory": { "guest": "1Gi" } } },
        } },
        "status": { "printableStatus": "Stopped", "runStrategy": strategy },
    });
    change(&mut vm);
    serde_json::from_value(vm).unwrap()
}

/// The instance of `vm`, in a phase.
fn vmi(
    vm: &VirtualMachine,
    phase: &str,
    change: impl FnOnce(&mut Value),
) -> VirtualMachineInstance {
    let mut vmi = serde_json::to_value(instance(vm, Start::Running).unwrap()).unwrap();
    vmi["metadata"]["uid"] = json!("vmi-uid");
    vmi["status"] = json!({ "phase": phase });
    change(&mut vmi);
    serde_json::from_value(vmi).unwrap()
}

fn going(vmi: &mut Value) {
    vmi["metadata"]["deletionTimestamp"] = json!("2026-11-22T11:59:59Z");
}

fn start_asked(vm: &mut Value) {
    vm["status"]["stateChangeRequests"] = json!([{ "action": "Start" }]);
}

fn stop_asked(vm: &mut Value) {
    vm["status"]["stateChangeRequests"] = json!([{ "action": "Stop", "uid": "vmi-uid" }]);
}

fn unchanged(_: &mut Value) {}

/// The actions in short.
fn actions(decision: &Decision) -> String {
    let names = decision.actions.iter().map(|action| match action {
        Action::Hold => "hold",
        Action::LetGo => "let go",
        Action::Adopt => "adopt",
        Action::Create(_) => "create",
        Action::Delete => "delete",
        Action::Release => "release",
        Action::FollowGeneration => "follow",
        Action::FollowPolicy(_) => "follow policy",
        Action::BecomeAlways => "become Always",
        Action::TellSave(_) => "tell",
    });
    let requests = decision
        .requests
        .iter()
        .map(|request| match request.action {
            StateChangeAction::Start => "(Start)",
            StateChangeAction::Stop => "(Stop)",
        });
    names.chain(requests).collect::<Vec<_>>().join(" ")
}

fn act(vm: &VirtualMachine, vmi: Option<&VirtualMachineInstance>) -> String {
    actions(&decide(vm, vmi, now(), 0))
}

#[test]
fn each_run_strategy_treats_each_state_of_its_instance_as_the_table_says() {
    // Strategy; without an instance; with one that runs; that succeeded; that failed.
    let table = [
        ("Always", "create", "", "delete", "delete"),
        ("RerunOnFailure", "", "", "delete", "delete (Start)"),
        ("Manual", "", "", "", ""),
        ("Once", "create", "", "", ""),
        ("Halted", "", "delete", "delete", "delete"),
    ];
    for (strategy, absent, running, succeeded, failed) in table {
        let vm = vm(strategy, unchanged);
        let with = |phase: &str| act(&vm, Some(&vmi(&vm, phase, unchanged)));
        assert_eq!(act(&vm, None), absent, "{strategy}, no instance");
        for phase in ["Pending", "Scheduling", "Scheduled", "Running"] {
            assert_eq!(with(phase), running, "{strategy}, {phase}");
        }
        assert_eq!(with("Succeeded"), succeeded, "{strategy}, Succeeded");
        assert_eq!(with("Failed"), failed, "{strategy}, Failed");
    }
}

#[test]
fn requests_to_start_and_stop_are_heeded_as_the_table_says() {
    // Strategy; a start asked without an instance; a stop asked of a running one.
    let table = [
        ("Always", "create (Start)", "delete (Stop)"),
        ("RerunOnFailure", "create (Start)", "delete (Stop)"),
        ("Manual", "create (Start)", "delete (Stop)"),
        ("Once", "create (Start)", "(Stop)"),
        ("Halted", "become Always (Start)", "delete (Stop)"),
    ];
    for (strategy, start, stop) in table {
        assert_eq!(
            act(&vm(strategy, start_asked), None),
            start,
            "{strategy}, start"
        );
        let vm = vm(strategy, stop_asked);
        assert_eq!(
            act(&vm, Some(&vmi(&vm, "Running", unchanged))),
            stop,
            "{strategy}, stop"
        );
    }
}

#[test]
fn the_deprecated_running_means_always_or_halted() {
    let with = |running: bool| {
        vm("", |vm| {
            vm["spec"]["runStrategy"] = Value::Null;
            vm["spec"]["running"] = json!(running);
            vm["status"]["runStrategy"] = Value::Null;
        })
    };
    assert_eq!(act(&with(true), None), "create");
    let halted = with(false);
    assert_eq!(
        act(&halted, Some(&vmi(&halted, "Running", unchanged))),
        "delete"
    );
}

#[test]
fn rerun_on_failure_starts_once_when_it_is_new() {
    let was_manual = |vm: &mut Value| vm["status"]["runStrategy"] = json!("Manual");
    let new = vm("RerunOnFailure", was_manual);
    let decision = decide(&new, None, now(), 0);
    assert_eq!(actions(&decision), "create");
    let done = status(&new, None, &decision, None, now());
    assert_eq!(done.run_strategy.unwrap().to_string(), "RerunOnFailure");
    // A start that failed must be tried again.
    let failure = Failure {
        reason: "FailedCreate",
        message: "no".to_owned(),
    };
    let failed = status(&new, None, &decision, Some(&failure), now());
    assert_eq!(failed.run_strategy.unwrap().to_string(), "Manual");
    assert_eq!(
        condition::find(&failed.conditions, "Failure")
            .unwrap()
            .message
            .as_deref(),
        Some("no")
    );
}

#[test]
fn a_stop_request_for_an_earlier_instance_is_done() {
    let vm = vm("Always", |vm| {
        vm["status"]["stateChangeRequests"] =
            json!([{ "action": "Stop", "uid": "earlier" }, { "action": "Start" }]);
    });
    assert_eq!(act(&vm, Some(&vmi(&vm, "Running", unchanged))), "(Start)");
    assert_eq!(act(&vm, None), "create (Start)");
}

#[test]
fn a_start_request_is_done_when_an_instance_lives_not_when_one_is_over() {
    let vm = vm("Manual", start_asked);
    assert_eq!(act(&vm, Some(&vmi(&vm, "Pending", unchanged))), "");
    assert_eq!(act(&vm, Some(&vmi(&vm, "Succeeded", unchanged))), "(Start)");
    assert_eq!(act(&vm, Some(&vmi(&vm, "Running", going))), "(Start)");
}

#[test]
fn a_restart_deletes_the_instance_and_then_creates_one() {
    let both = |vm: &mut Value| {
        vm["status"]["stateChangeRequests"] =
            json!([{ "action": "Stop", "uid": "vmi-uid" }, { "action": "Start" }]);
    };
    let vm = vm("Manual", both);
    assert_eq!(
        act(&vm, Some(&vmi(&vm, "Running", unchanged))),
        "delete (Stop) (Start)"
    );
    assert_eq!(
        act(&vm, Some(&vmi(&vm, "Running", going))),
        "(Stop) (Start)"
    );
    assert_eq!(act(&vm, None), "create (Start)");
}

#[test]
fn a_start_can_be_asked_to_leave_the_guest_paused() {
    let vm = vm("Manual", |vm| {
        vm["status"]["stateChangeRequests"] =
            json!([{ "action": "Start", "data": { "paused": "true" } }]);
    });
    let decision = decide(&vm, None, now(), 0);
    let Some(Action::Create(vmi)) = decision.actions.first() else {
        panic!("it must be created")
    };
    assert_eq!(vmi.spec.start_strategy.as_deref(), Some("Paused"));
}

#[test]
fn an_instance_is_made_from_the_template_and_nothing_else() {
    let vm = vm("Always", |vm| {
        vm["metadata"]["labels"] = json!({ "own": "label" });
        vm["metadata"]["annotations"] = json!({ "own": "note", "anyvirt.io/accelerator": "tcg" });
        vm["spec"]["template"]["metadata"]["annotations"] = json!({ "from": "template" });
    });
    let made = serde_json::to_value(instance(&vm, Start::Running).unwrap()).unwrap();
    let fingerprint = made["metadata"]["annotations"][TEMPLATE_FINGERPRINT].clone();
    assert_eq!(
        made["metadata"],
        json!({
            "name": "m", "namespace": "ns",
            "labels": { "app": "web" },
            "annotations": {
                "from": "template", "kubevirt.io/vm-generation": "3",
                "anyvirt.io/accelerator": "tcg", "anyvirt.io/machine-accelerator": "tcg",
                TEMPLATE_FINGERPRINT: fingerprint,
            },
            "ownerReferences": [{ "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
                "name": "m", "uid": "vm-uid", "controller": true }],
            "finalizers": ["kubevirt.io/virtualMachineControllerFinalize",
                "kubevirt.io/foregroundDeleteVirtualMachine"],
        })
    );
    assert_eq!(made["spec"]["domain"]["firmware"]["uuid"], "vm-uid");
}

#[test]
fn a_firmware_uuid_of_the_template_is_kept() {
    let vm = vm("Always", |vm| {
        vm["spec"]["template"]["spec"]["domain"]["firmware"] = json!({ "uuid": "mine" });
    });
    let made = instance(&vm, Start::Running).unwrap();
    assert_eq!(
        made.spec.domain.firmware.unwrap().uuid.as_deref(),
        Some("mine")
    );
}

#[test]
fn a_new_vm_is_held_and_its_instance_does_not_wait_for_that() {
    let vm = vm("Always", |vm| vm["metadata"]["finalizers"] = json!([]));
    assert_eq!(act(&vm, None), "create hold");
}

#[test]
fn a_vm_goes_after_its_instance() {
    let vm = vm("Always", going);
    assert_eq!(act(&vm, Some(&vmi(&vm, "Running", unchanged))), "delete");
    assert_eq!(act(&vm, Some(&vmi(&vm, "Running", going))), "");
    assert_eq!(act(&vm, Some(&vmi(&vm, "Succeeded", going))), "release");
    assert_eq!(act(&vm, None), "let go");
}

#[test]
fn an_orphaning_deletion_leaves_the_instance_alone() {
    let vm = vm("Always", |vm| {
        going(vm);
        vm["metadata"]["finalizers"]
            .as_array_mut()
            .unwrap()
            .push(json!("orphan"));
    });
    assert_eq!(act(&vm, Some(&vmi(&vm, "Running", unchanged))), "let go");
}

#[test]
fn an_instance_of_nobody_is_adopted_and_one_of_another_is_left_alone() {
    let vm = vm("Always", unchanged);
    let orphan = vmi(&vm, "Running", |vmi| {
        vmi["metadata"]["ownerReferences"] = json!([])
    });
    assert_eq!(act(&vm, Some(&orphan)), "adopt");
    let foreign = vmi(&vm, "Running", |vmi| {
        vmi["metadata"]["ownerReferences"][0]["uid"] = json!("other")
    });
    // Creating fails by name, which the Failure condition then tells.
    assert_eq!(act(&vm, Some(&foreign)), "create");
}

#[test]
fn an_instance_that_ended_before_it_is_deleted_is_released_once() {
    let vm = vm("Always", unchanged);
    assert_eq!(act(&vm, Some(&vmi(&vm, "Running", going))), "");
    assert_eq!(act(&vm, Some(&vmi(&vm, "Failed", going))), "release");
    let released = vmi(&vm, "Failed", |vmi| {
        going(vmi);
        vmi["metadata"]["finalizers"] = json!(["kubevirt.io/foregroundDeleteVirtualMachine"]);
    });
    assert_eq!(act(&vm, Some(&released)), "");
}

#[test]
fn starts_that_fail_in_a_row_wait_longer_and_longer() {
    // Failures before; the roll; seconds to wait.
    let table = [
        (0, 0, 10),
        (0, 5, 15),
        (1, 0, 40),
        (2, 0, 90),
        (2, 44, 134),
        (5, 0, 300),
        (9999, 7, 300),
    ];
    for (before, roll, seconds) in table {
        let vm = vm("Always", |vm| {
            vm["status"]["startFailure"] =
                json!({ "consecutiveFailCount": before, "lastFailedVMIUID": "earlier" });
        });
        let decision = decide(&vm, Some(&vmi(&vm, "Failed", unchanged)), now(), roll);
        let failure = decision.start_failure.clone().unwrap();
        assert_eq!(failure.consecutive_fail_count, Some(before + 1));
        let wait = failure
            .retry_after_timestamp
            .unwrap()
            .0
            .duration_since(now());
        assert_eq!(
            wait.as_secs(),
            seconds,
            "{before} failures before, roll {roll}"
        );
        assert_eq!(actions(&decision), "delete");
    }
}

#[test]
fn one_failed_instance_counts_once_and_one_that_ran_or_was_deleted_does_not() {
    let failing = |strategy: &str| {
        vm(strategy, |vm| {
            vm["status"]["startFailure"] = json!({ "consecutiveFailCount": 2,
                "lastFailedVMIUID": "vmi-uid", "retryAfterTimestamp": "2026-11-22T12:01:30Z" });
        })
    };
    let count = |vm: &VirtualMachine, vmi: Option<&VirtualMachineInstance>| {
        decide(vm, vmi, now(), 0)
            .start_failure
            .and_then(|it| it.consecutive_fail_count)
    };
    let vm = failing("Always");
    assert_eq!(count(&vm, Some(&vmi(&vm, "Failed", unchanged))), Some(2));
    let other = |vmi: &mut Value| vmi["metadata"]["uid"] = json!("other");
    assert_eq!(count(&vm, Some(&vmi(&vm, "Failed", other))), Some(3));
    let deleted = vmi(&vm, "Failed", |vmi| {
        other(vmi);
        going(vmi);
    });
    assert_eq!(count(&vm, Some(&deleted)), Some(2));
    let ran = vmi(&vm, "Failed", |vmi| {
        other(vmi);
        vmi["status"]["phaseTransitionTimestamps"] =
            json!([{ "phase": "Running", "phaseTransitionTimestamp": "2026-11-22T11:00:00Z" }]);
    });
    assert_eq!(count(&vm, Some(&ran)), None);
    assert_eq!(count(&failing("Manual"), None), None);
}

#[test]
fn a_start_waits_until_the_backoff_is_over() {
    let vm = vm("Always", |vm| {
        vm["status"]["startFailure"] =
            json!({ "consecutiveFailCount": 1, "retryAfterTimestamp": "2026-11-22T12:00:07Z" });
    });
    let decision = decide(&vm, None, now(), 0);
    assert_eq!(actions(&decision), "");
    assert_eq!(
        decision.next,
        Next::After(std::time::Duration::from_secs(7))
    );
    let later = "2026-11-22T12:00:07Z".parse().unwrap();
    assert_eq!(actions(&decide(&vm, None, later, 0)), "create");
}

#[test]
fn a_changed_template_needs_a_restart_and_any_other_change_does_not() {
    let old = vm("Always", unchanged);
    let live = vmi(&old, "Running", unchanged);
    let required = |vm: &VirtualMachine| {
        let decision = decide(vm, Some(&live), now(), 0);
        let status = status(vm, Some(&live), &decision, None, now());
        (
            actions(&decision),
            condition::is_true(&status.conditions, "RestartRequired"),
        )
    };
    let changed = vm("Always", |vm| {
        vm["metadata"]["generation"] = json!(4);
        vm["spec"]["template"]["spec"]["domain"]["memory"]["guest"] = json!("2Gi");
    });
    assert_eq!(required(&changed), (String::new(), true));
    let other = vm("Manual", |vm| vm["metadata"]["generation"] = json!(4));
    assert_eq!(required(&other), ("follow".to_owned(), false));
    assert_eq!(required(&old), (String::new(), false));
}

#[test]
fn an_instance_that_waits_follows_what_its_machine_says_of_emulation_and_one_with_a_node_does_not()
{
    let made_by = vm("Always", unchanged);
    let waits = || vmi(&made_by, "Scheduling", unchanged);
    let change = |vm: &VirtualMachine, vmi: &VirtualMachineInstance| {
        let decision = decide(vm, Some(vmi), now(), 0);
        decision
            .actions
            .into_iter()
            .find_map(|action| match action {
                Action::FollowPolicy(change) => Some(change),
                _ => None,
            })
    };
    assert_eq!(change(&made_by, &waits()), None);
    let software = vm("Always", |vm| {
        vm["spec"]["template"]["spec"]["emulationPolicy"] = json!("Software");
    });
    let followed = change(&software, &waits()).unwrap();
    assert_eq!(followed["spec"], json!({ "emulationPolicy": "Software" }));
    // Nothing else was changed, so no restart is required.
    let follow = |followed: &Value, vmi: &VirtualMachineInstance| -> VirtualMachineInstance {
        let mut object = serde_json::to_value(vmi).unwrap();
        if let Some(policy) = followed.pointer("/spec/emulationPolicy") {
            object["spec"]["emulationPolicy"] = policy.clone();
        }
        let annotations = followed
            .pointer("/metadata/annotations")
            .and_then(Value::as_object);
        for (name, value) in annotations.into_iter().flatten() {
            object["metadata"]["annotations"][name] = value.clone();
        }
        let all = object["metadata"]["annotations"].as_object_mut().unwrap();
        all.retain(|_, value| !value.is_null());
        serde_json::from_value(object).unwrap()
    };
    let after = follow(&followed, &waits());
    assert_eq!(change(&software, &after), None);
    let decision = decide(&software, Some(&after), now(), 0);
    let told = status(&software, Some(&after), &decision, None, now());
    assert!(!condition::is_true(&told.conditions, "RestartRequired"));
    // Something else was changed too.
    let larger = vm("Always", |vm| {
        vm["spec"]["template"]["spec"]["emulationPolicy"] = json!("Software");
        vm["spec"]["template"]["spec"]["domain"]["memory"]["guest"] = json!("2Gi");
    });
    let after = follow(&change(&larger, &waits()).unwrap(), &waits());
    let told = status(&larger, Some(&after), &decision, None, now());
    assert!(condition::is_true(&told.conditions, "RestartRequired"));
    // Its own annotation and its template's, set and taken back.
    for at in ["/metadata", "/spec/template/metadata"] {
        let forced = vm("Always", |vm| {
            let metadata = vm.pointer_mut(at).unwrap();
            metadata["annotations"] = json!({ "anyvirt.io/accelerator": "kvm" });
        });
        let after = follow(&change(&forced, &waits()).unwrap(), &waits());
        let annotation = |vmi: &VirtualMachineInstance| {
            let all = vmi.metadata.annotations.clone().unwrap();
            all.get("anyvirt.io/accelerator").cloned()
        };
        assert_eq!(annotation(&after).as_deref(), Some("kvm"), "{at}");
        assert_eq!(change(&forced, &after), None, "{at}");
        let back = follow(&change(&made_by, &after).unwrap(), &after);
        assert_eq!(annotation(&back), None, "{at}");
    }
    // What a person asked the instance itself for stays.
    let own = vmi(&made_by, "Scheduling", |vmi| {
        vmi["metadata"]["annotations"]["anyvirt.io/accelerator"] = json!("kvm");
    });
    assert_eq!(change(&made_by, &own), None);
    let with_node = vmi(&made_by, "Scheduled", |vmi| {
        vmi["status"]["nodeName"] = json!("n1")
    });
    for late in [
        with_node,
        vmi(&made_by, "Running", unchanged),
        vmi(&made_by, "Scheduling", going),
    ] {
        assert_eq!(change(&software, &late), None);
    }
}

/// The printable status of a VM with an instance that looks like this.
fn printed(phase: &str, conditions: Value) -> PrintableStatus {
    let vm = vm("Manual", unchanged);
    let vmi = vmi(&vm, phase, |vmi| vmi["status"]["conditions"] = conditions);
    status(
        &vm,
        Some(&vmi),
        &decide(&vm, Some(&vmi), now(), 0),
        None,
        now(),
    )
    .printable_status
}

#[test]
fn the_printable_status_is_that_of_the_first_rule_that_applies() {
    use PrintableStatus as P;
    let is = |type_: &str, status: &str, reason: &str| json!([{ "type": type_, "status": status, "reason": reason }]);
    let table = [
        ("Pending", json!([]), P::Starting),
        ("Scheduling", json!([]), P::Starting),
        ("Scheduled", json!([]), P::Starting),
        ("Running", json!([]), P::Running),
        ("Running", is("Paused", "True", "PausedByUser"), P::Paused),
        (
            "Scheduling",
            is("PodScheduled", "False", "Unschedulable"),
            P::ErrorUnschedulable,
        ),
        (
            "Scheduling",
            is("Synchronized", "False", "ErrImagePull"),
            P::ErrImagePull,
        ),
        (
            "Scheduling",
            is("Synchronized", "False", "ImagePullBackOff"),
            P::ImagePullBackOff,
        ),
        (
            "Pending",
            is("Synchronized", "False", "FailedPvcNotFound"),
            P::ErrorPvcNotFound,
        ),
        ("Scheduling", is("PodScheduled", "True", ""), P::Starting),
        ("Succeeded", json!([]), P::Stopped),
        ("Failed", json!([]), P::Stopped),
        ("Unknown", json!([]), P::Unknown),
    ];
    for (phase, conditions, expected) in table {
        assert_eq!(
            printed(phase, conditions.clone()),
            expected,
            "{phase} {conditions}"
        );
    }
}

#[test]
fn the_printable_status_tells_what_is_about_to_happen() {
    let printed = |vm: &VirtualMachine, vmi: Option<&VirtualMachineInstance>| {
        status(vm, vmi, &decide(vm, vmi, now(), 0), None, now()).printable_status
    };
    let halted = vm("Halted", unchanged);
    assert_eq!(printed(&halted, None), PrintableStatus::Stopped);
    let stopping = vmi(&halted, "Running", unchanged);
    assert_eq!(printed(&halted, Some(&stopping)), PrintableStatus::Stopping);
    assert_eq!(
        printed(&vm("Always", unchanged), None),
        PrintableStatus::Starting
    );
    let leaving = vm("Always", going);
    let live = vmi(&leaving, "Running", unchanged);
    assert_eq!(printed(&leaving, Some(&live)), PrintableStatus::Terminating);
    let failing = vm("Always", |vm| {
        vm["status"]["startFailure"] =
            json!({ "consecutiveFailCount": 1, "retryAfterTimestamp": "2026-11-22T12:00:07Z" });
    });
    assert_eq!(printed(&failing, None), PrintableStatus::CrashLoopBackOff);
}

#[test]
fn a_machine_whose_guest_ended_or_is_paused_is_not_ready_whatever_its_instance_still_says() {
    let ready = json!({ "type": "Ready", "status": "True" });
    let paused = json!({ "type": "Paused", "status": "True" });
    let table = [
        ("Running", json!([ready]), (PrintableStatus::Running, true)),
        (
            "Running",
            json!([ready, paused]),
            (PrintableStatus::Paused, false),
        ),
        (
            "Succeeded",
            json!([ready]),
            (PrintableStatus::Stopped, false),
        ),
        ("Failed", json!([ready]), (PrintableStatus::Stopped, false)),
    ];
    for (phase, conditions, expected) in table {
        let vm = vm("Manual", unchanged);
        let vmi = vmi(&vm, phase, |vmi| vmi["status"]["conditions"] = conditions);
        let decision = decide(&vm, Some(&vmi), now(), 0);
        let status = status(&vm, Some(&vmi), &decision, None, now());
        let told = condition::is_true(&status.conditions, "Ready");
        assert_eq!((status.printable_status, told), expected, "{phase}");
        assert_eq!(status.ready, Some(expected.1), "{phase}");
        // Saying it again changes nothing.
        let mut again = vm.clone();
        again.status = Some(status.clone());
        let later = "2026-11-22T13:00:00Z".parse().unwrap();
        let repeated = super::status::status(&again, Some(&vmi), &decision, None, later);
        assert_eq!(repeated, status, "{phase}");
    }
}

#[test]
fn a_machine_tells_what_runs_its_guest_as_long_as_it_does() {
    let told = |phase: &str, accelerator: Value| {
        let vm = vm("Manual", unchanged);
        let vmi = vmi(&vm, phase, |vmi| vmi["status"]["accelerator"] = accelerator);
        let decision = decide(&vm, Some(&vmi), now(), 0);
        status(&vm, Some(&vmi), &decision, None, now()).accelerator
    };
    let tcg = || json!({ "type": "TCG" });
    assert_eq!(told("Running", tcg()).as_deref(), Some("TCG"));
    assert_eq!(told("Scheduling", Value::Null), None);
    assert_eq!(told("Succeeded", tcg()), None);
}

#[test]
fn the_conditions_of_the_instance_are_repeated_and_go_with_it() {
    let vm = vm("Manual", |vm| {
        vm["status"]["conditions"] = json!([{ "type": "AgentConnected", "status": "True" }]);
    });
    let live = vmi(&vm, "Running", |vmi| {
        vmi["status"]["conditions"] = json!([
            { "type": "Ready", "status": "True" },
            { "type": "SoftwareEmulation", "status": "True", "reason": "R", "message": "why" },
        ]);
    });
    let with = status(
        &vm,
        Some(&live),
        &decide(&vm, Some(&live), now(), 0),
        None,
        now(),
    );
    assert_eq!(with.ready, Some(true));
    let names: Vec<_> = with.conditions.iter().map(|it| it.type_.as_str()).collect();
    assert_eq!(names, ["Ready", "SoftwareEmulation"]);
    let without = status(&vm, None, &decide(&vm, None, now(), 0), None, now());
    let expected =
        Condition::new("Ready", false, now()).because("VMINotExists", "VMI does not exist");
    assert_eq!(without.conditions, [expected]);
    assert_eq!((without.created, without.ready), (Some(false), Some(false)));
}

#[tokio::test]
async fn a_deletion_of_the_instance_that_meets_a_conflict_is_tried_again() {
    use super::{Machines, look};
    use crate::event::Recorder;
    use crate::queue::Key;
    use kube::runtime::{reflector::store::Writer, watcher::Event};
    use std::sync::Arc;

    let halted = vm("Halted", |_| {});
    let told = serde_json::to_vec(&halted).unwrap();
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let (code, body) = match *request.method() {
            http::Method::DELETE => {
                let status = json!({ "status": "Failure", "reason": "Conflict", "code": 409 });
                (409, status.to_string().into_bytes())
            }
            _ => (200, told.clone()),
        };
        let answer = http::Response::builder().status(code);
        std::future::ready(answer.body(kube::client::Body::from(body)))
    });
    let client = kube::Client::new(service, "ns");
    let settings = crate::Settings::default();
    let (recorder, _record) = Recorder::new(client.clone(), "test", settings.clock.clone());
    let (mut vms, mut vmis) = (Writer::default(), Writer::default());
    let lives = vmi(&halted, "Running", |_| {});
    vms.apply_watcher_event(&Event::Apply(halted));
    vmis.apply_watcher_event(&Event::Apply(lives));
    let machines = Machines {
        client,
        settings,
        recorder,
        vms: vms.as_reader(),
        vmis: vmis.as_reader(),
    };
    let looked = look(Arc::new(machines), Key::new("ns", "m")).await;
    assert!(looked.is_err(), "nobody would look again: {looked:?}");
}

#[test]
fn a_going_instance_of_an_earlier_machine_of_the_name_is_released() {
    let earlier = vm("Always", |_| {});
    let left = vmi(&earlier, "Failed", |vmi| {
        vmi["metadata"]["deletionTimestamp"] = json!("2026-11-22T12:00:00Z");
    });
    let new = vm("Halted", |vm| vm["metadata"]["uid"] = json!("another"));
    let decision = decide(&new, Some(&left), now(), 0);
    assert_eq!(decision.actions, [Action::Release]);
}

#[test]
fn a_machine_that_is_to_go_on_from_a_saved_state_starts_whatever_its_strategy_and_is_not_booted_instead()
 {
    let resuming = |strategy: &str| {
        vm(strategy, |vm| {
            vm["metadata"]["annotations"] = json!({
                "anyvirt.io/resume-from": "c-1", "anyvirt.io/resume-as": "Clock",
                "anyvirt.io/resume-node": "n1", "restore.kubevirt.io/lastRestoreUID": "r-2",
            });
            vm["status"]["restoreInProgress"] = json!("r");
        })
    };
    // Strategy; without an instance; with one of before that ended; with the one that was to go on, and failed.
    for (strategy, absent, before, failed) in [
        ("Always", "create", "delete", ""),
        ("RerunOnFailure", "create", "delete", ""),
        ("Manual", "create", "delete", ""),
        ("Once", "create", "delete", ""),
        ("Halted", "", "delete", "delete"),
    ] {
        let vm = resuming(strategy);
        let own = vmi(&vm, "Failed", unchanged);
        assert_eq!(own.annotations()["anyvirt.io/resume-from"], "c-1");
        assert_eq!(own.spec.node_selector["kubernetes.io/hostname"], "n1");
        let old = vmi(&vm, "Succeeded", |vmi| {
            vmi["metadata"]["annotations"] = json!({});
        });
        // It went on from the same snapshot, for another restore.
        let earlier = vmi(&vm, "Failed", |vmi| {
            vmi["metadata"]["annotations"]["restore.kubevirt.io/lastRestoreUID"] = json!("r-1");
        });
        assert!(
            act(&vm, Some(&earlier)).starts_with(before),
            "{strategy}, an earlier one"
        );
        assert_eq!(act(&vm, None), absent, "{strategy}, no instance");
        assert_eq!(act(&vm, Some(&old)), before, "{strategy}, an old one");
        assert_eq!(act(&vm, Some(&own)), failed, "{strategy}, a failed one");
    }
    // A template cannot ask for it.
    let sly = vm("Always", |vm| {
        vm["spec"]["template"]["metadata"]["annotations"] =
            json!({ "anyvirt.io/resume-from": "c-1" });
    });
    let made = instance(&sly, Start::Running).unwrap();
    assert!(!made.annotations().contains_key("anyvirt.io/resume-from"));
}

#[test]
fn nothing_starts_while_a_restore_is_about_to_change_the_machine() {
    for (strategy, asked) in [
        ("Always", false),
        ("Once", false),
        ("RerunOnFailure", true),
        ("Manual", true),
        ("Halted", true),
    ] {
        let vm = vm(strategy, |vm| {
            if asked {
                start_asked(vm);
            }
            vm["status"]["restoreInProgress"] = json!("r");
            vm["status"]["snapshotInProgress"] = json!("s");
        });
        let decision = decide(&vm, None, now(), 0);
        assert_eq!(decision.actions, [], "{strategy}");
        // Nobody else's fields are lost.
        let told = status(&vm, None, &decision, None, now());
        assert_eq!(told.restore_in_progress.as_deref(), Some("r"));
        assert_eq!(told.snapshot_in_progress.as_deref(), Some("s"));
    }
}

/// Asks for it to be suspended.
fn suspend_asked(vm: &mut Value) {
    vm["metadata"]["annotations"] = json!({ "anyvirt.io/suspended": "true" });
}

/// Its guest is saved.
fn saved(vm: &mut Value) {
    vm["status"]["suspension"] = json!({
        "node": "n1", "id": "vm-uid", "at": "2026-11-22T11:00:00Z", "diskBytes": 1 << 20 });
}

/// It ended since its guest was saved.
fn ended_saved(vmi: &mut Value) {
    vmi["status"]["nodeName"] = json!("n1");
    vmi["status"]["saved"] =
        json!({ "id": "vm-uid", "at": "2026-11-22T11:00:00Z", "diskBytes": 1 << 20 });
}

fn told_to_save(vmi: &mut Value) {
    vmi["metadata"]["annotations"]["anyvirt.io/save-to"] = json!("vm-uid");
}

#[test]
fn a_machine_is_suspended_and_goes_on_whatever_its_strategy() {
    for strategy in ["Always", "RerunOnFailure", "Manual", "Once"] {
        let asked = vm(strategy, suspend_asked);
        let with =
            |phase: &str, change: fn(&mut Value)| act(&asked, Some(&vmi(&asked, phase, change)));
        assert_eq!(with("Running", unchanged), "tell", "{strategy}");
        assert_eq!(with("Running", told_to_save), "", "{strategy}");
        assert_eq!(with("Succeeded", ended_saved), "delete", "{strategy}");
        assert_eq!(act(&asked, None), "", "{strategy}: it is not started");
        let suspended = vm(strategy, |vm| {
            suspend_asked(vm);
            saved(vm);
        });
        assert_eq!(act(&suspended, None), "", "{strategy}: it stays suspended");
        // Asked for no more.
        let goes_on = vm(strategy, saved);
        let decision = decide(&goes_on, None, now(), 0);
        let [Action::Create(made)] = &decision.actions[..] else {
            panic!("{strategy}: {:?}", decision.actions);
        };
        let annotated = made.metadata.annotations.as_ref().unwrap();
        assert_eq!(annotated["anyvirt.io/resume-from"], "vm-uid");
        assert_eq!(made.spec.node_selector["kubernetes.io/hostname"], "n1");
        let resumed = |phase: &str| {
            let mut found = (**made).clone();
            found.metadata.uid = Some("vmi-uid".to_owned());
            let status = json!({ "phase": phase });
            found.status = Some(serde_json::from_value(status).unwrap());
            decide(&goes_on, Some(&found), now(), 0)
        };
        assert!(resumed("Scheduled").suspension.is_some(), "{strategy}");
        assert_eq!(resumed("Running").suspension, None, "{strategy}");
        // It failed to go on: what was saved stays.
        assert!(resumed("Failed").suspension.is_some(), "{strategy}");
        // Thrown away: as if it had never been.
        let discarded = vm(strategy, |vm| {
            saved(vm);
            vm["metadata"]["annotations"] = json!({ "anyvirt.io/suspended": "discard" });
        });
        let decision = decide(&discarded, None, now(), 0);
        assert_eq!(decision.suspension, None, "{strategy}");
        for action in &decision.actions {
            if let Action::Create(made) = action {
                let annotated = made.metadata.annotations.as_ref().unwrap();
                assert!(!annotated.contains_key("anyvirt.io/resume-from"));
            }
        }
    }
    // Whoever halts it wants it not to run.
    assert_eq!(act(&vm("Halted", saved), None), "");
    // A suspend that is taken back before it was done.
    let back = vm("Always", unchanged);
    let running = vmi(&back, "Running", told_to_save);
    assert_eq!(act(&back, Some(&running)), "tell");
}

#[test]
fn what_was_saved_is_forgotten_also_if_nobody_saw_its_guest_run() {
    let goes_on = vm("Always", saved);
    let resumed = json!([{ "type": "Resumed", "status": "True", "reason": "Ended" }]);
    // Phase, what it went on from, whether it did; is the suspension kept?
    for (phase, from, conditions, kept) in [
        ("Failed", "vm-uid", json!([]), true),
        ("Scheduled", "vm-uid", json!([]), true),
        ("Failed", "vm-uid", resumed.clone(), false),
        ("Succeeded", "vm-uid", resumed.clone(), false),
        ("Failed", "another", resumed, true),
    ] {
        let vmi = vmi(&goes_on, phase, |vmi| {
            vmi["metadata"]["annotations"]["anyvirt.io/resume-from"] = json!(from);
            vmi["status"]["conditions"] = conditions.clone();
        });
        let decision = decide(&goes_on, Some(&vmi), now(), 0);
        assert_eq!(
            decision.suspension.is_some(),
            kept,
            "{phase}, {from}, {conditions}"
        );
    }
}

#[test]
fn a_machine_that_failed_to_go_on_after_its_host_s_shutdown_is_suspended_and_not_booted() {
    let vm = vm("Always", unchanged);
    let failed = vmi(&vm, "Failed", |vmi| {
        vmi["metadata"]["uid"] = json!("vmi-uid");
        // It ran before.
        vmi["status"]["phaseTransitionTimestamps"] = json!([{ "phase": "Running",
            "phaseTransitionTimestamp": "2026-11-22T10:00:00Z" }]);
        vmi["status"]["nodeName"] = json!("n1");
        vmi["status"]["saved"] =
            json!({ "id": "vmi-uid", "at": "2026-11-22T11:00:00Z", "diskBytes": 1 << 20 });
    });
    let decision = decide(&vm, Some(&failed), now(), 0);
    assert_eq!(decision.actions[0], Action::Delete);
    let told = status(&vm, Some(&failed), &decision, None, now());
    assert_eq!(told.suspension.clone().unwrap().id, "vmi-uid");
    assert!(condition::is_true(&told.conditions, "Suspended"));
    let mut without = vm.clone();
    without.status = Some(told);
    let decision = decide(&without, None, now(), 0);
    let [Action::Create(made)] = &decision.actions[..] else {
        panic!("{:?}", decision.actions);
    };
    assert_eq!(made.annotations()["anyvirt.io/resume-from"], "vmi-uid");
    // Another's is not ours.
    let mut theirs = failed.clone();
    theirs.status.as_mut().unwrap().saved.as_mut().unwrap().id = "content".to_owned();
    assert_eq!(decide(&vm, Some(&theirs), now(), 0).suspension, None);
}

#[test]
fn a_suspended_machine_says_where_its_guest_is_and_why_it_could_not_be_saved() {
    let of = |vm: &VirtualMachine, vmi: Option<&VirtualMachineInstance>| {
        let decision = decide(vm, vmi, now(), 0);
        status(vm, vmi, &decision, None, now())
    };
    let asked = vm("Always", suspend_asked);
    let ended = vmi(&asked, "Succeeded", ended_saved);
    let told = of(&asked, Some(&ended));
    assert_eq!(told.printable_status, PrintableStatus::Stopping);
    let suspension = told.suspension.clone().unwrap();
    assert_eq!(
        (&suspension.node[..], suspension.disk_bytes),
        ("n1", 1 << 20)
    );
    let suspended = vm("Always", |vm| {
        suspend_asked(vm);
        saved(vm);
    });
    let told = of(&suspended, None);
    assert_eq!(told.printable_status, PrintableStatus::Suspended);
    let condition = condition::find(&told.conditions, "Suspended").unwrap();
    assert!(condition.is_true());
    let message = condition.message.clone().unwrap();
    assert!(
        message.contains("2026-11-22T11:00:00Z on node n1: 1 MiB"),
        "{message}"
    );
    let failing = vmi(&asked, "Running", |vmi| {
        told_to_save(vmi);
        vmi["status"]["conditions"] = json!([{ "type": "Saved", "status": "False",
            "reason": "SaveFailed", "message": "no room" }]);
    });
    let told = of(&asked, Some(&failing));
    let condition = condition::find(&told.conditions, "Suspended").unwrap();
    assert_eq!(
        (condition.reason.as_deref(), condition.message.as_deref()),
        (Some("SaveFailed"), Some("no room"))
    );
    let told = of(&vm("Always", unchanged), None);
    assert!(condition::find(&told.conditions, "Suspended").is_none());
}

use super::decide::{Change, pause, restart, start, stop, unpause};
use super::{Refusal, RestartOptions, StartOptions, StopOptions, is_dry, options, strategy_patch};
use api::virtual_machine::{RunStrategy, StateChangeAction, VirtualMachine};
use api::virtual_machine_instance::VirtualMachineInstance;
use serde_json::{Value, json};

const STRATEGIES: [&str; 5] = ["Always", "RerunOnFailure", "Manual", "Halted", "Once"];

fn vm(strategy: &str, change: impl FnOnce(&mut Value)) -> VirtualMachine {
    let mut vm = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
        "metadata": { "name": "m", "namespace": "ns" },
        "spec": { "runStrategy": strategy },
    });
    change(&mut vm);
    serde_json::from_value(vm).unwrap()
}

fn vmi(phase: &str, change: impl FnOnce(&mut Value)) -> VirtualMachineInstance {
    let mut vmi = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": { "name": "m", "namespace": "ns", "uid": "u" },
        "spec": { "domain": { "devices": {} }, "terminationGracePeriodSeconds": 30 },
        "status": { "phase": phase },
    });
    change(&mut vmi);
    serde_json::from_value(vmi).unwrap()
}

fn unchanged(_: &mut Value) {}

/// What is done, or the cause of a refusal, in short.
fn told(result: Result<Vec<Change>, Refusal>) -> String {
    let changes = match result {
        Ok(changes) => changes,
        Err(refusal) => {
            let cause = refusal.message.rsplit(": ").next().unwrap_or_default();
            return format!("{} {cause}", refusal.code);
        }
    };
    let request = |request: api::virtual_machine::StateChangeRequest| {
        let action = match request.action {
            StateChangeAction::Start if request.data.is_empty() => "Start",
            StateChangeAction::Start => "Start paused",
            StateChangeAction::Stop => "Stop",
        };
        format!(
            "{action}{}",
            request.uid.map(|uid| format!(" {uid}")).unwrap_or_default()
        )
    };
    let change = |change| match change {
        Change::Strategy(strategy) => format!("be {strategy}"),
        Change::Requests(all) => all.into_iter().map(request).collect::<Vec<_>>().join(", "),
        Change::GracePeriod(seconds) => format!("grace {seconds}"),
        Change::Resume => "resume".to_owned(),
    };
    changes
        .into_iter()
        .map(change)
        .collect::<Vec<_>>()
        .join(", ")
}

/// A verb with each strategy and each state of the instance.
fn check(
    verb: impl Fn(&VirtualMachine, Option<&VirtualMachineInstance>) -> String,
    table: [[&str; 4]; 5],
) {
    for (strategy, expected) in STRATEGIES.into_iter().zip(table) {
        let vm = vm(strategy, unchanged);
        let states = [None, Some("Running"), Some("Succeeded"), Some("Failed")];
        for (state, expected) in states.into_iter().zip(expected) {
            let vmi = state.map(|phase| vmi(phase, unchanged));
            assert_eq!(verb(&vm, vmi.as_ref()), expected, "{strategy}, {state:?}");
        }
    }
}

#[test]
fn start_does_what_the_table_says() {
    let running = "409 VM is already running";
    let always = "409 Always does not support manual start requests";
    let once = "409 Once does not support manual start requests";
    let failed = "409 RerunOnFailure does not support starting VM from failed state";
    check(
        |vm, vmi| told(start(vm, vmi, &StartOptions::default())),
        [
            [always, running, always, always],
            ["Start", running, "Stop u, Start", failed],
            ["Start", running, "Stop u, Start", "Stop u, Start"],
            ["be Always", running, "be Always", "be Always"],
            [once, running, once, once],
        ],
    );
}

#[test]
fn stop_does_what_the_table_says() {
    let not = "409 VM is not running";
    let halted = "409 Halted only supports manual stop requests with a shorter graceperiod";
    check(
        |vm, vmi| told(stop(vm, vmi, &StopOptions::default())),
        [
            ["be Halted"; 4],
            [not, "Stop u", not, not],
            [not, "Stop u", not, not],
            [not, halted, not, not],
            ["be Halted"; 4],
        ],
    );
}

#[test]
fn restart_does_what_the_table_says() {
    let both = "Stop u, Start";
    let halted = "409 RunStategy Halted does not support manual restart requests";
    let once = "409 RunStategy Once does not support manual restart requests";
    check(
        |vm, vmi| told(restart(vm, vmi, &RestartOptions::default())),
        [
            ["409 Halted", both, both, both],
            ["409 Halted", both, both, both],
            ["409 Halted", both, both, both],
            [halted; 4],
            [once; 4],
        ],
    );
}

#[test]
fn a_paused_start_is_asked_for_also_of_a_halted_machine() {
    let paused = StartOptions {
        paused: true,
        ..Default::default()
    };
    assert_eq!(
        told(start(&vm("Halted", unchanged), None, &paused)),
        "Start paused"
    );
    assert_eq!(
        told(start(&vm("Manual", unchanged), None, &paused)),
        "Start paused"
    );
}

#[test]
fn a_shorter_grace_period_is_given_to_the_instance_first() {
    let within = |seconds| StopOptions {
        grace_period: Some(seconds),
        ..Default::default()
    };
    let running = vmi("Running", unchanged);
    let stopped = |strategy, seconds| {
        told(stop(
            &vm(strategy, unchanged),
            Some(&running),
            &within(seconds),
        ))
    };
    assert_eq!(stopped("Always", 5), "grace 5, be Halted");
    assert_eq!(stopped("Manual", 0), "grace 0, Stop u");
    assert_eq!(stopped("Halted", 5), "grace 5, Stop u");
    assert!(stopped("Halted", 30).starts_with("409 Halted only supports"));
    assert_eq!(
        stopped("Manual", -1),
        "400 gracePeriod has to be greater or equal to 0"
    );
}

#[test]
fn only_zero_forces_a_restart() {
    let running = vmi("Running", unchanged);
    let within = |seconds| {
        let options = RestartOptions {
            grace_period_seconds: Some(seconds),
            ..Default::default()
        };
        told(restart(&vm("Always", unchanged), Some(&running), &options))
    };
    assert_eq!(within(0), "grace 1, Stop u, Start");
    assert_eq!(
        within(7),
        "400 For force restart, only gracePeriod=0 is supported for now"
    );
    assert_eq!(
        within(-7),
        "400 gracePeriod has to be greater or equal to 0"
    );
}

#[test]
fn a_second_request_waits_for_the_first_but_a_stop_does_not() {
    let busy = vm("Manual", |vm| {
        vm["status"] = json!({ "stateChangeRequests": [{ "action": "Start" }] });
    });
    let running = vmi("Running", unchanged);
    let refused = start(&busy, None, &StartOptions::default()).unwrap_err();
    assert_eq!(refused.code, 500);
    assert_eq!(
        refused.message,
        "Internal error occurred: unable to complete request: stop/start already underway"
    );
    assert!(restart(&busy, Some(&running), &RestartOptions::default()).is_err());
    assert_eq!(
        told(stop(&busy, Some(&running), &StopOptions::default())),
        "Stop u"
    );
}

#[test]
fn a_refusal_has_kubernetes_words_around_kubevirt_s() {
    let refused = start(&vm("Always", unchanged), None, &StartOptions::default()).unwrap_err();
    assert_eq!(
        refused,
        Refusal {
            code: 409,
            reason: "Conflict",
            message:
                "Operation cannot be fulfilled on virtualmachine.kubevirt.io \"m\": Always does \
                      not support manual start requests"
                    .to_owned(),
        }
    );
    assert_eq!(
        Refusal::not_found("virtualmachine", "m").message,
        "virtualmachine.kubevirt.io \"m\" not found"
    );
}

#[test]
fn pause_and_unpause_look_at_phase_and_condition() {
    let cause = |result: Result<(), Refusal>| {
        result.err().map(|it| {
            it.message
                .rsplit(": ")
                .next()
                .unwrap_or_default()
                .to_owned()
        })
    };
    let paused = |vmi: &mut Value| {
        vmi["status"]["conditions"] = json!([{ "type": "Paused", "status": "True" }]);
    };
    assert_eq!(cause(pause(&vmi("Running", unchanged))), None);
    assert_eq!(
        cause(pause(&vmi("Scheduled", unchanged))).unwrap(),
        "VM is not running"
    );
    assert_eq!(
        cause(pause(&vmi("Running", paused))).unwrap(),
        "VMI is already paused"
    );
    assert_eq!(cause(unpause(&vmi("Running", paused))), None);
    assert_eq!(
        cause(unpause(&vmi("Running", unchanged))).unwrap(),
        "VMI is not paused"
    );
    assert_eq!(
        cause(unpause(&vmi("Failed", paused))).unwrap(),
        "VMI is not running"
    );
}

#[test]
fn the_strategy_is_changed_in_the_field_its_owner_uses() {
    let old = vm("", |vm| vm["spec"] = json!({ "running": false }));
    assert_eq!(
        strategy_patch(&old, RunStrategy::Always),
        json!({ "running": true })
    );
    assert_eq!(
        strategy_patch(&old, RunStrategy::Halted),
        json!({ "running": false })
    );
    let new = vm("Halted", unchanged);
    assert_eq!(
        strategy_patch(&new, RunStrategy::Always),
        json!({ "runStrategy": "Always" })
    );
}

#[test]
fn a_body_may_be_empty_but_not_nonsense() {
    assert_eq!(
        options::<StartOptions>(b" \n").unwrap(),
        StartOptions::default()
    );
    assert_eq!(
        options::<StartOptions>(b"null").unwrap(),
        StartOptions::default()
    );
    let paused = options::<StartOptions>(br#"{"paused":true,"dryRun":["All"]}"#).unwrap();
    assert!(paused.paused && is_dry(&paused.dry_run).unwrap());
    let grace = options::<StopOptions>(br#"{"gracePeriod":3}"#).unwrap();
    assert_eq!(grace.grace_period, Some(3));
    assert_eq!(options::<StopOptions>(b"{").unwrap_err().code, 400);
    assert_eq!(is_dry(&["Some".to_owned()]).unwrap_err().code, 400);
}

/// What may be done in every state, as the web console must know it: `web/src/kubevirt/actions.test.ts` compares its
/// own table with this file.
#[test]
fn the_console_is_told_what_may_be_done_in_every_state() {
    let paused = json!([{ "type": "Paused", "status": "True" }]);
    let probe = json!({ "httpGet": { "port": 80 } });
    let instance = |phase: &str, change: &dyn Fn(&mut Value)| {
        let mut vmi =
            json!({ "spec": { "domain": { "devices": {} } }, "status": { "phase": phase } });
        change(&mut vmi);
        vmi
    };
    let mut instances = vec![Value::Null];
    let phases = [
        "Pending",
        "Scheduling",
        "Scheduled",
        "Running",
        "Succeeded",
        "Failed",
        "Unknown",
    ];
    instances.extend(phases.map(|phase| instance(phase, &|_| ())));
    instances.push(instance("Running", &|vmi| {
        vmi["status"]["conditions"] = paused.clone();
    }));
    instances.push(instance("Running", &|vmi| {
        vmi["spec"]["livenessProbe"] = probe.clone();
    }));
    let statuses = [
        json!({}),
        json!({ "stateChangeRequests": [{ "action": "Start" }] }),
        json!({ "conditions": [{ "type": "ManualRecoveryRequired", "status": "True", "message": "repair the disk" }] }),
    ];
    let mut lines = Vec::new();
    for strategy in STRATEGIES {
        for (instance, status) in instances
            .iter()
            .flat_map(|instance| statuses.iter().map(move |status| (instance, status)))
        {
            let vm = vm(strategy, |vm| vm["status"] = status.clone());
            let found = (!instance.is_null()).then(|| {
                vmi("Running", |vmi| {
                    vmi["spec"] = instance["spec"].clone();
                    vmi["status"] = instance["status"].clone();
                })
            });
            let of_instance = |decide: fn(&VirtualMachineInstance) -> Result<(), Refusal>| {
                found.as_ref().is_some_and(|found| decide(found).is_ok())
            };
            let all = [
                (
                    "start",
                    start(&vm, found.as_ref(), &StartOptions::default()).is_ok(),
                ),
                (
                    "stop",
                    stop(&vm, found.as_ref(), &StopOptions::default()).is_ok(),
                ),
                (
                    "restart",
                    restart(&vm, found.as_ref(), &RestartOptions::default()).is_ok(),
                ),
                ("pause", of_instance(pause)),
                ("unpause", of_instance(unpause)),
            ];
            let may: Vec<&str> = all
                .into_iter()
                .filter(|(_, may)| *may)
                .map(|(name, _)| name)
                .collect();
            let line = json!({ "runStrategy": strategy, "instance": instance, "status": status, "may": may });
            lines.push(line.to_string());
        }
    }
    let table = format!("[\n{}\n]\n", lines.join(",\n"));
    expect_test::expect_file!["../../../../web/src/kubevirt/actions-of-server.json"]
        .assert_eq(&table);
}

#[test]
fn a_machine_that_is_being_snapshot_or_restored_is_neither_started_nor_stopped() {
    for (field, cause) in [
        (
            "snapshotInProgress",
            "409 Cannot update vm running state until snapshot \"x\" completes",
        ),
        (
            "restoreInProgress",
            "409 Cannot update VM runStrategy until restore \"x\" completes",
        ),
    ] {
        for strategy in STRATEGIES {
            let vm = vm(strategy, |vm| vm["status"] = json!({ field: "x" }));
            let live = vmi("Running", unchanged);
            let (started, stopped, restarted) = (
                told(start(&vm, None, &StartOptions::default())),
                told(stop(&vm, Some(&live), &StopOptions::default())),
                told(restart(&vm, Some(&live), &RestartOptions::default())),
            );
            assert_eq!([started, stopped, restarted], [cause; 3], "{strategy}");
        }
    }
}

#[test]
fn a_machine_that_is_to_be_suspended_is_started_by_taking_that_back_and_stopped_only_by_force() {
    let suspending = |strategy: &str, saved: bool| {
        vm(strategy, |vm| {
            vm["metadata"]["annotations"] = json!({ "anyvirt.io/suspended": "true" });
            if saved {
                vm["status"]["suspension"] = json!({ "node": "n1", "id": "vm-uid",
                    "at": "2026-11-22T11:00:00Z", "diskBytes": 1 });
            }
        })
    };
    let live = vmi("Running", unchanged);
    // Strategy; start with nothing saved, and with its guest saved.
    for (strategy, unsaved, saved) in [
        ("Always", "resume", "resume"),
        ("Once", "resume", "resume"),
        ("RerunOnFailure", "resume, Start", "resume"),
        ("Manual", "resume, Start", "resume"),
        ("Halted", "resume, be Always", "resume, be Always"),
    ] {
        for (is_saved, expected) in [(false, unsaved), (true, saved)] {
            let vm = suspending(strategy, is_saved);
            let started = |vmi| told(start(&vm, vmi, &StartOptions::default()));
            assert_eq!(started(None), expected, "{strategy}, saved: {is_saved}");
            assert_eq!(started(Some(&live)), "resume", "{strategy}, live");
            let stopped = |vmi, grace_period| {
                let options = StopOptions {
                    grace_period,
                    ..Default::default()
                };
                told(stop(&vm, vmi, &options))
            };
            let restarted = |vmi, grace_period_seconds| {
                let options = RestartOptions {
                    grace_period_seconds,
                    ..Default::default()
                };
                told(restart(&vm, vmi, &options))
            };
            let words = if is_saved {
                "409 let it go on first (anyvirt resume m), or"
            } else {
                "409 wait for that, take it back (anyvirt resume m), or"
            };
            for refused in [
                stopped(None, None),
                stopped(None, Some(0)),
                stopped(Some(&live), None),
                stopped(Some(&live), Some(5)),
                restarted(None, None),
                restarted(None, Some(0)),
                restarted(Some(&live), None),
            ] {
                assert!(refused.starts_with(words), "{strategy}: {refused}");
            }
            let forced = stopped(Some(&live), Some(0));
            assert!(forced.starts_with("grace 0, "), "{strategy}: {forced}");
        }
    }
    let always = suspending("Always", false);
    let options = RestartOptions {
        grace_period_seconds: Some(0),
        ..Default::default()
    };
    let forced = told(restart(&always, Some(&live), &options));
    assert_eq!(forced, "grace 1, Stop u, Start");
}

//! A guest that KVM fails: what follows, at most once, and what is told.

use api::launcher::{KvmFailure, KvmFailureKind};
use api::names::conditions::START_QUEUED;
use api::virtual_machine_instance::VirtualMachineInstanceStatus;

use super::super::step_down::{Answer, StepDown};
use super::*;

fn failure() -> KvmFailure {
    KvmFailure {
        kind: KvmFailureKind::NoProgress,
        evidence: "it got nowhere".to_owned(),
        at: at(80),
    }
}

fn decided(answer: Answer) -> StepDown {
    StepDown {
        failure: failure(),
        answer,
        at: at(90),
    }
}

fn again() -> StepDown {
    decided(Answer::StartAgain)
}

fn fails() -> StepDown {
    decided(Answer::Fail {
        message: "because; cure".to_owned(),
    })
}

/// Runs on KVM, which fails it.
fn failing() -> LauncherSeen {
    LauncherSeen::Answers(Box::new(Status {
        state: State::Running,
        accelerator: Some(Accelerator::Kvm),
        kvm_failure: Some(failure()),
        ..Status::default()
    }))
}

fn failed_exit() -> Exit {
    Exit {
        kvm_failure: Some(failure()),
        ..exit(ExitKind::Killed)
    }
}

/// Its first QEMU has ended.
fn ended_by_kvm() -> LauncherSeen {
    LauncherSeen::Answers(Box::new(Status {
        state: State::Ended,
        exit: Some(failed_exit()),
        ..Status::default()
    }))
}

fn absent_by_kvm() -> LauncherSeen {
    LauncherSeen::Absent {
        was_started: true,
        exit: Some(failed_exit()),
        orphan: false,
    }
}

#[test]
fn a_failure_is_answered_before_anything_else_unless_the_machine_goes() {
    for launcher in [failing(), ended_by_kvm(), absent_by_kvm()] {
        let case = Case::running().with(|it| {
            it.launcher = launcher.clone();
            it.answer = Some(again());
        });
        assert_eq!(case.decide(), Action::StepDown, "{launcher:?}");
        let goes = case.with(|it| it.instance = Some(instance("Running", going())));
        assert_ne!(goes.decide(), Action::StepDown, "{launcher:?}");
    }
}

#[test]
fn what_was_written_down_is_acted_on_whoever_died_in_between() {
    for (name, launcher, change, expected) in [
        (
            "written down: killed",
            failing(),
            &(|it: &mut Case| it.step_down = Some(again())) as &dyn Fn(&mut Case),
            Action::KillGuest,
        ),
        (
            "killed: starts again",
            ended_by_kvm(),
            &|it| it.step_down = Some(again()),
            Action::StartGuest,
        ),
        (
            "killed, found by a new agent: its images first",
            ended_by_kvm(),
            &|it| {
                it.step_down = Some(again());
                it.images = ImagesSeen::NotPulled;
            },
            Action::PullImages,
        ),
        (
            "killed, and its launcher died: another launcher first",
            absent_by_kvm(),
            &|it| it.step_down = Some(again()),
            Action::StartLauncher,
        ),
        (
            "a new launcher that has nothing started yet",
            answers(State::Idle),
            &|it| it.step_down = Some(again()),
            Action::StartGuest,
        ),
        (
            "may not be emulated: killed",
            failing(),
            &|it| it.step_down = Some(fails()),
            Action::KillGuest,
        ),
        (
            "may not be emulated, and killed",
            ended_by_kvm(),
            &|it| it.step_down = Some(fails()),
            Action::EndLauncher,
        ),
        (
            "forced: left alone",
            failing(),
            &|it| {
                it.step_down = Some(decided(Answer::LeaveAlone {
                    message: "m".to_owned(),
                }));
            },
            Action::Wait(None),
        ),
        (
            "asked to go: it just goes",
            ended_by_kvm(),
            &|it| {
                it.step_down = Some(again());
                it.instance = Some(instance("Running", going()));
            },
            Action::EndLauncher,
        ),
    ] {
        let case = Case::running()
            .with(|it| it.launcher = launcher)
            .with(change);
        assert_eq!(case.decide(), expected, "{name}");
        assert!(
            outcome(&case.seen()).is_none() || !matches!(expected, Action::StartGuest),
            "{name}: it is no end"
        );
    }
}

/// Whatever the second QEMU does, and whoever dies in between: there is no third.
#[test]
fn the_second_guest_never_starts_a_third_time() {
    for launcher in [
        answers(State::Starting),
        answers(State::Running),
        answers(State::Paused),
        ended(ExitKind::GuestShutdown),
        ended(ExitKind::StartFailed),
        ended(ExitKind::Killed),
        absent(true, false),
        absent(true, true),
        LauncherSeen::Silent,
    ] {
        let case = Case::running().with(|it| {
            it.step_down = Some(again());
            it.launcher = launcher.clone();
        });
        let action = case.decide();
        assert!(
            !matches!(
                action,
                Action::StartGuest | Action::StartLauncher | Action::StepDown | Action::KillGuest
            ),
            "{launcher:?}: {action:?}"
        );
    }
}

#[test]
fn between_its_two_starts_a_machine_has_not_ended() {
    for launcher in [ended_by_kvm(), absent_by_kvm()] {
        for step_down in [None, Some(again())] {
            let case = Case::running().with(|it| {
                it.launcher = launcher.clone();
                it.step_down = step_down.clone();
            });
            assert_eq!(outcome(&case.seen()), None);
            assert_eq!(case.pod_status(), None, "{launcher:?}");
            // That it has a timeline is all that is told.
            let none = BTreeMap::new();
            let before = case
                .instance
                .clone()
                .and_then(|it| it.status)
                .expect("a status");
            if let Some(change) = wanted_instance(&case.seen(), &none, at(100)) {
                assert_eq!(change.facts, []);
                let start_timeline = None;
                assert_eq!(
                    VirtualMachineInstanceStatus {
                        start_timeline,
                        ..change.status
                    },
                    before
                );
            }
        }
    }
}

#[test]
fn a_guest_that_may_not_be_emulated_fails_and_names_the_cure() {
    let case = Case::running().with(|it| {
        it.launcher = ended_by_kvm();
        it.step_down = Some(fails());
    });
    let ended = outcome(&case.seen()).expect("it ended");
    assert_eq!((ended.reason, ended.succeeded), ("KvmFailed", false));
    let none = BTreeMap::new();
    let change = wanted_instance(&case.seen(), &none, at(100)).expect("told");
    assert_eq!(change.status.phase, Some(Phase::Failed));
    assert_eq!(change.status.reason.as_deref(), Some("KvmFailed"));
    let status = case.pod_status().expect("told");
    assert_eq!(status.message.as_deref(), Some("because; cure"));
}

#[test]
fn the_emulated_guest_says_why_it_is_also_after_a_restart_of_the_node() {
    let launcher = LauncherSeen::Answers(Box::new(Status {
        state: State::Running,
        accelerator: Some(Accelerator::Tcg),
        ..Status::default()
    }));
    let case = Case::running().with(|it| {
        it.launcher = launcher;
        it.step_down = Some(again());
    });
    let none = BTreeMap::new();
    let change = wanted_instance(&case.seen(), &none, at(100)).expect("told");
    let accelerator = change.status.accelerator.expect("known");
    assert_eq!(accelerator.type_, "TCG");
    assert_eq!(accelerator.reason.as_deref(), Some("SteppedDown"));
    assert!(
        accelerator
            .message
            .expect("a sentence")
            .contains("it got nowhere")
    );
    assert!(condition::is_true(
        &change.status.conditions,
        "SoftwareEmulation"
    ));
}

#[test]
fn a_guest_that_waits_for_others_to_boot_says_so_once() {
    let mut case = Case::running().with(|it| {
        it.launcher = answers(State::Idle);
        it.instance = Some(instance("Scheduled", json!({})));
        it.queued = Some("2 emulated guests are booting before it".to_owned());
    });
    let none = BTreeMap::new();
    let change = wanted_instance(&case.seen(), &none, at(100)).expect("told");
    let condition = condition::find(&change.status.conditions, START_QUEUED).expect("told");
    assert_eq!(
        condition.message.as_deref(),
        Some("2 emulated guests are booting before it")
    );
    assert_eq!(change.facts.len(), 1);
    let mut known = instance("Scheduled", json!({}));
    known.status = Some(change.status);
    case.instance = Some(known);
    case.queued = Some("1 emulated guest is booting before it".to_owned());
    let next = wanted_instance(&case.seen(), &none, at(101)).expect("told");
    assert_eq!(next.facts, []);
    case.queued = None;
    let left = wanted_instance(&case.seen(), &none, at(102)).expect("told");
    assert!(condition::find(&left.status.conditions, START_QUEUED).is_none());
}

#[test]
fn an_emulated_guest_gets_longer_to_shut_down_only_where_nobody_said_how_long() {
    let emulated = LauncherSeen::Answers(Box::new(Status {
        state: State::Running,
        accelerator: Some(Accelerator::Tcg),
        ..Status::default()
    }));
    let unsaid = json!({ "spec": { "terminationGracePeriodSeconds": null } });
    let asked_to_go = |grace: i64| {
        let mut pod = pod(going());
        pod.metadata.deletion_grace_period_seconds = Some(grace);
        if let Some(spec) = &mut pod.spec {
            spec.termination_grace_period_seconds = Some(45);
        }
        pod
    };
    for (name, launcher, more, grace, expected) in [
        (
            "emulated, nobody said",
            emulated.clone(),
            unsaid.clone(),
            45,
            120,
        ),
        (
            "on KVM, nobody said",
            answers(State::Running),
            unsaid.clone(),
            45,
            30,
        ),
        (
            "emulated, its VMI said",
            emulated.clone(),
            json!({}),
            45,
            20,
        ),
        ("emulated, who deleted it said", emulated, unsaid, 3, 3),
    ] {
        let case = Case::running().with(|it| {
            it.launcher = launcher;
            it.slowdown = Some(4.0);
            it.instance = Some(instance("Running", merge(more, going())));
            it.pod = Some(asked_to_go(grace));
        });
        assert_eq!(case.decide(), stop(expected), "{name}");
    }
}

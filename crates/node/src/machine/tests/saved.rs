//! What an ended machine tells of what was saved of it.

use api::virtual_machine_instance::SavedStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;

fn resumed(case: &Case) -> (Option<String>, Option<SavedStatus>) {
    let change = wanted_instance(&case.seen(), &BTreeMap::new(), at(100)).expect("a change");
    let status = change.status;
    let resumed = condition::find(&status.conditions, "Resumed").filter(|it| it.is_true());
    (resumed.and_then(|it| it.reason.clone()), status.saved)
}

fn refused() -> StartFailure {
    StartFailure {
        message: "QEMU is another".to_owned(),
        retry_at: at(110),
        refused: Some("ResumeRefused"),
    }
}

#[test]
fn a_guest_that_went_on_and_ended_before_it_was_seen_to_run_says_that_it_went_on() {
    let crashed = ExitKind::Crashed {
        signal: None,
        code: Some(1),
    };
    for launcher in [
        ended(ExitKind::GuestShutdown),
        ended(crashed),
        // The launcher was killed with its guest.
        absent(true, false),
    ] {
        for (went_on, expected) in [(true, Some("Ended".to_owned())), (false, None)] {
            let case = Case::running().with(|it| {
                it.instance = Some(instance("Scheduled", json!({})));
                it.launcher = launcher.clone();
                it.save.went_on = went_on;
            });
            assert_eq!(resumed(&case), (expected, None), "{launcher:?}");
        }
    }
    // This one did not, but one before it.
    let case = Case::running().with(|it| {
        it.instance = Some(instance("Scheduled", json!({})));
        it.launcher = answers(State::Idle);
        it.save.went_on = true;
        it.start_failure = Some(refused());
    });
    assert_eq!(resumed(&case), (None, None));
}

#[test]
fn what_was_saved_at_a_host_s_shutdown_is_handed_over_where_it_does_not_go_on() {
    let saved = SavedStatus {
        id: "u".to_owned(),
        at: Time(at(50)),
        disk_bytes: 1,
    };
    // How it ended; whether it had gone on before; whether what was saved is handed over.
    for (launcher, refusal, went_on, kept) in [
        (answers(State::Idle), Some(refused()), false, true),
        (ended(ExitKind::StartFailed), None, false, true),
        (absent(true, false), None, false, true),
        (absent(true, false), None, true, false),
        (ended(ExitKind::GuestShutdown), None, true, false),
        (ended(ExitKind::Stopped), None, false, false),
    ] {
        let case = Case::running().with(|it| {
            it.launcher = launcher.clone();
            it.start_failure = refusal;
            it.save.goes_on = Some(saved.clone());
            it.save.went_on = went_on;
        });
        let expected = kept.then(|| saved.clone());
        assert_eq!(resumed(&case).1, expected, "{launcher:?}, {went_on}");
    }
}

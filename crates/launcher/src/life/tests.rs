use super::*;

const fn second(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn running() -> Life {
    let mut life = Life::idle();
    assert_eq!(
        life.decide(second(0), Input::Start).actions,
        [Action::Launch]
    );
    assert_eq!(
        life.decide(second(1), Input::Started { paused: false })
            .actions,
        []
    );
    assert_eq!(life.state, State::Running);
    life
}

fn off(guest: bool, reason: ShutdownReason) -> Input {
    Input::Said(Event::Shutdown { guest, reason })
}

fn finish_of(actions: Vec<Action>) -> ExitKind {
    match actions.into_iter().next() {
        Some(Action::Finish(kind, message)) => {
            assert!(!message.is_empty());
            kind
        }
        other => panic!("no end: {other:?}"),
    }
}

#[test]
fn starting_again_changes_nothing_in_any_state() {
    let mut life = Life::idle();
    life.decide(second(0), Input::Start);
    for input in [
        None,
        Some(Input::Started { paused: false }),
        Some(Input::QemuEnded(Ended::Exited(1))),
    ] {
        if let Some(input) = input {
            life.decide(second(1), input);
        }
        let before = life.clone();
        assert_eq!(life.decide(second(2), Input::Start), done(vec![]));
        assert_eq!(life, before);
    }
}

#[test]
fn an_ended_guest_starts_once_more_only_when_told_so() {
    for input in [Input::Kill, Input::Stop { grace: second(0) }] {
        let mut life = running();
        life.decide(second(1), input);
        assert_eq!(life.decide(second(1), Input::StartAgain), done(vec![]));
        life.decide(second(2), Input::QemuEnded(Ended::Signalled(9)));
        let again = life.decide(second(3), Input::StartAgain);
        assert_eq!(
            (again.actions, life.state),
            (vec![Action::Launch], State::Starting)
        );
        // What ended the first does not end the second.
        assert_eq!(life.decide(second(3), Input::StartAgain), done(vec![]));
        life.decide(second(4), Input::Started { paused: false });
        life.decide(second(5), off(true, ShutdownReason::GuestShutdown));
        let ended = life.decide(second(5), Input::QemuEnded(Ended::Exited(0)));
        assert_eq!(finish_of(ended.actions), ExitKind::GuestShutdown);
    }
    let mut leaving = running();
    leaving.decide(second(1), Input::Leave { grace: second(5) });
    leaving.decide(second(2), Input::QemuEnded(Ended::Exited(0)));
    assert_eq!(leaving.decide(second(3), Input::StartAgain), done(vec![]));
}

#[test]
fn a_stop_presses_the_button_every_five_seconds_and_kills_at_the_deadline() {
    let mut life = running();
    let stop = Input::Stop { grace: second(12) };
    assert_eq!(life.decide(second(100), stop).actions, [Action::PowerDown]);
    assert_eq!(life.next_tick(), Some(second(105)));
    assert_eq!(life.decide(second(104), Input::Tick).actions, []);
    assert_eq!(
        life.decide(second(105), Input::Tick).actions,
        [Action::PowerDown]
    );
    assert_eq!(
        life.decide(second(110), Input::Tick).actions,
        [Action::PowerDown]
    );
    assert_eq!(life.next_tick(), Some(second(112)));
    assert_eq!(
        life.decide(second(112), Input::Tick).actions,
        [Action::Kill]
    );
    assert_eq!(life.next_tick(), None);
    let Decision { actions, .. } = life.decide(second(113), Input::QemuEnded(Ended::Signalled(9)));
    assert_eq!(finish_of(actions), ExitKind::Killed);
}

#[test]
fn a_second_stop_shortens_the_time_and_never_extends_it() {
    let mut life = running();
    life.decide(second(0), Input::Stop { grace: second(30) });
    assert_eq!(
        life.decide(second(1), Input::Stop { grace: second(600) })
            .actions,
        []
    );
    assert_eq!(
        life.decide(second(1), Input::Stop { grace: second(3) })
            .actions,
        []
    );
    assert_eq!(life.decide(second(4), Input::Tick).actions, [Action::Kill]);
    let mut life = running();
    assert_eq!(
        life.decide(second(0), Input::Stop { grace: second(0) })
            .actions,
        [Action::Kill]
    );
}

#[test]
fn ends_are_told_apart() {
    let crashed = |signal, code| ExitKind::Crashed { signal, code };
    let guest = ShutdownReason::GuestShutdown;
    let cases = [
        (
            vec![off(true, guest.clone())],
            Ended::Exited(0),
            ExitKind::GuestShutdown,
        ),
        (
            vec![Input::Stop { grace: second(30) }, off(true, guest.clone())],
            Ended::Exited(0),
            ExitKind::Stopped,
        ),
        (vec![Input::Kill], Ended::Signalled(9), ExitKind::Killed),
        (vec![], Ended::Signalled(11), crashed(Some(11), None)),
        (vec![], Ended::Exited(1), crashed(None, Some(1))),
        (vec![], Ended::Exited(0), crashed(None, Some(0))),
        (
            vec![off(true, ShutdownReason::GuestPanic)],
            Ended::Exited(0),
            crashed(None, Some(0)),
        ),
        (
            vec![Input::Said(Event::GuestPanicked)],
            Ended::Exited(0),
            crashed(None, Some(0)),
        ),
        (
            vec![off(false, ShutdownReason::HostSignal)],
            Ended::Exited(0),
            crashed(None, Some(0)),
        ),
    ];
    for (inputs, ended, kind) in cases {
        let mut life = running();
        for input in inputs.clone() {
            life.decide(second(2), input);
        }
        let Decision { actions, .. } = life.decide(second(3), Input::QemuEnded(ended));
        assert_eq!(finish_of(actions), kind, "{inputs:?}");
        assert_eq!(life.state, State::Ended);
    }
}

#[test]
fn a_start_is_given_up_once_and_says_why_it_ended() {
    for (input, kind) in [
        (Input::Stop { grace: second(30) }, ExitKind::Stopped),
        (Input::Kill, ExitKind::Killed),
    ] {
        let mut life = Life::idle();
        life.decide(second(0), Input::Start);
        assert_eq!(
            life.decide(second(1), input.clone()).actions,
            [Action::AbortLaunch]
        );
        assert_eq!(life.decide(second(1), input).actions, []);
        let Decision { actions, .. } =
            life.decide(second(2), Input::StartFailed("aborted".to_owned()));
        assert_eq!(finish_of(actions), kind);
    }
    let mut life = Life::idle();
    life.decide(second(0), Input::Start);
    let Decision { actions, .. } = life.decide(second(2), Input::StartFailed("no disk".to_owned()));
    assert_eq!(
        actions,
        [Action::Finish(ExitKind::StartFailed, "no disk".to_owned())]
    );
}

#[test]
fn a_start_that_succeeds_while_it_is_given_up_is_still_stopped() {
    for (input, action) in [
        (Input::Stop { grace: second(9) }, Action::PowerDown),
        (Input::Kill, Action::Kill),
    ] {
        let mut life = Life::idle();
        life.decide(second(0), Input::Start);
        life.decide(second(1), input);
        assert_eq!(
            life.decide(second(2), Input::Started { paused: false })
                .actions,
            [action]
        );
    }
}

#[test]
fn a_guest_that_starts_paused_waits_and_can_be_unpaused_or_stopped() {
    let mut life = Life::idle();
    life.decide(second(0), Input::Start);
    let started = life.decide(second(1), Input::Started { paused: true });
    assert_eq!((started.actions, life.state), (vec![], State::Paused));
    let unpaused = life.clone().decide(second(2), Input::Unpause);
    assert_eq!(unpaused.actions, [Action::Continue]);

    let mut given_up = Life::idle();
    given_up.decide(second(0), Input::Start);
    given_up.decide(second(1), Input::Stop { grace: second(9) });
    let stopped = given_up.decide(second(2), Input::Started { paused: true });
    assert_eq!(stopped.actions, [Action::Continue, Action::PowerDown]);
}

#[test]
fn a_stop_before_the_start_wins() {
    let mut life = Life::idle();
    let Decision { actions, .. } = life.decide(second(0), Input::Stop { grace: second(30) });
    assert_eq!(finish_of(actions), ExitKind::Stopped);
    assert_eq!(life.decide(second(1), Input::Start), done(vec![]));
}

#[test]
fn pausing_follows_qemus_word_and_is_refused_when_it_makes_no_sense() {
    let mut life = running();
    assert_eq!(
        life.decide(second(2), Input::Pause).actions,
        [Action::Pause]
    );
    assert_eq!(life.state, State::Running);
    life.decide(second(2), Input::Said(Event::Stop));
    assert_eq!(life.state, State::Paused);
    assert_eq!(life.decide(second(2), Input::Pause), done(vec![]));
    assert_eq!(
        life.decide(second(3), Input::Unpause).actions,
        [Action::Continue]
    );
    let stop = Input::Stop { grace: second(9) };
    assert_eq!(
        life.decide(second(3), stop).actions,
        [Action::Continue, Action::PowerDown]
    );
    assert_eq!(
        life.decide(second(3), Input::Pause)
            .answer
            .expect_err("refused")
            .reason,
        "Stopping"
    );
    assert_eq!(
        Life::idle()
            .decide(second(0), Input::Pause)
            .answer
            .expect_err("refused")
            .reason,
        "NotRunning"
    );
}

#[test]
fn the_launcher_ends_only_without_a_guest_and_leaves_after_it() {
    let mut life = running();
    assert_eq!(
        life.decide(second(2), Input::End)
            .answer
            .expect_err("refused")
            .reason,
        "GuestRuns"
    );
    assert_eq!(life.decide(second(2), Input::DirectoryGone).actions, []);
    assert_eq!(
        life.decide(second(2), Input::Leave { grace: second(5) })
            .actions,
        [Action::PowerDown]
    );
    life.decide(second(3), off(true, ShutdownReason::GuestShutdown));
    let Decision { actions, .. } = life.decide(second(3), Input::QemuEnded(Ended::Exited(0)));
    assert_eq!(actions.last(), Some(&Action::Leave));
    assert_eq!(
        Life::ended().decide(second(0), Input::End).actions,
        [Action::Leave]
    );
    assert_eq!(
        Life::idle().decide(second(0), Input::DirectoryGone).actions,
        [Action::Leave]
    );
    let leave = Input::Leave { grace: second(5) };
    assert_eq!(
        Life::idle().decide(second(0), leave).actions,
        [Action::Leave]
    );
}

#[test]
fn a_guest_that_is_kept_ends_as_kept_and_takes_no_other_orders_meanwhile() {
    let mut life = running();
    assert_eq!(life.decide(second(2), Input::Keep).actions, [Action::Keep]);
    life.decide(second(2), Input::Said(Event::Stop));
    for input in [Input::Keep, Input::Pause, Input::Unpause] {
        let refusal = life.decide(second(3), input).answer.expect_err("refused");
        assert_eq!(refusal.reason, "Keeping");
    }
    let kept = life.decide(second(4), Input::Kept(true));
    assert_eq!(kept.actions, [Action::Quit]);
    life.decide(second(4), off(false, ShutdownReason::HostQuit));
    let ended = life.decide(second(5), Input::QemuEnded(Ended::Exited(0)));
    assert_eq!(finish_of(ended.actions), ExitKind::Kept);
    for state in [Life::idle(), Life::ended(), life] {
        let refusal = state.clone().decide(second(6), Input::Keep).answer;
        assert_eq!(refusal.expect_err("refused").reason, "NotRunning");
    }
}

#[test]
fn a_guest_that_could_not_be_kept_is_as_before() {
    let mut life = running();
    let before = life.clone();
    life.decide(second(2), Input::Keep);
    life.decide(second(2), Input::Said(Event::Stop));
    life.decide(second(3), Input::Said(Event::Resume));
    assert_eq!(life.decide(second(3), Input::Kept(false)).actions, []);
    assert_eq!(life, before);
}

#[test]
fn whoever_stops_a_guest_that_is_being_kept_kills_it_and_it_counts_as_killed() {
    for input in [Input::Stop { grace: second(30) }, Input::Kill] {
        let mut life = running();
        life.decide(second(2), Input::Keep);
        assert_eq!(life.decide(second(3), input).actions, [Action::Kill]);
        // It was written down in the same instant, or after QEMU had ended.
        let mut late = life.clone();
        assert_eq!(life.decide(second(3), Input::Kept(true)).actions, []);
        for life in [&mut life, &mut late] {
            let ended = life.decide(second(4), Input::QemuEnded(Ended::Signalled(9)));
            assert_eq!(finish_of(ended.actions), ExitKind::Killed);
        }
        assert_eq!(late.decide(second(5), Input::Kept(true)).actions, []);
    }
}

#[test]
fn a_qemu_that_does_not_end_after_the_machine_is_killed() {
    let mut life = running();
    life.decide(second(2), off(true, ShutdownReason::GuestShutdown));
    assert_eq!(life.next_tick(), Some(second(32)));
    assert_eq!(life.decide(second(32), Input::Tick).actions, [Action::Kill]);
}

const GOES_ON: Input = Input::Saved {
    ends: false,
    stands: false,
};

#[test]
fn a_guest_that_is_saved_ends_as_saved_and_is_told_as_it_was_meanwhile() {
    let mut life = running();
    assert_eq!(life.decide(second(2), Input::Save).actions, [Action::Save]);
    life.decide(second(2), Input::Said(Event::Stop));
    assert_eq!(life.state, State::Running, "that is nobody's wish");
    for input in [Input::Save, Input::Pause, Input::Unpause, Input::Keep] {
        let refusal = life.decide(second(3), input).answer.expect_err("refused");
        assert_eq!(refusal.reason, "Saving");
    }
    let saved = Input::Saved {
        ends: true,
        stands: false,
    };
    assert_eq!(life.decide(second(4), saved).actions, [Action::Quit]);
    life.decide(second(4), off(false, ShutdownReason::HostQuit));
    let ended = life.decide(second(5), Input::QemuEnded(Ended::Exited(0)));
    assert_eq!(finish_of(ended.actions), ExitKind::Saved);
    for state in [Life::idle(), Life::ended(), life] {
        let refusal = state.clone().decide(second(6), Input::Save).answer;
        assert_eq!(refusal.expect_err("refused").reason, "NotRunning");
    }
}

#[test]
fn a_guest_that_goes_on_after_it_was_saved_is_as_before_unless_it_stands_still() {
    let mut life = running();
    let before = life.clone();
    life.decide(second(2), Input::Save);
    life.decide(second(2), Input::Said(Event::Stop));
    life.decide(second(3), Input::Said(Event::Resume));
    assert_eq!(life.decide(second(3), GOES_ON).actions, []);
    assert_eq!(life, before);
    life.decide(second(4), Input::Save);
    let stands = Input::Saved {
        ends: false,
        stands: true,
    };
    life.decide(second(5), stands);
    assert_eq!(life.state, State::Paused);
}

#[test]
fn whoever_stops_a_guest_that_is_being_saved_waits_for_that_and_loses_nothing() {
    let stop = || Input::Stop { grace: second(30) };
    let mut life = running();
    life.decide(second(2), Input::Save);
    assert_eq!(life.decide(second(3), stop()).actions, []);
    let mut goes_on = life.clone();
    assert_eq!(
        goes_on.decide(second(4), GOES_ON).actions,
        [Action::PowerDown]
    );
    let saved = Input::Saved {
        ends: true,
        stands: false,
    };
    assert_eq!(life.decide(second(4), saved).actions, [Action::Quit]);
    let ended = life.decide(second(5), Input::QemuEnded(Ended::Exited(0)));
    assert_eq!(finish_of(ended.actions), ExitKind::Saved);
    // No longer than the grace.
    let mut life = running();
    life.decide(second(2), Input::Save);
    life.decide(second(3), stop());
    assert_eq!(life.next_tick(), Some(second(33)));
    assert_eq!(life.decide(second(33), Input::Tick).actions, [Action::Kill]);
    let ended = life.decide(second(34), Input::QemuEnded(Ended::Signalled(9)));
    assert_eq!(finish_of(ended.actions), ExitKind::Killed);
    // Nor where it is to be killed at once.
    let mut life = running();
    life.decide(second(2), Input::Save);
    assert_eq!(life.decide(second(2), Input::Kill).actions, [Action::Kill]);
}

#[test]
fn a_launcher_that_leaves_saves_its_guest_and_leaves_when_that_has_ended() {
    let mut life = running();
    let leaves = life.decide(second(2), Input::LeaveSaving);
    assert_eq!(leaves.actions, [Action::Save]);
    // Told again.
    let again = Input::Leave { grace: second(30) };
    assert_eq!(life.decide(second(3), again).actions, []);
    let saved = Input::Saved {
        ends: true,
        stands: false,
    };
    life.decide(second(4), saved);
    let ended = life.decide(second(5), Input::QemuEnded(Ended::Exited(0)));
    assert_eq!(ended.actions.last(), Some(&Action::Leave));
    assert_eq!(finish_of(ended.actions), ExitKind::Saved);
}

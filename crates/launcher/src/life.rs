//! The life of one guest, decided purely: what is known and what happens become answers and actions.
//!
//! ```text
//!            Start              started            stop / cont (QEMU's events)
//!   Idle ──────────> Starting ──────────> Running <──────────────────────────> Paused
//!    │                  │                    │                                   │
//!    │ Stop, Kill       │ failed, or         │ QEMU has ended: the guest shut down,
//!    │                  │ stopped before     │ was killed, or QEMU crashed
//!    └──────────────────┴──────> Ended <─────┴───────────────────────────────────┘
//!                                  │ (once more Starting, without KVM, if KVM failed it)
//!                                  │ End, or asked to leave, or the directory is gone
//!                                  v
//!                               (leaves)
//! ```
//! While it stops (`Stopping`): the power button now and again every [`POWER_DOWN_EVERY`], and the
//! kill at the deadline. All times are durations since the launcher started.

use std::time::Duration;

use api::launcher::{ExitKind, State};
use api::scaling::Wait;
use qemu::qmp::{Event, ShutdownReason};

/// A guest that was still booting ignores the power button; KubeVirt presses it every 5 s too.
pub(crate) const POWER_DOWN_EVERY: Duration = Duration::from_secs(5);

/// What is known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Life {
    /// Where it is.
    pub(crate) state: State,
    stopping: Option<Stopping>,
    /// Somebody ordered the kill, or its deadline came; in which words.
    killed: Option<&'static str>,
    /// QEMU said that the machine goes off.
    going: Option<Going>,
    panicked: bool,
    leaving: bool,
    /// QEMU ends within milliseconds after it said that the machine goes off; on a machine busy with
    /// emulation within seconds. Beyond this it is killed.
    last_breath: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Stopping {
    deadline: Duration,
    press_again: Duration,
}

#[derive(Clone, Debug, PartialEq)]
struct Going {
    guest: bool,
    reason: ShutdownReason,
    deadline: Duration,
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Input {
    /// Start was asked for, for the right VMI.
    Start,
    /// A guest that has ended, because KVM failed it, is to be started once more, without KVM.
    StartAgain,
    /// Stop was asked for.
    Stop { grace: Duration },
    /// Kill was asked for.
    Kill,
    /// Pause was asked for.
    Pause,
    /// Unpause was asked for.
    Unpause,
    /// End was asked for.
    End,
    /// The launcher shall leave, after its guest was stopped.
    Leave { grace: Duration },
    /// The directory is no longer there.
    DirectoryGone,
    /// Time has passed.
    Tick,
    /// The guest is there: its processors run for the first time, or wait for Unpause.
    Started { paused: bool },
    /// The guest could not be started, and QEMU does not run.
    StartFailed(String),
    /// QEMU says something.
    Said(Event),
    /// QEMU has ended, as these words say.
    QemuEnded(Ended),
}

/// How the process ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    /// By its own will.
    Exited(i32),
    /// By a signal.
    Signalled(i32),
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Prepare and start QEMU.
    Launch,
    /// Give up the start, and kill what it has started.
    AbortLaunch,
    /// Press the power button.
    PowerDown,
    /// Stop the guest's processors.
    Pause,
    /// Let the guest's processors run.
    Continue,
    /// Kill QEMU.
    Kill,
    /// Write down how it ended.
    Finish(ExitKind, String),
    /// The launcher exits.
    Leave,
}

/// Why a request is not done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    /// One word for programs.
    pub(crate) reason: &'static str,
    /// A sentence for people.
    pub(crate) message: String,
}

/// The answer to whoever asked, and what to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decision {
    /// The answer.
    pub(crate) answer: Result<(), Refusal>,
    /// What to do, in order.
    pub(crate) actions: Vec<Action>,
}

impl Life {
    /// Nothing was started yet.
    pub(crate) fn idle() -> Self {
        Self {
            state: State::Idle,
            stopping: None,
            killed: None,
            going: None,
            panicked: false,
            leaving: false,
            last_breath: Wait::LastBreath.bounds().0,
        }
    }

    /// QEMU gets so long to end by itself.
    pub(crate) fn allow_last_breath(&mut self, last_breath: Duration) {
        self.last_breath = last_breath;
    }

    /// It ended before this launcher was started.
    pub(crate) fn ended() -> Self {
        Self {
            state: State::Ended,
            ..Self::idle()
        }
    }

    /// When [`Input::Tick`] is due at the latest; `None`: nothing waits for time.
    pub(crate) fn next_tick(&self) -> Option<Duration> {
        let stopping = self
            .stopping
            .map(|stopping| stopping.deadline.min(stopping.press_again));
        let going = self.going.as_ref().map(|going| going.deadline);
        if !self.has_guest() || self.killed.is_some() {
            return None;
        }
        stopping.into_iter().chain(going).min()
    }

    fn has_guest(&self) -> bool {
        matches!(self.state, State::Running | State::Paused)
    }

    /// Takes in what happens at `now`.
    pub(crate) fn decide(&mut self, now: Duration, input: Input) -> Decision {
        match input {
            Input::StartAgain if self.state == State::Ended && !self.leaving => {
                *self = Self {
                    state: State::Starting,
                    ..Self::idle()
                };
                done(vec![Action::Launch])
            }
            Input::StartAgain => done(vec![]),
            // Asking again changes nothing, however far it came.
            Input::Start if self.state != State::Idle => done(vec![]),
            Input::Start => {
                self.state = State::Starting;
                done(vec![Action::Launch])
            }
            Input::Stop { grace } => done(self.stop(now, grace)),
            Input::Kill => done(self.kill("it was killed on request")),
            Input::Pause | Input::Unpause => self.pause(input == Input::Pause),
            Input::End => match self.state {
                State::Idle | State::Ended => done(vec![Action::Leave]),
                State::Starting | State::Running | State::Paused => refused(
                    "GuestRuns",
                    "a guest runs: stop or kill it first".to_owned(),
                ),
            },
            Input::Leave { grace } => match self.state {
                State::Idle | State::Ended => done(vec![Action::Leave]),
                State::Starting | State::Running | State::Paused => {
                    self.leaving = true;
                    done(self.stop(now, grace))
                }
            },
            Input::DirectoryGone => match self.state {
                State::Idle | State::Ended => done(vec![Action::Leave]),
                State::Starting | State::Running | State::Paused => done(vec![]),
            },
            Input::Tick => done(self.tick(now)),
            Input::Started { paused } => {
                self.state = if paused {
                    State::Paused
                } else {
                    State::Running
                };
                done(self.started(now))
            }
            Input::StartFailed(message) => {
                // Stopped or killed meanwhile: then that is how it ended.
                let exit = match (self.killed, self.stopping) {
                    (Some(words), _) => (ExitKind::Killed, words.to_owned()),
                    (None, Some(_)) => stopped_before(),
                    (None, None) => (ExitKind::StartFailed, message),
                };
                done(self.finish(exit))
            }
            Input::Said(event) => done(self.said(now, event)),
            Input::QemuEnded(ended) => {
                let exit = self.exit(ended);
                done(self.finish(exit))
            }
        }
    }

    fn stop(&mut self, now: Duration, grace: Duration) -> Vec<Action> {
        let deadline = now.saturating_add(grace);
        match self.state {
            State::Idle => self.finish(stopped_before()),
            State::Starting => {
                let again = self.stopping.is_some();
                self.stopping = Some(Stopping {
                    deadline,
                    press_again: deadline,
                });
                if again {
                    vec![]
                } else {
                    vec![Action::AbortLaunch]
                }
            }
            State::Ended => vec![],
            State::Running | State::Paused if grace.is_zero() => {
                self.kill("it was to stop with no time for it")
            }
            State::Running | State::Paused => match &mut self.stopping {
                // A second request may shorten the time, never extend it.
                Some(stopping) => {
                    stopping.deadline = stopping.deadline.min(deadline);
                    vec![]
                }
                None => {
                    let press_again = now.saturating_add(POWER_DOWN_EVERY);
                    self.stopping = Some(Stopping {
                        deadline,
                        press_again,
                    });
                    // A paused guest could not see the button.
                    let first = (self.state == State::Paused).then_some(Action::Continue);
                    first.into_iter().chain([Action::PowerDown]).collect()
                }
            },
        }
    }

    /// The start may have succeeded while it was given up.
    fn started(&mut self, now: Duration) -> Vec<Action> {
        if self.killed.is_some() {
            return vec![Action::Kill];
        }
        match &mut self.stopping {
            Some(stopping) => {
                stopping.press_again = now.saturating_add(POWER_DOWN_EVERY);
                // A paused guest could not see the button.
                let first = (self.state == State::Paused).then_some(Action::Continue);
                first.into_iter().chain([Action::PowerDown]).collect()
            }
            None => vec![],
        }
    }

    fn kill(&mut self, words: &'static str) -> Vec<Action> {
        match self.state {
            State::Idle => self.finish((ExitKind::Killed, words.to_owned())),
            State::Ended => vec![],
            State::Starting => {
                let again = self.killed.replace(words).is_some() || self.stopping.is_some();
                if again {
                    vec![]
                } else {
                    vec![Action::AbortLaunch]
                }
            }
            State::Running | State::Paused => {
                self.killed.get_or_insert(words);
                vec![Action::Kill]
            }
        }
    }

    fn pause(&mut self, pause: bool) -> Decision {
        let ending = self.stopping.is_some() || self.killed.is_some() || self.going.is_some();
        if self.has_guest() && ending {
            return refused("Stopping", "the guest is being stopped".to_owned());
        }
        match (self.state, pause) {
            (State::Running, true) => done(vec![Action::Pause]),
            (State::Paused, false) => done(vec![Action::Continue]),
            (State::Paused, true) | (State::Running, false) => done(vec![]),
            (State::Idle | State::Starting | State::Ended, _) => refused(
                "NotRunning",
                format!("no guest runs: its state is {:?}", self.state),
            ),
        }
    }

    fn tick(&mut self, now: Duration) -> Vec<Action> {
        if !self.has_guest() || self.killed.is_some() {
            return vec![];
        }
        if self
            .going
            .as_ref()
            .is_some_and(|going| going.deadline <= now)
        {
            return self.kill("QEMU did not end after the machine went off");
        }
        let Some(stopping) = &mut self.stopping else {
            return vec![];
        };
        if stopping.deadline <= now {
            return self.kill("it did not shut down within its grace period");
        }
        if stopping.press_again <= now {
            stopping.press_again = now.saturating_add(POWER_DOWN_EVERY);
            return vec![Action::PowerDown];
        }
        vec![]
    }

    fn said(&mut self, now: Duration, event: Event) -> Vec<Action> {
        match event {
            Event::Stop if self.has_guest() => self.state = State::Paused,
            Event::Resume if self.has_guest() => self.state = State::Running,
            Event::Shutdown { guest, reason } => {
                let deadline = now.saturating_add(self.last_breath);
                self.going = Some(Going {
                    guest,
                    reason,
                    deadline,
                });
            }
            Event::GuestPanicked => self.panicked = true,
            _ => {}
        }
        vec![]
    }

    fn exit(&self, ended: Ended) -> (ExitKind, String) {
        if let Some(words) = self.killed {
            return (ExitKind::Killed, words.to_owned());
        }
        let going = self
            .going
            .as_ref()
            .map(|going| (going.guest, &going.reason));
        match (ended, going) {
            (Ended::Signalled(signal), _) => (
                ExitKind::Crashed {
                    signal: Some(signal),
                    code: None,
                },
                format!("QEMU was ended by signal {signal}"),
            ),
            (Ended::Exited(code), Some((true, ShutdownReason::GuestPanic))) => (
                ExitKind::Crashed {
                    signal: None,
                    code: Some(code),
                },
                "the guest's system crashed".to_owned(),
            ),
            (Ended::Exited(code), _) if self.panicked => (
                ExitKind::Crashed {
                    signal: None,
                    code: Some(code),
                },
                "the guest's system crashed".to_owned(),
            ),
            (Ended::Exited(0), Some((true, _))) if self.stopping.is_some() => (
                ExitKind::Stopped,
                "the guest shut down when it was asked to".to_owned(),
            ),
            (Ended::Exited(0), Some((true, _))) => (
                ExitKind::GuestShutdown,
                "the guest shut itself down".to_owned(),
            ),
            (Ended::Exited(code), Some((_, ShutdownReason::HostSignal))) => (
                ExitKind::Crashed {
                    signal: None,
                    code: Some(code),
                },
                "QEMU was told to end by a signal from outside".to_owned(),
            ),
            (Ended::Exited(code), _) => (
                ExitKind::Crashed {
                    signal: None,
                    code: Some(code),
                },
                format!("QEMU ended by itself with code {code}"),
            ),
        }
    }

    fn finish(&mut self, (kind, message): (ExitKind, String)) -> Vec<Action> {
        self.state = State::Ended;
        let mut actions = vec![Action::Finish(kind, message)];
        if self.leaving {
            actions.push(Action::Leave);
        }
        actions
    }
}

fn stopped_before() -> (ExitKind, String) {
    (
        ExitKind::Stopped,
        "it was stopped before its guest ran".to_owned(),
    )
}

fn done(actions: Vec<Action>) -> Decision {
    Decision {
        answer: Ok(()),
        actions,
    }
}

fn refused(reason: &'static str, message: String) -> Decision {
    Decision {
        answer: Err(Refusal { reason, message }),
        actions: vec![],
    }
}

#[cfg(test)]
mod tests {
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
        let Decision { actions, .. } =
            life.decide(second(113), Input::QemuEnded(Ended::Signalled(9)));
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
        let Decision { actions, .. } =
            life.decide(second(2), Input::StartFailed("no disk".to_owned()));
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
    fn a_qemu_that_does_not_end_after_the_machine_is_killed() {
        let mut life = running();
        life.decide(second(2), off(true, ShutdownReason::GuestShutdown));
        assert_eq!(life.next_tick(), Some(second(32)));
        assert_eq!(life.decide(second(32), Input::Tick).actions, [Action::Kill]);
    }
}

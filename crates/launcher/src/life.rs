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
    kept: Keep,
    saved: Save,
    /// QEMU ends within milliseconds after it said that the machine goes off; on a machine busy with
    /// emulation within seconds. Beyond this it is killed.
    last_breath: Duration,
}

/// Whether the guest is kept as a template.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Keep {
    /// Nobody has asked for it.
    No,
    /// It is being written down.
    UnderWay,
    /// It is written down, and its QEMU is to end.
    Done,
}

/// Whether the guest is saved.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Save {
    /// Nobody has asked for it.
    No,
    /// It is being written down.
    UnderWay,
    /// It is written down, and its QEMU is to end.
    Done,
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
    /// Keep was asked for.
    Keep,
    /// The guest was written down; or it was not, and runs on.
    Kept(bool),
    /// Save was asked for.
    Save,
    /// The guest was saved, and is to end; or it goes on, saved or not.
    Saved {
        /// It is to end.
        ends: bool,
        /// It stands still, though it was to go on.
        stands: bool,
    },
    /// The launcher shall leave, after its guest was saved.
    LeaveSaving,
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
    /// The guest runs again in another QEMU, after it has restarted.
    Restarted,
    /// It could not.
    RestartFailed(String),
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
    /// Write the guest down.
    Keep,
    /// Save the guest.
    Save,
    /// Tell QEMU to end.
    Quit,
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
            kept: Keep::No,
            saved: Save::No,
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

    /// Whether QEMU has ended because the guest restarts, and nobody wants it to stop.
    pub(crate) fn restarts(&self) -> bool {
        let going = self.going.as_ref();
        self.has_guest()
            && self.killed.is_none()
            && self.stopping.is_none()
            && going.is_some_and(|going| going.reason.is_reset())
    }

    /// The guest is started again: what its QEMU said of its end is no end of the guest.
    pub(crate) fn goes_on(&mut self) {
        self.going = None;
        self.panicked = false;
        self.state = State::Running;
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
            Input::Keep => self.keep(),
            Input::Kept(done) => done_if(self.keep_ended(done)),
            Input::Save => self.save(),
            Input::Saved { ends, stands } => done(self.save_ended(now, ends, stands)),
            Input::LeaveSaving => {
                self.leaving = true;
                self.save()
            }
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
            Input::Restarted => done(self.started(now)),
            Input::RestartFailed(message) => {
                let exit = match (self.killed, self.stopping) {
                    (Some(words), _) => (ExitKind::Killed, words.to_owned()),
                    (None, Some(_)) => stopped_before(),
                    (None, None) => {
                        let (signal, code) = (None, None);
                        (ExitKind::Crashed { signal, code }, message)
                    }
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
            // It is stopped already, and nobody's: it has nothing to lose.
            State::Running | State::Paused if self.kept != Keep::No => {
                self.kill("it was to stop while it was being kept")
            }
            State::Running | State::Paused if grace.is_zero() => {
                self.kill("it was to stop with no time for it")
            }
            // It could not see the button. If it goes on, it is pressed then.
            State::Running | State::Paused if self.saved != Save::No => {
                let before = self.stopping.map_or(deadline, |it| it.deadline);
                let deadline = deadline.min(before);
                self.stopping = Some(Stopping {
                    deadline,
                    press_again: deadline,
                });
                vec![]
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

    fn is_ending(&self) -> bool {
        self.stopping.is_some() || self.killed.is_some() || self.going.is_some()
    }

    fn keep(&mut self) -> Decision {
        if self.has_guest() && self.is_ending() {
            return refused("Stopping", "the guest is being stopped".to_owned());
        }
        match (self.state, self.kept) {
            (State::Running, Keep::No) if self.saved == Save::No => {
                self.kept = Keep::UnderWay;
                done(vec![Action::Keep])
            }
            (State::Running | State::Paused, Keep::UnderWay | Keep::Done) => {
                refused("Keeping", "the guest is being kept already".to_owned())
            }
            (State::Running, Keep::No) => refused("Saving", "the guest is being saved".to_owned()),
            (State::Idle | State::Starting | State::Paused | State::Ended, _) => refused(
                "NotRunning",
                format!("no guest runs: its state is {:?}", self.state),
            ),
        }
    }

    /// True: QEMU is to end now. False: the guest has ended before, or goes on.
    fn keep_ended(&mut self, done: bool) -> bool {
        let kept = done && self.has_guest() && self.killed.is_none();
        self.kept = if kept { Keep::Done } else { Keep::No };
        kept
    }

    fn save(&mut self) -> Decision {
        if self.has_guest() && self.is_ending() {
            return refused("Stopping", "the guest is being stopped".to_owned());
        }
        match self.state {
            State::Running | State::Paused if self.kept != Keep::No => {
                refused("Keeping", "the guest is being kept".to_owned())
            }
            State::Running | State::Paused if self.saved != Save::No => {
                refused("Saving", "the guest is being saved already".to_owned())
            }
            State::Running | State::Paused => {
                self.saved = Save::UnderWay;
                done(vec![Action::Save])
            }
            State::Idle | State::Starting | State::Ended => refused(
                "NotRunning",
                format!("no guest runs: its state is {:?}", self.state),
            ),
        }
    }

    /// The guest ends now, or goes on; then it is stopped if that was asked for meanwhile.
    fn save_ended(&mut self, now: Duration, ends: bool, stands: bool) -> Vec<Action> {
        if ends && self.has_guest() && self.killed.is_none() {
            self.saved = Save::Done;
            return vec![Action::Quit];
        }
        self.saved = Save::No;
        if self.has_guest() {
            if stands {
                self.state = State::Paused;
            }
            self.started(now)
        } else {
            vec![]
        }
    }

    fn pause(&mut self, pause: bool) -> Decision {
        if self.has_guest() && self.is_ending() {
            return refused("Stopping", "the guest is being stopped".to_owned());
        }
        if self.has_guest() && self.kept != Keep::No {
            return refused("Keeping", "the guest is being kept".to_owned());
        }
        if self.has_guest() && self.saved != Save::No {
            return refused("Saving", "the guest is being saved".to_owned());
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
            // Nobody's wish, and over in a moment.
            Event::Stop | Event::Resume if self.saved == Save::UnderWay => {}
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
        if self.kept == Keep::Done {
            return (ExitKind::Kept, "it was kept as a template".to_owned());
        }
        if self.saved == Save::Done {
            return (
                ExitKind::Saved,
                "it was saved, and can go on from there".to_owned(),
            );
        }
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

fn done_if(quits: bool) -> Decision {
    done(quits.then_some(Action::Quit).into_iter().collect())
}

fn refused(reason: &'static str, message: String) -> Decision {
    Decision {
        answer: Err(Refusal { reason, message }),
        actions: vec![],
    }
}

#[cfg(test)]
mod tests;

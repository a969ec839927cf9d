//! Saves the guest, on an order or when the launcher leaves, and sets the clock of one that goes on.

use std::time::Duration;

use api::launcher::State;
use api::launcher::saved::{Clock, Resumed};
use api::scaling::Wait;
use jiff::Timestamp;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinError;

use super::Owner;
use crate::heard::Save;
use crate::hook;
use crate::life::{Action, Input, Refusal};
use crate::loan::{Loan, Loans};
use crate::warm::save::{self, Manner, Outcome, Saving};

impl Owner {
    /// Saves the guest, without waiting for it here. `input` says why.
    pub(super) fn save(
        &mut self,
        manner: Manner,
        input: Input,
        answer: Option<oneshot::Sender<Result<(), Refusal>>>,
    ) {
        if let Err(refusal) = self.begin_save(manner, input) {
            tracing::warn!("the guest is not saved: {}", refusal.message);
            // The client may have gone; then nobody needs the answer.
            let _ = answer.map(|answer| answer.send(Err(refusal)));
        } else if let Some(save) = &mut self.save {
            save.answer = answer;
        }
    }

    fn begin_save(&mut self, manner: Manner, input: Input) -> Result<(), Refusal> {
        if self.save.is_some() {
            return Err(save::under_way());
        }
        if self.is_restarting() {
            return Err(Refusal {
                reason: "Restarting",
                message: "the guest restarts: ask again once it runs".to_owned(),
            });
        }
        if let Some(running) = &self.guest {
            let saveable = running.guest.saveable.as_ref();
            save::check(saveable.ok_or_else(save::under_way)?, &manner)?;
        }
        let paused = self.life.state == State::Paused;
        self.life.decide(self.born.elapsed(), input).answer?;
        // Decided only while a guest runs.
        let Some(running) = &mut self.guest else {
            return Err(save::under_way());
        };
        let Some(saveable) = running.guest.saveable.take() else {
            return Err(save::under_way());
        };
        // QEMU tells of each step once, and there are few.
        let (tell, migrations) = mpsc::channel(16);
        let ends = !manner.go_on;
        let saving = Saving {
            saveable,
            manner,
            monitor: running.guest.monitor.clone(),
            version: running.guest.version,
            machine_type: running.guest.machine_type.clone(),
            paused,
            hook: *running.hook.borrow(),
            rested: running.rested,
            migrations,
        };
        self.save = Some(Save {
            ends,
            answer: None,
            migrations: tell,
            task: Some(tokio::spawn(saving.save())),
        });
        Ok(())
    }

    /// The guest was saved, or was not.
    pub(super) async fn saved(&mut self, done: Result<save::Done, JoinError>) -> bool {
        let Some(mut save) = self.save.take() else {
            return false;
        };
        let Outcome { result, stands } = match done {
            Ok((saveable, outcome)) => {
                if let Some(running) = &mut self.guest {
                    running.guest.saveable = Some(saveable);
                }
                outcome
            }
            Err(error) => Outcome {
                result: Err(Refusal {
                    reason: "SaveFailed",
                    message: format!("saving the guest failed inside: {error}"),
                }),
                stands: true,
            },
        };
        let gone = self.guest.is_none();
        let result = result.map(|saved| {
            self.status.send_modify(|status| status.saved = Some(saved));
        });
        let ends = save.ends && result.is_ok();
        let decided = self
            .life
            .decide(self.born.elapsed(), Input::Saved { ends, stands });
        let quits = decided.actions.contains(&Action::Quit);
        self.publish_state();
        if quits {
            // Answered when it has ended.
            self.save = Some(save);
            return self.perform(decided.actions, None).await;
        }
        let result = match result {
            // It ended by itself, or was killed, after all of it was written: whoever wanted it saved has what there was.
            Ok(()) if save.ends || gone => Err(Refusal {
                reason: "Killed",
                message: "the guest was ended while it was being saved".to_owned(),
            }),
            other => other,
        };
        if let Err(refusal) = &result {
            tracing::warn!("the guest was not saved: {}", refusal.message);
        }
        let failed = result.is_err();
        let at = self.status.borrow().saved.as_ref().map(|saved| saved.at);
        if let Some(at) = at.filter(|_| !failed) {
            // It stood still meanwhile.
            self.tell_time(at);
        }
        let _ = save.answer.take().map(|answer| answer.send(result));
        if failed && self.leaves {
            // It is not saved, so it is shut down.
            let grace = Duration::from_secs(self.home.identity.grace_period_seconds);
            self.perform(decided.actions, None).await;
            return self.input(Input::Leave { grace }).await;
        }
        self.perform(decided.actions, None).await
    }

    /// The launcher is to leave: its guest is saved first, if that was asked for.
    pub(super) async fn leave(&mut self) -> bool {
        let grace = Duration::from_secs(self.home.identity.grace_period_seconds);
        let request = self.guest.as_ref().and_then(|it| it.request.as_ref());
        let directory = request.and_then(|request| request.save_on_leaving.clone());
        let Some(directory) = directory.filter(|_| !self.leaves) else {
            self.leaves = true;
            return self.input(Input::Leave { grace }).await;
        };
        self.leaves = true;
        if let Err(error) = host::socket::private_directory(&directory) {
            tracing::warn!("the guest is not saved in {}: {error}", directory.display());
            return self.input(Input::Leave { grace }).await;
        }
        let manner = Manner {
            directory,
            go_on: false,
            renewable: false,
        };
        self.save(manner, Input::LeaveSaving, None);
        if self.save.is_none() {
            return self.input(Input::Leave { grace }).await;
        }
        false
    }

    /// Notes how a guest goes on that was saved, and has its clock set.
    pub(super) fn note_resumed(&mut self, resumed: Option<Resumed>) {
        let Some(resumed) = resumed else {
            return;
        };
        let is_late = matches!(resumed.clock, Clock::Late { .. });
        let saved_at = resumed.saved_at;
        self.status
            .send_modify(|status| status.resumed = Some(resumed));
        if is_late {
            self.tell_time(saved_at);
        }
    }

    /// Has the clock of a guest set that stood still since then: by the hook in it, or else by its agent.
    fn tell_time(&mut self, since: Timestamp) {
        let request = self.guest.as_ref().and_then(|it| it.request.as_ref());
        let (Some(running), Some(request)) = (&self.guest, request) else {
            return;
        };
        let within = Wait::Agent.within(request.accelerator, request.slowdown);
        let (tell, told) = oneshot::channel();
        self.clock = Some(told);
        let (opened, loans) = (
            running.agent_open.subscribe(),
            running.guest.agent_loans.clone(),
        );
        // Nobody else would answer.
        let hook = running.guest.listening.clone();
        let hook = hook.filter(|_| *running.hook.borrow());
        tokio::spawn(async move {
            let by = |who: &str| Clock::Set { by: who.to_owned() };
            if let Some(hook) = hook
                && hook.set_clock().await.is_ok()
            {
                let _ = tell.send(by("hook"));
                return;
            }
            let clock = match set_clock(opened, &loans, within).await {
                Ok(()) => by("agent"),
                Err(message) => {
                    let late = Timestamp::now().duration_since(since).as_secs();
                    Clock::Late {
                        // A host whose clock went back is late by nothing.
                        seconds: u64::try_from(late).unwrap_or_default(),
                        message,
                    }
                }
            };
            // The launcher may end before.
            let _ = tell.send(clock);
        });
    }

    /// The clock of a guest that goes on was set, or was not.
    pub(super) fn clock_told(&self, clock: Clock) {
        if let Clock::Late { message, .. } = &clock {
            tracing::warn!("the guest's clock is late: {message}");
        }
        self.status.send_modify(|status| {
            if let Some(resumed) = &mut status.resumed {
                resumed.clock = clock;
            }
        });
    }
}

/// Sets the guest's clock through its agent.
///
/// # Errors
/// A sentence: why it is not set.
async fn set_clock(
    mut opened: watch::Receiver<bool>,
    loans: &Loans<UnixStream>,
    within: Duration,
) -> Result<(), String> {
    const NO_AGENT: &str = "the guest has no agent that listens: install qemu-guest-agent in it, or let it ask a time server";
    // A guest that goes on tells at once that its agent has the port open.
    match tokio::time::timeout(within, opened.wait_for(|open| *open)).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) => return Err("the guest has ended".to_owned()),
        Err(_) => return Err(NO_AGENT.to_owned()),
    }
    let mut loan = Loan::of(loans).await.ok_or(NO_AGENT)?;
    let channel = loan.lent().ok_or(NO_AGENT)?;
    let set = hook::set_clock(channel, within).await;
    set.map_err(|error| error.to_string())
}

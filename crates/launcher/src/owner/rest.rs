//! Has the guest come to rest before it is saved so that others can go on from it.

use tokio::sync::oneshot;

use super::Owner;
use crate::heard::{Rest, Rested, Running};
use crate::life::{Input, Refusal};
use crate::warm::rest::{Age, Pace, Resting};
use crate::warm::save::{self, Manner};
use api::launcher::State;

/// What of a running guest has to do with its rest; none: it has no port for a hook.
pub(super) fn resting(running: &Running, pace: Pace, age: Age) -> Option<Resting> {
    Some(Resting {
        pace,
        age,
        listening: running.guest.listening.clone()?,
        hook: running.hook.subscribe(),
        agent_open: running.agent_open.subscribe(),
        agent: running.guest.agent_loans.clone(),
    })
}

impl Owner {
    /// Saves the guest, without waiting for it here, after it has come to rest if others are to go on from it. It runs on
    /// meanwhile, and nobody is kept from stopping it.
    pub(super) fn rest_and_save(
        &mut self,
        manner: Manner,
        answer: oneshot::Sender<Result<(), Refusal>>,
    ) {
        match self.begin_rest(&manner) {
            Ok(Some(resting)) => self.rest = Some(wait_for(resting, manner, answer)),
            Ok(None) => self.save(manner, Input::Save, Some(answer)),
            Err(refusal) => {
                tracing::warn!("the guest is not saved: {}", refusal.message);
                // The client may have gone; then nobody needs the answer.
                let _ = answer.send(Err(refusal));
            }
        }
    }

    /// None: there is nothing to wait for.
    fn begin_rest(&self, manner: &Manner) -> Result<Option<Resting>, Refusal> {
        if self.rest.is_some() {
            return Err(save::under_way());
        }
        let Some(running) = self.guest.as_ref().filter(|_| manner.renewable) else {
            return Ok(None);
        };
        let saveable = running.guest.saveable.as_ref();
        let saveable = saveable.ok_or_else(save::under_way)?;
        save::check(saveable, manner)?;
        if self.life.state == State::Paused {
            // As it is, it may be what others can go on from.
            let ready = running.rested && *running.hook.borrow();
            return if ready { Ok(None) } else { Err(paused()) };
        }
        Ok(resting(running, saveable.pace(), Age::Grown))
    }

    /// The guest has come to rest, and is saved; or it does not.
    pub(super) fn rested(&mut self, done: Rested) {
        let Some(Rest { manner, answer, .. }) = self.rest.take() else {
            return;
        };
        let done = done.unwrap_or_else(|error| {
            Err(Refusal {
                reason: save::FAILED,
                message: format!("waiting for the guest's rest failed inside: {error}"),
            })
        });
        match (done, &mut self.guest) {
            (Ok(()), Some(running)) => {
                running.rested = *running.hook.borrow();
                self.save(manner, Input::Save, Some(answer));
            }
            (Ok(()), None) => self.save(manner, Input::Save, Some(answer)),
            (Err(refusal), _) => {
                tracing::warn!("the guest is not saved: {}", refusal.message);
                let _ = answer.send(Err(refusal));
            }
        }
    }
}

fn paused() -> Refusal {
    Refusal {
        reason: "Paused",
        message: "the guest is paused, and must run to come to rest, so that others can go on from it: unpause it"
            .to_owned(),
    }
}

fn wait_for(
    mut resting: Resting,
    manner: Manner,
    answer: oneshot::Sender<Result<(), Refusal>>,
) -> Rest {
    let task = tokio::spawn(async move {
        let rested = resting.rest().await;
        rested.map(drop).map_err(|why| why.refusal(save::FAILED))
    });
    Rest {
        manner,
        answer,
        task,
    }
}

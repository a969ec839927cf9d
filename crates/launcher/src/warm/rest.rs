//! A guest comes to rest, so that others can go on from it as somebody else: a hook is found in it, or put there through
//! its agent, and has it do what it still does after its start, and try out each step of a renewal.

use std::fmt::Display;
use std::time::Duration;

use api::accelerator::Accelerator;
use api::launcher::StartRequest;
use api::scaling::Wait;
use qemu::architecture::Architecture;
use renewal::protocol::{FromGuest, FromHost, Hello, VERSION};
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::blueprint::Blueprint;
use crate::hook;
use crate::life::Refusal;
use crate::loan::{Loan, Loans};
use crate::warm::channel::{Channel, Listening};

/// What a guest's owner can do, so that a hook is in it.
const REMEDIES: &str =
    "put `anyvirt-renew` into the image (`anyvirt image renewal-hook`), or the QEMU guest agent";

/// What tells how long to wait for a guest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// What its programs are made for.
    pub(crate) architecture: Architecture,
    /// What it runs on.
    pub(crate) accelerator: Accelerator,
    /// The node's factor.
    pub(crate) slowdown: Option<f64>,
}

impl Pace {
    /// That of a guest which is started so.
    pub(crate) fn of(request: &StartRequest, blueprint: &Blueprint) -> Self {
        Self {
            architecture: blueprint.machine.machine_type.architecture(),
            accelerator: request.accelerator,
            slowdown: request.slowdown,
        }
    }

    pub(crate) fn within(self, wait: Wait) -> Duration {
        wait.within(self.accelerator, self.slowdown)
    }
}

/// How far a guest is that is to come to rest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Age {
    /// It has just come to its login, or its agent has answered: what else its image brings may come in a moment.
    Young,
    /// Somebody uses it, and waits.
    Grown,
}

/// A guest that is to come to rest.
#[derive(Debug)]
pub(crate) struct Resting {
    /// How long to wait for it.
    pub(crate) pace: Pace,
    /// How far it is.
    pub(crate) age: Age,
    /// The port of the hook.
    pub(crate) listening: Listening,
    /// Whether a hook has opened it.
    pub(crate) hook: watch::Receiver<bool>,
    /// Whether an agent has opened its port.
    pub(crate) agent_open: watch::Receiver<bool>,
    /// Lends the agent's channel, through which a hook can be put there.
    pub(crate) agent: Loans<UnixStream>,
}

/// Why others cannot go on from a guest: a sentence.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Restless {
    /// No hook is in it that could renew them.
    NoHook(String),
    /// The hook in it says so, or nothing.
    Busy(String),
}

impl Restless {
    /// As the answer to an order; `failed` is its reason where there is a hook.
    pub(crate) fn refusal(self, failed: &'static str) -> Refusal {
        let (reason, message) = match self {
            Self::NoHook(message) => ("NoHook", message),
            Self::Busy(message) => (failed, message),
        };
        Refusal { reason, message }
    }
}

/// Where the hook in a guest that has come to rest is from: `image` or `agent`.
pub(crate) type Origin = &'static str;

fn busy(message: impl Display) -> Restless {
    Restless::Busy(message.to_string())
}

impl Resting {
    /// Lets it come to rest. It runs on, whatever comes of it.
    ///
    /// # Errors
    /// Why others cannot go on from it.
    pub(crate) async fn rest(&mut self) -> Result<Origin, Restless> {
        let own = self.has_own_hook().await;
        if !own {
            self.place().await.map_err(Restless::NoHook)?;
        }
        let mut loan = self.listening.borrow().await;
        let channel = loan.as_mut().and_then(Loan::lent);
        let channel = channel.ok_or_else(|| busy("the guest has ended"))?;
        self.meet(channel).await.map_err(Restless::NoHook)?;
        self.settle(channel).await?;
        Ok(if own { "image" } else { "agent" })
    }

    fn within(&self, wait: Wait) -> Duration {
        self.pace.within(wait)
    }

    /// Whether the guest's image has brought a hook, which may be started just now: it is given longer where no agent
    /// listens that could bring one.
    async fn has_own_hook(&mut self) -> bool {
        let within = self.within(Wait::Renewal);
        let first = within / 4;
        let (hook, agent) = (&mut self.hook, &mut self.agent_open);
        let longest = match self.age {
            Age::Young => {
                let opens = async { hook.wait_for(|open| *open).await.is_ok() };
                if tokio::time::timeout(first, opens).await == Ok(true) {
                    return true;
                }
                within
            }
            Age::Grown => first,
        };
        tokio::select! {
            biased;
            opens = async { hook.wait_for(|open| *open).await.is_ok() } => opens,
            _ = async { agent.wait_for(|open| *open).await.is_ok() } => false,
            () = tokio::time::sleep(longest) => false,
        }
    }

    /// Puts one in, through the guest agent, and waits until it has opened its port.
    async fn place(&mut self) -> Result<(), String> {
        let nobody = |why: &dyn Display| {
            format!(
                "no program in the guest waits to renew it, and none can be put there: {why}; {REMEDIES}"
            )
        };
        let architecture = self.pace.architecture.go_name();
        let program = renewal::program(architecture).ok_or_else(|| {
            nobody(&format_args!(
                "this anyvirt has none for guests of {architecture}"
            ))
        })?;
        if !*self.agent_open.borrow() {
            return Err(nobody(&"the guest has no agent that listens"));
        }
        let mut loan = Loan::of(&self.agent)
            .await
            .ok_or_else(|| nobody(&"the guest has no agent"))?;
        let channel = loan
            .lent()
            .ok_or_else(|| nobody(&"the guest's agent is gone"))?;
        let each = self.within(Wait::Agent);
        // Each of its answers has a bound; so have all together.
        let all = self.settles_within();
        let placed = tokio::time::timeout(all, hook::place(channel, program, each)).await;
        drop(loan);
        placed
            .map_err(|_| nobody(&format_args!("it took longer than {} s", all.as_secs())))?
            .map_err(|error| nobody(&error))?;
        let within = self.within(Wait::Renewal);
        match tokio::time::timeout(within, self.hook.wait_for(|open| *open)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err("the guest has ended".to_owned()),
            Err(_) => Err(nobody(&format_args!(
                "it was started, and has not opened its port within {} s",
                within.as_secs()
            ))),
        }
    }

    /// Makes sure that what has opened the port is a hook that can be talked to.
    async fn meet(&self, channel: &mut Channel) -> Result<(), String> {
        let within = self.within(Wait::Renewal);
        let met = tokio::time::timeout(within, hello(channel)).await;
        let hello = met.unwrap_or_else(|_| {
            Err(format!(
                "the program in the guest that is to renew it has not answered within {} s",
                within.as_secs()
            ))
        })?;
        if hello.version != VERSION {
            return Err(format!(
                "the guest's hook speaks version {} of its protocol, and this is {VERSION}: put the current one into the image",
                hello.version
            ));
        }
        tracing::info!("the hook in the guest: {}", hello.about);
        Ok(())
    }

    fn settles_within(&self) -> Duration {
        self.within(match self.age {
            Age::Young => Wait::Settling,
            Age::Grown => Wait::Rest,
        })
    }

    async fn settle(&self, channel: &mut Channel) -> Result<(), Restless> {
        let within = self.settles_within();
        let settled = async {
            let said = channel.say(&FromHost::Settle).await;
            said.map_err(|error| busy(format_args!("the hook cannot be told: {error}")))?;
            loop {
                match channel.hear().await {
                    Ok(FromGuest::Settled(_)) => return Ok(()),
                    Ok(FromGuest::Failed(failure)) => {
                        let (step, words) = (failure.step.word(), failure.message);
                        return Err(busy(format_args!(
                            "the guest does not come to rest ({step}): {words}"
                        )));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        let closed = format_args!("the hook's channel is closed: {error}");
                        return Err(busy(closed));
                    }
                }
            }
        };
        let late = |_| {
            Err(busy(format_args!(
                "the guest has not come to rest within {} s",
                within.as_secs()
            )))
        };
        let settled = tokio::time::timeout(within, settled).await;
        settled.unwrap_or_else(late)
    }
}

async fn hello(channel: &mut Channel) -> Result<Hello, String> {
    let said = channel.say(&FromHost::Who).await;
    said.map_err(|error| format!("the hook cannot be asked: {error}"))?;
    loop {
        match channel.hear().await {
            Ok(FromGuest::Hello(hello)) => return Ok(hello),
            Ok(_) => {}
            Err(error) => return Err(format!("the hook's channel is closed: {error}")),
        }
    }
}

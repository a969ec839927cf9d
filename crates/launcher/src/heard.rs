//! What the owner hears: of its guest, of a start under way, of time.

use std::path::PathBuf;
use std::sync::Arc;

use api::launcher::saved::Clock;
use api::launcher::{KvmFailure, Milestone, StartRequest};
use host::process::Ending;
use qemu::qmp::{Event, MigrationState};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until};

use crate::kvm_failure;
use crate::life::{Ended, Refusal};
use crate::networks::NetworkEnded;
use crate::owner::Ordered;
use crate::owner::standby::Got;
use crate::signs::Look;
use crate::start::{Guest, StartError};
use crate::warm::save::Manner;
use crate::warm::standby::Prepared;
use crate::warm::{Note, keep, save};

/// A start under way.
#[derive(Debug)]
pub(crate) struct Starting {
    pub(crate) request: Arc<StartRequest>,
    /// How it goes with its template.
    pub(crate) note: Note,
    pub(crate) abort: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<Result<Guest, StartError>>,
    /// It is no start of the machine, but one of its guest, which has restarted.
    pub(crate) restarts: bool,
}

/// A guest that runs; each flag is whether that can still be heard of.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) guest: Guest,
    pub(crate) events: bool,
    pub(crate) agent: bool,
    pub(crate) networks: bool,
    pub(crate) kvm: bool,
    /// What is seen of the guest while it starts.
    pub(crate) looks: Option<mpsc::Receiver<Look>>,
    /// Whether a hook in the guest has opened its port.
    pub(crate) hook: watch::Sender<bool>,
    /// The guest has come to rest since.
    pub(crate) rested: bool,
    /// Whether an agent in it has.
    pub(crate) agent_open: watch::Sender<bool>,
    /// How it was started.
    pub(crate) request: Option<Arc<StartRequest>>,
}

/// A guest that is being kept.
#[derive(Debug)]
pub(crate) struct Keep {
    /// Where.
    pub(crate) directory: PathBuf,
    /// Who wants to know.
    pub(crate) answer: Option<oneshot::Sender<Result<(), Refusal>>>,
    /// To be told what QEMU says of the state that it writes.
    pub(crate) migrations: mpsc::Sender<MigrationState>,
    /// None once it is done.
    pub(crate) task: Option<JoinHandle<keep::Done>>,
}

/// A guest that comes to rest before it is saved.
#[derive(Debug)]
pub(crate) struct Rest {
    /// How it is to be saved then.
    pub(crate) manner: Manner,
    /// Who wants to know.
    pub(crate) answer: oneshot::Sender<Result<(), Refusal>>,
    pub(crate) task: JoinHandle<Result<(), Refusal>>,
}

/// A guest that is being saved.
#[derive(Debug)]
pub(crate) struct Save {
    /// It is to end when that is done.
    pub(crate) ends: bool,
    /// Who wants to know.
    pub(crate) answer: Option<oneshot::Sender<Result<(), Refusal>>>,
    /// To be told what QEMU says of the state that it writes.
    pub(crate) migrations: mpsc::Sender<MigrationState>,
    /// None once it is done.
    pub(crate) task: Option<JoinHandle<save::Done>>,
}

/// What comes of a rest.
pub(crate) type Rested = Result<Result<(), Refusal>, JoinError>;

/// What the loop hears.
pub(crate) enum Heard {
    Order(Ordered),
    NoOrders,
    Milestone(Milestone),
    Started(Box<Result<Guest, StartError>>),
    /// A guest stands by, or cannot.
    Prepared(Box<Got>),
    /// The guest that stood by has ended, in these words.
    StandbyEnded(String),
    /// It was kept, or not.
    Kept(Box<Result<keep::Done, JoinError>>),
    /// It has come to rest, or not.
    Rested(Box<Rested>),
    /// It was saved, or not.
    Saved(Box<Result<save::Done, JoinError>>),
    /// Its clock was set, or not.
    Clock(Clock),
    Said(Event),
    Ended(Ended),
    Agent(bool),
    NetworkEnded(NetworkEnded),
    KvmFailed(KvmFailure),
    /// A look at a guest that starts; none: it is looked at no more.
    Looked(Option<Look>),
    Tick,
    Look,
    Leave,
}

/// Waits until `due`; for ever without one.
pub(crate) async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Waits for the start to be done; for ever when none is under way.
pub(crate) async fn started(starting: &mut Option<Starting>) -> Result<Guest, StartError> {
    match starting {
        Some(starting) => (&mut starting.task)
            .await
            .unwrap_or_else(|error| Err(StartError::from_panic(&error))),
        None => std::future::pending().await,
    }
}

/// Waits until a guest stands by, or the one that does ends by itself; for ever without one.
pub(crate) async fn stands_by(standby: &mut Prepared) -> Heard {
    match standby {
        Prepared::Nothing => std::future::pending().await,
        Prepared::UnderWay(under_way) => Heard::Prepared(Box::new((&mut under_way.task).await)),
        Prepared::Ready(standby) => Heard::StandbyEnded(standby.ended().await),
    }
}

/// Waits until the guest is kept, or cannot be; for ever when nobody wants it, or it is done.
pub(crate) async fn kept(keep: &mut Option<Keep>) -> Result<keep::Done, JoinError> {
    let task = keep.as_mut().and_then(|keep| keep.task.as_mut());
    let Some(task) = task else {
        return std::future::pending().await;
    };
    let done = task.await;
    if let Some(keep) = keep {
        keep.task = None;
    }
    done
}

/// Waits until the guest has come to rest, or does not; for ever when nobody wants it.
pub(crate) async fn rested(rest: &mut Option<Rest>) -> Rested {
    match rest {
        Some(rest) => (&mut rest.task).await,
        None => std::future::pending().await,
    }
}

/// Waits until the guest is saved, or cannot be; for ever when nobody wants it, or it is done.
pub(crate) async fn saved(save: &mut Option<Save>) -> Result<save::Done, JoinError> {
    let task = save.as_mut().and_then(|save| save.task.as_mut());
    let Some(task) = task else {
        return std::future::pending().await;
    };
    let done = task.await;
    if let Some(save) = save {
        save.task = None;
    }
    done
}

/// Waits until it is known whether the clock of a guest that goes on was set; for ever when nobody sets it.
pub(crate) async fn clock(setting: &mut Option<oneshot::Receiver<Clock>>) -> Clock {
    if let Some(receiver) = setting {
        let told = receiver.await;
        *setting = None;
        if let Ok(clock) = told {
            return clock;
        }
    }
    std::future::pending().await
}

/// Waits for anything that the guest does; for ever without one.
pub(crate) async fn happening(running: &mut Option<Running>) -> Heard {
    let Some(running) = running else {
        return std::future::pending().await;
    };
    loop {
        let guest = &mut running.guest;
        tokio::select! {
            biased;
            event = guest.events.recv(), if running.events => match event {
                Some(event) => return Heard::Said(event),
                None => running.events = false,
            },
            changed = guest.agent.changed(), if running.agent => match changed {
                Ok(()) => return Heard::Agent(*guest.agent.borrow_and_update()),
                Err(_) => running.agent = false,
            },
            ended = guest.networks.recv(), if running.networks => match ended {
                Some(ended) => return Heard::NetworkEnded(ended),
                None => running.networks = false,
            },
            failure = failed(&mut guest.kvm), if running.kvm => match failure {
                Some(failure) => return Heard::KvmFailed(failure),
                None => running.kvm = false,
            },
            look = looked(&mut running.looks) => return Heard::Looked(look),
            ended = guest.qemu.wait() => return Heard::Ended(match ended {
                Ok(Ending::Exited(code)) => Ended::Exited(code),
                Ok(Ending::Signalled(signal)) => Ended::Signalled(signal),
                Err(error) => {
                    tracing::error!("cannot wait for QEMU: {error}");
                    Ended::Exited(-1)
                }
            }),
        }
    }
}

/// Waits for the next look. `None`, once: there will be no more; after that it waits for ever.
async fn looked(looks: &mut Option<mpsc::Receiver<Look>>) -> Option<Look> {
    let Some(receiver) = looks else {
        return std::future::pending().await;
    };
    let look = receiver.recv().await;
    if look.is_none() {
        *looks = None;
    }
    look
}

async fn failed(watch: &mut Option<kvm_failure::Watch>) -> Option<KvmFailure> {
    match watch {
        Some(watch) => watch.failed().await,
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[tokio::test]
    async fn the_end_of_looking_is_told_once() {
        let (tell, looks) = mpsc::channel(1);
        let look = Look {
            at: Timestamp::UNIX_EPOCH,
            sign: true,
        };
        tell.send(look).await.expect("there is room");
        drop(tell);
        let mut looks = Some(looks);
        assert_eq!(looked(&mut looks).await, Some(look));
        assert_eq!(looked(&mut looks).await, None);
        assert!(looks.is_none(), "nobody asks again");
    }
}

//! From a QEMU that was spawned to a guest that runs: greeting, facts, and then it boots, or goes on from its template.

use std::sync::atomic::AtomicBool;

use api::accelerator::Accelerator;
use api::launcher::saved::{Clock, Renewal, Resumed};
use api::launcher::warm::WarmStart;
use api::launcher::{StartRequest, milestones};
use api::scaling::Wait;
use jiff::Timestamp;
use qemu::machine::Incoming;
use qemu::qmp::Command;
use qemu::version::Version;
use tokio::net::UnixStream;

use crate::blueprint::processor::check_missing;
use crate::debug_console;
use crate::markers::Mark;
use crate::monitor::{Connected, Monitor, MonitorError};
use crate::serial::Serial;
use crate::setup::Sockets;
use crate::start::{ENDS_WITHIN, Home, LaunchError, Progress, StartError, failed};
use crate::warm::channel::{Channel, Listening};
use crate::warm::restore::{self, Origin};

/// How a guest has begun.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Its processors wait: `startStrategy: Paused`.
    pub(crate) paused: bool,
    /// Random bytes of a guest that was renewed, in hexadecimal digits.
    pub(crate) random: Option<String>,
    /// Its agent has opened its channel already.
    pub(crate) agent_opened: bool,
    /// The hook in it waits, as far as is known.
    pub(crate) hook: bool,
    /// It has come to rest before, with that hook in it.
    pub(crate) rested: bool,
    /// What listens at that hook's port, if the guest has one.
    pub(crate) listening: Option<Listening>,
    /// How it goes on, if it was saved before.
    pub(crate) resumed: Option<Resumed>,
}

/// Whether the guest's processors are to wait.
pub(crate) fn begins_paused(request: &StartRequest) -> bool {
    request.instance.spec.start_strategy.as_deref() == Some("Paused")
}

/// What it takes to let a guest begin whose QEMU was spawned.
pub(crate) struct Beginning<'a> {
    pub(crate) home: &'a Home,
    pub(crate) request: &'a StartRequest,
    /// Processor features without which it must not run: name and field of the VMI.
    pub(crate) required: &'a [(String, String)],
    pub(crate) progress: &'a Progress,
    /// What stands in the serial log before what the guest says, if that goes on with an earlier one.
    pub(crate) marks: Option<String>,
    /// The file with its template's state, if it has one.
    pub(crate) state: Option<Incoming>,
    /// Where its serial line goes, even if it comes to nothing.
    pub(crate) serial: &'a mut Option<Serial>,
    /// Told when the template's state is there.
    pub(crate) restored: &'a AtomicBool,
}

impl Beginning<'_> {
    /// Waits for QEMU's greeting, and lets the guest boot, or go on from its template.
    pub(crate) async fn begin(self, sockets: Sockets) -> Result<(Greeted, Begun), LaunchError> {
        let Self {
            home,
            request,
            required,
            progress,
            marks,
            state,
            serial,
            restored,
        } = self;
        let mut connected = connect(sockets.monitor, request, progress).await?;
        if let Some(line) = sockets.firmware {
            tokio::spawn(debug_console::run(line, progress.clone()));
        }
        *serial = open_serial(sockets.serial, home, marks.as_deref(), progress)?;
        let channel = sockets.renewal.map(Channel::new);
        let monitor = connected.monitor.clone();
        let facts = facts(&monitor, request, required);
        let origin = match &request.warm {
            Some(WarmStart::Restore(template)) => Some(Origin::Template(template)),
            Some(WarmStart::Resume(saved)) => Some(Origin::Saved(saved)),
            Some(WarmStart::Keepable) | None => None,
        };
        let (facts, begun) = match (origin, state) {
            (Some(origin), Some(state)) => {
                let restoring = restore::Restoring {
                    connected: &mut connected,
                    origin,
                    request,
                    state,
                    progress,
                    restored,
                };
                go_on(restoring, channel, facts).await?
            }
            _ => (
                facts.await?,
                boot(&monitor, request, progress, channel).await?,
            ),
        };
        Ok((Greeted { connected, facts }, begun))
    }
}

/// Lets a guest go on that was kept or saved.
async fn go_on(
    restoring: restore::Restoring<'_>,
    channel: Option<Channel>,
    facts: impl Future<Output = Result<Facts, StartError>>,
) -> Result<(Facts, Begun), LaunchError> {
    let saved = match (restoring.origin, &channel) {
        (Origin::Saved(saved), _) if saved.renewal == Renewal::Clock => saved,
        (origin, Some(_)) => {
            let channel = channel.ok_or_else(no_port)?;
            let (facts, mut begun) = restoring.restore(channel, facts).await?;
            if let Origin::Saved(saved) = origin {
                let by = "hook".to_owned();
                begun.resumed = Some(Resumed {
                    saved_at: saved.record.at,
                    clock: Clock::Set { by },
                });
            }
            return Ok((facts, begun));
        }
        (_, None) => return Err(no_port().into()),
    };
    let used = saved.take_over.then_some(&*saved.directory);
    let how = (saved.record.paused, used);
    let saved_at = saved.record.at;
    let (facts, mut begun, has_clock) = restoring.resume(channel, facts, how).await?;
    let late = Timestamp::now().duration_since(saved_at).as_secs();
    let clock = if has_clock {
        let by = "hook".to_owned();
        Clock::Set { by }
    } else {
        Clock::Late {
            // A host whose clock went back is late by nothing.
            seconds: u64::try_from(late).unwrap_or_default(),
            message: "nobody in the guest was asked yet".to_owned(),
        }
    };
    begun.resumed = Some(Resumed { saved_at, clock });
    Ok((facts, begun))
}

pub(crate) fn no_port() -> StartError {
    StartError(
        "the guest cannot become another one: it has no port for the program that renews it"
            .to_owned(),
    )
}

/// Lets a guest boot.
async fn boot(
    monitor: &Monitor,
    request: &StartRequest,
    progress: &Progress,
    channel: Option<Channel>,
) -> Result<Begun, StartError> {
    let paused = begins_paused(request);
    if !paused {
        // The guest may have said something before QEMU's answer to `cont` is read.
        let before = Timestamp::now();
        monitor.ask(Command::Cont).await.map_err(failed)?;
        let name = milestones::RUNNING;
        progress.mark(Mark { name, text: None }, before);
    }
    let within = Wait::Renewal.within(request.accelerator, request.slowdown);
    Ok(Begun {
        paused,
        random: None,
        agent_opened: false,
        hook: false,
        rested: false,
        // Whatever is in it, it is not kept waiting by a channel that nobody empties.
        listening: channel.map(|channel| channel.listen(within)),
        resumed: None,
    })
}

/// A QEMU that runs.
pub(crate) struct Greeted {
    /// Its monitor.
    pub(crate) connected: Connected,
    /// What it has said of itself.
    pub(crate) facts: Facts,
}

/// What QEMU has said of itself.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The machine type, with its version.
    pub(crate) machine_type: String,
    /// What it cannot give of what was asked for, in a sentence.
    pub(crate) adjustment: Option<String>,
}

/// Waits for QEMU's greeting.
pub(crate) async fn connect(
    monitor: UnixStream,
    request: &StartRequest,
    progress: &Progress,
) -> Result<Connected, StartError> {
    let accelerator = request.accelerator;
    let greets_within = Wait::Greeting.within(accelerator, request.slowdown);
    let answers_within = Wait::Answer.within(accelerator, request.slowdown);
    let connected = tokio::time::timeout(greets_within, Monitor::connect(monitor, answers_within));
    let connected = match connected.await {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => {
            // Usually because QEMU has ended, which the caller hears first and says better.
            tokio::time::sleep(ENDS_WITHIN).await;
            return Err(failed(error));
        }
        Err(_) => {
            return Err(StartError(format!(
                "QEMU's monitor did not answer within {} s",
                greets_within.as_secs()
            )));
        }
    };
    progress.reached(milestones::QMP);
    if !connected.version.served() {
        return Err(StartError(format!(
            "QEMU is version {}, and the oldest that works is {}: upgrade it",
            connected.version,
            Version::OLDEST
        )));
    }
    Ok(connected)
}

/// Checks that QEMU is what was asked for.
pub(crate) async fn facts(
    monitor: &Monitor,
    request: &StartRequest,
    required: &[(String, String)],
) -> Result<Facts, StartError> {
    // All at once: each answer takes QEMU some microseconds, and a busy machine milliseconds to hand over.
    let (kvm, machine_type, missing) = tokio::join!(
        monitor.kvm_enabled(),
        monitor.machine_type(),
        monitor.missing_features()
    );
    let fact = if kvm.map_err(failed)? {
        Accelerator::Kvm
    } else {
        Accelerator::Tcg
    };
    let accelerator = request.accelerator;
    if fact != accelerator {
        return Err(StartError(format!(
            "QEMU runs on {fact}, though {accelerator} was asked for"
        )));
    }
    let missing = match missing {
        Ok(missing) => missing,
        // Only x86 has that property.
        Err(MonitorError::Refused { .. }) if required.is_empty() => Vec::new(),
        Err(error) => return Err(failed(error)),
    };
    let emulated = fact == Accelerator::Tcg;
    Ok(Facts {
        machine_type: machine_type.map_err(failed)?,
        adjustment: check_missing(&missing, required, emulated).map_err(failed)?,
    })
}

/// Reads the serial line, if there is one.
pub(crate) fn open_serial(
    line: Option<UnixStream>,
    home: &Home,
    marks: Option<&str>,
    progress: &Progress,
) -> Result<Option<Serial>, StartError> {
    let Some(line) = line else { return Ok(None) };
    Serial::start(line, &home.directory, marks, progress.clone())
        .map(Some)
        .map_err(failed)
}

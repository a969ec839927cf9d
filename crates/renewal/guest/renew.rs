//! Becoming somebody else. Nothing here starts a program: under emulation each costs more than all the rest together.

use super::{Failed, cards, failed, files, host_keys, sys};
use crate::protocol::{HostKey, Name, Order, Proof, RANDOM_BYTES, Secret, Step, Time};
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

const ROOT: &str = "/";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const PRODUCT_UUID: &str = "/sys/class/dmi/id/product_uuid";

/// Is it meant?
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Mode {
    /// The machine becomes what the order says.
    InEarnest,
    /// The machine stays what it is: shows, before it is kept, that each step will work. Host keys stay.
    Rehearsal,
}

/// What was found out when the machine came to rest. A machine that goes on from there need not look for it again, which
/// takes an emulated one longer than all the rest.
#[derive(Debug)]
pub(super) struct Known {
    /// Its cards.
    pub(super) cards: Vec<cards::Found>,
    /// When it was last looked for an SSH server, and that server: by a clock that stands still while the machine does.
    pub(super) server: (Instant, host_keys::Server),
}

/// A server that was started later than this before the machine was kept may have been overlooked.
const LATELY: Duration = Duration::from_secs(2);

impl Known {
    /// What is known of the SSH server.
    fn server(&self, now: Instant) -> host_keys::Server {
        let (looked, server) = self.server;
        if now.duration_since(looked) < LATELY {
            server
        } else {
            host_keys::Server::Unknown
        }
    }
}

/// What remains to be done after the answer.
pub(super) struct Remains {
    /// The machine's name before.
    pub(super) old_name: String,
    /// The machine's name now.
    pub(super) new_name: Name,
    /// Kinds of host keys that were removed.
    pub(super) missing_keys: Vec<String>,
    /// The machine has data for cloud-init.
    pub(super) has_instance_id: bool,
    /// How long each step took, for people.
    pub(super) took: String,
}

/// Does what `order` says, in an order in which what was the template's is of no use as early as possible.
pub(super) fn renew(
    order: &Order,
    mode: Mode,
    known: Option<&Known>,
) -> Result<(Proof, Remains), Failed> {
    let root = Path::new(ROOT);
    let said = |step| move |message| Failed { step, message };
    let mut clock = Stopwatch::start();
    let cards_known = known.map_or(&[][..], |known| &known.cards);

    let urandom = File::options()
        .write(true)
        .open("/dev/urandom")
        .map_err(failed(Step::Entropy, "/dev/urandom"))?;
    sys::reseed(&urandom, &order.seed.0).map_err(failed(Step::Entropy, "reseeding"))?;
    clock.done(Step::Entropy.word());
    sys::set_clock(order.time).map_err(failed(Step::Clock, "setting the time"))?;
    clock.done(Step::Clock.word());

    let keys = match mode {
        Mode::InEarnest => {
            let replaced =
                host_keys::replace(root, order.host_key.as_ref()).map_err(said(Step::HostKeys))?;
            if replaced.had_any {
                // Before the answer, also where all processes must be looked at: with it the network comes back.
                let server = known.map_or(host_keys::Server::Unknown, |it| it.server(clock.began));
                host_keys::reload_server(root, server);
            }
            replaced
        }
        Mode::Rehearsal => {
            host_keys::check(root).map_err(said(Step::HostKeys))?;
            host_keys::Replaced::default()
        }
    };

    clock.done(Step::HostKeys.word());
    let old_name = sys::hostname().map_err(failed(Step::Hostname, "reading the name"))?;
    sys::set_hostname(order.hostname.as_str())
        .map_err(failed(Step::Hostname, "setting the name"))?;
    files::set_hostname_file(root, &order.hostname)
        .map_err(failed(Step::Hostname, "/etc/hostname"))?;
    clock.done(Step::Hostname.word());
    let has_machine_id = files::set_machine_id(root, order.machine_id)
        .map_err(failed(Step::MachineId, "/etc/machine-id"))?;
    clock.done(Step::MachineId.word());
    files::show(
        root,
        Path::new(BOOT_ID),
        &format!("{}\n", order.boot_id),
        0o444,
    )
    .map_err(failed(Step::BootId, BOOT_ID))?;
    clock.done(Step::BootId.word());
    let shows_uuid = Path::new(PRODUCT_UUID).exists();
    if shows_uuid {
        files::show(
            root,
            Path::new(PRODUCT_UUID),
            &format!("{}\n", order.product_uuid),
            0o400,
        )
        .map_err(failed(Step::ProductUuid, PRODUCT_UUID))?;
    }
    clock.done(Step::ProductUuid.word());
    cards::set(&order.cards, cards_known).map_err(said(Step::Cards))?;
    clock.done(Step::Cards.word());

    let proof = prove(
        order,
        cards_known,
        has_machine_id,
        shows_uuid,
        mode == Mode::InEarnest && keys.had_any,
    )?;
    clock.done("proof");
    let remains = Remains {
        took: clock.told(),
        old_name,
        new_name: order.hostname.clone(),
        missing_keys: keys.missing,
        has_instance_id: order.instance_id.is_some(),
    };
    Ok((proof, remains))
}

/// How long the steps take.
struct Stopwatch {
    began: Instant,
    latest: Duration,
    steps: Vec<(&'static str, Duration)>,
}

impl Stopwatch {
    fn start() -> Self {
        Self {
            began: Instant::now(),
            latest: Duration::ZERO,
            steps: Vec::new(),
        }
    }

    /// This step ends now.
    fn done(&mut self, step: &'static str) {
        let now = self.began.elapsed();
        self.steps.push((step, now - self.latest));
        self.latest = now;
    }

    fn told(&self) -> String {
        let mut told = format!("renewed within {} ms:", self.latest.as_millis());
        for (step, took) in &self.steps {
            // Without numbers of floating point, whose printing is a large program.
            let (whole, tenth) = (took.as_millis(), took.subsec_micros() % 1000 / 100);
            told += &format!(" {step} {whole}.{tenth}");
        }
        told
    }
}

/// Reads everything back.
fn prove(
    order: &Order,
    cards_known: &[cards::Found],
    has_machine_id: bool,
    shows_uuid: bool,
    has_keys: bool,
) -> Result<Proof, Failed> {
    let root = Path::new(ROOT);
    let unlike = |step, what: &str| Failed {
        step,
        message: format!("{what} holds something else than was written there"),
    };
    let id = |step, path: &str| {
        let text = std::fs::read_to_string(path).map_err(failed(step, path))?;
        crate::protocol::Id::parse(text.trim()).ok_or_else(|| unlike(step, path))
    };
    let machine_id = match has_machine_id {
        true => Some(
            files::machine_id(root).ok_or_else(|| unlike(Step::MachineId, "/etc/machine-id"))?,
        ),
        false => None,
    };
    let name = sys::hostname().map_err(failed(Step::Hostname, "reading the name"))?;
    let host_key = match (has_keys, &order.host_key) {
        (true, Some(_)) => {
            Some(host_keys::public(root).ok_or_else(|| unlike(Step::HostKeys, "/etc/ssh"))?)
        }
        _ => None,
    };
    let mut random = [0; RANDOM_BYTES];
    sys::random(&mut random).map_err(failed(Step::Entropy, "drawing random bytes"))?;
    Ok(Proof {
        nonce: order.nonce,
        random,
        time: now().ok_or_else(|| unlike(Step::Clock, "the clock"))?,
        hostname: Name::new(&name).ok_or_else(|| unlike(Step::Hostname, "the name"))?,
        machine_id,
        boot_id: id(Step::BootId, BOOT_ID)?,
        product_uuid: shows_uuid
            .then(|| id(Step::ProductUuid, PRODUCT_UUID))
            .transpose()?,
        macs: cards::read_back(&order.cards, cards_known).map_err(|message| Failed {
            step: Step::Cards,
            message,
        })?,
        host_key,
    })
}

/// An order under which the machine, which has these cards, stays what it is.
pub(super) fn as_it_is(found: &[cards::Found]) -> Result<Order, Failed> {
    use crate::protocol::{Card, Id};
    let root = Path::new(ROOT);
    let fresh = || -> Result<[u8; 64], Failed> {
        let mut bytes = [0; 64];
        sys::random(&mut bytes).map_err(failed(Step::Entropy, "drawing random bytes"))?;
        Ok(bytes)
    };
    let read = |path: &str| Id::parse(std::fs::read_to_string(path).ok()?.trim());
    let seed = fresh()?;
    let mut spare = Id([0; 16]);
    spare.0.copy_from_slice(&fresh()?[..16]);
    let name = sys::hostname().map_err(failed(Step::Hostname, "reading the name"))?;
    Ok(Order {
        nonce: spare,
        seed: Secret(seed),
        time: now().unwrap_or(Time {
            seconds: 0,
            nanoseconds: 0,
        }),
        // A machine may have no name yet, or one that no name could be.
        hostname: Name::new(&name)
            .or_else(|| Name::new("localhost"))
            .ok_or(Failed {
                step: Step::Hostname,
                message: "the machine has no name".to_owned(),
            })?,
        machine_id: files::machine_id(root).unwrap_or(spare),
        boot_id: read(BOOT_ID).ok_or(Failed {
            step: Step::BootId,
            message: format!("{BOOT_ID} cannot be read"),
        })?,
        product_uuid: read(PRODUCT_UUID).unwrap_or(spare),
        cards: found
            .iter()
            .map(|card| Card {
                old: card.mac,
                new: card.mac,
            })
            .collect(),
        host_key: None::<HostKey>,
        instance_id: None,
    })
}

/// Sets the clock, of a guest that has slept, and reads it again.
pub(super) fn set_clock(time: Time) -> Result<Time, Failed> {
    sys::set_clock(time).map_err(failed(Step::Clock, "setting the time"))?;
    now().ok_or_else(|| Failed {
        step: Step::Clock,
        message: "the clock shows a time before 1970".to_owned(),
    })
}

fn now() -> Option<Time> {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()?;
    Some(Time {
        seconds: since.as_secs(),
        nanoseconds: since.subsec_nanos(),
    })
}

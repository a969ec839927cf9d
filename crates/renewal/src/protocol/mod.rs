//! What host and guest say to each other over the port [`PORT`].
//!
//! Lines of text, so that a recording can be read; bounded on both sides, since a guest may send anything and a hook
//! of another version may be in a template. The guest says [`FromGuest::Hello`] when it opens the port and whenever it
//! is asked; the host says [`FromHost::Settle`] before it keeps the guest and [`FromHost::Renew`] after it has restored
//! it; the guest answers each. Empty lines mean nothing: a message of the host begins with one, which ends whatever
//! half line was in the port when the guest was kept.
//!
//! The program in the guest is made of this very source (`crates/renewal/guest/main.rs` includes it), so nothing here
//! may use another crate.

mod decode;
mod encode;
mod fault;
mod values;

#[cfg(test)]
mod tests;

pub use decode::{GuestDecoder, HostDecoder};
pub use fault::{Fault, Problem};
pub use values::{Card, HostKey, Id, InstanceId, Mac, Name, Secret, Time};

use std::time::Duration;

/// The name of the virtio-serial port, as it stands in `/sys/class/virtio-ports/*/name`.
pub const PORT: &str = "io.anyvirt.renew.0";
/// What this source speaks. A hook of another version is not talked to.
pub const VERSION: u32 = 1;
/// Bytes of a line without its end: a host key of 700 bytes in hexadecimal digits, twice over, fits.
pub const LONGEST_LINE: usize = 2048;
/// Network cards of one guest: QEMU's q35 has 32 slots.
pub const MOST_CARDS: usize = 32;
/// Characters of a text that is only there to be read by people.
pub const LONGEST_TEXT: usize = 400;
/// Bytes of randomness that the host gives: more than the 32 that the kernel's generator keeps.
pub const SEED_BYTES: usize = 64;
/// Bytes of randomness that the guest shows.
pub const RANDOM_BYTES: usize = 32;

/// What the host says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FromHost {
    /// Who is there? Answered by [`FromGuest::Hello`].
    Who,
    /// You will be kept: end what is going on, write everything to the disks. Answered by [`FromGuest::Settled`].
    Settle,
    /// Become somebody else. Answered by [`FromGuest::Renewed`] or [`FromGuest::Failed`].
    Renew(Box<Order>),
    /// It is so late now: you have slept, and are who you were. Answered by [`FromGuest::ClockSet`] or
    /// [`FromGuest::Failed`].
    Clock(Time),
}

/// Who the guest is to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Order {
    /// Ties the proof to this order.
    pub nonce: Id,
    /// Fresh random bytes for the guest's kernel.
    pub seed: Secret<SEED_BYTES>,
    /// The time of day when this was said.
    pub time: Time,
    /// The guest's name.
    pub hostname: Name,
    /// For `/etc/machine-id`.
    pub machine_id: Id,
    /// For `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Id,
    /// For `/sys/class/dmi/id/product_uuid`: the template's is in the guest's memory.
    pub product_uuid: Id,
    /// Each network card. At most [`MOST_CARDS`].
    pub cards: Vec<Card>,
    /// For an SSH server, where the guest has one.
    pub host_key: Option<HostKey>,
    /// cloud-init's word for this machine: it does its work again when the word is new to it.
    pub instance_id: Option<InstanceId>,
}

/// What the guest says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FromGuest {
    /// I am here.
    Hello(Hello),
    /// Nothing is going on, everything is on the disks. With what people may want to know of it.
    Settled(String),
    /// I am somebody else, and here is the proof.
    Renewed(Box<Proof>),
    /// This is what my clock shows.
    ClockSet(Time),
    /// What I was told did not work.
    Failed(Failure),
    /// For people: what happens after a renewal.
    Note(String),
}

/// Who answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hello {
    /// What it speaks; see [`VERSION`].
    pub version: u32,
    /// The guest's kernel, as `uname -r` has it, and what else people may want to know.
    pub about: String,
}

/// What did not work, in the guest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// Of what.
    pub step: Step,
    /// A sentence for people; never holds what is secret.
    pub message: String,
}

/// What the hook does.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// Understanding the host.
    Orders,
    /// Coming to rest before the guest is kept.
    Settle,
    /// New random numbers.
    Entropy,
    /// The time of day.
    Clock,
    /// The guest's name.
    Hostname,
    /// `/etc/machine-id`.
    MachineId,
    /// The kernel's boot id.
    BootId,
    /// The firmware's UUID.
    ProductUuid,
    /// The network cards' addresses.
    Cards,
    /// The SSH server's keys.
    HostKeys,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Orders,
        Self::Settle,
        Self::Entropy,
        Self::Clock,
        Self::Hostname,
        Self::MachineId,
        Self::BootId,
        Self::ProductUuid,
        Self::Cards,
        Self::HostKeys,
    ];

    /// Its word in the protocol.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Settle => "settle",
            Self::Entropy => "entropy",
            Self::Clock => "clock",
            Self::Hostname => "hostname",
            Self::MachineId => "machine-id",
            Self::BootId => "boot-id",
            Self::ProductUuid => "product-uuid",
            Self::Cards => "mac",
            Self::HostKeys => "ssh-host-key",
        }
    }
}

/// What the guest read back after it had renewed itself. What it does not have at all is absent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    /// The order's.
    pub nonce: Id,
    /// What the guest's kernel gave as random bytes, after the renewal.
    pub random: [u8; RANDOM_BYTES],
    /// The guest's time of day.
    pub time: Time,
    /// Its name.
    pub hostname: Name,
    /// `/etc/machine-id`; none: the guest has no `/etc`.
    pub machine_id: Option<Id>,
    /// The boot id.
    pub boot_id: Id,
    /// The firmware's UUID; none: the guest shows none.
    pub product_uuid: Option<Id>,
    /// The addresses of its cards, in the order's order.
    pub macs: Vec<Mac>,
    /// The SSH server's public key; none: the guest has no host keys to renew.
    pub host_key: Option<String>,
}

impl Proof {
    /// Does it prove that the guest did what `order` says? Its clock may lie between the order's time and `late` after
    /// that, which covers the way there and back.
    ///
    /// # Errors
    /// What differs, as a sentence for people; no secrets.
    pub fn check(&self, order: &Order, late: Duration) -> Result<(), String> {
        let differs = |what: &str, is: &dyn std::fmt::Display, should: &dyn std::fmt::Display| {
            Err(format!(
                "the guest's {what} is {is}, and should be {should}"
            ))
        };
        if self.nonce != order.nonce {
            return differs("answer", &self.nonce.plain(), &order.nonce.plain());
        }
        if self.random.iter().all(|byte| *byte == self.random[0]) {
            return Err("the guest's random bytes are all the same".to_owned());
        }
        if self.hostname != order.hostname {
            return differs("hostname", &self.hostname, &order.hostname);
        }
        if self.machine_id.is_some_and(|id| id != order.machine_id) {
            return differs(
                "machine-id",
                &self.machine_id.map_or_else(String::new, |id| id.plain()),
                &order.machine_id.plain(),
            );
        }
        if self.boot_id != order.boot_id {
            return differs("boot id", &self.boot_id, &order.boot_id);
        }
        if let Some(uuid) = self.product_uuid.filter(|uuid| *uuid != order.product_uuid) {
            return differs("product UUID", &uuid, &order.product_uuid);
        }
        if self.macs.len() != order.cards.len() {
            return differs("number of cards", &self.macs.len(), &order.cards.len());
        }
        for (mac, card) in self.macs.iter().zip(&order.cards) {
            if *mac != card.new {
                return differs("network card's address", mac, &card.new);
            }
        }
        if let Some((key, told)) = self.host_key.as_ref().zip(order.host_key.as_ref())
            && key.trim_end() != told.public().trim_end()
        {
            return differs("SSH host key", &key.trim_end(), &told.public().trim_end());
        }
        match self.time.since(order.time) {
            Some(passed) if passed <= late => Ok(()),
            Some(passed) => Err(format!(
                "the guest's clock is {} ms ahead, and may be {}",
                passed.as_millis(),
                late.as_millis()
            )),
            None => differs(
                "clock",
                &self.time,
                &format_args!("{} or later", order.time),
            ),
        }
    }
}

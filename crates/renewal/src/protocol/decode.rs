//! Bytes become messages. Whatever comes, memory stays bounded by a line and a message.

use super::values::unhex;
use super::{
    Card, Failure, Fault, FromGuest, FromHost, Hello, HostKey, Id, InstanceId, LONGEST_LINE,
    LONGEST_TEXT, MOST_CARDS, Mac, Name, Order, Problem, Proof, RANDOM_BYTES, SEED_BYTES, Secret,
    Step, Time,
};

/// Cuts bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    too_long: bool,
    number: u64,
}

impl Lines {
    /// Hands each line that ends in `bytes` to `take`, with its number; what cannot be a line as a problem.
    fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(u64, Result<&str, Problem>)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (content, ends) = match piece {
                [content @ .., b'\n'] => (content, true),
                content => (content, false),
            };
            if self.bytes.len() + content.len() > LONGEST_LINE {
                self.too_long = true;
                self.bytes.clear();
            }
            if !self.too_long {
                self.bytes.extend_from_slice(content);
            }
            if !ends {
                continue;
            }
            self.number += 1;
            let line = std::mem::take(&mut self.bytes);
            let printable = |byte: &u8| *byte == b' ' || byte.is_ascii_graphic();
            take(
                self.number,
                match std::str::from_utf8(&line) {
                    _ if std::mem::take(&mut self.too_long) => Err(Problem::TooLong),
                    Ok(text) if line.iter().all(printable) => Ok(text),
                    _ => Err(Problem::NotText),
                },
            );
        }
    }
}

/// A message of several lines, of which some have come.
trait Draft {
    /// The message.
    type Whole;

    /// Takes in a line.
    fn line(&mut self, word: &str, value: &str) -> Result<(), Problem>;

    /// One of its lines was wrong: the others are passed over.
    fn make_void(&mut self);

    /// Whether one of its lines was wrong.
    fn is_void(&self) -> bool;

    /// All of it, unless something is missing.
    fn finish(self) -> Result<Self::Whole, Problem>;
}

/// The messages that end in `bytes`, each line read by `read`, and what could not be understood.
fn heard<D: Draft, M>(
    lines: &mut Lines,
    draft: &mut Option<D>,
    bytes: &[u8],
    read: fn(&mut Option<D>, &str) -> Result<Option<M>, Problem>,
) -> Vec<Result<M, Fault>> {
    let mut messages = Vec::new();
    lines.feed(bytes, |line, text| {
        let heard = text.and_then(|text| read(draft, text));
        if let Some(message) = heard.transpose() {
            messages.push(message.map_err(|problem| {
                draft.iter_mut().for_each(Draft::make_void);
                Fault { line, problem }
            }));
        }
    });
    messages
}

/// Takes in a line that begins no message; the message whose end it is, if it is one.
fn go_on<D: Draft>(
    draft: &mut Option<D>,
    word: &str,
    value: &str,
) -> Result<Option<D::Whole>, Problem> {
    match (word, draft.as_mut()) {
        ("", _) => Ok(None),
        ("end", Some(_)) => match draft.take() {
            Some(draft) if !draft.is_void() => draft.finish().map(Some),
            _ => Ok(None),
        },
        (_, Some(draft)) if draft.is_void() => Ok(None),
        (_, Some(draft)) => draft.line(word, value).map(|()| None),
        (_, None) => Err(unknown(word)),
    }
}

/// The guest's ear.
#[derive(Debug, Default)]
pub struct HostDecoder {
    lines: Lines,
    order: Option<OrderDraft>,
}

impl HostDecoder {
    /// The messages that end in `bytes`, and what could not be understood. A line that is wrong inside an order makes
    /// the order void: its other lines are passed over.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Result<FromHost, Fault>> {
        heard(&mut self.lines, &mut self.order, bytes, from_host)
    }
}

fn from_host(order: &mut Option<OrderDraft>, text: &str) -> Result<Option<FromHost>, Problem> {
    let (word, value) = text.split_once(' ').unwrap_or((text, ""));
    if matches!(word, "who" | "settle" | "renew" | "clock") {
        // An order that was begun and not ended: its host is gone, and this is another one.
        *order = None;
    }
    match word {
        "who" => Ok(Some(FromHost::Who)),
        "settle" => Ok(Some(FromHost::Settle)),
        "clock" => time("clock", value).map(|time| Some(FromHost::Clock(time))),
        "renew" => {
            let nonce = Id::parse(value).ok_or(Problem::Malformed("renew", "32 digits"))?;
            *order = Some(OrderDraft {
                nonce: Some(nonce),
                ..OrderDraft::default()
            });
            Ok(None)
        }
        _ => {
            let whole = go_on(order, word, value)?;
            Ok(whole.map(|order| FromHost::Renew(Box::new(order))))
        }
    }
}

/// An order of which some lines have come.
#[derive(Debug, Default)]
struct OrderDraft {
    void: bool,
    nonce: Option<Id>,
    seed: Option<Secret<SEED_BYTES>>,
    time: Option<Time>,
    hostname: Option<Name>,
    machine_id: Option<Id>,
    boot_id: Option<Id>,
    product_uuid: Option<Id>,
    cards: Vec<Card>,
    host_key: Option<HostKey>,
    instance_id: Option<InstanceId>,
}

impl Draft for OrderDraft {
    type Whole = Order;

    fn make_void(&mut self) {
        self.void = true;
    }

    fn is_void(&self) -> bool {
        self.void
    }

    fn line(&mut self, word: &str, value: &str) -> Result<(), Problem> {
        match word {
            "seed" => {
                let seed = unhex(value)
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Secret);
                once(&mut self.seed, "seed", "128 digits", seed)
            }
            "time" => once(&mut self.time, "time", SECONDS, Time::parse(value)),
            "hostname" => once(&mut self.hostname, "hostname", HOST_NAME, Name::new(value)),
            "machine-id" => once(&mut self.machine_id, "machine-id", UUID, Id::parse(value)),
            "boot-id" => once(&mut self.boot_id, "boot-id", UUID, Id::parse(value)),
            "product-uuid" => once(
                &mut self.product_uuid,
                "product-uuid",
                UUID,
                Id::parse(value),
            ),
            "mac" if self.cards.len() == MOST_CARDS => Err(Problem::TooMany("mac")),
            "mac" => {
                let card = value.split_once(' ').and_then(|(old, new)| {
                    Some(Card {
                        old: Mac::parse(old)?,
                        new: Mac::parse(new)?,
                    })
                });
                self.cards
                    .push(card.ok_or(Problem::Malformed("mac", "two addresses"))?);
                Ok(())
            }
            "ssh-host-key" => {
                let text = |digits| String::from_utf8(unhex(digits)?).ok();
                let key = value
                    .split_once(' ')
                    .and_then(|(private, public)| HostKey::new(&text(private)?, &text(public)?));
                once(
                    &mut self.host_key,
                    "ssh-host-key",
                    "the digits of two files",
                    key,
                )
            }
            "instance-id" => {
                let id = InstanceId::new(value);
                once(
                    &mut self.instance_id,
                    "instance-id",
                    "visible characters",
                    id,
                )
            }
            _ => Err(unknown(word)),
        }
    }

    fn finish(self) -> Result<Order, Problem> {
        Ok(Order {
            nonce: self.nonce.ok_or(Problem::Missing("renew"))?,
            seed: self.seed.ok_or(Problem::Missing("seed"))?,
            time: self.time.ok_or(Problem::Missing("time"))?,
            hostname: self.hostname.ok_or(Problem::Missing("hostname"))?,
            machine_id: self.machine_id.ok_or(Problem::Missing("machine-id"))?,
            boot_id: self.boot_id.ok_or(Problem::Missing("boot-id"))?,
            product_uuid: self.product_uuid.ok_or(Problem::Missing("product-uuid"))?,
            cards: self.cards,
            host_key: self.host_key,
            instance_id: self.instance_id,
        })
    }
}

/// The host's ear.
#[derive(Debug, Default)]
pub struct GuestDecoder {
    lines: Lines,
    proof: Option<ProofDraft>,
}

impl GuestDecoder {
    /// The messages that end in `bytes`, and what could not be understood. A line that is wrong inside a proof makes
    /// the proof void: its other lines are passed over.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Result<FromGuest, Fault>> {
        heard(&mut self.lines, &mut self.proof, bytes, from_guest)
    }
}

fn from_guest(proof: &mut Option<ProofDraft>, text: &str) -> Result<Option<FromGuest>, Problem> {
    let (word, value) = text.split_once(' ').unwrap_or((text, ""));
    const FIRST: [&str; 6] = ["hello", "settled", "renewed", "clock-set", "failed", "note"];
    if FIRST.contains(&word) {
        // A proof that was begun and not ended: the program that began it is gone, and this is another one.
        *proof = None;
    }
    match word {
        "hello" => {
            let (version, about) = value.split_once(' ').unwrap_or((value, ""));
            let version = version
                .parse()
                .map_err(|_| Problem::Malformed("hello", "a version"))?;
            let about = readable("hello", about)?;
            Ok(Some(FromGuest::Hello(Hello { version, about })))
        }
        "settled" => Ok(Some(FromGuest::Settled(readable("settled", value)?))),
        "note" => Ok(Some(FromGuest::Note(readable("note", value)?))),
        "clock-set" => time("clock-set", value).map(|time| Some(FromGuest::ClockSet(time))),
        "failed" => {
            let (step, message) = value.split_once(' ').unwrap_or((value, ""));
            let step = Step::ALL
                .into_iter()
                .find(|known| known.word() == step)
                .ok_or(Problem::Malformed("failed", "a step"))?;
            let message = readable("failed", message)?;
            Ok(Some(FromGuest::Failed(Failure { step, message })))
        }
        "renewed" => {
            let nonce = Id::parse(value).ok_or(Problem::Malformed("renewed", "32 digits"))?;
            *proof = Some(ProofDraft {
                nonce: Some(nonce),
                ..ProofDraft::default()
            });
            Ok(None)
        }
        _ => {
            let whole = go_on(proof, word, value)?;
            Ok(whole.map(|proof| FromGuest::Renewed(Box::new(proof))))
        }
    }
}

/// A proof of which some lines have come.
#[derive(Debug, Default)]
struct ProofDraft {
    void: bool,
    nonce: Option<Id>,
    random: Option<[u8; RANDOM_BYTES]>,
    time: Option<Time>,
    hostname: Option<Name>,
    machine_id: Option<Id>,
    boot_id: Option<Id>,
    product_uuid: Option<Id>,
    macs: Vec<Mac>,
    host_key: Option<String>,
}

impl Draft for ProofDraft {
    type Whole = Proof;

    fn make_void(&mut self) {
        self.void = true;
    }

    fn is_void(&self) -> bool {
        self.void
    }

    fn line(&mut self, word: &str, value: &str) -> Result<(), Problem> {
        match word {
            "random" => {
                let random = unhex(value).and_then(|bytes| bytes.try_into().ok());
                once(&mut self.random, "random", "64 digits", random)
            }
            "time" => once(&mut self.time, "time", SECONDS, Time::parse(value)),
            "hostname" => once(&mut self.hostname, "hostname", HOST_NAME, Name::new(value)),
            "machine-id" => once(&mut self.machine_id, "machine-id", UUID, Id::parse(value)),
            "boot-id" => once(&mut self.boot_id, "boot-id", UUID, Id::parse(value)),
            "product-uuid" => once(
                &mut self.product_uuid,
                "product-uuid",
                UUID,
                Id::parse(value),
            ),
            "mac" if self.macs.len() == MOST_CARDS => Err(Problem::TooMany("mac")),
            "mac" => {
                let mac = Mac::parse(value).ok_or(Problem::Malformed("mac", "an address"))?;
                self.macs.push(mac);
                Ok(())
            }
            "ssh-host-key" => {
                let key = unhex(value)
                    .filter(|bytes| bytes.len() <= HostKey::LONGEST_PUBLIC)
                    .and_then(|bytes| String::from_utf8(bytes).ok());
                once(
                    &mut self.host_key,
                    "ssh-host-key",
                    "the digits of a public key",
                    key,
                )
            }
            _ => Err(unknown(word)),
        }
    }

    fn finish(self) -> Result<Proof, Problem> {
        Ok(Proof {
            nonce: self.nonce.ok_or(Problem::Missing("renewed"))?,
            random: self.random.ok_or(Problem::Missing("random"))?,
            time: self.time.ok_or(Problem::Missing("time"))?,
            hostname: self.hostname.ok_or(Problem::Missing("hostname"))?,
            machine_id: self.machine_id,
            boot_id: self.boot_id.ok_or(Problem::Missing("boot-id"))?,
            product_uuid: self.product_uuid,
            macs: self.macs,
            host_key: self.host_key,
        })
    }
}

const SECONDS: &str = "seconds since 1970, a point and nine digits";
const HOST_NAME: &str = "1 to 64 letters, digits, dashes and points";
const UUID: &str = "a UUID";

fn once<T>(
    place: &mut Option<T>,
    word: &'static str,
    form: &'static str,
    value: Option<T>,
) -> Result<(), Problem> {
    if place.is_some() {
        return Err(Problem::Twice(word));
    }
    *place = Some(value.ok_or(Problem::Malformed(word, form))?);
    Ok(())
}

fn time(word: &'static str, value: &str) -> Result<Time, Problem> {
    Time::parse(value).ok_or(Problem::Malformed(word, SECONDS))
}

/// A text for people.
fn readable(word: &'static str, text: &str) -> Result<String, Problem> {
    if text.len() > LONGEST_TEXT {
        return Err(Problem::Malformed(word, "a shorter text"));
    }
    Ok(text.to_owned())
}

/// Nothing that could be a piece of a secret is told: words of the protocol have no digits and no capital letters.
fn unknown(word: &str) -> Problem {
    // Enough to recognise a word by.
    const SHOWN: usize = 16;
    let of_words = |byte: u8| byte == b'-' || byte.is_ascii_lowercase();
    let shown = if word.bytes().all(of_words) {
        word
    } else {
        "?"
    };
    Problem::Unknown(shown.chars().take(SHOWN).collect())
}

//! Messages become lines.

use super::values::hex;
use super::{Fault, FromGuest, FromHost, HostDecoder, LONGEST_TEXT, Order, Problem, Proof};
use std::fmt::Write as _;

impl FromHost {
    /// The lines of this message, with an empty one before them.
    ///
    /// # Errors
    /// A line that the guest would not understand: too many cards.
    pub fn encode(&self) -> Result<String, Fault> {
        let text = match self {
            Self::Who => "\nwho\n".to_owned(),
            Self::Settle => "\nsettle\n".to_owned(),
            Self::Renew(order) => encode_order(order),
            Self::Clock(time) => format!("\nclock {time}\n"),
        };
        // What is sent is what will be understood, by the very code that will have to.
        let mut heard = HostDecoder::default().feed(text.as_bytes()).into_iter();
        match (heard.next(), heard.next()) {
            (Some(Err(fault)), _) | (_, Some(Err(fault))) => Err(fault),
            (Some(Ok(message)), None) if message == *self => Ok(text),
            _ => Err(Fault {
                line: 0,
                problem: Problem::Missing("end"),
            }),
        }
    }
}

fn encode_order(order: &Order) -> String {
    let mut text = format!("\nrenew {}\n", order.nonce.plain());
    let mut line = |word: &str, value: &dyn std::fmt::Display| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{word} {value}");
    };
    line("seed", &hex(&order.seed.0));
    line("time", &order.time);
    line("hostname", &order.hostname);
    line("machine-id", &order.machine_id.plain());
    line("boot-id", &order.boot_id);
    line("product-uuid", &order.product_uuid);
    for card in &order.cards {
        line("mac", &format_args!("{} {}", card.old, card.new));
    }
    if let Some(key) = &order.host_key {
        let (private, public) = (hex(key.private().as_bytes()), hex(key.public().as_bytes()));
        line("ssh-host-key", &format_args!("{private} {public}"));
    }
    if let Some(id) = &order.instance_id {
        line("instance-id", &id.as_str());
    }
    text.push_str("end\n");
    text
}

impl FromGuest {
    /// The lines of this message. What people are to read is cut to [`LONGEST_TEXT`] characters of printable ASCII.
    pub fn encode(&self) -> String {
        match self {
            Self::Hello(hello) => format!("\nhello {} {}\n", hello.version, text(&hello.about)),
            Self::Settled(about) => format!("settled {}\n", text(about)),
            Self::Renewed(proof) => encode_proof(proof),
            Self::ClockSet(time) => format!("clock-set {time}\n"),
            Self::Failed(failure) => {
                format!(
                    "failed {} {}\n",
                    failure.step.word(),
                    text(&failure.message)
                )
            }
            Self::Note(about) => format!("note {}\n", text(about)),
        }
    }
}

fn encode_proof(proof: &Proof) -> String {
    let mut text = format!("renewed {}\n", proof.nonce.plain());
    let mut line = |word: &str, value: &dyn std::fmt::Display| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{word} {value}");
    };
    line("random", &hex(&proof.random));
    line("time", &proof.time);
    line("hostname", &proof.hostname);
    if let Some(id) = proof.machine_id {
        line("machine-id", &id.plain());
    }
    line("boot-id", &proof.boot_id);
    if let Some(uuid) = proof.product_uuid {
        line("product-uuid", &uuid);
    }
    for mac in &proof.macs {
        line("mac", mac);
    }
    if let Some(key) = &proof.host_key {
        line("ssh-host-key", &hex(key.as_bytes()));
    }
    text.push_str("end\n");
    text
}

/// One line of printable ASCII, of a length that the other side takes.
fn text(raw: &str) -> String {
    let printable = |c: char| {
        if c == ' ' || c.is_ascii_graphic() {
            c
        } else {
            '?'
        }
    };
    let line: String = raw
        .trim()
        .chars()
        .map(printable)
        .take(LONGEST_TEXT)
        .collect();
    line.trim().to_owned()
}

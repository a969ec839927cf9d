//! What is wrong with what the other side said.

use std::fmt;

/// A line that could not be understood. Never holds a value, which could be a secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// Which one since the port was opened; the first is 1. 0: in a message that was not sent yet, the message itself.
    pub line: u64,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Problem {
    /// Longer than [`LONGEST_LINE`](super::LONGEST_LINE).
    TooLong,
    /// Holds bytes that are no printable ASCII.
    NotText,
    /// Begins with a word that means nothing here; its first characters.
    Unknown(String),
    /// The word before the value, and what the value should be.
    Malformed(&'static str, &'static str),
    /// The same word stands twice in one message.
    Twice(&'static str),
    /// The message ended without this.
    Missing(&'static str),
    /// More of this than there may be.
    TooMany(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "line {}: ", self.line)?;
        match &self.problem {
            Problem::TooLong => write!(to, "longer than {} bytes", super::LONGEST_LINE),
            Problem::NotText => to.write_str("holds bytes that are no printable text"),
            Problem::Unknown(word) => write!(to, "`{word}` means nothing here"),
            Problem::Malformed(word, form) => write!(to, "`{word}` wants {form}"),
            Problem::Twice(word) => write!(to, "a second `{word}`"),
            Problem::Missing(word) => write!(to, "the message ends without `{word}`"),
            Problem::TooMany(word) => write!(to, "too many of `{word}`"),
        }
    }
}

impl std::error::Error for Fault {}

//! Causes: what is wrong, where, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most causes that one answer carries, as upstream bounds it: more help nobody.
const MOST_CAUSES: usize = 10;

/// One thing that is wrong.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Cause {
    /// Kind of error.
    pub reason: Reason,
    /// A sentence.
    pub message: String,
    /// Path of the field, e.g. `spec.domain.devices.disks[0].name`.
    pub field: String,
}

/// Kinds of errors, as the API names them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Reason {
    /// The value is not allowed.
    FieldValueInvalid,
    /// The value is missing.
    FieldValueRequired,
    /// The value, or the field, is not served.
    FieldValueNotSupported,
    /// The value is there twice.
    FieldValueDuplicate,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// The refusal of a request: at most ten causes, and a message that tells them all.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Denial {
    /// The causes' messages, and how many more there are.
    pub message: String,
    /// The first causes.
    pub causes: Vec<Cause>,
}

impl Denial {
    /// The refusal for `causes`; `None` if there are none.
    pub fn of(mut causes: Vec<Cause>) -> Option<Self> {
        if causes.is_empty() {
            return None;
        }
        let more = causes.len().saturating_sub(MOST_CAUSES);
        causes.truncate(MOST_CAUSES);
        let messages: Vec<&str> = causes.iter().map(|cause| cause.message.as_str()).collect();
        let mut message = messages.join(", ");
        if more > 0 {
            message.push_str(&format!(", and {more} more validation errors"));
        }
        Some(Self { message, causes })
    }
}

/// Where in an object.
#[derive(Clone, Debug)]
pub(super) struct Path(String);

impl Path {
    pub(super) fn of(path: &str) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn field(&self, name: &str) -> Self {
        Self(format!("{}.{name}", self.0))
    }

    pub(super) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Causes as they are found.
#[derive(Debug, Default)]
pub(super) struct Causes(Vec<Cause>);

impl Causes {
    fn push(&mut self, reason: Reason, path: &Path, message: impl Into<String>) {
        self.0.push(Cause {
            reason,
            message: message.into(),
            field: path.to_string(),
        });
    }

    pub(super) fn invalid(&mut self, path: &Path, message: impl Into<String>) {
        self.push(Reason::FieldValueInvalid, path, message);
    }

    pub(super) fn required(&mut self, path: &Path, message: impl Into<String>) {
        self.push(Reason::FieldValueRequired, path, message);
    }

    pub(super) fn not_supported(&mut self, path: &Path, message: impl Into<String>) {
        self.push(Reason::FieldValueNotSupported, path, message);
    }

    pub(super) fn duplicate(&mut self, path: &Path, message: impl Into<String>) {
        self.push(Reason::FieldValueDuplicate, path, message);
    }

    /// Refuses `what`, which KubeVirt knows and this version does not serve, and says what to do.
    pub(super) fn unserved(&mut self, path: &Path, what: &str, instead: &str) {
        let message = format!("{what} is not served by this version of anyvirt; {instead}");
        self.not_supported(path, message);
    }
}

impl From<Causes> for Vec<Cause> {
    fn from(causes: Causes) -> Self {
        causes.0
    }
}

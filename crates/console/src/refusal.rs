//! Why a request of a browser is turned away.

/// A refusal. The caller says it in its API's form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// HTTP status code.
    pub code: u16,
    /// One CamelCase word for programs.
    pub reason: &'static str,
    /// The header or part of the request that is at fault; may be empty.
    pub field: &'static str,
    /// A sentence for people: what, and the way out.
    pub message: String,
    /// Seconds to wait before another try.
    pub retry_after: Option<u32>,
}

impl Refusal {
    pub(crate) fn new(
        code: u16,
        reason: &'static str,
        field: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            reason,
            field,
            message: message.into(),
            retry_after: None,
        }
    }
}

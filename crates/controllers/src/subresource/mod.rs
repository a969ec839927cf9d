//! The verbs on virtual machines that `subresources.kubevirt.io` serves: start, stop and restart done
//! by changes to the VM; pause and unpause only decided here, because the node performs them.

pub mod decide;
mod perform;
#[cfg(test)]
mod tests;

pub(crate) use perform::strategy_patch;
pub use perform::{instance, is_dry, restart, start, stop};

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Why a verb is refused: what becomes a `Status` object on the wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// HTTP status code.
    pub code: u16,
    /// Kubernetes' word, e.g. `Conflict`.
    pub reason: &'static str,
    /// The whole sentence.
    pub message: String,
}

impl Refusal {
    /// The request itself is wrong.
    pub fn bad_request(message: &str) -> Self {
        Self {
            code: 400,
            reason: "BadRequest",
            message: message.to_owned(),
        }
    }

    /// There is no object of that name; `kind` in lower case.
    pub fn not_found(kind: &str, name: &str) -> Self {
        let message = format!("{kind}.kubevirt.io \"{name}\" not found");
        Self {
            code: 404,
            reason: "NotFound",
            message,
        }
    }

    /// The object's state is in the way; `kind` in lower case.
    pub fn conflict(kind: &str, name: &str, cause: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {kind}.kubevirt.io \"{name}\": {cause}");
        Self {
            code: 409,
            reason: "Conflict",
            message,
        }
    }

    /// Something else went wrong.
    pub fn internal(cause: &str) -> Self {
        let message = format!("Internal error occurred: {cause}");
        Self {
            code: 500,
            reason: "InternalError",
            message,
        }
    }
}

/// Body of `start`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StartOptions {
    /// The guest's processors stay stopped.
    pub paused: bool,
    /// `All`: change nothing.
    pub dry_run: Vec<String>,
}

/// Body of `stop`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StopOptions {
    /// Seconds the guest gets, instead of those of its spec.
    pub grace_period: Option<i64>,
    /// `All`: change nothing.
    pub dry_run: Vec<String>,
}

/// Body of `restart`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestartOptions {
    /// 0 restarts by force; other values are refused.
    pub grace_period_seconds: Option<i64>,
    /// `All`: change nothing.
    pub dry_run: Vec<String>,
}

/// Body of `pause` and `unpause`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PauseOptions {
    /// `All`: change nothing.
    pub dry_run: Vec<String>,
}

/// The options in a request's body; an empty body is all defaults.
///
/// # Errors
/// `BadRequest` for a body that is not the options' JSON.
pub fn options<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Refusal> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    // `null` is what a client sends that has no options.
    let options: Option<T> = serde_json::from_slice(body).map_err(|error| {
        Refusal::bad_request(&format!(
            "Can not unmarshal Request body to struct, error: {error}"
        ))
    })?;
    Ok(options.unwrap_or_default())
}

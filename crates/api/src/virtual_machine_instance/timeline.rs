//! How a start goes: what was reached when, how far that is, and what may be expected.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names of the steps of a start, in the order in which they come.
///
/// A step that gave no sign of itself is in the list without a time, never with a wrong one.
pub mod steps {
    /// Somebody asked for it: the VMI was made.
    pub const REQUESTED: &str = "requested";
    /// Its pod has a node.
    pub const SCHEDULED: &str = "scheduled";
    /// Its images are on the node.
    pub const IMAGE: &str = "image";
    /// Its turn has come; only where starts wait for one another.
    pub const QUEUED: &str = "queued";
    /// A template was of no use, and the guest boots; only where that is so.
    pub const BOOTS_INSTEAD: &str = "boots-instead";
    /// QEMU runs and has answered.
    pub const QEMU: &str = "qemu";
    /// A guest was adopted that stood by, restored from a template before; only where one did.
    pub const ADOPTED: &str = "adopted";
    /// The memory and devices of a template are there; only in a start from one.
    pub const RESTORED: &str = "restored";
    /// The restored guest is somebody of its own, and ready; only in a start from a template.
    pub const RENEWED: &str = "renewed";
    /// The firmware has said something.
    pub const FIRMWARE: &str = "firmware";
    /// The kernel has said something.
    pub const KERNEL: &str = "kernel";
    /// The kernel gave up since the host was too busy to give it the ticks of its timer, and the guest was reset; only where
    /// that is so, the first time.
    pub const BOOTS_AGAIN: &str = "boots-again";
    /// The kernel has started programs, and these have said something.
    pub const USER_SPACE: &str = "user-space";
    /// Somebody can log in at the serial console.
    pub const LOGIN: &str = "login";
    /// The guest agent answers.
    pub const AGENT: &str = "agent";

    /// All of them.
    pub const ALL: [&str; 15] = [
        REQUESTED,
        SCHEDULED,
        IMAGE,
        QUEUED,
        BOOTS_INSTEAD,
        QEMU,
        ADOPTED,
        RESTORED,
        RENEWED,
        FIRMWARE,
        KERNEL,
        BOOTS_AGAIN,
        USER_SPACE,
        LOGIN,
        AGENT,
    ];

    /// Those that few starts have: they are shown once they are reached.
    pub const RARE: [&str; 6] = [
        QUEUED,
        BOOTS_INSTEAD,
        ADOPTED,
        RESTORED,
        RENEWED,
        BOOTS_AGAIN,
    ];
}

/// The start of a guest, step by step.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartTimeline {
    /// When it was asked for. Kubernetes keeps that to the second, rounded down.
    pub started_at: MicroTime,
    /// The steps, in the order in which they come.
    pub steps: Vec<StartStep>,
    /// How far the start is: the place of the latest step among those of earlier starts of the
    /// same image. Never falls, stays at 95 or less before the login, and is 100 from then on.
    pub progress_percent: i32,
    /// When the login may be expected, from earlier starts of the same image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<StartEstimate>,
    /// The guest said that its start has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<StartTrouble>,
    /// The guest has shown no sign of life for longer than usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<StartStuck>,
}

/// One step of a start.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartStep {
    /// Its name: `requested`, `scheduled`, `image`, `queued`, `boots-instead`, `qemu`, `adopted`, `restored`, `renewed`, `firmware`,
    /// `kernel`, `boots-again`, `user-space`, `login` or `agent`.
    pub name: String,
    /// When it was reached. Absent: not yet, or, if a later step was, it gave no signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<MicroTime>,
    /// Seconds from the request to this step in earlier starts of the same image: their median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usual_seconds: Option<f64>,
}

/// When the login may be expected.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartEstimate {
    /// Seconds from the request to the login: at least.
    pub low_seconds: i64,
    /// Seconds from the request to the login: at most. Nine of ten starts are between the two.
    pub high_seconds: i64,
    /// Where the numbers come from, in words.
    pub basis: String,
    /// How many earlier starts they come from.
    pub starts: i32,
}

/// The guest said that its start has failed.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct StartTrouble {
    /// One CamelCase word: `KernelPanic`, `EmergencyMode`, `NoBootDisk`.
    pub reason: String,
    /// What the guest wrote.
    pub message: String,
    /// When.
    pub at: MicroTime,
}

/// The guest has shown no sign of life for longer than usual.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartStuck {
    /// Its last sign of life.
    pub since: MicroTime,
    /// The longest silence at this step in earlier starts of the same image, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usual_seconds: Option<i64>,
    /// A sentence for people.
    pub message: String,
}

impl StartTimeline {
    /// When the step was reached, if it was.
    pub fn reached(&self, step: &str) -> Option<jiff::Timestamp> {
        let step = self.steps.iter().find(|it| it.name == step)?;
        step.at.as_ref().map(|at| at.0)
    }

    /// The latest step that was reached.
    pub fn latest(&self) -> Option<&StartStep> {
        self.steps.iter().rev().find(|step| step.at.is_some())
    }

    /// Whether the guest is there: somebody can log in, its agent answers, or it goes on from a template.
    pub fn is_done(&self) -> bool {
        let ends = [steps::LOGIN, steps::AGENT, steps::RENEWED];
        ends.iter().any(|step| self.reached(step).is_some())
    }
}

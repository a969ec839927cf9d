//! How a machine starts: from a template, or by a boot, and what is told of that.

use std::sync::Arc;

use api::condition::{self, Condition};
use api::launcher::warm::{WarmOutcome, WarmStage, WarmStart};
use api::launcher::{StartRequest, State, Status};
use api::names::conditions;
use api::virtual_machine_instance::{VirtualMachineInstance, VirtualMachineInstanceStatus};
use api::warm_start::{self, Effective, Mode};
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::decide::LauncherSeen;
use super::perform::NotStarted;
use super::{Machine, Record, Step};
use crate::event::Fact;
use crate::saved::Reservation;
use crate::templates::builder::{age, obstacle};
use crate::templates::key::Shape;
use crate::templates::{Asked, Chosen, Hot, Id, Refusal, Wanted};

/// Why a machine that has to start from a template does not start at all.
pub(super) const REQUIRED: &str = "WarmStartRefused";
/// The reason of a machine that goes on from a template.
const RESTORED: &str = "Restored";
/// The reason of one for which a template is made.
const BEING_MADE: &str = "TemplateIsMade";

/// What is told of a machine that was to start from a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// It goes on from a template.
    pub(crate) warm: bool,
    /// One word for programs.
    pub(crate) reason: String,
    /// A sentence for people.
    pub(crate) message: String,
}

impl Told {
    fn cold(reason: &str, message: String) -> Self {
        Self {
            warm: false,
            reason: reason.to_owned(),
            message,
        }
    }

    /// What is told once the launcher has tried.
    fn of_outcome(outcome: &WarmOutcome, started_at: Timestamp) -> Self {
        let key = outcome.key.get(..16).unwrap_or(&outcome.key);
        let made_at = outcome.made_at;
        match &outcome.failure {
            None => {
                let adopted = outcome.standby_since.map_or(String::new(), |since| {
                    let age = age(since, started_at);
                    format!("; it has adopted a guest of it that had stood by for {age}")
                });
                Self {
                    warm: true,
                    reason: RESTORED.to_owned(),
                    message: format!(
                        "it goes on from the template {key}, made at {made_at:.0}, {} before it started{adopted}",
                        age(made_at, started_at)
                    ),
                }
            }
            Some(failure) => {
                let reason = match failure.stage {
                    WarmStage::Files => "TemplateUnusable",
                    WarmStage::Restore => "RestoreFailed",
                    WarmStage::Renewal => "RenewalFailed",
                    WarmStage::Host => "HostFailed",
                };
                let message = &failure.message;
                Self::cold(
                    reason,
                    format!(
                        "it booted, since it could not go on from the template {key}: {message}"
                    ),
                )
            }
        }
    }
}

/// The warm start of one machine.
#[derive(Debug, Default)]
pub(super) struct Warm {
    /// What is told until the launcher has something to tell.
    pub(super) told: Option<Told>,
    /// It waits until a template is made.
    pub(super) waits: bool,
    /// Keeps the template's memory until the launcher has opened it.
    lease: Option<Arc<Hot>>,
    /// Room for the copies of disks that its launcher makes.
    room: Option<Reservation>,
    /// It was asked to start from a template by this run of the node, which counts it.
    counts: bool,
    /// What its launcher told of that was taken in.
    settled: bool,
}

impl Warm {
    /// That of a machine that goes on from a snapshot, with copies of its own.
    pub(super) fn copies(room: Reservation) -> Self {
        Self {
            room: Some(room),
            ..Self::default()
        }
    }

    /// A machine that waited already goes on telling why what there was before is of no use.
    fn keep_why(&mut self, before: Self) {
        let (Some(now), Some(told)) = (&self.told, before.told) else {
            return;
        };
        if self.waits && before.waits && told.message.starts_with(&now.message) {
            self.told = Some(told);
        }
    }

    /// What follows while it waits, if `before` was told before it was asked to start: what is told now is written first.
    pub(super) fn wait_after(&self, before: Option<&Told>) -> Step {
        if self.told.as_ref() == before {
            Step::Wait(None)
        } else {
            Step::Again
        }
    }
}

impl Machine {
    /// Prepares a start from a template, if that is asked for and possible: then `request` says so. The error is why it
    /// may not start otherwise.
    pub(super) async fn warm_up(
        &mut self,
        instance: &VirtualMachineInstance,
        request: &mut StartRequest,
    ) -> Result<(), NotStarted> {
        let before = std::mem::take(&mut self.warm);
        let asked = warm_start::of_annotations(instance.annotations());
        if asked.mode == Mode::Never || request.stepped_down.is_some() {
            return Ok(());
        }
        if let Some(obstacle) = obstacle(request) {
            return self.without(&asked, obstacle.reason, obstacle.message, true);
        }
        let architecture = instance.spec.architecture.clone().unwrap_or_default();
        let templates = &self.context.templates;
        let learned = request.qemu_version.clone();
        let Some(surroundings) = templates.surroundings(&architecture, learned) else {
            let message = "which QEMU is installed is not known yet".to_owned();
            return self.without(&asked, "QemuUnknown", message, false);
        };
        request.qemu_version = Some(surroundings.qemu_version.clone());
        let now = self.context.clock.now();
        let shape = Shape::of(request, surroundings);
        let wake = (asked.mode == Mode::Require).then_some(&self.changed);
        match templates.choose(&shape, now, wake).await {
            Chosen::Start(hot) => {
                let id = (shape.namespace.clone(), shape.key());
                templates.pool.ask(&id, request, &self.pulled, now);
                let required = asked.mode == Mode::Require;
                request.warm = Some(WarmStart::Restore(Box::new(hot.template(required))));
                self.warm.lease = Some(hot);
                self.warm.counts = true;
                Ok(())
            }
            Chosen::Refused(Refusal {
                reason,
                message,
                retry_at,
            }) => self.without(&asked, &reason, message, retry_at.is_none()),
            Chosen::Building => {
                let id = (shape.namespace.clone(), shape.key());
                self.wait_or_boot(&asked, &id, None);
                self.warm.keep_why(before);
                Ok(())
            }
            Chosen::Missing(why) => {
                let id = (shape.namespace.clone(), shape.key());
                let wanted = Wanted::new(id.clone(), shape, request, &self.pulled);
                match templates.want(wanted, now, wake) {
                    Asked::Building => self.wait_or_boot(&asked, &id, why),
                    // Then what there is now is looked at from the beginning.
                    Asked::Decided => {
                        self.warm.waits = true;
                        self.changed.notify_one();
                    }
                    Asked::TooMany => {
                        let message = "too many other templates wait to be made".to_owned();
                        return self.without(&asked, "TooManyAsked", message, false);
                    }
                }
                Ok(())
            }
        }
    }

    /// The shape of the guest that this machine is to start from a template, if it is, as far as is known before it is
    /// asked to start.
    pub(super) fn warm_shape(
        &self,
        instance: &VirtualMachineInstance,
        request: &mut StartRequest,
    ) -> Option<Shape> {
        let asked = warm_start::of_annotations(instance.annotations());
        if asked.mode == Mode::Never || obstacle(request).is_some() {
            return None;
        }
        let architecture = instance.spec.architecture.clone().unwrap_or_default();
        let templates = &self.context.templates;
        let learned = request.qemu_version.clone();
        let surroundings = templates.surroundings(&architecture, learned)?;
        request.qemu_version = Some(surroundings.qemu_version.clone());
        Some(Shape::of(request, surroundings))
    }

    /// There is no template, and none is made for this start.
    fn without(
        &mut self,
        asked: &Effective,
        reason: &str,
        message: String,
        lasting: bool,
    ) -> Result<(), NotStarted> {
        if asked.mode == Mode::Require {
            return Err(NotStarted {
                message: format!(
                    "it may only start from a template ({} says Require), and none can be had: {message}",
                    asked.decided_by
                ),
                refused: lasting.then_some(REQUIRED),
            });
        }
        self.warm.told = Some(Told::cold(reason, format!("it boots: {message}")));
        Ok(())
    }

    fn wait_or_boot(&mut self, asked: &Effective, id: &Id, why: Option<String>) {
        let why = why.map_or(String::new(), |why| format!("; {why}"));
        let message = if asked.mode == Mode::Require {
            self.warm.waits = true;
            format!("it waits until the template {} is made{why}", id.1)
        } else {
            format!(
                "it boots, and the template {} is made for the next start{why}",
                id.1
            )
        };
        self.warm.told = Some(Told::cold(BEING_MADE, message));
    }

    /// Takes in how the restore went: a template that was of no use is dropped.
    pub(super) async fn settle_warm_start(
        &mut self,
        launcher: &LauncherSeen,
        record: Option<&Record>,
    ) {
        let LauncherSeen::Answers(status) = launcher else {
            return;
        };
        if matches!(status.state, State::Running | State::Paused | State::Ended) {
            self.warm.lease = None;
            self.warm.room = None;
        }
        let Some(outcome) = status.warm.as_ref().filter(|_| !self.warm.settled) else {
            return;
        };
        self.warm.settled = true;
        let key = crate::templates::key::Key::parse(&outcome.key);
        let (Some(key), Some(record)) = (key, record) else {
            return;
        };
        let id = (record.identity.namespace.clone(), key);
        let templates = &self.context.templates;
        match &outcome.failure {
            None if self.warm.counts => templates.used(&id, self.context.clock.now()),
            None => {}
            // It says nothing of the template.
            Some(failure) if failure.stage == WarmStage::Host => {}
            Some(failure) => {
                let message = format!("a machine could not go on from it: {}", failure.message);
                templates.failed(&id, outcome.made_at, &message).await;
            }
        }
    }
}

/// Tells in the VMI's condition how it starts or has started. What was told stays where this run of the node does not
/// know more.
pub(super) fn tell(
    status: &mut VirtualMachineInstanceStatus,
    launcher: &Status,
    told: Option<&Told>,
    now: Timestamp,
    facts: &mut Vec<Fact>,
) {
    let started_at = launcher.started_at.unwrap_or(now);
    let outcome = launcher.warm.as_ref();
    let outcome = outcome.map(|outcome| Told::of_outcome(outcome, started_at));
    let Some(told) = outcome.as_ref().or(told) else {
        return;
    };
    let known = condition::find(&status.conditions, conditions::WARM_START);
    let is_news = known.is_none_or(|known| {
        known.reason.as_deref() != Some(told.reason.as_str())
            || known.message.as_deref() != Some(told.message.as_str())
    });
    if !is_news {
        return;
    }
    facts.push(match (told.warm, launcher.warm.is_some()) {
        (true, _) => Fact::normal("WarmStarted", told.message.clone()),
        (false, true) => Fact::warning("WarmStartFailed", told.message.clone()),
        (false, false) => Fact::normal("NotWarmStarted", told.message.clone()),
    });
    let wanted = Condition::new(conditions::WARM_START, told.warm, now)
        .because(&told.reason, told.message.clone());
    condition::set(&mut status.conditions, wanted);
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::launcher::warm::WarmFailure;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn launcher(failure: Option<WarmStage>) -> Status {
        Status {
            state: State::Running,
            started_at: Some(at(7300)),
            warm: Some(WarmOutcome {
                key: "0123456789abcdef0123".to_owned(),
                made_at: at(100),
                failure: failure.map(|stage| WarmFailure {
                    stage,
                    message: "QEMU said no".to_owned(),
                }),
                standby_since: None,
                random: None,
            }),
            ..Status::default()
        }
    }

    #[test]
    fn a_machine_tells_once_whether_it_started_from_a_template_and_why_not() {
        let cold = Told::cold("NoHook", "it boots: nothing could renew it".to_owned());
        for (launcher, told, status, reason, event) in [
            (launcher(None), None, "True", "Restored", "WarmStarted"),
            (
                launcher(Some(WarmStage::Files)),
                None,
                "False",
                "TemplateUnusable",
                "WarmStartFailed",
            ),
            (
                launcher(Some(WarmStage::Restore)),
                Some(&cold),
                "False",
                "RestoreFailed",
                "WarmStartFailed",
            ),
            (
                launcher(Some(WarmStage::Renewal)),
                None,
                "False",
                "RenewalFailed",
                "WarmStartFailed",
            ),
            (
                launcher(Some(WarmStage::Host)),
                None,
                "False",
                "HostFailed",
                "WarmStartFailed",
            ),
            (
                Status::default(),
                Some(&cold),
                "False",
                "NoHook",
                "NotWarmStarted",
            ),
        ] {
            let mut instance = VirtualMachineInstanceStatus::default();
            let mut facts = Vec::new();
            for second in [8000, 9000] {
                tell(&mut instance, &launcher, told, at(second), &mut facts);
            }
            let found = &instance.conditions;
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].status, status);
            assert_eq!(found[0].reason.as_deref(), Some(reason));
            let told: Vec<_> = facts.iter().map(|fact| fact.reason).collect();
            assert_eq!(told, [event]);
        }
        let mut instance = VirtualMachineInstanceStatus::default();
        let facts = &mut Vec::new();
        tell(&mut instance, &Status::default(), None, at(1), facts);
        assert!(instance.conditions.is_empty() && facts.is_empty());
        tell(&mut instance, &launcher(None), None, at(1), facts);
        let message = facts[0].message.as_str();
        assert!(message.contains("0123456789abcdef, made at"), "{message}");
        assert!(message.ends_with("2 h before it started"), "{message}");
    }

    #[test]
    fn what_a_machine_waits_for_is_told_before_it_waits_and_told_once() {
        let waits = |why: &str| Warm {
            told: Some(Told::cold(BEING_MADE, format!("it waits{why}"))),
            waits: true,
            ..Warm::default()
        };
        let first = waits("; the one before was damaged");
        assert!(matches!(first.wait_after(None), Step::Again));
        // It is asked to start again once that is written, and the template is being made.
        let before = first.told.clone();
        let mut second = waits("");
        second.keep_why(first);
        assert_eq!(second.told, before);
        assert!(matches!(
            second.wait_after(before.as_ref()),
            Step::Wait(None)
        ));
        assert!(matches!(Warm::default().wait_after(None), Step::Wait(None)));
    }
}

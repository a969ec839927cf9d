//! Warm starts: a guest comes to rest ([`rest`]) and is kept ([`keep`]), and others go on from there as somebody else
//! ([`restore`]); or it is saved ([`save`]), and goes on itself ([`resume`]). A [`standby`] was restored before anybody
//! wanted it.

pub(crate) mod channel;
pub(crate) mod keep;
pub(crate) mod orders;
pub(crate) mod outgoing;
pub(crate) mod rest;
pub(crate) mod restore;
pub(crate) mod resume;
pub(crate) mod save;
pub(crate) mod standby;
pub(crate) mod template;

use std::sync::{Arc, Mutex, PoisonError};

use api::launcher::StartRequest;
use api::launcher::warm::{Template, WarmFailure, WarmOutcome, WarmStart};
use jiff::Timestamp;

/// The template of a start that is to restore one.
pub(crate) fn template(request: &StartRequest) -> Option<&Template> {
    match &request.warm {
        Some(WarmStart::Restore(template)) => Some(template),
        Some(WarmStart::Keepable | WarmStart::Resume(_)) | None => None,
    }
}

/// How a start went with its template, for whoever watches it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Note(Arc<Mutex<Option<WarmOutcome>>>);

impl Note {
    /// What was noted so far.
    pub(crate) fn read(&self) -> Option<WarmOutcome> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The guest goes on from the template; if it was adopted, it had been ready since then.
    pub(crate) fn restored(
        &self,
        template: &Template,
        random: Option<String>,
        standby_since: Option<Timestamp>,
    ) {
        self.write(WarmOutcome {
            random,
            standby_since,
            ..of(template)
        });
    }

    /// The template is of no use.
    pub(crate) fn failed(&self, template: &Template, failure: WarmFailure) {
        self.write(WarmOutcome {
            failure: Some(failure),
            ..of(template)
        });
    }

    fn write(&self, outcome: WarmOutcome) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }
}

fn of(template: &Template) -> WarmOutcome {
    WarmOutcome {
        key: template.key.clone(),
        made_at: template.made_at,
        failure: None,
        standby_since: None,
        random: None,
    }
}

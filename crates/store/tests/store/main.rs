//! The store as its users see it.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod behaviour;
mod crash;
mod damage;
mod model;

use std::path::Path;

use bytes::Bytes;
use store::{Event, EventChange, Options, Store};

fn open(path: &Path) -> Store {
    Store::open(path, Options::default()).expect("the store opens")
}

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// `revision key=value`, or `revision key gone`.
fn say(event: &Event) -> String {
    match &event.change {
        EventChange::Put { value, .. } => {
            let value = String::from_utf8_lossy(value);
            format!("{} {}={value}", event.revision, event.key)
        }
        EventChange::Delete => format!("{} {} gone", event.revision, event.key),
    }
}

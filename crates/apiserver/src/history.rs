//! Old revisions and old events are given up, so that the store does not grow for ever.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use store::{Expect, Listing};

use crate::metadata;
use crate::server::Inner;
use crate::stored;

/// How often this is done.
const EVERY: Duration = Duration::from_secs(60);
/// Minutes of history that watches can resume from, as upstream's etcd has.
const KEEP_MINUTES: usize = 5;
/// Revisions that are kept in any case; a quiet hour costs nothing.
const KEEP_REVISIONS: u64 = 10_000;
/// Events older than this are deleted, as upstream.
const EVENT_LIFE: SignedDuration = SignedDuration::from_hours(1);

/// Runs for as long as the server.
pub(crate) async fn run(server: Arc<Inner>) {
    let mut past: VecDeque<u64> = VecDeque::new();
    loop {
        tokio::time::sleep(EVERY).await;
        past.push_back(server.store.revision());
        if past.len() > KEEP_MINUTES
            && let Some(then) = past.pop_front()
        {
            let target = then.min(server.store.revision().saturating_sub(KEEP_REVISIONS));
            if target > server.store.compacted()
                && let Err(error) = server.store.compact(target).await
            {
                tracing::warn!(%error, target, "old revisions could not be given up");
            }
        }
        delete_old_events(&server).await;
    }
}

async fn delete_old_events(server: &Inner) {
    let now = server.now();
    let prefix = stored::prefix("", "events", None);
    let Ok(page) = server.store.list(&prefix, Listing::default()) else {
        return;
    };
    for entry in page.entries {
        let Ok(event) = stored::decode_entry(&entry) else {
            continue;
        };
        if is_old(&event, now) {
            // A conflict means that the event happened again just now.
            match server
                .store
                .delete(&entry.key, Expect::Revision(entry.modified))
                .await
            {
                Ok(_) | Err(store::StoreError::Conflict { .. }) => {}
                Err(error) => {
                    tracing::warn!(%error, "old events could not be deleted");
                    return;
                }
            }
        }
    }
}

/// Whether an event last happened longer ago than events are kept.
fn is_old(event: &serde_json::Value, now: Timestamp) -> bool {
    [
        event["series"]["lastObservedTime"].as_str(),
        event["lastTimestamp"].as_str(),
        event["eventTime"].as_str(),
        Some(metadata::text(event, "creationTimestamp")),
    ]
    .into_iter()
    .flatten()
    .filter_map(|text| text.parse::<Timestamp>().ok())
    .max()
    .is_some_and(|last| now.duration_since(last) > EVENT_LIFE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_old_an_hour_after_it_last_happened() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().expect("a time");
        let event = |last: &str| {
            json!({"metadata": {"creationTimestamp": "2026-01-01T01:00:00Z"},
                "lastTimestamp": last})
        };
        assert!(is_old(&event("2026-01-01T10:59:00Z"), now));
        assert!(!is_old(&event("2026-01-01T11:30:00Z"), now));
    }
}

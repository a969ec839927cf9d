//! WATCH: a stream of events, one JSON object a line.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::Response;
use jiff::Timestamp;
use rand::Rng as _;
use serde_json::{Value, json};
use store::{Event, EventChange, Listing, StoreError};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::body::Body;
use crate::filter::Filter;
use crate::list::{self, Reading};
use crate::negotiate::Shape;
use crate::registry::Kind;
use crate::respond;
use crate::settings::Clock;
use crate::status::Status;
use crate::stored;

/// How often an idle watch that allows it hears how far it has seen.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// A watch without `timeoutSeconds` ends after a time between this and twice this, as upstream, so
/// that clients spread over restarts.
const MINIMUM_TIMEOUT: u64 = 1800;
/// Events that are written as one piece when more than one waits.
const BATCH: usize = 64;

/// Answers a WATCH; `name` is that of the legacy path `/watch/.../name` (or of an item).
pub(crate) fn watch(reading: &Reading<'_>, name: Option<&str>) -> Result<Response<Body>, Status> {
    let query = &reading.call.query;
    list::check_options(query, true)?;
    let filter = Filter::parse(reading.kind, query, name)?;
    let encoder = Encoder {
        kind: Arc::clone(reading.kind),
        filter,
        shape: reading.representation.shape,
        include: respond::include_object(query)?,
        clock: reading.server.settings.clock.clone(),
        columns_sent: false,
    };
    let stream = match start(reading, encoder) {
        Ok(state) => lines(state),
        // Clients take an error in the stream as well as one in its place, but a watch that has
        // begun as one is what all of them expect.
        Err(status) if status.code == 410 => {
            let line = line("ERROR", &status.to_value());
            futures::stream::once(async move { Ok(line) }).boxed()
        }
        Err(status) => return Err(status),
    };
    Ok(respond_stream(stream))
}

/// Answers a WATCH over a WebSocket, one event a frame.
pub(crate) fn watch_socket(
    reading: &Reading<'_>,
    name: Option<&str>,
    upgrade: crate::extension::Upgrade,
) -> Result<Response<Body>, Status> {
    let answer = watch(reading, name)?;
    let (response, socket) = upgrade.accept(|offered| {
        offered
            .iter()
            .find(|protocol| !protocol.starts_with("base64url.bearer"))
            .cloned()
    })?;
    tokio::spawn(async move {
        let Ok(mut socket) = socket.await else { return };
        let mut body = http_body_util::BodyStream::new(answer.into_body());
        loop {
            tokio::select! {
                frame = body.next() => {
                    let Some(Ok(frame)) = frame else { break };
                    let Ok(data) = frame.into_data() else { continue };
                    for line in data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                        let text = String::from_utf8_lossy(line).into_owned();
                        if socket.send(Message::text(text)).await.is_err() {
                            return;
                        }
                    }
                }
                message = socket.next() => match message {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                    Some(Ok(_)) => {}
                },
            }
        }
        // The client may be gone already; there is nobody else to tell.
        drop(socket.close(None).await);
    });
    Ok(response)
}

type Lines = futures::stream::BoxStream<'static, Result<Bytes, std::io::Error>>;

fn respond_stream(lines: Lines) -> Response<Body> {
    let mut response = respond::json_bytes(200, Bytes::new());
    *response.body_mut() = Body::stream(lines);
    response
}

struct State {
    encoder: Encoder,
    watch: store::Watch,
    /// Entries that were there at the beginning.
    initial: VecDeque<store::Entry>,
    /// The revision of `initial`, until its end was told.
    announce_end: Option<u64>,
    /// Events up to this revision are not the client's business.
    after: u64,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    closing: CancellationToken,
    ended: bool,
}

fn start(reading: &Reading<'_>, encoder: Encoder) -> Result<State, Status> {
    let query = &reading.call.query;
    let store = &reading.server.store;
    let prefix = reading.prefix();
    let bookmarks = query.flag("allowWatchBookmarks");
    let wants_initial = query.flag("sendInitialEvents");
    let asked = list::revision(query.text("resourceVersion"))?;
    let refused = |error: StoreError| match error {
        StoreError::Compacted { asked, compacted } => {
            Status::gone(format!("too old resource version: {asked} ({compacted})"))
        }
        other => crate::object::store_failure(&other),
    };
    // Without a version, or when asked for, everything that is there comes first. A version with
    // `sendInitialEvents` only says how old that may be, and it is never old.
    let lists = wants_initial || (asked == 0 && query.get("sendInitialEvents").is_none());
    let (initial, revision) = if lists {
        let page = store.list(&prefix, Listing::default()).map_err(refused)?;
        (page.entries.into(), page.revision)
    } else if asked == 0 {
        (VecDeque::new(), store.revision())
    } else {
        (VecDeque::new(), asked)
    };
    let watch = store.watch(&prefix, revision).map_err(refused)?;
    let seconds = match query.text("timeoutSeconds").map(str::parse::<u64>) {
        Some(Ok(seconds)) if seconds > 0 => seconds,
        Some(Err(_)) => {
            return Err(Status::bad_request(
                "timeoutSeconds must be a number of seconds",
            ));
        }
        _ => rand::rng().random_range(MINIMUM_TIMEOUT..2 * MINIMUM_TIMEOUT),
    };
    let now = Instant::now();
    Ok(State {
        encoder,
        watch,
        initial,
        announce_end: (wants_initial && bookmarks).then_some(revision),
        after: revision,
        bookmarks,
        next_bookmark: now + BOOKMARK_EVERY,
        deadline: now + Duration::from_secs(seconds),
        closing: reading.call.closing.clone(),
        ended: false,
    })
}

fn lines(state: State) -> Lines {
    futures::stream::unfold(state, |mut state| async move {
        let piece = state.next().await?;
        Some((Ok(piece), state))
    })
    .boxed()
}

impl State {
    /// The next piece of the stream; `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if let Some(piece) = self.beginning() {
            return Some(piece);
        }
        loop {
            // Events come first below, and however many there are, the end is the end.
            if Instant::now() >= self.deadline {
                self.ended = true;
                // So that the client can go on from here even if nothing of its own happened.
                return self.bookmarks.then(|| self.bookmark());
            }
            let bookmark_at = if self.bookmarks {
                self.next_bookmark
            } else {
                self.deadline
            };
            tokio::select! {
                biased;
                event = self.watch.next() => match event {
                    Some(Ok(event)) => {
                        if let Some(piece) = self.live(&event) {
                            return Some(piece);
                        }
                        if self.ended {
                            return None;
                        }
                    }
                    // Too slow, or the store is closing: the client comes back where it was.
                    Some(Err(_)) | None => return None,
                },
                () = self.closing.cancelled() => return None,
                () = tokio::time::sleep_until(self.deadline) => {}
                () = tokio::time::sleep_until(bookmark_at), if self.bookmarks => {
                    self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                    return Some(self.bookmark());
                }
            }
        }
    }

    /// What was there when the watch began, and the bookmark that ends it.
    fn beginning(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        let mut written = 0;
        while written < BATCH {
            let Some(entry) = self.initial.pop_front() else {
                break;
            };
            let length = out.len();
            self.encoder.initial(&mut out, &entry);
            written += usize::from(out.len() > length);
        }
        if self.initial.is_empty()
            && let Some(revision) = self.announce_end.take()
        {
            let object = self.encoder.bookmark_object(revision, true);
            out.extend_from_slice(&line("BOOKMARK", &object));
        }
        (!out.is_empty()).then(|| Bytes::from(out))
    }

    /// An event, and those that wait behind it.
    fn live(&mut self, event: &Event) -> Option<Bytes> {
        let mut out = Vec::new();
        if event.revision > self.after {
            self.encoder.event(&mut out, event);
        }
        for _ in 1..BATCH {
            match self.watch.try_next() {
                Some(Ok(event)) => {
                    if event.revision > self.after {
                        self.encoder.event(&mut out, &event);
                    }
                }
                Some(Err(_)) => {
                    self.ended = true;
                    break;
                }
                None => break,
            }
        }
        (!out.is_empty()).then(|| Bytes::from(out))
    }

    fn bookmark(&self) -> Bytes {
        // A watch from the future has seen nothing before its start.
        let revision = self.watch.progress().max(self.after);
        line("BOOKMARK", &self.encoder.bookmark_object(revision, false))
    }
}

fn line(kind: &str, object: &Value) -> Bytes {
    let mut out = Vec::new();
    begin_line(&mut out, kind);
    out.extend_from_slice(&respond::write_json(object, false));
    out.extend_from_slice(b"}\n");
    Bytes::from(out)
}

fn begin_line(out: &mut Vec<u8>, kind: &str) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
}

/// Writes events as one client wants them.
struct Encoder {
    kind: Arc<Kind>,
    filter: Filter,
    shape: Shape,
    include: respond::Include,
    clock: Clock,
    columns_sent: bool,
}

impl Encoder {
    fn initial(&mut self, out: &mut Vec<u8>, entry: &store::Entry) {
        self.write(out, "ADDED", &entry.value, entry.modified);
    }

    fn event(&mut self, out: &mut Vec<u8>, event: &Event) {
        let revision = event.revision;
        let before = event.previous.as_ref().map(|entry| &entry.value);
        match &event.change {
            EventChange::Delete => {
                // The last state, with the revision of the deletion.
                if let Some(before) = before {
                    self.write(out, "DELETED", before, revision);
                }
            }
            EventChange::Put { value, .. } if self.filter.is_empty() => {
                let kind = if before.is_none() {
                    "ADDED"
                } else {
                    "MODIFIED"
                };
                self.write(out, kind, value, revision);
            }
            EventChange::Put { value, .. } => {
                let matched = before.filter(|bytes| self.passes(bytes, revision));
                match (matched, self.passes(value, revision)) {
                    (Some(_), true) => self.write(out, "MODIFIED", value, revision),
                    (None, true) => self.write(out, "ADDED", value, revision),
                    // It left the selection: the last state that was in it, at this revision.
                    (Some(before), false) => self.write(out, "DELETED", before, revision),
                    (None, false) => {}
                }
            }
        }
    }

    fn passes(&self, bytes: &[u8], revision: u64) -> bool {
        self.kind
            .read_bytes(bytes, revision)
            .is_ok_and(|object| self.filter.matches(&object))
    }

    fn write(&mut self, out: &mut Vec<u8>, kind: &str, bytes: &[u8], revision: u64) {
        let plain = self.shape == Shape::Object && self.kind.serves_bytes();
        if plain && self.filter.is_empty() {
            self.write_bytes(out, kind, bytes, revision);
            return;
        }
        let object = match self.kind.read_bytes(bytes, revision) {
            Ok(object) => object,
            Err(status) => {
                out.extend_from_slice(&line("ERROR", &status.to_value()));
                return;
            }
        };
        if !self.filter.matches(&object) {
            return;
        }
        if plain {
            self.write_bytes(out, kind, bytes, revision);
            return;
        }
        let now = (self.clock)();
        let shaped = self.shaped(object, revision, now);
        out.extend_from_slice(&line(kind, &shaped));
    }

    fn write_bytes(&self, out: &mut Vec<u8>, kind: &str, bytes: &[u8], revision: u64) {
        let resource = &self.kind.resource;
        begin_line(out, kind);
        let header = stored::header(&resource.names.kind, &resource.api_version());
        stored::splice(out, bytes, revision, Some(&header));
        out.extend_from_slice(b"}\n");
    }

    fn shaped(&mut self, object: Value, revision: u64, now: Timestamp) -> Value {
        match self.shape {
            Shape::Object => object,
            Shape::Partial => respond::partial(object),
            Shape::Table => {
                // Only the first table of a stream says what its columns are.
                let columns = !std::mem::replace(&mut self.columns_sent, true);
                let metadata = json!({"resourceVersion": revision.to_string()});
                self.kind
                    .columns
                    .table([&object], metadata, self.include, now, columns)
            }
        }
    }

    fn bookmark_object(&self, revision: u64, ends_initial: bool) -> Value {
        let resource = &self.kind.resource;
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if ends_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        match self.shape {
            Shape::Object => json!({
                "kind": resource.names.kind,
                "apiVersion": resource.api_version(),
                "metadata": metadata,
            }),
            Shape::Partial => json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
            }),
            Shape::Table => json!({
                "kind": "Table",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": {"resourceVersion": revision.to_string()},
                "columnDefinitions": null,
                "rows": [{"cells": [], "object": {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": metadata,
                }}],
            }),
        }
    }
}

//! LIST and DELETE of collections.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;
use serde_json::{Map, Value, json};
use store::{Entry, Listing, StoreError};

use crate::body::Body;
use crate::filter::Filter;
use crate::metadata;
use crate::negotiate::{Format, Representation, Shape};
use crate::object::Write;
use crate::object::delete::{self, DeleteOptions, Deletion};
use crate::registry::Kind;
use crate::respond;
use crate::route::Query;
use crate::server::{Call, Inner};
use crate::status::{Cause, Status};
use crate::stored;

/// The longest that a read waits for a revision which has not happened yet, as upstream.
const REVISION_WAIT: Duration = Duration::from_secs(3);

/// A request that reads many objects.
pub(crate) struct Reading<'a> {
    pub(crate) server: &'a Inner,
    pub(crate) kind: &'a Arc<Kind>,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) call: &'a Call,
    pub(crate) representation: Representation,
}

impl Reading<'_> {
    /// The prefix of the keys.
    pub(crate) fn prefix(&self) -> String {
        let cluster_scoped = (!self.kind.resource.namespaced).then_some("-");
        self.kind.prefix(self.namespace.or(cluster_scoped))
    }
}

/// Checks the parameters that list and watch share.
///
/// # Errors
/// 422 with a cause for each forbidden combination.
pub(crate) fn check_options(query: &Query, watch: bool) -> Result<(), Status> {
    let version = query.text("resourceVersion");
    let matching = query.text("resourceVersionMatch");
    let initial = query.get("sendInitialEvents").is_some();
    let mut causes = Vec::new();
    let mut forbid = |field: &str, why: &str| causes.push(Cause::forbidden(field, why));
    if watch {
        if matching.is_some() && !initial {
            forbid(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
        if initial && matching != Some("NotOlderThan") {
            forbid(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            );
        }
    } else {
        if initial {
            forbid(
                "sendInitialEvents",
                "sendInitialEvents is forbidden for list",
            );
        }
        if matching.is_some() {
            if query.text("continue").is_some() {
                let why = "resourceVersionMatch is forbidden when continue is provided";
                forbid("resourceVersionMatch", why);
            }
            if version.is_none() {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                forbid("resourceVersionMatch", why);
            }
            if matching == Some("Exact") && version == Some("0") {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                forbid("resourceVersionMatch", why);
            }
        }
    }
    if let Some(other) = matching.filter(|word| !matches!(*word, "Exact" | "NotOlderThan")) {
        let supported = ["Exact", "NotOlderThan", ""];
        causes.push(Cause::not_supported(
            "resourceVersionMatch",
            &json!(other),
            &supported,
        ));
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Status::invalid("meta.k8s.io", "ListOptions", "", causes))
    }
}

/// A `resourceVersion` parameter as a number; 0 when unset.
///
/// # Errors
/// 400 when it is none.
pub(crate) fn revision(text: Option<&str>) -> Result<u64, Status> {
    let Some(text) = text else { return Ok(0) };
    text.parse().map_err(|_| {
        Status::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {text:?}: must be a decimal \
             number"
        ))
    })
}

/// Waits until the store has reached a revision.
///
/// # Errors
/// 504 with the cause `ResourceVersionTooLarge` when it does not in three seconds.
pub(crate) async fn wait_for_revision(server: &Inner, text: Option<&str>) -> Result<(), Status> {
    let wanted = revision(text)?;
    if wanted <= server.store.revision() {
        return Ok(());
    }
    let too_large = || {
        let current = server.store.revision();
        let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
        let cause = Cause::new("ResourceVersionTooLarge", "", "Too large resource version");
        Status::timeout(message)
            .with_causes(vec![cause])
            .with_retry_after(1)
    };
    // Any change at all may bring the revision.
    let mut watch = server
        .store
        .watch("", server.store.revision())
        .map_err(|error| crate::object::store_failure(&error))?;
    let reached = async {
        while server.store.revision() < wanted {
            if watch.next().await.is_none() {
                return Err(too_large());
            }
        }
        Ok(())
    };
    tokio::time::timeout(REVISION_WAIT, reached)
        .await
        .unwrap_or_else(|_| Err(too_large()))
}

/// Where a paged list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Continue {
    /// The revision of the first page; `None`: whatever is newest.
    revision: Option<u64>,
    /// The last key of the page before, without the prefix.
    start: String,
}

impl Continue {
    fn encode(&self) -> String {
        let revision = self
            .revision
            .map_or(-1, |revision| i64::try_from(revision).unwrap_or(-1));
        let start = format!("{}\u{0}", self.start);
        let token = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start});
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    fn decode(text: &str) -> Result<Continue, Status> {
        let invalid = |why: &str| Status::bad_request(format!("invalid continue token: {why}"));
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|_| invalid("it is not base64"))?;
        let token: Value =
            serde_json::from_slice(&bytes).map_err(|_| invalid("it holds no JSON"))?;
        let start = token["start"]
            .as_str()
            .ok_or_else(|| invalid("it has no start"))?;
        let revision = token["rv"]
            .as_i64()
            .ok_or_else(|| invalid("it has no revision"))?;
        if token["v"] != "meta.k8s.io/v1" || start.contains("..") || revision == 0 {
            return Err(invalid("it was not given by this server"));
        }
        Ok(Continue {
            revision: u64::try_from(revision).ok(),
            start: start.trim_end_matches('\u{0}').to_owned(),
        })
    }
}

/// What a list found.
struct Found {
    entries: Vec<(Entry, Option<Value>)>,
    revision: u64,
    next: Option<Continue>,
    remaining: Option<usize>,
}

/// Entries that are looked at in one go when selectors thin them out.
const CHUNK: usize = 500;

fn find(reading: &Reading<'_>, filter: &Filter) -> Result<Found, Status> {
    let query = &reading.call.query;
    let limit = match query.text("limit").map(str::parse::<i64>) {
        None => None,
        Some(Ok(limit)) => usize::try_from(limit).ok().filter(|limit| *limit > 0),
        Some(Err(_)) => {
            let text = query.get("limit").unwrap_or("");
            return Err(Status::bad_request(format!(
                "limit: {text:?} is not a number"
            )));
        }
    };
    let token = query.text("continue").map(Continue::decode).transpose()?;
    let version = query.text("resourceVersion");
    if token.is_some() && version.is_some_and(|version| version != "0") {
        let why = "specifying resource version is not allowed when using continue";
        return Err(Status::bad_request(why));
    }
    // As upstream, a list "from any cache" is not cut into pages.
    let limit = limit.filter(|_| version != Some("0") || token.is_some());
    let exact = query.text("resourceVersionMatch") == Some("Exact");
    let prefix = reading.prefix();
    let mut at = match &token {
        Some(token) => token.revision,
        None if exact => Some(revision(version)?),
        None => None,
    };
    let mut after = token
        .as_ref()
        .map(|token| format!("{prefix}{}", token.start));
    let mut found = Found {
        entries: Vec::new(),
        revision: 0,
        next: None,
        remaining: None,
    };
    loop {
        let wanted = limit.map(|limit| limit - found.entries.len());
        let chunk = match (wanted, filter.is_empty()) {
            (None, _) => None,
            (Some(wanted), true) => Some(wanted),
            (Some(wanted), false) => Some(wanted.max(CHUNK)),
        };
        let listing = Listing {
            at,
            after: after.as_deref(),
            limit: chunk,
        };
        let page = reading
            .server
            .store
            .list(&prefix, listing)
            .map_err(|error| expired(&error, token.as_ref()))?;
        found.revision = page.revision;
        at = Some(page.revision);
        let (more, remaining) = (page.more, page.remaining);
        let total = page.entries.len();
        for (index, entry) in page.entries.into_iter().enumerate() {
            let value = if filter.is_empty() {
                None
            } else {
                let value = reading.kind.read(&entry)?;
                if !filter.matches(&value) {
                    after = Some(entry.key.to_string());
                    continue;
                }
                Some(value)
            };
            after = Some(entry.key.to_string());
            found.entries.push((entry, value));
            if limit == Some(found.entries.len()) {
                let left = remaining + (total - index - 1);
                if left > 0 {
                    let last = after.as_deref().unwrap_or("");
                    let start = last.strip_prefix(&prefix).unwrap_or(last).to_owned();
                    found.next = Some(Continue {
                        revision: at,
                        start,
                    });
                    found.remaining = filter.is_empty().then_some(left);
                }
                return Ok(found);
            }
        }
        if !more {
            return Ok(found);
        }
    }
}

fn expired(error: &StoreError, token: Option<&Continue>) -> Status {
    match (error, token) {
        (StoreError::Compacted { .. }, Some(token)) => {
            let mut status = Status::gone(
                "The provided continue parameter is too old to display a consistent list result. \
                 You can start a new list without the continue parameter, or use the continue \
                 token in this response to retrieve the remainder of the results. Continuing with \
                 the provided token results in an inconsistent list - objects that were created, \
                 modified, or deleted between the time the first chunk was returned and now may \
                 show up in the list.",
            );
            status.continue_token = Some(
                Continue {
                    revision: None,
                    start: token.start.clone(),
                }
                .encode(),
            );
            status
        }
        (StoreError::Compacted { .. }, None) => {
            Status::gone("The resourceVersion for the provided list is too old.")
        }
        (StoreError::Future { asked, current }, _) => Status::timeout(format!(
            "Timeout: Too large resource version: {asked}, current: {current}"
        )),
        _ => crate::object::store_failure(error),
    }
}

/// Answers a LIST.
pub(crate) async fn list(reading: &Reading<'_>) -> Result<Response<Body>, Status> {
    let query = &reading.call.query;
    check_options(query, false)?;
    let filter = Filter::parse(reading.kind, query, None)?;
    wait_for_revision(reading.server, query.text("resourceVersion")).await?;
    let found = find(reading, &filter)?;
    let mut metadata = Map::new();
    metadata.insert(
        "resourceVersion".to_owned(),
        json!(found.revision.to_string()),
    );
    if let Some(next) = &found.next {
        metadata.insert("continue".to_owned(), json!(next.encode()));
    }
    if let Some(remaining) = found.remaining {
        metadata.insert("remainingItemCount".to_owned(), json!(remaining));
    }
    let representation = reading.representation;
    let plain = representation.format == Format::Json
        && representation.shape == Shape::Object
        && !representation.pretty;
    if plain {
        return Ok(respond::json_bytes(
            200,
            list_bytes(reading.kind, &found, metadata)?,
        ));
    }
    let mut objects = Vec::with_capacity(found.entries.len());
    for (entry, value) in found.entries {
        objects.push(match value {
            Some(value) => value,
            None => reading.kind.read(&entry)?,
        });
    }
    let value = match representation.shape {
        Shape::Table => {
            let include = respond::include_object(query)?;
            let now = reading.server.now();
            reading
                .kind
                .columns
                .table(&objects, metadata.into(), include, now, true)
        }
        Shape::Partial => json!({
            "kind": "PartialObjectMetadataList",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "items": objects.into_iter().map(respond::partial).collect::<Vec<_>>(),
        }),
        Shape::Object => list_value(reading.kind, objects, metadata),
    };
    Ok(respond::value(representation, 200, &value))
}

fn list_value(kind: &Kind, objects: Vec<Value>, metadata: Map<String, Value>) -> Value {
    json!({
        "kind": kind.resource.names.list_kind,
        "apiVersion": kind.resource.api_version(),
        "metadata": metadata,
        "items": objects,
    })
}

/// The list as bytes; stored objects are copied, not parsed.
fn list_bytes(kind: &Kind, found: &Found, metadata: Map<String, Value>) -> Result<Vec<u8>, Status> {
    let size: usize = found
        .entries
        .iter()
        .map(|(entry, _)| entry.value.len() + 48)
        .sum();
    let mut out = Vec::with_capacity(size + 256);
    out.push(b'{');
    let header = stored::header(&kind.resource.names.list_kind, &kind.resource.api_version());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(b"\"metadata\":");
    out.extend_from_slice(Value::from(metadata).to_string().as_bytes());
    out.extend_from_slice(b",\"items\":[");
    let item_header = stored::header(&kind.resource.names.kind, &kind.resource.api_version());
    // Items of typed lists carry no kind upstream; those of custom kinds do.
    let item_header = if kind.resource.is_custom() {
        item_header
    } else {
        String::new()
    };
    for (index, (entry, _)) in found.entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if kind.serves_bytes() {
            stored::splice(&mut out, &entry.value, entry.modified, Some(&item_header));
        } else {
            out.extend_from_slice(&respond::write_json(&kind.read(entry)?, false));
        }
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// Answers a DELETE of a collection: what was deleted, as a list.
pub(crate) async fn delete_all(
    reading: &Reading<'_>,
    write: &Write<'_>,
    options: &DeleteOptions,
) -> Result<Response<Body>, Status> {
    let query = &reading.call.query;
    let filter = Filter::parse(reading.kind, query, None)?;
    let found = find(reading, &filter)?;
    let mut deleted = Vec::new();
    let mut warnings = Vec::new();
    for (entry, value) in found.entries {
        let value = match value {
            Some(value) => value,
            None => reading.kind.read(&entry)?,
        };
        // The object that was found is meant, not one that took its name since.
        let options = DeleteOptions {
            uid: options
                .uid
                .clone()
                .or_else(|| Some(metadata::uid(&value).to_owned())),
            ..options.clone()
        };
        match delete::delete(write, metadata::name(&value), &options, &mut warnings).await {
            Ok(Deletion::Gone(object) | Deletion::Marked(object)) => deleted.push(object),
            Err(status) if status.code == 404 || status.code == 409 => {}
            Err(status) => return Err(status),
        }
    }
    let mut list = Map::new();
    list.insert(
        "resourceVersion".to_owned(),
        json!(reading.server.store.revision().to_string()),
    );
    let value = list_value(reading.kind, deleted, list);
    Ok(respond::value(reading.representation, 200, &value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continue_token_can_be_read_back_and_others_are_refused() {
        for revision in [Some(7), None] {
            let token = Continue {
                revision,
                start: "ns/name".to_owned(),
            };
            assert_eq!(Continue::decode(&token.encode()), Ok(token));
        }
        let foreign = URL_SAFE_NO_PAD.encode(r#"{"v":"x","rv":1,"start":"a"}"#);
        for bad in ["???", "abcd", foreign.as_str()] {
            assert_eq!(Continue::decode(bad).expect_err(bad).code, 400);
        }
    }

    #[test]
    fn contradicting_options_are_refused() {
        for (query, watch, good) in [
            ("", false, true),
            ("resourceVersion=5&resourceVersionMatch=Exact", false, true),
            ("resourceVersionMatch=Exact", false, false),
            ("resourceVersion=0&resourceVersionMatch=Exact", false, false),
            (
                "resourceVersion=1&resourceVersionMatch=NotOlderThan&continue=x",
                false,
                false,
            ),
            ("sendInitialEvents=true", false, false),
            (
                "resourceVersion=1&resourceVersionMatch=Nearly",
                false,
                false,
            ),
            ("sendInitialEvents=true", true, false),
            ("resourceVersionMatch=NotOlderThan", true, false),
            (
                "sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
                true,
                true,
            ),
        ] {
            assert_eq!(
                check_options(&Query::parse(query), watch).is_ok(),
                good,
                "{query}"
            );
        }
    }
}

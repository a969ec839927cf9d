//! DELETE: now, after a grace period, or once the finalizers are gone.

use bytes::Bytes;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::{Entry, Expect};

use crate::admission::Operation;
use crate::metadata;
use crate::object::{PutError, Write, finish, options};
use crate::route::Query;
use crate::status::{Cause, Status};

/// Times that a delete is tried anew because somebody else wrote in between.
const CONFLICT_TRIES: usize = 200;
/// The finalizer that keeps an owner until its dependants are gone.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer that keeps an owner until its dependants have forgotten it.
pub(crate) const ORPHAN: &str = "orphan";

/// What becomes of dependants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// They go afterwards.
    Background,
    /// They go first.
    Foreground,
    /// They stay.
    Orphan,
}

/// How an object is deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    /// Only the object with this uid.
    pub(crate) uid: Option<String>,
    /// Only the object in this version.
    pub(crate) resource_version: Option<String>,
    /// Seconds; `None` is the kind's default.
    pub(crate) grace: Option<i64>,
    /// `None` is the kind's default.
    pub(crate) propagation: Option<Propagation>,
    /// Everything but the delete.
    pub(crate) dry_run: bool,
}

impl DeleteOptions {
    /// Reads the body, or without one the query.
    ///
    /// # Errors
    /// 400 and 415 for bodies that cannot be read; 422 for options that contradict.
    pub(crate) fn parse(
        query: &Query,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<DeleteOptions, Status> {
        let from_body = if body.is_empty() {
            json!({})
        } else {
            let content_type = headers
                .get(http::header::CONTENT_TYPE)
                .and_then(|value| value.to_str().ok());
            crate::decode::body(content_type, body, true)?.value
        };
        let text = |field: &str| {
            from_body
                .get(field)
                .and_then(Value::as_str)
                .or_else(|| query.text(field))
                .map(str::to_owned)
        };
        let mut causes = Vec::new();
        let orphan = from_body
            .get("orphanDependents")
            .and_then(Value::as_bool)
            .or_else(|| {
                query
                    .get("orphanDependents")
                    .map(|_| query.flag("orphanDependents"))
            });
        let policy = text("propagationPolicy");
        if orphan.is_some() && policy.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            causes.push(Cause::invalid("propagationPolicy", &json!(policy), why));
        }
        let propagation = match (policy.as_deref(), orphan) {
            (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
            (Some(other), _) => {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                let cause = Cause::not_supported("propagationPolicy", &json!(other), &supported);
                causes.push(cause);
                None
            }
            (None, None) => None,
        };
        let dry_runs = from_body.get("dryRun").and_then(Value::as_array);
        let dry_run = options::dry_run(
            dry_runs
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .chain(query.get("dryRun")),
            &mut causes,
        );
        let grace = match from_body.get("gracePeriodSeconds").and_then(Value::as_i64) {
            Some(grace) => Some(grace),
            None => match query.text("gracePeriodSeconds").map(str::parse) {
                Some(Ok(grace)) => Some(grace),
                Some(Err(_)) => {
                    let value = json!(query.get("gracePeriodSeconds"));
                    causes.push(Cause::invalid(
                        "gracePeriodSeconds",
                        &value,
                        "must be a number",
                    ));
                    None
                }
                None => None,
            },
        };
        if !causes.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", causes));
        }
        let precondition = |field: &str| {
            let found = from_body
                .get("preconditions")
                .and_then(|map| map.get(field));
            found.and_then(Value::as_str).map(str::to_owned)
        };
        Ok(DeleteOptions {
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            // As upstream, a negative period is one second.
            grace: grace.map(|grace| if grace < 0 { 1 } else { grace }),
            propagation,
            dry_run,
        })
    }
}

/// What a delete led to.
#[derive(Debug)]
pub(crate) enum Deletion {
    /// The object is gone; this was its last state.
    Gone(Value),
    /// The object is marked, and goes later.
    Marked(Value),
}

/// Deletes the object `name`. Warnings of admission are added to `warnings`.
pub(crate) async fn delete(
    write: &Write<'_>,
    name: &str,
    options: &DeleteOptions,
    warnings: &mut Vec<String>,
) -> Result<Deletion, Status> {
    let _definitions = finish::lock_definitions(write).await;
    for _ in 0..CONFLICT_TRIES {
        let entry = write
            .server
            .store
            .get(&write.key(name))
            .ok_or_else(|| write.not_found(name))?;
        let old = write.kind.read(&entry)?;
        check_preconditions(write, name, &old, options)?;
        protect(write, name)?;
        warnings.clear();
        write.judge(Operation::Delete, &old, Some(&old), warnings)?;
        match attempt(write, &entry, &old, options).await {
            Ok(deletion) => return Ok(deletion),
            Err(PutError::Conflict) => {}
            Err(PutError::Failed(status)) => return Err(status),
        }
    }
    Err(write.conflict(name, "it is changed too often by others; try again"))
}

/// Namespaces that always exist.
pub(crate) const PERMANENT_NAMESPACES: [&str; 4] =
    ["default", "kube-system", "kube-public", "kube-node-lease"];

fn protect(write: &Write<'_>, name: &str) -> Result<(), Status> {
    if write.kind.is("", "namespaces") && PERMANENT_NAMESPACES.contains(&name) {
        let why = "this namespace may not be deleted";
        return Err(Status::forbidden("", "namespaces", name, why));
    }
    Ok(())
}

fn check_preconditions(
    write: &Write<'_>,
    name: &str,
    old: &Value,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let kind = &write.kind.resource.names.kind;
    let group = &write.kind.resource.group;
    let fail = |what: &str, asked: &str, found: &str| {
        let why = format!(
            "the {what} in the precondition ({asked}) does not match the {what} in record \
             ({found}). The object might have been deleted and then recreated"
        );
        Err(Status::conflict(group, kind, name, &why))
    };
    match (&options.uid, &options.resource_version) {
        (Some(uid), _) if uid != metadata::uid(old) => fail("UID", uid, metadata::uid(old)),
        (_, Some(version)) if version != metadata::resource_version(old) => {
            fail("ResourceVersion", version, metadata::resource_version(old))
        }
        _ => Ok(()),
    }
}

async fn attempt(
    write: &Write<'_>,
    entry: &Entry,
    old: &Value,
    options: &DeleteOptions,
) -> Result<Deletion, PutError> {
    let mut new = old.clone();
    let finalizers = wanted_finalizers(old, options.propagation);
    metadata::set_finalizers(&mut new, &finalizers);
    let grace = wanted_grace(write, old, options);
    let held = !finalizers.is_empty()
        || (write.kind.is("", "namespaces") && has_namespace_finalizers(old));
    if !held && grace == 0 {
        return gone(write, entry, new, options).await;
    }
    mark(&mut new, old, grace, write.server.now());
    if write.kind.is("", "namespaces") {
        new["status"]["phase"] = json!("Terminating");
    }
    if crate::crd::is_definition(write.kind) {
        crate::crd::mark_terminating(&mut new, write.server.now());
    }
    if finish::is_same(&new, old) {
        return Ok(Deletion::Marked(old.clone()));
    }
    if options.dry_run || write.options.dry_run {
        return Ok(Deletion::Marked(new));
    }
    let object = write.put(new, Expect::Revision(entry.modified)).await?;
    finish::after_write(write).map_err(PutError::Failed)?;
    Ok(Deletion::Marked(object))
}

async fn gone(
    write: &Write<'_>,
    entry: &Entry,
    mut object: Value,
    options: &DeleteOptions,
) -> Result<Deletion, PutError> {
    if !(options.dry_run || write.options.dry_run) {
        let expect = Expect::Revision(entry.modified);
        let revision = write.server.store.delete(&entry.key, expect).await?;
        metadata::set(
            &mut object,
            "resourceVersion",
            Some(json!(revision.to_string())),
        );
        finish::after_write(write).map_err(PutError::Failed)?;
    }
    Ok(Deletion::Gone(object))
}

fn has_namespace_finalizers(object: &Value) -> bool {
    object["spec"]
        .get("finalizers")
        .and_then(Value::as_array)
        .is_some_and(|finalizers| !finalizers.is_empty())
}

fn wanted_finalizers(old: &Value, propagation: Option<Propagation>) -> Vec<String> {
    let mut finalizers: Vec<String> = metadata::finalizers(old)
        .into_iter()
        .map(str::to_owned)
        .collect();
    let wanted = match propagation {
        // Without a wish, an earlier wish stays.
        None => return finalizers,
        Some(Propagation::Background) => None,
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Orphan) => Some(ORPHAN),
    };
    finalizers
        .retain(|name| (name != FOREGROUND && name != ORPHAN) || Some(name.as_str()) == wanted);
    if let Some(wanted) = wanted
        && !finalizers.iter().any(|name| name == wanted)
    {
        finalizers.push(wanted.to_owned());
    }
    finalizers
}

/// Seconds until the object goes: only Pods that run somewhere have any.
fn wanted_grace(write: &Write<'_>, old: &Value, options: &DeleteOptions) -> i64 {
    if !write.kind.resource.strategy.graceful_delete {
        return 0;
    }
    let phase = old["status"]["phase"].as_str().unwrap_or("");
    let unscheduled = old["spec"]["nodeName"].as_str().unwrap_or("").is_empty();
    let default = old["spec"]["terminationGracePeriodSeconds"]
        .as_i64()
        .unwrap_or(30);
    let present = metadata::field(old, "deletionGracePeriodSeconds").and_then(Value::as_i64);
    if unscheduled || matches!(phase, "Succeeded" | "Failed") {
        return 0;
    }
    match (present, options.grace) {
        // A period that runs can only be shortened.
        (Some(present), Some(asked)) => asked.min(present),
        (Some(present), None) => present,
        (None, Some(asked)) => asked,
        (None, None) => default.max(0),
    }
}

fn mark(new: &mut Value, old: &Value, grace: i64, now: Timestamp) {
    let present = metadata::field(old, "deletionGracePeriodSeconds").and_then(Value::as_i64);
    let since = if metadata::is_deleting(old) {
        let Some(present) = present.filter(|present| *present > grace) else {
            return;
        };
        // The new period counts from when the first one began.
        metadata::text(old, "deletionTimestamp")
            .parse::<Timestamp>()
            .map_or(now, |end| end - SignedDuration::from_secs(present))
    } else {
        let generation = metadata::generation(old);
        if generation > 0 {
            metadata::set(new, "generation", Some(Value::from(generation + 1)));
        }
        now
    };
    let end = metadata::time(since + SignedDuration::from_secs(grace));
    metadata::set(new, "deletionTimestamp", Some(Value::from(end)));
    metadata::set(new, "deletionGracePeriodSeconds", Some(Value::from(grace)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str, body: &'static str) -> Result<DeleteOptions, Status> {
        let body = Bytes::from_static(body.as_bytes());
        DeleteOptions::parse(&Query::parse(query), &HeaderMap::new(), &body)
    }

    #[test]
    fn options_come_from_body_or_query_and_must_not_contradict() {
        let options = parse("gracePeriodSeconds=-3", "{}").expect("good");
        assert_eq!(options.grace, Some(1));
        let options = parse("", r#"{"propagationPolicy":"Orphan","dryRun":["All"]}"#);
        let options = options.expect("good");
        assert_eq!(
            (options.propagation, options.dry_run),
            (Some(Propagation::Orphan), true)
        );
        let both = r#"{"propagationPolicy":"Orphan","orphanDependents":true}"#;
        assert_eq!(parse("", both).expect_err("both").code, 422);
        assert_eq!(
            parse("propagationPolicy=Later", "")
                .expect_err("unknown")
                .code,
            422
        );
    }

    #[test]
    fn a_new_propagation_policy_replaces_the_earlier_one() {
        let old = json!({"metadata": {"finalizers": ["a.io/x", "orphan"]}});
        assert_eq!(wanted_finalizers(&old, None), ["a.io/x", "orphan"]);
        assert_eq!(
            wanted_finalizers(&old, Some(Propagation::Background)),
            ["a.io/x"]
        );
        assert_eq!(
            wanted_finalizers(&old, Some(Propagation::Foreground)),
            ["a.io/x", "foregroundDeletion"]
        );
    }

    #[test]
    fn a_grace_period_can_be_shortened_but_not_prolonged() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let old = json!({"metadata": {"name": "p"}});
        let mut marked = old.clone();
        mark(&mut marked, &old, 30, now);
        assert_eq!(
            marked["metadata"]["deletionTimestamp"],
            "2026-01-01T00:00:30Z"
        );
        let later: Timestamp = "2026-01-01T00:00:05Z".parse().expect("a time");
        let mut shorter = marked.clone();
        mark(&mut shorter, &marked, 10, later);
        assert_eq!(
            shorter["metadata"]["deletionTimestamp"],
            "2026-01-01T00:00:10Z"
        );
        let mut longer = shorter.clone();
        mark(&mut longer, &shorter, 60, later);
        assert_eq!(longer, shorter);
    }
}

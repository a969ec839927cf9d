//! Server-side apply: a manager says which fields it wants, and with which values; the server merges, tells conflicts with other
//! managers, and removes what the manager wanted last time but no longer wants, unless somebody else owns it too.

mod check;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::managed_fields::element::{Element, path_text};
use crate::managed_fields::entries::{self, Entries, Entry, Owner};
use crate::managed_fields::field_set::FieldSet;
use crate::managed_fields::{
    managed_fields, put_entries, release, time_text, typed, without_entries,
};
use crate::schema::Schema;
use crate::status::{Cause, Status};

/// The content type of these bodies, which may be YAML or JSON.
pub const CONTENT_TYPE: &str = "application/apply-patch+yaml";

/// Who owns the fields of an object that nobody was recorded for, when it is applied to for the first time.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// kubectl's own record of what it last applied from the client's side.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The name under which kubectl applies; for it alone the move from client-side apply has rules.
const KUBECTL: &str = "kubectl";

/// One request to apply.
#[derive(Debug, Clone, Copy)]
pub struct Apply<'a> {
    /// Of the object's kind, in the version of the request.
    pub schema: &'a Schema,
    /// The stored object with its `managedFields`; nothing if it is to be created.
    pub live: Option<&'a Value>,
    /// What the manager wants: the request's body.
    pub applied: &'a Value,
    /// The field manager's name.
    pub manager: &'a str,
    /// Take fields from other managers instead of refusing.
    pub force: bool,
    /// `status` …; nothing for the object itself.
    pub subresource: Option<&'a str>,
    /// The kind has its status as a sub-resource: the object's own endpoint ignores status, and the reverse.
    pub has_status_subresource: bool,
    /// Version of the request: `v1`, `kubevirt.io/v1`.
    pub api_version: &'a str,
    /// The present moment.
    pub now: Timestamp,
}

/// The merged object with its new `managedFields`, ready for defaulting and validation. Equal to the stored object if the
/// request changes nothing.
///
/// # Errors
/// 400 if the body is of another version or has `managedFields`; 409 with one cause per field if other managers own what the body
/// would change; 500 (upstream's choice) if the body does not fit the schema.
pub fn server_side_apply(apply: Apply<'_>) -> Result<Value, Status> {
    let wanted = wanted(apply)?;
    let faults = check::faults(apply.schema, &wanted);
    if !faults.is_empty() {
        return Err(does_not_fit(apply, &faults));
    }
    let live = apply
        .live
        .map_or_else(|| Value::Object(Map::new()), without_entries);
    // Stored entries were written here, so they decode; a store edited by hand starts over, as upstream does.
    let mut known = apply
        .live
        .and_then(|live| entries::decode(managed_fields(live)).ok())
        .unwrap_or_default();
    for entry in known.values_mut() {
        entry.set = typed::fitted(apply.schema, &entry.set);
    }
    if known.is_empty() && apply.live.is_some() {
        let set = entries::stripped(&typed::field_set(apply.schema, &live));
        let api_version = apply.api_version.to_owned();
        let time = Some(time_text(apply.now));
        known.insert(
            Owner::updater(BEFORE_FIRST_APPLY, apply.api_version, None),
            Entry {
                set,
                api_version,
                time,
            },
        );
    }
    let attempt = Attempt {
        apply,
        live: &live,
        wanted: &wanted,
    };
    let mut outcome = attempt.run(&known, apply.force);
    if let Err(conflicts) = &mut outcome
        && apply.manager == KUBECTL
    {
        let allowed = attempt.last_applied_by_kubectl();
        conflicts.retain(|(_, path)| !contains(&allowed, path));
        if conflicts.is_empty() {
            outcome = attempt.run(&known, true);
        }
    }
    let (mut merged, known) = outcome.map_err(|conflicts| refused(&conflicts))?;
    if apply.manager == KUBECTL {
        refresh_last_applied(&mut merged, apply.applied);
    }
    put_entries(&mut merged, &known);
    Ok(merged)
}

type Conflicts = Vec<(Owner, Vec<Element>)>;

#[derive(Debug, Clone, Copy)]
struct Attempt<'a> {
    apply: Apply<'a>,
    live: &'a Value,
    wanted: &'a Value,
}

impl Attempt<'_> {
    /// The merged object and its owners, or the conflicts.
    fn run(&self, known: &Entries, force: bool) -> Result<(Value, Entries), Conflicts> {
        let Apply {
            schema,
            manager,
            subresource,
            api_version,
            now,
            ..
        } = self.apply;
        let owner = Owner::applier(manager, subresource);
        let mut known = known.clone();
        let last = known.remove(&owner);
        let set = typed::field_set(schema, self.wanted);
        let merged = typed::merge(schema, self.live, self.wanted);
        let merged = match &last {
            Some(last) => self.without_dropped(&merged, &last.set, &known),
            None => merged,
        };
        let changes = typed::compare(schema, self.live, &merged);
        let written = changes.added.union(&changes.modified);
        let conflicts: Conflicts = known
            .iter()
            .flat_map(|(owner, entry)| {
                let paths = entry.set.intersection(&written).paths();
                paths.into_iter().map(|path| (owner.clone(), path))
            })
            .collect();
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        release(&mut known, &written.union(&changes.removed));
        let set = entries::stripped(&set);
        let entry = match last {
            // Nothing new: keep the time, so that applying again is a write that changes nothing.
            Some(last)
                if merged == *self.live && last.set == set && last.api_version == api_version =>
            {
                last
            }
            _ => Entry {
                set,
                api_version: api_version.to_owned(),
                time: Some(time_text(now)),
            },
        };
        known.insert(owner, entry);
        Ok((merged, known))
    }

    /// `merged` without what this manager applied last time and does not now, as far as nobody else owns it.
    ///
    /// In three steps, as a container goes with its last owned field and takes what nobody owns (defaults) along: remove all
    /// that was applied last; keep what is wanted now and what anybody else owns; keep what was never this manager's.
    fn without_dropped(&self, merged: &Value, last: &FieldSet, others: &Entries) -> Value {
        let schema = self.apply.schema;
        let fields =
            |value: &Value| typed::with_named_fields(schema, &typed::field_set(schema, value));
        let last = typed::with_named_fields(schema, last);
        let owned = others
            .values()
            .fold(typed::all_paths(schema, self.wanted), |owned, entry| {
                owned.union(&entry.set)
            });
        let owned = typed::with_named_fields(schema, &owned);
        let all = fields(merged);
        let bare = fields(&typed::remove(schema, merged, &last));
        let kept = typed::remove(schema, merged, &all.difference(&bare.union(&owned)));
        let gone = all
            .difference(&fields(&kept))
            .intersection(&last)
            .difference(&owned);
        typed::remove(schema, merged, &gone)
    }

    /// The fields that kubectl's annotation says it applied from the client's side, and that still have those values: kubectl
    /// owns them, though they are recorded under another name.
    fn last_applied_by_kubectl(&self) -> FieldSet {
        let schema = self.apply.schema;
        let last = annotation(self.live).and_then(|text| serde_json::from_str::<Value>(text).ok());
        let Some(last @ Value::Object(_)) = last else {
            return FieldSet::default();
        };
        let last = check::without_nulls(schema, &last);
        let changes = typed::compare(schema, &last, self.live);
        typed::field_set(schema, &last)
            .difference(&changes.modified)
            .difference(&changes.added)
            .difference(&changes.removed)
    }
}

/// The part of the body that this endpoint takes, without nulls and without what only the server writes.
fn wanted(apply: Apply<'_>) -> Result<Value, Status> {
    let Value::Object(body) = apply.applied else {
        return Err(Status::bad_request(
            "error decoding YAML: the apply patch is not an object",
        ));
    };
    match body.get("apiVersion").and_then(Value::as_str) {
        Some(version) if version == apply.api_version => {}
        version => {
            return Err(Status::bad_request(format!(
                "Incorrect version specified in apply patch. Specified patch version: {}, expected: {}",
                version.unwrap_or_default(),
                apply.api_version
            )));
        }
    }
    let sent = managed_fields(apply.applied).filter(|sent| !sent.is_null());
    if sent.is_some_and(|sent| sent.as_array().is_none_or(|list| !list.is_empty())) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let mut wanted = check::without_nulls(apply.schema, apply.applied);
    let Some(fields) = wanted.as_object_mut() else {
        return Err(Status::bad_request(
            "error decoding YAML: the apply patch is not an object",
        ));
    };
    if apply.has_status_subresource {
        match apply.subresource {
            None => {
                fields.remove("status");
            }
            Some("status") => {
                fields.retain(|name, _| {
                    ["apiVersion", "kind", "metadata", "status"].contains(&name.as_str())
                });
            }
            Some(_) => {}
        }
    }
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        for name in [
            "creationTimestamp",
            "deletionGracePeriodSeconds",
            "deletionTimestamp",
            "generation",
            "managedFields",
            "selfLink",
        ] {
            metadata.remove(name);
        }
        if apply.has_status_subresource && apply.subresource == Some("status") {
            let identity = ["name", "namespace", "uid", "resourceVersion"];
            metadata.retain(|name, _| identity.contains(&name.as_str()));
        }
    }
    Ok(wanted)
}

fn contains(set: &FieldSet, path: &[Element]) -> bool {
    path.iter()
        .try_fold(set, |node, element| node.children.get(element))
        .is_some_and(|node| node.member)
}

fn annotation(object: &Value) -> Option<&str> {
    object
        .get("metadata")?
        .get("annotations")?
        .get(LAST_APPLIED)?
        .as_str()
}

/// Objects that carry kubectl's annotation keep it true, so that a later client-side apply computes the right difference.
fn refresh_last_applied(merged: &mut Value, applied: &Value) {
    if annotation(merged).is_none() {
        return;
    }
    let mut applied = without_entries(applied);
    if let Some(annotations) = applied
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.remove(LAST_APPLIED);
    }
    if let Some(annotations) = merged
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.insert(
            LAST_APPLIED.to_owned(),
            Value::String(format!("{applied}\n")),
        );
    }
}

/// 409 in upstream's words, one cause per field.
fn refused(conflicts: &Conflicts) -> Status {
    let causes = conflicts.iter().map(|(owner, path)| {
        Cause::new(
            "FieldManagerConflict",
            path_text(path),
            format!("conflict with {owner}"),
        )
    });
    let message = match conflicts.as_slice() {
        [(owner, path)] => {
            format!(
                "Apply failed with 1 conflict: conflict with {owner}: {}",
                path_text(path)
            )
        }
        many => {
            let mut lines = Vec::new();
            let mut previous = None;
            for (owner, path) in many {
                if previous != Some(owner) {
                    lines.push(format!("conflicts with {owner}:"));
                    previous = Some(owner);
                }
                lines.push(format!("- {}", path_text(path)));
            }
            format!(
                "Apply failed with {} conflicts: {}",
                many.len(),
                lines.join("\n")
            )
        }
    };
    Status::new(409, "Conflict", message).with_causes(causes.collect())
}

/// Upstream answers a body that does not fit the schema as an internal error without a reason; clients print its message.
fn does_not_fit(apply: Apply<'_>, faults: &[String]) -> Status {
    let text = |path: &str| {
        apply
            .applied
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (group, version) = apply
        .api_version
        .split_once('/')
        .unwrap_or(("", apply.api_version));
    let faults = match faults {
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    Status::new(
        500,
        "",
        format!(
            "failed to create typed patch object ({}/{}; {group}/{version}, Kind={}): {faults}",
            text("/metadata/namespace"),
            text("/metadata/name"),
            text("/kind"),
        ),
    )
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod recorded;

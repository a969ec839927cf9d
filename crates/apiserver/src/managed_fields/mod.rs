//! `metadata.managedFields`: who set which field.
//!
//! Every write records its manager as the owner of the fields that it changed ([`record_update`]); server-side apply
//! ([`crate::patch::apply`]) uses the record to find conflicts and to remove what an applier no longer wants.

pub mod element;
pub mod entries;
pub mod field_set;
pub mod typed;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::schema::Schema;
use entries::{Entries, Entry, Owner};
use field_set::FieldSet;

/// A write other than apply, as it is about to be stored.
#[derive(Debug)]
pub struct Update<'a> {
    /// Of the object's kind, in the version of the request.
    pub schema: &'a Schema,
    /// The stored object with its `managedFields`; nothing on create.
    pub old: Option<&'a Value>,
    /// The object as it will be stored; its `metadata.managedFields` is what the client sent, and is set by the call.
    pub new: &'a mut Value,
    /// The field manager's name.
    pub manager: &'a str,
    /// Version of the request: `v1`, `kubevirt.io/v1`.
    pub api_version: &'a str,
    /// `status`, `scale` …; nothing for the object itself.
    pub subresource: Option<&'a str>,
    /// The kind has its status as a sub-resource: what stands in `status` after a write to the object itself is the server's.
    pub has_status_subresource: bool,
    /// The present moment.
    pub now: Timestamp,
}

/// Records in `new` who owns what after this write: the manager owns what it changed, other owners lose that and what is gone.
///
/// A client may set `managedFields` itself: `[{}]` clears it, well-formed entries replace it, and anything else (clients that
/// drop the field, malformed entries) leaves the stored ones, as upstream does. An object without any entries stays without
/// until the next apply. A write that changes nothing keeps every time, so that it stays a write that changes nothing.
pub fn record_update(update: Update<'_>) {
    let Update {
        schema,
        old,
        new,
        manager,
        api_version,
        subresource,
        has_status_subresource,
        now,
    } = update;
    let sent = take_entries(new);
    let stored = || {
        // Stored entries were written here, so they decode; a store edited by hand starts over, as upstream does.
        old.and_then(|old| entries::decode(managed_fields(old)).ok())
            .unwrap_or_default()
    };
    let is_reset = matches!(&sent, Some(Value::Array(list)) if matches!(list.as_slice(), [Value::Object(map)] if map.is_empty()));
    let mut known = if subresource.is_some() {
        stored()
    } else if is_reset {
        Entries::new()
    } else {
        match entries::decode(sent.as_ref()) {
            Ok(sent) if !sent.is_empty() => sent,
            _ => stored(),
        }
    };
    if known.is_empty() && old.is_some() {
        return;
    }
    let before = old.map_or_else(|| Value::Object(Map::new()), without_entries);
    let changes = typed::compare(schema, &before, new);
    let written = changes.added.union(&changes.modified);
    let mut taken = entries::stripped(&written);
    if has_status_subresource && subresource.is_none() {
        taken
            .children
            .remove(&element::Element::Field("status".to_owned()));
    }
    let owner = Owner::updater(manager, api_version, subresource);
    let mut own = known.remove(&owner);
    release(&mut known, &written.clone().union(&changes.removed));
    if let Some(own) = &mut own {
        own.set = own.set.difference(&changes.removed);
    }
    if !taken.is_empty() {
        let own = own.get_or_insert_with(|| Entry {
            set: FieldSet::default(),
            api_version: api_version.to_owned(),
            time: None,
        });
        own.set.extend(taken);
        own.time = Some(time_text(now));
    }
    if let Some(own) = own.filter(|own| !own.set.is_empty()) {
        known.insert(owner, own);
    }
    entries::cap_updaters(&mut known);
    put_entries(new, &known);
}

/// Takes these fields from every owner.
pub(crate) fn release(known: &mut Entries, fields: &FieldSet) {
    known.retain(|_, entry| {
        entry.set = entry.set.difference(fields);
        !entry.set.is_empty()
    });
}

/// An entry's time as it is written: whole seconds.
pub(crate) fn time_text(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `metadata.managedFields`.
pub(crate) fn managed_fields(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("managedFields")
}

/// The object without `metadata.managedFields`.
pub(crate) fn without_entries(object: &Value) -> Value {
    let mut object = object.clone();
    take_entries(&mut object);
    object
}

/// Removes `metadata.managedFields`, and returns what it was.
pub(crate) fn take_entries(object: &mut Value) -> Option<Value> {
    object
        .get_mut("metadata")?
        .as_object_mut()?
        .remove("managedFields")
}

/// Writes `metadata.managedFields`; no entries, no field.
pub(crate) fn put_entries(object: &mut Value, known: &Entries) {
    let stripped: Entries = known
        .iter()
        .map(|(owner, entry)| {
            let set = entries::stripped(&entry.set);
            (
                owner.clone(),
                Entry {
                    set,
                    ..entry.clone()
                },
            )
        })
        .collect();
    let list = entries::encode(&stripped);
    take_entries(object);
    if list.is_empty() {
        return;
    }
    if let Some(object) = object.as_object_mut() {
        let metadata = object
            .entry("metadata")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("managedFields".to_owned(), Value::Array(list));
        }
    }
}

#[cfg(test)]
mod tests;

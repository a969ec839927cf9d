//! PUT and PATCH: a changed object.

use serde_json::{Map, Value, json};
use store::{Entry, Expect};

use crate::admission::Operation;
use crate::decode::Decoded;
use crate::metadata;
use crate::object::options::Validation;
use crate::object::{Outcome, PutError, Write, create, finish};
use crate::patch;
use crate::resource_type::GenerationRule;
use crate::status::{Cause, Status};

/// Times that a change is made anew because somebody else wrote in between. Each try is a few
/// microseconds, and 64 writers of one object must all come through.
const CONFLICT_TRIES: usize = 200;

/// A patch by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own, by merge keys.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl PatchType {
    /// The type of a `Content-Type`, if the kind takes it.
    ///
    /// # Errors
    /// 415 naming the types that the kind takes.
    pub(crate) fn parse(content_type: &str, is_custom: bool) -> Result<PatchType, Status> {
        match crate::decode::media_type(content_type).as_str() {
            "application/json-patch+json" => Ok(PatchType::Json),
            "application/merge-patch+json" => Ok(PatchType::Merge),
            "application/apply-patch+yaml" => Ok(PatchType::Apply),
            "application/strategic-merge-patch+json" if !is_custom => Ok(PatchType::Strategic),
            _ => {
                let mut accepted = vec![
                    "application/json-patch+json",
                    "application/merge-patch+json",
                    "application/apply-patch+yaml",
                ];
                if !is_custom {
                    accepted.insert(2, "application/strategic-merge-patch+json");
                }
                Err(Status::unsupported_media_type(&accepted))
            }
        }
    }
}

/// How the new state comes from the old one.
pub(crate) enum Change<'a> {
    /// PUT.
    Replace(Decoded),
    /// A patch's bytes.
    Patch(PatchType, &'a [u8]),
    /// A function (the server's own parts, and sub-resources).
    With(&'a (dyn Fn(Value) -> Result<Value, Status> + Sync)),
}

/// Changes the object `name`.
pub(crate) async fn update(
    write: &Write<'_>,
    name: &str,
    change: Change<'_>,
) -> Result<Outcome, Status> {
    let apply = match &change {
        Change::Patch(PatchType::Apply, body) => Some(applied_object(write, name, body)?),
        _ => None,
    };
    if let Change::Replace(body) = &change {
        replace_checks(write, name, &body.value)?;
    }
    // `create` takes the lock itself, and definitions are not created by PUT.
    let _definitions = finish::lock_definitions(write).await;
    for _ in 0..CONFLICT_TRIES {
        let Some(entry) = write.server.store.get(&write.key(name)) else {
            return missing(write, name, change, apply).await;
        };
        let old = write.kind.read(&entry)?;
        let mut warnings = Vec::new();
        let (new, asked) = match (&change, &apply) {
            (_, Some(applied)) => (apply_to(write, Some(&old), applied)?, Asked::Nothing),
            (Change::Replace(body), _) => {
                let mut object = body.value.clone();
                warnings.extend(write.accept(&mut object, &body.duplicates)?);
                let asked = Asked::of(&object);
                (object, asked)
            }
            (Change::Patch(kind, body), _) => {
                let (object, found) = patched(write, &old, *kind, body)?;
                warnings.extend(found);
                let asked =
                    if metadata::resource_version(&object) == metadata::resource_version(&old) {
                        Asked::Nothing
                    } else {
                        Asked::of(&object)
                    };
                (object, asked)
            }
            (Change::With(function), _) => (function(old.clone())?, Asked::Nothing),
        };
        check_version(
            write,
            name,
            &asked,
            &entry,
            matches!(change, Change::Replace(_)),
        )?;
        check_uid(write, name, &new, &old)?;
        match attempt(write, &entry, &old, new, warnings, apply.is_some()).await {
            Ok(outcome) => return Ok(outcome),
            // The client has said which version it means, and that is no longer the present one.
            Err(PutError::Conflict) if matches!(asked, Asked::Revision(_)) => {
                return Err(modified(write, name));
            }
            Err(PutError::Conflict) => {}
            Err(PutError::Failed(status)) => return Err(status),
        }
    }
    Err(modified(write, name))
}

fn modified(write: &Write<'_>, name: &str) -> Status {
    write.conflict(
        name,
        "the object has been modified; please apply your changes to the latest version and try \
         again",
    )
}

/// The resource version that a client demands.
enum Asked {
    Nothing,
    Revision(String),
}

impl Asked {
    fn of(object: &Value) -> Asked {
        match metadata::resource_version(object) {
            "" | "0" => Asked::Nothing,
            text => Asked::Revision(text.to_owned()),
        }
    }
}

fn check_version(
    write: &Write<'_>,
    name: &str,
    asked: &Asked,
    entry: &Entry,
    replaces: bool,
) -> Result<(), Status> {
    let field = "metadata.resourceVersion";
    match asked {
        Asked::Revision(text) => match text.parse::<u64>() {
            Ok(revision) if revision == entry.modified => Ok(()),
            Ok(_) => Err(modified(write, name)),
            Err(_) => {
                let cause = Cause::invalid(field, &json!(text), "must be a decimal number");
                Err(write.invalid(name, vec![cause]))
            }
        },
        Asked::Nothing if replaces && !write.kind.resource.strategy.unconditional_update => {
            let cause = Cause::invalid(field, &json!(0), "must be specified for an update");
            Err(write.invalid(name, vec![cause]))
        }
        Asked::Nothing => Ok(()),
    }
}

fn check_uid(write: &Write<'_>, name: &str, new: &Value, old: &Value) -> Result<(), Status> {
    let (asked, found) = (metadata::uid(new), metadata::uid(old));
    if asked.is_empty() || asked == found {
        return Ok(());
    }
    Err(write.conflict(
        name,
        &format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {found}"),
    ))
}

fn replace_checks(write: &Write<'_>, name: &str, object: &Value) -> Result<(), Status> {
    let stated = metadata::name(object);
    if stated != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({stated}) does not match the name on the URL ({name})"
        )));
    }
    write.check_place(object)
}

/// The object is not there: some requests create it.
async fn missing(
    write: &Write<'_>,
    name: &str,
    change: Change<'_>,
    apply: Option<Value>,
) -> Result<Outcome, Status> {
    if write.subresource.is_some() {
        return Err(write.not_found(name));
    }
    if let Some(applied) = apply {
        if !metadata::uid(&applied).is_empty() {
            let why = "uid mismatch: the provided object specified uid, and no existing object \
                       was found";
            return Err(write.conflict(name, why));
        }
        let object = apply_to(write, None, &applied)?;
        let managed = metadata::field(&object, "managedFields")
            .cloned()
            .unwrap_or_default();
        let mut object = object;
        metadata::set(&mut object, "resourceVersion", None);
        return create::insert(write, object, Vec::new(), Some(managed)).await;
    }
    match change {
        Change::Replace(body) if write.kind.resource.strategy.create_on_update => {
            if !matches!(Asked::of(&body.value), Asked::Nothing) {
                return Err(write.not_found(name));
            }
            create::create(write, body).await
        }
        _ => Err(write.not_found(name)),
    }
}

/// The object in the body of an apply request, checked.
fn applied_object(write: &Write<'_>, name: &str, body: &[u8]) -> Result<Value, Status> {
    let decoded = crate::decode::yaml(body)?;
    let mut object = decoded.value;
    if metadata::field(&object, "managedFields")
        .and_then(Value::as_array)
        .is_some_and(|entries| !entries.is_empty())
    {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    for field in ["apiVersion", "kind"] {
        if object
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or("")
            .is_empty()
        {
            let why = format!("the applied object must have a {field}");
            return Err(Status::bad_request(why));
        }
    }
    if write.options.validation == Validation::Strict && !decoded.duplicates.is_empty() {
        let paths = decoded.duplicates.join("\", \"");
        return Err(Status::bad_request(format!(
            "error strict decoding YAML: duplicate field \"{paths}\""
        )));
    }
    // Unknown fields are not pruned: apply itself refuses them. Without them it would look as if the
    // manager wanted the known ones gone.
    let resource = &write.kind.resource;
    if object["kind"] != resource.names.kind.as_str()
        || object["apiVersion"] != resource.api_version()
    {
        return Err(Status::bad_request(format!(
            "the applied object is {} {}, but the request is for {} {}",
            object["apiVersion"],
            object["kind"],
            resource.api_version(),
            resource.names.kind
        )));
    }
    match metadata::name(&object) {
        "" => metadata::set(&mut object, "name", Some(Value::from(name))),
        stated if stated != name => {
            return Err(Status::bad_request(format!(
                "the name of the object ({stated}) does not match the name on the URL ({name})"
            )));
        }
        _ => {}
    }
    write.place(&mut object)?;
    Ok(object)
}

fn apply_to(write: &Write<'_>, live: Option<&Value>, applied: &Value) -> Result<Value, Status> {
    let mut applied = applied.clone();
    // The version is a condition, checked here, and not a field that anybody could own.
    if let Some(live) = live {
        let asked = metadata::resource_version(&applied);
        if !asked.is_empty() && asked != metadata::resource_version(live) {
            return Err(modified(write, metadata::name(live)));
        }
        check_uid(write, metadata::name(live), &applied, live)?;
    }
    metadata::set(&mut applied, "resourceVersion", None);
    let resource = &write.kind.resource;
    patch::apply::server_side_apply(patch::apply::Apply {
        schema: &write.kind.schema,
        live,
        applied: &applied,
        manager: &write.options.manager,
        force: write.options.force,
        subresource: write.subresource,
        has_status_subresource: resource.strategy.status,
        api_version: &resource.api_version(),
        now: write.server.now(),
    })
}

/// The object after a patch, and warnings about unknown fields.
fn patched(
    write: &Write<'_>,
    old: &Value,
    kind: PatchType,
    body: &[u8],
) -> Result<(Value, Vec<String>), Status> {
    let mut object = match kind {
        PatchType::Json => patch::json::apply(old, body)?,
        PatchType::Merge => patch::merge::apply(old, body)?,
        PatchType::Strategic => patch::strategic::apply(&write.kind.schema, old, body)?,
        // `update` takes the other way for these.
        PatchType::Apply => return Err(Status::internal("an apply patch took the wrong way")),
    };
    let duplicates = match kind {
        PatchType::Json => Vec::new(),
        _ => crate::decode::json(body)?.duplicates,
    };
    let name = metadata::name(old);
    if metadata::name(&object) != name {
        let value = Value::from(metadata::name(&object));
        let cause = Cause::invalid("metadata.name", &value, "field is immutable");
        return Err(write.invalid(name, vec![cause]));
    }
    let warnings = write.accept(&mut object, &duplicates)?;
    write.place(&mut object)?;
    Ok((object, warnings))
}

async fn attempt(
    write: &Write<'_>,
    entry: &Entry,
    old: &Value,
    mut new: Value,
    mut warnings: Vec<String>,
    applied: bool,
) -> Result<Outcome, PutError> {
    let failed = PutError::Failed;
    inherit(&mut new, old);
    new = isolate(write, new, old);
    write.kind.schema.default(&mut new);
    if write.subresource.is_none() {
        crate::special::prepare_update(write.kind, &mut new, old);
    }
    if !applied {
        finish::own_fields(write, Some(old), &mut new);
    }
    write
        .mutate(Operation::Update, &mut new, Some(old), &mut warnings)
        .map_err(failed)?;
    inherit(&mut new, old);
    grow_generation(write, &mut new, old);
    write.validate(&new, Some(old)).map_err(failed)?;
    write
        .judge(Operation::Update, &new, Some(old), &mut warnings)
        .map_err(failed)?;
    crate::crd::before_write(write, &mut new, Some(old)).map_err(failed)?;
    let expect = Expect::Revision(entry.modified);
    if ends_now(write, &new) {
        return remove(write, entry, new, warnings).await;
    }
    if finish::is_same(&new, old) {
        // Nothing is written and nobody is told; the version stays.
        return Ok(Outcome {
            object: old.clone(),
            created: false,
            warnings,
        });
    }
    warnings.extend(crate::meta_rules::warnings(&new));
    if write.options.dry_run {
        metadata::copy(&mut new, old, "resourceVersion");
        return Ok(Outcome {
            object: new,
            created: false,
            warnings,
        });
    }
    let object = write.put(new, expect).await?;
    finish::after_write(write).map_err(failed)?;
    Ok(Outcome {
        object,
        created: false,
        warnings,
    })
}

/// The last finalizer was taken from an object that is on its way out: this write removes it.
async fn remove(
    write: &Write<'_>,
    entry: &Entry,
    mut object: Value,
    warnings: Vec<String>,
) -> Result<Outcome, PutError> {
    if !write.options.dry_run {
        let expect = Expect::Revision(entry.modified);
        let revision = write.server.store.delete(&entry.key, expect).await?;
        metadata::set(
            &mut object,
            "resourceVersion",
            Some(json!(revision.to_string())),
        );
        finish::after_write(write).map_err(PutError::Failed)?;
    }
    Ok(Outcome {
        object,
        created: false,
        warnings,
    })
}

fn ends_now(write: &Write<'_>, object: &Value) -> bool {
    let grace = metadata::field(object, "deletionGracePeriodSeconds").and_then(Value::as_i64);
    let namespace_done = !write.kind.is("", "namespaces")
        || object["spec"]
            .get("finalizers")
            .and_then(Value::as_array)
            .is_none_or(Vec::is_empty);
    metadata::is_deleting(object)
        && metadata::finalizers(object).is_empty()
        && grace.unwrap_or(0) == 0
        && namespace_done
}

/// What no update can change comes from the old object.
fn inherit(new: &mut Value, old: &Value) {
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
    ] {
        metadata::copy(new, old, field);
    }
    // Not `managedFields`: a write that leaves them out keeps them in `finish::own_fields`, and one
    // that clears them must not get them back.
    metadata::set(new, "selfLink", None);
    // A patch that takes the last entry out leaves the container, which upstream never stores.
    for field in ["annotations", "finalizers", "labels", "ownerReferences"] {
        let is_empty = match metadata::field(new, field) {
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::Object(map)) => map.is_empty(),
            _ => false,
        };
        if is_empty {
            metadata::set(new, field, None);
        }
    }
}

/// The part that this endpoint may change comes from the new object, all else from the old one.
fn isolate(write: &Write<'_>, mut new: Value, old: &Value) -> Value {
    let resource = &write.kind.resource;
    match write.subresource {
        None => {
            if resource.strategy.status {
                copy_field(&mut new, old, "status");
            }
            new
        }
        Some("status") => {
            let mut merged = old.clone();
            copy_field(&mut merged, &new, "status");
            if resource.is_custom() {
                metadata::copy(&mut merged, &new, "managedFields");
            } else {
                // As upstream, agents may set labels and annotations of built-in kinds with the
                // status, but not owners or finalizers.
                for field in ["managedFields", "labels", "annotations"] {
                    metadata::copy(&mut merged, &new, field);
                }
            }
            merged
        }
        Some("finalize") => {
            let mut merged = old.clone();
            let finalizers = new["spec"]
                .get("finalizers")
                .cloned()
                .unwrap_or_else(|| json!([]));
            merged["spec"]["finalizers"] = finalizers;
            metadata::copy(&mut merged, &new, "managedFields");
            merged
        }
        // `scale` and `binding` are functions that touch only what they may.
        Some(_) => new,
    }
}

fn copy_field(to: &mut Value, from: &Value, field: &str) {
    let Some(map) = to.as_object_mut() else {
        return;
    };
    match from.get(field) {
        Some(value) => {
            map.insert(field.to_owned(), value.clone());
        }
        None => {
            map.remove(field);
        }
    }
}

fn grow_generation(write: &Write<'_>, new: &mut Value, old: &Value) {
    let strategy = &write.kind.resource.strategy;
    let grown = match strategy.generation {
        GenerationRule::None => return,
        _ if write.subresource == Some("status") => false,
        GenerationRule::Spec => new.get("spec") != old.get("spec"),
        GenerationRule::NonMetadata => {
            substance(new, strategy.status) != substance(old, strategy.status)
        }
    };
    if grown {
        let generation = metadata::generation(old) + 1;
        metadata::set(new, "generation", Some(Value::from(generation)));
    }
}

/// An object without metadata (and without status, where that has its own endpoint).
fn substance(object: &Value, status: bool) -> Map<String, Value> {
    let empty = Map::new();
    object
        .as_object()
        .unwrap_or(&empty)
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "metadata" | "apiVersion" | "kind"))
        .filter(|(key, _)| !(status && *key == "status"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

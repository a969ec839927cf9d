//! POST: a new object.

use rand::Rng;
use serde_json::Value;
use store::Expect;

use crate::admission::Operation;
use crate::decode::Decoded;
use crate::metadata;
use crate::names;
use crate::object::{Outcome, PutError, Write, finish};
use crate::resource_type::GenerationRule;
use crate::status::{Cause, Status};

/// Tries for a generated name that is free. With 27^5 names a second try is already rare.
const NAME_TRIES: usize = 8;

/// Creates an object from a body.
pub(crate) async fn create(write: &Write<'_>, body: Decoded) -> Result<Outcome, Status> {
    let mut object = body.value;
    let warnings = write.accept(&mut object, &body.duplicates)?;
    if let Some(fields) = metadata::field(&object, "managedFields")
        && !fields.is_null()
    {
        // As upstream, who sends managedFields with a create is not refused; they count for nothing.
        metadata::set(&mut object, "managedFields", None);
    }
    let _definitions = finish::lock_definitions(write).await;
    insert(write, object, warnings, None).await
}

/// Creates an object that is typed and pruned already. `managed` is set when server-side apply has
/// made the managed fields.
pub(crate) async fn insert(
    write: &Write<'_>,
    mut object: Value,
    warnings: Vec<String>,
    managed: Option<Value>,
) -> Result<Outcome, Status> {
    write.place(&mut object)?;
    if !metadata::resource_version(&object).is_empty() {
        let why = "resourceVersion should not be set on objects to be created";
        return Err(Status::bad_request(why));
    }
    if write.kind.terminating {
        let why = "create not allowed while custom resource definition is terminating";
        return Err(Status::new(405, "MethodNotAllowed", why));
    }
    check_namespace(write, &object)?;
    let prefix = metadata::text(&object, "generateName").to_owned();
    let generates = metadata::name(&object).is_empty();
    if generates && prefix.is_empty() {
        let cause = Cause::required("metadata.name", "name or generateName is required");
        return Err(write.invalid("", vec![cause]));
    }
    let mut tries = if generates { NAME_TRIES } else { 1 };
    loop {
        tries -= 1;
        let mut attempt = object.clone();
        if generates {
            let name = names::generate(&prefix, &mut rand::rng());
            metadata::set(&mut attempt, "name", Some(Value::from(name)));
        }
        let name = metadata::name(&attempt).to_owned();
        match attempt_insert(write, attempt, warnings.clone(), managed.clone()).await {
            Ok(outcome) => return Ok(outcome),
            Err(PutError::Conflict) if tries > 0 => {}
            Err(PutError::Conflict) => {
                let resource = &write.kind.resource;
                let plural = &resource.names.plural;
                let status = Status::already_exists(&resource.group, plural, &name);
                return Err(if generates {
                    status.with_retry_after(1)
                } else {
                    status
                });
            }
            Err(PutError::Failed(status)) => return Err(status),
        }
    }
}

async fn attempt_insert(
    write: &Write<'_>,
    mut object: Value,
    mut warnings: Vec<String>,
    managed: Option<Value>,
) -> Result<Outcome, PutError> {
    let failed = PutError::Failed;
    begin(write, &mut object, &mut rand::rng());
    write.kind.schema.default(&mut object);
    match managed {
        Some(managed) => metadata::set(&mut object, "managedFields", Some(managed)),
        None => finish::own_fields(write, None, &mut object),
    }
    write
        .mutate(Operation::Create, &mut object, None, &mut warnings)
        .map_err(failed)?;
    write.validate(&object, None).map_err(failed)?;
    write
        .judge(Operation::Create, &object, None, &mut warnings)
        .map_err(failed)?;
    warnings.extend(crate::meta_rules::warnings(&object));
    crate::crd::before_write(write, &mut object, None).map_err(failed)?;
    if write.options.dry_run {
        if write
            .server
            .store
            .get(&write.key(metadata::name(&object)))
            .is_some()
        {
            return Err(PutError::Conflict);
        }
        return Ok(Outcome {
            object,
            created: true,
            warnings,
        });
    }
    let object = write.put(object, Expect::Absent).await?;
    finish::after_write(write).map_err(failed)?;
    Ok(Outcome {
        object,
        created: true,
        warnings,
    })
}

/// Sets what the server decides: uid, time, generation, status.
fn begin(write: &Write<'_>, object: &mut Value, random: &mut impl Rng) {
    let strategy = &write.kind.resource.strategy;
    let uid = uuid::Builder::from_random_bytes(random.random()).into_uuid();
    let now = metadata::time(write.server.now());
    let fields = metadata::of(object);
    for field in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "generation",
    ] {
        fields.remove(field);
    }
    fields.insert("uid".to_owned(), Value::from(uid.to_string()));
    fields.insert("creationTimestamp".to_owned(), Value::from(now));
    if strategy.generation != GenerationRule::None {
        fields.insert("generation".to_owned(), Value::from(1));
    }
    if strategy.status
        && let Some(map) = object.as_object_mut()
    {
        map.remove("status");
    }
    crate::special::prepare_create(write.kind, object);
}

/// The namespace must exist and must not be on its way out.
fn check_namespace(write: &Write<'_>, object: &Value) -> Result<(), Status> {
    let Some(namespace) = write.namespace else {
        return Ok(());
    };
    let key = crate::stored::key("", "namespaces", None, namespace);
    let Some(entry) = write.server.store.get(&key) else {
        return Err(Status::not_found("", "namespaces", namespace));
    };
    let found = crate::stored::decode_entry(&entry).map_err(Status::internal)?;
    // Events may still tell how a namespace ends; upstream refuses them too, and so do we.
    if metadata::is_deleting(&found) || found["status"]["phase"] == "Terminating" {
        let resource = &write.kind.resource;
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let name = metadata::name(object);
        let status = Status::forbidden(&resource.group, &resource.names.plural, name, &why);
        let message = format!("namespace {namespace} is being terminated");
        let cause = Cause::new("NamespaceTerminating", "metadata.namespace", message);
        return Err(status.with_causes(vec![cause]));
    }
    Ok(())
}

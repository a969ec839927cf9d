//! From an authorized request to the function that answers it.

use std::sync::Arc;

use http::Response;
use serde_json::Value;

use crate::body::Body;
use crate::decode;
use crate::extension::{Handler, HandlerRequest};
use crate::metadata;
use crate::negotiate::{self, Representation};
use crate::object::delete::{self, DeleteOptions, Deletion};
use crate::object::update::{Change, PatchType, update};
use crate::object::{Outcome, Write, WriteOptions, create, scale};
use crate::registry::{Kind, Registry, Role};
use crate::respond;
use crate::route::ResourcePath;
use crate::server::{Call, Inner};
use crate::status::Status;

/// Answers a request. Errors become `Status` bodies here.
pub(crate) async fn dispatch(server: &Inner, mut call: Call) -> Response<Body> {
    let registry = server.registry.load_full();
    let answer = match call.info.resource.take() {
        None => match page(server, &call) {
            Some(handler) => Ok(page_by_code(&handler, call).await),
            None => crate::discovery::answer(server, &registry, &call),
        },
        Some(path) => resource(server, &registry, path, call).await,
    };
    answer.unwrap_or_else(Status::into_response)
}

/// Who answers a page beside the API, if it is one.
fn page(server: &Inner, call: &Call) -> Option<Arc<dyn Handler>> {
    let pages = &server.extensions.pages;
    let found = pages.iter().find(|(path, _)| *path == call.info.path)?;
    (call.info.verb == "get").then(|| Arc::clone(&found.1))
}

async fn page_by_code(handler: &Arc<dyn Handler>, call: Call) -> Response<Body> {
    let path = ResourcePath {
        resource: call.info.path.clone(),
        ..ResourcePath::default()
    };
    by_code(handler, path, call).await
}

/// Plain text, as upstream's multiplexer answers unknown paths.
pub(crate) fn page_not_found() -> Response<Body> {
    let mut response = Response::new(Body::full("404 page not found\n"));
    *response.status_mut() = http::StatusCode::NOT_FOUND;
    let text = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, text);
    response
}

async fn resource(
    server: &Inner,
    registry: &Registry,
    path: ResourcePath,
    mut call: Call,
) -> Result<Response<Body>, Status> {
    if let Some(extension) = registry.extension(&path.group, &path.version) {
        let handler = Arc::clone(&extension.handler);
        return Ok(by_code(&handler, path, call).await);
    }
    if !registry.has_version(&path.group, &path.version) {
        return Ok(page_not_found());
    }
    let kind = registry
        .find(&path.group, &path.version, &path.resource)
        .cloned()
        .ok_or_else(Status::no_such_resource)?;
    if let Some(subresource) = &path.subresource
        && let Some(handler) = registry.subresource(&path.group, &path.resource, subresource)
    {
        let handler = Arc::clone(handler);
        return Ok(by_code(&handler, path, call).await);
    }
    if !path.rest.is_empty() {
        return Err(Status::no_such_resource());
    }
    check_scope(&kind, &path, call.info.verb)?;
    if kind.role == Role::Review {
        return crate::reviews::answer(server, &kind, &path, &call);
    }
    let representation = negotiate::choose(&call.headers, &call.query)?;
    let upgrade = call.upgrade.take();
    let stored = Stored {
        server,
        kind,
        path,
        call,
        representation,
    };
    let mut response = match upgrade {
        Some(upgrade) if stored.call.info.verb == "watch" => {
            let name = stored.path.name.as_deref();
            return crate::watch::watch_socket(&stored.reading(), name, upgrade);
        }
        _ => stored.answer().await?,
    };
    if let Some(warning) = &stored.kind.resource.deprecation_warning {
        respond::warn(&mut response, std::slice::from_ref(warning));
    }
    Ok(response)
}

async fn by_code(handler: &Arc<dyn Handler>, path: ResourcePath, call: Call) -> Response<Body> {
    let closing = call.closing.clone();
    let response = handler
        .handle(HandlerRequest {
            user: call.user,
            verb: call.info.verb,
            version: path.version,
            namespace: path.namespace,
            resource: path.resource,
            name: path.name,
            subresource: path.subresource,
            rest: path.rest,
            query: call.query.0,
            body: call.body,
            headers: call.headers,
            upgrade: call.upgrade,
            closing: call.closing,
        })
        .await;
    response.map(|body| body.until(closing))
}

/// Cluster-scoped kinds have no namespace in their path, and objects of others are found only in
/// one.
fn check_scope(kind: &Kind, path: &ResourcePath, verb: &str) -> Result<(), Status> {
    let needs_namespace = path.name.is_some() || verb == "create" || verb == "deletecollection";
    match (&path.namespace, kind.resource.namespaced) {
        (Some(_), false) => Err(Status::no_such_resource()),
        // Upstream has no such routes; a POST to the list of all namespaces is a wrong method.
        (None, true) if needs_namespace && kind.role != Role::Review => {
            Err(if path.name.is_some() {
                Status::no_such_resource()
            } else {
                Status::method_not_allowed()
            })
        }
        _ => Ok(()),
    }
}

/// A request about stored objects.
struct Stored<'a> {
    server: &'a Inner,
    kind: Arc<Kind>,
    path: ResourcePath,
    call: Call,
    representation: Representation,
}

impl Stored<'_> {
    async fn answer(&self) -> Result<Response<Body>, Status> {
        if let Some(subresource) = &self.path.subresource {
            return self.subresource(subresource).await;
        }
        match (self.call.info.verb, self.path.name.as_deref()) {
            ("get", Some(name)) => self.get(name).await,
            ("list", None) => crate::list::list(&self.reading()).await,
            ("watch", name) => crate::watch::watch(&self.reading(), name),
            ("create", None) => {
                let write = self.write(None, "CreateOptions", false)?;
                let body = self.body()?;
                self.object(create::create(&write, body).await?)
            }
            ("update", Some(name)) => {
                let write = self.write(None, "UpdateOptions", false)?;
                let body = self.body()?;
                self.object(update(&write, name, Change::Replace(body)).await?)
            }
            ("patch", Some(name)) => self.patch(name, None).await,
            ("delete", Some(name)) => self.delete(name).await,
            ("deletecollection", None) => {
                let write = self.write(None, "DeleteOptions", false)?;
                let options =
                    DeleteOptions::parse(&self.call.query, &self.call.headers, &self.call.body)?;
                crate::list::delete_all(&self.reading(), &write, &options).await
            }
            _ => Err(Status::method_not_allowed()),
        }
    }

    fn reading(&self) -> crate::list::Reading<'_> {
        crate::list::Reading {
            server: self.server,
            kind: &self.kind,
            namespace: self.path.namespace.as_deref(),
            call: &self.call,
            representation: self.representation,
        }
    }

    async fn get(&self, name: &str) -> Result<Response<Body>, Status> {
        crate::list::wait_for_revision(self.server, self.call.query.text("resourceVersion"))
            .await?;
        let key = self.kind.key(self.path.namespace.as_deref(), name);
        let entry = self.server.store.get(&key).ok_or_else(|| {
            let resource = &self.kind.resource;
            Status::not_found(&resource.group, &resource.names.plural, name)
        })?;
        if self.representation == Representation::JSON && self.kind.serves_bytes() {
            return Ok(respond::entry(&self.kind, &entry));
        }
        self.respond(200, self.kind.read(&entry)?, &[])
    }

    async fn patch(&self, name: &str, subresource: Option<&str>) -> Result<Response<Body>, Status> {
        let content_type = self.content_type().unwrap_or("");
        let patch = PatchType::parse(content_type, self.kind.resource.is_custom())?;
        let write = self.write(subresource, "PatchOptions", patch == PatchType::Apply)?;
        self.object(update(&write, name, Change::Patch(patch, &self.call.body)).await?)
    }

    async fn delete(&self, name: &str) -> Result<Response<Body>, Status> {
        let write = self.write(None, "DeleteOptions", false)?;
        let options = DeleteOptions::parse(&self.call.query, &self.call.headers, &self.call.body)?;
        let mut warnings = Vec::new();
        match delete::delete(&write, name, &options, &mut warnings).await? {
            Deletion::Marked(object) => self.respond(200, object, &warnings),
            Deletion::Gone(object) => {
                let resource = &self.kind.resource;
                let uid = metadata::uid(&object);
                let status = Status::success(&resource.group, &resource.names.plural, name, uid);
                let mut response = respond::value(self.representation, 200, &status.to_value());
                respond::warn(&mut response, &warnings);
                Ok(response)
            }
        }
    }

    async fn subresource(&self, subresource: &str) -> Result<Response<Body>, Status> {
        let strategy = &self.kind.resource.strategy;
        let name = self
            .path
            .name
            .as_deref()
            .ok_or_else(Status::method_not_allowed)?;
        match subresource {
            "status" if strategy.status => match self.call.info.verb {
                "get" => self.get(name).await,
                "patch" => self.patch(name, Some("status")).await,
                "update" => {
                    let write = self.write(Some("status"), "UpdateOptions", false)?;
                    let body = self.body()?;
                    self.object(update(&write, name, Change::Replace(body)).await?)
                }
                _ => Err(Status::method_not_allowed()),
            },
            "scale" if strategy.scale.is_some() => self.scale(name).await,
            "finalize" if self.kind.is("", "namespaces") => {
                if self.call.info.verb != "update" {
                    return Err(Status::method_not_allowed());
                }
                let write = self.write(Some("finalize"), "UpdateOptions", false)?;
                let body = self.body()?;
                self.object(update(&write, name, Change::Replace(body)).await?)
            }
            "binding" if self.kind.is("", "pods") => self.bind(name).await,
            _ => Err(Status::no_such_resource()),
        }
    }

    async fn scale(&self, name: &str) -> Result<Response<Body>, Status> {
        let key = self.kind.key(self.path.namespace.as_deref(), name);
        let verb = self.call.info.verb;
        let not_found = || {
            let resource = &self.kind.resource;
            Status::not_found(&resource.group, &resource.names.plural, name)
        };
        if verb == "get" {
            let entry = self.server.store.get(&key).ok_or_else(not_found)?;
            let scale = scale::of(&self.kind, &self.kind.read(&entry)?)?;
            return Ok(respond::value(self.representation, 200, &scale));
        }
        let write = self.write(Some("scale"), "UpdateOptions", false)?;
        let body = &self.call.body;
        let patch = match verb {
            "update" => None,
            "patch" => Some(PatchType::parse(self.content_type().unwrap_or(""), true)?),
            _ => return Err(Status::method_not_allowed()),
        };
        let replaced = match patch {
            None => Some(decode::body(self.content_type(), body, true)?.value),
            Some(_) => None,
        };
        let change = |object: Value| {
            let scale = match (&replaced, patch) {
                (Some(scale), _) => scale.clone(),
                (None, Some(PatchType::Json)) => {
                    crate::patch::json::apply(&scale::of(&self.kind, &object)?, body)?
                }
                // An applied Scale has one field that counts, so merging it is the same.
                _ => crate::patch::merge::apply(&scale::of(&self.kind, &object)?, body)?,
            };
            scale::write_back(&self.kind, object, &scale)
        };
        let outcome = update(&write, name, Change::With(&change)).await?;
        let scale = scale::of(&self.kind, &outcome.object)?;
        Ok(respond::value(self.representation, 200, &scale))
    }

    /// `POST pods/NAME/binding`: the one way in which a pod gets its node.
    async fn bind(&self, name: &str) -> Result<Response<Body>, Status> {
        if self.call.info.verb != "create" {
            return Err(Status::method_not_allowed());
        }
        let write = self.write(Some("binding"), "CreateOptions", false)?;
        let binding = decode::body(self.content_type(), &self.call.body, true)?.value;
        crate::binding::bind(&write, name, &binding).await?;
        let mut status = Status::success("", "", "", "");
        status.details = None;
        let mut value = status.to_value();
        value["code"] = Value::from(201);
        Ok(respond::value(self.representation, 201, &value))
    }

    fn write<'a>(
        &'a self,
        subresource: Option<&'a str>,
        options_kind: &str,
        is_apply: bool,
    ) -> Result<Write<'a>, Status> {
        Ok(Write {
            server: self.server,
            kind: &self.kind,
            namespace: self.path.namespace.as_deref(),
            subresource,
            user: &self.call.user,
            options: WriteOptions::parse(
                options_kind,
                &self.call.query,
                &self.call.headers,
                is_apply,
            )?,
        })
    }

    fn content_type(&self) -> Option<&str> {
        self.call
            .headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
    }

    fn body(&self) -> Result<decode::Decoded, Status> {
        let protobuf_too = !self.kind.resource.is_custom();
        decode::body(self.content_type(), &self.call.body, protobuf_too)
    }

    fn object(&self, outcome: Outcome) -> Result<Response<Body>, Status> {
        let code = if outcome.created { 201 } else { 200 };
        self.respond(code, outcome.object, &outcome.warnings)
    }

    fn respond(
        &self,
        code: u16,
        object: Value,
        warnings: &[String],
    ) -> Result<Response<Body>, Status> {
        let call = &self.call;
        let now = self.server.now();
        let mut response = respond::object(
            self.representation,
            &self.kind,
            code,
            object,
            &call.query,
            now,
        )?;
        respond::warn(&mut response, warnings);
        Ok(response)
    }
}

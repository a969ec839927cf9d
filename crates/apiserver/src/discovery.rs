//! What is served: discovery in both forms, OpenAPI, version and health.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, EXPIRES, HeaderValue, IF_NONE_MATCH, VARY};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::body::Body;
use crate::dispatch::page_not_found;
use crate::extension::Extension;
use crate::negotiate::{self, Format};
use crate::openapi;
use crate::registry::{Group, Kind, Registry, Role};
use crate::resource_type::api_version;
use crate::respond;
use crate::server::{Call, Inner};
use crate::status::Status;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Bytes with the hash of them.
#[derive(Debug, Clone)]
struct Document {
    bytes: Bytes,
    hash: String,
}

impl Document {
    fn new(value: &Value) -> Document {
        let bytes = Bytes::from(value.to_string());
        let hash = openapi::hash(&bytes);
        Document { bytes, hash }
    }
}

/// Documents that are made once for a table of kinds.
pub(crate) struct Documents {
    core: Document,
    groups: Document,
    /// OpenAPI v3 by path (`api/v1`), each made when first asked for.
    specs: BTreeMap<String, OnceLock<Document>>,
    swagger: OnceLock<Document>,
}

impl Documents {
    /// The documents of a table.
    pub(crate) fn new(registry: &Registry) -> Documents {
        let (core, groups): (Vec<&Group>, Vec<&Group>) = registry
            .groups
            .iter()
            .partition(|group| group.name.is_empty());
        let list = |groups: &[&Group]| {
            Document::new(&json!({
                "kind": "APIGroupDiscoveryList",
                "apiVersion": "apidiscovery.k8s.io/v2",
                "metadata": {},
                "items": groups.iter().map(|group| aggregated_group(registry, group)).collect::<Vec<_>>(),
            }))
        };
        let specs = registry
            .groups
            .iter()
            .flat_map(|group| {
                group
                    .versions
                    .iter()
                    .map(|version| (openapi::v3_path(&group.name, version), OnceLock::new()))
            })
            .collect();
        Documents {
            core: list(&core),
            groups: list(&groups),
            specs,
            swagger: OnceLock::new(),
        }
    }

    fn spec(&self, registry: &Registry, path: &str, server_version: &str) -> Option<&Document> {
        let cell = self.specs.get(path)?;
        Some(cell.get_or_init(|| {
            let (group, version) = split_path(path);
            let kinds: Vec<&Kind> = registry
                .of_version(group, version)
                .map(Arc::as_ref)
                .collect();
            let descriptors = descriptors(&kinds);
            Document::new(&openapi::v3_document(
                group,
                version,
                &descriptors,
                server_version,
            ))
        }))
    }

    fn swagger(&self, registry: &Registry, server_version: &str) -> &Document {
        self.swagger.get_or_init(|| {
            let kinds: Vec<&Kind> = registry.kinds().map(Arc::as_ref).collect();
            Document::new(&openapi::v2_document(&descriptors(&kinds), server_version))
        })
    }
}

/// A sub-resource of a stored kind: name, verbs, and the kind of its answers if that is another.
type OwnSubresource = (
    &'static str,
    &'static [&'static str],
    Option<(&'static str, &'static str, &'static str)>,
);

const STATUS_VERBS: &[&str] = &["get", "patch", "update"];

/// The sub-resources that a kind has by its rules.
fn own_subresources(kind: &Kind) -> Vec<OwnSubresource> {
    let mut found: Vec<OwnSubresource> = Vec::new();
    if kind.role != Role::Stored {
        return found;
    }
    if kind.is("", "pods") {
        found.push(("binding", &["create"], Some(("", "v1", "Binding"))));
    }
    if kind.is("", "namespaces") {
        found.push(("finalize", &["update"], None));
    }
    if kind.resource.strategy.scale.is_some() {
        found.push(("scale", STATUS_VERBS, Some(("autoscaling", "v1", "Scale"))));
    }
    if kind.resource.strategy.status {
        found.push(("status", STATUS_VERBS, None));
    }
    found
}

fn descriptors<'a>(kinds: &[&'a Kind]) -> Vec<openapi::Descriptor<'a>> {
    let subresources = |kind: &Kind| {
        own_subresources(kind)
            .into_iter()
            .map(|(name, verbs, kind)| openapi::Subresource { name, verbs, kind })
            .collect()
    };
    kinds
        .iter()
        .map(|kind| openapi::Descriptor {
            resource: &kind.resource,
            subresources: subresources(kind),
        })
        .collect()
}

fn split_path(path: &str) -> (&str, &str) {
    match path
        .strip_prefix("apis/")
        .and_then(|rest| rest.split_once('/'))
    {
        Some(found) => found,
        None => ("", path.strip_prefix("api/").unwrap_or(path)),
    }
}

/// Answers requests that are not about resources.
pub(crate) fn answer(
    server: &Inner,
    registry: &Registry,
    call: &Call,
) -> Result<Response<Body>, Status> {
    let path = call.info.path.trim_matches('/');
    if call.info.verb != "get" {
        return Err(Status::method_not_allowed());
    }
    let mut segments = path.split('/');
    match (
        segments.next(),
        segments.next(),
        segments.next(),
        segments.next(),
    ) {
        (Some(""), None, None, None) => Ok(paths(server, registry, call)),
        (Some("version"), None, None, None) => Ok(json_answer(call, &version(server))),
        (Some(check @ ("livez" | "readyz" | "healthz")), name, None, None) => {
            Ok(health(server, check, name, call))
        }
        (Some("api"), None, None, None) => discovery(registry, call, true),
        (Some("apis"), None, None, None) => discovery(registry, call, false),
        (Some("api"), Some(version), None, None) => resources(registry, call, "", version),
        (Some("apis"), Some(name), None, None) => Ok(group(registry, call, name)),
        (Some("apis"), Some(name), Some(version), None) => resources(registry, call, name, version),
        (Some("openapi"), Some("v2"), None, None) => swagger(server, registry, call),
        (Some("openapi"), Some("v3"), None, None) => Ok(spec_index(server, registry, call)),
        (Some("openapi"), Some("v3"), Some(_), _) => Ok(spec(
            server,
            registry,
            call,
            path.strip_prefix("openapi/v3/").unwrap_or(path),
        )),
        _ => Ok(page_not_found()),
    }
}

fn json_answer(call: &Call, value: &Value) -> Response<Body> {
    let pretty = negotiate::choose(&call.headers, &call.query).is_ok_and(|chosen| chosen.pretty);
    respond::json_bytes(200, respond::write_json(value, pretty))
}

fn paths(server: &Inner, registry: &Registry, call: &Call) -> Response<Body> {
    let mut paths: Vec<String> = [
        "/api",
        "/apis",
        "/healthz",
        "/livez",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ]
    .iter()
    .map(|path| (*path).to_owned())
    .collect();
    let pages = server.extensions.pages.iter();
    paths.extend(pages.map(|(path, _)| path.clone()));
    for group in &registry.groups {
        if !group.name.is_empty() {
            paths.push(format!("/apis/{}", group.name));
        }
        for version in &group.versions {
            paths.push(format!("/{}", openapi::v3_path(&group.name, version)));
        }
    }
    paths.sort();
    json_answer(call, &json!({"paths": paths}))
}

fn version(server: &Inner) -> Value {
    let full = &server.settings.version;
    let mut numbers = full.trim_start_matches('v').split(['.', '+', '-']);
    let mut version = version_info(full);
    version["major"] = json!(numbers.next().unwrap_or("1"));
    version["minor"] = json!(numbers.next().unwrap_or("0"));
    version
}

/// What was built, as clients read it off `/version` and the version pages of other groups.
///
/// In: the version that it is known by, e.g. `v1.35.0+anyvirt`.
pub fn version_info(git_version: &str) -> Value {
    json!({
        "gitVersion": git_version,
        "gitCommit": option_env!("GIT_COMMIT").unwrap_or("unknown"),
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        // Clients parse these two; there is no Go here.
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, go_architecture()),
    })
}

fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn health(server: &Inner, which: &str, name: Option<&str>, call: &Call) -> Response<Body> {
    let checks = [
        ("ping", Ok(())),
        (
            "store",
            server
                .store
                .failure()
                .map_or(Ok(()), |error| Err(error.to_string())),
        ),
    ];
    let excluded = |check: &str| {
        call.query
            .0
            .iter()
            .any(|(key, value)| key == "exclude" && value == check)
    };
    let chosen: Vec<_> = checks
        .iter()
        .filter(|(check, _)| name.is_none_or(|name| name == *check))
        .filter(|(check, _)| !excluded(check))
        .collect();
    if name.is_some() && chosen.is_empty() {
        return page_not_found();
    }
    let failed = chosen.iter().any(|(_, result)| result.is_err());
    if !failed && call.query.get("verbose").is_none() {
        return respond::text(200, "ok");
    }
    let mut lines = String::new();
    for (check, result) in chosen {
        match result {
            Ok(()) => lines.push_str(&format!("[+]{check} ok\n")),
            Err(why) => lines.push_str(&format!("[-]{check} failed: {why}\n")),
        }
    }
    let outcome = if failed { "failed" } else { "passed" };
    lines.push_str(&format!("{which} check {outcome}\n"));
    respond::text(if failed { 500 } else { 200 }, lines)
}

/// `/api` and `/apis`, aggregated when the client knows how to read that.
fn discovery(registry: &Registry, call: &Call, core: bool) -> Result<Response<Body>, Status> {
    let accept = call
        .headers
        .get(http::header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("*/*");
    for clause in negotiate::clauses(accept) {
        let json = matches!(
            clause.media_type.as_str(),
            "application/json" | "*/*" | "application/*"
        );
        match clause.parameter("as") {
            "APIGroupDiscoveryList"
                if json
                    && clause.parameter("g") == "apidiscovery.k8s.io"
                    && clause.parameter("v") == "v2" =>
            {
                let documents = registry.documents();
                let document = if core {
                    &documents.core
                } else {
                    &documents.groups
                };
                return Ok(tagged(call, document, AGGREGATED));
            }
            "" if json || clause.media_type == "application/yaml" => {
                let value = if core {
                    api_versions()
                } else {
                    api_groups(registry)
                };
                let format = if json { Format::Json } else { Format::Yaml };
                let chosen = negotiate::Representation {
                    format,
                    ..negotiate::Representation::JSON
                };
                return Ok(vary(respond::value(chosen, 200, &value)));
            }
            _ => {}
        }
    }
    // A client that knows only an older aggregated form reads the legacy one as well.
    if accept.contains("application/json") {
        let value = if core {
            api_versions()
        } else {
            api_groups(registry)
        };
        return Ok(vary(json_answer(call, &value)));
    }
    Err(Status::not_acceptable(&[
        "application/json",
        "application/yaml",
    ]))
}

fn vary(mut response: Response<Body>) -> Response<Body> {
    response
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("Accept"));
    response
}

/// A document with its hash as the tag; 304 when the client has it.
fn tagged(call: &Call, document: &Document, content_type: &'static str) -> Response<Body> {
    let tag = format!("\"{}\"", document.hash);
    let known = call
        .headers
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|tags| {
            tags.split(',')
                .any(|one| one.trim() == tag || one.trim() == "*")
        });
    let mut response = if known {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        respond::json_bytes(200, document.bytes.clone())
    };
    let headers = response.headers_mut();
    if !known {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    vary(response)
}

fn api_versions() -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [],
    })
}

fn api_group(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|version| {
            json!({"groupVersion": api_version(&group.name, version), "version": version})
        })
        .collect();
    json!({
        "name": group.name,
        "versions": versions,
        "preferredVersion": versions.first(),
    })
}

fn api_groups(registry: &Registry) -> Value {
    let groups = registry
        .groups
        .iter()
        .filter(|group| !group.name.is_empty());
    json!({
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": groups.map(api_group).collect::<Vec<_>>(),
    })
}

fn group(registry: &Registry, call: &Call, name: &str) -> Response<Body> {
    let found = registry
        .groups
        .iter()
        .find(|group| group.name == name && !name.is_empty());
    let Some(found) = found else {
        return page_not_found();
    };
    let mut value = api_group(found);
    value["kind"] = json!("APIGroup");
    value["apiVersion"] = json!("v1");
    json_answer(call, &value)
}

/// One line of discovery, before it is written in either form.
struct Line {
    name: String,
    singular: String,
    namespaced: bool,
    kind: String,
    /// Group and version of the kind, when they are not those of the path.
    answers: Option<(&'static str, &'static str)>,
    verbs: Vec<String>,
    short_names: Vec<String>,
    categories: Vec<String>,
}

fn lines(registry: &Registry, group: &str, version: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for kind in registry.of_version(group, version) {
        kind_lines(registry, kind, &mut lines);
    }
    if let Some(extension) = registry.extension(group, version) {
        lines.extend(extension_lines(extension));
    }
    lines
}

fn extension_lines(extension: &Extension) -> impl Iterator<Item = Line> + '_ {
    extension.resources.iter().map(|resource| Line {
        name: resource.name.clone(),
        singular: String::new(),
        namespaced: resource.namespaced,
        kind: resource.kind.clone(),
        answers: None,
        verbs: resource.verbs.clone(),
        short_names: Vec::new(),
        categories: Vec::new(),
    })
}

fn kind_lines(registry: &Registry, kind: &Kind, lines: &mut Vec<Line>) {
    let resource = &kind.resource;
    let names = &resource.names;
    let words = |verbs: &[&str]| {
        verbs
            .iter()
            .map(|verb| (*verb).to_owned())
            .collect::<Vec<_>>()
    };
    lines.push(Line {
        name: names.plural.clone(),
        singular: names.singular.clone(),
        namespaced: resource.namespaced,
        kind: names.kind.clone(),
        answers: None,
        verbs: words(&resource.verbs),
        short_names: names.short_names.clone(),
        categories: names.categories.clone(),
    });
    let mut add = |name: &str, own: &str, verbs: &[&str], answers| {
        lines.push(Line {
            name: format!("{}/{name}", names.plural),
            singular: String::new(),
            namespaced: resource.namespaced,
            kind: own.to_owned(),
            answers,
            verbs: words(verbs),
            short_names: Vec::new(),
            categories: Vec::new(),
        });
    };
    for (name, verbs, other) in own_subresources(kind) {
        match other {
            Some((group, version, own)) => {
                let elsewhere = group != resource.group || version != resource.version;
                add(name, own, verbs, elsewhere.then_some((group, version)));
            }
            None => add(name, &names.kind, verbs, None),
        }
    }
    for served in &registry.subresources {
        if served.name.0 == resource.group && served.name.1 == names.plural {
            let verbs: &[&str] = match served.name.2.as_str() {
                "exec" | "attach" | "portforward" => &["create", "get"],
                _ => &["get"],
            };
            add(&served.name.2, &names.kind, verbs, None);
        }
    }
}

fn resources(
    registry: &Registry,
    call: &Call,
    group: &str,
    version: &str,
) -> Result<Response<Body>, Status> {
    if !registry.has_version(group, version) {
        return Ok(page_not_found());
    }
    let list: Vec<Value> = lines(registry, group, version)
        .into_iter()
        .map(|line| {
            let mut value = json!({
                "name": line.name,
                "singularName": line.singular,
                "namespaced": line.namespaced,
                "kind": line.kind,
                "verbs": line.verbs,
            });
            if let Some((group, version)) = line.answers {
                value["group"] = json!(group);
                value["version"] = json!(version);
            }
            if !line.short_names.is_empty() {
                value["shortNames"] = json!(line.short_names);
            }
            if !line.categories.is_empty() {
                value["categories"] = json!(line.categories);
            }
            value
        })
        .collect();
    Ok(json_answer(
        call,
        &json!({
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": api_version(group, version),
            "resources": list,
        }),
    ))
}

fn aggregated_group(registry: &Registry, group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|version| {
            json!({
                "version": version,
                "freshness": "Current",
                "resources": aggregated_resources(registry, &group.name, version),
            })
        })
        .collect();
    let mut metadata = json!({"creationTimestamp": null});
    if !group.name.is_empty() {
        metadata["name"] = json!(group.name);
    }
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_resources(registry: &Registry, group: &str, version: &str) -> Vec<Value> {
    let mut resources: Vec<Value> = Vec::new();
    for line in lines(registry, group, version) {
        let (answer_group, answer_version) = line.answers.unwrap_or((group, version));
        let response = json!({
            "group": answer_group, "version": answer_version, "kind": line.kind,
        });
        let scope = if line.namespaced {
            "Namespaced"
        } else {
            "Cluster"
        };
        let (parent, subresource) = match line.name.split_once('/') {
            None => {
                let mut value = json!({
                    "resource": line.name,
                    "responseKind": response,
                    "scope": scope,
                    "singularResource": line.singular,
                    "verbs": line.verbs,
                });
                if !line.short_names.is_empty() {
                    value["shortNames"] = json!(line.short_names);
                }
                if !line.categories.is_empty() {
                    value["categories"] = json!(line.categories);
                }
                resources.push(value);
                continue;
            }
            Some(parts) => parts,
        };
        let known = resources
            .iter()
            .position(|resource| resource["resource"] == parent);
        let index = known.unwrap_or_else(|| {
            // A sub-resource of a resource that another group stores.
            resources.push(json!({
                "resource": parent,
                "responseKind": {"group": "", "version": "", "kind": ""},
                "scope": scope,
                "singularResource": "",
                "verbs": [],
            }));
            resources.len() - 1
        });
        if !resources[index]["subresources"].is_array() {
            resources[index]["subresources"] = json!([]);
        }
        if let Some(list) = resources[index]["subresources"].as_array_mut() {
            list.push(json!({
                "subresource": subresource, "responseKind": response, "verbs": line.verbs,
            }));
        }
    }
    resources
}

fn swagger(server: &Inner, registry: &Registry, call: &Call) -> Result<Response<Body>, Status> {
    negotiate::choose(&call.headers, &call.query)?;
    Ok(tagged(
        call,
        registry
            .documents()
            .swagger(registry, &server.settings.version),
        "application/json",
    ))
}

fn spec_index(server: &Inner, registry: &Registry, call: &Call) -> Response<Body> {
    let documents = registry.documents();
    let version = &server.settings.version;
    let index = openapi::v3_index(documents.specs.keys().filter_map(|path| {
        documents
            .spec(registry, path, version)
            .map(|document| (path, &document.hash))
    }));
    tagged(call, &Document::new(&index), "application/json")
}

fn spec(server: &Inner, registry: &Registry, call: &Call, path: &str) -> Response<Body> {
    let version = &server.settings.version;
    let Some(document) = registry.documents().spec(registry, path, version) else {
        return page_not_found();
    };
    let mut response = match call.query.text("hash") {
        Some(hash) if !hash.eq_ignore_ascii_case(&document.hash) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
            let url = format!("/openapi/v3/{path}?hash={}", document.hash);
            if let Ok(url) = HeaderValue::from_str(&url) {
                response.headers_mut().insert(http::header::LOCATION, url);
            }
            return response;
        }
        hash => {
            let response = tagged(call, document, "application/json");
            if hash.is_none() {
                return response;
            }
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    let year = jiff::SignedDuration::from_hours(24 * 365);
    let expires = (server.now() + year)
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string();
    if let Ok(expires) = HeaderValue::from_str(&expires) {
        headers.insert(EXPIRES, expires);
    }
    response
}

//! Kinds that are questions: who am I, and what may I do?

use http::Response;
use serde_json::{Value, json};

use crate::authorize::{self, Grants};
use crate::body::Body;
use crate::decode;
use crate::negotiate;
use crate::registry::Kind;
use crate::respond;
use crate::route::{RequestInfo, ResourcePath};
use crate::server::{Call, Inner};
use crate::status::{Cause, Status};
use crate::user::User;

/// Answers a review.
///
/// # Errors
/// 405 for anything but a POST; 400 and 422 for bodies that ask nothing.
pub(crate) fn answer(
    server: &Inner,
    kind: &Kind,
    path: &ResourcePath,
    call: &Call,
) -> Result<Response<Body>, Status> {
    if call.info.verb != "create" || path.name.is_some() {
        return Err(Status::method_not_allowed());
    }
    let content_type = call
        .headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let mut review = decode::body(content_type, &call.body, true)?.value;
    if !review.is_object() {
        return Err(Status::bad_request("the body must be one JSON object"));
    }
    let stated = review["kind"].as_str().unwrap_or(&kind.resource.names.kind);
    if stated != kind.resource.names.kind {
        return Err(Status::bad_request(format!(
            "the kind in the data ({stated}) does not match the expected kind ({})",
            kind.resource.names.kind
        )));
    }
    review["kind"] = json!(kind.resource.names.kind);
    review["apiVersion"] = json!(kind.resource.api_version());
    if !review["metadata"].is_object() {
        review["metadata"] = json!({});
    }
    let grants = server.grants();
    review["status"] = match kind.resource.names.plural.as_str() {
        "selfsubjectreviews" => json!({"userInfo": user_info(&call.user)}),
        "selfsubjectaccessreviews" => access(
            &review["spec"],
            &call.user,
            grants,
            kind,
            "selfsubjectaccessreviews",
        )?,
        "subjectaccessreviews" => {
            let subject = subject(&review["spec"]);
            if subject.name.is_empty() && subject.groups.is_empty() {
                let why = "at least one of user or group must be specified";
                let cause = Cause::invalid("spec.user", &json!(""), why);
                return Err(invalid(kind, cause));
            }
            access(
                &review["spec"],
                &subject,
                grants,
                kind,
                "subjectaccessreviews",
            )?
        }
        _ => rules(&call.user, grants),
    };
    let representation = negotiate::choose(&call.headers, &call.query)?;
    Ok(respond::value(representation, 201, &review))
}

fn invalid(kind: &Kind, cause: Cause) -> Status {
    Status::invalid(
        &kind.resource.group,
        &kind.resource.names.kind,
        "",
        vec![cause],
    )
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

fn subject(spec: &Value) -> User {
    let groups = spec["groups"].as_array().into_iter().flatten();
    User {
        name: spec["user"].as_str().unwrap_or("").to_owned(),
        uid: spec["uid"].as_str().unwrap_or("").to_owned(),
        groups: groups
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        ..User::default()
    }
}

fn access(
    spec: &Value,
    user: &User,
    grants: Grants<'_>,
    kind: &Kind,
    plural: &str,
) -> Result<Value, Status> {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or("").to_owned();
    let some = |text: String| (!text.is_empty()).then_some(text);
    let resource = &spec["resourceAttributes"];
    let path = &spec["nonResourceAttributes"];
    let info = match (resource.is_object(), path.is_object()) {
        (true, false) => RequestInfo {
            verb: verb(&text(resource, "verb")),
            path: String::new(),
            resource: Some(ResourcePath {
                group: text(resource, "group"),
                version: text(resource, "version"),
                namespace: some(text(resource, "namespace")),
                resource: text(resource, "resource"),
                name: some(text(resource, "name")),
                subresource: some(text(resource, "subresource")),
                rest: Vec::new(),
            }),
        },
        (false, true) => RequestInfo {
            verb: verb(&text(path, "verb")),
            path: text(path, "path"),
            resource: None,
        },
        _ => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be \
                       specified";
            let field = format!("spec.{plural}");
            return Err(invalid(kind, Cause::invalid(field, &json!(null), why)));
        }
    };
    Ok(match authorize::decide(user, grants, &info) {
        Ok(()) => json!({"allowed": true, "reason": "the user's groups may"}),
        Err(_) => json!({"allowed": false}),
    })
}

/// A verb as the authorizer knows it; verbs of no importance are all the same to it.
fn verb(text: &str) -> &'static str {
    [
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
    ]
    .into_iter()
    .find(|known| *known == text)
    .unwrap_or("other")
}

fn rules(user: &User, grants: Grants<'_>) -> Value {
    let health = [
        "/healthz",
        "/livez",
        "/readyz",
        "/version",
        "/healthz/*",
        "/livez/*",
        "/readyz/*",
    ];
    if authorize::is_trusted(user, grants.trusted_groups) {
        return json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": false,
        });
    }
    let mut resources = vec![
        json!({"verbs": ["create"], "apiGroups": ["authentication.k8s.io"],
            "resources": ["selfsubjectreviews"]}),
        json!({"verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
            "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]}),
    ];
    let open = grants.extensions.iter().filter(|it| !it.public.is_empty());
    resources.extend(open.map(|extension| {
        json!({"verbs": authorize::READING, "apiGroups": [extension.group],
            "resources": extension.public})
    }));
    let mut rules = json!({
        "resourceRules": resources,
        "nonResourceRules": [
            {"verbs": ["get"], "nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"]},
            {"verbs": ["get"], "nonResourceURLs": health},
        ],
        "incomplete": false,
    });
    if authorize::is_viewer(user, grants.viewer_groups) {
        // Rules cannot say: all but.
        rules["incomplete"] = json!(true);
        rules["evaluationError"] = json!(format!(
            "the user is in a group of viewers, who may {} all objects but secrets, and no sub-resource but status and scale",
            authorize::VIEWING.join(", ")
        ));
    }
    rules
}

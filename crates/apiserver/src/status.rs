//! `Status`: the error object of the Kubernetes API. Clients decide by `reason` and `code`;
//! people read `message`.

use std::borrow::Cow;
use std::fmt;

use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde_json::{Map, Value, json};

use crate::body::Body;

/// One field's fault inside an `Invalid` (or one reason inside another) status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired` …
    pub reason: Cow<'static, str>,
    /// For people, without the field: `Invalid value: "x": must be …`.
    pub message: String,
    /// The path: `spec.containers[0].name`.
    pub field: String,
}

impl Cause {
    /// A cause of any reason.
    pub fn new(
        reason: impl Into<Cow<'static, str>>,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Cause {
        Cause {
            reason: reason.into(),
            message: message.into(),
            field: field.into(),
        }
    }

    /// `field: Invalid value: VALUE: detail`. Strings are quoted, other values are compact JSON.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Cause {
        Cause::new(
            "FieldValueInvalid",
            field,
            format!("Invalid value: {value}: {detail}"),
        )
    }

    /// `field: Required value[: detail]`.
    pub fn required(field: impl Into<String>, detail: &str) -> Cause {
        Cause::new(
            "FieldValueRequired",
            field,
            with_detail("Required value", detail),
        )
    }

    /// `field: Forbidden: detail`.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Cause {
        Cause::new(
            "FieldValueForbidden",
            field,
            with_detail("Forbidden", detail),
        )
    }

    /// `field: Duplicate value: VALUE`.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Cause {
        Cause::new(
            "FieldValueDuplicate",
            field,
            format!("Duplicate value: {value}"),
        )
    }

    /// `field: Unsupported value: VALUE: supported values: "a", "b"`.
    pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Cause {
        let mut message = format!("Unsupported value: {value}");
        if !supported.is_empty() {
            let quoted: Vec<String> = supported.iter().map(|text| format!("{text:?}")).collect();
            message.push_str(&format!(": supported values: {}", quoted.join(", ")));
        }
        Cause::new("FieldValueNotSupported", field, message)
    }

    /// `field: Too long: may not be more than N bytes`.
    pub fn too_long(field: impl Into<String>, limit: usize) -> Cause {
        Cause::new(
            "FieldValueTooLong",
            field,
            format!("Too long: may not be more than {limit} bytes"),
        )
    }

    /// `field: Invalid value: "type": detail`, reason `FieldValueTypeInvalid`.
    pub fn type_invalid(field: impl Into<String>, value: &Value, detail: &str) -> Cause {
        Cause::new(
            "FieldValueTypeInvalid",
            field,
            format!("Invalid value: {value}: {detail}"),
        )
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            formatter.write_str(&self.message)
        } else {
            write!(formatter, "{}: {}", self.field, self.message)
        }
    }
}

fn with_detail(head: &str, detail: &str) -> String {
    if detail.is_empty() {
        head.to_owned()
    } else {
        format!("{head}: {detail}")
    }
}

/// What a status is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    /// Object name.
    pub name: String,
    /// API group.
    pub group: String,
    /// The RESOURCE for NotFound, AlreadyExists, Conflict, Forbidden; the KIND for Invalid.
    pub kind: String,
    /// Object uid.
    pub uid: String,
    /// Causes.
    pub causes: Vec<Cause>,
    /// Seconds after which the client may try again; 0 is absent.
    pub retry_after_seconds: u32,
}

/// A failed (or, for deletes, successful) request as an object of kind `Status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason, e.g. `NotFound`; empty on success.
    pub reason: Cow<'static, str>,
    /// For people.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<Details>>,
    /// `metadata.continue`: an expired page token's replacement.
    pub continue_token: Option<String>,
}

impl Status {
    /// A failure without details.
    pub fn new(
        code: u16,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Status {
        Status {
            code,
            reason: reason.into(),
            message: message.into(),
            details: None,
            continue_token: None,
        }
    }

    /// Success, as DELETE answers: `kind` is the resource.
    pub fn success(group: &str, resource: &str, name: &str, uid: &str) -> Status {
        let mut status = Status::new(200, "", "");
        status.about(group, resource, name);
        if let Some(details) = &mut status.details {
            details.uid = uid.to_owned();
        }
        status
    }

    /// 400 with this message.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(400, "BadRequest", message)
    }

    /// 401.
    pub fn unauthorized() -> Status {
        Status::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403 `RESOURCE "NAME" is forbidden: why`.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Status {
        let message = if name.is_empty() {
            format!("{} is forbidden: {why}", qualified(group, resource))
        } else {
            format!(
                "{} \"{name}\" is forbidden: {why}",
                qualified(group, resource)
            )
        };
        let mut status = Status::new(403, "Forbidden", message);
        status.about(group, resource, name);
        status
    }

    /// 404 `RESOURCE "NAME" not found`.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Status {
        let message = format!("{} \"{name}\" not found", qualified(group, resource));
        let mut status = Status::new(404, "NotFound", message);
        status.about(group, resource, name);
        status
    }

    /// 404 for a resource that does not exist in a group and version that does.
    pub fn no_such_resource() -> Status {
        let mut status = Status::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        );
        status.details = Some(Box::default());
        status
    }

    /// 405.
    pub fn method_not_allowed() -> Status {
        let mut status = Status::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        );
        status.details = Some(Box::default());
        status
    }

    /// 406, naming what could be had.
    pub fn not_acceptable(available: &[&str]) -> Status {
        let available = available.join(", ");
        Status::new(
            406,
            "NotAcceptable",
            format!("only the following media types are accepted: {available}"),
        )
    }

    /// 409 `RESOURCE "NAME" already exists`.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Status {
        let message = format!("{} \"{name}\" already exists", qualified(group, resource));
        let mut status = Status::new(409, "AlreadyExists", message);
        status.about(group, resource, name);
        status
    }

    /// 409 `Operation cannot be fulfilled on RESOURCE "NAME": why`.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Status {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            qualified(group, resource)
        );
        let mut status = Status::new(409, "Conflict", message);
        status.about(group, resource, name);
        status
    }

    /// 410 with this message.
    pub fn gone(message: impl Into<String>) -> Status {
        Status::new(410, "Expired", message)
    }

    /// 413 for a body over `limit` bytes.
    pub fn too_large(limit: usize) -> Status {
        Status::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit}"),
        )
    }

    /// 415, naming what is accepted.
    pub fn unsupported_media_type(accepted: &[&str]) -> Status {
        Status::new(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types \
                 include: {}",
                accepted.join(", ")
            ),
        )
    }

    /// 422 `KIND "NAME" is invalid: causes`. `group` and `kind` name the kind, not the resource.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Status {
        let texts: Vec<String> = causes.iter().map(ToString::to_string).collect();
        let text = match texts.as_slice() {
            [] => "<nil>".to_owned(),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{} \"{name}\" is invalid: {text}", qualified(group, kind));
        let mut status = Status::new(422, "Invalid", message);
        status.about(group, kind, name);
        status.with_causes(causes)
    }

    /// 500 `Internal error occurred: why`.
    pub fn internal(why: impl fmt::Display) -> Status {
        let message = format!("Internal error occurred: {why}");
        let cause = Cause::new("", "", why.to_string());
        Status::new(500, "InternalError", message).with_causes(vec![cause])
    }

    /// 503 with this message.
    pub fn unavailable(message: impl Into<String>) -> Status {
        Status::new(503, "ServiceUnavailable", message)
    }

    /// 504 with this message.
    pub fn timeout(message: impl Into<String>) -> Status {
        Status::new(504, "Timeout", message)
    }

    /// The same status with these causes added.
    #[must_use]
    pub fn with_causes(mut self, causes: Vec<Cause>) -> Status {
        self.details.get_or_insert_default().causes.extend(causes);
        self
    }

    /// The same status, telling clients to try again after so many seconds.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Status {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// Whether the request succeeded.
    pub fn is_success(&self) -> bool {
        self.code < 400
    }

    fn about(&mut self, group: &str, kind: &str, name: &str) {
        let details = self.details.get_or_insert_default();
        details.group = group.to_owned();
        details.kind = kind.to_owned();
        details.name = name.to_owned();
    }

    /// The object as it is sent.
    pub fn to_value(&self) -> Value {
        let mut metadata = Map::new();
        if let Some(token) = &self.continue_token {
            metadata.insert("continue".to_owned(), Value::from(token.clone()));
        }
        let mut value = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata,
            "status": if self.is_success() { "Success" } else { "Failure" },
        });
        if !self.message.is_empty() {
            value["message"] = Value::from(self.message.clone());
        }
        if !self.reason.is_empty() {
            value["reason"] = Value::from(self.reason.to_string());
        }
        if let Some(details) = &self.details {
            value["details"] = details.to_value();
        }
        if !self.is_success() {
            value["code"] = Value::from(self.code);
        }
        value
    }

    /// The response that carries this status, as JSON.
    pub fn into_response(self) -> http::Response<Body> {
        let mut response = http::Response::new(Body::full(self.to_value().to_string()));
        *response.status_mut() = http::StatusCode::from_u16(self.code)
            .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(details) = &self.details
            && details.retry_after_seconds > 0
        {
            headers.insert(RETRY_AFTER, HeaderValue::from(details.retry_after_seconds));
        }
        response
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut map = Map::new();
        for (key, text) in [
            ("name", &self.name),
            ("group", &self.group),
            ("kind", &self.kind),
            ("uid", &self.uid),
        ] {
            if !text.is_empty() {
                map.insert(key.to_owned(), Value::from(text.clone()));
            }
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter().map(|cause| {
                let mut map = Map::new();
                for (key, text) in [
                    ("reason", cause.reason.as_ref()),
                    ("message", cause.message.as_str()),
                    ("field", cause.field.as_str()),
                ] {
                    if !text.is_empty() {
                        map.insert(key.to_owned(), Value::from(text));
                    }
                }
                Value::Object(map)
            });
            map.insert("causes".to_owned(), causes.collect());
        }
        if self.retry_after_seconds > 0 {
            map.insert(
                "retryAfterSeconds".to_owned(),
                Value::from(self.retry_after_seconds),
            );
        }
        Value::Object(map)
    }
}

impl serde::Serialize for Status {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}: {}", self.code, self.reason, self.message)
    }
}

impl std::error::Error for Status {}

fn qualified(group: &str, name: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_object_names_its_resource_and_group() {
        let status = Status::not_found("ex.io", "foos", "b");
        assert_eq!(status.message, "foos.ex.io \"b\" not found");
        assert_eq!(
            status.to_value()["details"],
            json!({"name": "b", "group": "ex.io", "kind": "foos"})
        );
    }

    #[test]
    fn one_cause_stands_alone_and_several_stand_in_brackets() {
        let cause = || Cause::required("metadata.name", "name or generateName is required");
        assert_eq!(
            Status::invalid("", "ConfigMap", "", vec![cause()]).message,
            "ConfigMap \"\" is invalid: metadata.name: Required value: \
             name or generateName is required"
        );
        let both = Status::invalid("", "ConfigMap", "a", vec![cause(), cause()]);
        assert!(
            both.message.contains("is invalid: [metadata.name: "),
            "{}",
            both.message
        );
        assert_eq!(
            both.to_value()["details"]["causes"][1]["reason"],
            "FieldValueRequired"
        );
    }

    #[test]
    fn success_has_no_code_and_no_reason() {
        let value = Status::success("", "configmaps", "a", "u").to_value();
        assert_eq!(value["status"], "Success");
        assert_eq!(value.get("code"), None);
        assert_eq!(value["details"]["uid"], "u");
    }
}

//! Query parameters of writes.

use http::HeaderMap;
use http::header::USER_AGENT;
use serde_json::{Value, json};

use crate::route::Query;
use crate::status::{Cause, Status};

/// What is done about unknown and duplicate fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validation {
    /// They are dropped silently.
    Ignore,
    /// They are dropped and the client is warned.
    Warn,
    /// They are an error.
    Strict,
}

/// How an object is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WriteOptions {
    /// Everything but the write.
    pub(crate) dry_run: bool,
    /// Who is recorded as the owner of the fields.
    pub(crate) manager: String,
    /// `fieldManager` as given; apply requires it.
    pub(crate) stated_manager: Option<String>,
    /// Unknown fields.
    pub(crate) validation: Validation,
    /// Apply takes fields from other managers.
    pub(crate) force: bool,
}

impl WriteOptions {
    /// Options of writes by the server's own parts.
    pub(crate) fn internal(manager: &str) -> WriteOptions {
        WriteOptions {
            dry_run: false,
            manager: manager.to_owned(),
            stated_manager: None,
            validation: Validation::Ignore,
            force: false,
        }
    }

    /// Reads the query. `options_kind` names them in errors: `CreateOptions`, `PatchOptions` …
    ///
    /// # Errors
    /// 422 with a cause for each parameter that is wrong.
    pub(crate) fn parse(
        options_kind: &str,
        query: &Query,
        headers: &HeaderMap,
        is_apply: bool,
    ) -> Result<WriteOptions, Status> {
        let mut causes = Vec::new();
        let dry_run = dry_run(query.get("dryRun").into_iter(), &mut causes);
        let stated_manager = query.text("fieldManager").map(str::to_owned);
        if let Some(manager) = &stated_manager {
            if manager.len() > 128 {
                causes.push(Cause::too_long("fieldManager", 128));
            }
            if manager.chars().any(char::is_control) {
                let why = "should only contain printable characters";
                causes.push(Cause::invalid("fieldManager", &json!(manager), why));
            }
        } else if is_apply {
            causes.push(Cause::required(
                "fieldManager",
                "is required for apply patch",
            ));
        }
        let validation = match query.get("fieldValidation") {
            None | Some("" | "Warn") => Validation::Warn,
            Some("Ignore") => Validation::Ignore,
            Some("Strict") => Validation::Strict,
            Some(other) => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                causes.push(Cause::not_supported(
                    "fieldValidation",
                    &json!(other),
                    &supported,
                ));
                Validation::Warn
            }
        };
        let force = query.flag("force");
        if query.get("force").is_some() && !is_apply && options_kind == "PatchOptions" {
            causes.push(Cause::forbidden(
                "force",
                "may not be specified for non-apply patch",
            ));
        }
        if !causes.is_empty() {
            return Err(Status::invalid("meta.k8s.io", options_kind, "", causes));
        }
        let manager = stated_manager
            .clone()
            .unwrap_or_else(|| manager_of(headers));
        Ok(WriteOptions {
            dry_run,
            manager,
            stated_manager,
            validation,
            force,
        })
    }
}

/// The manager of clients that don't state one: their user agent up to the first `/`.
fn manager_of(headers: &HeaderMap) -> String {
    let agent = headers
        .get(USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let name: String = agent
        .split('/')
        .next()
        .unwrap_or("")
        .chars()
        .take(128)
        .collect();
    if name.is_empty() {
        "unknown".to_owned()
    } else {
        name
    }
}

/// Whether the values of `dryRun` ask for one; wrong values add a cause.
pub(crate) fn dry_run<'a>(values: impl Iterator<Item = &'a str>, causes: &mut Vec<Cause>) -> bool {
    let mut asked = false;
    for value in values {
        match value {
            "All" => asked = true,
            other => causes.push(Cause::not_supported(
                "dryRun",
                &Value::from(other),
                &["All"],
            )),
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str, is_apply: bool) -> Result<WriteOptions, String> {
        let mut headers = HeaderMap::new();
        headers.insert(
            USER_AGENT,
            http::HeaderValue::from_static("kubectl/v1.32 (linux)"),
        );
        WriteOptions::parse("PatchOptions", &Query::parse(query), &headers, is_apply)
            .map_err(|status| status.message)
    }

    #[test]
    fn the_manager_is_the_user_agent_unless_stated() {
        assert_eq!(parse("", false).expect("good").manager, "kubectl");
        assert_eq!(parse("fieldManager=m", true).expect("good").manager, "m");
        let error = parse("", true).expect_err("apply needs a manager");
        assert!(
            error.contains("fieldManager: Required value: is required for apply"),
            "{error}"
        );
    }

    #[test]
    fn wrong_options_are_named() {
        for (query, word) in [
            ("dryRun=foo", "dryRun: Unsupported value: \"foo\""),
            ("fieldValidation=Loud", "fieldValidation: Unsupported value"),
            (
                "force=true",
                "force: Forbidden: may not be specified for non-apply patch",
            ),
        ] {
            let error = parse(query, false).expect_err(query);
            assert!(error.contains(word), "{error}");
        }
    }
}

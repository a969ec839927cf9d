//! The versions of this program and of the server.

use serde::Serialize;
use serde_json::Value;

use crate::Format;
use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::output;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions<'a> {
    client_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes_version: Option<String>,
}

pub(crate) async fn run(
    client: &str,
    connection: Option<&Connection>,
    format: Format,
) -> Result<Exit, Failure> {
    let mut versions = Versions {
        client_version: client,
        server_version: None,
        kubernetes_version: None,
    };
    if let Some(connection) = connection {
        let path = format!(
            "/apis/{}/{}/version",
            api::names::SUBRESOURCES_GROUP,
            api::names::VERSION
        );
        // A plain Kubernetes, without KubeVirt's verbs, has only a version of its own.
        versions.server_version = match connection.get(&path).await {
            Ok(info) => git_version(&info),
            Err(failure) if failure.exit == Exit::NotFound => None,
            Err(failure) => return Err(failure),
        };
        versions.kubernetes_version = git_version(&connection.get("/version").await?);
    }
    output::object(format, &versions, || table(&versions))
}

fn git_version(info: &Value) -> Option<String> {
    info.get("gitVersion")
        .and_then(Value::as_str)
        .map(str::to_owned)
}

fn table(versions: &Versions<'_>) -> String {
    let mut text = format!("Client Version: {}\n", versions.client_version);
    if let Some(version) = &versions.server_version {
        text.push_str(&format!("Server Version: {version}\n"));
    }
    if let Some(version) = &versions.kubernetes_version {
        text.push_str(&format!("Kubernetes API: {version}\n"));
    }
    text
}

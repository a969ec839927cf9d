//! The way into the web console: a one-time link for the kubeconfig's user, and a browser to follow it.

use serde::Deserialize;

use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::output;

/// Where the server makes links.
const LINKS: &str = "/console/api/links";

/// A link as the server tells it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    /// Below the server's address; ends with the key.
    path: String,
    expires_in_seconds: u64,
}

pub(crate) async fn run(
    connection: &Connection,
    print: bool,
    browse: fn(&str) -> Result<(), String>,
) -> Result<Exit, Failure> {
    let made = connection.send(http::Method::POST, LINKS, Vec::new()).await;
    let text = made.map_err(|error| failure(connection, error))?;
    let link: Link = serde_json::from_str(&text)
        .map_err(|error| Failure::new(format!("the server's link cannot be read: {error}")))?;
    output::data(&format!("{}{}\n", connection.server, link.path))?;
    output::hint(&format!(
        "It works once, within {} minutes.",
        link.expires_in_seconds / 60
    ));
    if !print {
        let url = format!("{}{}", connection.server, link.path);
        let shown = tokio::task::spawn_blocking(move || browse(&url)).await;
        match shown.map_err(|error| Failure::new(format!("opening a browser failed: {error}")))? {
            Ok(()) => output::hint("Opened in your browser."),
            Err(why) => output::hint(&format!("Open it in a browser yourself: {why}.")),
        }
    }
    Ok(Exit::Ok)
}

/// A Kubernetes cluster has no console of ours at its address.
fn failure(connection: &Connection, error: kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) if matches!(status.code, 404 | 405) => {
            Failure::new(format!("{} has no web console", connection.server))
                .exit(Exit::NotFound)
                .fix("anyvirt up", "starts a server that has one")
        }
        error => connection.failure(error),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response};
    use kube::client::{Body, Client};

    use super::*;

    fn connection(code: u16, body: &'static str) -> Connection {
        let service = tower::service_fn(move |request: Request<Body>| async move {
            assert_eq!(
                (request.method().as_str(), request.uri().path()),
                ("POST", LINKS)
            );
            let response = Response::builder().status(code);
            Ok::<_, Infallible>(response.body(Body::from(body.as_bytes().to_vec())).unwrap())
        });
        Connection::to(Client::new(service, "default"), "default")
    }

    static OPENED: AtomicUsize = AtomicUsize::new(0);

    fn browse(url: &str) -> Result<(), String> {
        assert_eq!(url, "https://127.0.0.1:6443/console/login#otk=KEY");
        OPENED.fetch_add(1, Ordering::SeqCst);
        Err("there is no display".to_owned())
    }

    #[tokio::test]
    async fn a_link_is_printed_and_shown_unless_it_is_only_to_be_printed() {
        let body = r#"{"path": "/console/login#otk=KEY", "expiresInSeconds": 600}"#;
        for (print, opened) in [(true, 0), (false, 1)] {
            let exit = run(&connection(200, body), print, browse).await;
            assert_eq!(
                (exit, OPENED.load(Ordering::SeqCst)),
                (Ok(Exit::Ok), opened)
            );
        }
    }

    #[tokio::test]
    async fn a_server_without_a_console_is_told() {
        let status = r#"{"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "no"}"#;
        let failure = run(&connection(404, status), true, browse)
            .await
            .unwrap_err();
        assert!(
            failure.message.ends_with("has no web console"),
            "{failure:?}"
        );
    }
}

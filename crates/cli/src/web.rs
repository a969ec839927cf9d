//! The way into the web console: a one-time link for the kubeconfig's user, and a browser to follow it. And out of
//! it: who is logged in, and ending that.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::connect::Connection;
use crate::failure::{Exit, Failure};
use crate::status::age;
use crate::{Format, output};

/// Where the server makes links.
const LINKS: &str = "/console/api/links";

/// Where it tells who is logged in.
const SESSIONS: &str = "/console/api/sessions";

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

/// Who is logged in, as the server tells it.
#[derive(Debug, Deserialize, Serialize)]
struct Sessions {
    sessions: Vec<Session>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    name: String,
    user: String,
    /// The address that logged in.
    peer: String,
    /// What the browser called itself.
    browser: String,
    opened: Timestamp,
    last_used: Timestamp,
    /// If nobody uses it again.
    ends: Timestamp,
}

/// Shows the sessions that this user may end.
pub(crate) async fn list(
    connection: &Connection,
    format: Format,
    now: Timestamp,
) -> Result<Exit, Failure> {
    let sessions = sessions(connection).await?;
    output::object(format, &sessions, || table(&sessions, now))
}

async fn sessions(connection: &Connection) -> Result<Sessions, Failure> {
    let told = connection
        .send(http::Method::GET, SESSIONS, Vec::new())
        .await;
    let text = told.map_err(|error| failure(connection, error))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::new(format!("the server's sessions cannot be read: {error}")))
}

fn table(sessions: &Sessions, now: Timestamp) -> String {
    if sessions.sessions.is_empty() {
        return "Nobody whom you may see is logged in.\n".to_owned();
    }
    let head = [
        "SESSION", "USER", "FROM", "OPENED", "USED", "ENDS IN", "BROWSER",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(sessions.sessions.iter().map(|session| {
        vec![
            session.name.clone(),
            session.user.clone(),
            session.peer.clone(),
            format!("{} ago", age(session.opened, now)),
            format!("{} ago", age(session.last_used, now)),
            age(now, session.ends),
            session.browser.clone(),
        ]
    }));
    output::columns(&rows)
}

/// Ends the sessions of these names; `all`: of all that are shown.
pub(crate) async fn revoke(connection: &Connection, names: &[String]) -> Result<Exit, Failure> {
    let names = if names.iter().any(|name| name == "all") {
        let all = sessions(connection).await?.sessions.into_iter();
        all.map(|session| session.name).collect()
    } else {
        names.to_vec()
    };
    // They are part of a path.
    let is_name =
        |name: &&String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(other) = names.iter().find(|name| !is_name(name)) {
        return Err(Failure::new(format!(
            "{other:?} is no session's name: those are 16 hexadecimal digits"
        ))
        .exit(Exit::Usage)
        .fix("anyvirt web --list", "shows all"));
    }
    for name in &names {
        let path = format!("{SESSIONS}/{name}");
        let ended = connection
            .send(http::Method::DELETE, &path, Vec::new())
            .await;
        ended.map_err(|error| match error {
            kube::Error::Api(status) if status.code == 404 => {
                Failure::new(format!("no session {name} of yours: it may be over"))
                    .exit(Exit::NotFound)
                    .fix("anyvirt web --list", "shows all")
            }
            error => connection.failure(error),
        })?;
        output::data(&format!("session {name} ended\n"))?;
    }
    if names.is_empty() {
        output::hint("Nobody whom you may see is logged in.");
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
    use std::sync::{Arc, Mutex};

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

    const TWO: &str = r#"{"sessions": [
        {"name": "0f1e2d3c4b5a6978", "user": "system:admin", "peer": "127.0.0.1", "browser": "Mozilla/5.0 (X11)",
         "opened": "2026-11-22T10:00:00Z", "lastUsed": "2026-11-22T11:59:30Z", "ends": "2026-11-22T23:59:30Z",
         "current": false},
        {"name": "aaaaaaaaaaaaaaaa", "user": "bob", "peer": "10.0.0.7", "browser": "",
         "opened": "2026-11-22T09:00:00Z", "lastUsed": "2026-11-22T09:00:00Z", "ends": "2026-11-22T21:00:00Z",
         "current": false}]}"#;

    #[test]
    fn who_is_logged_in_is_a_table() {
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        let sessions: Sessions = serde_json::from_str(TWO).unwrap();
        expect_test::expect![[r#"
            SESSION            USER           FROM        OPENED   USED      ENDS IN   BROWSER
            0f1e2d3c4b5a6978   system:admin   127.0.0.1   2h ago   30s ago   11h       Mozilla/5.0 (X11)
            aaaaaaaaaaaaaaaa   bob            10.0.0.7    3h ago   3h ago    9h
        "#]]
        .assert_eq(&table(&sessions, now));
        let none = Sessions {
            sessions: Vec::new(),
        };
        assert_eq!(table(&none, now), "Nobody whom you may see is logged in.\n");
    }

    /// A server that has the sessions of [`TWO`], and notes which are ended.
    fn server(ended: Arc<Mutex<Vec<String>>>) -> Connection {
        let service = tower::service_fn(move |request: Request<Body>| {
            let ended = Arc::clone(&ended);
            async move {
                let path = request.uri().path().to_owned();
                let (code, body) = match (request.method().as_str(), path.strip_prefix(SESSIONS)) {
                    ("GET", Some("")) => (200, TWO),
                    ("DELETE", Some("/0f1e2d3c4b5a6978" | "/aaaaaaaaaaaaaaaa")) => {
                        ended.lock().unwrap().push(path);
                        (200, "{}")
                    }
                    _ => (
                        404,
                        r#"{"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"}"#,
                    ),
                };
                let response = Response::builder().status(code);
                Ok::<_, Infallible>(response.body(Body::from(body.as_bytes().to_vec())).unwrap())
            }
        });
        Connection::to(Client::new(service, "default"), "default")
    }

    #[tokio::test]
    async fn sessions_are_ended_by_name_or_all() {
        let ended = Arc::new(Mutex::new(Vec::new()));
        let connection = server(Arc::clone(&ended));
        let words = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let one = revoke(&connection, &words(&["aaaaaaaaaaaaaaaa"])).await;
        assert_eq!(one, Ok(Exit::Ok));
        assert_eq!(ended.lock().unwrap().len(), 1);
        assert_eq!(revoke(&connection, &words(&["all"])).await, Ok(Exit::Ok));
        assert_eq!(ended.lock().unwrap().len(), 3);
        for (name, exit) in [
            ("bbbbbbbbbbbbbbbb", Exit::NotFound),
            ("../login", Exit::Usage),
            ("", Exit::Usage),
        ] {
            let refused = revoke(&connection, &words(&[name])).await.unwrap_err();
            assert_eq!(refused.exit, exit, "{name}");
        }
        assert_eq!(ended.lock().unwrap().len(), 3);
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

//! Who is logged in to the web console, with the real binary: over its end by SIGKILL, and ended from a terminal.

use acceptance::Server;
use http::{Request, Response};
use kube::client::Body;
use serde_json::Value;

/// A browser: it trusts the server, and has no certificate.
struct Browser {
    runtime: tokio::runtime::Runtime,
    client: kube::Client,
    origin: String,
    cookie: String,
}

impl Browser {
    fn new(server: &Server) -> Browser {
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let client = runtime.block_on(async {
            let kubeconfig =
                kube::config::Kubeconfig::read_from(server.kubeconfig()).expect("a kubeconfig");
            let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default())
                .await
                .expect("a usable kubeconfig");
            config.auth_info = kube::config::AuthInfo::default();
            kube::Client::try_from(config).expect("a client")
        });
        Browser {
            runtime,
            client,
            origin: format!("https://{}", server.address()),
            cookie: String::new(),
        }
    }

    fn ask(&self, method: &str, path: &str, body: String) -> Response<Body> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("origin", &self.origin)
            .header("cookie", &self.cookie)
            .header("content-type", "application/json")
            .body(Body::from(body.into_bytes()))
            .expect("a request");
        let answer = self.runtime.block_on(self.client.send(request));
        answer.unwrap_or_else(|error| panic!("no answer to {method} {path}: {error}"))
    }

    fn log_in(&mut self, server: &Server) {
        let link = server.anyvirt(&["web", "--print"]);
        let key = link.out.trim().rsplit_once("#otk=").expect("a link").1;
        let body = format!("{{\"link\": \"{key}\"}}");
        let answer = self.ask("POST", "/console/api/login", body);
        assert_eq!(answer.status(), 200, "{answer:?}");
        let cookie = answer.headers()["set-cookie"].to_str().expect("text");
        self.cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    }

    fn reads(&self) -> u16 {
        let path = "/api/v1/namespaces/default/configmaps";
        self.ask("GET", path, String::new()).status().as_u16()
    }
}

fn list(server: &Server) -> Vec<Value> {
    let said = server.anyvirt(&["web", "--list", "-o", "json"]);
    let told: Value = serde_json::from_str(&said.out)
        .unwrap_or_else(|error| panic!("{error}: {} {}", said.out, said.err));
    told["sessions"].as_array().expect("sessions").clone()
}

#[test]
fn a_browsers_session_survives_the_server_and_ends_from_a_terminal() {
    let mut server = Server::start(&["--emulation", "on"]);
    let mut browser = Browser::new(&server);
    assert_eq!(browser.reads(), 403, "nobody is logged in");
    browser.log_in(&server);
    assert_eq!(browser.reads(), 200);

    server.kill();
    server.up();
    assert_eq!(browser.reads(), 200, "{}", server.log());
    let listed = list(&server);
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0]["peer"], "127.0.0.1");
    let name = listed[0]["name"].as_str().expect("a name");
    let table = server.anyvirt(&["web", "--list"]).out;
    assert!(table.contains(name) && table.contains("USER"), "{table}");

    let ended = server.anyvirt(&["web", "--revoke", name]);
    assert_eq!(
        ended.out,
        format!("session {name} ended\n"),
        "{}",
        ended.err
    );
    assert_eq!(browser.reads(), 401);
    let again = server.anyvirt(&["web", "--revoke", name]);
    assert_eq!(again.code, Some(3), "{}", again.err);
    let log = server.log();
    for told in ["was opened", "was revoked"] {
        let line = log.lines().find(|line| line.contains(told));
        let line = line.unwrap_or_else(|| panic!("not told that one {told}: {log}"));
        assert!(line.contains("audit") && line.contains(name), "{line}");
    }

    server.kill();
    server.up();
    assert_eq!(browser.reads(), 401);
    assert_eq!(list(&server), Vec::<Value>::new());
}

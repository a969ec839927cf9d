//! The door as a browser, and as an attacker, meets it: real requests over TLS.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};

use apiserver::certificates::Authority;
use apiserver::{Extensions, Token};
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use store::Store;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

mod attacks;
mod certificate;
mod restart;
mod sessions;
mod usage;

/// More than any answer takes; a test that hangs says where.
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    directory: Arc<tempfile::TempDir>,
    address: SocketAddr,
    console: Arc<Console>,
    /// Seconds that the clock is ahead of its beginning.
    later: Arc<AtomicI64>,
    authority: Arc<Authority>,
    connector: TlsConnector,
    stop: CancellationToken,
}

struct Answer {
    code: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The word for programs by which something was refused.
    fn cause(&self) -> String {
        let status = self.json();
        let cause = status["details"]["causes"][0]["reason"].as_str();
        cause
            .or(status["reason"].as_str())
            .unwrap_or_default()
            .to_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// A browser that is logged in.
struct Login {
    cookie: String,
    csrf: String,
}

impl World {
    async fn new() -> Self {
        Self::in_directory(Arc::new(tempfile::tempdir().unwrap())).await
    }

    /// A server with what an earlier one left in this directory.
    async fn in_directory(directory: Arc<tempfile::TempDir>) -> Self {
        // Each server has its own: an earlier one may not have closed its yet.
        let store = directory.path().join(Secret::of(rand::random()).text());
        let store = Store::open(&store, store::Options::default()).unwrap();
        let later = Arc::new(AtomicI64::new(0));
        let clock: Clock = {
            let later = Arc::clone(&later);
            let start = Timestamp::now();
            Arc::new(move || start + SignedDuration::from_secs(later.load(Ordering::SeqCst)))
        };
        let authority = Authority::load_or_create(&directory.path().join("pki"), Timestamp::now());
        let authority = Arc::new(authority.unwrap());
        let stop = CancellationToken::new();
        let keeper = Keeper::new(directory.path(), authority.ca_pem());
        let console = Console::with_clock(&[], stop.clone(), Some(keeper), clock);
        let token = |secret: &str, user| Token {
            secret: secret.to_owned(),
            user,
        };
        let settings = Settings {
            tokens: vec![
                token("admin-token", User::admin("root")),
                token("weak-token", User::new("bob", ["team"])),
            ],
            ..Settings::default()
        };
        let extensions = Extensions {
            front: Some(Arc::clone(&console) as Arc<dyn Front>),
            ..Extensions::default()
        };
        let server = ApiServer::new(settings, store, extensions).unwrap();
        console.connect(server.clone(), Usages::new(directory.path()), "here");
        server.ready().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = authority
            .server_config(&[], Settings::default().clock)
            .unwrap();
        let serving = stop.clone();
        tokio::spawn(async move { server.serve(listener, tls, serving).await });
        Self {
            address,
            console,
            later,
            connector: connector(&authority, None),
            authority,
            stop,
            directory,
        }
    }

    fn origin(&self) -> String {
        format!("https://{}", self.address)
    }

    /// From now on every connection has a certificate of this user.
    fn carry_certificate(&mut self, user: &str, groups: &[&str]) {
        self.connector = connector(&self.authority, Some((user, groups)));
    }

    fn advance(&self, seconds: i64) {
        self.later.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Sends exactly these headers, beside Host if none is among them.
    async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = "127.0.0.1".try_into().unwrap();
        let mut stream = self.connector.connect(name, stream).await.unwrap();
        let mut text = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            text.push_str(&format!("Host: {}\r\n", self.address));
        }
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut all = headers.to_vec();
        if !headers.iter().any(|(name, _)| *name == "Connection") {
            all.push(("Connection", "close"));
        }
        let mut stream = self.open(method, path, &all, body).await;
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes));
        // An end without TLS's goodbye is an end all the same.
        let _ = read.await.expect("an answer in time");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
        Answer {
            code: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// As a page of ours does it.
    async fn ask_as(
        &self,
        login: &Login,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
    ) -> Answer {
        let origin = self.origin();
        let mut headers = vec![
            ("Cookie", login.cookie.as_str()),
            ("Sec-Fetch-Site", "same-origin"),
        ];
        if method != "GET" {
            headers.push(("X-CSRF-Token", &login.csrf));
            headers.push(("Origin", &origin));
        }
        headers.extend(more);
        self.ask(method, path, &headers, "").await
    }

    async fn try_login(&self, body: &str) -> Answer {
        let origin = self.origin();
        let headers = [
            ("Origin", origin.as_str()),
            ("Content-Type", "application/json"),
        ];
        self.ask("POST", "/console/api/login", &headers, body).await
    }

    async fn log_in(&self, user: User) -> Login {
        let key = self.key(user);
        let answer = self.try_login(&format!("{{\"link\": \"{key}\"}}")).await;
        assert_eq!(answer.code, 200, "{}", answer.body);
        login(&answer)
    }

    fn key(&self, user: User) -> String {
        let link = self.console.link(user, "");
        link.strip_prefix("/console/login#otk=").unwrap().to_owned()
    }
}

/// TLS of a client, with a certificate of `user` in these groups or with none.
fn connector(authority: &Authority, user: Option<(&str, &[&str])>) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.ca_pem().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let client = match user {
        None => client.with_no_client_auth(),
        Some((user, groups)) => {
            let identity = authority.client(user, groups, Timestamp::now()).unwrap();
            let certificate = identity.certificate_pem.as_bytes();
            let certificate = CertificateDer::from_pem_slice(certificate).unwrap();
            let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
            client
                .with_client_auth_cert(vec![certificate], key)
                .unwrap()
        }
    };
    TlsConnector::from(Arc::new(client))
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn login(answer: &Answer) -> Login {
    let cookie = answer.header("set-cookie").expect("a cookie");
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; Secure; HttpOnly; SameSite=Strict");
    Login {
        cookie: pair.to_owned(),
        csrf: answer.json()["csrf"].as_str().unwrap().to_owned(),
    }
}

const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_link_opens_one_session_that_acts_as_its_user() {
    let world = World::new().await;
    let key = world.key(User::admin("alice"));
    let body = format!("{{\"link\": \"{key}\"}}");
    let first = world.try_login(&body).await;
    assert_eq!(first.json()["user"]["name"], "alice");
    assert_eq!(first.json()["user"]["groups"][0], "system:masters");
    let alice = login(&first);
    assert_eq!(world.ask_as(&alice, "GET", PODS, &[]).await.code, 200);
    let again = world
        .ask_as(&alice, "GET", "/console/api/session", &[])
        .await;
    assert_eq!(again.json(), first.json());
    let replayed = world.try_login(&body).await;
    assert_eq!(
        (replayed.code, replayed.cause()),
        (401, "LoginFailed".to_owned())
    );
    // Who may do nothing may do nothing here either.
    let bob = world.log_in(User::new("bob", ["team"])).await;
    let refused = world.ask_as(&bob, "GET", PODS, &[]).await;
    assert_eq!(refused.code, 403);
    assert!(
        refused
            .body
            .contains("User \\\"bob\\\" cannot list resource \\\"pods\\\""),
        "{}",
        refused.body
    );
}

#[tokio::test]
async fn a_token_logs_in_and_a_wrong_one_does_not() {
    let world = World::new().await;
    let answer = world.try_login("{\"token\": \"weak-token\"}").await;
    assert_eq!(answer.json()["user"]["name"], "bob");
    for (body, code) in [
        ("{\"token\": \"guess\"}", 401),
        ("{\"token\": \"\"}", 401),
        ("{\"link\": \"\"}", 401),
        ("{\"password\": \"x\"}", 400),
        ("{}", 400),
        ("", 400),
    ] {
        assert_eq!(world.try_login(body).await.code, code, "{body}");
    }
    let origin = world.origin();
    let form = [("Origin", origin.as_str()), ("Content-Type", "text/plain")];
    let answer = world
        .ask(
            "POST",
            "/console/api/login",
            &form,
            "{\"token\": \"weak-token\"}",
        )
        .await;
    assert_eq!(answer.code, 415);
}

#[tokio::test]
async fn after_five_failures_wrong_ones_wait_and_right_ones_open() {
    let world = World::new().await;
    let wrong = ["{\"token\": \"guess\"}", "{\"link\": \"guess\"}"];
    let link = format!("{{\"link\": \"{}\"}}", world.key(User::admin("alice")));
    for right in [link.as_str(), "{\"token\": \"admin-token\"}"] {
        for _ in 0..5 {
            assert_eq!(world.try_login(wrong[0]).await.code, 401);
        }
        for body in wrong {
            let waits = world.try_login(body).await;
            let told = (waits.code, waits.cause());
            assert_eq!(told, (429, "TooManyTries".to_owned()), "{body}");
            assert_eq!(waits.header("retry-after"), Some("31"));
        }
        // Whoever fails on purpose keeps nobody out.
        assert_eq!(world.try_login(right).await.code, 200, "{right}");
    }
    for _ in 0..5 {
        assert_eq!(world.try_login(wrong[0]).await.code, 401);
    }
    world.advance(31);
    assert_eq!(world.try_login(wrong[0]).await.code, 401);
}

#[tokio::test]
async fn a_sessions_cookie_alone_gets_nobody_in() {
    let world = World::new().await;
    let alice = world.log_in(User::admin("alice")).await;
    let other = world.log_in(User::admin("mallory")).await;
    let (own, host) = (world.origin(), world.address.to_string());
    let cookie = ("Cookie", alice.cookie.as_str());
    let own = ("Origin", own.as_str());
    let csrf = ("X-CSRF-Token", alice.csrf.as_str());
    let evil = ("Origin", "https://evil.example");
    let json = ("Content-Type", "application/json");
    let socket = [
        ("Connection", "Upgrade, close"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let with_socket = |more: &[(&'static str, &'static str)]| [&socket[..], more].concat();
    let rebound = format!("https://rebound.example:{}", world.address.port());
    let rebound_host = format!("rebound.example:{}", world.address.port());
    let watch = "/api/v1/namespaces/default/configmaps?watch=1";
    let cases = vec![
        ("POST", MAPS, vec![evil, csrf, json], "OriginNotAllowed"),
        (
            "POST",
            MAPS,
            vec![("Origin", "null"), csrf, json],
            "OriginNotAllowed",
        ),
        ("POST", MAPS, vec![csrf, json], "OriginMissing"),
        ("POST", MAPS, vec![own, json], "CsrfTokenMissing"),
        (
            "POST",
            MAPS,
            vec![own, json, ("X-CSRF-Token", &other.csrf)],
            "CsrfTokenWrong",
        ),
        (
            "POST",
            MAPS,
            vec![own, csrf, json, ("Sec-Fetch-Site", "cross-site")],
            "SiteNotAllowed",
        ),
        (
            "DELETE",
            "/console/api/session",
            vec![own],
            "CsrfTokenMissing",
        ),
        (
            "GET",
            MAPS,
            vec![("Sec-Fetch-Site", "cross-site")],
            "SiteNotAllowed",
        ),
        ("GET", MAPS, vec![evil], "OriginNotAllowed"),
        ("GET", watch, with_socket(&[evil]), "OriginNotAllowed"),
        ("GET", watch, with_socket(&[]), "OriginMissing"),
        ("GET", MAPS, vec![("Host", &rebound_host)], "HostNotAllowed"),
        (
            "POST",
            MAPS,
            vec![("Host", &rebound_host), ("Origin", &rebound), csrf, json],
            "HostNotAllowed",
        ),
        (
            "GET",
            MAPS,
            vec![("Host", &host), ("Host", "rebound.example")],
            "HostNotAllowed",
        ),
    ];
    for (method, path, mut headers, cause) in cases {
        headers.push(cookie);
        let answer = world.ask(method, path, &headers, "").await;
        assert_eq!(
            (answer.code, answer.cause().as_str()),
            (403, cause),
            "{method} {path} {headers:?}"
        );
        assert_eq!(answer.json()["kind"], "Status");
    }
    // Nothing of it ended the session.
    assert_eq!(world.ask_as(&alice, "GET", MAPS, &[]).await.code, 200);
}

#[tokio::test]
async fn a_page_of_ours_may_write_and_watch() {
    let world = World::new().await;
    let alice = world.log_in(User::admin("alice")).await;
    let origin = world.origin();
    let headers = [
        ("Cookie", alice.cookie.as_str()),
        ("X-CSRF-Token", &alice.csrf),
        ("Origin", &origin),
        ("Content-Type", "application/json"),
    ];
    let map = "{\"metadata\": {\"name\": \"a\"}}";
    assert_eq!(world.ask("POST", MAPS, &headers, map).await.code, 201);
    let headers = [
        ("Cookie", alice.cookie.as_str()),
        ("Origin", &origin),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let mut stream = world
        .open("GET", &format!("{MAPS}?watch=1"), &headers, "")
        .await;
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 101");
}

#[tokio::test]
async fn credentials_are_never_mixed_with_cookies() {
    let world = World::new().await;
    let alice = world.log_in(User::admin("alice")).await;
    let cookie = ("Cookie", alice.cookie.as_str());
    let weak = ("Authorization", "Bearer weak-token");
    let answer = world.ask("GET", PODS, &[cookie, weak], "").await;
    assert_eq!(answer.code, 403);
    assert!(answer.body.contains("bob"), "{}", answer.body);
    let wrong = ("Authorization", "Bearer guess");
    assert_eq!(world.ask("GET", PODS, &[cookie, wrong], "").await.code, 401);
    let session = world
        .ask("GET", "/console/api/session", &[cookie, weak], "")
        .await;
    assert_eq!(session.code, 400);
    // Without a cookie nothing of all this is asked for.
    let admin = ("Authorization", "Bearer admin-token");
    let headers = [
        admin,
        ("Content-Type", "application/json"),
        ("Host", "anything.example"),
    ];
    let map = "{\"metadata\": {\"name\": \"a\"}}";
    assert_eq!(world.ask("POST", MAPS, &headers, map).await.code, 201);
}

#[tokio::test]
async fn a_secret_in_a_url_is_never_accepted() {
    let world = World::new().await;
    for path in [
        "/console/api/session?token=admin-token",
        "/console/login?otk=x",
        "/console/?access_token=x",
    ] {
        let answer = world.ask("GET", path, &[], "").await;
        assert_eq!(answer.code, 400, "{path}");
        assert!(
            answer.body.contains("a secret in a URL is never accepted"),
            "{}",
            answer.body
        );
    }
    let answer = world
        .ask(
            "GET",
            &format!("{PODS}?access_token=admin-token&token=admin-token"),
            &[],
            "",
        )
        .await;
    assert_eq!(answer.code, 403);
    assert!(answer.body.contains("system:anonymous"), "{}", answer.body);
}

#[tokio::test]
async fn a_session_ends_by_idleness_and_by_leaving_and_its_streams_with_it() {
    let world = World::new().await;
    let alice = world.log_in(User::admin("alice")).await;
    let idle = ::console::IDLE.as_secs();
    world.advance(idle - 1);
    assert_eq!(world.ask_as(&alice, "GET", MAPS, &[]).await.code, 200);
    world.advance(idle);
    let expired = world.ask_as(&alice, "GET", MAPS, &[]).await;
    assert_eq!(
        (expired.code, expired.cause()),
        (401, "SessionExpired".to_owned())
    );
    assert_eq!(expired.json()["kind"], "Status");

    let bob = world.log_in(User::admin("bob")).await;
    let headers = [("Cookie", bob.cookie.as_str()), ("Connection", "close")];
    let mut watch = world
        .open("GET", &format!("{MAPS}?watch=1"), &headers, "")
        .await;
    let mut start = [0; 12];
    watch.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    let left = world
        .ask_as(&bob, "DELETE", "/console/api/session", &[])
        .await;
    assert_eq!(left.code, 200);
    assert!(left.header("set-cookie").unwrap().ends_with("Max-Age=0"));
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, watch.read_to_end(&mut rest));
    ended
        .await
        .expect("the watch of a session that was left goes on")
        .ok();
    let refused = world.ask_as(&bob, "GET", MAPS, &[]).await;
    assert_eq!(refused.cause(), "SessionExpired");
}

#[tokio::test]
async fn links_are_made_for_who_has_a_credential_and_not_for_sessions() {
    let world = World::new().await;
    let weak = ("Authorization", "Bearer weak-token");
    let answer = world.ask("POST", "/console/api/links", &[weak], "").await;
    assert_eq!(answer.code, 200, "{}", answer.body);
    let made = answer.json();
    assert_eq!(made["expiresInSeconds"], 600);
    let key = made["path"]
        .as_str()
        .unwrap()
        .strip_prefix("/console/login#otk=")
        .unwrap();
    let bob = world.try_login(&format!("{{\"link\": \"{key}\"}}")).await;
    assert_eq!(bob.json()["user"]["name"], "bob");
    let bob = login(&bob);
    assert_eq!(
        world
            .ask_as(&bob, "POST", "/console/api/links", &[])
            .await
            .code,
        401
    );
    assert_eq!(
        world.ask("POST", "/console/api/links", &[], "").await.code,
        401
    );
}

#[tokio::test]
async fn a_browser_is_led_to_the_console_and_kubectl_to_the_api() {
    let world = World::new().await;
    let page = world.ask("GET", "/", &[("Accept", "text/html")], "").await;
    assert_eq!(
        (page.code, page.header("location")),
        (302, Some("/console/"))
    );
    let admin = ("Authorization", "Bearer admin-token");
    let api = world
        .ask(
            "GET",
            "/",
            &[admin, ("Accept", "application/json, */*")],
            "",
        )
        .await;
    assert!(api.json()["paths"].is_array(), "{}", api.body);
    let article = "/k8s/ns/openshift-cnv/configmaps";
    let moved = world
        .ask("GET", article, &[("Accept", "text/html")], "")
        .await;
    assert_eq!(
        moved.header("location"),
        Some("/console/k8s/ns/openshift-cnv/configmaps")
    );
    let first = world.ask("GET", "/console/", &[], "").await;
    let second = world.ask("GET", "/console/vms", &[], "").await;
    let policy = |answer: &Answer| answer.header("content-security-policy").unwrap().to_owned();
    assert!(policy(&first).contains("'nonce-") && policy(&first) != policy(&second));
    assert_eq!(first.header("cache-control"), Some("no-store"));
    assert_eq!(world.ask("HEAD", "/console/", &[], "").await.body, "");
    assert_eq!(
        world
            .ask("GET", "/console/assets/none.js", &[], "")
            .await
            .code,
        404
    );
    assert_eq!(
        world.ask("GET", "/console/api/session", &[], "").await.code,
        401
    );
}

#[tokio::test]
async fn what_is_told_of_machines_is_told_with_the_rights_of_who_asks() {
    let world = World::new().await;
    let client = kube::Client::new(
        world.console.server().unwrap().local(User::admin("root")),
        "default",
    );
    controllers::bootstrap::crds(&client).await.unwrap();
    let weak = ("Authorization", "Bearer weak-token");
    let admin = ("Authorization", "Bearer admin-token");
    let path = "/console/api/explain?namespace=default&name=web";
    assert_eq!(world.ask("GET", path, &[weak], "").await.code, 403);
    let none = world.ask("GET", path, &[admin], "").await;
    assert_eq!(none.code, 404, "{}", none.body);
    let vm = r#"{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": "web"},
        "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": {"devices": {}}}}}}"#;
    let machines = "/apis/kubevirt.io/v1/namespaces/default/virtualmachines";
    let json = ("Content-Type", "application/json");
    let made = world.ask("POST", machines, &[admin, json], vm).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let told = world.ask("GET", path, &[admin], "").await.json();
    assert_eq!(told["causeId"], "Stopped", "{told}");
    assert_eq!(told["cures"][0]["command"], "anyvirt start web -n default");
    assert_eq!(
        world
            .ask(
                "GET",
                "/console/api/explain?name=a%2Fb&namespace=x",
                &[admin],
                ""
            )
            .await
            .code,
        400
    );

    let asked = r#"{"object": {"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "kubevirt-config", "namespace": "openshift-cnv"},
        "data": {"debug.useEmulation": "true"}}}"#;
    let told = world
        .ask("POST", "/console/api/consequences", &[admin, json], asked)
        .await
        .json();
    assert!(
        told["new"]
            .as_str()
            .unwrap()
            .starts_with("the policy is Software"),
        "{told}"
    );
    // Who may see nothing learns nothing, and is told so.
    let told = world
        .ask("POST", "/console/api/consequences", &[weak, json], asked)
        .await
        .json();
    let problems = told["problems"].to_string();
    assert!(
        problems.contains("you may not read virtual machines"),
        "{told}"
    );
    let wrong = asked.replace("\"true\"", "true");
    assert_eq!(
        world
            .ask("POST", "/console/api/consequences", &[admin, json], &wrong)
            .await
            .code,
        422
    );
}

#[tokio::test]
async fn no_call_lends_an_impersonators_rights_to_whom_it_speaks_for() {
    let world = World::new().await;
    let alice = world.log_in(User::admin("alice")).await;
    let admin = ("Authorization", "Bearer admin-token");
    let explain = "/console/api/explain?namespace=default&name=web";
    for header in [
        "Impersonate-User",
        "Impersonate-Group",
        "Impersonate-Uid",
        "Impersonate-Extra-Scopes",
    ] {
        let asked = (header, "bob");
        for (method, path) in [
            ("POST", "/console/api/links"),
            ("POST", "/console/api/consequences"),
            ("GET", explain),
            ("GET", "/console/api/metrics?namespace=default&name=web"),
        ] {
            let body = r#"{"object": {"kind": "Pod", "apiVersion": "v1"}}"#;
            let answer = world.ask(method, path, &[admin, asked], body).await;
            assert_eq!(answer.code, 400, "{path} {header}: {}", answer.body);
            assert!(
                answer.body.contains(&header.to_ascii_lowercase()),
                "{path}: {}",
                answer.body
            );
        }
        let by_session = world.ask_as(&alice, "GET", explain, &[asked]).await;
        assert_eq!(by_session.code, 400, "{header}: {}", by_session.body);
    }
}

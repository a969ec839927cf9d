//! Browsers that have a client certificate, which they use for whatever page asks, and programs that have one.

use super::*;

const JSON: (&str, &str) = ("Content-Type", "application/json");
const SOCKET: [(&str, &str); 3] = [
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];
const WATCH: &str = "/api/v1/namespaces/default/configmaps?watch=1";

async fn world() -> World {
    let mut world = World::new().await;
    world.carry_certificate("root", &["system:masters"]);
    world
}

#[tokio::test]
async fn another_sites_page_cannot_use_a_browsers_certificate() {
    let world = world().await;
    let own = world.origin();
    let own = ("Origin", own.as_str());
    let evil = ("Origin", "https://evil.example");
    let cross = ("Sec-Fetch-Site", "cross-site");
    let port = world.address.port();
    let (rebound, host) = (
        format!("https://rebound.example:{port}"),
        format!("rebound.example:{port}"),
    );
    let explain = "/console/api/explain?namespace=default&name=web";
    let socket = [&SOCKET[..], &[("Connection", "Upgrade, close"), evil]].concat();
    for (method, path, headers, cause) in [
        ("POST", MAPS, vec![evil, JSON], "OriginNotAllowed"),
        ("POST", MAPS, vec![("Origin", "null")], "OriginNotAllowed"),
        ("POST", MAPS, vec![cross], "OriginMissing"),
        ("POST", MAPS, vec![own, cross], "SiteNotAllowed"),
        ("GET", MAPS, vec![cross], "SiteNotAllowed"),
        (
            "GET",
            MAPS,
            vec![("Sec-Fetch-Site", "same-site")],
            "SiteNotAllowed",
        ),
        ("GET", WATCH, socket, "OriginNotAllowed"),
        (
            "POST",
            MAPS,
            vec![("Host", host.as_str()), ("Origin", rebound.as_str())],
            "HostNotAllowed",
        ),
        ("GET", explain, vec![cross], "SiteNotAllowed"),
        ("POST", "/console/api/links", vec![evil], "OriginNotAllowed"),
    ] {
        let map = "{\"metadata\": {\"name\": \"a\"}}";
        let answer = world.ask(method, path, &headers, map).await;
        assert_eq!(
            (answer.code, answer.cause().as_str()),
            (403, cause),
            "{method} {path} {headers:?}"
        );
    }
    // A page of the server's own may.
    let map = "{\"metadata\": {\"name\": \"b\"}}";
    let same = ("Sec-Fetch-Site", "same-origin");
    let made = world.ask("POST", MAPS, &[own, same, JSON], map).await;
    assert_eq!(made.code, 201, "{}", made.body);
}

#[tokio::test]
async fn programs_with_a_certificate_are_asked_for_nothing_of_it() {
    let world = world().await;
    let map = "{\"metadata\": {\"name\": \"a\"}}";
    let elsewhere = ("Host", "anything.example");
    let made = world.ask("POST", MAPS, &[JSON, elsewhere], map).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let link = world.ask("POST", "/console/api/links", &[], "").await;
    assert_eq!(link.code, 200, "{}", link.body);
    let session = world.ask("GET", "/console/api/session", &[], "").await;
    assert_eq!(session.code, 400, "{}", session.body);
    // As virtctl and kubectl open WebSockets.
    let headers = [&SOCKET[..], &[("Connection", "Upgrade")]].concat();
    let mut stream = world.open("GET", WATCH, &headers, "").await;
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 101");
}

#[tokio::test]
async fn a_browser_with_a_certificate_and_a_session_acts_as_its_session() {
    let world = world().await;
    let same = ("Sec-Fetch-Site", "same-origin");
    let session = "/console/api/session";
    assert_eq!(world.ask("GET", session, &[same], "").await.code, 401);
    let bob = world.log_in(User::new("bob", ["team"])).await;
    let told = world.ask_as(&bob, "GET", session, &[]).await;
    assert_eq!(told.code, 200, "{}", told.body);
    assert_eq!(told.json()["user"]["name"], "bob");
    let refused = world.ask_as(&bob, "GET", PODS, &[]).await;
    assert_eq!(refused.code, 403);
    assert!(refused.body.contains("bob"), "{}", refused.body);
    // A browser that tells less of its requests is one all the same.
    let cookie = ("Cookie", bob.cookie.as_str());
    let told = world.ask("GET", session, &[cookie], "").await;
    assert_eq!(told.json()["user"]["name"], "bob");
    let own = world.origin();
    let headers = [cookie, same, ("Origin", own.as_str())];
    let bare = world.ask("DELETE", session, &headers, "").await;
    assert_eq!(
        (bare.code, bare.cause().as_str()),
        (403, "CsrfTokenMissing")
    );
    let link = world.ask_as(&bob, "POST", "/console/api/links", &[]).await;
    assert_eq!(link.code, 401, "{}", link.body);
    assert_eq!(world.ask_as(&bob, "DELETE", session, &[]).await.code, 200);
    let over = world.ask_as(&bob, "GET", PODS, &[]).await;
    assert_eq!((over.code, over.cause().as_str()), (401, "SessionExpired"));
}

//! What issue 4 asks of the door beside what its other tests show: each attack by a real request, refused by name.

use super::*;

const LOGIN: &str = "/console/api/login";

#[tokio::test]
async fn no_other_sites_page_logs_a_browser_in() {
    let world = World::new().await;
    let own = world.origin();
    let port = world.address.port();
    let rebound = format!("rebound.example:{port}");
    let rebound_origin = format!("https://{rebound}");
    let json = ("Content-Type", "application/json");
    let cases = [
        (vec![("Origin", "https://evil.example")], "OriginNotAllowed"),
        (vec![("Origin", "null")], "OriginNotAllowed"),
        (vec![], "OriginMissing"),
        (
            vec![("Origin", own.as_str()), ("Sec-Fetch-Site", "cross-site")],
            "SiteNotAllowed",
        ),
        // A name that an attacker lets resolve to this machine: for the browser it is all one site.
        (
            vec![
                ("Host", rebound.as_str()),
                ("Origin", rebound_origin.as_str()),
                ("Sec-Fetch-Site", "same-origin"),
            ],
            "HostNotAllowed",
        ),
    ];
    let body = format!("{{\"link\": \"{}\"}}", world.key(User::admin("alice")));
    for (mut headers, cause) in cases {
        headers.push(json);
        let refused = world.ask("POST", LOGIN, &headers, &body).await;
        assert_eq!(
            (refused.code, refused.cause().as_str()),
            (403, cause),
            "{headers:?}"
        );
        assert!(refused.header("set-cookie").is_none(), "{}", refused.head);
    }
    // None of them has used the link up.
    assert_eq!(world.try_login(&body).await.code, 200);
}

#[tokio::test]
async fn a_link_opens_for_the_first_of_two_at_once_and_not_after_ten_minutes() {
    let world = World::new().await;
    let body = format!("{{\"link\": \"{}\"}}", world.key(User::admin("alice")));
    let (one, other) = tokio::join!(world.try_login(&body), world.try_login(&body));
    let mut codes = [one.code, other.code];
    codes.sort_unstable();
    assert_eq!(codes, [200, 401]);
    let late = format!("{{\"link\": \"{}\"}}", world.key(User::admin("alice")));
    world.advance(::console::LINK_LIFE.as_secs());
    let late = world.try_login(&late).await;
    assert_eq!(
        (late.code, late.cause().as_str()),
        (401, "LoginFailed"),
        "{}",
        late.body
    );
}

#[tokio::test]
async fn every_kind_of_change_needs_the_sessions_own_token() {
    let world = World::new().await;
    let alice = world.log_in(User::admin("alice")).await;
    let own = world.origin();
    let headers = [
        ("Cookie", alice.cookie.as_str()),
        ("Origin", own.as_str()),
        ("Sec-Fetch-Site", "same-origin"),
        ("Content-Type", "application/json"),
    ];
    let map = format!("{MAPS}/a");
    let start = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachines/a/start";
    for (method, path) in [
        ("POST", MAPS),
        ("PUT", map.as_str()),
        ("PATCH", &map),
        ("DELETE", &map),
        ("DELETE", MAPS),
        ("PUT", start),
        ("OPTIONS", MAPS),
        ("POST", "/console/api/consequences"),
    ] {
        let refused = world.ask(method, path, &headers, "{}").await;
        assert_eq!(
            (refused.code, refused.cause().as_str()),
            (403, "CsrfTokenMissing"),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn a_session_is_over_a_day_after_its_login_also_for_sockets() {
    let world = World::new().await;
    let alice = world.log_in(User::admin("alice")).await;
    let hour = 3600;
    for _ in 0..23 {
        world.advance(hour);
        assert_eq!(world.ask_as(&alice, "GET", MAPS, &[]).await.code, 200);
    }
    world.advance(hour);
    let own = world.origin();
    let socket = [
        ("Cookie", alice.cookie.as_str()),
        ("Origin", own.as_str()),
        ("Connection", "Upgrade, close"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let watch = format!("{MAPS}?watch=1");
    let refused = world.ask("GET", &watch, &socket, "").await;
    assert_eq!(
        (refused.code, refused.cause().as_str()),
        (401, "SessionExpired")
    );
    let refused = world.ask_as(&alice, "GET", MAPS, &[]).await;
    assert_eq!(refused.cause(), "SessionExpired");
}

#[tokio::test]
async fn a_sessions_secrets_count_nowhere_but_in_their_places() {
    let world = World::new().await;
    let alice = world.log_in(User::admin("alice")).await;
    let id = alice.cookie.split_once('=').unwrap().1;
    let bearer = format!("Bearer {id}");
    let refused = world
        .ask("GET", PODS, &[("Authorization", &bearer)], "")
        .await;
    assert_eq!(refused.code, 401, "an id is no token");
    let path = format!("{PODS}?token={id}&{}", alice.cookie);
    let refused = world.ask("GET", &path, &[], "").await;
    assert_eq!(refused.code, 403, "{}", refused.body);
    assert!(
        refused.body.contains("system:anonymous"),
        "{}",
        refused.body
    );
    let path = format!("/console/api/session?otk={id}");
    let refused = world.ask_as(&alice, "GET", &path, &[]).await;
    assert_eq!(refused.code, 400, "not even of who is logged in");
}

//! Who is logged in is told to whom it concerns, and ended by them.

use super::*;

const SESSIONS: &str = "/console/api/sessions";

fn names(answer: &Answer) -> Vec<(String, String)> {
    let told = answer.json();
    let sessions = told["sessions"].as_array().expect("sessions");
    let word = |session: &Value, field: &str| session[field].as_str().unwrap().to_owned();
    let both = |session| (word(session, "user"), word(session, "name"));
    sessions.iter().map(both).collect()
}

#[tokio::test]
async fn everybody_sees_and_ends_their_own_sessions_and_administrators_all() {
    let world = World::new().await;
    let bob = world.log_in(User::new("bob", ["team"])).await;
    world.advance(1);
    let carol = world.log_in(User::new("carol", ["team"])).await;
    world.advance(1);
    let origin = world.origin();
    let headers = [
        ("Origin", origin.as_str()),
        ("Content-Type", "application/json"),
        ("User-Agent", "Lynx/2.9\t<b>"),
    ];
    let key = world.key(User::new("bob", ["team"]));
    let body = format!("{{\"link\": \"{key}\"}}");
    let elsewhere = world
        .ask("POST", "/console/api/login", &headers, &body)
        .await;
    let elsewhere = login(&elsewhere);

    let listed = world.ask_as(&bob, "GET", SESSIONS, &[]).await;
    let own = names(&listed);
    let users: Vec<_> = own.iter().map(|(user, _)| user.as_str()).collect();
    assert_eq!(users, ["bob", "bob"], "newest first, nobody else's");
    let first = &listed.json()["sessions"][0];
    assert_eq!(first["peer"], "127.0.0.1");
    assert_eq!(first["browser"], "Lynx/2.9<b>");
    assert_eq!(first["current"], false);
    assert_eq!(listed.json()["sessions"][1]["current"], true);
    let time = |field: &str| first[field].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(
        time("ends").duration_since(time("lastUsed")),
        ::console::IDLE
    );
    assert!(time("opened") <= time("lastUsed"));
    for secret in [&bob, &elsewhere] {
        let id = secret.cookie.split_once('=').unwrap().1;
        assert!(!listed.body.contains(id) && !listed.body.contains(&secret.csrf));
    }

    // A stolen cookie alone revokes nothing, nor does somebody else.
    let there = format!("{SESSIONS}/{}", own[0].1);
    let cookie = [("Cookie", bob.cookie.as_str()), ("Origin", origin.as_str())];
    let refused = world.ask("DELETE", &there, &cookie, "").await;
    assert_eq!(refused.cause(), "CsrfTokenMissing");
    let refused = world.ask_as(&carol, "DELETE", &there, &[]).await;
    assert_eq!(refused.code, 404, "{}", refused.body);
    assert_eq!(world.ask("DELETE", &there, &[], "").await.code, 401);
    let still = world.ask_as(&elsewhere, "GET", SESSIONS, &[]).await;
    assert_eq!(still.code, 200);

    let admin = [("Authorization", "Bearer admin-token")];
    let of_admin = world.ask("GET", SESSIONS, &admin, "").await;
    assert_eq!(names(&of_admin).len(), 3, "{}", of_admin.body);
    let revoked = world.ask_as(&bob, "DELETE", &there, &[]).await;
    assert_eq!(
        (revoked.code, revoked.json()["user"].as_str()),
        (200, Some("bob"))
    );
    assert!(revoked.header("set-cookie").is_none(), "it was another's");
    let over = world.ask_as(&elsewhere, "GET", SESSIONS, &[]).await;
    assert_eq!(over.cause(), "SessionExpired");
    assert_eq!(world.ask_as(&bob, "DELETE", &there, &[]).await.code, 404);

    let (_, carols) = names(&of_admin)
        .into_iter()
        .find(|(user, _)| user == "carol")
        .unwrap();
    let path = format!("{SESSIONS}/{carols}");
    let weak = [("Authorization", "Bearer weak-token")];
    assert_eq!(world.ask("DELETE", &path, &weak, "").await.code, 404);
    assert_eq!(world.ask("DELETE", &path, &admin, "").await.code, 200);
    let over = world.ask_as(&carol, "GET", SESSIONS, &[]).await;
    assert_eq!(over.cause(), "SessionExpired");
    assert_eq!(world.ask("POST", SESSIONS, &admin, "").await.code, 405);
}

#[tokio::test]
async fn who_may_only_look_sees_and_ends_no_session_but_their_own() {
    let world = World::new().await;
    let viewer = || User::new("anyvirt-viewer", [crate::up::VIEWERS]);
    let one = world.log_in(viewer()).await;
    world.advance(1);
    let other = world.log_in(viewer()).await;
    let seen = async |who| names(&world.ask_as(who, "GET", SESSIONS, &[]).await);
    let (of_one, of_other) = (seen(&one).await, seen(&other).await);
    assert_eq!((of_one.len(), of_other.len()), (1, 1));
    assert_ne!(of_one, of_other);
    let others = format!("{SESSIONS}/{}", of_other[0].1);
    let refused = world.ask_as(&one, "DELETE", &others, &[]).await;
    assert_eq!(refused.code, 404, "{}", refused.body);
    let ended = world.ask_as(&other, "DELETE", &others, &[]).await;
    assert_eq!(ended.code, 200, "{}", ended.body);
    assert_eq!(seen(&one).await, of_one, "it goes on");
}

#[tokio::test]
async fn a_revoked_sessions_watch_ends_and_its_own_browser_forgets_it() {
    let world = World::new().await;
    let alice = world.log_in(User::admin("alice")).await;
    let headers = [("Cookie", alice.cookie.as_str()), ("Connection", "close")];
    let mut watch = world
        .open("GET", &format!("{MAPS}?watch=1"), &headers, "")
        .await;
    let mut start = [0; 12];
    watch.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    let listed = world.ask_as(&alice, "GET", SESSIONS, &[]).await;
    let path = format!("{SESSIONS}/{}", names(&listed)[0].1);
    let revoked = world.ask_as(&alice, "DELETE", &path, &[]).await;
    assert!(revoked.header("set-cookie").unwrap().ends_with("Max-Age=0"));
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, watch.read_to_end(&mut rest));
    ended
        .await
        .expect("the watch of a revoked session goes on")
        .ok();
}

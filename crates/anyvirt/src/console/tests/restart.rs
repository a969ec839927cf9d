//! What a server that starts again knows of who was logged in.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::*;

impl World {
    fn file(&self) -> PathBuf {
        self.directory.path().join("console-sessions.json")
    }

    /// Ends this server and starts another in its place.
    async fn restart(self) -> World {
        let directory = Arc::clone(&self.directory);
        drop(self);
        World::in_directory(directory).await
    }

    async fn maps(&self, login: &Login) -> (u16, String) {
        let answer = self.ask_as(login, "GET", MAPS, &[]).await;
        let cause = if answer.code == 200 {
            String::new()
        } else {
            answer.cause()
        };
        (answer.code, cause)
    }
}

fn over() -> (u16, String) {
    (401, "SessionExpired".to_owned())
}

fn open() -> (u16, String) {
    (200, String::new())
}

#[tokio::test]
async fn a_session_lasts_over_a_restart_until_it_is_ended() {
    let world = World::new().await;
    let alice = world.log_in(User::admin("alice")).await;
    let bob = world.log_in(User::admin("bob")).await;
    let by_token = login(&world.try_login("{\"token\": \"admin-token\"}").await);

    let written = std::fs::read_to_string(world.file()).unwrap();
    assert!(written.contains("alice") && !written.contains("\"root\""));
    for login in [&alice, &bob] {
        let id = login.cookie.split_once('=').unwrap().1;
        assert!(!written.contains(id) && !written.contains(&login.csrf));
    }
    let mode = std::fs::metadata(world.file())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let world = world.restart().await;
    assert_eq!(world.maps(&alice).await, open());
    assert_eq!(world.maps(&by_token).await, over(), "its token may be gone");
    // With the same rights, and the token that its page has.
    let left = world
        .ask_as(&alice, "DELETE", "/console/api/session", &[])
        .await;
    assert_eq!(left.code, 200, "{}", left.body);
    let admin = ("Authorization", "Bearer admin-token");
    let listed = world
        .ask("GET", "/console/api/sessions", &[admin], "")
        .await;
    let name = listed.json()["sessions"][0]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(world.maps(&bob).await, open());
    let path = format!("/console/api/sessions/{name}");
    assert_eq!(world.ask("DELETE", &path, &[admin], "").await.code, 200);

    let world = world.restart().await;
    assert_eq!(world.maps(&alice).await, over(), "she left");
    assert_eq!(world.maps(&bob).await, over(), "it was revoked");
}

#[tokio::test]
async fn a_session_of_another_authority_or_of_a_torn_file_is_over() {
    let world = World::new().await;
    let alice = world.log_in(User::admin("alice")).await;
    std::fs::remove_dir_all(world.directory.path().join("pki")).unwrap();
    let world = world.restart().await;
    assert_eq!(world.maps(&alice).await, over());

    let alice = world.log_in(User::admin("alice")).await;
    let (directory, file) = (Arc::clone(&world.directory), world.file());
    drop(world);
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let world = World::in_directory(directory).await;
    assert_eq!(world.maps(&alice).await, over());
    let alice = world.log_in(User::admin("alice")).await;
    assert_eq!(world.maps(&alice).await, open(), "and it goes on");
}

#[tokio::test]
async fn a_session_made_with_a_certificate_lasts_and_one_made_with_a_token_does_not() {
    let mut world = World::new().await;
    let token = [("Authorization", "Bearer admin-token")];
    let of_token = world.ask("POST", "/console/api/links", &token, "").await;
    world.carry_certificate("carol", &["system:masters"]);
    let of_certificate = world.ask("POST", "/console/api/links", &[], "").await;
    world.connector = connector(&world.authority, None);
    let mut logins = Vec::new();
    for made in [of_token, of_certificate] {
        let path = made.json()["path"].as_str().unwrap().to_owned();
        let key = path.strip_prefix("/console/login#otk=").unwrap().to_owned();
        let answer = world.try_login(&format!("{{\"link\": \"{key}\"}}")).await;
        logins.push(login(&answer));
    }
    let world = world.restart().await;
    assert_eq!(world.maps(&logins[0]).await, over());
    assert_eq!(world.maps(&logins[1]).await, open());
}

#[tokio::test]
async fn what_cannot_be_written_down_is_told_and_opens_nothing_later() {
    let world = World::new().await;
    let alice = world.log_in(User::admin("alice")).await;
    // A folder in the way of what is written beside.
    let in_the_way = world.file().with_extension("json.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let left = world
        .ask_as(&alice, "DELETE", "/console/api/session", &[])
        .await;
    assert_eq!(left.code, 500, "{}", left.body);
    assert!(left.body.contains("the session has ended"), "{}", left.body);
    assert_eq!(world.maps(&alice).await, over());
    assert!(!world.file().exists());
    let world = world.restart().await;
    assert_eq!(world.maps(&alice).await, over());
}

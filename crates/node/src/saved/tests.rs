use super::store::*;
use super::*;
use api::launcher::saved::{Record, files};
use jiff::Timestamp;

fn made(namespace: &str) -> Made {
    Made {
        owner: Owner {
            kind: "VirtualMachine".to_owned(),
            namespace: namespace.to_owned(),
            name: "vm".to_owned(),
            uid: "u-1".to_owned(),
        },
        shape: json!({"domain": {"memory": 1}}),
        processor: None,
        made_at: Timestamp::UNIX_EPOCH,
    }
}

/// As a launcher leaves it.
fn written(store: &Store, id: &str) {
    let folder = store.prepare(id).expect("a folder");
    for name in [files::STATE, "root.qcow2"] {
        std::fs::write(folder.join(name), format!("content of {name}")).expect("written");
    }
    let record = Record {
        files: [files::STATE, "root.qcow2"].map(str::to_owned).into(),
        ..Record::default()
    };
    let record = serde_json::to_vec(&record).expect("JSON");
    std::fs::write(folder.join(files::RECORD), record).expect("written");
}

#[test]
fn a_saved_machine_appears_whole_and_each_damage_is_named() {
    let data = tempfile::tempdir().expect("a folder");
    let store = Store::open(data.path().join(FOLDER)).expect("opened");
    assert_eq!(store.get("ns", "u-1").expect("readable"), None);
    store
        .commit("u-1", made("ns"))
        .expect_err("nothing was written");
    written(&store, "u-1");
    assert_eq!(store.list().expect("listed"), []);
    let stored = store.commit("u-1", made("ns")).expect("taken in");
    assert_eq!(
        store.get("ns", "u-1").expect("readable"),
        Some(stored.clone())
    );
    assert_eq!(
        store.list().expect("listed"),
        [("ns".to_owned(), "u-1".to_owned())]
    );
    assert_eq!(store.get("other", "u-1").expect("readable"), None);
    assert_eq!(stored.verify().expect("whole").len(), 2);

    let state = stored.directory.join(files::STATE);
    let content = std::fs::read(&state).expect("there");
    std::fs::write(&state, "content of stale").expect("written");
    let fault = stored.verify().expect_err("damaged").to_string();
    assert!(
        fault.contains("state is damaged") || fault.contains("truncated"),
        "{fault}"
    );
    std::fs::write(&state, "c").expect("written");
    let fault = stored.verify().expect_err("truncated").to_string();
    assert!(fault.contains("state is truncated: it has 1 of"), "{fault}");
    std::fs::remove_file(&state).expect("removed");
    let fault = stored.verify().expect_err("missing").to_string();
    assert!(fault.contains("state is missing"), "{fault}");
    std::fs::write(&state, content).expect("written");
    stored.verify().expect("put back");

    // The state is read where it is.
    let disk = std::fs::metadata(stored.directory.join("root.qcow2")).expect("there");
    let disk = std::os::unix::fs::MetadataExt::blocks(&disk) * 512;
    assert_eq!(stored.copied_bytes().expect("there"), disk);

    assert!(!is_used(&stored.directory));
    let (record, used) = (files::RECORD, files::USED);
    std::fs::rename(stored.directory.join(record), stored.directory.join(used)).expect("renamed");
    assert!(is_used(&stored.directory));
    store.remove("ns", "u-1").expect("removed");
    store.remove("ns", "u-1").expect("there is none");
    assert_eq!(store.list().expect("listed"), []);
}

#[test]
fn what_a_crash_leaves_goes_but_for_what_is_being_written() {
    let data = tempfile::tempdir().expect("a folder");
    let store = Store::open(data.path().join(FOLDER)).expect("opened");
    for id in ["left", "under-way", "kept"] {
        written(&store, id);
    }
    store.commit("kept", made("ns")).expect("taken in");
    store
        .sweep(&["under-way".to_owned()].into())
        .expect("swept");
    assert!(!store.building("left").exists());
    assert!(store.building("under-way").exists());
    assert!(store.get("ns", "kept").expect("readable").is_some());
}

#[test]
fn names_are_no_paths() {
    for id in ["", "..", "a/b", ".building-x", "a b", &"a".repeat(64)] {
        assert!(!is_id(id), "{id:?}");
    }
    assert!(is_id("5d307ca9-b3ef-428c-8861-06e72d69f223"));
}

#[test]
fn the_first_difference_of_two_shapes_is_told_with_its_path() {
    let saved = json!({"domain": {"cpu": {"cores": 2}, "devices": [{"name": "a"}]}, "memory": 1});
    assert_eq!(difference(&saved, &saved), None);
    let mut now = saved.clone();
    now["domain"]["cpu"]["cores"] = json!(4);
    let told = difference(&saved, &now).expect("different");
    assert_eq!(told, "spec.domain.cpu.cores was 2, and is 4 now");
    let mut now = saved.clone();
    now["domain"]["devices"][0]["name"] = json!("b");
    let told = difference(&saved, &now).expect("different");
    assert_eq!(
        told,
        "spec.domain.devices[0].name was \"a\", and is \"b\" now"
    );
    let told = difference(&saved, &json!({"domain": saved["domain"]})).expect("different");
    assert_eq!(told, "spec.memory was 1, and is null now");
}

#[test]
fn a_disk_without_room_is_told_how_much_is_missing() {
    room(Writes::Save, 1 << 30, 128 << 20).expect("enough");
    let copies = room(Writes::Copies, 600 << 20, 128 << 20).expect_err("too little");
    assert!(
        copies.contains("copying its disks may take 128 MiB"),
        "{copies}"
    );
    let told = room(Writes::Save, 600 << 20, 128 << 20).expect_err("too little");
    assert!(
        told.contains("600 MiB free") && told.contains("128 MiB"),
        "{told}"
    );
}

/// A launcher that gives these answers, one after the other; how often it was asked.
async fn launcher(machine: &Path, answers: Vec<&'static str>) -> tokio::task::JoinHandle<usize> {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    let socket = machine.join(api::launcher::files::SOCKET);
    let listener = host::socket::listen(&socket).expect("listening");
    tokio::spawn(async move {
        let mut asked = 0;
        for reason in answers {
            let (stream, _) = listener.accept().await.expect("accepted");
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await.expect("a request");
            asked += 1;
            let answer = json!({ "Refused": { "reason": reason, "message": "words" } });
            let answer = format!("{answer}\n");
            stream.write_all(answer.as_bytes()).await.expect("answered");
        }
        asked
    })
}

#[tokio::test]
async fn what_a_launcher_writes_or_has_written_is_not_touched_by_another_try() {
    for (answers, left) in [
        // It is doing so, and has done so, for an earlier run of the node.
        (vec!["Saving"], true),
        (vec!["NotRunning"], true),
        (vec!["Stopping"], true),
        // It is left of a try that failed.
        (vec!["WrongFolder", "SaveFailed"], false),
        (vec!["NoHook"], false),
    ] {
        let data = tempfile::tempdir().expect("a folder");
        let store = Store::open(data.path().join(FOLDER)).expect("opened");
        written(&store, "u-1");
        let times = answers.len();
        let told = launcher(data.path(), answers.clone()).await;
        save(&store, data.path(), "u-1", 0, (false, false))
            .await
            .expect_err("refused");
        assert_eq!(told.await.expect("ended"), times);
        let is_left = store.building("u-1").join(files::RECORD).exists();
        assert_eq!(is_left, left, "{answers:?}");
    }
}

#[test]
fn two_saves_at_one_time_do_not_count_on_the_same_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path().join("saved")).expect("opened");
    let free = store.free().expect("free bytes");
    let half = free / 3 * 2;
    let fits = |bytes: u64| move |free: u64| (bytes <= free).then_some(()).ok_or("full".to_owned());
    let first = store.reserve(half, fits(half)).expect("asked");
    assert!(first.is_ok());
    let second = store.clone().reserve(half, fits(half)).expect("asked");
    assert_eq!(second.map(drop), Err("full".to_owned()));
    drop(first);
    assert!(store.reserve(half, fits(half)).expect("asked").is_ok());
}

#[test]
fn large_disks_of_a_guest_that_goes_on_are_not_copied() {
    assert_eq!(copied(8 << 30), Ok(()));
    let refused = copied(9 << 30).expect_err("too large");
    assert!(
        refused.contains("9216 MiB") && refused.contains("suspend"),
        "{refused}"
    );
}

#[test]
fn what_a_launcher_saved_by_itself_is_its_machines_and_then_its_vms() {
    let instance: VirtualMachineInstance = serde_json::from_value(json!({
        "metadata": { "name": "vm", "uid": "vmi-1",
            "annotations": { annotations::RESUME_FROM: "vm-1" } },
        "spec": { "domain": { "devices": {} } },
    }))
    .expect("a VMI");
    assert!(names_id(&instance, "vmi-1") && names_id(&instance, "vm-1"));
    assert!(!names_id(&instance, "vmi-0"));
    let suspended = |id: Option<&str>| -> VirtualMachine {
        let suspension = id.map(
            |id| json!({ "node": "n", "id": id, "at": "2026-11-22T11:00:00Z", "diskBytes": 1 }),
        );
        serde_json::from_value(
            json!({ "metadata": { "name": "vm", "uid": "vm-1" }, "spec": {},
            "status": { "suspension": suspension } }),
        )
        .expect("a VM")
    };
    assert!(is_suspended_as(&suspended(Some("vmi-1")), "vmi-1"));
    assert!(!is_suspended_as(&suspended(Some("vm-1")), "vmi-1"));
    assert!(!is_suspended_as(&suspended(None), "vmi-1"));
}

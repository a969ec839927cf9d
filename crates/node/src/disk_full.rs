//! What the node's stores do when their disk is full, at each step: on file systems of their own, which only root can make.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use api::launcher::saved::{Record, files as saved_names};
use serde_json::json;

use crate::machine::write_json;
use crate::saved;
use crate::templates::fixtures::{keep, made, surroundings, write_files};
use crate::templates::store::{Fault, Store};

/// A file system of 1 MiB and 24 inodes, in memory.
struct Small {
    folder: tempfile::TempDir,
}

impl Small {
    /// None, and said so, where it cannot be had.
    fn mounted(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: {test}: only root can make a file system");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let flags = rustix::mount::MountFlags::empty();
        let options = c"size=1m,nr_inodes=24";
        rustix::mount::mount("none", folder.path(), "tmpfs", flags, options).expect("mounted");
        Some(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all room, or all inodes but `inodes`. Gives what took it.
    fn fill(&self, with: Filled) -> Vec<PathBuf> {
        let name = |number: usize| self.path().join(format!("filler-{number}"));
        match with {
            Filled::Bytes => {
                let mut file = File::create(name(0)).expect("made");
                while file.write_all(&[1; 4096]).is_ok() {}
                vec![name(0)]
            }
            Filled::Inodes { left } => {
                let mut made = Vec::new();
                while File::create(name(made.len())).is_ok() {
                    made.push(name(made.len()));
                }
                for path in made.drain(made.len() - left..) {
                    fs::remove_file(path).expect("removed");
                }
                made
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let gone = rustix::mount::unmount(self.path(), rustix::mount::UnmountFlags::DETACH);
        gone.expect("unmounted");
    }
}

/// What there is no more of.
#[derive(Clone, Copy, Debug)]
enum Filled {
    Bytes,
    Inodes { left: usize },
}

/// By the step that fails: no room for the manifest, no inode for it, and then none for the namespace's folder.
const STEPS: [Filled; 3] = [
    Filled::Bytes,
    Filled::Inodes { left: 0 },
    Filled::Inodes { left: 1 },
];

fn empty(paths: Vec<PathBuf>) {
    for path in paths {
        fs::remove_file(path).expect("removed");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("there");
    let names = entries.map(|entry| entry.expect("readable").file_name());
    names.map(|it| it.to_string_lossy().into_owned()).collect()
}

fn is_full(fault: &Fault, step: Filled) {
    assert!(fault.is_passing(), "{step:?}: {fault}");
    assert!(
        matches!(fault, Fault::Io(error) if error.kind() == ErrorKind::StorageFull),
        "{fault}"
    );
}

#[test]
fn a_template_for_which_there_is_no_room_at_some_step_leaves_nothing_and_is_made_later() {
    for step in STEPS {
        let Some(small) = Small::mounted("a full disk under templates") else {
            return;
        };
        let root = small.path().join("templates");
        let store = Store::open(root.clone()).expect("opened");
        let key = made().shape.key();
        let building = store.building(&key).expect("made");
        write_files(&building);
        let filler = small.fill(step);
        let fault = store.commit(&building, &made()).expect_err("it is full");
        is_full(&fault, step);
        // As the builder does then, still without room.
        store.discard(&key).expect("discarded");
        assert!(
            names(&root).iter().all(|it| it == "ns"),
            "{step:?}: {:?}",
            names(&root)
        );
        empty(filler);
        let kept = keep(&store, &made());
        // And one that is there stays, whatever the next of its kind comes to.
        let building = store.building(&key).expect("made");
        write_files(&building);
        let filler = small.fill(Filled::Bytes);
        let fault = store.commit(&building, &made()).expect_err("it is full");
        is_full(&fault, step);
        store.discard(&key).expect("discarded");
        let swept = store.sweep(|made| surroundings().foreign(made));
        assert_eq!(swept.expect("swept").stored, std::slice::from_ref(&kept));
        for name in kept.manifest.files.keys() {
            kept.verify(name).expect("as it was");
        }
        empty(filler);
    }
}

#[test]
fn a_saved_machine_for_which_there_is_no_room_at_some_step_is_taken_in_when_there_is_some() {
    for step in STEPS {
        let Some(small) = Small::mounted("a full disk under saved machines") else {
            return;
        };
        let store = saved::Store::open(small.path().join("saved")).expect("opened");
        let folder = store.prepare("u-1").expect("a folder");
        fs::write(folder.join(saved_names::STATE), "the guest's memory").expect("written");
        let record = Record {
            files: vec![saved_names::STATE.to_owned()],
            ..Record::default()
        };
        let record = serde_json::to_vec(&record).expect("JSON");
        fs::write(folder.join(saved_names::RECORD), record).expect("written");
        let made = || saved::Made {
            owner: saved::Owner {
                kind: "VirtualMachine".to_owned(),
                namespace: "ns".to_owned(),
                name: "vm".to_owned(),
                uid: "u-2".to_owned(),
            },
            shape: json!({}),
            processor: None,
            made_at: jiff::Timestamp::UNIX_EPOCH,
        };
        let filler = small.fill(step);
        let fault = store.commit("u-1", made()).expect_err("it is full");
        is_full(&fault, step);
        assert_eq!(store.list().expect("listed"), [], "{step:?}");
        // It is all there is of the guest, and stays.
        empty(filler);
        let stored = store.commit("u-1", made()).expect("taken in");
        assert_eq!(stored.verify().expect("whole").len(), 1);
        // What is there can be removed, and read, without any room.
        let filler = small.fill(Filled::Bytes);
        let found = store.get("ns", "u-1").expect("readable");
        assert_eq!(found, Some(stored));
        store.remove("ns", "u-1").expect("removed");
        assert_eq!(store.list().expect("listed"), []);
        empty(filler);
    }
}

#[test]
fn a_note_for_which_there_is_no_room_leaves_the_one_before_and_nothing_else() {
    let Some(small) = Small::mounted("a full disk under notes") else {
        return;
    };
    let folder = small.path();
    write_json(folder, "note.json", &"first").expect("written");
    for step in [Filled::Bytes, Filled::Inodes { left: 0 }] {
        let filler = small.fill(step);
        let long = "x".repeat(64 << 10);
        let error = write_json(folder, "note.json", &long).expect_err("it is full");
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{step:?}");
        empty(filler);
        assert_eq!(names(folder), ["note.json"], "{step:?}");
        let read = fs::read_to_string(folder.join("note.json")).expect("there");
        assert_eq!(read, "\"first\"", "{step:?}");
    }
}

//! What is not well with the files, and what is said about it.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use store::{Entry, Expect, Listing, Options, Store, StoreError};

use crate::{open, value};

#[tokio::test]
async fn a_second_opener_is_told_who_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let refusal = Store::open(directory.path(), Options::default()).unwrap_err();
    let expected = format!(
        "{} is in use by process {}",
        directory.path().display(),
        std::process::id()
    );
    assert_eq!(refusal.to_string(), expected);
    drop(store);
    drop(open(directory.path()));
}

#[tokio::test]
async fn a_newer_database_is_refused_with_both_versions() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let file = Connection::open(directory.path().join("state.db")).unwrap();
    file.execute(
        "UPDATE meta SET value = 7 WHERE name = 'schema_version'",
        [],
    )
    .unwrap();
    drop(file);
    let refusal = Store::open(directory.path(), Options::default()).unwrap_err();
    assert!(
        matches!(
            refusal,
            StoreError::Newer {
                found: 7,
                supported: 1,
                ..
            }
        ),
        "{refusal}"
    );
    assert!(refusal.to_string().contains("state.db"), "{refusal}");
}

#[tokio::test]
async fn a_lost_database_is_not_taken_for_a_first_start() {
    for truncated in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        drop(open(directory.path()));
        let file = directory.path().join("state.db");
        if truncated {
            fs::write(&file, b"").unwrap();
        } else {
            fs::remove_file(&file).unwrap();
        }
        let refusal = Store::open(directory.path(), Options::default()).unwrap_err();
        assert!(matches!(refusal, StoreError::Missing { .. }), "{refusal}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_of_ours_is_refused() {
    let garbage = tempfile::tempdir().unwrap();
    fs::write(
        garbage.path().join("state.db"),
        b"this is no database".repeat(1000),
    )
    .unwrap();
    let foreign = tempfile::tempdir().unwrap();
    let other = Connection::open(foreign.path().join("state.db")).unwrap();
    other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(other);
    for directory in [&garbage, &foreign] {
        let refusal = Store::open(directory.path(), Options::default()).unwrap_err();
        assert!(matches!(refusal, StoreError::Corrupt { .. }), "{refusal}");
        assert!(
            refusal.to_string().contains("state.db is damaged"),
            "{refusal}"
        );
    }
}

#[tokio::test]
async fn a_lost_row_is_noticed() {
    for lost in [
        "DELETE FROM revisions WHERE revision = 3",
        "DELETE FROM progress",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        for key in ["/a", "/b", "/c"] {
            store.put(key, value("x"), Expect::Any).await.unwrap();
        }
        drop(store);
        let file = Connection::open(directory.path().join("state.db")).unwrap();
        assert_eq!(file.execute(lost, []).unwrap(), 1);
        drop(file);
        let refusal = Store::open(directory.path(), Options::default()).unwrap_err();
        assert!(
            matches!(refusal, StoreError::Corrupt { .. }),
            "{lost}: {refusal}"
        );
    }
}

#[tokio::test]
async fn after_a_failed_commit_reads_go_on_and_writes_wait_for_a_new_start() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let file = Connection::open(directory.path().join("state.db")).unwrap();
    file.execute_batch(
        "CREATE TRIGGER fail BEFORE INSERT ON revisions WHEN NEW.key = '/poison' \
         BEGIN SELECT RAISE(ABORT, 'the disk is gone'); END",
    )
    .unwrap();
    drop(file);
    let store = open(directory.path());
    store.put("/a", value("1"), Expect::Any).await.unwrap();
    let mut watch = store.watch("/", 2).unwrap();
    let refusal = store
        .put("/poison", value("1"), Expect::Any)
        .await
        .unwrap_err();
    assert!(
        matches!(&refusal, StoreError::Failed { cause, .. } if cause.contains("the disk is gone"))
    );
    assert!(store.failure().is_some());
    assert!(matches!(
        store.put("/a", value("2"), Expect::Any).await,
        Err(StoreError::Failed { .. })
    ));
    assert_eq!(&*store.get("/a").unwrap().value, b"1");
    assert!(watch.try_next().is_none(), "what failed is not told");
    drop(store);
    let store = open(directory.path());
    assert_eq!(store.put("/a", value("2"), Expect::Any).await.unwrap(), 3);
}

/// A file system of its own that is full soon; `None` (said loudly) where this user may not mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    #[expect(
        clippy::disallowed_methods,
        clippy::print_stdout,
        reason = "std can't mount; a skip is said"
    )]
    fn mount(bytes: usize) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(directory.path())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(directory));
        }
        println!("SKIPPED F6 a full disk: this user may not mount a tmpfs");
        None
    }
}

impl Drop for SmallDisk {
    #[expect(clippy::disallowed_methods, reason = "std can't unmount")]
    fn drop(&mut self) {
        // A mount that stays is seen by the next test run's user; nothing better can be done here.
        drop(
            std::process::Command::new("umount")
                .arg(self.0.path())
                .status(),
        );
    }
}

#[tokio::test]
async fn on_a_full_disk_reads_and_deletes_go_on_and_nothing_answered_is_lost() {
    let Some(disk) = SmallDisk::mount(64 << 20) else {
        return;
    };
    let store = open(disk.0.path());
    let large = bytes::Bytes::from(vec![b'x'; 100_000]);
    let mut written = 0_u32;
    let full = loop {
        match store
            .put(&format!("/{written:03}"), large.clone(), Expect::Any)
            .await
        {
            Ok(_) => written += 1,
            Err(refusal) => break refusal,
        }
    };
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    assert!(written > 100, "{written}");
    assert!(store.failure().is_none());
    let list = |store: &Store| store.list("/", Listing::default()).unwrap().entries.len() as u32;
    assert_eq!(list(&store), written);
    for key in 0..40 {
        store
            .delete(&format!("/{key:03}"), Expect::Any)
            .await
            .unwrap();
    }
    drop(store);
    let store = open(disk.0.path());
    assert_eq!(list(&store), written - 40);
    store.compact(store.revision()).await.unwrap();
    let recovered = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        while store
            .put("/again", large.clone(), Expect::Any)
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    });
    recovered.await.expect("compaction makes room");
}

fn contents(path: &Path) -> Result<(u64, Vec<Entry>), StoreError> {
    let store = Store::open(path, Options::default())?;
    Ok((
        store.revision(),
        store.list("", Listing::default())?.entries,
    ))
}

#[tokio::test]
async fn no_flipped_byte_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for count in 0..60 {
        let key = format!("/key/{}", count % 20);
        store
            .put(&key, value(&format!("{count}").repeat(200)), Expect::Any)
            .await
            .unwrap();
    }
    store.delete("/key/7", Expect::Any).await.unwrap();
    store.compact(30).await.unwrap();
    drop(store);
    let good = contents(directory.path()).unwrap();
    let bytes = fs::read(directory.path().join("state.db")).unwrap();
    let mut refused = 0;
    const FLIPS: usize = 400;
    for flip in 0..FLIPS {
        // Odd steps, so that headers, cells and free space are all met.
        let offset = if flip < 100 {
            flip
        } else {
            (flip * 7919) % bytes.len()
        };
        let mut damaged = bytes.clone();
        damaged[offset] ^= 1 << (flip % 8);
        let copy = tempfile::tempdir().unwrap();
        fs::write(copy.path().join("state.db"), &damaged).unwrap();
        match contents(copy.path()) {
            Ok(read) => assert_eq!(read, good, "byte {offset} was flipped unnoticed"),
            Err(refusal) => {
                assert!(
                    refusal.to_string().contains("state.db"),
                    "byte {offset}: {refusal}"
                );
                refused += 1;
            }
        }
    }
    assert!(
        refused > FLIPS / 20,
        "only {refused} of {FLIPS} flips were noticed: too few hit data"
    );
}

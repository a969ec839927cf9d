use std::time::Duration;

use store::{Change, Expect, Listing, Options, Store, StoreError};

use crate::{open, say, value};

#[tokio::test]
async fn an_empty_store_is_at_revision_one_and_writes_count_up() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    assert_eq!((store.revision(), store.compacted()), (1, 1));
    assert_eq!(
        store.put("/a", value("1"), Expect::Absent).await.unwrap(),
        2
    );
    assert_eq!(
        store
            .put("/a", value("2"), Expect::Revision(2))
            .await
            .unwrap(),
        3
    );
    let entry = store.get("/a").unwrap();
    assert_eq!(
        (entry.created, entry.modified, &*entry.value),
        (2, 3, &b"2"[..])
    );
    assert_eq!(store.delete("/a", Expect::Revision(3)).await.unwrap(), 4);
    assert_eq!(store.get("/a"), None);
    assert_eq!(store.revision(), 4);
}

#[tokio::test]
async fn a_failed_expectation_hands_back_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.put("/a", value("1"), Expect::Any).await.unwrap();
    let refusal = store
        .put("/a", value("2"), Expect::Absent)
        .await
        .unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "/a: another write came first: expected no such key, found revision 2"
    );
    let StoreError::Conflict { current, .. } = refusal else {
        panic!("{refusal}")
    };
    assert_eq!(current.unwrap().modified, 2);
    let refusal = store.delete("/b", Expect::Any).await.unwrap_err();
    assert!(
        matches!(refusal, StoreError::Conflict { current: None, .. }),
        "{refusal}"
    );
    assert_eq!(store.revision(), 2);
}

#[tokio::test]
async fn a_commit_is_all_or_nothing_with_a_revision_each() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let put = |key: &str, expect| Change::Put {
        key: key.to_owned(),
        value: value("x"),
        expect,
    };
    let made = vec![put("/a", Expect::Absent), put("/b", Expect::Absent)];
    assert_eq!(store.commit(made).await.unwrap(), 3);
    let refused = vec![put("/c", Expect::Absent), put("/a", Expect::Absent)];
    assert!(store.commit(refused).await.is_err());
    assert_eq!(store.get("/c"), None);
    assert_eq!(store.commit(Vec::new()).await.unwrap(), 3);
    assert_eq!(store.get("/a").unwrap().modified, 2);
    assert_eq!(store.get("/b").unwrap().modified, 3);
}

#[tokio::test]
async fn what_is_too_large_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        value_bytes: 4,
        ..Options::default()
    };
    let store = Store::open(directory.path(), options).unwrap();
    let refusal = store
        .put("/a", value("12345"), Expect::Any)
        .await
        .unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the value in bytes is 5, more than the limit of 4"
    );
    let refusal = store
        .put(&"k".repeat(5000), value("1"), Expect::Any)
        .await
        .unwrap_err();
    assert!(
        matches!(refusal, StoreError::TooLarge { limit: 2048, .. }),
        "{refusal}"
    );
    let refusal = store.put("", value("1"), Expect::Any).await.unwrap_err();
    assert!(matches!(refusal, StoreError::EmptyKey), "{refusal}");
}

#[tokio::test]
async fn pages_of_one_moment_ignore_later_writes() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for key in ["/a/1", "/a/2", "/a/3", "/ab", "/b/1"] {
        store.put(key, value("old"), Expect::Any).await.unwrap();
    }
    let first = store
        .list(
            "/a/",
            Listing {
                limit: Some(2),
                ..Listing::default()
            },
        )
        .unwrap();
    let keys: Vec<_> = first.entries.iter().map(|entry| &*entry.key).collect();
    assert_eq!(keys, ["/a/1", "/a/2"]);
    assert_eq!((first.more, first.remaining, first.revision), (true, 1, 6));
    store.put("/a/3", value("new"), Expect::Any).await.unwrap();
    store.put("/a/4", value("new"), Expect::Any).await.unwrap();
    store.delete("/a/1", Expect::Any).await.unwrap();
    let listing = Listing {
        at: Some(6),
        after: Some("/a/2"),
        limit: Some(2),
    };
    let second = store.list("/a/", listing).unwrap();
    assert_eq!(second.entries.len(), 1);
    assert_eq!(
        (&*second.entries[0].key, &*second.entries[0].value),
        ("/a/3", &b"old"[..])
    );
    assert_eq!(
        (second.more, second.remaining, second.revision),
        (false, 0, 6)
    );
    let refusal = store
        .list(
            "/a/",
            Listing {
                at: Some(99),
                ..Listing::default()
            },
        )
        .unwrap_err();
    assert!(
        matches!(
            refusal,
            StoreError::Future {
                asked: 99,
                current: 9
            }
        ),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_watch_replays_then_follows_and_knows_its_progress() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.put("/a/1", value("1"), Expect::Any).await.unwrap();
    store.put("/b/1", value("1"), Expect::Any).await.unwrap();
    store.put("/a/1", value("2"), Expect::Any).await.unwrap();
    let mut watch = store.watch("/a/", 1).unwrap();
    assert_eq!(watch.progress(), 1);
    assert_eq!(say(&watch.next().await.unwrap().unwrap()), "2 /a/1=1");
    assert_eq!(watch.progress(), 3);
    let event = watch.next().await.unwrap().unwrap();
    assert_eq!(say(&event), "4 /a/1=2");
    assert_eq!(event.previous.as_ref().unwrap().modified, 2);
    store.put("/b/2", value("1"), Expect::Any).await.unwrap();
    assert_eq!(
        watch.progress(),
        5,
        "what is not of the prefix is progress too"
    );
    store.delete("/a/1", Expect::Any).await.unwrap();
    assert_eq!(watch.progress(), 5);
    assert_eq!(say(&watch.next().await.unwrap().unwrap()), "6 /a/1 gone");
    assert_eq!(watch.progress(), 6);
    drop(store);
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn a_watch_from_the_future_waits_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut watch = store.watch("/", 3).unwrap();
    for text in ["2", "3", "4"] {
        store.put("/a", value(text), Expect::Any).await.unwrap();
    }
    assert_eq!(say(&watch.next().await.unwrap().unwrap()), "4 /a=4");
}

#[tokio::test]
async fn a_slow_watcher_is_dropped_and_holds_up_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        watch_events: 10,
        ..Options::default()
    };
    let store = Store::open(directory.path(), options).unwrap();
    store.put("/a", value("first"), Expect::Any).await.unwrap();
    let mut slow = store.watch("/", 1).unwrap();
    assert_eq!(say(&slow.next().await.unwrap().unwrap()), "2 /a=first");
    for count in 0..11 {
        store
            .put("/a", value(&count.to_string()), Expect::Any)
            .await
            .unwrap();
    }
    assert_eq!(store.watchers(), 0);
    assert_eq!(slow.next().await.unwrap().unwrap_err().seen, 2);
    assert_eq!(slow.next().await, None);
    assert_eq!(slow.progress(), 2);
    let mut again = store.watch("/", 2).unwrap();
    assert_eq!(say(&again.next().await.unwrap().unwrap()), "3 /a=0");
}

#[tokio::test]
async fn a_dropped_watch_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let watch = store.watch("/", 1).unwrap();
    assert_eq!(store.watchers(), 1);
    drop(watch);
    assert_eq!(store.watchers(), 0);
}

#[tokio::test]
async fn compaction_gives_up_history_but_no_entry() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for count in 0..5 {
        store
            .put("/a", value(&count.to_string()), Expect::Any)
            .await
            .unwrap();
    }
    store.compact(4).await.unwrap();
    assert_eq!(store.compacted(), 4);
    let refusal = store.watch("/", 3).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "revision 3 is compacted: the oldest still kept is 4; list again and go on from there"
    );
    let refusal = store
        .list(
            "/",
            Listing {
                at: Some(3),
                ..Listing::default()
            },
        )
        .unwrap_err();
    assert!(
        matches!(
            refusal,
            StoreError::Compacted {
                asked: 3,
                compacted: 4
            }
        ),
        "{refusal}"
    );
    let page = store
        .list(
            "/",
            Listing {
                at: Some(4),
                ..Listing::default()
            },
        )
        .unwrap();
    assert_eq!(&*page.entries[0].value, b"2");
    assert!(matches!(
        store.compact(99).await,
        Err(StoreError::Future { .. })
    ));
    store.compact(2).await.unwrap();
    assert_eq!(store.compacted(), 4, "compaction never goes back");
}

#[tokio::test]
async fn history_is_bounded_and_the_file_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        history_events: 50,
        ..Options::default()
    };
    let store = Store::open(directory.path(), options.clone()).unwrap();
    for count in 0..3000_u32 {
        let changes = (0..5).map(|key| Change::Put {
            key: format!("/{key}"),
            value: value(&count.to_string()),
            expect: Expect::Any,
        });
        store.commit(changes.collect()).await.unwrap();
    }
    assert_eq!(store.revision() - store.compacted(), 50);
    drop(store);
    let file = rusqlite::Connection::open(directory.path().join("state.db")).unwrap();
    let rows: u64 = file
        .query_row("SELECT count(*) FROM revisions", [], |row| row.get(0))
        .unwrap();
    assert!(rows < 1200, "{rows} rows are left of 15000");
    drop(file);
    let store = Store::open(directory.path(), options).unwrap();
    assert_eq!((store.revision(), store.compacted()), (15_001, 14_951));
    assert_eq!(
        store.list("/", Listing::default()).unwrap().entries.len(),
        5
    );
}

#[tokio::test]
async fn watchers_resume_over_a_restart_and_revisions_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.put("/a", value("1"), Expect::Any).await.unwrap();
    store.put("/a", value("2"), Expect::Any).await.unwrap();
    store.put("/b", value("1"), Expect::Any).await.unwrap();
    store.delete("/b", Expect::Any).await.unwrap();
    drop(store);
    let store = open(directory.path());
    assert_eq!(store.revision(), 5);
    let mut watch = store.watch("/", 2).unwrap();
    let event = watch.next().await.unwrap().unwrap();
    assert_eq!(say(&event), "3 /a=2");
    assert_eq!(&*event.previous.as_ref().unwrap().value, b"1");
    assert_eq!(say(&watch.next().await.unwrap().unwrap()), "4 /b=1");
    assert_eq!(say(&watch.next().await.unwrap().unwrap()), "5 /b gone");
    assert!(watch.try_next().is_none());
}

#[tokio::test]
async fn revisions_are_not_used_again_when_everything_is_deleted_and_compacted() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.put("/a", value("1"), Expect::Any).await.unwrap();
    store.delete("/a", Expect::Any).await.unwrap();
    store.compact(3).await.unwrap();
    drop(store);
    let store = open(directory.path());
    assert_eq!((store.revision(), store.compacted()), (3, 3));
    assert_eq!(
        store.put("/a", value("1"), Expect::Absent).await.unwrap(),
        4
    );
}

#[tokio::test]
async fn a_full_store_reads_deletes_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        max_database_bytes: Some(1 << 20),
        ..Options::default()
    };
    let store = Store::open(directory.path(), options).unwrap();
    let large = bytes::Bytes::from(vec![b'x'; 50_000]);
    let mut written = 0;
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
    assert!(full.to_string().contains("state.db"), "{full}");
    assert!(written >= 10);
    assert_eq!(
        store.list("/", Listing::default()).unwrap().entries.len(),
        written
    );
    let before = store.revision();
    for key in 0..written {
        let deleted = store
            .delete(&format!("/{key:03}"), Expect::Any)
            .await
            .unwrap();
        assert!(
            deleted > before,
            "numbers of failed writes are skipped, not used again"
        );
    }
    store.compact(store.revision()).await.unwrap();
    // The space comes back in the background, between writes.
    let recovered = tokio::time::timeout(Duration::from_secs(20), async {
        while store
            .put("/again", large.clone(), Expect::Any)
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    });
    recovered.await.expect("compaction frees space for writes");
    assert!(store.failure().is_none());
}

#[tokio::test]
async fn many_writers_share_commits_and_each_sees_its_own_write() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut watch = store.watch("/", 1).unwrap();
    let writers: Vec<_> = (0..64)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for count in 0..20 {
                    let key = format!("/{writer}/{count}");
                    let revision = store.put(&key, value("x"), Expect::Absent).await.unwrap();
                    assert_eq!(store.get(&key).unwrap().modified, revision);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut seen = Vec::new();
    while let Some(event) = watch.try_next() {
        seen.push(event.unwrap().revision);
    }
    assert!(
        seen.iter().copied().eq(2..1282),
        "every event once, in order"
    );
}

#[tokio::test]
async fn one_of_many_equal_writers_wins() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let writers: Vec<_> = (0..100)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.put("/a", value("x"), Expect::Absent).await.is_ok() })
        })
        .collect();
    let mut winners = 0;
    for writer in writers {
        winners += usize::from(writer.await.unwrap());
    }
    assert_eq!((winners, store.revision()), (1, 2));
}

//! Kills a writing process at random moments, many times, and holds the store to every answer that process got.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use store::{Expect, Listing, Options, Store};

use crate::value;

/// Set in the child: the directory of the store to write to.
const CHILD: &str = "ANYVIRT_STORE_TEST_CHILD";
const CYCLES: u64 = 100;
const WRITERS: u64 = 8;

/// What was acknowledged, over all processes: the parent learns it line by line.
#[derive(Debug, Default)]
struct Acknowledged {
    /// By key: the last acknowledged number (0 for a delete) and its revision.
    keys: BTreeMap<String, (u64, u64)>,
    newest: u64,
}

impl Acknowledged {
    /// A line of the child: `KEY NUMBER REVISION`.
    fn note(&mut self, line: &str) {
        let parts: Vec<_> = line.split(' ').collect();
        let [key, number, revision] = parts[..] else {
            panic!("the child said {line:?}")
        };
        let revision: u64 = revision.parse().expect("a revision");
        self.keys.insert(
            key.to_owned(),
            (number.parse().expect("a number"), revision),
        );
        self.newest = self.newest.max(revision);
    }

    /// What was read is as good a promise as an answer: it may not go away in the next life.
    fn observe(&mut self, store: &Store) {
        self.newest = self.newest.max(store.revision());
        for (key, state) in &mut self.keys {
            *state = store.get(key).map_or((0, self.newest), |entry| {
                let number = String::from_utf8_lossy(&entry.value)
                    .parse()
                    .expect("a number");
                (number, entry.modified)
            });
        }
    }

    /// Everything in which `store` breaks a promise. Each key has one writer, which waits for each answer, so in
    /// one life at most one write per key is unanswered; it has a greater revision than the answered one.
    fn broken(&self, store: &Store) -> Vec<String> {
        let mut broken = Vec::new();
        if store.revision() < self.newest {
            broken.push(format!(
                "revision {} after {}",
                store.revision(),
                self.newest
            ));
        }
        for (key, (number, revision)) in &self.keys {
            let entry = store.get(key);
            let kept = match &entry {
                Some(entry) if entry.modified == *revision => {
                    *number > 0 && *entry.value == *number.to_string().into_bytes()
                }
                Some(entry) => entry.modified > *revision,
                // Gone is right if that was the last answer, or by an unanswered delete; the writer says which come next.
                None => *number == 0 || next_is_delete(*number),
            };
            if !kept {
                broken.push(format!(
                    "{key} was {number} at {revision}, but is {entry:?}"
                ));
            }
        }
        broken
    }
}

/// After every seventh put comes a delete.
fn next_is_delete(number: u64) -> bool {
    number.is_multiple_of(7)
}

/// The child: writes as fast as it can and prints each answer.
async fn write_for_ever(directory: &Path) {
    let options = Options {
        history_events: 300,
        ..Options::default()
    };
    let store = Store::open(directory, options).expect("the store opens after every crash");
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0_u64.. {
                    write_once(&store, &format!("/{writer}/{}", round % 5)).await;
                    if writer == 0 && round.is_multiple_of(16) {
                        let keep = store.revision().saturating_sub(50);
                        store.compact(keep).await.expect("compaction");
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer never ends");
    }
}

async fn write_once(store: &Store, key: &str) {
    let current = store.get(key);
    let number = current.as_ref().map_or(0, |entry| {
        String::from_utf8_lossy(&entry.value)
            .parse::<u64>()
            .expect("a number")
    });
    let (number, revision) = match current {
        Some(entry) if next_is_delete(number) => (
            0,
            store
                .delete(key, Expect::Revision(entry.modified))
                .await
                .expect("a delete"),
        ),
        current => {
            let expect = current.map_or(Expect::Absent, |entry| Expect::Revision(entry.modified));
            let next = value(&(number + 1).to_string());
            (
                number + 1,
                store.put(key, next, expect).await.expect("a put"),
            )
        }
    };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "ack {key} {number} {revision}").expect("the parent listens");
    stdout.flush().expect("the parent listens");
}

/// Runs the child until `lines` answers came, kills it, and notes everything it said.
#[expect(
    clippy::disallowed_methods,
    reason = "a test of process death needs a process"
)]
fn crash(directory: &Path, lines: u64, acknowledged: &mut Acknowledged) {
    let mut child = Command::new(std::env::current_exe().expect("this test has a program"))
        .args([
            "--exact",
            "crash::no_answered_write_is_lost_when_the_writer_is_killed",
        ])
        .args(["--nocapture", "--test-threads", "1"])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut heard = 0;
    for line in output.lines() {
        // A line cut off by death has no newline, but it is whole or not an answer: three fields and a prefix.
        let line = line.expect("text");
        let Some(answer) = line
            .strip_prefix("ack ")
            .filter(|rest| rest.split(' ').count() == 3)
        else {
            continue;
        };
        acknowledged.note(answer);
        heard += 1;
        if heard == lines {
            child.kill().expect("the child is killed");
        }
    }
    assert!(
        heard >= lines,
        "the child ended by itself after {heard} answers"
    );
    child.wait().expect("the child is gone");
}

/// A small generator of numbers (xorshift), so that a failure can be repeated by its seed.
fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn no_answered_write_is_lost_when_the_writer_is_killed() {
    if let Some(directory) = std::env::var_os(CHILD) {
        // The harness has begun a line with this test's name: the first answer would stand behind it, and not be heard.
        println!();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(write_for_ever(&PathBuf::from(directory)));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::default();
    let mut seed = std::time::UNIX_EPOCH
        .elapsed()
        .map_or(1, |now| now.as_nanos() as u64 | 1);
    println!("seed {seed}");
    for cycle in 0..CYCLES {
        let lines = 1 + random(&mut seed) % 400;
        crash(directory.path(), lines, &mut acknowledged);
        let store = Store::open(directory.path(), Options::default()).unwrap();
        let broken = acknowledged.broken(&store);
        assert!(broken.is_empty(), "cycle {cycle}: {broken:#?}");
        acknowledged.observe(&store);
    }
    assert!(
        acknowledged.newest > CYCLES,
        "too little was written to prove anything"
    );
}

/// The control: a store that did lose writes, and one that changed them, must be found out.
#[tokio::test]
async fn the_checker_finds_a_store_that_loses_writes() {
    let directory = tempfile::tempdir().unwrap();
    let (early, file) = (
        directory.path().join("early"),
        directory.path().join("state.db"),
    );
    let mut acknowledged = Acknowledged::default();
    for life in 0..2 {
        let store = Store::open(directory.path(), Options::default()).unwrap();
        for key in ["/0/0", "/0/1"] {
            let number = life + 1;
            let revision = store
                .put(key, value(&number.to_string()), Expect::Any)
                .await
                .unwrap();
            acknowledged.note(&format!("{key} {number} {revision}"));
        }
        assert_eq!(acknowledged.broken(&store), Vec::<String>::new());
        drop(store);
        if life == 0 {
            std::fs::copy(&file, &early).unwrap();
        }
    }
    std::fs::copy(&early, &file).unwrap();
    let store = Store::open(directory.path(), Options::default()).unwrap();
    assert_eq!(store.list("", Listing::default()).unwrap().entries.len(), 2);
    let broken = acknowledged.broken(&store);
    assert_eq!(
        broken.len(),
        3,
        "one revision gone back and two keys lost: {broken:#?}"
    );
}

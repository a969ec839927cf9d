//! The launcher's own log, which is its standard error too.

use std::io::Write as _;
use std::path::Path;

use api::launcher::files;
use host::process::{Program, Stream};
use launcher::Log;

/// This variable makes the test program one that logs.
const ROLE: &str = "ANYVIRT_TEST_LOG_DIRECTORY";
/// Of some 40 bytes each: several times the bound.
const LINES: u64 = files::LOG_BYTES / 10;

/// The program of a test, as a process of its own, whose standard error can be another one's.
#[test]
fn logging_process() {
    let Some(directory) = std::env::var_os(ROLE) else {
        return; // the ordinary run of all tests
    };
    let mut log = Log::open(Path::new(&directory)).expect("opened");
    for number in 0..LINES {
        writeln!(log, "line {number:06} of what the launcher logs").expect("written");
        if number == LINES / 2 || number == LINES - 1 {
            writeln!(std::io::stderr(), "beside {number}").expect("written");
        }
    }
}

#[tokio::test]
async fn a_log_is_bounded_and_has_the_latest_with_what_is_written_beside_it() {
    for shared in [true, false] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(files::LOG);
        let mut file = std::fs::OpenOptions::new();
        let file = file.create(true).append(true).open(&path).expect("made");
        let stderr = if shared {
            Stream::File(file.into())
        } else {
            Stream::Null
        };
        let own = std::env::current_exe().expect("our program");
        let mut child = Program::new(own)
            .arguments(["--exact", "log::logging_process", "--nocapture"])
            .environment(ROLE, directory.path())
            .stderr(stderr)
            .spawn()
            .expect("spawned");
        assert!(child.wait().await.expect("waited").success());
        let log = std::fs::read_to_string(&path).expect("text");
        let length = log.len() as u64;
        assert!(length <= files::LOG_BYTES, "{length}");
        assert!(length >= files::LOG_BYTES / 2, "{length}");
        let end = LINES - 1;
        let mut last = format!("line {end:06} of what the launcher logs\n");
        if shared {
            last.push_str(&format!("beside {end}\n"));
        }
        assert!(
            log.ends_with(&last),
            "{shared}: {}",
            &log[log.len() - 200..]
        );
    }
}

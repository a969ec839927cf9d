//! Programs are started with exactly what they were given, and nothing else.

use std::io::{Read as _, Seek as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use host::identity::{Delivery, Identity, Signal};
use host::jail::{Confinement, FileAccess, Jail, LIBRARIES, Namespaces, User};
use host::lock::LifeLock;
use host::process::{Ending, Output, Program};

const DEADLINE: Duration = Duration::from_secs(20);

async fn shell(script: &str) -> Output {
    run(Program::new("/bin/sh").argument("-c").argument(script)).await
}

async fn run(program: Program) -> Output {
    program
        .output(DEADLINE, 1 << 16)
        .await
        .expect("the program runs")
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn the_environment_is_empty_and_only_standard_streams_are_open() {
    // A descriptor without O_CLOEXEC, as a careless library would leave it.
    let leaky = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 50).expect("duplicated");
    rustix::io::fcntl_setfd(&leaky, rustix::io::FdFlags::empty()).expect("made leaky");
    let output = run(Program::new("/usr/bin/env")).await;
    assert_eq!(text(&output.stdout), "");
    // `ls` has the directory itself open too, at 3.
    let output = run(Program::new("/bin/ls").argument("/proc/self/fd")).await;
    assert_eq!(text(&output.stdout), "0\n1\n2\n3\n");
}

#[tokio::test]
async fn files_are_found_at_the_numbers_asked_for_even_when_those_are_crossed() {
    let make = |content: &str| {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content.as_bytes()).expect("written");
        file.rewind().expect("rewound");
        file
    };
    let (one, two) = (make("one"), make("two"));
    let (at_one, at_two) = {
        use std::os::fd::AsRawFd as _;
        (one.as_raw_fd(), two.as_raw_fd())
    };
    let script = format!("cat /dev/fd/{at_two} /dev/fd/{at_one}");
    let program = Program::new("/bin/sh").argument("-c").argument(script);
    let output = run(program.inherit(one, at_two).inherit(two, at_one)).await;
    assert_eq!(text(&output.stdout), "onetwo");
}

#[tokio::test]
async fn a_missing_program_and_a_missing_directory_are_told_apart() {
    let error = Program::new("/nonexistent").spawn().expect_err("refused");
    assert!(error.missing(), "{error}");
    let error = Program::new("/bin/true")
        .directory("/nonexistent")
        .spawn()
        .expect_err("refused");
    assert!(!error.missing());
    assert_eq!(error.step, "change to its directory");
}

#[tokio::test]
async fn endings_are_told_as_they_were() {
    assert_eq!(shell("exit 7").await.ending, Ending::Exited(7));
    assert_eq!(shell("kill -9 $$").await.ending, Ending::Signalled(9));
    assert_eq!(text(&shell("echo out; echo err >&2").await.stderr), "err\n");
}

#[tokio::test]
async fn who_ignores_termination_is_ended_by_a_kill_only() {
    // SIGTERM is number 15: the 15th bit of the blocked ones.
    let shell = |script: &str| Program::new("/bin/sh").argument("-c").argument(script);
    let blocked =
        "while read name mask; do [ $name = SigBlk: ] && echo $mask; done < /proc/self/status";
    for (ignores, wanted) in [(false, "0000000000000000"), (true, "0000000000004000")] {
        let mut program = shell(blocked);
        if ignores {
            program = program.ignore_termination();
        }
        let output = program.output(Duration::from_secs(20), 1 << 10).await;
        let output = output.expect("it runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), wanted);
    }
}

#[tokio::test]
async fn a_program_is_killed_at_its_deadline() {
    let program = Program::new("/bin/sleep").argument("1000");
    let error = program
        .output(Duration::from_millis(50), 10)
        .await
        .expect_err("late");
    assert_eq!(error.source.kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn an_ended_child_is_not_running_even_before_it_is_waited_for() {
    let mut child = Program::new("/bin/sleep")
        .argument("1000")
        .spawn()
        .expect("started");
    let identity = child.identity().clone();
    assert!(identity.is_running().expect("readable"));
    assert_eq!(
        Identity::of(identity.pid).expect("readable"),
        Some(identity.clone())
    );
    assert_eq!(
        identity.signal(Signal::Kill).expect("sent"),
        Delivery::Delivered
    );
    identity.ended().await.expect("watched");
    assert!(!identity.is_running().expect("readable"));
    assert_eq!(child.wait().await.expect("waited"), Ending::Signalled(9));
    assert_eq!(
        child.wait().await.expect("waited again"),
        Ending::Signalled(9)
    );
    assert_eq!(
        identity.signal(Signal::Kill).expect("not sent"),
        Delivery::Ended
    );
}

#[tokio::test]
async fn a_lock_handed_to_a_program_is_held_until_that_program_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("life.lock");
    let lock = LifeLock::acquire(&path, "a sleeping program").expect("free");
    let mut child = Program::new("/bin/sleep")
        .argument("1000")
        .inherit(lock.into_descriptor(), 3)
        .spawn()
        .expect("started");
    assert_eq!(
        LifeLock::holder(&path).expect("readable").as_deref(),
        Some("a sleeping program")
    );
    let openers = host::lock::openers(&path).expect("looked");
    assert_eq!(openers, [child.identity().clone()]);
    child.identity().signal(Signal::Kill).expect("killed");
    child.wait().await.expect("waited");
    LifeLock::acquire(&path, "the next").expect("free again");
}

#[tokio::test]
async fn a_jailed_program_has_no_capabilities_no_new_privileges_and_its_limits() {
    let user = root().then(|| User {
        uid: 2_000_000_001,
        gid: 2_000_000_001,
        groups: vec![],
    });
    let jail = Jail {
        user: user.clone(),
        ..Jail::default()
    };
    let program = Program::new("/bin/sh")
        .argument("-c")
        .argument("cat /proc/self/status; ulimit -n; ulimit -c; umask")
        .jail(jail);
    let output = run(program).await;
    let status = text(&output.stdout);
    for line in [
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapInh:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
    ] {
        assert!(status.contains(line), "{line} not in {status}");
    }
    if user.is_some() {
        assert!(status.contains("Uid:\t2000000001\t2000000001\t2000000001\t2000000001"));
        assert!(status.contains("CapBnd:\t0000000000000000"));
        assert!(status.contains("Groups:\t \n"), "{status}");
    }
    assert!(status.ends_with("2048\n0\n0077\n"), "{status}");
}

#[tokio::test]
async fn a_program_gets_no_huge_pages_only_where_that_is_asked_for() {
    let status = || Program::new("/bin/cat").argument("/proc/self/status");
    for (program, told) in [
        (status(), "THP_enabled:\t1\n"),
        (status().small_pages(), "THP_enabled:\t0\n"),
    ] {
        let output = run(program).await;
        let found = text(&output.stdout);
        assert!(
            found.contains(told) || !found.contains("THP_enabled"),
            "{found}"
        );
    }
}

/// The control: the same program without the rule reads the file, so the rule is what stops it.
#[tokio::test]
async fn landlock_hides_what_was_not_named_and_without_it_the_file_is_read() {
    if host::jail::landlock_version() == 0 {
        eprintln!("this kernel has no Landlock: nothing to test");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "secret").expect("written");
    let read = || Program::new("/bin/cat").argument(&secret);
    assert_eq!(text(&run(read()).await.stdout), "secret");

    let libraries: Vec<PathBuf> = LIBRARIES.iter().map(PathBuf::from).collect();
    let confined = |read: Vec<PathBuf>| Jail {
        files: Some(FileAccess {
            read,
            ..FileAccess::default()
        }),
        ..Jail::default()
    };
    let output = run(read().jail(confined(libraries.clone()))).await;
    assert!(
        text(&output.stderr).contains("Permission denied"),
        "{output:?}"
    );
    let mut named = libraries;
    named.push(secret.clone());
    let mut child = read().jail(confined(named)).spawn().expect("started");
    assert!(matches!(
        child.jail_report().files,
        Confinement::Full(_) | Confinement::Partial(_)
    ));
    assert!(child.wait().await.expect("waited").success());
}

#[tokio::test]
async fn own_namespaces_hold_or_are_reported_missing() {
    let namespaces = Namespaces {
        network: true,
        ipc: true,
        hostname: true,
    };
    let jail = Jail {
        namespaces,
        ..Jail::default()
    };
    let mut file = tempfile::tempfile().expect("a file");
    let program = Program::new("/bin/cat")
        .argument("/proc/net/dev")
        .jail(jail)
        .stdout(host::process::Stream::File(
            file.try_clone().expect("copied").into(),
        ));
    let mut child = program.spawn().expect("started");
    let report = child.jail_report().clone();
    assert!(child.wait().await.expect("waited").success());
    if root() {
        assert_eq!(report.namespaces, ["network", "ipc", "hostname"]);
        let mut interfaces = String::new();
        file.rewind().expect("rewound");
        file.read_to_string(&mut interfaces).expect("read");
        assert_eq!(
            interfaces.lines().skip(2).count(),
            1,
            "only lo: {interfaces}"
        );
    } else {
        assert_eq!(report.namespaces.len() + report.missing.len(), 3);
    }
}

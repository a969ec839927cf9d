//! How guests start, are reached, and end.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use api::accelerator::Accelerator;
use api::launcher::{
    Exit, ExitKind, ForwardedPort, Protocol, Reply, Request, ResolvedInterface, State, Status,
    files, milestones,
};
use host::identity::{Identity, Signal};
use host::lock::LifeLock;
use host::process::Ending;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::boot_sector::{GREETING, Manner};
use crate::home::{Home, SOON, expect, file_has, spawn};

fn qemu(pid: u32) -> Identity {
    Identity::of(pid).expect("readable").expect("running")
}

#[tokio::test]
async fn a_guest_runs_is_talked_to_and_stops_when_asked() {
    let home = Home::new("polite");
    let launcher = home.launcher().await;
    assert_eq!(launcher.done(&Request::Status).await.state, State::Idle);
    let started = launcher.start_guest(home.request(Manner::Polite)).await;
    assert_eq!(started.state, State::Starting);
    let running = launcher.running().await;
    assert_eq!(running.accelerator, Some(Accelerator::Tcg));
    let machine_type = running.machine_type.expect("told");
    assert!(machine_type.starts_with("pc-q35-"), "{machine_type}");
    let process = running.qemu.expect("told");
    assert_eq!(qemu(process.pid).start_time, process.start_time);
    assert!(
        process
            .version
            .starts_with(|first: char| first.is_ascii_digit())
    );

    // From the very first byte: nothing was lost before anybody looked.
    let log = home.directory.join(files::SERIAL_LOG);
    file_has(&log, GREETING).await;
    assert!(
        std::fs::read_to_string(&log)
            .expect("text")
            .starts_with(GREETING)
    );
    let seen = launcher
        .until("counted", |status| {
            status.serial_bytes >= GREETING.len() as u64
        })
        .await;
    let names: Vec<_> = seen
        .milestones
        .iter()
        .map(|milestone| milestone.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "disks",
            "network",
            "spawned",
            "qmp",
            "running",
            "firmware",
            "first-byte"
        ]
    );

    let (_, mut console) = launcher.open(&Request::Console).await;
    console.write_all(b"hello").await.expect("typed");
    expect(&mut console, "hello").await;

    let again = launcher.start_guest(home.request(Manner::Polite)).await;
    assert_eq!(again.qemu.expect("the same").pid, process.pid);
    assert_eq!(launcher.refused(&Request::End).await.0, "GuestRuns");
    launcher
        .done(&Request::Stop {
            grace_period_seconds: 60,
        })
        .await;
    let exit = launcher.ended().await.exit.expect("told");
    assert_eq!(exit.kind, ExitKind::Stopped, "{}", exit.message);
    let written = std::fs::read(home.directory.join(files::EXIT)).expect("written");
    assert_eq!(
        serde_json::from_slice::<Exit>(&written).expect("JSON"),
        exit
    );
    assert_eq!(
        console.read(&mut [0; 16]).await.unwrap_or(0),
        1,
        "the guest's last byte"
    );
    assert_eq!(
        console.read(&mut [0; 16]).await.unwrap_or(0),
        0,
        "closed with the guest"
    );
    launcher.end().await;
}

#[tokio::test]
async fn a_guest_that_starts_paused_runs_when_it_is_unpaused() {
    let home = Home::new("paused");
    let launcher = home.launcher().await;
    let mut request = home.request(Manner::Polite);
    request.instance.spec.start_strategy = Some("Paused".to_owned());
    launcher.start_guest(request).await;
    let waiting = launcher
        .until("paused", |status| status.state == State::Paused)
        .await;
    assert_eq!((waiting.started_at, waiting.serial_bytes), (None, 0));
    assert_eq!(waiting.accelerator, Some(Accelerator::Tcg));
    launcher.done(&Request::Unpause).await;
    let running = launcher.running().await;
    assert!(running.started_at.is_some());
    file_has(&home.directory.join(files::SERIAL_LOG), GREETING).await;
    launcher.done(&Request::Kill).await;
    launcher.ended().await;
    launcher.end().await;
}

#[tokio::test]
async fn a_guest_that_shuts_itself_down_and_the_result_outlives_the_launcher() {
    let home = Home::new("brief");
    let launcher = home.launcher().await;
    launcher.start_guest(home.request(Manner::Brief)).await;
    let ended = launcher.ended().await;
    let exit = ended.exit.expect("told");
    assert_eq!(exit.kind, ExitKind::GuestShutdown, "{}", exit.message);
    assert!(ended.serial_bytes >= GREETING.len() as u64);
    assert_eq!(
        LifeLock::holder(&home.directory.join(files::LIFE_LOCK)).expect("readable"),
        None
    );
    launcher.end().await;
    let launcher = home.launcher().await;
    let status = launcher.done(&Request::Status).await;
    assert_eq!((status.state, status.exit), (State::Ended, Some(exit)));
    launcher.end().await;
}

#[tokio::test]
async fn a_deaf_guest_is_killed_after_its_grace_period() {
    let home = Home::new("deaf");
    let launcher = home.launcher().await;
    launcher.start_guest(home.request(Manner::Deaf)).await;
    launcher
        .until("greeted", |status| status.serial_bytes > 0)
        .await;
    let asked = std::time::Instant::now();
    launcher
        .done(&Request::Stop {
            grace_period_seconds: 2,
        })
        .await;
    let exit = launcher.ended().await.exit.expect("told");
    assert_eq!(exit.kind, ExitKind::Killed, "{}", exit.message);
    assert!(exit.message.contains("grace period"), "{}", exit.message);
    assert!(asked.elapsed() >= Duration::from_secs(2));
    launcher.end().await;
}

#[tokio::test]
async fn a_kill_is_at_once_and_a_crash_is_told_with_its_signal() {
    for (crash, kind) in [
        (false, ExitKind::Killed),
        (
            true,
            ExitKind::Crashed {
                signal: Some(9),
                code: None,
            },
        ),
    ] {
        let home = Home::new("killed");
        let launcher = home.launcher().await;
        launcher.start_guest(home.request(Manner::Deaf)).await;
        let pid = launcher.running().await.qemu.expect("told").pid;
        if crash {
            qemu(pid).signal(Signal::Kill).expect("sent");
        } else {
            launcher.done(&Request::Kill).await;
        }
        assert_eq!(launcher.ended().await.exit.expect("told").kind, kind);
        launcher.end().await;
    }
}

#[tokio::test]
async fn a_guest_is_paused_and_goes_on() {
    let home = Home::new("paused");
    let launcher = home.launcher().await;
    launcher.start_guest(home.request(Manner::Polite)).await;
    launcher
        .until("greeted", |status| status.serial_bytes > 0)
        .await;
    assert_eq!(launcher.done(&Request::Pause).await.state, State::Paused);
    assert_eq!(launcher.done(&Request::Pause).await.state, State::Paused);
    let (_, mut console) = launcher.open(&Request::Console).await;
    console.write_all(b"later").await.expect("typed");
    assert_eq!(launcher.done(&Request::Unpause).await.state, State::Running);
    expect(&mut console, "later").await;
    // A paused guest can be stopped in peace, too.
    launcher.done(&Request::Pause).await;
    launcher
        .done(&Request::Stop {
            grace_period_seconds: 60,
        })
        .await;
    assert_eq!(
        launcher.ended().await.exit.expect("told").kind,
        ExitKind::Stopped
    );
    assert_eq!(launcher.refused(&Request::Pause).await.0, "NotRunning");
    launcher.end().await;
}

#[tokio::test]
async fn a_newer_console_closes_the_older_and_clients_come_and_go() {
    let home = Home::new("consoles");
    let launcher = home.launcher().await;
    launcher.start_guest(home.request(Manner::Polite)).await;
    launcher
        .until("greeted", |status| status.serial_bytes > 0)
        .await;
    let (_, mut older) = launcher.open(&Request::Console).await;
    older.write_all(b"one").await.expect("typed");
    expect(&mut older, "one").await;
    let (_, mut newer) = launcher.open(&Request::Console).await;
    newer.write_all(b"two").await.expect("typed");
    expect(&mut newer, "two").await;
    let closed = tokio::time::timeout(SOON, older.read(&mut [0; 16]))
        .await
        .expect("closed");
    assert_eq!(closed.unwrap_or(0), 0);
    // Clients that vanish in the middle of anything leave the guest as it is.
    let pid = launcher.running().await.qemu.expect("told").pid;
    drop(newer);
    drop(launcher.open(&Request::Watch).await);
    let _half = host::socket::connect(&home.directory.join(files::SOCKET))
        .await
        .expect("connected");
    assert_eq!(launcher.running().await.qemu.expect("told").pid, pid);
    launcher.done(&Request::Kill).await;
    launcher.ended().await;
    launcher.end().await;
}

#[tokio::test]
async fn a_flooding_guest_is_logged_within_bounds_and_can_still_be_stopped() {
    let home = Home::new("flood");
    let launcher = home.launcher().await;
    launcher.start_guest(home.request(Manner::Flood)).await;
    // A client that never reads.
    launcher
        .until("greeted", |status| status.serial_bytes > 0)
        .await;
    let (_, _console) = launcher.open(&Request::Console).await;
    let limit = files::SERIAL_LOG_BYTES;
    launcher
        .until("above the first log", |status| {
            status.serial_bytes > limit + 1000
        })
        .await;
    file_has(&home.directory.join(files::SERIAL_TAIL_LOG), "y").await;
    let size = |name: &str| {
        std::fs::metadata(home.directory.join(name))
            .expect("there")
            .len()
    };
    assert_eq!(size(files::SERIAL_LOG), limit);
    assert!(size(files::SERIAL_TAIL_LOG) <= files::SERIAL_TAIL_BYTES);
    launcher
        .done(&Request::Stop {
            grace_period_seconds: 0,
        })
        .await;
    assert_eq!(
        launcher.ended().await.exit.expect("told").kind,
        ExitKind::Killed
    );
    launcher.end().await;
}

#[tokio::test]
async fn a_launcher_that_is_told_to_leave_stops_its_guest_first() {
    let home = Home::new("leaving");
    let mut launcher = home.launcher().await;
    launcher.start_guest(home.request(Manner::Polite)).await;
    launcher
        .until("greeted", |status| status.serial_bytes > 0)
        .await;
    launcher
        .child
        .identity()
        .signal(Signal::Terminate)
        .expect("sent");
    assert_eq!(launcher.wait().await, Ending::Exited(0));
    let written = std::fs::read(home.directory.join(files::EXIT)).expect("written");
    let exit: Exit = serde_json::from_slice(&written).expect("JSON");
    assert_eq!(exit.kind, ExitKind::Stopped, "{}", exit.message);
}

#[tokio::test]
async fn two_launchers_never_own_one_machine_and_an_idle_one_leaves_with_its_directory() {
    let home = Home::new("twice");
    let mut launcher = home.launcher().await;
    let mut second = spawn(&home.directory);
    let ending = tokio::time::timeout(SOON, second.wait())
        .await
        .expect("ends")
        .expect("waited");
    assert!(!ending.success());
    assert_eq!(launcher.done(&Request::Status).await.state, State::Idle);
    let other = crate::home::request("another", &serde_json::json!({}), [].into());
    let (reason, message) = launcher.refused(&Request::Start(Box::new(other))).await;
    assert_eq!(reason, "OtherInstance", "{message}");
    std::fs::remove_dir_all(&home.directory).expect("removed");
    assert_eq!(launcher.wait().await, Ending::Exited(0));
}

#[tokio::test]
async fn a_killed_launchers_guest_keeps_the_life_lock() {
    let home = Home::new("orphan");
    let mut launcher = home.launcher().await;
    launcher.start_guest(home.request(Manner::Deaf)).await;
    let pid = launcher.running().await.qemu.expect("told").pid;
    let orphan = qemu(pid);
    launcher
        .child
        .identity()
        .signal(Signal::Kill)
        .expect("sent");
    launcher.wait().await;
    assert!(orphan.is_running().expect("readable"));

    let second = home.launcher().await;
    second.start_guest(home.request(Manner::Deaf)).await;
    let exit = second.ended().await.exit.expect("told");
    assert_eq!(exit.kind, ExitKind::StartFailed);
    assert!(exit.message.contains("default/test"), "{}", exit.message);
    assert!(orphan.is_running().expect("readable"));
    orphan.signal(Signal::Kill).expect("sent");
    second.end().await;
}

#[tokio::test]
async fn a_guest_with_a_network_has_its_address_and_ports() {
    let home = Home::new("network");
    let launcher = home.launcher().await;
    let mut request = home.request(Manner::Polite);
    let address = Ipv4Addr::new(127, 64, 251, 7);
    request.interfaces.push(ResolvedInterface {
        name: "default".to_owned(),
        mac: "02:00:00:00:00:01".to_owned(),
        model: "virtio".to_owned(),
        address: IpAddr::V4(address),
        ports: vec![ForwardedPort {
            protocol: Protocol::Tcp,
            port: 18_222,
        }],
    });
    launcher.start_guest(request).await;
    let running = launcher.running().await;
    assert_eq!(running.interfaces[0].address, IpAddr::V4(address));
    tokio::net::TcpStream::connect((address, 18_222))
        .await
        .expect("forwarded");
    launcher
        .done(&Request::Stop {
            grace_period_seconds: 60,
        })
        .await;
    assert_eq!(
        launcher.ended().await.exit.expect("told").kind,
        ExitKind::Stopped
    );
    let gone = async {
        while tokio::net::TcpStream::connect((address, 18_222))
            .await
            .is_ok()
        {
            tokio::time::sleep(Duration::from_millis(5)).await; // until passt has ended
        }
    };
    tokio::time::timeout(SOON, gone)
        .await
        .expect("the port is closed with the guest");
    launcher.end().await;
}

#[tokio::test]
async fn a_vnc_client_is_greeted_by_qemu_and_replaced_by_a_newer_one() {
    let home = Home::new("screen");
    let launcher = home.launcher().await;
    let (reason, _) = launcher.refused(&Request::Vnc).await;
    assert_eq!(reason, "NotRunning");
    let mut request = home.request(Manner::Polite);
    request
        .instance
        .spec
        .domain
        .devices
        .autoattach_graphics_device = Some(true);
    launcher.start_guest(request).await;
    launcher.running().await;
    let (_, mut older) = launcher.open(&Request::Vnc).await;
    expect(&mut older, "RFB 003.008\n").await;
    let (_, mut newer) = launcher.open(&Request::Vnc).await;
    expect(&mut newer, "RFB 003.008\n").await;
    let closed = tokio::time::timeout(SOON, older.read(&mut [0; 16]))
        .await
        .expect("closed");
    assert_eq!(closed.unwrap_or(0), 0);
    newer.write_all(b"RFB 003.008\n").await.expect("sent");
    let mut offered = [0; 2];
    newer
        .read_exact(&mut offered)
        .await
        .expect("security types");
    assert_eq!(
        offered,
        [1, 1],
        "no password: whoever gets here was let in already"
    );
    launcher.done(&Request::Kill).await;
    launcher.ended().await;
    launcher.end().await;
}

#[tokio::test]
async fn a_screen_is_shared_with_nobody_unless_asked_and_can_be_pictured() {
    let home = Home::new("picture");
    let launcher = home.launcher().await;
    let picture = Request::Screenshot { move_pointer: true };
    let (reason, _) = launcher.refused(&picture).await;
    assert_eq!(reason, "NotRunning");
    let mut request = home.request(Manner::Polite);
    let devices = &mut request.instance.spec.domain.devices;
    devices.autoattach_graphics_device = Some(true);
    launcher.start_guest(request).await;
    launcher.running().await;
    // More than once: nothing of a picture stays behind in QEMU.
    for _ in 0..3 {
        let (_, mut connection) = launcher.open(&picture).await;
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(SOON, connection.read_to_end(&mut bytes));
        read.await.expect("in time").expect("a whole picture");
        assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n") && bytes.len() > 100);
        assert!(bytes.ends_with(b"IEND\xae\x42\x60\x82"), "cut off");
    }

    // At once: one gets it, whichever is first.
    let politely = Request::VncUnlessInUse;
    let (one, other) = tokio::join!(launcher.open(&politely), launcher.open(&politely));
    let (mut first, late) = match (one, other) {
        ((Reply::Ok(_), first), (late, _)) | ((late, _), (Reply::Ok(_), first)) => (first, late),
        neither => panic!("nobody got the screen: {neither:?}"),
    };
    assert!(
        matches!(&late, Reply::Refused { reason, .. } if reason == "InUse"),
        "{late:?}"
    );
    expect(&mut first, "RFB 003.008\n").await;
    let (reason, message) = launcher.refused(&Request::VncUnlessInUse).await;
    assert_eq!(
        (reason.as_str(), message.as_str()),
        ("InUse", "Active VNC connection. Request denied.")
    );
    first.write_all(b"RFB 003.008\n").await.expect("it goes on");
    // Not only dropped: a process that another test just starts may hold a copy for a moment.
    first.shutdown().await.expect("it leaves");
    let (_, mut second) = launcher.open(&Request::VncUnlessInUse).await;
    expect(&mut second, "RFB 003.008\n").await;
    launcher.done(&Request::Kill).await;
    launcher.ended().await;
    launcher.end().await;
}

#[tokio::test]
async fn qemu_is_jailed_with_its_own_user_and_sees_nothing_of_its_disks_paths() {
    let home = Home::new("jailed");
    let launcher = home.launcher().await;
    launcher.start_guest(home.request(Manner::Deaf)).await;
    let pid = launcher.running().await.qemu.expect("told").pid;
    let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).expect("readable");
    let line = String::from_utf8(read("cmdline"))
        .expect("text")
        .replace('\0', "\n");
    assert!(
        !line.contains(&home.directory.display().to_string()),
        "{line}"
    );
    assert!(!line.contains("boot.img"), "{line}");
    assert_eq!(read("environ"), b"");
    // Every thread, not only the first: a filter that misses one is none.
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).expect("readable") {
        let path = thread.expect("readable").path().join("status");
        let status = std::fs::read_to_string(path).expect("readable");
        for field in ["Seccomp:\t2", "NoNewPrivs:\t1", "CapEff:\t0000000000000000"] {
            assert!(status.contains(field), "{field} in {status}");
        }
        if rustix::process::geteuid().is_root() {
            let user = status
                .lines()
                .find(|line| line.starts_with("Uid:"))
                .expect("there");
            assert!(
                user.split_whitespace()
                    .skip(1)
                    .all(|uid| uid.starts_with("20") && uid.len() == 10),
                "{user}"
            );
        }
    }
    launcher.done(&Request::Kill).await;
    launcher.ended().await;
    launcher.end().await;
}

#[tokio::test]
async fn a_qemu_that_hangs_is_still_killed_after_the_grace_period() {
    let home = Home::new("hanging");
    let launcher = home.launcher().await;
    launcher.start_guest(home.request(Manner::Polite)).await;
    let pid = launcher.running().await.qemu.expect("told").pid;
    qemu(pid).signal(Signal::Stop).expect("sent");
    launcher
        .done(&Request::Stop {
            grace_period_seconds: 1,
        })
        .await;
    // Its monitor is silent, and nobody waits for it.
    assert_eq!(launcher.done(&Request::Status).await.state, State::Running);
    assert_eq!(
        launcher.ended().await.exit.expect("told").kind,
        ExitKind::Killed
    );
    launcher.end().await;
}

#[tokio::test]
async fn a_start_is_given_up_at_any_moment_and_leaves_nothing_behind() {
    for (round, request) in [
        Request::Kill,
        Request::Stop {
            grace_period_seconds: 60,
        },
        Request::Kill,
        Request::Kill,
    ]
    .into_iter()
    .enumerate()
    {
        let home = Home::new("given-up");
        let launcher = home.launcher().await;
        launcher.start_guest(home.request(Manner::Polite)).await;
        if round >= 2 {
            // At another moment: when QEMU is there, or just talks.
            launcher
                .until("further", |status| status.milestones.len() > round)
                .await;
        }
        launcher.done(&request).await;
        let kind = launcher.ended().await.exit.expect("told").kind;
        let wanted = if request == Request::Kill {
            ExitKind::Killed
        } else {
            ExitKind::Stopped
        };
        assert_eq!(kind, wanted, "round {round}");
        assert_eq!(
            LifeLock::holder(&home.directory.join(files::LIFE_LOCK)).expect("readable"),
            None
        );
        launcher.end().await;
    }
}

#[tokio::test]
async fn requests_that_are_no_requests_are_refused_by_name() {
    let home = Home::new("nonsense");
    let launcher = home.launcher().await;
    for line in ["nonsense\n", "{\"Start\":{}}\n", "\"Reboot\"\n"] {
        let stream = host::socket::connect(&home.directory.join(files::SOCKET))
            .await
            .expect("connected");
        let mut stream = tokio::io::BufReader::new(stream);
        stream.write_all(line.as_bytes()).await.expect("sent");
        expect(&mut stream, "BadRequest").await;
    }
    launcher.end().await;
}

#[tokio::test]
async fn a_guest_whose_timer_did_not_tick_boots_again_so_often_and_no_more() {
    let home = Home::new("tickless");
    let launcher = home.launcher().await;
    launcher
        .start_guest(home.request(Manner::Tickless(2)))
        .await;
    let log = home.directory.join(files::SERIAL_LOG);
    file_has(&log, GREETING).await;
    let named = |status: &Status, name: &str| {
        let all = status.milestones.iter();
        all.filter(|it| it.name == name).count()
    };
    let status = launcher.done(&Request::Status).await;
    assert_eq!(status.state, State::Running);
    assert_eq!(named(&status, milestones::BOOTS_AGAIN), 2);
    assert_eq!(named(&status, milestones::PANIC), 0);
    launcher.done(&Request::Kill).await;
    launcher.ended().await;

    let home = Home::new("tickless-for-ever");
    let launcher = home.launcher().await;
    launcher
        .start_guest(home.request(Manner::Tickless(u8::MAX)))
        .await;
    let status = launcher
        .until("it is told that its kernel gave up", |status| {
            named(status, milestones::PANIC) == 1
        })
        .await;
    assert_eq!(named(&status, milestones::BOOTS_AGAIN), 5);
}

//! Guests that stand by, restored before their machine is known, and what adopts them.

use api::launcher::warm::{Standby, WarmStage, WarmStart};
use api::launcher::{Request, StartRequest, State, Status, files, milestones};
use host::identity::Signal;
use jiff::Timestamp;

use crate::home::{Home, Launcher};
use crate::warm::{Kit, Shell, has_address};

/// A launcher with a guest that stands by, in a folder that is no machine's.
async fn stands_by(kit: &Kit, name: &str) -> (Home, Launcher) {
    let home = Home::new(name);
    let launcher = home.launcher().await;
    let request = kit.clone_of(kit.template(), name, 99);
    let status = launcher.done(&Request::Prepare(Box::new(request))).await;
    assert!(status.standby.is_some());
    let ready = |status: &Status| matches!(status.standby, Some(Standby::Ready { .. }));
    let status = launcher
        .until("ready", |status| {
            let failed = matches!(status.standby, Some(Standby::Failed(_)));
            assert!(!failed, "{:?}", status.standby);
            ready(status)
        })
        .await;
    assert_eq!((status.state, status.qemu), (State::Idle, None));
    assert!(status.milestones.is_empty(), "{:?}", status.milestones);
    assert!(!home.directory.join(files::SERIAL_LOG).exists());
    (home, launcher)
}

/// Moves a launcher's folder to its machine's place.
fn move_to(home: &mut Home, launcher: &mut Launcher, uid: &str) {
    home.move_to(uid);
    launcher.is_in(&home.directory);
}

fn names_of(status: &Status) -> Vec<&str> {
    let all = status.milestones.iter();
    all.map(|it| it.name.as_str()).collect()
}

/// The only process that holds the lock of the guest's life.
fn qemu(home: &Home) -> host::identity::Identity {
    let lock = home.directory.join(files::LIFE_LOCK);
    let mut all = host::lock::openers(&lock).expect("looked at");
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

const WHO: [&str; 6] = [
    "cat /proc/sys/kernel/random/boot_id",
    "cat /etc/machine-id",
    "hostname",
    "cat /sys/class/net/eth0/address",
    "head -c 16 /dev/urandom | od -An -tx1",
    "cat /etc/ssh/ssh_host_ed25519_key.pub",
];

#[tokio::test]
async fn a_guest_that_stands_by_is_adopted_as_somebody_and_restarts_as_that() {
    let (guest, _) = laboratory::guests::warm().expect("the laboratory's guest");
    let kit = Kit::make("kept-for-standby", guest).await;
    let mut answers = [const { Vec::new() }; 2];
    let mut guests = Vec::new();
    for (number, answers) in (40..).zip(&mut answers) {
        let (mut home, mut launcher) = stands_by(&kit, &format!("standby{number}")).await;
        let waiting = qemu(&home);
        let uid = format!("adopter{number}");
        move_to(&mut home, &mut launcher, &uid);
        let request = kit.clone_of(kit.template(), &uid, number);
        let before = Timestamp::now();
        launcher.start_guest(request).await;
        let status = launcher.running().await;
        eprintln!("adopted within {}", Timestamp::now() - before);
        assert_eq!(
            names_of(&status),
            ["adopted", "network", "running", "renewed"]
        );
        assert_eq!(status.standby, None);
        assert_eq!(status.qemu.as_ref().map(|it| it.pid), Some(waiting.pid));
        let macs: Vec<_> = status.interfaces.iter().map(|it| &it.mac[..]).collect();
        assert_eq!(macs[0], format!("02:00:00:00:00:{number:02x}"));
        let warm = status.warm.expect("told");
        assert_eq!((warm.failure, warm.standby_since.is_some()), (None, true));
        answers.extend(warm.random);
        let mut shell = Shell::log_in(&launcher).await;
        has_address(&mut shell).await;
        for command in WHO {
            answers.push(shell.run(command).await);
        }
        assert_eq!(answers[3], format!("guest-{number}"));
        assert_eq!(answers[4], macs[0]);
        let init = shell.run("grep -c '# adopter' /dev/vdb").await;
        assert_eq!(init, "1");
        let write = format!("echo of {number} > /dev/vda; echo of {number} > /dev/vdc; sync");
        shell.run(&write).await;
        guests.push((home, launcher, shell, waiting.pid));
    }
    for (place, (one, other)) in answers[0].iter().zip(&answers[1]).enumerate() {
        assert_ne!(one, other, "{place}");
    }
    for (number, (home, launcher, shell, pid)) in (40..).zip(guests) {
        restarts(number, (home, launcher, shell), pid).await;
    }
    no_use(&kit).await;
    ends(&kit).await;
}

/// It restarts in another QEMU, as the machine that it is, with its disks.
async fn restarts(number: u8, (home, launcher, mut shell): (Home, Launcher, Shell), first: u32) {
    let before = launcher.done(&Request::Status).await;
    shell.give("reboot -f").await;
    let status = launcher
        .until("restarted", |status| {
            assert_eq!(status.state, State::Running, "{:?}", status.exit);
            status.qemu.as_ref().is_some_and(|it| it.pid != first)
        })
        .await;
    assert_eq!(names_of(&status), names_of(&before));
    let log = home.directory.join(files::SERIAL_LOG);
    let again = async {
        loop {
            let text = String::from_utf8_lossy(&std::fs::read(&log).expect("there")).into_owned();
            let after = text.split_once("[anyvirt: the guest restarts]");
            if after.is_some_and(|(_, after)| after.contains("login:")) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await; // until it has booted
        }
    };
    let booted = tokio::time::timeout(crate::home::SOON, again).await;
    booted.expect("it boots");
    let mut shell = Shell::log_in(&launcher).await;
    let mac = shell.run("cat /sys/class/net/eth0/address").await;
    assert_eq!(mac, format!("02:00:00:00:00:{number:02x}"));
    let uuid = shell.run("cat /sys/class/dmi/id/product_uuid").await;
    assert_eq!(
        uuid,
        format!("5d307ca9-b3ef-428c-8861-0000000000{number:02x}")
    );
    for disk in ["vda", "vdc"] {
        let own = shell.run(&format!("head -n 1 /dev/{disk}")).await;
        assert_eq!(own, format!("of {number}"));
    }
    let second = "dd if=/dev/vdc bs=1M skip=1 2>/dev/null | head -n 1";
    assert_eq!(shell.run(second).await, "of the template");
    launcher.done(&Request::Kill).await;
    launcher.ended().await;
    launcher.end().await;
}

type Change = fn(&Home, &mut StartRequest);

/// Where a guest that stands by is of no use, the machine starts without it.
async fn no_use(kit: &Kit) {
    let cases: [(&str, bool, Change); 3] = [
        ("other-qemu", true, |home, request| {
            request.save_on_leaving = Some(home.path("saved"));
        }),
        ("other-devices", true, |_, request| {
            request.instance.spec.domain.devices.rng = Some(Default::default());
        }),
        ("killed", false, |home, _| {
            qemu(home).signal(Signal::Kill).expect("killed");
        }),
    ];
    for (name, is_there, change) in cases {
        let (mut home, mut launcher) = stands_by(kit, name).await;
        let mut request = kit.clone_of(kit.template(), "machine", 42);
        if let Some(WarmStart::Restore(template)) = &mut request.warm {
            template.required = is_there && name != "other-devices";
        }
        change(&home, &mut request);
        if !is_there {
            let failed = |status: &Status| matches!(status.standby, Some(Standby::Failed(_)));
            let status = launcher.until("told", failed).await;
            let Some(Standby::Failed(failure)) = status.standby else {
                unreachable!("it is told");
            };
            assert_eq!(failure.stage, WarmStage::Host);
        }
        move_to(&mut home, &mut launcher, "machine");
        launcher.start_guest(request).await;
        let status = launcher.running().await;
        let names = names_of(&status);
        let not = names.contains(&milestones::NOT_ADOPTED);
        assert_eq!(not, is_there, "{name}: {names:?}");
        let latest = status.latest_milestones();
        assert!(latest.iter().any(|it| it.name == "spawned"), "{names:?}");
        let warm = status.warm.expect("told");
        assert_eq!(warm.standby_since, None, "{name}");
        launcher.done(&Request::Kill).await;
        launcher.ended().await;
        launcher.end().await;
    }
}

/// A launcher that ends, ends the guest that stands by.
async fn ends(kit: &Kit) {
    let (home, launcher) = stands_by(kit, "ends").await;
    let waiting = qemu(&home);
    let request = kit.clone_of(kit.template(), "ends", 99);
    let (reason, _) = launcher.refused(&Request::Prepare(Box::new(request))).await;
    assert_eq!(reason, "NotPreparable");
    launcher.end().await;
    assert!(!waiting.is_running().expect("looked at"));
}

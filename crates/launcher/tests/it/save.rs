//! Guests that are saved with their memory, and go on from there: themselves, or as somebody else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api::launcher::saved::{Clock, Record, Renewal, Saved, files as names};
use api::launcher::warm::{FileIdentity, WarmStart};
use api::launcher::{ExitKind, Request, StartRequest, State, Status, files};
use host::identity::{Identity, Signal};

use crate::boot_sector::Manner;
use crate::home::{Home, Launcher, SOON, file_has};
use crate::warm::{Kit, Shell, image, start};

/// Counts ten times a second for as long as the guest lives, writes each number to a disk, and reads it back.
const COUNT: &str = "(i=0; while :; do i=$((i+1)); echo $i > /run/count; \
    echo $i | dd of=/dev/vda bs=512 seek=$((i%64)) conv=sync,fsync 2>/dev/null; \
    [ \"$(dd if=/dev/vda bs=512 skip=$((i%64)) count=1 2>/dev/null | head -n 1)\" = $i ] || echo $i >> /run/wrong; \
    sleep 0.1; done) & :";

/// Asks for it to be saved in a new folder of this name.
fn save(home: &Home, name: &str, go_on: bool) -> (PathBuf, Request) {
    let directory = home.path(name);
    std::fs::create_dir(&directory).expect("made");
    let request = Request::Save {
        directory: directory.clone(),
        go_on,
        renewable: false,
    };
    (directory, request)
}

fn record(directory: &Path) -> Record {
    let record = std::fs::read(directory.join(names::RECORD)).expect("written");
    serde_json::from_slice(&record).expect("JSON")
}

/// What lies in that folder now.
fn saved(directory: &Path, take_over: bool, renewal: Renewal) -> WarmStart {
    let record = record(directory);
    let files: BTreeMap<_, _> = record
        .files
        .iter()
        .map(|name| {
            let found = directory.join(name).metadata().expect("there");
            (name.clone(), FileIdentity::of(&found))
        })
        .collect();
    WarmStart::Resume(Box::new(Saved {
        directory: directory.to_owned(),
        record,
        files,
        take_over,
        renewal,
    }))
}

fn left_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("there");
    let names = entries.map(|entry| entry.expect("readable").file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

async fn count(shell: &mut Shell) -> u64 {
    loop {
        let said = shell.run("cat /run/count").await;
        // Just then it is being written anew.
        if let Some(line) = said.lines().last() {
            return line.parse().unwrap_or_else(|_| panic!("{said:?}"));
        }
    }
}

/// Its count goes on from `before`, and all that it wrote it has read.
async fn goes_on(launcher: &Launcher, before: u64) -> u64 {
    let mut shell = Shell::attach(launcher).await;
    let now = count(&mut shell).await;
    assert!(now >= before, "{now} after {before}");
    let counts = async { while count(&mut shell).await <= now {} };
    let counted = tokio::time::timeout(SOON, counts).await;
    counted.expect("it counts on");
    assert_eq!(shell.run("cat /run/wrong 2>/dev/null").await, "");
    assert_eq!(shell.run("cat /run/secret").await, "of the guest");
    let read = "dd if=/dev/vdc bs=1M skip=1 count=1 2>&- | head -n1";
    assert_eq!(shell.run(read).await, "of the disk");
    now
}

/// A guest that was booted, counts, and has written to its disks.
async fn counting(home: &Home, launcher: &Launcher, request: &StartRequest) -> Shell {
    launcher.start_guest(request.clone()).await;
    file_has(&home.directory.join(files::SERIAL_LOG), "login:").await;
    let mut shell = Shell::log_in(launcher).await;
    shell.run("echo of the guest > /run/secret").await;
    let write = "echo of the disk | dd of=/dev/vdc bs=1M seek=1; sync";
    shell.run(write).await;
    shell.run(COUNT).await;
    shell
}

#[tokio::test]
async fn a_saved_guest_goes_on_from_its_instant() {
    let (guest, _) = laboratory::guests::warm().expect("the laboratory's guest");
    let home = Home::new("saved");
    let launcher = home.launcher().await;
    let request = start(&guest, &image(&home), "saved", 50);
    let mut shell = counting(&home, &launcher, &request).await;

    // A snapshot: it goes on.
    let first = count(&mut shell).await;
    drop(shell);
    let (snapshot, ask) = save(&home, "snapshot", true);
    let status = launcher.done(&ask).await;
    let told = status.saved.expect("told");
    assert!(
        told.stopped_milliseconds.is_some() && told.disk_bytes > 1 << 20,
        "{told:?}"
    );
    println!("saved and went on: {told:?}");
    launcher.running().await;
    let second = goes_on(&launcher, first).await;
    let (reason, message) = launcher.refused(&ask).await;
    assert_eq!(reason, "WrongFolder", "{message}");
    no_room(&home, &launcher).await;
    let second = goes_on(&launcher, second).await;
    paused_is_saved_paused(&home, &launcher).await;
    let second = goes_on(&launcher, second).await;

    // Suspended: it ends.
    let (suspended, ask) = save(&home, "suspended", false);
    let status = launcher.done(&ask).await;
    assert_eq!(status.state, State::Ended);
    assert_eq!(status.exit.expect("told").kind, ExitKind::Saved);
    launcher.end().await;
    std::fs::remove_dir_all(&home.directory).expect("as the node does");
    let known = record(&suspended);
    assert_eq!(known.memory_bytes, 128 << 20);
    assert!(!known.template_shape && !known.paused && known.host_disks.is_empty());
    // Its image's hook waits, and nobody has asked it to come to rest.
    assert!(known.hook_port && known.hook && !known.renewable);

    failing_resumes_lose_nothing(&home, &request, &suspended).await;
    let third = resumes(&home, &request, (&suspended, true), second).await;
    assert!(third > second);
    // What was saved is the guest's now.
    assert!(suspended.join(names::USED).exists() && !suspended.join(names::RECORD).exists());

    // Back to the snapshot, twice: it stays as it is.
    for _ in 0..2 {
        let again = resumes(&home, &request, (&snapshot, false), first).await;
        assert!(
            again < third,
            "{again} is of the snapshot, not after {third}"
        );
        assert!(snapshot.join(names::RECORD).exists());
    }
}

/// Saves the guest where there is no room for it: it runs on, and nothing is left of it there.
#[expect(clippy::print_stdout, reason = "a test that is left out says so")]
async fn no_room(home: &Home, launcher: &Launcher) {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: a full disk: only root can make a file system");
        return;
    }
    let (folder, ask) = save(home, "no-room", false);
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("none", &folder, "tmpfs", flags, c"size=8m").expect("mounted");
    let (reason, message) = launcher.refused(&ask).await;
    let left = left_in(&folder);
    let unmounted = rustix::mount::unmount(&folder, rustix::mount::UnmountFlags::DETACH);
    unmounted.expect("unmounted");
    assert_eq!((&reason[..], left), ("SaveFailed", vec![]), "{message}");
    launcher.running().await;
}

async fn paused_is_saved_paused(home: &Home, launcher: &Launcher) {
    launcher.done(&Request::Pause).await;
    for name in ["paused", "paused-again"] {
        let (folder, ask) = save(home, name, true);
        launcher.done(&ask).await;
        assert!(record(&folder).paused);
        launcher
            .until("it is paused", |status| status.state == State::Paused)
            .await;
        std::fs::remove_dir_all(&folder).expect("removed");
    }
    launcher.done(&Request::Unpause).await;
    launcher.running().await;
}

/// Starts a launcher in its folder again, as after the guest has ended.
async fn again(home: &Home) -> Launcher {
    if home.directory.exists() {
        std::fs::remove_dir_all(&home.directory).expect("removed");
    }
    home.neighbour(&home.uid);
    home.launcher().await
}

async fn resumes(
    home: &Home,
    request: &StartRequest,
    (folder, take_over): (&Path, bool),
    before: u64,
) -> u64 {
    let launcher = again(home).await;
    let mut request = request.clone();
    request.warm = Some(saved(folder, take_over, Renewal::Clock));
    launcher.start_guest(request).await;
    let status = launcher.running().await;
    let names = status.milestones.iter().map(|it| &it.name[..]);
    // What the guest says by itself may come at any time after it runs.
    let names: Vec<_> = names.filter(|name| *name != "first-byte").collect();
    assert_eq!(
        names,
        [
            "disks", "network", "spawned", "qmp", "restored", "running", "renewed"
        ]
    );
    let resumed = status.resumed.clone().expect("told");
    let by = "hook".to_owned();
    assert_eq!(resumed.clock, Clock::Set { by }, "{resumed:?}");
    let count = goes_on(&launcher, before).await;
    kill(&launcher).await;
    count
}

async fn kill(launcher: &Launcher) {
    launcher.done(&Request::Kill).await;
    launcher.ended().await;
}

/// Each start fails by name, nothing boots, and what was saved is as it was.
async fn failing_resumes_lose_nothing(home: &Home, request: &StartRequest, folder: &Path) {
    type Damage = fn(&mut StartRequest, &mut Saved);
    let damages: [(&str, Damage); 5] = [
        ("another file than was checked", |_, saved| {
            let state = saved.files.get_mut(names::STATE).expect("there");
            state.bytes += 1;
        }),
        ("network cards", |request, _| request.interfaces.truncate(1)),
        ("volume `data` was an empty disk", |request, _| {
            request.volumes.remove("data");
            let disks = &mut request.instance.spec.domain.devices.disks;
            disks.retain(|disk| disk.name != "data");
        }),
        ("machine type pc-q35-2.4", |_, saved| {
            saved.record.machine_type = "pc-q35-2.4".to_owned();
        }),
        // QEMU notices that the memory is of another size.
        ("QEMU", |request, _| {
            let memory = &mut request.instance.spec.domain.memory;
            memory.as_mut().expect("given").guest =
                Some(api::quantity::Quantity("64Mi".to_owned()));
        }),
    ];
    let before = left_in(folder);
    for (words, damage) in damages {
        let launcher = again(home).await;
        let mut request = request.clone();
        let WarmStart::Resume(mut resumed) = saved(folder, true, Renewal::Clock) else {
            unreachable!("it is one");
        };
        damage(&mut request, &mut resumed);
        request.warm = Some(WarmStart::Resume(resumed));
        launcher.start_guest(request).await;
        let exit = launcher.ended().await.exit.expect("told");
        assert_eq!(exit.kind, ExitKind::StartFailed, "{}", exit.message);
        assert!(exit.message.contains(words), "{words}: {}", exit.message);
        assert_eq!(left_in(folder).len(), before.len());
        launcher.end().await;
    }
}

#[tokio::test]
async fn a_guest_is_saved_when_its_launcher_is_told_to_leave_and_a_qemu_that_dies_leaves_nothing() {
    let (guest, _) = laboratory::guests::warm().expect("the laboratory's guest");
    let home = Home::new("leaves");
    let mut launcher = home.launcher().await;
    let mut request = start(&guest, &image(&home), "leaves", 3);
    let folder = home.path("at-leaving");
    request.save_on_leaving = Some(folder.clone());
    let mut shell = counting(&home, &launcher, &request).await;
    let before = count(&mut shell).await;
    drop(shell);
    // A host that shuts down tells all at once.
    let status = launcher.done(&Request::Status).await;
    let qemu = Identity::of(status.qemu.expect("it runs").pid);
    let qemu = qemu.expect("readable").expect("it runs");
    qemu.signal(Signal::Terminate).expect("told to end");
    launcher
        .child
        .identity()
        .signal(Signal::Terminate)
        .expect("told to leave");
    launcher.child.wait().await.expect("it leaves");
    let exit = std::fs::read(home.directory.join(files::EXIT)).expect("written");
    let exit: api::launcher::Exit = serde_json::from_slice(&exit).expect("JSON");
    assert_eq!(exit.kind, ExitKind::Saved, "{}", exit.message);

    let launcher = again(&home).await;
    request.warm = Some(saved(&folder, true, Renewal::Clock));
    launcher.start_guest(request.clone()).await;
    launcher.running().await;
    goes_on(&launcher, before).await;

    // QEMU is killed while the guest is being saved.
    let (folder, ask) = save(&home, "killed", false);
    let status: Status = launcher.done(&Request::Status).await;
    let qemu = status.qemu.expect("it runs");
    let qemu = Identity::of(qemu.pid).expect("readable").expect("it runs");
    let killed = async {
        while !folder.join(names::STATE).exists() {
            tokio::task::yield_now().await; // until it has begun
        }
        qemu.signal(Signal::Kill).expect("killed");
    };
    let ((reason, message), ()) = tokio::join!(launcher.refused(&ask), killed);
    assert!(
        ["SaveFailed", "Killed"].contains(&&reason[..]),
        "{reason}: {message}"
    );
    assert_eq!(left_in(&folder), [""; 0]);
    let exit = launcher.ended().await.exit.expect("told");
    assert_ne!(exit.kind, ExitKind::Saved);
    launcher.end().await;
}

/// Who a guest is.
async fn identity(shell: &mut Shell) -> Vec<String> {
    let mut lines = Vec::new();
    for command in [
        "hostname",
        "cat /etc/machine-id",
        "cat /sys/class/net/eth0/address",
        "head -c 16 /dev/urandom | od -An -tx1",
    ] {
        let said = shell.run(command).await;
        lines.push(said.lines().last().unwrap_or_default().to_owned());
    }
    lines
}

#[tokio::test]
async fn a_guest_from_a_template_is_saved_and_goes_on_as_another_machine_too() {
    let (guest, _) = laboratory::guests::warm().expect("the laboratory's guest");
    let kit = Kit::make("forked", guest).await;
    let request = |home: &Home, number| kit.clone_of(kit.template(), &home.uid, number);
    let home = Home::new("fork2");
    let launcher = home.launcher().await;
    // Others of these tests have the addresses of 2 and 3.
    launcher.start_guest(request(&home, 32)).await;
    launcher.running().await;
    let shell = Shell::attach(&launcher).await;
    let known = forks(&home, &launcher, shell, &request).await;
    assert!(known.template_shape);
}

#[tokio::test]
async fn a_guest_that_has_booted_is_saved_and_goes_on_as_another_machine_too() {
    let (guest, _) = laboratory::guests::warm().expect("the laboratory's guest");
    let home = Home::new("fork2");
    let image = image(&home);
    let request = |home: &Home, number| start(&guest, &image, &home.uid, number);
    let launcher = home.launcher().await;
    launcher.start_guest(request(&home, 2)).await;
    file_has(&home.directory.join(files::SERIAL_LOG), "login:").await;
    let shell = Shell::log_in(&launcher).await;
    // It has to run to come to rest.
    launcher.done(&Request::Pause).await;
    let (reason, message) = launcher
        .refused(&Request::Save {
            directory: home.path("paused"),
            go_on: true,
            renewable: true,
        })
        .await;
    assert_eq!(reason, "Paused", "{message}");
    launcher.done(&Request::Unpause).await;
    let known = forks(&home, &launcher, shell, &request).await;
    assert!(!known.template_shape && known.hook_port);
}

/// Saves the guest so that two others go on from it, and it itself. All are somebody of their own. Gives what was noted.
async fn forks(
    home: &Home,
    launcher: &Launcher,
    mut shell: Shell,
    request: &impl Fn(&Home, u8) -> StartRequest,
) -> Record {
    shell.run("echo of the guest > /run/secret").await;
    let first = identity(&mut shell).await;
    drop(shell);
    let directory = home.path("fork");
    std::fs::create_dir(&directory).expect("made");
    let ask = Request::Save {
        directory: directory.clone(),
        go_on: true,
        renewable: true,
    };
    let status = launcher.done(&ask).await;
    assert!(
        status
            .saved
            .is_some_and(|it| it.stopped_milliseconds.is_some())
    );
    let known = record(&directory);
    assert!(known.hook && known.renewable);
    launcher.running().await;
    // Nothing of where it runs is needed any more.
    kill(launcher).await;

    let mut seen = vec![first];
    for number in [5, 6] {
        let home = Home::new(&format!("fork{number}"));
        let launcher = home.launcher().await;
        let mut request = request(&home, number);
        request.warm = Some(saved(&directory, false, Renewal::Everything));
        launcher.start_guest(request).await;
        let status = launcher.running().await;
        let by = "hook".to_owned();
        assert_eq!(status.resumed.expect("told").clock, Clock::Set { by });
        let mut shell = Shell::attach(&launcher).await;
        let said = shell.run("cat /run/secret").await;
        // The guest tells of its address at that time, too.
        assert_eq!(said.lines().last(), Some("of the guest"));
        let who = identity(&mut shell).await;
        assert_eq!(who[0], format!("guest-{number}"));
        seen.push(who);
        // It has its own data for cloud-init, on a disk as large as the one that it knows.
        shell.run("echo 3 > /proc/sys/vm/drop_caches").await;
        let data = shell.run("grep -c '# fork' /dev/vdb").await;
        assert_eq!(data.lines().last(), Some("1"));
        drop(shell);
        kill(&launcher).await;
    }
    // As itself, its clock is set by the same hook.
    let home = Home::new("itself");
    let launcher = home.launcher().await;
    let mut request = request(&home, 4);
    request.warm = Some(saved(&directory, false, Renewal::Clock));
    launcher.start_guest(request).await;
    let clock = launcher.running().await.resumed.expect("told").clock;
    let by = "hook".to_owned();
    assert_eq!(clock, Clock::Set { by });
    kill(&launcher).await;

    for line in 0..4 {
        let mut of_each: Vec<_> = seen.iter().map(|it| &it[line]).collect();
        of_each.sort_unstable();
        of_each.dedup();
        assert_eq!(of_each.len(), 3, "{seen:?}");
    }
    known
}

/// Refused so, nothing is left of it, and the guest runs on.
async fn is_not_for_others(home: &Home, launcher: &Launcher, words: &str) {
    let directory = home.path("for-others");
    std::fs::create_dir(&directory).expect("made");
    let (reason, message) = launcher
        .refused(&Request::Save {
            directory: directory.clone(),
            go_on: true,
            renewable: true,
        })
        .await;
    assert_eq!(reason, "NoHook", "{message}");
    assert!(message.contains(words), "{message}");
    assert_eq!(left_in(&directory), [""; 0]);
    std::fs::remove_dir(&directory).expect("removed");
    launcher.running().await;
}

#[tokio::test]
async fn a_guest_in_which_nobody_waits_is_not_saved_for_others_and_both_ways_out_are_told() {
    let home = Home::new("nobody");
    let launcher = home.launcher().await;
    let mut request = home.request(Manner::Polite);
    request.slowdown = Some(1.0);
    launcher.start_guest(request).await;
    launcher.running().await;
    for words in ["anyvirt image renewal-hook", "QEMU guest agent"] {
        is_not_for_others(&home, &launcher, words).await;
    }
    // As itself it is saved all the same.
    let (folder, ask) = save(&home, "itself", true);
    launcher.done(&ask).await;
    let known = record(&folder);
    assert!(known.hook_port && !known.hook && !known.renewable);
    kill(&launcher).await;
    launcher.end().await;
}

/// What opens the hook's port, and says what it wants, without end.
const NOISE: &str = "#!/bin/sh
for port in /sys/class/virtio-ports/*; do
    [ \"$(cat $port/name)\" = io.anyvirt.renew.0 ] && device=/dev/${port##*/}
done
exec yes note and so on and on > $device
";

#[tokio::test]
async fn a_guest_that_misuses_the_port_is_not_believed_and_takes_no_memory_by_it() {
    let guest = laboratory::guests::warm_files(NOISE.as_bytes());
    let guest = guest.expect("the laboratory's guest");
    let home = Home::new("noise");
    let launcher = home.launcher().await;
    let mut request = start(&guest, &image(&home), &home.uid, 51);
    request.slowdown = Some(1.0);
    launcher.start_guest(request).await;
    file_has(&home.directory.join(files::SERIAL_LOG), "login:").await;
    let mut shell = Shell::log_in(&launcher).await;
    let memory = || {
        let status = format!("/proc/{}/status", launcher.child.identity().pid);
        let status = std::fs::read_to_string(status).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.trim().strip_suffix(" kB"));
        size.and_then(|size| size.parse::<u64>().ok())
            .expect("a number")
    };
    let before = memory();
    is_not_for_others(&home, &launcher, "has not answered within 3 s").await;
    is_not_for_others(&home, &launcher, "has not answered within 3 s").await;
    // It has said some megabytes meanwhile, and everything else goes on.
    let grown = memory().saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB");
    assert_eq!(shell.run("echo here").await, "here");
    drop(shell);
    kill(&launcher).await;
    launcher.end().await;
}

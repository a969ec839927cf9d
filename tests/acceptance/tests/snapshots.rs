//! Snapshots with memory, of real guests under emulation: back to the running instant, forks that are all somebody of
//! their own with the same data, and a rewind.

use acceptance::warm::{BOOT, SCRATCH, Stage, ask, files_below, identity, qemu_of};
use acceptance::{Console, PATIENCE, wait_for};
use laboratory::guests;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Writing a guest's memory, and starting another QEMU. Generous: CI shares two cores.
const LONG: Duration = Duration::from_secs(180);

/// A shell of the guest, whether somebody is logged in on its serial line or not.
fn shell(stage: &Stage, name: &str) -> Console {
    let mut console = Console::attach(&stage.server, name);
    console.send("\n");
    if console.expect_one_of(&["login:", "# "], PATIENCE).0 == 0 {
        console.send("root\n");
        console.expect("# ", PATIENCE);
    }
    console
}

/// What a guest in its memory and on its disk has: a number that counts on, a word in a file of its memory, and one on its
/// disk.
fn remember(stage: &Stage, name: &str, word: &str) {
    let mut console = shell(stage, name);
    ask(
        &mut console,
        &format!("echo {word} > /tmp/word; echo {word} > /dev/vda; sync"),
    );
    let counts = "[ -e /tmp/count ] || setsid sh -c 'n=0; while true; do n=$((n+1)); echo $n > /tmp/count.new; mv /tmp/count.new /tmp/count; sleep 0.1; done' > /dev/null 2>&1 & true";
    ask(&mut console, counts);
}

/// What a machine that goes on as itself has as before.
fn itself(stage: &Stage, name: &str) -> BTreeMap<&'static str, String> {
    let mut console = shell(stage, name);
    [
        ("machine-id", "cat /etc/machine-id"),
        ("boot-id", "cat /proc/sys/kernel/random/boot_id"),
        ("mac", "cat /sys/class/net/eth0/address"),
        (
            "host-key",
            "cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub",
        ),
        ("hostname", "hostname"),
        ("uuid", "cat /sys/class/dmi/id/product_uuid"),
    ]
    .map(|(what, command)| (what, ask(&mut console, command)))
    .into()
}

/// The words that a guest has, in its memory and on its disk, read past its cache.
fn words(stage: &Stage, name: &str) -> (String, String) {
    let mut console = shell(stage, name);
    let memory = ask(&mut console, "cat /tmp/word");
    let disk = ask(
        &mut console,
        "echo 3 > /proc/sys/vm/drop_caches; head -n 1 /dev/vda",
    );
    (memory, disk)
}

/// How far it has counted.
fn count(stage: &Stage, name: &str) -> u64 {
    let mut console = shell(stage, name);
    let text = ask(&mut console, "cat /tmp/count");
    text.parse().expect("a number")
}

fn anyvirt(stage: &Stage, arguments: &[&str]) -> String {
    let said = stage.server.anyvirt(arguments);
    assert!(
        said.success,
        "{arguments:?}: {}{}\n{}\n{}",
        said.out,
        said.err,
        stage.server.kubectl(&["get", "events"]),
        stage.server.log()
    );
    said.out.trim().to_owned()
}

fn snapshot(stage: &Stage, name: &str) -> Value {
    let found = stage.server.get("vmsnapshot", name, "default");
    found.expect("a snapshot")
}

/// The files of all saved machines.
fn kept(stage: &Stage) -> Vec<PathBuf> {
    files_below(&stage.server.data_directory().join("saved"))
}

#[test]
fn a_machine_goes_back_to_its_running_instant_and_the_snapshot_stays_for_another_time() {
    let mut stage = Stage::warm();
    stage.server.apply(&stage.manifest("web", &[SCRATCH]));
    stage.runs_from_a_template("web");
    remember(&stage, "web", "before");
    let taken = anyvirt(&stage, &["snapshot", "web", "--memory", "--name", "s"]);
    assert_eq!(taken, "s");
    let status = &snapshot(&stage, "s")["status"];
    assert_eq!(status["phase"], "Succeeded", "{status}");
    assert_eq!(status["readyToUse"], true, "{status}");
    let listed = stage.server.kubectl(&["get", "vmsnapshot", "s"]);
    assert!(
        listed.contains("VirtualMachine") && listed.contains("Succeeded"),
        "{listed}"
    );
    let counted = count(&stage, "web");
    let known = itself(&stage, "web");
    // It goes on meanwhile, and changes what it knows.
    remember(&stage, "web", "after");
    assert_eq!(
        words(&stage, "web"),
        ("after".to_owned(), "after".to_owned())
    );

    for round in 0..2 {
        if round == 1 {
            // What is kept outlives the server.
            stage.server.kill();
            stage.server.up();
        }
        anyvirt(&stage, &["restore", "web", "--snapshot", "s", "--stop"]);
        assert_eq!(
            words(&stage, "web"),
            ("before".to_owned(), "before".to_owned())
        );
        let back = count(&stage, "web");
        assert!(back > 0 && back < counted + 600, "{back} after {counted}");
        // The same machine, at the right time: nothing of it was renewed but its clock.
        assert_eq!(itself(&stage, "web"), known);
        remember(&stage, "web", "lost");
    }
    is_not_stopped_for_a_snapshot_that_is_damaged_or_lost(&stage);
    stage.server.kubectl(&["delete", "vmsnapshot", "s"]);
    wait_for("no files of the snapshot", PATIENCE, || {
        let left = kept(&stage);
        left.is_empty().then_some(()).ok_or(format!("{left:?}"))
    });
    // The machine needs nothing of it any more.
    assert_eq!(words(&stage, "web"), ("lost".to_owned(), "lost".to_owned()));
}

/// The machine `web` runs on where a restore that would stop it names what nobody can go on from, and goes back while that
/// is whole. The snapshot is of no use afterwards.
fn is_not_stopped_for_a_snapshot_that_is_damaged_or_lost(stage: &Stage) {
    let runs = || stage.server.get("vmi", "web", "default").expect("it runs")["metadata"].clone();
    let before = runs();
    for name in ["state", "scratch.qcow2"] {
        let file = kept(stage).into_iter().find(|file| file.ends_with(name));
        let file = file.unwrap_or_else(|| panic!("{name} is kept: {:?}", kept(stage)));
        let whole = std::fs::read(&file).expect("readable");
        let mut damaged = whole.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        std::fs::write(&file, &damaged).expect("writable");
        let restore = ["restore", "web", "--snapshot", "s", "--stop"];
        let said = stage.server.anyvirt(&restore);
        std::fs::write(&file, &whole).expect("writable");
        for words in [&*format!("{name} is damaged"), "was not stopped for it"] {
            assert!(!said.success && said.err.contains(words), "{}", said.err);
        }
        assert_eq!(runs()["uid"], before["uid"]);
        assert_eq!(words(stage, "web"), ("lost".to_owned(), "lost".to_owned()));
    }
    anyvirt(stage, &["rewind", "web", "--to", "s"]);
    assert_eq!(words(stage, "web").0, "before");
    let after = runs();
    assert_ne!(after["uid"], before["uid"]);
    remember(stage, "web", "lost");
    let state = kept(stage).into_iter().find(|file| file.ends_with("state"));
    let state = state.expect("the memory is kept");
    std::fs::remove_dir_all(state.parent().expect("its folder")).expect("removed");
    let said = stage
        .server
        .anyvirt(&["restore", "web", "--snapshot", "s", "--stop"]);
    let lost = "is not there any more";
    assert!(!said.success && said.err.contains(lost), "{}", said.err);
    assert_eq!(runs()["uid"], after["uid"]);
}

#[test]
fn forks_have_the_same_data_and_are_each_somebody_of_their_own() {
    let stage = Stage::warm();
    stage.server.apply(&stage.manifest("web", &[SCRATCH]));
    stage.runs_from_a_template("web");
    forks(&stage, 3);
}

/// A machine that boots, whatever templates there are.
fn boots(stage: &Stage, name: &str) {
    let cold = stage
        .manifest(name, &[SCRATCH])
        .replace("warm-start: Require", "warm-start: Never");
    stage.server.apply(&cold);
    stage
        .server
        .wait_until("vmi", name, "/status/phase", "Running", BOOT);
}

#[test]
fn a_machine_that_has_booted_is_forked_like_one_from_a_template() {
    let stage = Stage::warm();
    boots(&stage, "web");
    forks(&stage, 2);
    // Of a copy there are copies, too.
    let again = anyvirt(&stage, &["fork", "copy-1", "--name-prefix", "third-"]);
    assert_eq!(again, "third-1");
    assert_eq!(itself(&stage, "third-1")["hostname"], "third-1");
    assert_eq!(words(&stage, "third-1"), words(&stage, "copy-1"));
}

/// Forks the machine `web`: its copies have what it had, and are each somebody of their own.
fn forks(stage: &Stage, copies: usize) {
    remember(stage, "web", "shared");
    let number = copies.to_string();
    let out = anyvirt(
        stage,
        &["fork", "web", "-n", &number, "--name-prefix", "copy-"],
    );
    let mut names: Vec<&str> = out.lines().collect();
    names.sort_unstable();
    let expected: Vec<String> = (1..=copies).map(|it| format!("copy-{it}")).collect();
    assert_eq!(names, expected);
    names.insert(0, "web");
    let mut seen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for &name in &names {
        assert_eq!(
            words(stage, name),
            ("shared".to_owned(), "shared".to_owned()),
            "{name}"
        );
        assert!(count(stage, name) > 0, "{name}");
        // The clocks of copies are right, which this asks too.
        let identity = if name == "web" {
            itself(stage, name)
        } else {
            let copy = identity(&mut shell(stage, name));
            assert_eq!(copy["hostname"], name);
            copy
        };
        for (what, value) in identity {
            let new = seen.entry(what).or_default().insert(value.clone());
            assert!(new, "{name} has {what} {value} as another has");
        }
        // Disks are their own.
        remember(stage, name, name);
    }
    for name in names {
        assert_eq!(words(stage, name), (name.to_owned(), name.to_owned()));
    }
    // Nothing is left of the way there.
    let left = stage.server.kubectl(&[
        "get",
        "vmsnapshot,vmrestore,vmsnapshotcontent",
        "-o",
        "name",
    ]);
    assert_eq!(left, "");
    wait_for("no files of the snapshot", PATIENCE, || {
        let left = kept(stage);
        left.is_empty().then_some(()).ok_or(format!("{left:?}"))
    });
}

#[test]
fn a_machine_is_rewound_to_an_instant_of_its_ring() {
    let stage = Stage::warm();
    stage.server.apply(&stage.manifest("web", &[SCRATCH]));
    stage.runs_from_a_template("web");
    let refused = stage.server.anyvirt(&["rewind", "web", "--to", "-1s"]);
    assert!(
        refused.err.contains("no instant of it was kept"),
        "{}",
        refused.err
    );
    remember(&stage, "web", "first");
    let ring = "anyvirt.io/snapshot-ring=every=10s,keep=2";
    stage.server.kubectl(&["annotate", "vm", "web", ring]);
    let instants = |at_least: usize| {
        wait_for("instants", LONG, || {
            let text = stage.server.kubectl(&["get", "vmsnapshot", "-o", "json"]);
            let list: Value = serde_json::from_str(&text).expect("JSON");
            let items = list["items"].as_array().cloned().unwrap_or_default();
            let mut ready: Vec<(String, String)> = items
                .iter()
                .filter(|it| it["status"]["readyToUse"] == true)
                .filter_map(|it| {
                    let at = it["status"]["creationTime"].as_str()?.to_owned();
                    Some((at, it["metadata"]["name"].as_str()?.to_owned()))
                })
                .collect();
            ready.sort();
            (ready.len() >= at_least).then_some(ready).ok_or(text)
        })
    };
    let first = instants(1).remove(0).1;
    // No more are taken, and none goes.
    stage
        .server
        .kubectl(&["annotate", "vm", "web", "anyvirt.io/snapshot-ring-"]);
    wait_for("no snapshot is being taken", LONG, || {
        let vm = stage.server.get("vm", "web", "default").expect("a VM");
        let busy = &vm["status"]["snapshotInProgress"];
        busy.is_null().then_some(()).ok_or(busy.to_string())
    });
    remember(&stage, "web", "second");
    let listed = anyvirt(&stage, &["rewind", "web"]);
    assert!(listed.contains(&first), "{listed}");
    let gone = anyvirt(&stage, &["rewind", "web", "--to", &first]);
    assert_eq!(gone, first);
    assert_eq!(
        words(&stage, "web"),
        ("first".to_owned(), "first".to_owned())
    );
    // Bounded, whatever the time.
    stage.server.kubectl(&[
        "annotate",
        "vm",
        "web",
        "anyvirt.io/snapshot-ring=every=10s,keep=1",
    ]);
    wait_for("the first one goes", LONG, || {
        let found = stage.server.get("vmsnapshot", &first, "default");
        found.is_none().then_some(()).ok_or_else(|| first.clone())
    });
    stage.server.kubectl(&["delete", "vm", "web"]);
    wait_for("its instants go with it", BOOT, || {
        let left = kept(&stage);
        left.is_empty().then_some(()).ok_or(format!("{left:?}"))
    });
}

#[test]
fn what_cannot_be_kept_is_refused_in_words_and_the_machine_goes_on() {
    // In this guest is no hook, and no agent that could bring one.
    let image = guests::small().expect("the small guest is made from Debian packages");
    let stage = Stage::of(&image, "small");
    boots(&stage, "cold");
    let refused = stage.server.anyvirt(&["fork", "cold"]);
    assert!(
        !refused.success && refused.err.contains("NoHook"),
        "{}",
        refused.err
    );
    for way_out in ["anyvirt image renewal-hook", "QEMU guest agent"] {
        assert!(refused.err.contains(way_out), "{}", refused.err);
    }
    assert_eq!(kept(&stage), Vec::<PathBuf>::new());
    // As itself it can go on.
    anyvirt(&stage, &["snapshot", "cold", "--memory", "--name", "s"]);
    let fork = stage
        .server
        .anyvirt(&["restore", "other", "--snapshot", "s"]);
    assert!(!fork.success && fork.err.contains("NoHook"), "{}", fork.err);
    anyvirt(&stage, &["stop", "cold"]);
    stage
        .server
        .wait_until("vm", "cold", "/status/printableStatus", "Stopped", BOOT);
    let off = stage.server.anyvirt(&["snapshot", "cold", "--memory"]);
    assert!(
        !off.success && off.err.contains("does not run"),
        "{}",
        off.err
    );
    anyvirt(&stage, &["restore", "cold", "--snapshot", "s"]);
    stage
        .server
        .wait_until("vmi", "cold", "/status/phase", "Running", BOOT);
}

/// A file system of its own, in memory.
struct Small {
    folder: tempfile::TempDir,
}

impl Small {
    fn mounted() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let flags = rustix::mount::MountFlags::empty();
        let mounted = rustix::mount::mount("none", folder.path(), "tmpfs", flags, c"size=1400m");
        mounted.expect("mounted: tests run as root");
        Self { folder }
    }

    /// Leaves so many MiB free, until what is answered is deleted.
    fn leave(&self, mebibytes: u64) -> PathBuf {
        let found = rustix::fs::statvfs(self.folder.path()).expect("its size");
        let free = found.f_bavail * found.f_frsize;
        let path = self.folder.path().join("filler");
        let file = std::fs::File::create(&path).expect("made");
        let flags = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(&file, flags, 0, free - (mebibytes << 20)).expect("room");
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Whatever of a test that failed is still there keeps it.
        let gone = rustix::mount::unmount(self.folder.path(), rustix::mount::UnmountFlags::DETACH);
        gone.expect("unmounted");
    }
}

#[test]
fn a_machine_is_not_stopped_for_a_restore_that_has_no_room_and_a_copy_fails_with_the_reason() {
    let disk = Small::mounted();
    let stage = Stage::warm_in(&disk.folder.path().join("server"));
    boots(&stage, "web");
    remember(&stage, "web", "before");
    let take = ["snapshot", "web", "--memory", "--renewable", "--name", "s"];
    anyvirt(&stage, &take);
    remember(&stage, "web", "after");
    let filler = disk.leave(400);
    for (target, words) in [
        ("web", "was not stopped for it"),
        ("other", "does not boot"),
    ] {
        let restore = ["restore", target, "--snapshot", "s", "--stop"];
        let said = stage.server.anyvirt(&restore);
        for words in ["copying its disks may take", words] {
            assert!(!said.success && said.err.contains(words), "{}", said.err);
        }
    }
    let after = ("after".to_owned(), "after".to_owned());
    assert_eq!(words(&stage, "web"), after);
    std::fs::remove_file(filler).expect("deleted");
    anyvirt(&stage, &["restore", "web", "--snapshot", "s", "--stop"]);
    assert_eq!(words(&stage, "web").0, "before");
}

fn kill(process: u32) {
    let said = acceptance::run(Path::new("kill"), &["-KILL", &process.to_string()], &[]);
    assert!(said.success, "kill {process}: {}", said.err);
}

/// The manifest of a snapshot, as KubeVirt's documentation has it.
fn snapshot_of(version: &str, name: &str, memory: bool) -> String {
    let memory = if memory {
        "  includeMemory: true\n"
    } else {
        ""
    };
    format!(
        "apiVersion: snapshot.kubevirt.io/{version}\nkind: VirtualMachineSnapshot\nmetadata: {{name: {name}}}\n\
         spec:\n{memory}  source: {{apiGroup: kubevirt.io, kind: VirtualMachine, name: web}}\n"
    )
}

fn restore_of(version: &str, target: &str, snapshot: &str, more: &str) -> String {
    format!(
        "apiVersion: snapshot.kubevirt.io/{version}\nkind: VirtualMachineRestore\nmetadata: {{name: back-{target}}}\n\
         spec:\n  target: {{apiGroup: kubevirt.io, kind: VirtualMachine, name: {target}}}\n  \
         virtualMachineSnapshotName: {snapshot}\n{more}"
    )
}

#[test]
fn kubectl_alone_takes_and_restores_as_with_kubevirt_in_both_versions() {
    let stage = Stage::warm();
    let server = &stage.server;
    let halted = stage
        .manifest("web", &[SCRATCH])
        .replace("runStrategy: Always", "runStrategy: Halted");
    server.apply(&halted);
    for version in ["v1beta1", "v1alpha1"] {
        let name = format!("taken-{version}");
        server.apply(&snapshot_of(version, &name, false));
        server.kubectl(&[
            "wait",
            "vmsnapshot",
            &name,
            "--for",
            "condition=Ready",
            "--timeout=60s",
        ]);
        let listed = server.kubectl(&["get", "vmsnapshots", &name]);
        for head in [
            "SOURCEKIND",
            "SOURCENAME",
            "PHASE",
            "READYTOUSE",
            "CREATIONTIME",
            "ERROR",
        ] {
            assert!(listed.contains(head), "{listed}");
        }
        let status = &snapshot(&stage, &name)["status"];
        assert_eq!(
            status["snapshotVolumes"]["excludedVolumes"][0], "scratch",
            "{status}"
        );
        server.kubectl(&[
            "label",
            "vm",
            "web",
            "--overwrite",
            &format!("seen={version}"),
        ]);
        let more = "{\"spec\":{\"template\":{\"spec\":{\"hostname\":\"other\"}}}}";
        server.kubectl(&["patch", "vm", "web", "--type=merge", "-p", more]);
        server.apply(&restore_of(version, "web", &name, ""));
        server.kubectl(&[
            "wait",
            "vmrestore",
            "back-web",
            "--for",
            "condition=Ready",
            "--timeout=60s",
        ]);
        let vm = server.get("vm", "web", "default").expect("a VM");
        assert_eq!(
            vm["spec"]["template"]["spec"]["hostname"],
            Value::Null,
            "{vm}"
        );
        assert_eq!(vm["status"]["restoreInProgress"], Value::Null, "{vm}");
        server.kubectl(&["delete", "vmrestore", "back-web"]);
    }
}

#[test]
fn a_restore_makes_a_new_machine_refuses_what_is_not_served_and_brings_back_a_deleted_one() {
    let stage = Stage::warm();
    let server = &stage.server;
    let halted = stage
        .manifest("web", &[SCRATCH])
        .replace("runStrategy: Always", "runStrategy: Halted");
    server.apply(&halted);
    server.apply(&snapshot_of("v1beta1", "s", false));
    let ready = ["wait", "vmsnapshot", "s", "--for", "condition=Ready"];
    server.kubectl(&ready);
    // As a new machine, by a patch of its own.
    let patch = "  patches: ['{\"op\": \"add\", \"path\": \"/spec/template/spec/hostname\", \"value\": \"copy\"}']\n";
    server.apply(&restore_of("v1beta1", "copy", "s", patch));
    server.kubectl(&[
        "wait",
        "vmrestore",
        "back-copy",
        "--for",
        "condition=Ready",
        "--timeout=60s",
    ]);
    let copy = server.get("vm", "copy", "default").expect("a VM");
    assert_eq!(copy["spec"]["template"]["spec"]["hostname"], "copy");
    let uuid = "/spec/template/spec/domain/firmware/uuid";
    let web = server.get("vm", "web", "default").expect("a VM");
    assert_ne!(copy.pointer(uuid), web.pointer(uuid));
    // What is not served is refused by name.
    let file = server.file(
        "refused.yaml",
        &restore_of(
            "v1beta1",
            "web",
            "s",
            "  volumeRestoreOverrides: [{volumeName: scratch}]\n",
        ),
    );
    let refused = server.try_kubectl(&["apply", "-f", file.to_str().expect("a path")]);
    assert!(
        refused
            .err
            .contains("spec.volumeRestoreOverrides is not served"),
        "{}",
        refused.err
    );
    // Snapshots outlive their machine, restores go with it.
    server.kubectl(&["delete", "vm", "web"]);
    server.kubectl(&ready);
    server.apply(&restore_of("v1beta1", "web", "s", ""));
    server.kubectl(&[
        "wait",
        "vmrestore",
        "back-web",
        "--for",
        "condition=Ready",
        "--timeout=60s",
    ]);
    assert!(server.get("vm", "web", "default").is_some());
}

#[test]
fn a_snapshot_survives_a_killed_server_and_not_a_killed_guest() {
    let mut stage = Stage::warm();
    stage.server.apply(&stage.manifest("web", &[SCRATCH]));
    stage.runs_from_a_template("web");
    remember(&stage, "web", "before");
    let root = stage.server.data_directory().join("saved");
    let begun = || {
        wait_for("the first file", LONG, || {
            let files = files_below(&root);
            (!files.is_empty()).then_some(()).ok_or(String::new())
        });
    };
    stage.server.apply(&snapshot_of("v1beta1", "killed", true));
    begun();
    stage.server.kill();
    stage.server.up();
    stage
        .server
        .wait_until("vmsnapshot", "killed", "/status/phase", "Succeeded", LONG);
    remember(&stage, "web", "after");
    anyvirt(
        &stage,
        &["restore", "web", "--snapshot", "killed", "--stop"],
    );
    assert_eq!(
        words(&stage, "web"),
        ("before".to_owned(), "before".to_owned())
    );
    stage.server.kubectl(&["delete", "vmsnapshot", "killed"]);
    wait_for("no files", PATIENCE, || {
        let left = files_below(&root);
        left.is_empty().then_some(()).ok_or(format!("{left:?}"))
    });

    // Its guest dies meanwhile: there is nothing to keep, and the machine starts as ever.
    let first = stage.server.get("vmi", "web", "default").expect("a VMI");
    stage.server.apply(&snapshot_of("v1beta1", "lost", true));
    begun();
    for qemu in qemu_of(&stage.server) {
        kill(qemu);
    }
    let status = wait_for("the end of the snapshot", LONG, || {
        let status = snapshot(&stage, "lost")["status"].clone();
        match status["phase"].as_str() {
            Some("Failed" | "Succeeded") => Ok(status),
            _ => Err(status.to_string()),
        }
    });
    // All of it may have been written before.
    if status["phase"] == "Failed" {
        assert!(status["error"]["message"].is_string(), "{status}");
        wait_for("no files", PATIENCE, || {
            let left = files_below(&root);
            left.is_empty().then_some(()).ok_or(format!("{left:?}"))
        });
    }
    stage.runs_anew("web", &first);
    let vm = stage.server.get("vm", "web", "default").expect("a VM");
    assert_eq!(vm["status"]["snapshotInProgress"], Value::Null, "{vm}");
}

//! Warm starts with real guests under emulation: machines go on from a template of a guest that has booted, each as
//! somebody of its own; and start without one whatever happens to it.

use acceptance::warm::{BOOT, SCRATCH, Stage, ask, files_below, identity, qemu_of};
use acceptance::{Console, PATIENCE, wait_for};
use laboratory::guests;
use serde_json::Value;
use sha2::Digest as _;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

#[test]
fn machines_go_on_from_one_template_and_each_is_somebody_of_its_own() {
    let stage = Stage::warm();
    let names = ["one", "two", "three"];
    for name in names {
        stage.server.apply(&stage.manifest(name, &[SCRATCH]));
    }
    let mut seen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for name in names {
        stage.runs_from_a_template(name);
        let mut console = stage.shell(name);
        let identity = identity(&mut console);
        assert_eq!(identity["hostname"], name);
        let vmi = stage.server.get("vmi", name, "default").expect("a VMI");
        let mac = &vmi["status"]["interfaces"][0]["mac"];
        assert_eq!(mac, &Value::from(identity["mac"].clone()));
        for (what, value) in identity {
            assert!(!value.is_empty(), "{name}: {what}");
            assert!(
                seen.entry(what).or_default().insert(value.clone()),
                "{name} has {what} {value} as another has"
            );
        }
    }
    assert_eq!(stage.templates().len(), 1, "{:?}", stage.templates());

    let listed = stage.server.anyvirt(&["image", "templates"]);
    assert!(listed.success, "{}", listed.err);
    assert!(listed.out.contains("Ready"), "{}", listed.out);

    // A restart is warm too, and again somebody new inside the kernel.
    let restarted = stage.server.anyvirt(&["restart", "one"]);
    assert!(restarted.success, "{}", restarted.err);
    let first = stage.server.get("vmi", "one", "default").expect("a VMI");
    wait_for("another VMI", BOOT, || {
        let vmi = stage.server.get("vmi", "one", "default").ok_or("none")?;
        (vmi["metadata"]["uid"] != first["metadata"]["uid"])
            .then_some(())
            .ok_or_else(|| "the same".to_owned())
    });
    stage.runs_from_a_template("one");
    let again = identity(&mut stage.shell("one"));
    for what in ["boot-id", "random", "host-key"] {
        assert!(seen[what].len() == 3 && !seen[what].contains(&again[what]));
    }
}

#[test]
fn a_template_outlives_the_server_and_goes_with_its_object() {
    let mut stage = Stage::warm();
    for name in ["first", "second"] {
        stage.server.apply(&stage.manifest(name, &[SCRATCH]));
        stage.runs_from_a_template(name);
    }
    let used = |uses: u32| {
        move |it: &Value| it["status"]["phase"] == "Ready" && it["status"]["uses"] == uses
    };
    // Uses are written behind the starts: a server that is killed before has forgotten them.
    stage.one_template("two uses", used(2));
    stage.server.kill();
    stage.server.up();
    stage.server.apply(&stage.manifest("third", &[SCRATCH]));
    stage.runs_from_a_template("third");
    let template = stage.one_template("three uses over a restart", used(3));
    assert!(stage.templates()[0].join("manifest.json").is_file());
    let shown = stage.server.anyvirt(&["timeline", "third"]).out;
    assert!(shown.contains("Started from a template"), "{shown}");

    // Deleted, it is gone from disk, and made anew for who requires it.
    let name = template["metadata"]["name"].as_str().expect("a name");
    stage.server.kubectl(&["delete", "wst", name]);
    let folder = stage.server.data_directory().join("templates/default");
    wait_for("no template on disk", PATIENCE, || {
        let left = files_below(&folder);
        left.is_empty().then_some(()).ok_or(format!("{left:?}"))
    });
    stage.server.apply(&stage.manifest("fourth", &[SCRATCH]));
    stage.runs_from_a_template("fourth");
}

#[test]
fn a_machine_that_may_boots_where_no_template_can_be_had_and_says_why() {
    let image = guests::small().expect("the small guest is made from Debian packages");
    let stage = Stage::of(&image, "small");
    let server = &stage.server;
    let manifest = |name: &str, mode: &str| {
        guests::small_vm(name, &stage.image).replace(
            "  template:\n    spec:\n",
            &format!(
                "  template:\n    metadata: {{annotations: {{anyvirt.io/warm-start: {mode}}}}}\n    spec:\n"
            ),
        )
    };
    server.apply(&manifest("may", "Auto"));
    let told = stage.warm_start("may");
    assert_eq!(
        (&told["status"], &told["reason"]),
        (&"False".into(), &"TemplateIsMade".into())
    );
    let refused = |it: &Value| it["status"]["phase"] == "Refused";
    let template = stage.one_template("a refused template", refused);
    assert_eq!(template["status"]["reason"], "NoHook", "{template}");
    server.apply(&manifest("must", "Require"));
    // The VMI fails, and another is made in its place: what was told of it stays.
    wait_for("an event that says why it does not start", PATIENCE, || {
        let events = server.kubectl(&["get", "events", "-o", "json"]);
        let events: Value = serde_json::from_str(&events).expect("JSON");
        let told = |it: &&Value| {
            let message = it["message"].as_str().unwrap_or_default();
            it["involvedObject"]["name"] == "must"
                && it["type"] == "Warning"
                && message.contains("none can be had")
        };
        match events["items"].as_array().into_iter().flatten().find(told) {
            Some(event) => Ok(event.clone()),
            None => Err(events.to_string()),
        }
    });
    assert_ne!(
        server.get("vm", "must", "default").expect("a VM")["status"]["ready"],
        true
    );
}

#[test]
fn what_one_gives_its_machine_is_in_no_template() {
    const SECRET: &str = "a-word-that-nobody-else-has-47-11";
    let stage = Stage::warm();
    let seed = format!("cloudInitNoCloud: {{userData: \"#cloud-config\\npassword: {SECRET}\\n\"}}");
    let manifest = stage.manifest("holder", &[SCRATCH, ("seed", &seed)]);
    stage.server.apply(&manifest);
    stage.runs_from_a_template("holder");
    let mut console = stage.shell("holder");
    // It has come: on the machine's own disk.
    let found = ask(
        &mut console,
        "for disk in /dev/vd?; do head -c 1048576 $disk | tr '\\000' '\\n' | grep -c that-nobody-else; done | sort -n | tail -1",
    );
    assert_eq!(found, "1", "the secret is on the machine's own disk");
    let templates = stage.templates();
    assert_eq!(templates.len(), 1);
    for file in files_below(&templates[0]) {
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&file).expect("a file"));
        assert_eq!(mode & 0o077, 0, "{}", file.display());
        let bytes = fs::read(&file).expect("a template's file");
        let found = bytes
            .windows(SECRET.len())
            .any(|window| window == SECRET.as_bytes());
        assert!(!found, "the secret is in {}", file.display());
    }
}

#[test]
fn fifty_machines_of_one_template_answer_and_share_nothing_that_is_their_own() {
    const MACHINES: usize = 50;
    let stage = Stage::warm();
    stage.server.kubectl(&[
        "patch",
        "-n",
        "kubevirt",
        "kubevirt/kubevirt",
        "--type=merge",
        "-p",
        r#"{"spec":{"configuration":{"emulatedProcessorsPerCore":40}}}"#,
    ]);
    stage.server.apply(&stage.manifest("first", &[SCRATCH]));
    stage.runs_from_a_template("first");
    let names: Vec<String> = (0..MACHINES).map(|number| format!("vm-{number}")).collect();
    let began = Instant::now();
    for name in &names {
        stage.client.create_vm(&stage.manifest(name, &[SCRATCH]));
    }
    std::thread::scope(|scope| {
        for name in &names {
            let stage = &stage;
            scope.spawn(move || stage.runs_from_a_template(name));
        }
    });
    println!(
        "{MACHINES} machines run after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    // Each writes what no other writes, all at once, and reads it again past its cache.
    let mut seen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let found: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = names
            .iter()
            .map(|name| {
                let stage = &stage;
                scope.spawn(move || {
                    let mut console = stage.shell(name);
                    let written = ask(&mut console, "dd if=/dev/urandom of=/tmp/sent bs=64k count=16 2>/dev/null; dd if=/tmp/sent of=/dev/vda bs=64k conv=fsync 2>/dev/null; md5sum < /tmp/sent");
                    (identity(&mut console), written, console)
                })
            })
            .collect();
        asked
            .into_iter()
            .map(|it| it.join().expect("it answers"))
            .collect()
    });
    println!(
        "{MACHINES} machines have answered after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    for (identity, written, mut console) in found {
        let read = ask(
            &mut console,
            "echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vda bs=64k count=16 2>/dev/null | md5sum",
        );
        assert_eq!(read, written, "{identity:?}");
        for (what, value) in identity.into_iter().chain([("disk", written)]) {
            assert!(
                seen.entry(what).or_default().insert(value.clone()),
                "{what} {value} twice"
            );
        }
    }
}

/// Does something to the template in a folder.
type Damage = fn(&Path);

/// What may happen to a template's files while nobody looks; more of it: the tests of `node` and `launcher`.
const DAMAGES: [(&str, Damage); 2] = [
    ("memory", |folder| change_one_byte(&folder.join("memory"))),
    ("scratch.qcow2", |folder| {
        fs::remove_file(folder.join("scratch.qcow2")).expect("the disk is removed");
    }),
];

/// Writes 4 MiB that no other machine writes, from two writers at once, and tells what the writers meant to write.
fn write_at_once(name: &str, seed: usize) -> String {
    // Each block has the machine's name, its place, and the writer's turn, so that a block of another one is seen as such.
    format!(
        "w() {{ i=$1; while [ $i -lt 1024 ]; do printf '{name} %d %d %1000s' $i {seed} $i | dd of=/dev/vda bs=4096 seek=$i conv=sync,notrunc 2>&-; i=$((i+16)); done; }}; \
         w $(({seed}%8)) & w $(({seed}%8+8)) & wait; sync"
    )
}

#[test]
fn clones_that_write_at_once_read_back_what_they_wrote_and_nothing_of_each_other() {
    let stage = Stage::warm();
    let names = ["one", "two", "three"];
    for name in names {
        stage.server.apply(&stage.manifest(name, &[SCRATCH]));
    }
    let mut consoles: Vec<_> = names
        .iter()
        .map(|name| {
            stage.runs_from_a_template(name);
            stage.shell(name)
        })
        .collect();
    // All are told, and only then anybody is waited for.
    for (number, (name, console)) in names.iter().zip(&mut consoles).enumerate() {
        console.send(&format!(
            "{}; echo wrote=$((6*7))\n",
            write_at_once(name, number)
        ));
    }
    for console in &mut consoles {
        console.expect("wrote=42", BOOT);
    }
    let mut sums = BTreeSet::new();
    for (number, (name, console)) in names.iter().zip(&mut consoles).enumerate() {
        ask(console, "echo 3 > /proc/sys/vm/drop_caches");
        let found = ask(
            console,
            "dd if=/dev/vda bs=4096 count=1024 2>&- | sha256sum",
        );
        assert_eq!(found, format!("{}  -", written(name, number)), "{name}");
        assert!(sums.insert(found), "{name} has what another one has");
    }
}

/// The checksum of what [`write_at_once`] has written on an empty disk.
fn written(name: &str, seed: usize) -> String {
    let mut disk = vec![0; 1024 * 4096];
    for first in [seed % 8, seed % 8 + 8] {
        for block in (first..1024).step_by(16) {
            let text = format!("{name} {block} {seed} {block:>1000}");
            disk[block * 4096..][..text.len()].copy_from_slice(text.as_bytes());
        }
    }
    let sum = sha2::Sha256::digest(&disk);
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As a disk that forgets would: the file is as long and as old as before.
fn change_one_byte(path: &Path) {
    let known = fs::metadata(path).expect("a file");
    let mut bytes = fs::read(path).expect("a file");
    let place = bytes.iter().rposition(|byte| *byte != 0);
    bytes[place.expect("something is in it")] ^= 0x10;
    // Written in place: a file of the same number.
    let file = File::options().write(true).open(path).expect("a file");
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).expect("written");
    let times = fs::FileTimes::new().set_modified(known.modified().expect("a time"));
    file.set_times(times).expect("the time is put back");
}

#[test]
fn a_damaged_template_is_noticed_by_name_and_the_machine_starts_without_it() {
    let mut stage = Stage::warm();
    stage.server.apply(&stage.manifest("first", &[SCRATCH]));
    stage.runs_from_a_template("first");
    let began = Instant::now();
    for (number, (file, damage)) in DAMAGES.into_iter().enumerate() {
        let folder = wait_for("a template", BOOT, || {
            let found = stage.templates().pop();
            found.ok_or_else(|| stage.server.anyvirt(&["image", "templates"]).out)
        });
        // Whoever holds it in memory needs its files no more: as after a restart of the machine.
        stage.server.kill();
        damage(&folder);
        stage.server.up();
        let name = format!("after-{number}");
        let manifest = stage.manifest(&name, &[SCRATCH]);
        let manifest = manifest.replace("warm-start: Require", "warm-start: Auto");
        stage.server.apply(&manifest);
        let condition = stage.warm_start(&name);
        assert_eq!(condition["status"], "False", "{file}: {condition}");
        // It boots as ever, and the file is named somewhere that a person looks.
        let mut console = Console::attach(&stage.server, &name);
        console.send("\n");
        console.expect("login:", BOOT);
        let log = stage.server.log();
        let told =
            |line: &str| line.contains("templates") && line.contains(&format!("file {file} "));
        assert!(log.lines().any(told), "{file}: {log}");
        // And the next one has another template.
        stage.server.kubectl(&["delete", "vm", &name]);
        println!("{file}: {:.1} s", began.elapsed().as_secs_f64());
    }
}

#[test]
fn a_server_that_is_killed_while_it_makes_a_template_leaves_nothing_and_makes_it_then() {
    let mut stage = Stage::warm();
    let folder = stage.server.data_directory().join("templates");
    stage.server.apply(&stage.manifest("one", &[SCRATCH]));
    // At steps of the making, as seen from outside; the last one is its end.
    let steps: [fn(&Stage) -> bool; 3] = [
        |stage| !qemu_of(&stage.server).is_empty(),
        |stage| {
            let files = files_below(&stage.server.data_directory().join("templates"));
            files.iter().any(|file| file.ends_with("serial.log"))
        },
        |stage| {
            let files = files_below(&stage.server.data_directory().join("templates"));
            files.iter().any(|file| file.ends_with("state"))
        },
    ];
    for (number, step) in steps.into_iter().enumerate() {
        wait_for("the step", BOOT, || {
            (step(&stage) || !stage.templates().is_empty())
                .then_some(())
                .ok_or_else(|| format!("step {number}: {:?}", files_below(&folder)))
        });
        stage.server.kill();
        stage.server.up();
    }
    stage.runs_from_a_template("one");
    wait_for("one QEMU and one template are left", PATIENCE, || {
        let (machines, templates) = (qemu_of(&stage.server), stage.templates());
        let building = folder.join(".builders");
        let left = files_below(&building);
        if machines.len() == 1 && templates.len() == 1 && left.is_empty() {
            Ok(())
        } else {
            Err(format!("{machines:?} {templates:?} {left:?}"))
        }
    });
    assert_eq!(identity(&mut stage.shell("one"))["hostname"], "one");
}

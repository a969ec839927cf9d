//! Guests that stand by for warm starts: machines adopt them, each as somebody of its own, and nothing of them stays where
//! they are not wanted, or die.

use acceptance::warm::{BOOT, SCRATCH, Stage, identity, qemu_of};
use acceptance::{PATIENCE, wait_for};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

/// The folders of guests that stand by.
fn folders(stage: &Stage) -> Vec<String> {
    let folder = stage.server.data_directory().join("templates/.standbys");
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The QEMUs of guests that stand by: they have files of theirs open. What was adopted has a machine's.
fn standing(stage: &Stage) -> Vec<u32> {
    let is_nobodys = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        let files = files.into_iter().flatten().filter_map(Result::ok);
        let mut links = files.filter_map(|file| fs::read_link(file.path()).ok());
        links.any(|link| link.to_string_lossy().contains("/.standbys/"))
    };
    let all = qemu_of(&stage.server);
    all.into_iter().filter(is_nobodys).collect()
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).expect("a pid");
    let pid = rustix::process::Pid::from_raw(pid).expect("a process");
    let killed = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    killed.expect("it was there");
}

/// Waits until as many stand by as are to.
fn stands_by(stage: &Stage, wanted: u32) -> Value {
    stage.one_template("guests that stand by", |it| {
        let standby = &it["status"]["standby"];
        standby["ready"] == wanted && standby["wanted"] == wanted
    })
}

fn nothing_stands_by(stage: &Stage) {
    wait_for("nothing stands by", BOOT, || {
        let left = (standing(stage), folders(stage));
        (left.0.is_empty() && left.1.is_empty())
            .then_some(())
            .ok_or_else(|| format!("{left:?}"))
    });
}

/// It runs, and goes on from a guest that had stood by.
fn has_adopted(stage: &Stage, name: &str) {
    let condition = stage.warm_start(name);
    assert_eq!(condition["status"], "True", "{name}: {condition}");
    let message = condition["message"].as_str().unwrap_or_default();
    assert!(message.contains("had stood by for"), "{name}: {message}");
}

#[test]
fn machines_adopt_guests_that_stand_by_and_nothing_of_those_stays() {
    let mut stage = Stage::warm();
    stage.stand_by(1);
    stage.server.apply(&stage.manifest("first", &[SCRATCH]));
    stage.runs_from_a_template("first");
    stands_by(&stage, 1);
    let mut seen: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for name in ["second", "third"] {
        let waiting = standing(&stage);
        assert_eq!(waiting.len(), 1, "{waiting:?}");
        stage.server.apply(&stage.manifest(name, &[SCRATCH]));
        has_adopted(&stage, name);
        let identity = identity(&mut stage.shell(name));
        assert_eq!(identity["hostname"], name);
        let vmi = stage.server.get("vmi", name, "default").expect("a VMI");
        let mac = &vmi["status"]["interfaces"][0]["mac"];
        assert_eq!(mac, &Value::from(identity["mac"].clone()));
        for (what, value) in identity {
            seen.entry(what).or_default().push(value);
        }
        // Another one takes its place.
        wait_for("another QEMU that stands by", BOOT, || {
            let now = standing(&stage);
            let others = now.iter().filter(|pid| !waiting.contains(pid)).count();
            (others == 1)
                .then_some(())
                .ok_or_else(|| format!("{now:?}"))
        });
        stands_by(&stage, 1);
    }
    for (what, values) in &seen {
        assert_ne!(values[0], values[1], "{what}");
    }
    let shown = stage.server.anyvirt(&["timeline", "third"]).out;
    assert!(shown.contains("Adopted"), "{shown}");
    let listed = stage.server.anyvirt(&["image", "templates"]).out;
    assert!(listed.contains("1/1"), "{listed}");

    // One that dies is noticed, and its folder goes; another one takes its place.
    let waiting = standing(&stage);
    let before = folders(&stage);
    kill(waiting[0]);
    wait_for(
        "another one instead of the one that was killed",
        BOOT,
        || {
            let now = (standing(&stage), folders(&stage));
            let is_new =
                now.0.len() == 1 && now.0 != waiting && now.1.len() == 1 && now.1 != before;
            is_new.then_some(()).ok_or_else(|| format!("{now:?}"))
        },
    );

    // A server that is killed leaves them; the next one ends them, and not the machines.
    stage.server.kill();
    assert_eq!(standing(&stage).len(), 1);
    stage.server.up();
    nothing_stands_by(&stage);
    stage.server.apply(&stage.manifest("fourth", &[SCRATCH]));
    stage.runs_from_a_template("fourth");
    stands_by(&stage, 1);
    stage.stand_by(0);
    nothing_stands_by(&stage);
    for name in ["first", "second", "third", "fourth"] {
        let vmi = stage.server.get("vmi", name, "default").expect("a VMI");
        assert_eq!(vmi["status"]["phase"], "Running", "{name}");
    }
    wait_for("as many QEMUs as machines", PATIENCE, || {
        let all = qemu_of(&stage.server);
        (all.len() == 4)
            .then_some(())
            .ok_or_else(|| format!("{all:?}"))
    });
}

/// A pool of machines as `manifest` has one, which says nothing of warm starts: the pool does.
fn pool(manifest: &str, replicas: u32) -> String {
    let (_, spec) = manifest.split_once("spec:\n").expect("a machine's spec");
    let machine: String = spec.lines().map(|line| format!("    {line}\n")).collect();
    let own = "metadata: {annotations: {anyvirt.io/warm-start: Require}}";
    assert!(machine.contains(own), "{machine}");
    let machine = machine.replace(own, "metadata: {labels: {pool: web}}");
    format!(
        "apiVersion: pool.kubevirt.io/v1beta1\nkind: VirtualMachinePool\n\
         metadata: {{name: web, annotations: {{anyvirt.io/warm-start: Auto}}}}\n\
         spec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{pool: web}}}}\n  virtualMachineTemplate:\n    \
         metadata: {{labels: {{pool: web}}}}\n    spec:\n{machine}"
    )
}

#[test]
fn a_pool_that_asks_for_warm_starts_grows_by_machines_from_a_template_each_somebody_of_its_own() {
    let stage = Stage::warm();
    let manifest = stage.manifest("web", &[SCRATCH]);
    stage.server.apply(&pool(&manifest, 1));
    // The first one boots, since there is nothing yet that it could go on from.
    let condition = stage.warm_start("web-0");
    assert_eq!(condition["reason"], "TemplateIsMade", "{condition}");
    stage.one_template("a template", |it| it["status"]["phase"] == "Ready");
    let scale = ["scale", "vmpool", "web", "--replicas", "3"];
    stage.server.kubectl(&scale);
    let mut seen: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for name in ["web-1", "web-2"] {
        stage.runs_from_a_template(name);
        let vmi = stage.server.get("vmi", name, "default").expect("a VMI");
        let decided = &vmi["metadata"]["annotations"]["anyvirt.io/warm-start-decided-by"];
        assert!(
            decided.as_str().is_some_and(|it| it.contains("web")),
            "{vmi}"
        );
        let identity = identity(&mut stage.shell(name));
        assert_eq!(identity["hostname"], name);
        for (what, value) in identity {
            seen.entry(what).or_default().push(value);
        }
    }
    for (what, values) in &seen {
        assert_ne!(values[0], values[1], "{what}");
    }
    wait_for("three machines that are ready", PATIENCE, || {
        let pool = stage.server.get("vmpool", "web", "default");
        let pool = pool.ok_or("no pool")?;
        (pool["status"]["readyReplicas"] == 3)
            .then_some(())
            .ok_or_else(|| pool["status"].to_string())
    });
    // One that is deleted is made again, from the template too.
    let first = stage.server.get("vmi", "web-0", "default").expect("a VMI");
    stage.server.kubectl(&["delete", "vm", "web-0"]);
    stage.runs_anew("web-0", &first);
    stage.runs_from_a_template("web-0");
    assert_eq!(identity(&mut stage.shell("web-0"))["hostname"], "web-0");
    stage.server.kubectl(&["delete", "vmpool", "web"]);
    wait_for("no machines of the pool", BOOT, || {
        let all = qemu_of(&stage.server);
        let left = stage.server.kubectl(&["get", "vm", "-o", "name"]);
        (all.is_empty() && left.is_empty())
            .then_some(())
            .ok_or_else(|| format!("{all:?} {left}"))
    });
}

//! Whatever is killed, or full, while a template is made or used: the machine starts, and nothing of the accident stays.

use acceptance::warm::{BOOT, SCRATCH, Stage, files_below, identity, qemu_of};
use acceptance::{Console, PATIENCE, processes_of, wait_for};
use std::fs;

/// Whose end is tried.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Qemu,
    Launcher,
    /// As soon as the machine's QEMU is there.
    Server,
}

/// The processes of the guests of which templates are made, or of all others.
fn processes(stage: &Stage, victim: Victim, of_builders: bool) -> Vec<u32> {
    let ours = match victim {
        Victim::Qemu | Victim::Server => qemu_of(&stage.server),
        Victim::Launcher => {
            let all = processes_of(&stage.server.data_directory());
            let launches = |pid: &u32| command_line(*pid).contains("\0launcher\0");
            all.into_iter().filter(launches).collect()
        }
    };
    // QEMU is told its guest's name, and a launcher its folder.
    let builds = |pid: &u32| {
        let line = command_line(*pid);
        line.contains("/.builders/") || line.contains("template-")
    };
    ours.into_iter()
        .filter(|pid| builds(pid) == of_builders)
        .collect()
}

fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let killed =
        rustix::process::kill_process(pid.expect("a process"), rustix::process::Signal::KILL);
    // It may have ended by itself just then.
    assert!(
        matches!(killed, Ok(()) | Err(rustix::io::Errno::SRCH)),
        "{killed:?}"
    );
}

/// Kills the first such process as soon as it is there.
fn kill_one(stage: &mut Stage, victim: Victim, of_builders: bool) {
    let pid = wait_for(&format!("{victim:?} to kill"), BOOT, || {
        let found = processes(stage, victim, of_builders);
        found.first().copied().ok_or_else(|| stage.server.log())
    });
    if victim == Victim::Server {
        stage.server.kill();
        stage.server.up();
    } else {
        kill(pid);
    }
}

#[test]
fn a_machine_starts_whatever_is_killed_while_its_template_is_made() {
    let mut stage = Stage::warm();
    for victim in [Victim::Qemu, Victim::Launcher] {
        let name = format!("{victim:?}").to_lowercase();
        let manifest = stage.manifest(&name, &[SCRATCH]);
        stage
            .server
            .apply(&manifest.replace("warm-start: Require", "warm-start: Auto"));
        kill_one(&mut stage, victim, true);
        let condition = stage.warm_start(&name);
        assert_eq!(condition["status"], "False", "{condition}");
        let mut console = Console::attach(&stage.server, &name);
        console.send("\n");
        console.expect("login:", BOOT);
        let failed = |it: &serde_json::Value| it["status"]["phase"] == "Failed";
        let template = stage.one_template("a failure that is told", failed);
        assert!(template["status"]["message"].is_string(), "{template}");
        let folder = stage.server.data_directory().join("templates");
        wait_for("nothing is left of the making", PATIENCE, || {
            let left = files_below(&folder);
            let left: Vec<_> = left
                .iter()
                .filter(|it| !it.ends_with("qemu-version.json"))
                .collect();
            let still = processes(&stage, Victim::Qemu, true);
            (left.is_empty() && still.is_empty())
                .then_some(())
                .ok_or(format!("{left:?} {still:?}"))
        });
        // Forgotten, it is made at the next start.
        let template = template["metadata"]["name"]
            .as_str()
            .expect("a name")
            .to_owned();
        stage.server.kubectl(&["delete", "vm", &name]);
        stage.server.kubectl(&["delete", "wst", &template]);
    }
    stage.server.apply(&stage.manifest("last", &[SCRATCH]));
    stage.runs_from_a_template("last");
}

#[test]
fn a_machine_starts_whatever_is_killed_while_it_goes_on_from_its_template() {
    let mut stage = Stage::warm();
    stage.server.apply(&stage.manifest("first", &[SCRATCH]));
    stage.runs_from_a_template("first");
    stage.server.kubectl(&["delete", "vm", "first"]);
    wait_for("the first machine is gone", PATIENCE, || {
        let left = qemu_of(&stage.server);
        left.is_empty().then_some(()).ok_or(format!("{left:?}"))
    });
    for victim in [Victim::Qemu, Victim::Launcher, Victim::Server] {
        let name = format!("{victim:?}").to_lowercase();
        stage.server.apply(&stage.manifest(&name, &[SCRATCH]));
        // At any step of its start, or just after it.
        kill_one(&mut stage, victim, false);
        // Its VM starts it again, if need be as another instance.
        let found = wait_for("it runs, and answers", BOOT, || {
            let vm = stage.server.get("vm", &name, "default").ok_or("no VM")?;
            let running = processes(&stage, Victim::Qemu, false);
            let ready = vm["status"]["ready"] == true && running.len() == 1;
            ready
                .then_some(running)
                .ok_or_else(|| vm["status"].to_string())
        });
        assert_eq!(identity(&mut stage.shell(&name))["hostname"], name);
        assert_eq!(processes(&stage, Victim::Qemu, false), found);
        stage.server.kubectl(&["delete", "vm", &name]);
        wait_for("nothing is left of it", PATIENCE, || {
            let left = processes(&stage, Victim::Qemu, false);
            let folders = fs::read_dir(stage.server.data_directory().join("machines"));
            let folders = folders.map_or(0, Iterator::count);
            (left.is_empty() && folders == 0)
                .then_some(())
                .ok_or(format!("{left:?} {folders}"))
        });
    }
}

//! Machines that are suspended and go on, with a real guest under emulation: it counts, and writes and reads back what it
//! counted, over the end of its QEMU, of the server and of the host.

use acceptance::warm::{SCRATCH, Stage, ask, files_below, qemu_of};
use acceptance::{Console, PATIENCE, Said, Server, processes_of, wait_for};
use laboratory::guests;
use laboratory::registry::Registry;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A guest is written down, or read, within this: CI shares two cores.
const SAVED: Duration = Duration::from_secs(120);
/// Rounds of suspend and resume.
const ROUNDS: usize = 5;
/// Counts ten times a second, writes each number to the disk, and reads it back.
const COUNT: [&str; 4] = [
    "echo 'i=0; while :; do i=$((i+1)); echo $i > /run/new; mv /run/new /run/count' > /run/c",
    "echo 'echo $i | dd of=/dev/vda bs=512 seek=$((i%64)) conv=sync,fsync 2>&-' >> /run/c",
    "echo 'r=$(dd if=/dev/vda bs=512 skip=$((i%64)) count=1 2>&- | head -n1)' >> /run/c",
    "echo '[ \"$r\" = $i ] || echo $i $r >> /run/wrong; sleep 0.1; done' >> /run/c",
];

/// A stage with a machine that boots, counts, and is ready to be suspended.
fn counting(annotations: &str) -> (Stage, Console) {
    let stage = Stage::warm();
    let manifest = stage.manifest("web", &[SCRATCH]);
    let mode = "anyvirt.io/warm-start: Require";
    assert!(manifest.contains(mode), "{manifest}");
    stage.client.create_vm(&manifest.replace(mode, annotations));
    stage
        .server
        .wait_until("vmi", "web", "/status/phase", "Running", SAVED);
    let mut console = Console::attach(&stage.server, "web");
    // One from a template has said that before.
    if annotations.contains("Never") {
        console.expect("login:", SAVED);
    }
    console.send("\n");
    console.expect("login:", PATIENCE);
    console.send("root\n");
    console.expect("# ", PATIENCE);
    for line in COUNT {
        ask(&mut console, line);
    }
    ask(&mut console, "sh /run/c & :");
    (stage, console)
}

fn count(console: &mut Console) -> u64 {
    wait_for("a count", PATIENCE, || {
        let said = ask(console, "cat /run/count");
        said.lines()
            .last()
            .unwrap_or_default()
            .trim()
            .parse()
            .map_err(|_| said)
    })
}

/// It counts on after `before`, and all that it has written it has read.
fn counts_on(stage: &Stage, before: u64) -> u64 {
    let mut console = Console::attach(&stage.server, "web");
    console.send("\n");
    let now = count(&mut console);
    assert!(
        now >= before,
        "{now} after {before}: it was not this guest that went on"
    );
    wait_for("that it counts on", PATIENCE, || {
        match count(&mut console) {
            later if later > now => Ok(()),
            later => Err(later.to_string()),
        }
    });
    assert_eq!(ask(&mut console, "cat /run/wrong 2>&-"), "");
    now
}

fn ok(said: &Said) {
    assert!(said.success, "{}{}", said.out, said.err);
}

fn vm(stage: &Stage) -> Value {
    stage
        .server
        .get("vm", "web", "default")
        .expect("it is there")
}

/// The folders of what is saved, and of what is being saved.
fn saved(stage: &Stage) -> Vec<PathBuf> {
    files_below(&stage.server.data_directory().join("saved"))
}

fn suspend(stage: &Stage) {
    let said = stage
        .server
        .anyvirt(&["suspend", "web", "--timeout", "120"]);
    ok(&said);
    assert!(
        said.out
            .contains("VM web is suspended: its guest was saved at"),
        "{}",
        said.out
    );
    let vm = vm(stage);
    assert_eq!(vm["status"]["printableStatus"], "Suspended");
    assert!(
        vm["status"]["suspension"]["diskBytes"].as_i64() > Some(1 << 20),
        "{vm}"
    );
    assert_eq!(stage.server.get("vmi", "web", "default"), None);
    wait_for("the end of its QEMU", PATIENCE, || {
        match qemu_of(&stage.server) {
            none if none.is_empty() => Ok(()),
            some => Err(format!("{some:?}")),
        }
    });
}

fn resume(stage: &Stage) {
    let said = stage.server.anyvirt(&["resume", "web", "--timeout", "120"]);
    ok(&said);
    assert!(said.out.contains("it goes on from"), "{}", said.out);
    wait_for("that nothing is saved any more", PATIENCE, || {
        match saved(stage) {
            none if none.is_empty() => Ok(()),
            some => Err(format!("{some:?}")),
        }
    });
    // It reads that its guest goes on in its instance, a moment after that was written there.
    wait_for("a VM that is suspended no more", PATIENCE, || {
        let suspension = &vm(stage)["status"]["suspension"];
        let forgotten = suspension.is_null().then_some(());
        forgotten.ok_or_else(|| suspension.to_string())
    });
}

#[test]
fn a_machine_goes_on_from_where_it_was_suspended_again_and_again_over_the_end_of_the_server() {
    let (mut stage, mut console) = counting("anyvirt.io/warm-start: Never");
    let mut before = count(&mut console);
    drop(console);
    for round in 0..ROUNDS {
        suspend(&stage);
        if round == 0 {
            refusals(&stage);
        }
        stage.server.kill();
        stage.server.up();
        assert_eq!(vm(&stage)["status"]["printableStatus"], "Suspended");
        resume(&stage);
        before = counts_on(&stage, before);
    }
    damage_is_named(&stage, before);

    // Thrown away: it boots.
    suspend(&stage);
    ok(&stage.server.anyvirt(&["resume", "web", "--discard"]));
    stage
        .server
        .wait_until("vmi", "web", "/status/phase", "Running", SAVED);
    wait_for("that what was saved goes", SAVED, || match saved(&stage) {
        none if none.is_empty() => Ok(()),
        some => Err(format!("{some:?}")),
    });
    let mut console = stage.shell("web");
    assert_eq!(ask(&mut console, "cat /run/count 2>&-"), "");

    // A machine that goes takes along what was saved of it.
    suspend(&stage);
    stage.server.kubectl(&["delete", "vm", "web"]);
    wait_for("that what was saved goes", SAVED, || match saved(&stage) {
        none if none.is_empty() => Ok(()),
        some => Err(format!("{some:?}")),
    });
}

/// Who is suspended is not stopped, and started by going on.
fn refusals(stage: &Stage) {
    for verb in ["stop", "restart"] {
        let said = stage.server.anyvirt(&[verb, "web"]);
        assert!(
            !said.success && said.err.contains("anyvirt resume web --discard"),
            "{verb}: {}",
            said.err
        );
    }
    assert_eq!(vm(stage)["status"]["printableStatus"], "Suspended");
}

/// What was saved is checked before it is used; whatever fails, it stays, and nothing boots.
fn damage_is_named(stage: &Stage, before: u64) {
    suspend(stage);
    let state = saved(stage)
        .into_iter()
        .find(|file| file.ends_with("state"));
    let state = state.expect("the guest's memory is there");
    let whole = fs::read(&state).expect("readable");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&state, &damaged).expect("writable");
    let said = stage.server.anyvirt(&["resume", "web", "--timeout", "60"]);
    assert!(
        !said.success && said.err.contains("state is damaged"),
        "{}{}",
        said.out,
        said.err
    );
    assert!(state.exists());
    assert_eq!(qemu_of(&stage.server), [0; 0]);
    fs::write(&state, &whole).expect("writable");
    // It tries again by itself, later each time.
    let resumed = wait_for("that it goes on", SAVED, || {
        let vmi = stage.server.get("vmi", "web", "default").ok_or("no VMI")?;
        match vmi["status"]["phase"].as_str() {
            Some("Running") => Ok(vmi),
            other => Err(format!("{other:?}")),
        }
    });
    assert!(resumed["metadata"]["annotations"]["anyvirt.io/resume-from"].is_string());
    counts_on(stage, before);
}

#[test]
fn a_machine_from_a_template_is_suspended_and_needs_the_template_no_more() {
    let (stage, mut console) = counting("anyvirt.io/warm-start: Require");
    let before = count(&mut console);
    drop(console);
    suspend(&stage);
    stage.server.kubectl(&["delete", "wst", "--all"]);
    wait_for("that the template goes", PATIENCE, || {
        match stage.templates() {
            none if none.is_empty() => Ok(()),
            some => Err(format!("{some:?}")),
        }
    });
    resume(&stage);
    counts_on(&stage, before);
}

#[test]
fn a_machine_outlives_its_host_and_a_qemu_that_is_killed_while_it_is_saved_leaves_nothing() {
    let (mut stage, mut console) =
        counting("anyvirt.io/warm-start: Never, anyvirt.io/on-host-shutdown: Suspend");
    let mut before = count(&mut console);
    drop(console);
    let uid =
        stage.server.get("vmi", "web", "default").expect("it runs")["metadata"]["uid"].clone();
    let mut told = String::new();
    for _ in 0..2 {
        // As at a host's shutdown: whoever is told to end ends, in any order.
        stage.server.kill();
        for pid in processes_of(&stage.server.data_directory()) {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if line.contains("launcher") && line.contains("--directory") {
                let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid"))
                    .expect("a pid");
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told");
            }
        }
        wait_for("the end of all", SAVED, || {
            match processes_of(&stage.server.data_directory()) {
                none if none.is_empty() => Ok(()),
                some => Err(format!("{some:?}")),
            }
        });
        stage.server.up();
        told = wait_for("that it goes on", SAVED, || {
            let vmi = stage.server.get("vmi", "web", "default").ok_or("no VMI")?;
            let conditions = vmi["status"]["conditions"].as_array().cloned();
            let mut conditions = conditions.unwrap_or_default().into_iter();
            let resumed = conditions.find(|it| it["type"] == "Resumed");
            let words = resumed.map(|it| it["message"].to_string());
            let words = words.ok_or_else(|| vmi["status"].to_string())?;
            // From another instant than the last time.
            let (instant, _) = words.split_once(';').ok_or("no instant")?;
            match told == instant {
                false => Ok(instant.to_owned()),
                true => Err(words),
            }
        });
        before = counts_on(&stage, before);
        let vmi = stage.server.get("vmi", "web", "default").expect("it runs");
        assert_eq!(vmi["metadata"]["uid"], uid, "the same VMI goes on");
    }

    ok(&stage.server.anyvirt(&["suspend", "web", "--no-wait"]));
    wait_for("that it is being saved", SAVED, || {
        let files = saved(&stage);
        if files.iter().any(|file| file.ends_with("state")) {
            Ok(())
        } else {
            Err(format!("{files:?}"))
        }
    });
    for pid in qemu_of(&stage.server) {
        let pid =
            rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
        // It may have ended well just now.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    let told = wait_for("how it ended", SAVED, || {
        let vm = vm(&stage);
        let conditions = vm["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let told = conditions.into_iter().find(|it| it["type"] == "Suspended");
        match told.as_ref().and_then(|it| it["reason"].as_str()) {
            Some(reason @ ("Saved" | "NothingSaved")) => Ok(reason.to_owned()),
            _ => Err(format!("{told:?}")),
        }
    });
    if told == "NothingSaved" {
        wait_for("that nothing is left", PATIENCE, || match saved(&stage) {
            none if none.is_empty() => Ok(()),
            some => Err(format!("{some:?}")),
        });
    }
    ok(&stage.server.anyvirt(&["resume", "web", "--timeout", "120"]));
    stage
        .server
        .wait_until("vmi", "web", "/status/phase", "Running", SAVED);
}

#[test]
fn debian_goes_on_with_its_processes_and_its_agent_tells_it_the_time() {
    let image = guests::debian().expect("the Debian guest is made from Debian packages");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let server = Server::start(&["--emulation", "on"]);
    let example = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/debian.yaml"
    ));
    server.apply(&example.expect("the example").replace(
        "localhost:5000/anyvirt/debian:12",
        &registry.reference("debian"),
    ));
    server.wait_until("vmi", "debian", "/status/phase", "Running", SAVED);
    let boot = Duration::from_secs(600);
    let mut console = Console::attach(&server, "debian");
    console.send("\n");
    console.expect("debian login:", boot);
    console.send("debian\n");
    console.expect("Password:", boot);
    console.send("anyvirt\n");
    console.expect("$ ", boot);
    let condition = |name: &str| {
        let vmi = server.get("vmi", "debian", "default")?;
        let conditions = vmi["status"]["conditions"].as_array()?;
        let found = conditions.iter().find(|it| it["type"] == name);
        found.cloned()
    };
    wait_for("the guest agent", boot, || {
        condition("AgentConnected").ok_or_else(|| "not yet".to_owned())
    });
    let shell = ask(&mut console, "echo $$");
    drop(console);

    let began = Instant::now();
    let said = server.anyvirt(&["suspend", "debian", "--timeout", "300"]);
    ok(&said);
    println!("{} ({:?})", said.out.trim(), began.elapsed());
    let began = Instant::now();
    let said = server.anyvirt(&["resume", "debian", "--timeout", "300"]);
    ok(&said);
    println!("{} ({:?})", said.out.trim(), began.elapsed());
    let told = wait_for("that its clock is set", SAVED, || {
        match condition("Resumed") {
            Some(told) if told["reason"] == "ClockSet" => Ok(told),
            other => Err(format!("{other:?}")),
        }
    });
    println!("{told}");
    let mut console = Console::attach(&server, "debian");
    console.send("\n");
    assert_eq!(
        ask(&mut console, "echo $$"),
        shell,
        "the same shell, logged in"
    );
    let before = jiff::Timestamp::now().as_second();
    let clock: i64 = ask(&mut console, "date +%s").parse().expect("seconds");
    let after = jiff::Timestamp::now().as_second();
    assert!(
        (before - 2..=after + 2).contains(&clock),
        "the guest's clock shows {clock}, it is {before} to {after}"
    );
}

//! Starts as a user watches them: the steps, and what earlier starts promise of the next one.

use std::time::Duration;

use serde_json::Value;

use crate::{Server, wait_for};

/// The steps that a guest on a talkative serial console tells of, in order.
pub const STEPS: [&str; 8] = [
    "requested",
    "scheduled",
    "image",
    "qemu",
    "firmware",
    "kernel",
    "user-space",
    "login",
];

/// The VMI's timeline once it is as wanted.
///
/// # Panics
/// If it is not within `patience`; `what` names it.
pub fn timeline(
    server: &Server,
    name: &str,
    what: &str,
    patience: Duration,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    wait_for(what, patience, || {
        let instance = server.get("vmi", name, "default").ok_or("no VMI")?;
        let timeline = &instance["status"]["startTimeline"];
        if wanted(timeline) {
            Ok(timeline.clone())
        } else {
            Err(timeline.to_string())
        }
    })
}

/// When a step of a timeline was reached.
pub fn reached<'a>(timeline: &'a Value, step: &str) -> Option<&'a str> {
    let steps = timeline["steps"].as_array()?;
    steps.iter().find(|it| it["name"] == step)?["at"].as_str()
}

/// Seconds since midnight.
fn seconds(time: &str) -> f64 {
    let clock = time.split('T').nth(1).expect("a time");
    let parts = clock.trim_end_matches('Z').split(':');
    let parts: Vec<f64> = parts.map(|it| it.parse().expect("a number")).collect();
    parts[0] * 3600.0 + parts[1] * 60.0 + parts[2]
}

/// From the request to the login.
fn login_after(timeline: &Value) -> f64 {
    let started = timeline["startedAt"].as_str().expect("a time");
    let login = reached(timeline, "login").expect("a login");
    (seconds(login) - seconds(started)).rem_euclid(86_400.0)
}

/// Sees a VM that was just created start three times, and stops it after each: every step is there, in order, in all the
/// places where it is shown; the third login falls into the range that the first two promised. What was learnt outlives
/// the server. `during` is called with each start's number, from 0, once that is done.
///
/// # Panics
/// If anything is not so.
#[expect(
    clippy::print_stdout,
    reason = "numbers for whoever reads a test's output"
)]
pub fn see_three_starts(
    server: &mut Server,
    name: &str,
    with_agent: bool,
    patience: Duration,
    mut during: impl FnMut(&Server, usize),
) {
    for round in 0..3 {
        let promised = (round > 0).then(|| start(server, name, round, patience));
        // Without an agent its step is never reached, and a start is done without it.
        let ended = timeline(server, name, "the last step", patience, |it| {
            reached(it, "login").is_some() && (!with_agent || reached(it, "agent").is_some())
        });
        let times: Vec<&str> = STEPS
            .iter()
            .map(|step| reached(&ended, step).unwrap_or_else(|| panic!("no {step} in {ended}")))
            .collect();
        assert!(times.is_sorted(), "{times:?}");
        assert_eq!(ended["progressPercent"], 100);
        assert_eq!(reached(&ended, "agent").is_some(), with_agent, "{ended}");
        let login = login_after(&ended);
        let estimate = &ended["estimate"];
        println!("start {round}: login after {login:.1} s, promised {promised:?}, then {estimate}");
        assert_eq!(estimate.is_null(), round == 0, "{estimate}");
        if let Some((low, high)) = promised.filter(|_| round == 2) {
            assert!((low..=high).contains(&login), "{login} in {low} to {high}");
            let last = |name: &str| estimate[name].as_f64().expect("a number");
            assert!(
                (last("lowSeconds")..=last("highSeconds")).contains(&login),
                "{login} in {estimate}"
            );
        }
        shown(server, name, &times);
        during(server, round);
        stop(server, name, patience);
        if round == 1 {
            server.kill();
            server.up();
        }
    }
}

/// Starts the VM, and waits for its login as a user does. Gives the range of seconds that was promised first.
fn start(server: &Server, name: &str, round: usize, patience: Duration) -> (f64, f64) {
    let limit = patience.as_secs().to_string();
    let said = server.anyvirt(&["start", name, "--wait", "--timeout", &limit]);
    assert!(said.success, "{}{}", said.out, said.err);
    for title in ["QEMU", "Firmware", "Kernel", "User space"] {
        assert!(said.out.contains(&format!("✓ {title}")), "{}", said.out);
    }
    // Who answers first ends the wait.
    let done = ["✓ Login", "✓ Agent"];
    assert!(done.iter().any(|it| said.out.contains(it)), "{}", said.out);
    let line = said
        .out
        .lines()
        .find(|it| it.contains("login expected after"));
    let line = line.unwrap_or_else(|| panic!("no estimate in {}", said.out));
    let words = if round == 1 {
        "(from 1 earlier start)"
    } else {
        "(from 2 earlier starts)"
    };
    assert!(line.ends_with(words), "{line}");
    let range = line.split_whitespace().nth(3).expect("a range");
    let (low, high) = range.split_once('-').expect("a range");
    (
        low.parse().expect("seconds"),
        high.parse().expect("seconds"),
    )
}

/// `anyvirt timeline` shows the same, for people and for programs.
#[expect(
    clippy::print_stdout,
    reason = "numbers for whoever reads a test's output"
)]
fn shown(server: &Server, name: &str, times: &[&str]) {
    let shown = server.anyvirt(&["timeline", name]);
    assert!(shown.success, "{}", shown.err);
    for title in [
        "Requested",
        "Image",
        "QEMU",
        "Kernel",
        "User space",
        "Login after",
    ] {
        assert!(shown.out.contains(title), "{}", shown.out);
    }
    println!("{}", shown.out);
    let json = server.anyvirt(&["timeline", name, "-o", "json"]);
    let json: Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(json["kind"], "StartTimeline");
    let in_json: Vec<_> = STEPS.iter().map(|step| reached(&json, step)).collect();
    let times: Vec<_> = times.iter().copied().map(Some).collect();
    assert_eq!(in_json, times);
}

fn stop(server: &Server, name: &str, patience: Duration) {
    let said = server.anyvirt(&["stop", name]);
    assert!(said.success, "{}", said.err);
    server.wait_until("vm", name, "/status/printableStatus", "Stopped", patience);
}

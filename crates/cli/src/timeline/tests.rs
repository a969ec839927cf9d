use std::time::Duration;

use api::virtual_machine_instance::VirtualMachineInstance;
use expect_test::expect;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use kube::runtime::watcher;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::progress::{Progress, moving};
use super::wait::{Goal, HOLDS_AFTER, Outage, UNPLACED_FOR, lost, outcome, unplaced};
use super::{remarks, table, timeline};
use crate::failure::Exit;

fn instance(timeline: &Value, more: &Value) -> VirtualMachineInstance {
    let mut object = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": { "name": "web", "uid": "u" },
        "spec": { "domain": { "devices": {} } },
        "status": { "phase": "Running", "accelerator": { "type": "TCG" }, "startTimeline": timeline },
    });
    for (key, value) in more.as_object().expect("an object") {
        object["status"][key] = value.clone();
    }
    serde_json::from_value(object).expect("a VMI")
}

fn started(reached: &[(&str, Option<&str>)]) -> Value {
    let steps: Vec<Value> = reached
        .iter()
        .map(|(name, at)| match at {
            Some(at) => json!({ "name": name, "at": format!("2026-11-22T10:00:{at}Z") }),
            None => json!({ "name": name }),
        })
        .collect();
    json!({ "startedAt": "2026-11-22T10:00:00Z", "progressPercent": 40, "steps": steps })
}

fn now(second: i64) -> Timestamp {
    let start: Timestamp = "2026-11-22T10:00:00Z".parse().expect("a time");
    start + jiff::SignedDuration::from_secs(second)
}

#[test]
fn a_finished_start_shows_times_bars_and_what_gave_no_signal() {
    let mut value = started(&[
        ("requested", Some("00.0")),
        ("scheduled", Some("00.0")),
        ("image", Some("01.5")),
        ("qemu", Some("02.0")),
        ("firmware", Some("02.1")),
        ("kernel", None),
        ("user-space", Some("07.0")),
        ("login", Some("12.0")),
        ("agent", None),
    ]);
    value["estimate"] = json!({ "lowSeconds": 8, "highSeconds": 20, "starts": 3, "basis": "from 3 earlier starts" });
    value["steps"][7]["usualSeconds"] = json!(11.4);
    let instance = instance(&value, &json!({}));
    let timeline = timeline(&instance).expect("there");
    expect![[r#"
        STEP         TIME        AFTER    TOOK    USUALLY AFTER
        Requested    10:00:00    0.0 s    0.0 s
        Scheduled    10:00:00    0.0 s    0.0 s
        Image        10:00:01    1.5 s    1.5 s                   ████
        QEMU         10:00:02    2.0 s    0.5 s                       █
        Firmware     10:00:02    2.1 s    0.1 s
        Kernel       no signal
        User space   10:00:07    7.0 s    4.9 s                        █████████████
        Login        10:00:12    12.0 s   5.0 s   11.4 s                            ████████████
        Agent        -
        Login after 12.0 s; expected after 8-20 s (from 3 earlier starts).
    "#]]
    .assert_eq(&table(timeline, now(13), &TimeZone::UTC));
}

#[test]
fn a_start_under_way_says_what_to_expect_and_what_is_wrong() {
    let mut value = started(&[
        ("requested", Some("00.0")),
        ("qemu", Some("02.0")),
        ("login", None),
    ]);
    let remarks = |value: &Value, second| {
        let instance = instance(value, &json!({}));
        remarks(timeline(&instance).expect("there"), now(second))
    };
    assert!(remarks(&value, 9)[0].starts_with("40 %; no estimate yet: "));
    value["estimate"] =
        json!({ "lowSeconds": 8, "highSeconds": 20, "starts": 1, "basis": "from 1 earlier start" });
    assert_eq!(
        remarks(&value, 9),
        ["40 % after 9 s; login expected after 8-20 s (from 1 earlier start)."]
    );
    assert!(remarks(&value, 21)[0].ends_with("later than expected."));
    value["stuck"] =
        json!({ "since": "2026-11-22T10:00:02Z", "message": "no guest progress for 90 s" });
    value["trouble"] =
        json!({ "reason": "KernelPanic", "message": "VFS", "at": "2026-11-22T10:00:02Z" });
    assert_eq!(
        remarks(&value, 9)[..2],
        ["! KernelPanic: VFS", "! stuck: no guest progress for 90 s"]
    );
    let instance = instance(&value, &json!({}));
    let timeline = timeline(&instance).expect("there");
    for (second, line) in [
        (5, "5 s, 40 %, login in 3-15 s (from 1 earlier start)"),
        (9, "9 s, 40 %, login within 11 s (from 1 earlier start)"),
        (20, "20 s, 40 %, later than expected"),
    ] {
        assert_eq!(moving(timeline, now(second)), line);
    }
}

#[test]
fn waiting_shows_each_step_once_and_ends_at_its_goal() {
    let mut shown = Progress::new(false);
    let short = started(&[
        ("requested", Some("00.0")),
        ("qemu", Some("02.0")),
        ("login", None),
    ]);
    let whole = started(&[
        ("requested", Some("00.0")),
        ("qemu", Some("02.0")),
        ("login", Some("09.5")),
    ]);
    let first = instance(&short, &json!({}));
    assert_eq!(
        shown.take(Some(&first)),
        [
            "✓ Requested       0.0 s\n",
            "✓ QEMU            2.0 s   TCG\n"
        ]
    );
    assert_eq!(shown.take(Some(&first)), [""; 0]);
    let end = |instance: &VirtualMachineInstance, goal, shown: &Progress| {
        outcome("web", Some(instance), goal, shown, Duration::ZERO)
    };
    assert_eq!(end(&first, Goal::Running, &shown), Some(Ok(Exit::Ok)));
    assert_eq!(end(&first, Goal::Login, &shown), None);
    let last = instance(&whole, &json!({}));
    assert_eq!(shown.take(Some(&last)), ["✓ Login           9.5 s\n"]);
    assert_eq!(end(&last, Goal::Login, &shown), Some(Ok(Exit::Ok)));
    assert_eq!(end(&last, Goal::Agent, &shown), None);
}

#[test]
fn an_agent_that_answered_and_is_gone_is_not_waited_for_with_success() {
    let timeline = started(&[("requested", Some("00.0")), ("agent", Some("09.0"))]);
    let mut shown = Progress::new(false);
    let running = instance(&timeline, &json!({}));
    shown.take(Some(&running));
    let end = |instance: &VirtualMachineInstance| {
        outcome("web", Some(instance), Goal::Agent, &shown, Duration::ZERO)
    };
    assert_eq!(end(&running), Some(Ok(Exit::Ok)));
    for phase in ["Failed", "Succeeded"] {
        let ended = end(&instance(&timeline, &json!({ "phase": phase })));
        let failure = ended.expect("an end").expect_err("a failure");
        assert_eq!(
            failure.message,
            format!("VM web ended before that: {phase}")
        );
    }
}

fn refused(code: u16) -> watcher::Error {
    let status = json!({ "status": "Failure", "message": "no", "reason": "R", "code": code });
    watcher::Error::WatchError(serde_json::from_value(status).expect("a Status"))
}

#[test]
fn a_watch_that_may_not_look_is_told_at_once_and_another_when_it_lasts() {
    let lost = |code, seconds| lost(refused(code), "S", Duration::from_secs(seconds));
    for code in [401, 403] {
        assert_eq!(lost(code, 0).map(|it| it.exit), Some(Exit::Forbidden));
    }
    assert_eq!(lost(500, 59), None);
    let gone = lost(500, 60).expect("a failure");
    assert_eq!(gone.exit, Exit::Unreachable);
    assert_eq!(gone.message, "the watch has failed for 60 s: no");
}

#[tokio::test(start_paused = true)]
async fn only_failures_without_a_pause_between_are_one_outage() {
    let mut outage = Outage::default();
    for seconds in [0, 11, 22] {
        assert_eq!(outage.failed(Instant::now()).as_secs(), seconds);
        tokio::time::advance(Duration::from_secs(11)).await;
    }
    assert!(outage.is_on(Instant::now()));
    // Silence: the watch held, and nothing changed.
    tokio::time::advance(HOLDS_AFTER).await;
    assert!(!outage.is_on(Instant::now()));
    assert_eq!(outage.failed(Instant::now()), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_when_nothing_more_can_come() {
    let short = started(&[("requested", Some("00.0")), ("login", None)]);
    let mut trouble = short.clone();
    trouble["trouble"] =
        json!({ "reason": "NoBootDisk", "message": "none", "at": "2026-11-22T10:00:02Z" });
    let nowhere = |message: &str| {
        json!({ "phase": "Scheduling", "conditions": [
        { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message }] })
    };
    for (instance, exit, words) in [
        (
            instance(&short, &json!({ "phase": "Failed", "reason": "Error" })),
            Exit::Failure,
            "VM web ended before that: Failed (Error)",
        ),
        (
            instance(&trouble, &json!({})),
            Exit::Failure,
            "VM web does not start (NoBootDisk): none",
        ),
        (
            instance(
                &short,
                &nowhere("0/1 nodes are available: 1 Insufficient devices.kubevirt.io/kvm."),
            ),
            Exit::Acceleration,
            "VM web cannot be scheduled: 0/1 nodes are available: 1 Insufficient devices.kubevirt.io/kvm.",
        ),
        (
            instance(&short, &nowhere("0/1 nodes")),
            Exit::Failure,
            "VM web cannot be scheduled: 0/1 nodes",
        ),
    ] {
        let mut shown = Progress::new(false);
        shown.take(Some(&instance));
        shown.instance = Some("u".to_owned());
        if unplaced(&instance).is_some() {
            // A node may just come back.
            let early = outcome("web", Some(&instance), Goal::Login, &shown, Duration::ZERO);
            assert_eq!(early, None);
            tokio::time::advance(UNPLACED_FOR).await;
        }
        let failure = outcome("web", Some(&instance), Goal::Login, &shown, Duration::ZERO)
            .expect("an end")
            .expect_err("a failure");
        assert_eq!((failure.exit, failure.message.as_str()), (exit, words));
    }
    // What is left of the start before is waited out, and so is the time until there is one.
    let mut shown = Progress::new(false);
    let old = instance(&short, &json!({ "phase": "Succeeded" }));
    assert_eq!(shown.take(Some(&old)), [""; 0]);
    assert_eq!(
        outcome("web", Some(&old), Goal::Login, &shown, Duration::ZERO),
        None
    );
    assert_eq!(
        outcome("web", None, Goal::Login, &shown, Duration::ZERO),
        None
    );
    shown.take(Some(&instance(&short, &json!({}))));
    let gone = outcome("web", None, Goal::Login, &shown, Duration::ZERO);
    assert!(gone.expect("an end").is_err());
}

//! Starts as they are seen, and what is shown of them.

use api::launcher::Milestone;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn at(seconds: f64) -> Timestamp {
    let micros = (seconds * 1e6).round();
    let base = Timestamp::from_second(1_000_000).expect("a time");
    base + jiff::SignedDuration::from_micros(micros as i64)
}

fn instance(more: &Value) -> VirtualMachineInstance {
    let mut base = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": { "name": "vm", "uid": "u", "creationTimestamp": at(0.0) },
        "spec": { "domain": { "devices": {} } },
        "status": { "phase": "Scheduled" },
    });
    if let Some(annotations) = more.as_object().filter(|it| !it.is_empty()) {
        base["metadata"]["annotations"] = json!(annotations);
    }
    serde_json::from_value(base).expect("a VMI")
}

fn pod() -> Pod {
    serde_json::from_value(json!({ "status": { "conditions": [
        { "type": "PodScheduled", "status": "True", "lastTransitionTime": at(1.0) }] } }))
    .expect("a pod")
}

/// A launcher whose guest reached these, each with the silence before it in seconds.
fn launcher(reached: &[(&str, f64, f64)]) -> Status {
    let milestone = |(name, seconds, silence): &(&str, f64, f64)| Milestone {
        name: (*name).to_owned(),
        at: at(*seconds),
        text: matches!(*name, "panic" | "emergency" | "no-boot-disk").then(|| "words".to_owned()),
        silence_milliseconds: Some((silence * 1000.0) as u64),
    };
    Status {
        state: State::Running,
        accelerator: Some(Accelerator::Tcg),
        milestones: reached.iter().map(milestone).collect(),
        last_sign: reached.last().map(|(_, seconds, _)| at(*seconds)),
        ..Status::default()
    }
}

fn past_start(uid: &str, factor: f64) -> PastStart {
    let times = [
        ("requested", 0.0),
        ("scheduled", 1.0),
        ("image", 2.0),
        ("qemu", 3.0),
        ("firmware", 3.2),
        ("kernel", 5.0),
        ("user-space", 20.0),
        ("login", 83.0),
    ];
    PastStart {
        uid: uid.to_owned(),
        started_at: at(-1000.0),
        steps: times
            .map(|(name, it)| (name.to_owned(), it * factor))
            .into(),
        silences: [("kernel".to_owned(), 30.0), ("user-space".to_owned(), 5.0)].into(),
    }
}

fn past(starts: &[f64]) -> Past {
    Past {
        same: starts
            .iter()
            .map(|factor| past_start(&factor.to_string(), *factor))
            .collect(),
        ..Past::default()
    }
}

/// One VMI that is looked at again and again.
struct Guest {
    instance: VirtualMachineInstance,
    past: Past,
    pod: Pod,
    facts: Vec<Fact>,
    writes: usize,
}

impl Guest {
    fn new(past: Past) -> Self {
        Self {
            instance: instance(&json!({})),
            past,
            pod: pod(),
            facts: Vec::new(),
            writes: 0,
        }
    }

    fn start<'a>(&'a self, launcher: Option<&'a Status>) -> Start<'a> {
        Start {
            instance: &self.instance,
            pod: &self.pod,
            images_at: Some(at(2.0)),
            queued_at: None,
            launcher,
            past: &self.past,
        }
    }

    /// Looks, writes as the API keeps it, and looks again: nothing must be left to write.
    fn look(&mut self, launcher: Option<&Status>, now: f64) -> StartTimeline {
        let (timeline, facts) = wanted(self.start(launcher), at(now));
        self.facts.extend(facts);
        let status = self.instance.status.get_or_insert_default();
        if status.start_timeline.as_ref() != Some(&timeline) {
            self.writes += 1;
        }
        let text = serde_json::to_string(&timeline).expect("JSON");
        status.start_timeline = Some(serde_json::from_str(&text).expect("read again"));
        let (again, facts) = wanted(self.start(launcher), at(now));
        assert_eq!(
            (&again, facts),
            (&timeline, vec![]),
            "looking twice changes nothing"
        );
        assert_eq!(status_of(&self.instance), &timeline, "kept as written");
        timeline
    }

    fn stuck_at(&self, launcher: &Status) -> Option<Timestamp> {
        stuck_at(self.start(Some(launcher)), status_of(&self.instance))
    }
}

fn status_of(instance: &VirtualMachineInstance) -> &StartTimeline {
    let status = instance.status.as_ref().expect("a status");
    status.start_timeline.as_ref().expect("a timeline")
}

/// Steps with their seconds since the request.
fn shown(timeline: &StartTimeline) -> Vec<(&str, Option<f64>)> {
    let seconds = |step: &StartStep| {
        let at = step.at.as_ref()?.0;
        Some(at.duration_since(timeline.started_at.0).as_secs_f64())
    };
    timeline
        .steps
        .iter()
        .map(|step| (step.name.as_str(), seconds(step)))
        .collect()
}

const WHOLE: [(&str, f64, f64); 7] = [
    ("qmp", 3.0, 0.0),
    ("running", 3.1, 0.0),
    ("firmware", 3.2, 0.0),
    ("kernel", 5.0, 0.0),
    ("user-space", 20.0, 15.0),
    ("login", 80.0, 5.0),
    ("agent", 81.5, 0.0),
];

#[test]
fn steps_are_shown_once_and_each_costs_one_write() {
    let mut guest = Guest::new(Past::default());
    let before = guest.look(None, 2.0);
    assert_eq!(
        shown(&before),
        [
            ("requested", Some(0.0)),
            ("scheduled", Some(1.0)),
            ("image", Some(2.0)),
            ("qemu", None),
            ("firmware", None),
            ("kernel", None),
            ("user-space", None),
            ("login", None),
            ("agent", None),
        ]
    );
    assert_eq!((before.progress_percent, before.estimate), (0, None));
    let mut percents = vec![];
    for count in 1..=WHOLE.len() {
        let launcher = launcher(&WHOLE[..count]);
        for later in 0..3 {
            percents.push(
                guest
                    .look(Some(&launcher), 100.0 + f64::from(later))
                    .progress_percent,
            );
        }
    }
    percents.dedup();
    assert_eq!(percents, [5, 10, 20, 50, 100]);
    // One for the steps before, one for each of the guest's but `running`.
    assert_eq!(guest.writes, 1 + WHOLE.len() - 1);
    assert_eq!(guest.facts, []);
    let ended = status_of(&guest.instance);
    assert_eq!(ended.reached(steps::AGENT), Some(at(81.5)));
    assert!(ended.is_done());
}

#[test]
fn a_step_without_a_sign_stays_without_a_time() {
    let mut guest = Guest::new(Past::default());
    let timeline = guest.look(
        Some(&launcher(&[("qmp", 3.0, 0.0), ("login", 9.0, 0.0)])),
        10.0,
    );
    for step in [
        steps::FIRMWARE,
        steps::KERNEL,
        steps::USER_SPACE,
        steps::AGENT,
    ] {
        assert_eq!(timeline.reached(step), None, "{step}");
    }
    assert_eq!(timeline.progress_percent, 100);
}

#[test]
fn clocks_that_differ_never_put_a_step_before_the_one_before_it() {
    let mut guest = Guest::new(Past::default());
    guest.pod =
        serde_json::from_value(json!({ "status": { "startTime": at(50.0) } })).expect("a pod");
    let timeline = guest.look(Some(&launcher(&WHOLE)), 90.0);
    let times: Vec<f64> = shown(&timeline).iter().filter_map(|(_, at)| *at).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn progress_follows_earlier_starts_and_ends_below_the_login() {
    let mut guest = Guest::new(past(&[1.0, 1.1, 0.9]));
    let mut percents = vec![];
    for count in [0, 1, 3, 4, 5, 6] {
        let launcher = launcher(&WHOLE[..count]);
        percents.push(guest.look(Some(&launcher), 81.0).progress_percent);
    }
    assert_eq!(percents, [2, 3, 3, 6, 24, 100]);
    let usual: Vec<_> = status_of(&guest.instance)
        .steps
        .iter()
        .map(|step| step.usual_seconds)
        .collect();
    let expected = [0.0, 1.0, 2.0, 3.0, 3.2, 5.0, 20.0, 83.0].map(Some);
    assert_eq!(usual, [&expected[..], &[None]].concat());

    let late = PastStart {
        steps: [("qemu".to_owned(), 99.0), ("login".to_owned(), 100.0)].into(),
        ..PastStart::default()
    };
    let mut guest = Guest::new(Past {
        same: vec![late],
        ..Past::default()
    });
    assert_eq!(
        guest
            .look(Some(&launcher(&WHOLE[..1])), 4.0)
            .progress_percent,
        95
    );
}

#[test]
fn the_estimate_says_where_it_comes_from() {
    let estimate = |past: Past, reached: usize| {
        let mut guest = Guest::new(past);
        let estimate = guest
            .look(Some(&launcher(&WHOLE[..reached])), 30.0)
            .estimate?;
        Some((
            estimate.low_seconds,
            estimate.high_seconds,
            estimate.basis,
            estimate.starts,
        ))
    };
    assert_eq!(estimate(Past::default(), 5), None);
    let words = |text: &str| text.to_owned();
    assert_eq!(
        estimate(past(&[1.0]), 1),
        Some((30, 234, words("from 1 earlier start"), 1))
    );
    assert_eq!(
        estimate(past(&[1.0, 1.1]), 1),
        Some((41, 187, words("from 2 earlier starts"), 2))
    );
    // The later the step, the less is unknown.
    assert_eq!(
        estimate(past(&[1.0, 1.1]), 5),
        Some((50, 165, words("from 2 earlier starts"), 2))
    );
    let kvm = |slowdown| Past {
        on_kvm: vec![past_start("k", 0.1), past_start("l", 0.1)],
        slowdown,
        ..Past::default()
    };
    assert_eq!(estimate(kvm(None), 5), None);
    assert_eq!(
        estimate(kvm(Some(7.8)), 4),
        Some((
            17,
            292,
            words("from 2 earlier starts with KVM, times this node's measured slowdown 7.8"),
            2
        ))
    );
    // Starts alike are worth more than those on KVM.
    let both = Past {
        same: past(&[1.0]).same,
        ..kvm(Some(7.8))
    };
    assert_eq!(
        estimate(both, 1).map(|it| it.2),
        Some(words("from 1 earlier start"))
    );
    // An agent without a login is an end too.
    let mut agent = past(&[1.0]);
    let login = agent.same[0].steps.remove("login").expect("there");
    agent.same[0].steps.insert("agent".to_owned(), login);
    assert_eq!(estimate(agent, 1).map(|it| it.0), Some(30));
}

#[test]
fn the_estimate_stays_as_it_was_told_when_the_login_comes() {
    let mut guest = Guest::new(past(&[1.0, 1.1]));
    let before = guest.look(Some(&launcher(&WHOLE[..5])), 30.0).estimate;
    let after = guest.look(Some(&launcher(&WHOLE)), 90.0).estimate;
    assert!(before.is_some());
    assert_eq!(before, after);
}

#[test]
fn a_guest_that_boots_again_for_want_of_ticks_tells_it_once() {
    let mut guest = Guest::new(Past::default());
    let mut reached = WHOLE[..4].to_vec();
    reached.push(("boots-again", 6.0, 0.0));
    for second in [7.0, 8.0] {
        let timeline = guest.look(Some(&launcher(&reached)), second);
        assert!(timeline.trouble.is_none());
        assert_eq!(timeline.reached(steps::BOOTS_AGAIN), Some(at(6.0)));
    }
    let told: Vec<_> = guest.facts.iter().map(|it| it.reason).collect();
    assert_eq!(told, ["GuestBootsAgain"]);
}

#[test]
fn trouble_is_told_once_and_forgotten_at_the_login() {
    let mut guest = Guest::new(Past::default());
    let mut reached = WHOLE[..4].to_vec();
    reached.push(("panic", 6.0, 0.0));
    let trouble = guest
        .look(Some(&launcher(&reached)), 7.0)
        .trouble
        .expect("told");
    assert_eq!(
        (trouble.reason.as_str(), trouble.message.as_str()),
        ("KernelPanic", "words")
    );
    guest.look(Some(&launcher(&reached)), 8.0);
    let told: Vec<_> = guest
        .facts
        .iter()
        .map(|it| (it.reason, it.message.as_str()))
        .collect();
    assert_eq!(
        told,
        [(
            "GuestStartFailed",
            "the guest does not start (KernelPanic): words"
        )]
    );
    // It started again by itself.
    reached.push(("login", 60.0, 0.0));
    assert_eq!(guest.look(Some(&launcher(&reached)), 61.0).trouble, None);
}

/// A launcher whose guest reached so many steps and last showed a sign at 30 s.
fn silent(reached: usize) -> Status {
    Status {
        last_sign: Some(at(30.0)),
        ..launcher(&WHOLE[..reached])
    }
}

/// Looks at a silent guest until it is stuck, and beyond: after `allowed` seconds, or never.
fn check_silence(
    name: &str,
    mut guest: Guest,
    launcher: &Status,
    (allowed, usual): (Option<f64>, Option<i64>),
) {
    assert_eq!(guest.look(Some(launcher), 30.0).stuck, None, "{name}");
    let due = guest.stuck_at(launcher);
    assert_eq!(due, allowed.map(|allowed| at(30.0 + allowed)), "{name}");
    let Some(allowed) = allowed else {
        let later = guest.look(Some(launcher), 100_000.0);
        assert_eq!(later.stuck, None, "{name}");
        return;
    };
    let before = guest.look(Some(launcher), 29.9 + allowed);
    assert_eq!(before.stuck, None, "{name}");
    let stuck = guest.look(Some(launcher), 30.0 + allowed).stuck;
    let stuck = stuck.expect(name);
    assert_eq!(
        (stuck.since.0, stuck.usual_seconds),
        (at(30.0), usual),
        "{name}"
    );
    let begin = format!("no guest progress for {allowed} s (");
    assert!(
        stuck.message.starts_with(&begin),
        "{name}: {}",
        stuck.message
    );
    // Told once, and not looked at again before something happens.
    let later = guest.look(Some(launcher), 40.0 + allowed);
    assert_eq!(later.stuck, Some(stuck), "{name}");
    assert_eq!(guest.stuck_at(launcher), None, "{name}");
    let reasons: Vec<_> = guest.facts.iter().map(|it| it.reason).collect();
    assert_eq!(reasons, ["GuestStuck"], "{name}");
    let goes_on = Status {
        last_sign: Some(at(50.0 + allowed)),
        ..launcher.clone()
    };
    let after = guest.look(Some(&goes_on), 51.0 + allowed);
    assert_eq!(after.stuck, None, "{name}");
    assert_eq!(guest.facts.len(), 1, "{name}");
}

#[test]
fn a_silent_guest_is_stuck_after_longer_than_usual_and_goes_on() {
    let slow = |factor| Past {
        slowdown: Some(factor),
        ..Past::default()
    };
    let none = Past::default;
    let kvm = Status {
        accelerator: Some(Accelerator::Kvm),
        ..silent(4)
    };
    for (name, past, launcher, expected) in [
        (
            "three times the longest",
            past(&[1.0, 1.2]),
            silent(4),
            (90.0, Some(30)),
        ),
        (
            "never less than a minute",
            past(&[1.0]),
            silent(5),
            (60.0, Some(5)),
        ),
        ("KVM without history", none(), kvm, (150.0, None)),
        (
            "emulated twice as slow",
            slow(2.0),
            silent(4),
            (300.0, None),
        ),
        ("much slower", slow(70.0), silent(4), (900.0, None)),
        ("not measured", none(), silent(4), (900.0, None)),
    ] {
        let (allowed, usual) = expected;
        check_silence(name, Guest::new(past), &launcher, (Some(allowed), usual));
    }
}

#[test]
fn a_setting_says_how_long_a_silence_may_be_and_what_is_no_start_is_never_stuck() {
    let set = |past| Guest {
        instance: instance(&json!({ "anyvirt.io/stuck-after-seconds": "12" })),
        ..Guest::new(past)
    };
    let none = Past::default;
    let unseen = Status {
        last_sign: None,
        ..silent(4)
    };
    let paused = Status {
        state: State::Paused,
        ..silent(4)
    };
    for (name, guest, launcher, expected) in [
        (
            "a setting",
            set(past(&[1.0])),
            silent(4),
            (Some(12.0), Some(30)),
        ),
        // It never wrote a word: it may be there, and idle.
        (
            "no serial console",
            Guest::new(none()),
            silent(3),
            (None, None),
        ),
        ("the same, set", set(none()), silent(3), (Some(12.0), None)),
        ("over", set(none()), silent(6), (None, None)),
        ("nobody looks", set(none()), unseen, (None, None)),
        ("paused", set(none()), paused, (None, None)),
    ] {
        check_silence(name, guest, &launcher, expected);
    }
}

#[test]
fn the_message_names_the_silence_and_what_is_usual() {
    let mut guest = Guest::new(past(&[1.0]));
    let launcher = Status {
        last_sign: Some(at(30.0)),
        ..launcher(&WHOLE[..4])
    };
    let stuck = guest.look(Some(&launcher), 125.0).stuck.expect("stuck");
    assert_eq!(
        stuck.message,
        "no guest progress for 95 s (usual 30 s at this step): after kernel it wrote nothing to its \
         serial console, used no disk and kept no processor busy"
    );
}

#[test]
fn a_guest_that_steps_down_starts_anew() {
    let mut guest = Guest::new(past(&[1.0]));
    guest.look(Some(&launcher(&WHOLE[..4])), 10.0);
    let mut again = WHOLE[..4].to_vec();
    again.push(("stepped-down", 15.0, 0.0));
    assert_eq!(
        guest.look(Some(&launcher(&again)), 15.0).progress_percent,
        6
    );
    again.push(("qmp", 16.0, 0.0));
    again.push(("firmware", 16.5, 0.0));
    let timeline = guest.look(Some(&launcher(&again)), 17.0);
    assert_eq!(timeline.reached(steps::QEMU), Some(at(16.0)));
    assert_eq!(timeline.reached(steps::FIRMWARE), Some(at(16.5)));
    assert_eq!(timeline.reached(steps::KERNEL), None);
    assert!(timeline.progress_percent < 6);
}

#[test]
fn only_undisturbed_starts_that_came_to_their_end_are_remembered() {
    let remembered = |reached: &[(&str, f64, f64)]| {
        let mut guest = Guest::new(Past::default());
        let launcher = launcher(reached);
        guest.look(Some(&launcher), 90.0);
        to_remember(&guest.instance, &launcher)
    };
    let whole = remembered(&WHOLE).expect("good");
    assert_eq!((whole.uid.as_str(), whole.started_at), ("u", at(0.0)));
    assert_eq!(whole.steps["login"], 80.0);
    assert_eq!(whole.steps["agent"], 81.5);
    assert_eq!(whole.silences["kernel"], 15.0);
    assert_eq!(whole.silences["user-space"], 5.0);
    assert_eq!(remembered(&WHOLE[..5]), None, "no login yet");
    for disturbance in ["paused", "stepped-down"] {
        let mut reached = vec![(disturbance, 2.0, 0.0)];
        reached.extend(WHOLE);
        assert_eq!(remembered(&reached), None, "{disturbance}");
    }
    let mut agent_only = WHOLE[..5].to_vec();
    agent_only.push(WHOLE[6]);
    assert!(remembered(&agent_only).is_some());
}

mod kept {
    use super::super::history::{History, Key};
    use super::*;

    fn key(image: &str) -> Key {
        Key {
            image: vec![image.to_owned()],
            architecture: String::new(),
            processors: 1,
            firmware: "bios".to_owned(),
            accelerator: Accelerator::Tcg,
        }
    }

    fn started(uid: u32, seconds: f64) -> PastStart {
        PastStart {
            uid: uid.to_string(),
            started_at: at(seconds),
            ..PastStart::default()
        }
    }

    fn uids(history: &History, key: &Key) -> Vec<String> {
        history
            .starts(key)
            .into_iter()
            .map(|start| start.uid)
            .collect()
    }

    #[test]
    fn the_last_twenty_are_kept_in_their_order_each_once_over_restarts() {
        let directory = tempfile::tempdir().expect("a directory");
        let history = History::of(directory.path());
        assert_eq!(uids(&history, &key("a")), [""; 0]);
        for number in (0..30).rev() {
            history
                .add(&key("a"), started(number, f64::from(number)))
                .expect("kept");
        }
        let wanted: Vec<String> = (10..30).map(|it: u32| it.to_string()).collect();
        assert_eq!(uids(&history, &key("a")), wanted);
        // Known more of, or adopted again after long: never twice, never new.
        let more = PastStart {
            steps: [("agent".to_owned(), 7.0)].into(),
            ..started(15, 15.0)
        };
        history.add(&key("a"), more.clone()).expect("kept");
        history.add(&key("a"), started(3, 3.0)).expect("left out");
        let again = History::of(directory.path());
        assert_eq!(uids(&again, &key("a")), wanted);
        assert!(again.starts(&key("a")).contains(&more));
        assert_eq!(uids(&again, &key("b")), [""; 0]);
        assert_eq!(uids(&again, &key("a").with(Accelerator::Kvm)), [""; 0]);
    }

    #[test]
    fn a_damaged_or_foreign_file_costs_an_estimate_and_is_written_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        let history = History::of(directory.path());
        history.add(&key("a"), started(1, 1.0)).expect("kept");
        let folder = directory.path().join("start-history");
        let file = std::fs::read_dir(&folder)
            .expect("there")
            .next()
            .expect("one")
            .expect("read");
        let whole = std::fs::read_to_string(file.path()).expect("text");
        for damage in [
            "",
            "{",
            &whole[..whole.len() / 2],
            &whole.replace("\"a\"", "\"b\""),
        ] {
            std::fs::write(file.path(), damage).expect("written");
            assert_eq!(uids(&history, &key("a")), [""; 0], "{damage}");
            history.add(&key("a"), started(2, 2.0)).expect("kept");
            assert_eq!(uids(&history, &key("a")), ["2"], "{damage}");
        }
        // What a crash in the middle of a write leaves behind is in nobody's way.
        std::fs::write(file.path().with_extension("json.new"), "{").expect("written");
        assert_eq!(uids(&History::of(directory.path()), &key("a")), ["2"]);
    }

    #[test]
    fn keys_are_bounded() {
        let directory = tempfile::tempdir().expect("a directory");
        let history = History::of(directory.path());
        for number in 0..300 {
            history
                .add(&key(&number.to_string()), started(1, 1.0))
                .expect("kept");
        }
        let files = std::fs::read_dir(directory.path().join("start-history")).expect("there");
        assert_eq!(files.count(), 256);
        assert_eq!(uids(&history, &key("299")), ["1"]);
    }
}

proptest! {
    #[test]
    fn progress_never_falls_and_no_order_of_news_panics(
        looks in proptest::collection::vec((0_usize..8, 0.0_f64..200.0, any::<bool>()), 1..20),
        factors in proptest::collection::vec(0.1_f64..10.0, 0..4),
    ) {
        let mut guest = Guest::new(past(&factors));
        let mut percent = 0;
        for (reached, now, paused) in looks {
            let mut launcher = launcher(&WHOLE[..reached.min(WHOLE.len())]);
            if paused {
                launcher.state = State::Paused;
            }
            let timeline = guest.look(Some(&launcher), now);
            prop_assert!(timeline.progress_percent >= percent);
            prop_assert!(timeline.is_done() || timeline.progress_percent <= 95);
            percent = timeline.progress_percent;
            if let Some(estimate) = timeline.estimate {
                prop_assert!(0 <= estimate.low_seconds && estimate.low_seconds < estimate.high_seconds);
            }
        }
    }
}

fn of<'a>(
    instance: &'a VirtualMachineInstance,
    launcher: &'a Status,
    past: &'a Past,
    pod: &'a Pod,
) -> Start<'a> {
    Start {
        instance,
        pod,
        images_at: None,
        queued_at: None,
        launcher: Some(launcher),
        past,
    }
}

#[test]
fn a_warm_start_shows_its_own_steps_is_done_once_renewed_and_spoils_no_statistics() {
    let warm = launcher(&[
        ("qmp", 2.1, 0.0),
        ("restored", 2.2, 0.0),
        ("running", 2.2, 0.0),
        ("renewed", 2.3, 0.0),
    ]);
    let (none, pod) = (Past::default(), pod());
    let mut seen = instance(&json!({}));
    let (timeline, facts) = wanted(of(&seen, &warm, &none, &pod), at(3.0));
    let names: Vec<_> = timeline.steps.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "requested",
            "scheduled",
            "qemu",
            "restored",
            "renewed",
            "login",
            "agent"
        ]
    );
    assert!(timeline.is_done() && facts.is_empty());
    assert_eq!(timeline.progress_percent, 100);
    seen.status.get_or_insert_default().start_timeline = Some(timeline.clone());
    assert_eq!(stuck_at(of(&seen, &warm, &none, &pod), &timeline), None);
    assert_eq!(to_remember(&seen, &warm), None);
}

#[test]
fn a_guest_that_boots_instead_says_so_and_starts_its_steps_anew() {
    let (none, pod) = (Past::default(), pod());
    let mut seen = instance(&json!({}));
    let tried = launcher(&[("qmp", 2.1, 0.0), ("restored", 2.2, 0.0)]);
    let (timeline, _) = wanted(of(&seen, &tried, &none, &pod), at(3.0));
    assert!(!timeline.is_done());
    seen.status.get_or_insert_default().start_timeline = Some(timeline);
    let instead = launcher(&[
        ("qmp", 2.1, 0.0),
        ("restored", 2.2, 0.0),
        ("boots-instead", 4.0, 0.0),
        ("qmp", 4.1, 0.0),
        ("kernel", 6.0, 0.0),
        ("login", 9.0, 0.0),
    ]);
    let (timeline, _) = wanted(of(&seen, &instead, &none, &pod), at(10.0));
    let time = |name| timeline.reached(name);
    assert_eq!(time("boots-instead"), Some(at(4.0)));
    assert_eq!(time("qemu"), Some(at(4.1)));
    assert_eq!(time("restored"), None);
    assert_eq!(time("login"), Some(at(9.0)));
    seen.status.get_or_insert_default().start_timeline = Some(timeline);
    assert_eq!(to_remember(&seen, &instead), None);
}

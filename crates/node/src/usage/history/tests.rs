use super::*;
use api::usage::{ProcessUsage, Run};
use proptest::prelude::*;

const MINUTE: Duration = Duration::from_secs(60);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn identity(name: &str) -> Identity {
    Identity {
        namespace: "demo".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        pod_name: format!("virt-launcher-{name}"),
        pod_uid: "p".to_owned(),
        qemu_program: None,
        grace_period_seconds: 30,
    }
}

/// A guest that since second 0 used half a processor in QEMU and a tenth beside it, read 1000 bytes by two reads and
/// sent 100 each second.
fn usage(second: u64) -> Usage {
    let process = |percent: u64, resident_bytes| ProcessUsage {
        user_nanoseconds: second * percent * 10_000_000,
        system_nanoseconds: 0,
        resident_bytes,
    };
    let disk = DiskUsage {
        reads: 2 * second,
        read_bytes: 1000 * second,
        ..DiskUsage::default()
    };
    let interface = InterfaceUsage {
        sent_bytes: 100 * second,
        ..InterfaceUsage::default()
    };
    Usage {
        run: Run {
            pid: 7,
            start_time: 1,
        },
        at_nanoseconds: second * 1_000_000_000,
        qemu: process(50, 1 << 20),
        helpers: process(10, 1 << 10),
        disks: Some(
            [
                ("root".to_owned(), disk),
                ("data".to_owned(), DiskUsage::default()),
            ]
            .into(),
        ),
        interfaces: [("default".to_owned(), interface)].into(),
    }
}

fn now(histories: &Histories, second: u64) -> MachineValues {
    let machine = histories.machine("demo", "a", Some("uid-a"), MINUTE, seconds(second));
    machine.expect("known").latest.expect("fresh")
}

const MEMORY: Option<f32> = Some(1_049_600.0);

#[test]
fn two_samples_make_what_is_used_in_between() {
    let mut histories = Histories::new();
    histories.take(&identity("a"), usage(100));
    assert_eq!(
        now(&histories, 100),
        [None, MEMORY, None, None, None, None, None, None]
    );
    histories.take(&identity("a"), usage(105));
    let values = [
        Some(0.6),
        MEMORY,
        Some(1000.0),
        Some(0.0),
        Some(2.0),
        Some(0.0),
        Some(0.0),
        Some(100.0),
    ];
    assert_eq!(now(&histories, 106), values);
    let series = histories
        .machine("demo", "a", Some("uid-a"), MINUTE, seconds(106))
        .expect("known");
    assert_eq!(series.step, seconds(5));
    // From the step that began at second 50 to the one under way at 106.
    assert_eq!((series.began, series.values.len()), (seconds(56), 12));
    let known: Vec<_> = series
        .values
        .iter()
        .enumerate()
        .filter(|(_, it)| it[0].is_some())
        .collect();
    assert_eq!(known, [(10, &values)]);
    let latest = histories.latest(seconds(106));
    assert_eq!(
        (latest[0].window, latest[0].age),
        (Some(seconds(5)), seconds(1))
    );
    assert_eq!(
        histories.machine("demo", "b", Some("uid-b"), MINUTE, seconds(106)),
        None
    );
    // Another instance of the name is not what was sampled, but goes on in its history.
    for other in [None, Some("uid-of-another")] {
        let known = histories.machine("demo", "a", other, MINUTE, seconds(106));
        let known = known.expect("known");
        assert_eq!((known.latest, &known.values), (None, &series.values));
    }
    assert_eq!(
        histories.machine("other", "a", Some("uid-a"), MINUTE, seconds(106)),
        None
    );
}

#[test]
fn what_cannot_be_counted_is_absent_and_never_zero() {
    let without = |second| Usage {
        disks: None,
        interfaces: BTreeMap::new(),
        ..usage(second)
    };
    let mut histories = Histories::new();
    histories.take(&identity("a"), without(100));
    histories.take(&identity("a"), without(105));
    let known = [Some(0.6), MEMORY, None, None, None, None, None, None];
    assert_eq!(now(&histories, 105), known);
    // A QEMU that answers again is known again from its second answer on.
    histories.take(&identity("a"), usage(110));
    assert_eq!(now(&histories, 110), known);
    histories.take(&identity("a"), usage(115));
    assert_eq!(now(&histories, 115)[2], Some(1000.0));
}

#[test]
fn a_guest_that_starts_again_goes_on_in_its_history_without_a_leap() {
    let mut histories = Histories::new();
    for second in [100, 105, 110] {
        histories.take(&identity("a"), usage(second));
    }
    for second in [115, 120] {
        let again = Usage {
            run: Run {
                pid: 8,
                start_time: 2,
            },
            at_nanoseconds: second * 1_000_000_000,
            // It counts from its own start.
            ..usage(second - 112)
        };
        histories.take(&identity("a"), again);
    }
    let series = histories
        .machine("demo", "a", Some("uid-a"), MINUTE, seconds(121))
        .expect("known");
    let processor: Vec<_> = series.values.iter().map(|it| it[0]).collect();
    let expected = [
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        Some(0.6),
        Some(0.6),
        None,
        Some(0.6),
        None,
    ];
    assert_eq!(processor[processor.len() - 12..], expected, "{series:?}");
}

#[test]
fn samples_that_did_not_come_leave_a_gap_and_old_ones_are_no_answer() {
    let mut histories = Histories::new();
    for second in [100, 105, 200, 205] {
        histories.take(&identity("a"), usage(second));
    }
    let series = histories
        .machine("demo", "a", Some("uid-a"), seconds(120), seconds(209))
        .expect("known");
    let known = series.values.iter().filter(|it| it[0].is_some()).count();
    assert_eq!(known, 2, "{series:?}");
    let later = histories
        .machine("demo", "a", Some("uid-a"), MINUTE, seconds(221))
        .expect("known");
    assert_eq!(later.latest, None);
    assert_eq!(histories.latest(seconds(221)), []);
    histories.forget_old(seconds(205 + 24 * 3600));
    assert!(
        histories
            .machine("demo", "a", Some("uid-a"), MINUTE, seconds(221))
            .is_some()
    );
    histories.forget_old(seconds(206 + 24 * 3600));
    assert!(
        histories
            .machine("demo", "a", Some("uid-a"), MINUTE, seconds(221))
            .is_none()
    );
}

#[test]
fn so_many_machines_are_remembered_and_one_that_runs_is_not_forgotten_for_another() {
    let mut histories = Histories::new();
    let name = |index: usize| identity(&format!("vm-{index}"));
    for index in 0..MOST_MACHINES {
        histories.take(&name(index), usage(if index == 3 { 90 } else { 100 }));
    }
    histories.take(&identity("one-more"), usage(101));
    assert_eq!(histories.machines.len(), MOST_MACHINES);
    assert!(
        histories
            .machine(
                "demo",
                "one-more",
                Some("uid-one-more"),
                MINUTE,
                seconds(101)
            )
            .is_none()
    );
    histories.take(&identity("one-more"), usage(121));
    assert_eq!(histories.machines.len(), MOST_MACHINES);
    assert!(
        histories
            .machine(
                "demo",
                "one-more",
                Some("uid-one-more"),
                MINUTE,
                seconds(121)
            )
            .is_some()
    );
    assert!(
        histories
            .machine("demo", "vm-3", Some("uid-vm-3"), MINUTE, seconds(121))
            .is_none()
    );
}

#[test]
fn a_machines_day_takes_the_memory_that_is_said() {
    let bytes = Ring::<{ MACHINE_SERIES.len() }>::new().bytes();
    assert!(
        bytes <= MACHINE_BYTES && bytes > MACHINE_BYTES * 9 / 10,
        "{bytes}"
    );
}

#[test]
fn the_host_is_known_by_the_same_rules() {
    let sample = |second: u64| HostSample {
        at: seconds(second),
        load: Load {
            busy: Duration::from_millis(1500 * second),
            processors: 4,
            memory_bytes: 1000,
            available_bytes: 250,
            waiting: 2.5,
        },
        disk: (second < 110).then_some((70, 30)),
    };
    let mut histories = Histories::new();
    assert_eq!(histories.host(MINUTE, seconds(100)).1, None);
    histories.take_host(sample(100));
    let (series, _) = histories.host(MINUTE, seconds(100));
    assert_eq!(
        series.latest,
        Some([None, Some(750.0), Some(70.0), Some(2.5)])
    );
    let window = |histories: &Histories, second| {
        let latest = histories.host_latest(seconds(second));
        latest.map(|latest| (latest.window, latest.age))
    };
    assert_eq!(window(&histories, 100), Some((None, seconds(0))));
    histories.take_host(sample(105));
    assert_eq!(
        window(&histories, 106),
        Some((Some(seconds(5)), seconds(1)))
    );
    let (series, capacity) = histories.host(MINUTE, seconds(106));
    assert_eq!(
        series.latest,
        Some([Some(1.5), Some(750.0), Some(70.0), Some(2.5)])
    );
    let made_of = Capacity {
        processors: 4,
        memory_bytes: 1000,
        disk_bytes: Some(100),
    };
    assert_eq!(capacity, Some(made_of));
    histories.take_host(sample(110));
    let (series, capacity) = histories.host(MINUTE, seconds(110));
    assert_eq!(series.latest.expect("fresh")[2], None);
    assert_eq!(capacity.expect("fresh").disk_bytes, None);
    assert_eq!(histories.host(MINUTE, seconds(126)).1, None);
    assert_eq!(window(&histories, 126), None);
    // A look that came late was over a longer time.
    histories.take_host(sample(137));
    assert_eq!(
        window(&histories, 150),
        Some((Some(seconds(27)), seconds(13)))
    );
    histories.take_host(sample(168));
    assert_eq!(window(&histories, 168), Some((None, seconds(0))));
}

proptest! {
    /// However counters and times go: they may stand still, go back, leap, or come from another QEMU.
    #[test]
    fn nothing_is_used_less_than_not_at_all_or_more_than_was_counted(
        samples in prop::collection::vec((0..3000_u64, 0..3000_u64, 0..3_u32, any::<bool>()), 1..60),
    ) {
        let mut histories = Histories::new();
        for (at, counted, pid, has_disks) in samples {
            let mut sample = usage(counted);
            sample.run.pid = pid;
            sample.at_nanoseconds = at * 100_000_000;
            if !has_disks {
                sample.disks = None;
            }
            histories.take(&identity("a"), sample);
            let second = at / 10 + 1;
            let Some(series) = histories.machine("demo", "a", Some("uid-a"), MINUTE, seconds(second)) else { continue };
            for values in series.values.iter().chain(&series.latest) {
                for value in values.iter().flatten() {
                    prop_assert!(value.is_finite() && *value >= 0.0, "{:?}", values);
                }
                // The most that was counted, within the shortest time between samples.
                prop_assert!(values[0].is_none_or(|value| value <= 0.6 * 3000.0 / 0.1), "{:?}", values);
            }
        }
    }
}

use super::*;
use proptest::prelude::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn day() -> Duration {
    seconds(24 * 3600)
}

/// One value that held for so long, sample by sample.
fn held(ring: &mut Ring<1>, from: u64, to: u64, value: f32) {
    for at in (from..to).step_by(5) {
        ring.take(seconds(at), seconds(at + 5), &[Some(value)]);
    }
}

#[test]
fn the_last_minutes_are_fine_and_the_day_is_coarse() {
    let mut ring = Ring::<1>::new();
    held(&mut ring, 0, 24 * 3600, 2.0);
    for (span, step, count) in [
        (seconds(300), 5, 60),
        (seconds(900), 5, 180),
        (seconds(901), 60, 16),
        (seconds(3600), 60, 60),
        (seconds(6 * 3600), 60, 360),
        (day(), 300, 288),
        (day() * 7, 300, 288),
    ] {
        let points = ring.points(span, day() - seconds(1));
        assert_eq!(points.step, seconds(step), "{span:?}");
        assert_eq!(points.values, vec![[Some(2.0)]; count], "{span:?}");
    }
}

#[test]
fn a_step_holds_the_average_of_what_is_known_of_it() {
    let mut ring = Ring::<2>::new();
    ring.take(seconds(1), seconds(2), &[Some(1.0), None]);
    ring.take(seconds(2), seconds(4), &[Some(4.0), Some(8.0)]);
    // A sample that reaches into two steps counts in both.
    ring.take(seconds(4), seconds(9), &[Some(6.0), None]);
    let points = ring.points(seconds(10), seconds(9));
    assert_eq!(points.begin, seconds(0));
    assert_eq!(points.values, [[Some(3.75), Some(8.0)], [Some(6.0), None]]);
}

#[test]
fn what_nobody_saw_has_no_value_and_a_long_silence_forgets_what_is_too_old() {
    let mut ring = Ring::<1>::new();
    held(&mut ring, 0, 10, 1.0);
    ring.take(seconds(20), seconds(25), &[Some(2.0)]);
    let points = ring.points(seconds(25), seconds(24));
    let known = [Some(1.0), Some(1.0), None, None, Some(2.0)];
    assert_eq!(points.values, known.map(|value| [value]));
    // An interval that is too long is known at its end only.
    ring.take(seconds(25), seconds(1000), &[Some(3.0)]);
    let points = ring.points(seconds(50), seconds(999));
    let known = [
        None,
        None,
        None,
        None,
        Some(3.0),
        Some(3.0),
        Some(3.0),
        Some(3.0),
        Some(3.0),
        Some(3.0),
    ];
    assert_eq!(points.values, known.map(|value| [value]));
    assert!(
        ring.points(seconds(60), seconds(1900))
            .values
            .iter()
            .all(|it| *it == [None])
    );
}

#[test]
fn an_empty_ring_knows_nothing() {
    let points = Ring::<3>::new().points(seconds(60), seconds(2));
    assert_eq!((points.begin, points.values), (seconds(0), vec![[None; 3]]));
}

proptest! {
    /// However samples come: late, twice, out of order, after days, with values that are none.
    #[test]
    fn it_never_grows_and_tells_nothing_that_was_not_there(
        samples in prop::collection::vec(
            (0..200_000_u64, -20_000..60_000_i64, prop::option::of(prop_oneof![0.0..100.0_f32, Just(f32::NAN), Just(f32::INFINITY)])),
            0..300,
        ),
        span in 0..200_000_u64,
        now in 0..300_000_u64,
    ) {
        let mut ring = Ring::<1>::new();
        let empty = ring.bytes();
        let (mut least, mut most) = (f32::INFINITY, f32::NEG_INFINITY);
        for (to, length, value) in samples {
            let to = Duration::from_millis(to * 500);
            let from = Duration::from_millis(u64::try_from(i64::try_from(to.as_millis()).unwrap() - length).unwrap_or(0));
            ring.take(from, to, &[value]);
            if let Some(value) = value.filter(|value| value.is_finite()) {
                (least, most) = (least.min(value), most.max(value));
            }
        }
        prop_assert_eq!(ring.bytes(), empty);
        let points = ring.points(seconds(span), seconds(now));
        prop_assert!(points.values.len() <= STEPS.iter().map(|step| step.count).max().unwrap());
        let end = points.begin + points.step * u32::try_from(points.values.len()).unwrap();
        prop_assert!(seconds(now) < end && end <= seconds(now) + points.step);
        for [value] in points.values {
            let Some(value) = value else { continue };
            prop_assert!(least - 0.001 <= value && value <= most + 0.001, "{} of {}..{}", value, least, most);
        }
    }

    /// What is sampled without gaps is known without gaps, and an average over all is kept by every length of step.
    #[test]
    fn samples_that_touch_leave_no_gap(values in prop::collection::vec((0.0..1000.0_f32, 1..9_u64), 1..120)) {
        let mut ring = Ring::<1>::new();
        let mut at = 1_000_000;
        let (begin, mut sum) = (at, 0.0);
        for (value, length) in values {
            ring.take(seconds(at), seconds(at + length), &[Some(value)]);
            sum += f64::from(value) * Duration::from_secs(length).as_secs_f64();
            at += length;
        }
        let span = Duration::from_secs(at - begin);
        let points = ring.points(span, seconds(at) - Duration::from_millis(1));
        if span <= seconds(900 - 5) {
            prop_assert!(points.values.iter().skip(1).all(|[value]| value.is_some()), "{:?}", points);
        }
        // In one step of 5 minutes, or two of them.
        let coarse = ring.points(day(), seconds(at) - Duration::from_millis(1));
        let known: Vec<f32> = coarse.values.iter().filter_map(|[value]| *value).collect();
        let average = sum / span.as_secs_f64();
        let (least, most) = known.iter().fold((f32::INFINITY, 0.0_f32), |(least, most), value| (least.min(*value), most.max(*value)));
        prop_assert!(f64::from(least) <= average + 0.01 && average <= f64::from(most) + 0.01);
    }
}

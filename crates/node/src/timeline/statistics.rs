//! What earlier durations say of the next one. Pure.
//!
//! Times of a start vary by a factor, not by an amount, so their logarithms are looked at. Few
//! starts say little of how much they vary; until they do, [`Spread`] is what is assumed, with the
//! weight of [`PRIOR_FREEDOM`] observations (a scaled inverse chi-squared prior of the variance).
//! With that, the next logarithm has Student's distribution around the mean of the earlier ones:
//!
//! ```text
//! freedom  = PRIOR_FREEDOM + n - 1
//! variance = (PRIOR_FREEDOM * spread² + sum of squared differences to the mean) / freedom
//! range    = exp(mean ± t(freedom, 95 %) * sqrt(variance * (1 + 1/n)))
//! ```
//! Nine of ten starts fall into the range: tested below on simulated ones. One start gives a range
//! from 0.35 to 2.9 times its time, two alike from 0.46 to 2.2, twenty alike from 0.77 to 1.3.

/// The assumed spread has the weight of so many observations.
const PRIOR_FREEDOM: f64 = 4.0;

/// The 95 % quantiles of Student's distribution from 4 degrees of freedom on: with 5 % above and
/// 5 % below, nine of ten are between.
const STUDENT: [f64; 20] = [
    2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771, 1.761, 1.753, 1.746,
    1.740, 1.734, 1.729, 1.725, 1.721, 1.717, 1.714,
];

/// How much times are assumed to vary before they have shown it: the standard deviation of their
/// natural logarithms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread(f64);

impl Spread {
    /// Starts alike on one machine: the same configuration differs by 30 % between runs on a shared
    /// one (measured), and a factor of 1.4 is nothing unusual.
    pub(crate) const ALIKE: Self = Self(0.35);
    /// Times taken from KVM and multiplied by the measured slowdown: that is one number for all
    /// kinds of work, and a start also waits, which emulation does not slow down.
    pub(crate) const SCALED: Self = Self(0.7);
}

/// The range into which nine of ten next durations fall, by these earlier ones. Durations that are
/// not above zero are left out; `None` if none is left.
pub(crate) fn range(durations: &[f64], spread: Spread) -> Option<(f64, f64)> {
    let logarithms: Vec<f64> = durations
        .iter()
        .filter(|duration| duration.is_finite() && **duration > 0.0)
        .map(|duration| duration.ln())
        .collect();
    let count = u32::try_from(logarithms.len()).ok()?;
    if count == 0 {
        return None;
    }
    let count = f64::from(count);
    let mean = logarithms.iter().sum::<f64>() / count;
    let squares: f64 = logarithms.iter().map(|it| (it - mean).powi(2)).sum();
    let freedom = PRIOR_FREEDOM + count - 1.0;
    let variance = (PRIOR_FREEDOM * spread.0.powi(2) + squares) / freedom;
    let quantile = STUDENT
        .get(logarithms.len() - 1)
        .or(STUDENT.last())
        .copied()?;
    let half = quantile * (variance * (1.0 + 1.0 / count)).sqrt();
    Some(((mean - half).exp(), (mean + half).exp()))
}

/// The median; `None` of nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().filter(|it| it.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = values.get(middle.checked_sub(1)?)?;
    Some(f64::midpoint(*lower, upper))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    #[test]
    fn ranges_are_as_wide_as_said_above() {
        let widths = |count| {
            let (low, high) = range(&vec![100.0; count], Spread::ALIKE).expect("a range");
            (low.round(), high.round())
        };
        assert_eq!(widths(1), (35.0, 287.0));
        assert_eq!(widths(2), (46.0, 217.0));
        assert_eq!(widths(3), (53.0, 190.0));
        assert_eq!(widths(20), (77.0, 129.0));
        assert_eq!(range(&[], Spread::ALIKE), None);
        assert_eq!(range(&[0.0, -1.0, f64::NAN], Spread::ALIKE), None);
        assert_eq!(
            range(&[0.0, 100.0], Spread::ALIKE),
            range(&[100.0], Spread::ALIKE)
        );
        let scaled = range(&[100.0; 3], Spread::SCALED).expect("a range");
        assert!(scaled.0 < 53.0 && scaled.1 > 190.0, "{scaled:?}");
    }

    #[test]
    fn the_median_is_in_the_middle() {
        for (values, expected) in [
            (&[][..], None),
            (&[3.0], Some(3.0)),
            (&[9.0, 1.0], Some(5.0)),
            (&[9.0, 1.0, 2.0], Some(2.0)),
            (&[f64::NAN, 4.0], Some(4.0)),
        ] {
            assert_eq!(median(values.iter().copied()), expected, "{values:?}");
        }
    }

    /// A start that takes `typical` seconds, and varies by `spread`; every twentieth meets a busy
    /// machine and takes twice as long.
    fn simulated(random: &mut StdRng, typical: f64, spread: f64) -> f64 {
        let (one, two): (f64, f64) = (random.random_range(f64::EPSILON..1.0), random.random());
        // Box and Muller.
        let normal = (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * two).cos();
        let busy = if random.random_ratio(1, 20) { 2.0 } else { 1.0 };
        typical * (normal * spread).exp() * busy
    }

    #[test]
    fn nine_of_ten_simulated_starts_fall_into_the_range_made_from_those_before() {
        let mut random = StdRng::seed_from_u64(20_261_122);
        for count in [1, 2, 3, 5, 10, 20] {
            for spread in [0.02, 0.1, 0.2, 0.3] {
                let rounds = 4000;
                let inside = (0..rounds)
                    .filter(|_| {
                        let typical = random.random_range(1.0..600.0);
                        let mut next = || simulated(&mut random, typical, spread);
                        let before: Vec<f64> = (0..count).map(|_| next()).collect();
                        let (low, high) = range(&before, Spread::ALIKE).expect("a range");
                        (low..=high).contains(&next())
                    })
                    .count();
                // The twentieth that is twice as slow may be outside of a narrow range.
                assert!(
                    inside * 100 >= rounds * 90,
                    "{inside} of {rounds} with {count} starts that vary by {spread}"
                );
            }
        }
    }

    #[test]
    fn more_alike_starts_make_the_range_narrower_and_more_different_ones_wider() {
        let width = |values: &[f64]| {
            let (low, high) = range(values, Spread::ALIKE).expect("a range");
            high / low
        };
        assert!(
            (1..30)
                .map(|n| width(&vec![60.0; n]))
                .is_sorted_by(|a, b| a > b)
        );
        assert!(width(&[30.0, 60.0, 120.0]) > width(&[59.0, 60.0, 61.0]));
    }

    proptest! {
        #[test]
        fn a_range_holds_the_middle_and_scales_with_its_durations(
            durations in proptest::collection::vec(0.01_f64..100_000.0, 1..25),
            factor in 0.1_f64..100.0,
        ) {
            let (low, high) = range(&durations, Spread::ALIKE).expect("a range");
            prop_assert!(0.0 < low && low < high && high.is_finite());
            let mean = durations.iter().map(|it| it.ln()).sum::<f64>() / f64::from(u32::try_from(durations.len()).expect("few"));
            prop_assert!((low..high).contains(&mean.exp()));
            let scaled: Vec<f64> = durations.iter().map(|it| it * factor).collect();
            let (low_scaled, high_scaled) = range(&scaled, Spread::ALIKE).expect("a range");
            prop_assert!((low_scaled / low / factor - 1.0).abs() < 1e-6);
            prop_assert!((high_scaled / high / factor - 1.0).abs() < 1e-6);
        }
    }
}

//! A day of values in memory that never grows: the last minutes finely, the day coarsely.
//!
//! Time is an argument, of a clock that never goes back. Each step holds the average over the part of it that is
//! known; a step of which nothing is known has no value.

use std::collections::VecDeque;
use std::time::Duration;

/// A length of step, and how many are remembered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Step {
    pub(super) length: Duration,
    pub(super) count: usize,
}

/// What is remembered, finest first: 15 minutes as they are sampled, 6 hours by the minute, a day by 5 minutes. What
/// a person wants to see of a longer time is a trend, which a chart of a few hundred points shows in full.
pub(super) const STEPS: [Step; 3] = [
    Step {
        length: Duration::from_secs(5),
        count: 180,
    },
    Step {
        length: Duration::from_secs(60),
        count: 360,
    },
    Step {
        length: Duration::from_secs(300),
        count: 288,
    },
];

/// The time between two samples over which values are taken to hold: beyond six samples that did not come nobody knows.
pub(super) const LONGEST_INTERVAL: Duration = Duration::from_secs(30);

/// Values of several series at a time, each of which may be unknown.
pub(super) type Values<const SERIES: usize> = [Option<f32>; SERIES];

/// Series over time.
#[derive(Clone, Debug)]
pub(super) struct Ring<const SERIES: usize> {
    tracks: [Track<SERIES>; STEPS.len()],
}

/// Series in steps of one length.
#[derive(Clone, Debug)]
struct Track<const SERIES: usize> {
    step: Step,
    /// Steps that are over, the last of them just before the one under way; NaN stands for what is not known. Four
    /// bytes are enough for a chart: they are exact to seven digits.
    over: VecDeque<[f32; SERIES]>,
    /// The number of the step under way, since the clock's beginning; none before the first value.
    current: Option<u64>,
    /// Of the step under way: each value times the seconds it held, and these seconds.
    sums: [(f64, f64); SERIES],
}

/// What is remembered of a time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Points<const SERIES: usize> {
    /// The length of a step.
    pub(super) step: Duration,
    /// When the first step begins.
    pub(super) begin: Duration,
    /// One after the other; the last is the one under way.
    pub(super) values: Vec<Values<SERIES>>,
}

impl<const SERIES: usize> Ring<SERIES> {
    pub(super) fn new() -> Self {
        Self {
            tracks: STEPS.map(Track::new),
        }
    }

    /// These values held from one time to the other, of which at most the last [`LONGEST_INTERVAL`] counts.
    pub(super) fn take(&mut self, from: Duration, to: Duration, values: &Values<SERIES>) {
        let from = from.max(to.saturating_sub(LONGEST_INTERVAL));
        if from < to {
            for track in &mut self.tracks {
                track.take(from, to, values);
            }
        }
    }

    /// What is remembered of the time `span` before `now`, in the finest steps that reach so far back.
    pub(super) fn points(&self, span: Duration, now: Duration) -> Points<SERIES> {
        let reaches = |track: &&Track<SERIES>| {
            let all = track.step.length.as_nanos() * track.step.count as u128;
            span.as_nanos() <= all
        };
        let [.., coarsest] = &self.tracks;
        self.tracks
            .iter()
            .find(reaches)
            .unwrap_or(coarsest)
            .points(span, now)
    }

    /// The memory that it takes, however long it is used.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let of = |track: &Track<SERIES>| track.over.capacity() * size_of::<[f32; SERIES]>();
        size_of::<Self>() + self.tracks.iter().map(of).sum::<usize>()
    }
}

impl<const SERIES: usize> Track<SERIES> {
    fn new(step: Step) -> Self {
        Self {
            step,
            over: VecDeque::with_capacity(step.count),
            current: None,
            sums: [(0.0, 0.0); SERIES],
        }
    }

    fn take(&mut self, from: Duration, to: Duration, values: &Values<SERIES>) {
        let length = self.step.length.as_nanos();
        let (from, to) = (from.as_nanos(), to.as_nanos());
        for number in number(from, length)..=number(to.saturating_sub(1), length) {
            if self.current.is_some_and(|current| number < current) {
                // It is over, and was told so.
                continue;
            }
            self.advance(number);
            let begin = u128::from(number) * length;
            let within = to.min(begin + length).saturating_sub(from.max(begin));
            let seconds = Duration::from_nanos(u64::try_from(within).unwrap_or(0)).as_secs_f64();
            for ((sum, held), value) in self.sums.iter_mut().zip(values) {
                if let Some(value) = value.filter(|value| value.is_finite()) {
                    *sum += f64::from(value) * seconds;
                    *held += seconds;
                }
            }
        }
    }

    /// Makes this step the one under way.
    fn advance(&mut self, number: u64) {
        let Some(current) = self.current.replace(number) else {
            return;
        };
        let steps = number - current;
        if steps == 0 {
            return;
        }
        let done = std::mem::replace(&mut self.sums, [(0.0, 0.0); SERIES]);
        if steps >= self.step.count as u64 {
            self.over.clear();
            return;
        }
        self.push(done.map(average));
        for _ in 1..steps {
            self.push([f32::NAN; SERIES]);
        }
    }

    fn push(&mut self, values: [f32; SERIES]) {
        // With the one under way they are as many as there shall be.
        if self.over.len() + 1 >= self.step.count {
            self.over.pop_front();
        }
        self.over.push_back(values);
    }

    fn points(&self, span: Duration, now: Duration) -> Points<SERIES> {
        let length = self.step.length.as_nanos();
        let newest = number(now.as_nanos(), length);
        let wanted = span.as_nanos().div_ceil(length).max(1);
        let wanted = wanted.min(self.step.count as u128);
        let oldest = newest.saturating_sub(u64::try_from(wanted - 1).unwrap_or(u64::MAX));
        let begin = u128::from(oldest) * length;
        Points {
            step: self.step.length,
            begin: Duration::from_nanos(u64::try_from(begin).unwrap_or(u64::MAX)),
            values: (oldest..=newest).map(|number| self.at(number)).collect(),
        }
    }

    fn at(&self, number: u64) -> Values<SERIES> {
        let known = |value: f32| (!value.is_nan()).then_some(value);
        let Some(back) = self.current.and_then(|current| current.checked_sub(number)) else {
            return [None; SERIES];
        };
        if back == 0 {
            return self.sums.map(average).map(known);
        }
        let index = usize::try_from(back)
            .ok()
            .and_then(|back| self.over.len().checked_sub(back));
        match index.and_then(|index| self.over.get(index)) {
            Some(values) => values.map(known),
            None => [None; SERIES],
        }
    }
}

/// Of the step with this time in it; both in nanoseconds.
fn number(time: u128, length: u128) -> u64 {
    u64::try_from(time / length).unwrap_or(u64::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "seven digits are enough for a chart"
)]
fn average((sum, held): (f64, f64)) -> f32 {
    if held > 0.0 {
        (sum / held) as f32
    } else {
        f32::NAN
    }
}

#[cfg(test)]
mod tests;

//! Durations as Go writes them, which Kubernetes' API uses: `5m0s`, `1.5h`, `300ms`.

use std::time::Duration;

/// The longest duration that is understood: a year; nobody waits longer, and sums of them stay in bounds.
const LONGEST_SECONDS: f64 = 366.0 * 86_400.0;

/// The duration of this text; `None` if it is none, is negative, or longer than a year.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let number: f64 = number.parse().ok()?;
        let unit = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        seconds += number
            * match unit {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" | "μs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = after;
    }
    (seconds <= LONGEST_SECONDS).then(|| Duration::from_secs_f64(seconds))
}

//! A failing script, as short as it gets.

use std::fmt;

use super::script::{Action, Line};
use super::{Failure, Rules, run};

/// Runs a shrinking may take: a script of hundreds of lines needs a few hundred.
const TRIES: usize = 600;

/// A failure, and one of its kind that has fewer lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrunk {
    /// What went wrong at first.
    pub wrongs: Vec<String>,
    /// Lines of the script that showed it.
    pub lines: usize,
    /// The shorter one.
    pub short: Failure,
}

impl fmt::Display for Shrunk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            wrongs,
            lines,
            short,
        } = self;
        writeln!(formatter, "seed {} failed with {lines} lines:", short.seed)?;
        for wrong in wrongs {
            writeln!(formatter, "  {wrong}")?;
        }
        let enough = short.script.len();
        write!(formatter, "{enough} of them are enough for this:\n{short}")
    }
}

impl std::error::Error for Shrunk {}

/// In which way something is wrong: what was said of it without its time, and without the names and
/// numbers of those it happened to, which is every word with a digit.
fn kind(wrong: &str) -> String {
    let said = wrong.split_once(" ms: ").map_or(wrong, |(_, said)| said);
    let words = said
        .split_whitespace()
        .filter(|word| !word.contains(|it: char| it.is_ascii_digit()));
    words.collect::<Vec<_>>().join(" ")
}

/// The same failure with fewer lines: whatever can be taken out, in ever smaller pieces, while the first
/// thing that goes wrong is of the same [`kind`]. Bounded, so not always the shortest.
pub fn shrunk(failure: Failure, rules: Rules) -> Shrunk {
    let (wrongs, lines) = (failure.wrongs.clone(), failure.script.len());
    Shrunk {
        wrongs,
        lines,
        short: shorter(failure, rules),
    }
}

fn shorter(failure: Failure, rules: Rules) -> Failure {
    let mut best = failure;
    let mut tries = TRIES;
    // What came after the failure had no part in it.
    let end = best
        .wrongs
        .first()
        .and_then(|wrong| wrong.split(' ').next()?.parse::<u64>().ok())
        .unwrap_or(u64::MAX);
    let before = |line: &&Line| line.at <= end;
    let cut: Vec<Line> = best.script.iter().filter(before).cloned().collect();
    attempt(&mut best, cut, rules, &mut tries);
    let mut piece = best.script.len().div_ceil(2);
    while piece > 0 && tries > 0 {
        let mut at = 0;
        let mut smaller = false;
        while at < best.script.len() && tries > 0 {
            let end = (at + piece).min(best.script.len());
            let mut script = best.script.clone();
            script.drain(at..end);
            if attempt(&mut best, script, rules, &mut tries) {
                smaller = true;
            } else {
                at += piece;
            }
        }
        if piece == 1 && !smaller {
            break;
        }
        piece = if piece == 1 { 1 } else { piece.div_ceil(2) };
    }
    best
}

/// Keeps `script` if it fails too, and in the same way.
fn attempt(best: &mut Failure, script: Vec<Line>, rules: Rules, tries: &mut usize) -> bool {
    if *tries == 0 || script.len() >= best.script.len() {
        return false;
    }
    // Without a machine nothing can go wrong that is worth telling.
    if !script
        .iter()
        .any(|line| matches!(line.action, Action::Vm(_)))
    {
        return false;
    }
    *tries -= 1;
    match run(best.seed, &script, rules) {
        Err(failure) if first_kind(&failure) == first_kind(best) => {
            *best = *failure;
            true
        }
        Ok(_) | Err(_) => false,
    }
}

fn first_kind(failure: &Failure) -> Option<String> {
    failure.wrongs.first().map(|wrong| kind(wrong))
}

#[cfg(test)]
mod tests {
    use super::kind;

    #[test]
    fn a_kind_is_what_goes_wrong_whoever_it_happens_to() {
        let one = "72 ms: v3 runs on KVM on n7, where the best is Some(Tcg)";
        assert_eq!(kind(one), "runs on KVM on where the best is Some(Tcg)");
        assert_eq!(
            kind(one),
            kind(&one.replace("v3", "v14").replace("72", "9"))
        );
        assert_ne!(kind(one), kind(&one.replace("KVM", "TCG")));
        assert_eq!(
            kind("5 ms: 1700 events, and no rest"),
            "events, and no rest"
        );
    }
}

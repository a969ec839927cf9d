//! A failing script, as short as it gets.

use super::script::{Action, Line};
use super::{Failure, Rules, run};

/// Runs a shrinking may take: a script of hundreds of lines needs a few hundred.
const TRIES: usize = 600;

/// The same failure with fewer lines: whatever can be taken out, in ever smaller pieces, while
/// something still goes wrong. Bounded, so not always the shortest.
pub fn shrunk(failure: Failure, rules: Rules) -> Failure {
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

/// Keeps `script` if it fails too.
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
        Ok(_) => false,
        Err(failure) => {
            *best = *failure;
            true
        }
    }
}

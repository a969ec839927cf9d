//! Seeds, scripts and planted defects.

use simulation::{Plant, run, script};

/// Seeds in CI: a few seconds each, most of it waiting, so three tests share them.
const SEEDS: u64 = 18;

/// Runs seeds, and prints the first that fails with its script, which replays it.
fn check(seeds: impl IntoIterator<Item = u64>) {
    for seed in seeds {
        if let Err(failure) = run(seed, &script::of_seed(seed), Plant::Nothing) {
            panic!("{failure}");
        }
    }
}

#[test]
fn seeds_come_to_rest_and_claim_nothing_untrue() {
    check((0..SEEDS).step_by(3));
}

#[test]
fn other_seeds_come_to_rest_and_claim_nothing_untrue() {
    check((1..SEEDS).step_by(3));
}

#[test]
fn more_seeds_come_to_rest_and_claim_nothing_untrue() {
    check((2..SEEDS).step_by(3));
}

/// What a planted defect cannot hide in.
const LIFE: &str = "hardware kvm\n faults 0\n create a Always\n create b Always\n settle\n \
                    restart-agent\n run 9\n delete-pod b\n run 9\n delete a\n settle";

/// A planted defect is found, by the checker that is for it; without it, nothing is.
fn is_found(plant: Plant, by: &str) {
    let script = script::parse(LIFE).expect("a script");
    let failure = run(0, &script, plant).expect_err("the defect was not found");
    let found = failure.wrongs.iter().any(|it| it.contains(by));
    assert!(found, "{by}:\n{failure}");
    if let Err(failure) = run(0, &script, Plant::Nothing) {
        panic!("{failure}");
    }
}

#[test]
fn an_agent_that_starts_a_guest_twice_is_found() {
    is_found(Plant::StartsTwice, "started twice");
}

#[test]
fn a_guest_that_is_called_running_too_early_is_found() {
    is_found(Plant::ClaimsTooEarly, "before its guest ran");
}

#[test]
fn a_guest_that_ends_unasked_is_found() {
    is_found(Plant::EndsGuestsOnRestart, "nobody had asked");
}

#[test]
fn a_pod_that_is_let_go_while_its_guest_runs_is_found() {
    is_found(Plant::LeaksMachines, "while its guest runs");
}

#[test]
fn a_guest_that_is_emulated_against_its_node_s_cap_is_found() {
    let script = "hardware none\n faults 0\n switch kubevirt true\n slow a\n create a Always\n \
                  run 40\n cap node None\n settle";
    let script = script::parse(script).expect("a script");
    let failure = run(0, &script, Plant::IgnoresCap).expect_err("nobody noticed");
    let found = failure.wrongs.iter().any(|it| it.contains("cap forbids"));
    assert!(found, "{failure}");
    if let Err(failure) = run(0, &script, Plant::Nothing) {
        panic!("{failure}");
    }
}

#[test]
fn a_node_that_writes_without_end_is_found() {
    is_found(Plant::NeverQuiet, "writes do not end");
}

/// Runs a script for people, and compares what comes of it with what is written beside it.
fn plays(text: &str) {
    let script = script::parse(text).expect("a script");
    let report = run(0, &script, Plant::Nothing).unwrap_or_else(|failure| panic!("{failure}"));
    let written = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let wanted: Vec<&str> = text.lines().map(str::trim).filter(written).collect();
    for (wanted, is) in wanted.iter().zip(&report.transcript) {
        let is = is.replacen("  -> ", " # ", 1);
        assert!(!wanted.contains('#') || *wanted == is, "{wanted}\nis\n{is}");
    }
}

#[test]
fn the_switch_starts_what_waits_and_leaves_alone_what_runs() {
    plays(include_str!("scripts/switch.txt"));
}

#[test]
fn each_strategy_answers_a_crash_in_its_way() {
    plays(include_str!("scripts/crash.txt"));
}

#[test]
fn a_start_that_comes_late_goes_by_what_its_node_knows_then() {
    plays(include_str!("scripts/slow.txt"));
}

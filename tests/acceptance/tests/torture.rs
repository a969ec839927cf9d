//! A machine that counts, writes and verifies goes through all that can be done with its memory; `cargo xtask torture`
//! does the same for longer.

use acceptance::torture::{Round, torture};

#[test]
fn a_machine_outlives_a_round_of_each_kind() {
    let told = torture(1, Round::ALL.len() + 1, |number, round, took| {
        println!("{number}: {round:?}, {:.1} s", took.as_secs_f64());
    });
    assert_eq!(told.len(), Round::ALL.len());
}

//! The project's chores: demo, test, bench, generate.
fn main() {}

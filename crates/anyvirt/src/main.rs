//! The one binary: settings, wiring of roles, dispatch by name.
fn main() {}

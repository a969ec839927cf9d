//! The policy against a plain statement of its rules: every combination by construction, and what must
//! hold for any input at all.

mod places;
mod properties;
mod rows;
mod rules;

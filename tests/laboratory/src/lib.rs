//! What tests and the demo need around anyvirt: guests made from Debian packages, and images served on loopback.

pub mod bare;
pub mod guests;
pub mod images;
pub mod malformed;
pub mod registry;

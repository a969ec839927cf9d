//! Label selectors and field selectors: parsing with upstream's texts, and matching.

mod field;
mod label;

#[cfg(test)]
mod tests;

pub use field::FieldSelector;
pub use label::LabelSelector;

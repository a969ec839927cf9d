//! The dialect of JSONPath that printer columns and selectable fields use.

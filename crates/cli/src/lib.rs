//! The verbs a person types: virtctl's names and flags, and our own.

//! Structural schemas: pruning, defaulting and validating objects.

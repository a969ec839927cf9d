//! `metadata.managedFields`: who set which field.

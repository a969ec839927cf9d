//! The objects: kinds, defaults, validation, conditions, columns, schemas; the accelerator policy as a pure function.

//! The objects: kinds, defaults, validation, conditions, columns, schemas; the accelerator policy as a pure function.

pub mod accelerator;
pub mod condition;
pub mod configuration;
pub mod crds;
pub mod defaults;
pub mod explain;
pub mod hyper_converged;
pub mod kubevirt;
pub mod launcher;
pub mod names;
pub mod outlook;
pub mod pool;
pub mod quantity;
pub mod resources;
pub mod scaling;
pub mod snapshot;
pub mod suspend;
pub mod unserved;
pub mod usage;
pub mod validate;
pub mod virtual_machine;
pub mod virtual_machine_instance;
pub mod warm_start;

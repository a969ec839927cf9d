//! Linux: processes, jail, locks, sockets, mounts; the only unsafe code, the only place that starts programs.

pub mod activity;
pub mod changes;
pub mod clock;
pub mod descriptor;
pub mod facts;
pub mod identity;
pub mod jail;
pub mod kvm;
mod launch;
pub mod limits;
pub mod load;
pub mod lock;
pub mod memory;
pub mod network;
pub mod process;
pub mod socket;
pub mod surroundings;

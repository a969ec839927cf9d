//! The controllers against a real API server in this process, with a real store in a temporary folder.
//! Only the node is played: by a task that answers pods and instances as the node agent does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod cluster;
mod emulation;
mod flips;
mod machine;
mod node;
mod places;
mod pools;
mod restarts;
mod snapshots;
mod strategies;
mod verbs;

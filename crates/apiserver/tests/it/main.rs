//! The server as its clients see it, without sockets where sockets don't matter. The numbers in
//! comments are those of the acceptance suite (reference `apiserver.md`, section 2.1).

mod harness;

mod create;
mod definitions;
mod delete;
mod discovery;
mod extensions;
mod kube_client;
mod namespaces;
mod ownership;
mod patch;
mod read;
mod sockets;
mod update;
mod watch;

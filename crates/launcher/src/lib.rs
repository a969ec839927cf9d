//! Owns one virtual machine: prepares it, starts QEMU, speaks QMP, survives everybody else's restart.
//!
//! ```text
//!  node ── launcher.sock ──> server ── orders ──> owner (one task, decides by `life`)
//!                              │                    │ start: blueprint ─> files, jail, QEMU
//!                       console│vnc                 │
//!                              v                    v
//!                        serial, VNC client     monitor ── QMP ── QEMU
//! ```
//! The protocol is [`api::launcher`]; the states are drawn in `life.rs`.

mod agent;
mod begin;
mod blueprint;
mod bounded_file;
pub mod cloud_init;
mod debug_console;
mod exit_file;
mod files;
mod heard;
mod hook;
mod jail;
mod kvm_failure;
mod life;
mod loan;
mod log;
mod markers;
mod monitor;
mod networks;
mod output;
mod owner;
mod screen;
mod screenshot;
mod serial;
mod server;
mod setup;
mod signs;
mod start;
mod usage;
mod warm;

pub use log::Log;

use std::io;
use std::path::{Path, PathBuf};

use api::launcher::{Exit, Identity, files as names};
use host::lock::{LifeLock, LockError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::owner::Owner;
use crate::server::Room;
use crate::start::Home;

/// The lock of the launcher itself: two of them in one directory would both own the guest.
const LOCK: &str = "launcher.lock";

/// Why a launcher cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum LauncherError {
    /// Its directory is not what the node prepares.
    #[error("cannot read {}: {source}", path.display())]
    Directory {
        /// The file.
        path: PathBuf,
        /// The kernel's or the JSON reader's words.
        source: io::Error,
    },
    /// Another launcher works in the directory.
    #[error("another launcher owns this machine: {0}")]
    Owned(#[from] LockError),
    /// The socket cannot be listened on.
    #[error("cannot listen on {}: {source}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Signals cannot be heard.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
}

/// Runs the launcher of `directory` until it is told to end, or gets SIGTERM: then its guest is
/// stopped first. The directory holds `launcher.json` and belongs to the launcher alone.
///
/// # Errors
/// [`LauncherError`] if it cannot begin. What happens to the guest is told by its status, never
/// by an error.
pub async fn run(directory: &Path) -> Result<(), LauncherError> {
    let identity: Identity = read_json(&directory.join(names::IDENTITY))?;
    let holder = format!(
        "launcher of {}/{} (pid {})",
        identity.namespace,
        identity.name,
        std::process::id()
    );
    let _lock = LifeLock::acquire(&directory.join(LOCK), &holder)?;
    let exit_path = directory.join(names::EXIT);
    let exit: Option<Exit> = if exit_path.exists() {
        Some(read_json(&exit_path)?)
    } else {
        None
    };

    let socket = directory.join(names::SOCKET);
    let listener = host::socket::listen(&socket).map_err(|source| LauncherError::Listen {
        path: socket.clone(),
        source,
    })?;
    let mut terminate = signal(SignalKind::terminate()).map_err(LauncherError::Signals)?;
    let home = Home {
        directory: directory.to_owned(),
        identity,
    };
    let (owner, desk) = Owner::new(home, exit);
    let room = Room::new();
    let server = tokio::spawn(server::serve(listener, desk, room.clone()));
    let (leave, asked) = mpsc::channel(1); // asking again is the same
    let signals = tokio::spawn(async move {
        while terminate.recv().await.is_some() {
            tracing::info!("asked to leave by SIGTERM");
            if leave.send(()).await.is_err() {
                return;
            }
        }
    });
    let directory = owner.run(asked).await;
    // It may have been moved.
    let socket = directory.join(names::SOCKET);
    server.abort();
    signals.abort();
    room.left().await;
    // Nobody must find a socket without a listener, unless the directory itself is gone.
    match std::fs::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("cannot remove {}: {error}", socket.display());
        }
        _ => {}
    }
    Ok(())
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, LauncherError> {
    let failed = |source| LauncherError::Directory {
        path: path.to_owned(),
        source,
    };
    let text = std::fs::read(path).map_err(failed)?;
    serde_json::from_slice(&text).map_err(|error| failed(error.into()))
}

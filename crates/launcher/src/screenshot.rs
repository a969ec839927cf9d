//! What the guest's screen shows, as a picture.
//!
//! QEMU has no path to write to, so it gets an open file in memory. It writes as fast as memory takes it: nobody who
//! reads slowly can hold it up.

use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;

use api::launcher::LARGEST_SCREENSHOT_BYTES;
use qemu::qmp::Command;
use rustix::fs::MemfdFlags;

use crate::monitor::{Monitor, MonitorError};

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScreenshotError {
    /// QEMU did not make it.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// The file in memory failed.
    #[error("a file in memory failed: {0}")]
    Memory(#[from] std::io::Error),
    /// It is too large.
    #[error("the picture has {0} bytes, more than {LARGEST_SCREENSHOT_BYTES}")]
    TooLarge(u64),
}

/// Takes a picture, as PNG.
///
/// # Errors
/// [`ScreenshotError`].
pub(crate) async fn take(
    monitor: &Monitor,
    move_pointer: bool,
) -> Result<Vec<u8>, ScreenshotError> {
    if move_pointer {
        monitor.ask(Command::MovePointer).await?;
    }
    let memory =
        rustix::fs::memfd_create("screen", MemfdFlags::CLOEXEC).map_err(std::io::Error::from)?;
    // QEMU uses a descriptor of a set only for what it is open for, and it wants to write only.
    let writer = File::options()
        .write(true)
        .open(format!("/proc/self/fd/{}", memory.as_raw_fd()))?;
    let answer = monitor
        .ask_with(Command::AddDescriptor, Some(OwnedFd::from(writer)))
        .await?;
    let set = Command::descriptor_set(&answer).ok_or(MonitorError::Answer("add-fd"))?;
    let taken = monitor.ask(Command::Screendump { set }).await;
    let removed = monitor.ask(Command::RemoveDescriptor { set }).await;
    taken?;
    removed?;
    let file = File::from(memory);
    let length = file.metadata()?.len();
    if length > LARGEST_SCREENSHOT_BYTES as u64 {
        return Err(ScreenshotError::TooLarge(length));
    }
    let mut picture = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut picture, 0)?;
    Ok(picture)
}

//! Open files by number.
#![expect(
    unsafe_code,
    reason = "numbers become owned files here, with the kernel's word for it"
)]

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits until `file` is readable; a pidfd is when its process has ended.
pub(crate) async fn readable(file: &OwnedFd) -> io::Result<()> {
    let copy = file.try_clone()?;
    // SAFETY: an OwnedFd is open, keeps its number, and is moved into the AsyncFd, which drops it
    // after its registration.
    let watched = unsafe { AsyncFd::register_with_interest(copy, Interest::READABLE) }?;
    let _guard = watched.readable().await?;
    Ok(())
}

/// Takes over a file that whoever started this process handed to it by number. Call it once per
/// number, early in `main`: afterwards the number may mean another file.
///
/// # Errors
/// If nothing is open at that number, or it is one of the standard streams.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a standard stream",
        ));
    }
    // SAFETY: only asks for flags, of whatever is at that number.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and was handed to this process by number, so no value here owns it.
    let file = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::CLOEXEC)?;
    Ok(file)
}

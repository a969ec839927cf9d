//! Memory shared with the kernel, a guest, or the processor.
#![expect(unsafe_code, reason = "mappings are addresses")]

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// Memory shared with the kernel or the guest. Only copies in and out, never references.
#[derive(Debug)]
pub(super) struct Mapping {
    address: *mut u8,
    bytes: usize,
}

// SAFETY: the mapping belongs to whoever holds this value, on whatever thread; it is only ever
// copied in and out of, and the guest and the kernel are other parties to it on any thread alike.
unsafe impl Send for Mapping {}

impl Mapping {
    pub(super) fn anonymous(bytes: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        Self::map(bytes, flags, -1)
    }

    pub(super) fn shared(file: &OwnedFd, bytes: usize) -> io::Result<Self> {
        Self::map(bytes, libc::MAP_SHARED, file.as_raw_fd())
    }

    fn map(bytes: usize, flags: libc::c_int, file: libc::c_int) -> io::Result<Self> {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing of ours.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), bytes, rights, flags, file, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            address: address.cast(),
            bytes,
        })
    }

    /// Where it is.
    pub(super) fn address(&self) -> u64 {
        self.address as u64
    }

    /// How long it is.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// Writes what fits.
    pub(super) fn write(&self, offset: usize, data: &[u8]) {
        let room = self.bytes.saturating_sub(offset).min(data.len());
        if room == 0 {
            return;
        }
        // SAFETY: `offset` plus `room` is within the mapping, and `data` is not part of it.
        unsafe {
            std::ptr::copy_nonoverlapping(data.as_ptr(), self.address.wrapping_add(offset), room);
        }
    }

    /// Reads what is there; zeroes beyond the end.
    pub(super) fn read<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut data = [0; N];
        let room = self.bytes.saturating_sub(offset).min(N);
        if room > 0 {
            // SAFETY: as in `write`.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    self.address.wrapping_add(offset),
                    data.as_mut_ptr(),
                    room,
                );
            }
        }
        data
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this length, and not used after.
        unsafe { libc::munmap(self.address.cast(), self.bytes) };
    }
}

//! What has passed through a guest's network card.

use std::sync::atomic::{AtomicU64, Ordering};

/// Before each frame its length, big endian.
const LENGTH: usize = 4;

/// Counters of one card, as its guest sees the directions. They only grow.
#[derive(Debug, Default)]
pub struct Traffic {
    /// What the guest has sent, also to where it may not.
    pub sent: Counter,
    /// What was handed to the guest's card.
    pub received: Counter,
}

/// Ethernet frames and their bytes, without the lengths before them.
#[derive(Debug, Default)]
pub struct Counter {
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl Traffic {
    /// Begins anew: what passed so far was not the guest's.
    pub(super) fn forget(&self) {
        for counter in [&self.sent, &self.received] {
            counter.frames.store(0, Ordering::Relaxed);
            counter.bytes.store(0, Ordering::Relaxed);
        }
    }
}

impl Counter {
    /// So many frames, with so many bytes, passed.
    pub(super) fn add(&self, frames: u64, bytes: u64) {
        self.frames.fetch_add(frames, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Frames and bytes so far.
    #[must_use]
    pub fn read(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.frames), read(&self.bytes))
    }
}

/// Finds the frames in a stream that comes in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Of the frame under way, bytes that have not come.
    rest: usize,
    /// The part of a length that has come.
    length: Vec<u8>,
}

impl Frames {
    /// Takes the next piece. Out: how many frames have begun in it, and how many bytes of frames it holds.
    pub(super) fn take(&mut self, mut piece: &[u8]) -> (u64, u64) {
        let (mut frames, mut bytes) = (0, 0);
        while !piece.is_empty() {
            if self.rest > 0 {
                let count = self.rest.min(piece.len());
                self.rest -= count;
                bytes += count as u64;
                piece = &piece[count..];
                continue;
            }
            let count = (LENGTH - self.length.len()).min(piece.len());
            self.length.extend_from_slice(&piece[..count]);
            piece = &piece[count..];
            if let Ok(length) = <[u8; LENGTH]>::try_from(self.length.as_slice()) {
                self.rest = u32::from_be_bytes(length) as usize;
                self.length.clear();
                frames += 1;
            }
        }
        (frames, bytes)
    }
}

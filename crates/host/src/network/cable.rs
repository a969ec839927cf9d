//! The cable between a guest's network card and passt: passes frames on, and keeps those from passt
//! that would take a guest to this host's loopback.
//!
//! passt opens ordinary sockets to wherever a guest's packets go, also to 127.0.0.1 (Debian 12's
//! 0.0~git20230309, whatever `--no-map-gw` says), so that root of a guest who sends these addresses
//! to the gateway would talk to this host's loopback, and to the pod addresses there.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use super::traffic::{Frames, Traffic};

/// Before each frame its length, big endian.
const LENGTH: usize = 4;
/// Where an Ethernet frame says what it carries.
const TYPE: std::ops::Range<usize> = 12..14;
const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];
/// The first byte of where an IPv4 packet in an Ethernet frame goes, of four.
const DESTINATION: usize = 30;
/// Debian 12's passt looks at a frame's length only after it has made room for 65,535 bytes.
const PASSTS_LARGEST: usize = 65_535;
/// Room for several of the largest frames, and for hundreds of usual ones.
const BUFFER: usize = 256 << 10;
/// The threads only copy between a buffer on the heap and sockets.
const STACK: usize = 64 << 10;

/// Joins two sockets that carry frames, until one of them ends; then both do. What passes is counted.
///
/// # Errors
/// If there can be no more threads or descriptors; nothing is joined then.
pub(super) fn join(guest: OwnedFd, passt: OwnedFd, traffic: Arc<Traffic>) -> io::Result<()> {
    let (guest, passt) = (UnixStream::from(guest), UnixStream::from(passt));
    let (from_passt, to_guest) = (passt.try_clone()?, guest.try_clone()?);
    let builder = |name: &str| {
        thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK)
    };
    let sent = Arc::clone(&traffic);
    builder("cable-out").spawn(move || {
        // A socket that failed has ended, as one that was closed.
        let _ = filter(&guest, &passt, &sent);
        end(&guest, &passt);
    })?;
    let back = (from_passt.try_clone()?, to_guest.try_clone()?);
    let spawned = builder("cable-in").spawn(move || {
        let _ = copy(&from_passt, &to_guest, &traffic);
        end(&to_guest, &from_passt);
    });
    if spawned.is_err() {
        // The other direction ends with its sockets.
        end(&back.0, &back.1);
    }
    spawned.map(drop)
}

fn end(one: &UnixStream, other: &UnixStream) {
    for socket in [one, other] {
        // Only an end that is gone already cannot be shut down.
        let _ = socket.shutdown(Shutdown::Both);
    }
}

/// Passes on what a guest sends, frame by frame.
fn filter(mut guest: impl Read, mut passt: impl Write, traffic: &Traffic) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut filled = 0;
    loop {
        let count = match guest.read(&mut buffer[filled..]) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        filled += count;
        let taken = pass(&buffer[..filled], &mut passt, traffic)?;
        buffer.copy_within(taken..filled, 0);
        filled -= taken;
    }
}

/// Passes on the whole frames at the start of `bytes` that may pass; out: how many bytes these and those
/// that may not were.
///
/// Each frame is one write, as QEMU itself does it, however many are there. passt takes what it reads at
/// once for whole frames, of which the last may be cut anywhere but in its length: of a length that is, it
/// drops what it has and goes on in mid-stream, where a guest's bytes would be read as frames that nobody
/// has looked at. Linux queues a write in pieces of some 36 KB, and a reader may come between two; the
/// length of a frame that is written alone is whole in the first.
fn pass(bytes: &[u8], passt: &mut impl Write, traffic: &Traffic) -> io::Result<usize> {
    let mut at = 0;
    while let Some((length, rest)) = bytes[at..].split_first_chunk::<LENGTH>() {
        let length = u32::from_be_bytes(*length);
        if length > super::LARGEST_FRAME {
            let what = format!("a frame of {length} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let Some(frame) = rest.get(..length as usize) else {
            break;
        };
        let next = at + LENGTH + frame.len();
        // Its card has sent it, whether or not it may go on. Counted first, so that an answer finds it counted.
        traffic.sent.add(1, frame.len() as u64);
        if may_pass(frame) {
            passt.write_all(&bytes[at..next])?;
        }
        at = next;
    }
    Ok(at)
}

/// Whether a guest's frame may go to passt: ARP, and IPv4 to anywhere but this host's own loopback,
/// of which 0.0.0.0 is another name for Linux. passt was told to do without IPv6, and knows nothing else.
/// It has no room for larger frames than [`PASSTS_LARGEST`].
fn may_pass(frame: &[u8]) -> bool {
    if frame.len() > PASSTS_LARGEST {
        return false;
    }
    match frame.get(TYPE) {
        Some(kind) if kind == ARP => true,
        Some(kind) if kind == IPV4 => !matches!(frame.get(DESTINATION), None | Some(0 | 127)),
        _ => false,
    }
}

fn copy(mut from: impl Read, mut to: impl Write, traffic: &Traffic) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut frames = Frames::default();
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                let (begun, bytes) = frames.take(&buffer[..count]);
                traffic.received.add(begun, bytes);
                to.write_all(&buffer[..count])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: [u8; 2], destination: [u8; 4], size: usize) -> Vec<u8> {
        let mut frame = vec![0x5a; size.max(DESTINATION + 4)];
        frame[TYPE].copy_from_slice(&kind);
        frame[DESTINATION..DESTINATION + 4].copy_from_slice(&destination);
        frame
    }

    fn sent(frames: &[Vec<u8>]) -> Vec<u8> {
        let with_length = |frame: &Vec<u8>| {
            let length = u32::try_from(frame.len()).expect("small").to_be_bytes();
            [length.as_slice(), frame].concat()
        };
        frames.iter().flat_map(with_length).collect()
    }

    #[test]
    fn a_guest_sends_ipv4_and_arp_to_anywhere_but_the_loopback() {
        let table = [
            (IPV4, [192, 0, 2, 1], true),
            (IPV4, [10, 0, 2, 1], true),
            (IPV4, [255, 255, 255, 255], true),
            (IPV4, [126, 255, 255, 255], true),
            (IPV4, [128, 0, 0, 1], true),
            (IPV4, [127, 0, 0, 1], false),
            (IPV4, [127, 64, 0, 5], false),
            (IPV4, [127, 255, 255, 255], false),
            (IPV4, [0, 0, 0, 0], false),
            (ARP, [127, 0, 0, 1], true),
            ([0x86, 0xdd], [192, 0, 2, 1], false),
            ([0x81, 0x00], [192, 0, 2, 1], false),
        ];
        for (kind, destination, expected) in table {
            let frame = frame(kind, destination, 0);
            assert_eq!(may_pass(&frame), expected, "{kind:?} {destination:?}");
        }
        for (size, expected) in [(PASSTS_LARGEST, true), (PASSTS_LARGEST + 1, false)] {
            let frame = frame(IPV4, [192, 0, 2, 1], size);
            assert_eq!(may_pass(&frame), expected, "{size} bytes");
        }
        for cut in 0..=DESTINATION {
            let frame = frame(IPV4, [192, 0, 2, 1], 0);
            assert!(!may_pass(&frame[..cut]), "{cut} bytes go nowhere");
        }
    }

    #[test]
    fn a_frame_that_is_too_large_ends_the_cable() {
        let length = (super::super::LARGEST_FRAME + 1).to_be_bytes();
        let error =
            filter(length.as_slice(), Vec::new(), &Traffic::default()).expect_err("too large");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_largest_frame_fits_and_what_ends_within_a_frame_is_not_passed_on() {
        let largest = frame(IPV4, [192, 0, 2, 1], PASSTS_LARGEST);
        let whole = sent(&[largest.clone(), largest]);
        let mut passed = Written::default();
        filter(&whole[..whole.len() - 1], &mut passed, &Traffic::default()).expect("an end");
        assert_eq!(passed.0, [&whole[..whole.len() / 2]]);
    }

    #[test]
    fn both_ends_go_when_one_does() {
        for guest_goes in [true, false] {
            let (guest, our_guest) = UnixStream::pair().expect("sockets");
            let (passt, our_passt) = UnixStream::pair().expect("sockets");
            let traffic = Arc::default();
            join(our_guest.into(), our_passt.into(), Arc::clone(&traffic)).expect("joined");
            let frame = sent(&[frame(IPV4, [192, 0, 2, 1], 60)]);
            let mut received = vec![0; frame.len()];
            (&guest).write_all(&frame).expect("sent");
            (&passt).read_exact(&mut received).expect("arrives");
            assert_eq!(received, frame);
            (&passt).write_all(b"back").expect("sent");
            (&guest).read_exact(&mut received[..4]).expect("arrives");
            assert_eq!(&received[..4], b"back");
            let (gone, mut left) = if guest_goes {
                (guest, passt)
            } else {
                (passt, guest)
            };
            drop(gone);
            assert_eq!(left.read(&mut received).expect("an end"), 0);
            assert_eq!(traffic.sent.read(), (1, 60));
        }
    }

    /// Remembers each write.
    #[derive(Default)]
    struct Written(Vec<Vec<u8>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Gives its bytes in pieces of given sizes.
    struct Pieces<'a>(&'a [u8], Vec<usize>);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = self.1.pop().unwrap_or(usize::MAX).max(1);
            let count = most.min(buffer.len()).min(self.0.len());
            let (now, later) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    proptest! {
        #[test]
        fn what_may_pass_is_written_frame_by_frame_and_in_order_however_it_comes(
            frames in prop::collection::vec((any::<bool>(), any::<[u8; 4]>(), 0..3000_usize), 0..20),
            pieces in prop::collection::vec(1..5000_usize, 0..50),
        ) {
            let frames: Vec<Vec<u8>> = frames
                .into_iter()
                .map(|(loopback, [_, b, c, d], size)| {
                    frame(IPV4, [if loopback { 127 } else { 192 }, b, c, d], size)
                })
                .collect();
            let bytes: usize = frames.iter().map(Vec::len).sum();
            let may_pass = frames.iter().filter(|it| it[DESTINATION] != 127);
            let expected: Vec<_> = may_pass.map(|it| sent(std::slice::from_ref(it))).collect();
            let mut passed = Written::default();
            let traffic = Traffic::default();
            filter(Pieces(&sent(&frames), pieces.clone()), &mut passed, &traffic).expect("an end");
            prop_assert_eq!(passed.0, expected);
            prop_assert_eq!(traffic.sent.read(), (frames.len() as u64, bytes as u64));

            let mut back = Vec::new();
            copy(Pieces(&sent(&frames), pieces), &mut back, &traffic).expect("an end");
            prop_assert_eq!(back, sent(&frames));
            prop_assert_eq!(traffic.received.read(), (frames.len() as u64, bytes as u64));
        }
    }
}

//! The firmware's debug console: SeaBIOS writes there what it does, some kilobytes in all, and what
//! it could not boot from, which no serial line shows.

use jiff::Timestamp;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

use crate::markers::{Origin, Scanner};
use crate::start::Progress;

/// Reads the line until QEMU ends, and tells what it says of the start. Anything in the guest may
/// write there later without end: it is read, so that QEMU never waits, and dropped.
pub(crate) async fn run(mut line: UnixStream, progress: Progress) {
    let mut scanner = Scanner::new(Origin::Firmware);
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = line.read(&mut buffer).await {
        for mark in scanner.feed(&buffer[..count]) {
            progress.mark(mark, Timestamp::now());
        }
    }
}

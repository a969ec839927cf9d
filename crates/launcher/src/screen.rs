//! Who sees the guest's screen. QEMU serves them all by itself, each with its own buffers; here is decided who may join
//! whom, and whose connection ends.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::life::Refusal;

/// Clients that may look at once. Each costs QEMU an encoder, and at most a few screens that it has not taken yet.
pub(crate) const MOST_VIEWERS: usize = 16;

/// How a client comes to those who are there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Manner {
    /// In their place, as KubeVirt's do.
    TakesOver,
    /// Only if nobody is there (`preserveSession`).
    UnlessInUse,
    /// Beside them.
    Shares,
}

/// Everybody who was handed to QEMU, as copies of their connections, by which they are ended; each with whose screen it
/// is, since a guest may start again.
#[derive(Debug)]
pub(crate) struct Viewers<G>(Vec<(OwnedFd, G)>);

impl<G> Viewers<G> {
    /// Nobody.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// May one more come in this manner?
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn admit(&mut self, manner: Manner) -> Result<(), Refusal> {
        self.0.retain(|(connection, _)| is_open(connection));
        match manner {
            Manner::UnlessInUse if !self.0.is_empty() => Err(Refusal {
                reason: "InUse",
                message: "Active VNC connection. Request denied.".to_owned(),
            }),
            Manner::Shares if self.0.len() >= MOST_VIEWERS => Err(Refusal {
                reason: "TooManyViewers",
                message: format!("{MOST_VIEWERS} viewers share the screen already"),
            }),
            _ => Ok(()),
        }
    }

    /// The QEMU of `guest` has taken `viewer`, who was admitted.
    pub(crate) fn add(&mut self, manner: Manner, viewer: OwnedFd, guest: G) {
        if manner != Manner::Shares {
            self.end(|_| true);
        }
        self.0.push((viewer, guest));
    }

    /// Ends the connections of those who see the screens of `these` guests.
    pub(crate) fn end(&mut self, these: impl Fn(&G) -> bool) {
        for (viewer, _) in self.0.extract_if(.., |(_, guest)| these(guest)) {
            close(&viewer);
        }
    }
}

/// Is the other end of this connection still there?
fn is_open(connection: &OwnedFd) -> bool {
    let mut looked = [PollFd::new(connection, PollFlags::RDHUP)];
    // One that cannot be looked at keeps nobody out.
    poll(&mut looked, Some(&Timespec::default())).is_ok_and(|_| looked[0].revents().is_empty())
}

/// Ends a connection whose other copies are in QEMU.
pub(crate) fn close(connection: &OwnedFd) {
    // It may be closed already.
    let _ = rustix::net::shutdown(connection, rustix::net::Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    fn come(viewers: &mut Viewers<u8>, manner: Manner) -> Result<UnixStream, &'static str> {
        let admitted = viewers.admit(manner);
        admitted.map_err(|refusal| refusal.reason)?;
        let (own, its) = UnixStream::pair().expect("a pair");
        viewers.add(manner, its.into(), 1);
        Ok(own)
    }

    fn is_ended(mut viewer: &UnixStream) -> bool {
        viewer.set_nonblocking(true).expect("set");
        matches!(viewer.read(&mut [0]), Ok(0))
    }

    #[test]
    fn viewers_share_and_who_does_not_share_is_alone() {
        let mut viewers = Viewers::none();
        let one = come(&mut viewers, Manner::UnlessInUse).expect("nobody is there");
        assert_eq!(
            come(&mut viewers, Manner::UnlessInUse).unwrap_err(),
            "InUse"
        );
        let two = come(&mut viewers, Manner::Shares).expect("beside the first");
        assert!(!is_ended(&one) && !is_ended(&two));
        let three = come(&mut viewers, Manner::TakesOver).expect("always");
        assert!(is_ended(&one) && is_ended(&two) && !is_ended(&three));
        drop(three);
        let four = come(&mut viewers, Manner::UnlessInUse).expect("the third has left");
        viewers.end(|guest| *guest == 2);
        assert!(!is_ended(&four), "another guest has ended");
        viewers.end(|guest| *guest == 1);
        assert!(is_ended(&four));
    }

    #[test]
    fn so_many_viewers_share_and_no_more_until_one_leaves() {
        let mut viewers = Viewers::none();
        let shares = |viewers: &mut Viewers<u8>| come(viewers, Manner::Shares);
        let mut all: Vec<_> = (0..MOST_VIEWERS)
            .map(|_| shares(&mut viewers).expect("room"))
            .collect();
        assert_eq!(shares(&mut viewers).unwrap_err(), "TooManyViewers");
        all.pop();
        all.push(shares(&mut viewers).expect("room again"));
        assert_eq!(shares(&mut viewers).unwrap_err(), "TooManyViewers");
        let last = come(&mut viewers, Manner::TakesOver).expect("it takes their place");
        assert!(all.iter().all(is_ended) && !is_ended(&last));
    }
}

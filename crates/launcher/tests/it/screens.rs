//! Who sees a guest's screen together with whom: QEMU's own VNC server, and the launcher that hands clients to it.

use api::launcher::{Reply, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::boot_sector::Manner;
use crate::home::{Home, Launcher, SOON, expect};

/// A client that is done with the protocol's greetings.
struct Viewer {
    stream: BufReader<UnixStream>,
    width: u16,
    height: u16,
}

impl Viewer {
    /// Comes with `request`, and says of itself whether it would share.
    async fn come(launcher: &Launcher, request: &Request, would_share: bool) -> Viewer {
        let (reply, mut stream) = launcher.open(request).await;
        assert!(matches!(reply, Reply::Ok(_)), "{reply:?}");
        expect(&mut stream, "RFB 003.008\n").await;
        stream.write_all(b"RFB 003.008\n").await.expect("sent");
        let mut viewer = Viewer {
            stream,
            width: 0,
            height: 0,
        };
        assert_eq!(viewer.read(2).await, [1, 1], "no password");
        viewer.write(&[1]).await;
        assert_eq!(viewer.read(4).await, [0; 4], "let in");
        viewer.write(&[u8::from(would_share)]).await;
        let start = viewer.read(24).await;
        let number = |at: usize| u16::from_be_bytes([start[at], start[at + 1]]);
        (viewer.width, viewer.height) = (number(0), number(2));
        let name = u32::from_be_bytes(start[20..24].try_into().expect("4 bytes"));
        viewer.read(name as usize).await;
        viewer
    }

    async fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let read = tokio::time::timeout(SOON, self.stream.read_exact(&mut bytes)).await;
        read.expect("in time").expect("it goes on");
        bytes
    }

    async fn write(&mut self, bytes: &[u8]) {
        let written = tokio::time::timeout(SOON, self.stream.write_all(bytes)).await;
        written.expect("in time").expect("it goes on");
    }

    /// Asks for the whole screen.
    async fn ask(&mut self) {
        let [width, height] = [self.width, self.height].map(u16::to_be_bytes);
        let asked = [3, 0, 0, 0, 0, 0, width[0], width[1], height[0], height[1]];
        self.write(&asked).await;
    }

    /// Gets the whole screen: raw, four bytes a pixel.
    async fn see(&mut self) {
        self.ask().await;
        let head = self.read(4).await;
        assert_eq!(head[0], 0, "a picture");
        let mut pixels = 0;
        for _ in 0..u16::from_be_bytes([head[2], head[3]]) {
            let part = self.read(12).await;
            assert_eq!(part[8..], [0; 4], "raw");
            let number = |at: usize| usize::from(u16::from_be_bytes([part[at], part[at + 1]]));
            pixels += number(4) * number(6);
            self.read(number(4) * number(6) * 4).await;
        }
        // It may have become smaller since the greeting, which was the firmware's.
        assert!(pixels >= 640 * 400, "{pixels} are no whole screen");
    }

    /// Waits until it is sent away.
    async fn ended(mut self) {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(SOON, self.stream.read_to_end(&mut rest)).await;
        // It may be cut in the middle.
        let _ = ended.expect("it ends");
    }
}

async fn with_screen(home: &Home) -> Launcher {
    let launcher = home.launcher().await;
    let mut request = home.request(Manner::Polite);
    let devices = &mut request.instance.spec.domain.devices;
    devices.autoattach_graphics_device = Some(true);
    launcher.start_guest(request).await;
    launcher.running().await;
    launcher
}

#[tokio::test]
async fn viewers_who_share_see_the_screen_together_until_one_takes_it_over() {
    let home = Home::new("together");
    let launcher = with_screen(&home).await;
    let first = Viewer::come(&launcher, &Request::VncUnlessInUse, true).await;
    let second = Viewer::come(&launcher, &Request::VncShared, true).await;
    // What it says of itself ends nobody.
    let third = Viewer::come(&launcher, &Request::VncShared, false).await;
    let mut all = [first, second, third];
    for viewer in &mut all {
        viewer.see().await;
    }
    let (reason, _) = launcher.refused(&Request::VncUnlessInUse).await;
    assert_eq!(reason, "InUse");
    let [first, second, mut third] = all;
    drop(first);
    third.see().await;
    let mut fourth = Viewer::come(&launcher, &Request::Vnc, true).await;
    second.ended().await;
    third.ended().await;
    fourth.see().await;
    // Who took it over is joined like anybody.
    let mut fifth = Viewer::come(&launcher, &Request::VncShared, false).await;
    fifth.see().await;
    fourth.see().await;
    // A guest that ends lets them go, and the launcher is still there.
    launcher.done(&Request::Kill).await;
    launcher.ended().await;
    fourth.ended().await;
    fifth.ended().await;
    launcher.end().await;
}

#[tokio::test]
async fn viewers_are_counted_and_one_that_takes_nothing_holds_up_nobody() {
    let home = Home::new("many");
    let launcher = with_screen(&home).await;
    let pid = launcher.running().await.qemu.expect("told").pid;
    let mut lazy = Viewer::come(&launcher, &Request::VncShared, true).await;
    let mut all = Vec::new();
    for _ in 1..16 {
        all.push(Viewer::come(&launcher, &Request::VncShared, true).await);
    }
    let (reason, _) = launcher.refused(&Request::VncShared).await;
    assert_eq!(reason, "TooManyViewers");
    for viewer in &mut all {
        viewer.see().await;
    }
    // QEMU looks at what was asked for between two pictures of those who take theirs.
    let before = resident(pid);
    for _ in 0..60 {
        lazy.ask().await;
        all[0].see().await;
    }
    let screen = usize::from(lazy.width) * usize::from(lazy.height) * 4;
    let grown = resident(pid).saturating_sub(before);
    assert!(
        grown < 30 * screen,
        "{grown} bytes more: of 60 screens of {screen} bytes a few may wait"
    );
    // Room for one who comes when one leaves.
    let mut leaving = all.pop().expect("one of them");
    leaving.stream.shutdown().await.expect("it leaves");
    Viewer::come(&launcher, &Request::VncShared, true)
        .await
        .see()
        .await;
    launcher.done(&Request::Kill).await;
    launcher.ended().await;
    launcher.end().await;
}

/// Bytes of memory that a process has.
fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("readable");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.expect("told").parse::<usize>().expect("a number") * 1024
}

//! What a guest uses, as its launcher counts it.

use std::net::{IpAddr, Ipv4Addr, TcpStream};

use api::launcher::{ForwardedPort, Protocol, Reply, Request, ResolvedInterface};
use api::usage::Usage;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::boot_sector::Manner;
use crate::home::{Home, Launcher, SOON};

struct Counted(BufReader<UnixStream>);

impl Counted {
    async fn of(launcher: &Launcher) -> Self {
        let (reply, stream) = launcher.open(&Request::Usage).await;
        assert!(matches!(reply, Reply::Ok(_)), "{reply:?}");
        Self(stream)
    }

    async fn now(&mut self) -> Option<Usage> {
        let asked = async {
            self.0.write_all(b"\n").await.expect("asked");
            let mut line = String::new();
            self.0.read_line(&mut line).await.expect("read");
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
        };
        tokio::time::timeout(SOON, asked).await.expect("in time")
    }

    async fn until(&mut self, what: &str, wanted: impl Fn(&Usage) -> bool) -> Usage {
        let waiting = async {
            loop {
                let usage = self.now().await.expect("a guest runs");
                if wanted(&usage) {
                    return usage;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let found = tokio::time::timeout(SOON, waiting).await;
        found.unwrap_or_else(|_| panic!("never {what}"))
    }
}

#[tokio::test]
async fn what_a_guest_uses_is_counted_from_its_start_to_its_end() {
    let home = Home::new("usage");
    let launcher = home.launcher().await;
    let mut counted = Counted::of(&launcher).await;
    assert_eq!(counted.now().await, None, "nothing runs");

    let address = Ipv4Addr::new(127, 64, 251, 9);
    let port = 2022;
    let mut request = home.request(Manner::Polite);
    request.interfaces.push(ResolvedInterface {
        name: "default".to_owned(),
        mac: "02:00:00:00:00:09".to_owned(),
        model: "virtio".to_owned(),
        address: IpAddr::V4(address),
        ports: vec![ForwardedPort {
            protocol: Protocol::Tcp,
            port,
        }],
    });
    launcher.start_guest(request).await;
    let running = launcher.running().await;

    // The firmware has read the boot sector, and the guest polls its serial line for ever.
    let first = counted
        .until("read", |usage| {
            let boot = usage.disks.as_ref().and_then(|disks| disks.get("boot"));
            boot.is_some_and(|disk| disk.read_bytes >= 512)
        })
        .await;
    let process = running.qemu.expect("told");
    assert_eq!(
        (first.run.pid, first.run.start_time),
        (process.pid, process.start_time)
    );
    assert!(first.qemu.resident_bytes > 1 << 20, "{first:?}");
    assert!(first.helpers.resident_bytes > 100 << 10, "{first:?}");
    let later = counted
        .until("busy", |usage| {
            usage.qemu.processor_time() > first.qemu.processor_time()
        })
        .await;
    assert_eq!(later.run, first.run);
    assert_eq!(later.disks.expect("told")["boot"].written_bytes, 0);

    // A guest without a network driver: what comes for it reaches its card, and it sends nothing but what its firmware did.
    let _connection = TcpStream::connect((address, port)).expect("listens");
    counted
        .until("reached", |usage| {
            usage.interfaces["default"].received_packets > 0
        })
        .await;

    launcher.done(&Request::Kill).await;
    launcher.ended().await;
    assert_eq!(counted.now().await, None, "it has ended");
    launcher.end().await;
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(SOON, counted.0.read_to_end(&mut rest)).await;
    assert_eq!(closed.expect("in time").expect("read"), 0);
}

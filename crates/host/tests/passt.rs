//! The guest's network, with the real passt and a guest played by the test.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use host::jail::User;
use host::network::{Network, NetworkError, PASST, Protocol};
use host::process::Stream;

const DEADLINE: Duration = Duration::from_secs(10);

fn network(address: Ipv4Addr, forwards: Vec<(Protocol, u16)>) -> Network {
    let root = rustix::process::geteuid().is_root();
    Network {
        program: PathBuf::from(PASST),
        address,
        forwards,
        user: root.then(|| User {
            uid: 2_000_000_002,
            gid: 2_000_000_002,
            groups: vec![],
        }),
        log: Stream::Inherit,
    }
}

#[tokio::test]
async fn it_answers_listens_on_a_low_port_of_its_address_and_ends_with_its_socket() {
    let address = Ipv4Addr::new(127, 64, 250, 1);
    let root = rustix::process::geteuid().is_root();
    let port = if root { 22 } else { 2022 };
    let mut passt = network(address, vec![(Protocol::Tcp, port)])
        .start()
        .expect("started");
    passt.ready(DEADLINE).await.expect("answers");
    let traffic = passt.traffic();
    assert_eq!(
        traffic.sent.read(),
        (0, 0),
        "our own question is no guest's"
    );
    let _connection = TcpStream::connect((address, port)).expect("listens");
    let (mut child, socket) = passt.into_parts();
    // The connection arrives at the guest as a frame: a length and an ARP or IPv4 packet.
    let mut guest = std::os::unix::net::UnixStream::from(socket);
    guest.set_read_timeout(Some(DEADLINE)).expect("set");
    let mut length = [0; 4];
    guest.read_exact(&mut length).expect("a frame");
    let length = u64::from(u32::from_be_bytes(length));
    assert!(length >= 42);
    let (frames, bytes) = traffic.received.read();
    assert!(frames >= 1 && bytes >= length, "{traffic:?}");
    guest.flush().expect("open");
    drop(guest);
    tokio::time::timeout(DEADLINE, child.wait())
        .await
        .expect("ends")
        .expect("waited");
}

#[tokio::test]
async fn a_taken_port_is_named_before_anything_starts() {
    let address = Ipv4Addr::new(127, 64, 250, 2);
    let taken = TcpListener::bind((address, 0)).expect("free");
    let port = taken.local_addr().expect("bound").port();
    let error = network(address, vec![(Protocol::Tcp, port)])
        .start()
        .expect_err("refused");
    assert!(matches!(error, NetworkError::Port { .. }), "{error}");
    assert!(error.to_string().contains(&port.to_string()));
}

#[tokio::test]
async fn a_missing_program_is_named_with_its_package() {
    let mut missing = network(Ipv4Addr::LOCALHOST, vec![]);
    missing.program = PathBuf::from("/nonexistent/passt");
    let error = missing.start().expect_err("refused");
    assert!(
        error.to_string().contains("Debian package `passt`"),
        "{error}"
    );
}

//! A guest's network without rights: passt, one process per network card, translates between
//! Ethernet frames on a socket and ordinary sockets of its own unprivileged user.
//!
//! The guest is 10.0.2.2 behind 10.0.2.1 (the addresses of KubeVirt's masquerade binding), reaches
//! what the host reaches, but not the host's loopback, and is reached at the ports forwarded. What it
//! sends passes a cable of ours ([`cable`]), which keeps the loopback from it; so its network lasts as
//! long as the process that started it.

mod cable;
mod traffic;

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::identity::Identity;
use crate::jail::{Jail, User};
use crate::process::{Child, Ending, Program, SpawnError, Stream};
use crate::socket;

pub use traffic::{Counter, Traffic};

/// The guest's address.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The length of its network's prefix.
pub const PREFIX_LENGTH: u8 = 24;
/// The guest's gateway, which is passt itself.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 1);
/// Where Debian and Fedora put the program.
pub const PASST: &str = "/usr/bin/passt";

/// passt finds its tap socket at this number.
const SOCKET_NUMBER: i32 = 3;
/// Ethernet, ARP for IPv4.
const ARP_FRAME: usize = 42;
/// The largest packet that passt takes from a guest and gives it. A guest's connections end in
/// passt, so packets on this cable need not fit any other: large ones cost a third of the
/// processor time of 1,500 bytes.
pub const MTU: u16 = 65_520;
/// Room for so many bytes on their way between QEMU and passt, in each direction: many frames of
/// the largest size, as passt itself sets it on sockets that it opens.
const SOCKET_BUFFER: usize = 4 << 20;
/// The same from the cable to passt: far less than the 8 MiB that passt reads at once, since a read that
/// ends where that room does may cut a frame's length (see [`cable`]).
const BUFFER_TO_PASST: usize = 256 << 10;
/// Larger frames than any card sends mean that the stream is broken.
const LARGEST_FRAME: u32 = 65_600;

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What a guest's network is like.
#[derive(Debug)]
pub struct Network {
    /// passt's program.
    pub program: PathBuf,
    /// Our address at which the forwarded ports are reached; only listened on if there are any.
    pub address: Ipv4Addr,
    /// Ports of the guest that are reached at the same number of `address`. Each once.
    pub forwards: Vec<(Protocol, u16)>,
    /// passt's user. Needed if we are root, impossible if we are not.
    pub user: Option<User>,
    /// Where passt writes its messages.
    pub log: Stream,
}

/// A guest's network that runs.
#[derive(Debug)]
pub struct Passt {
    child: Child,
    traffic: Arc<Traffic>,
    /// The end for QEMU (`-netdev stream` or `socket` by descriptor): frames with a length of four
    /// bytes, big endian, before each. When it is closed everywhere, passt ends.
    pub socket: OwnedFd,
    /// The name servers that the guest is told. Empty: the host has none but on its loopback.
    pub name_servers: Vec<Ipv4Addr>,
}

/// The socket of a guest's network card, before anything carries what passes there.
#[derive(Debug)]
pub struct Card {
    /// The end for QEMU, as [`Passt::socket`].
    pub socket: OwnedFd,
    /// The other end.
    pub end: CardEnd,
}

/// Our end of a [`Card`]. Closed, it ends the card's network.
#[derive(Debug)]
pub struct CardEnd(OwnedFd);

impl Card {
    /// A new one, at which nobody listens yet.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn new() -> io::Result<Self> {
        let (socket, end) = socket::pair()?;
        for end in [&socket, &end] {
            set_buffer(end, SOCKET_BUFFER)?;
        }
        Ok(Self {
            socket,
            end: CardEnd(end),
        })
    }
}

/// What carries a guest's network.
#[derive(Debug)]
pub struct Carrier {
    child: Child,
    traffic: Arc<Traffic>,
    name_servers: Vec<Ipv4Addr>,
}

impl Carrier {
    /// Its process.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.child.identity()
    }

    /// What passes through the guest's card.
    #[must_use]
    pub fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// Its process, whose end somebody has to wait for.
    #[must_use]
    pub fn into_child(self) -> Child {
        self.child
    }
}

/// A guest's network was not started.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The program is not installed.
    #[error("{} is missing: install the Debian package `passt`", program.display())]
    Missing {
        /// Where it was looked for.
        program: PathBuf,
    },
    /// A port to forward is taken.
    #[error("cannot listen on {protocol:?} port {address} to forward it to the guest: {source}")]
    Port {
        /// Its protocol.
        protocol: Protocol,
        /// Its address.
        address: SocketAddrV4,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The program could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// It ended, e.g. because the host has no default route; its log has its message.
    #[error("passt ended at once with {0}; does the host have a default route for IPv4?")]
    Ended(Ending),
    /// It does not answer.
    #[error("passt did not answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// Anything else.
    #[error("cannot prepare the guest's network: {0}")]
    Io(#[from] io::Error),
}

impl Network {
    /// Starts passt, in a session of its own. It ends by itself when QEMU does.
    ///
    /// # Errors
    /// [`NetworkError`]; nothing runs then.
    pub fn start(self) -> Result<Passt, NetworkError> {
        let Card { socket, end } = Card::new()?;
        let Carrier {
            child,
            traffic,
            name_servers,
        } = self.carry(end)?;
        Ok(Passt {
            child,
            traffic,
            socket,
            name_servers,
        })
    }

    /// Starts passt for a card that a QEMU has already. It ends by itself when that QEMU does.
    ///
    /// # Errors
    /// [`NetworkError`]; nothing runs then, and the card's network has ended.
    pub fn carry(self, CardEnd(end): CardEnd) -> Result<Carrier, NetworkError> {
        if !self.program.is_file() {
            return Err(NetworkError::Missing {
                program: self.program,
            });
        }
        for (protocol, port) in &self.forwards {
            check_free(*protocol, SocketAddrV4::new(self.address, *port))?;
        }
        let name_servers = name_servers();
        let low_ports = self.user.is_some() && self.forwards.iter().any(|(_, port)| *port < 1024);
        let (ours, theirs) = socket::pair()?;
        set_buffer(&theirs, SOCKET_BUFFER)?;
        set_buffer(&ours, BUFFER_TO_PASST)?;
        let child = Program::new(&self.program)
            .arguments(arguments(self.address, &self.forwards, &name_servers))
            .inherit(theirs, SOCKET_NUMBER)
            .new_session()
            .stderr(self.log)
            .jail(Jail {
                user: self.user,
                low_ports,
                ..Jail::default()
            })
            .spawn()?;
        let traffic = Arc::<Traffic>::default();
        cable::join(end, ours, Arc::clone(&traffic))?;
        Ok(Carrier {
            child,
            traffic,
            name_servers,
        })
    }
}

impl Passt {
    /// Its process.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.child.identity()
    }

    /// What passes through the guest's card; from [`Passt::ready`] on that is the guest's own.
    #[must_use]
    pub fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// Splits into the process, whose end somebody has to wait for, and the socket for QEMU.
    #[must_use]
    pub fn into_parts(self) -> (Child, OwnedFd) {
        (self.child, self.socket)
    }

    /// Waits until it answers, by asking for the gateway's hardware address as a guest would.
    /// Only before the socket is handed to QEMU.
    ///
    /// # Errors
    /// [`NetworkError::Ended`] if it ended instead, [`NetworkError::Silent`] at the deadline.
    pub async fn ready(&mut self, deadline: Duration) -> Result<(), NetworkError> {
        let stream = std::os::unix::net::UnixStream::from(self.socket.try_clone()?);
        stream.set_nonblocking(true)?;
        let mut stream = tokio::net::UnixStream::from_std(stream)?;
        let answered = async {
            stream.write_all(&arp_request()).await?;
            while !is_arp_reply(&read_frame(&mut stream).await?) {}
            Ok::<_, io::Error>(())
        };
        let result = tokio::time::timeout(deadline, answered).await;
        // QEMU gets the socket as blocking as it was made; it sets what it needs.
        std::os::unix::net::UnixStream::from(self.socket.try_clone()?).set_nonblocking(false)?;
        self.traffic.forget();
        match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error))
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe
                ) =>
            {
                match tokio::time::timeout(deadline, self.child.wait()).await {
                    Ok(ending) => Err(NetworkError::Ended(ending?)),
                    Err(_) => Err(NetworkError::Silent(deadline)),
                }
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(NetworkError::Silent(deadline)),
        }
    }
}

fn arguments(
    address: Ipv4Addr,
    forwards: &[(Protocol, u16)],
    name_servers: &[Ipv4Addr],
) -> Vec<String> {
    let ports = |wanted: Protocol| {
        let ports: Vec<String> = forwards
            .iter()
            .filter(|(protocol, _)| *protocol == wanted)
            .map(|(_, port)| port.to_string())
            .collect();
        if ports.is_empty() {
            "none".to_owned()
        } else {
            format!("{address}/{}", ports.join(","))
        }
    };
    // Given the socket, it ends with it by itself and refuses `--one-off`.
    let mut arguments: Vec<String> = ["--foreground", "--stderr", "--ipv4-only", "--no-map-gw"]
        .map(str::to_owned)
        .to_vec();
    let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    option("--fd", SOCKET_NUMBER.to_string());
    option("--address", GUEST.to_string());
    option("--netmask", PREFIX_LENGTH.to_string());
    option("--gateway", GATEWAY.to_string());
    option("--tcp-ports", ports(Protocol::Tcp));
    option("--udp-ports", ports(Protocol::Udp));
    for server in name_servers {
        option("--dns", server.to_string());
    }
    arguments
}

/// Gives a unix socket room for so many bytes that it has sent; as much as the host lets anybody have, if
/// we may not have more. What it receives waits in the other end's room.
fn set_buffer(socket: &OwnedFd, bytes: usize) -> io::Result<()> {
    if sockopt::set_socket_send_buffer_size_force(socket, bytes).is_err() {
        sockopt::set_socket_send_buffer_size(socket, bytes)?;
    }
    Ok(())
}

fn check_free(protocol: Protocol, address: SocketAddrV4) -> Result<(), NetworkError> {
    let bound = match protocol {
        Protocol::Tcp => TcpListener::bind(address).map(drop),
        Protocol::Udp => UdpSocket::bind(address).map(drop),
    };
    bound.map_err(|source| NetworkError::Port {
        protocol,
        address,
        source,
    })
}

/// The host's name servers that a guest can reach. One on the host's loopback cannot be; such a
/// one is usually systemd-resolved, which keeps the real ones in a file of its own.
fn name_servers() -> Vec<Ipv4Addr> {
    for path in ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"] {
        let Ok(text) = std::fs::read_to_string(Path::new(path)) else {
            continue;
        };
        let servers = parse_name_servers(&text);
        if !servers.is_empty() {
            return servers;
        }
    }
    Vec::new()
}

fn parse_name_servers(text: &str) -> Vec<Ipv4Addr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address = words
                .next()
                .filter(|word| *word == "nameserver")
                .and(words.next())?;
            address.parse::<Ipv4Addr>().ok()
        })
        .filter(|address| !address.is_loopback() && !address.is_unspecified())
        // The resolver of the C library uses three.
        .take(3)
        .collect()
}

/// Who has the gateway's address? Asked from an address that no guest has.
fn arp_request() -> Vec<u8> {
    let sender = [0x02, 0, 0, 0, 0, 0x01];
    let mut frame = Vec::with_capacity(4 + ARP_FRAME);
    frame.extend((ARP_FRAME as u32).to_be_bytes());
    frame.extend([0xff; 6]);
    frame.extend(sender);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(sender);
    frame.extend(GUEST.octets());
    frame.extend([0; 6]);
    frame.extend(GATEWAY.octets());
    frame
}

fn is_arp_reply(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x08, 0x06]) && frame.get(20..22) == Some(&[0, 2])
}

async fn read_frame(stream: &mut tokio::net::UnixStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    if length > LARGEST_FRAME {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("a frame of {length} bytes"),
        ));
    }
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_ports_are_one_option_per_protocol() {
        let forwards = [
            (Protocol::Tcp, 22),
            (Protocol::Udp, 53),
            (Protocol::Tcp, 80),
        ];
        let arguments = arguments(Ipv4Addr::new(127, 64, 0, 5), &forwards, &[]).join(" ");
        assert!(
            arguments.contains("--tcp-ports 127.64.0.5/22,80 "),
            "{arguments}"
        );
        assert!(
            arguments.contains("--udp-ports 127.64.0.5/53"),
            "{arguments}"
        );
        assert!(!arguments.contains("--dns"), "{arguments}");
    }

    #[test]
    fn name_servers_on_the_loopback_are_not_told_to_a_guest() {
        let text = "# comment\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.7\n";
        assert_eq!(parse_name_servers(text), [Ipv4Addr::new(192, 0, 2, 7)]);
        assert_eq!(parse_name_servers("options edns0"), [] as [Ipv4Addr; 0]);
    }
}

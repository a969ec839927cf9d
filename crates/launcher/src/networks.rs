//! A guest's networks: one passt for each of its cards.

use std::net::{IpAddr, SocketAddrV4, TcpListener};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::launcher::{Protocol, StartRequest};
use host::identity::{Identity, Signal};
use host::network::{Card, CardEnd, PASST, Traffic};
use host::process::{Child, Ending, Stream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::blueprint::{Blueprint, Network, Source};
use crate::files::Opened;
use crate::jail;
use crate::output::Output;
use crate::start::{ENDS_WITHIN, Home, StartError, failed};
use crate::usage::Cable;
use crate::warm;

/// passt answers within some milliseconds; on a machine busy with emulation within seconds.
const NETWORK_WITHIN: Duration = Duration::from_secs(30);

/// A guest's network has ended, and the guest has not.
#[derive(Clone, Debug)]
pub(crate) struct NetworkEnded {
    /// The network's own address.
    pub(crate) address: IpAddr,
    /// What happened, in words.
    pub(crate) how: String,
}

/// The guest's networks.
pub(crate) struct Networks {
    /// Their ends for QEMU.
    pub(crate) files: Vec<Opened>,
    /// Told of those that end.
    pub(crate) ended: mpsc::Receiver<NetworkEnded>,
    /// What carries them.
    pub(crate) cables: Vec<Cable>,
    /// What these say.
    pub(crate) outputs: Vec<Output>,
}

/// Starts them. `user` is that of their processes. A guest that is restored takes longer until it has a network than
/// these take, so nobody waits for them; see [`have_ended`].
///
/// # Errors
/// [`StartError`]; those that were started end by themselves.
pub(crate) async fn start(
    home: &Home,
    request: &StartRequest,
    blueprint: &Blueprint,
    user: Option<u32>,
) -> Result<Networks, StartError> {
    let mut started = Started::new(request, blueprint);
    for (number, index, network) in pieces(blueprint) {
        let (output, log) = log(home, index)?;
        let mut passt = described(network, user, log).start().map_err(failed)?;
        let ready = match warm::template(request) {
            Some(_) => Ok(()),
            None => passt.ready(NETWORK_WITHIN).await,
        };
        let carrier = (passt.identity().clone(), passt.traffic());
        let (process, socket) = passt.into_parts();
        let reaper = started.take(index, network.address.into(), carrier, process);
        if let Err(error) = ready {
            drop(socket);
            let _ = tokio::time::timeout(NETWORK_WITHIN, reaper).await;
            return Err(match output.last_words().await {
                words if words.is_empty() => failed(error),
                words => StartError(format!("{error}; passt said: {words}")),
            });
        }
        started.networks.outputs.push(output);
        started.networks.files.push(Opened {
            number,
            file: socket,
        });
    }
    Ok(started.networks)
}

/// Our ends of the cards of a guest whose machine is not known yet, by the cards' numbers.
pub(crate) type Ends = Vec<(usize, CardEnd)>;

/// Makes the sockets of a guest's cards, with nobody at our ends.
///
/// # Errors
/// [`StartError`]: the kernel has none.
pub(crate) fn cards(blueprint: &Blueprint) -> Result<(Networks, Ends), StartError> {
    let mut networks = Networks {
        files: Vec::new(),
        ended: mpsc::channel(1).1,
        cables: Vec::new(),
        outputs: Vec::new(),
    };
    let mut ends = Ends::new();
    for (number, index, _) in pieces(blueprint) {
        let card = Card::new().map_err(failed)?;
        networks.files.push(Opened {
            number,
            file: card.socket,
        });
        ends.push((index, card.end));
    }
    Ok((networks, ends))
}

/// Starts the networks of a guest that has its cards already.
///
/// # Errors
/// [`StartError`]; those that were started end with the guest's QEMU.
pub(crate) fn carry(
    home: &Home,
    request: &StartRequest,
    blueprint: &Blueprint,
    user: Option<u32>,
    ends: Ends,
) -> Result<Networks, StartError> {
    let mut started = Started::new(request, blueprint);
    for (index, end) in ends {
        let network = blueprint.networks.get(index);
        let network = network.ok_or_else(|| failed("the guest has more cards than networks"))?;
        let (output, log) = log(home, index)?;
        let carrier = described(network, user, log).carry(end).map_err(failed)?;
        let carried = (carrier.identity().clone(), carrier.traffic());
        started.take(index, network.address.into(), carried, carrier.into_child());
        started.networks.outputs.push(output);
    }
    Ok(started.networks)
}

/// The networks of a guest: the numbers of their files and of their cards.
fn pieces(blueprint: &Blueprint) -> impl Iterator<Item = (RawFd, usize, &Network)> {
    blueprint.files.iter().filter_map(|piece| {
        let Source::Network(index) = piece.source else {
            return None;
        };
        Some((piece.number, index, blueprint.networks.get(index)?))
    })
}

fn log(home: &Home, index: usize) -> Result<(Output, Stream), StartError> {
    Output::to_file(&home.directory.join(format!("passt{index}.log"))).map_err(failed)
}

fn described(network: &Network, user: Option<u32>, log: Stream) -> host::network::Network {
    let forwards = network.ports.iter().map(|port| match port.protocol {
        Protocol::Tcp => (host::network::Protocol::Tcp, port.port),
        Protocol::Udp => (host::network::Protocol::Udp, port.port),
    });
    // Ports that nobody named are left out where something else has them.
    let free = |port: u16| TcpListener::bind(SocketAddrV4::new(network.address, port)).is_ok();
    let forwards = forwards
        .filter(|(_, port)| network.named || free(*port))
        .collect();
    host::network::Network {
        program: PathBuf::from(PASST),
        address: network.address,
        forwards,
        user: user.map(jail::user),
        log,
    }
}

/// Networks that were started so far.
struct Started<'a> {
    networks: Networks,
    tell: mpsc::Sender<NetworkEnded>,
    request: &'a StartRequest,
}

impl<'a> Started<'a> {
    fn new(request: &'a StartRequest, blueprint: &Blueprint) -> Self {
        // Each network ends once.
        let (tell, ended) = mpsc::channel(blueprint.networks.len().max(1));
        let networks = Networks {
            files: Vec::new(),
            ended,
            cables: Vec::new(),
            outputs: Vec::new(),
        };
        Self {
            networks,
            tell,
            request,
        }
    }

    /// Notes what carries the network of that card, and waits for its end in a task of its own.
    fn take(
        &mut self,
        index: usize,
        address: IpAddr,
        (identity, traffic): (Identity, Arc<Traffic>),
        mut process: Child,
    ) -> JoinHandle<()> {
        if let Some(interface) = self.request.interfaces.get(index) {
            self.networks.cables.push(Cable {
                name: interface.name.clone(),
                process: identity,
                traffic,
            });
        }
        // It ends with its socket, so mostly with QEMU, of whose end the owner hears in this time.
        let tell = self.tell.clone();
        tokio::spawn(async move {
            let how = match process.wait().await {
                Ok(Ending::Exited(code)) => format!("passt ended with status {code}"),
                Ok(Ending::Signalled(signal)) => format!("passt was ended by signal {signal}"),
                Err(error) => format!("passt is lost: {error}"),
            };
            tokio::time::sleep(ENDS_WITHIN).await;
            // Nobody listens once the guest is gone.
            let _ = tell.try_send(NetworkEnded { address, how });
        })
    }
}

/// Says whether any of them has ended already, and why.
pub(crate) async fn have_ended(cables: &[Cable], outputs: Vec<Output>) -> Option<StartError> {
    for (cable, output) in cables.iter().zip(outputs) {
        match cable.process.is_running() {
            Ok(true) => {}
            Ok(false) => {
                let words = output.last_words().await;
                let name = &cable.name;
                return Some(StartError(format!(
                    "the network {name} ended at once: {words}"
                )));
            }
            Err(error) => return Some(failed(error)),
        }
    }
    None
}

/// Ends what carries the networks of a guest that is gone, so that another one can have their addresses.
pub(crate) async fn end(cables: &[Cable]) {
    for cable in cables {
        if let Err(error) = cable.process.signal(Signal::Kill) {
            tracing::warn!("cannot end the network {}: {error}", cable.name);
        }
        let ended = tokio::time::timeout(ENDS_WITHIN, cable.process.ended()).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::warn!("the network {} has not ended", cable.name);
        }
    }
}

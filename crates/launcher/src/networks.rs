//! A guest's networks: one passt for each of its cards.

use std::net::{IpAddr, SocketAddrV4, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use api::launcher::{Protocol, StartRequest};
use host::identity::Signal;
use host::network::PASST;
use host::process::Ending;
use tokio::sync::mpsc;

use crate::blueprint::{Blueprint, Source};
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
    let mut inherited = Vec::new();
    let (mut cables, mut outputs) = (Vec::new(), Vec::new());
    // Each network ends once.
    let (tell, networks) = mpsc::channel(blueprint.networks.len().max(1));
    for piece in &blueprint.files {
        let Source::Network(index) = piece.source else {
            continue;
        };
        let Some(network) = blueprint.networks.get(index) else {
            continue;
        };
        let forwards = network.ports.iter().map(|port| match port.protocol {
            Protocol::Tcp => (host::network::Protocol::Tcp, port.port),
            Protocol::Udp => (host::network::Protocol::Udp, port.port),
        });
        // Ports that nobody named are left out where something else has them.
        let free = |port: u16| TcpListener::bind(SocketAddrV4::new(network.address, port)).is_ok();
        let forwards = forwards
            .filter(|(_, port)| network.named || free(*port))
            .collect();
        let (output, log) =
            Output::to_file(&home.directory.join(format!("passt{index}.log"))).map_err(failed)?;
        let address = network.address;
        let network = host::network::Network {
            program: PathBuf::from(PASST),
            address: network.address,
            forwards,
            user: user.map(jail::user),
            log,
        };
        let mut passt = network.start().map_err(failed)?;
        let ready = match warm::template(request) {
            Some(_) => Ok(()),
            None => passt.ready(NETWORK_WITHIN).await,
        };
        if let Some(interface) = request.interfaces.get(index) {
            cables.push(Cable {
                name: interface.name.clone(),
                process: passt.identity().clone(),
                traffic: passt.traffic(),
            });
        }
        let (mut process, socket) = passt.into_parts();
        // It ends with its socket, so mostly with QEMU, of whose end the owner hears in this time.
        let tell = tell.clone();
        let reaper = tokio::spawn(async move {
            let how = match process.wait().await {
                Ok(Ending::Exited(code)) => format!("passt ended with status {code}"),
                Ok(Ending::Signalled(signal)) => format!("passt was ended by signal {signal}"),
                Err(error) => format!("passt is lost: {error}"),
            };
            tokio::time::sleep(ENDS_WITHIN).await;
            // Nobody listens once the guest is gone.
            let _ = tell.try_send(NetworkEnded {
                address: address.into(),
                how,
            });
        });
        if let Err(error) = ready {
            drop(socket);
            let _ = tokio::time::timeout(NETWORK_WITHIN, reaper).await;
            return Err(match output.last_words().await {
                words if words.is_empty() => failed(error),
                words => StartError(format!("{error}; passt said: {words}")),
            });
        }
        outputs.push(output);
        inherited.push(Opened {
            number: piece.number,
            file: socket,
        });
    }
    Ok(Networks {
        files: inherited,
        ended: networks,
        cables,
        outputs,
    })
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

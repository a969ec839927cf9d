//! The serial console: a websocket of `subresources.kubevirt.io`, with the person's terminal at this end.

use std::time::Duration;

use api::names;
use api::virtual_machine_instance::{Phase, VirtualMachineInstance};
use futures::{SinkExt, Stream, StreamExt};
use http::header;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use kube::Api;
use kube::client::Body;
use kube::runtime::watcher::{self, Event};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::connect::Connection;
use crate::failure::{Exit, Failure, chain};
use crate::terminal::{self, Raw};
use crate::{output, power};

/// Ctrl+] as the terminal sends it: leaves the console, as virtctl's.
const ESCAPE: u8 = 29;

pub(crate) async fn run(
    connection: &Connection,
    name: &str,
    minutes: u32,
) -> Result<Exit, Failure> {
    let name = power::plain(name);
    let limit = Duration::from_secs(u64::from(minutes) * 60);
    wait_until_running(connection, name, limit).await?;
    let socket = open(connection, name).await?;
    let raw = Raw::enter()
        .map_err(|error| Failure::new(format!("cannot make the terminal raw: {error}")))?;
    // In raw mode a new line needs the carriage return as well.
    output::hint(&format!(
        "Successfully connected to {name} console. Press Ctrl+] to leave.\r"
    ));
    let end = attend(socket, terminal::keys(), raw.is_some(), output::bytes).await;
    drop(raw);
    if let Ok(End::Left) = end {
        output::hint("");
    }
    match end? {
        End::Left => Ok(Exit::Ok),
        End::Closed => {
            output::hint(&format!(
                "The console was closed: {name} ended, or somebody else opened it."
            ));
            Ok(Exit::Ok)
        }
        End::Signalled => Ok(Exit::Interrupted),
    }
}

/// Waits for the machine's instance to run.
async fn wait_until_running(
    connection: &Connection,
    name: &str,
    limit: Duration,
) -> Result<(), Failure> {
    let instances: Api<VirtualMachineInstance> =
        Api::namespaced(connection.client.clone(), &connection.namespace);
    let found = instances
        .get_opt(name)
        .await
        .map_err(|error| connection.failure(error))?;
    if readiness(found.as_ref(), name)? {
        return Ok(());
    }
    if found.is_none() {
        let stopped = Failure::new(format!("VM {name} does not run"))
            .exit(Exit::NotFound)
            .fix(&format!("anyvirt start {name}"), "starts it");
        let told = power::not_found(connection, name, stopped).await;
        if told.message.starts_with("no VM") {
            return Err(told);
        }
    }
    output::hint(&format!(
        "Waiting for {name} to run (Ctrl+C stops waiting) ..."
    ));
    let configuration = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = Box::pin(watcher::watcher(instances, configuration));
    let wait = async {
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(instance) | Event::InitApply(instance)) => {
                    if readiness(Some(&instance), name)? {
                        return Ok(());
                    }
                }
                Ok(Event::Delete(_) | Event::Init | Event::InitDone) => {}
                // The watcher tries again by itself, and the time limit bounds that.
                Err(error) => output::hint(&format!("watching {name}: {}", chain(&error))),
            }
        }
        Err(Failure::new(format!("watching {name} ended")))
    };
    tokio::time::timeout(limit, wait).await.unwrap_or_else(|_| {
        let message = format!("{name} did not run within {} minutes", limit.as_secs() / 60);
        Err(Failure::new(message).exit(Exit::TimedOut).fix(
            &format!("kubectl describe vmi {name}"),
            "shows what it waits for",
        ))
    })
}

/// Does it run? A failure if it never will.
fn readiness(instance: Option<&VirtualMachineInstance>, name: &str) -> Result<bool, Failure> {
    let phase = instance
        .and_then(|found| found.status.as_ref())
        .and_then(|status| status.phase);
    match phase {
        Some(Phase::Running) => Ok(true),
        Some(phase) if phase.is_final() => {
            Err(Failure::new(format!("VMI {name} has ended: {phase}"))
                .exit(Exit::Conflict)
                .fix(&format!("anyvirt logs {name}"), "shows what it wrote"))
        }
        _ => Ok(false),
    }
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

async fn open(connection: &Connection, name: &str) -> Result<Socket, Failure> {
    let path = connection.subresource("virtualmachineinstances", name, "console");
    let request = http::Request::get(&path)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, generate_key())
        .header(header::SEC_WEBSOCKET_PROTOCOL, names::PLAIN_STREAM_PROTOCOL)
        .body(Body::empty())
        .map_err(|error| Failure::new(format!("{path}: {error}")))?;
    let response = connection
        .open_stream(request)
        .await
        .map_err(|error| connection.failure(error))?;
    if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(response).await);
    }
    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(|error| Failure::new(format!("{path}: the connection broke off: {error}")))?;
    Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await)
}

/// What the server answered instead of a console: a Status, or plain text.
async fn refusal(response: http::Response<Body>) -> Failure {
    let status = response.status();
    let exit = match status.as_u16() {
        404 => Exit::NotFound,
        409 => Exit::Conflict,
        401 | 403 => Exit::Forbidden,
        _ => Exit::Failure,
    };
    let body = match response.into_body().collect_bytes().await {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => error.to_string(),
    };
    let message = serde_json::from_str::<serde_json::Value>(&body)
        .ok()
        .and_then(|object| object.get("message")?.as_str().map(str::to_owned));
    let message = message
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| format!("{status}: {body}"));
    Failure::new(message).exit(exit)
}

#[derive(Debug, Eq, PartialEq)]
enum End {
    /// The person left.
    Left,
    /// The other end closed.
    Closed,
    /// A signal asked the program to end.
    Signalled,
}

/// Passes bytes in both directions until one side ends. Where standard input is no terminal, its end
/// does not end the console: what the guest writes is still to be seen.
async fn attend(
    mut socket: Socket,
    mut keys: mpsc::Receiver<Vec<u8>>,
    interactive: bool,
    mut show: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<End, Failure> {
    let mut typing = true;
    let failed = |error: std::io::Error| Failure::new(format!("cannot wait for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    loop {
        tokio::select! {
            bytes = keys.recv(), if typing => match bytes {
                None if interactive => return Ok(End::Left),
                None => typing = false,
                Some(bytes) => {
                    let left = bytes.iter().position(|byte| *byte == ESCAPE);
                    let bytes = &bytes[..left.unwrap_or(bytes.len())];
                    if !bytes.is_empty() && socket.send(Message::binary(bytes.to_vec())).await.is_err() {
                        return Ok(End::Closed);
                    }
                    if left.is_some() {
                        // The other end notices the closed connection in any case.
                        let _ = socket.close(None).await;
                        return Ok(End::Left);
                    }
                }
            },
            message = next(&mut socket) => match message {
                Some(bytes) => show(&bytes)?,
                None => return Ok(End::Closed),
            },
            _ = terminate.recv() => return Ok(End::Signalled),
            _ = hang_up.recv() => return Ok(End::Signalled),
            // In raw mode Ctrl+C is a key for the guest; this one came from elsewhere.
            _ = interrupt.recv() => return Ok(End::Signalled),
        }
    }
}

/// The next bytes; `None` at the end. Pings are answered by the socket itself.
async fn next<S>(socket: &mut S) -> Option<Vec<u8>>
where
    S: Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    loop {
        match socket.next().await? {
            Ok(Message::Binary(bytes)) => return Some(bytes.to_vec()),
            Ok(Message::Text(text)) => return Some(text.as_bytes().to_vec()),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use api::virtual_machine_instance::VirtualMachineInstanceStatus;
    use kube::Client;
    use tokio::net::TcpListener;
    use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

    use super::*;

    /// A server of one connection: says `login: `, then repeats what it is sent until that is `bye`.
    async fn echo(listener: TcpListener) -> String {
        let (stream, _) = listener.accept().await.unwrap();
        let path = Arc::new(Mutex::new(String::new()));
        let seen = Arc::clone(&path);
        #[expect(
            clippy::result_large_err,
            reason = "the shape that tungstenite asks for"
        )]
        let choose = move |request: &Request, mut response: Response| {
            *seen.lock().unwrap() = request.uri().path().to_owned();
            let offered = request.headers()[header::SEC_WEBSOCKET_PROTOCOL].clone();
            response
                .headers_mut()
                .insert(header::SEC_WEBSOCKET_PROTOCOL, offered);
            Ok(response)
        };
        let mut socket = tokio_tungstenite::accept_hdr_async(stream, choose)
            .await
            .unwrap();
        socket.send(Message::binary("login: ")).await.unwrap();
        while let Some(bytes) = next(&mut socket).await {
            socket.send(Message::binary(bytes.clone())).await.unwrap();
            if bytes == b"bye" {
                socket.close(None).await.unwrap();
            }
        }
        path.lock().unwrap().clone()
    }

    async fn attached(input: Vec<&[u8]>, interactive: bool) -> (End, String, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(echo(listener));
        let url = format!("http://{address}").parse().unwrap();
        let client = Client::try_from(kube::Config::new(url)).unwrap();
        let socket = open(&Connection::to(client, "demo"), "web").await.unwrap();
        let (sender, keys) = mpsc::channel(input.len());
        for bytes in input {
            sender.send(bytes.to_vec()).await.unwrap();
        }
        drop(sender);
        let mut shown = Vec::new();
        let end = attend(socket, keys, interactive, |bytes| {
            shown.extend_from_slice(bytes);
            Ok(())
        });
        let end = end.await.unwrap();
        (
            end,
            String::from_utf8(shown).unwrap(),
            server.await.unwrap(),
        )
    }

    #[tokio::test]
    async fn bytes_go_both_ways_until_the_other_end_closes() {
        let (end, shown, path) = attached(vec![b"root\r", b"bye"], false).await;
        assert_eq!((end, shown.as_str()), (End::Closed, "login: root\rbye"));
        let base = "/apis/subresources.kubevirt.io/v1/namespaces/demo";
        assert_eq!(path, format!("{base}/virtualmachineinstances/web/console"));
    }

    #[tokio::test]
    async fn the_escape_key_leaves_and_is_not_sent() {
        let (end, shown, _) = attached(vec![b"\x1dnever sent"], true).await;
        assert_eq!(end, End::Left);
        assert!(!shown.contains("never"), "{shown}");
    }

    #[test]
    fn an_instance_that_has_ended_is_not_waited_for() {
        let of = |phase| VirtualMachineInstance {
            status: Some(VirtualMachineInstanceStatus {
                phase,
                ..VirtualMachineInstanceStatus::default()
            }),
            ..VirtualMachineInstance::default()
        };
        assert!(!readiness(None, "a").unwrap());
        assert!(!readiness(Some(&of(Some(Phase::Scheduling))), "a").unwrap());
        assert!(readiness(Some(&of(Some(Phase::Running))), "a").unwrap());
        assert_eq!(
            readiness(Some(&of(Some(Phase::Failed))), "a")
                .unwrap_err()
                .exit,
            Exit::Conflict
        );
    }
}

//! A WebSocket in, a byte stream of a machine out, and back: consoles and screens.
//!
//! KubeVirt's protocol `plain.kubevirt.io`: binary messages, raw bytes, no channel byte. Each side waits for the
//! other, so nothing is buffered beyond one read and one message: a viewer that never reads stops its own stream only.

use apiserver::extension::ServerWebSocket;
use futures::{SinkExt as _, StreamExt as _};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::{
    Error, Message, protocol::CloseFrame, protocol::frame::coding::CloseCode,
};

/// Bytes of a machine's output in one message; KubeVirt's buffer is 10 KiB, ours a page multiple near it.
const CHUNK_BYTES: usize = 16 * 1024;

/// How often a silent client is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// A client that answers nothing for so long is gone (three missed pings).
const SILENCE_MAX: Duration = Duration::from_secs(65);

/// Copies both ways until one side ends. The other side is closed properly then.
pub(crate) async fn relay(
    mut socket: ServerWebSocket,
    stream: impl AsyncRead + AsyncWrite + Unpin,
) {
    let (mut from_machine, mut to_machine) = tokio::io::split(stream);
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut ping = tokio::time::interval(PING_INTERVAL);
    let mut heard = tokio::time::Instant::now();
    let reason = loop {
        tokio::select! {
            read = from_machine.read(&mut buffer) => match read {
                Ok(0) => break "the machine closed the stream",
                Ok(count) => {
                    let message = Message::binary(buffer[..count].to_vec());
                    // A client that takes nothing for so long is cut, like one that answers no ping.
                    match tokio::time::timeout(SILENCE_MAX, socket.send(message)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) | Err(_) => return,
                    }
                }
                Err(_) => break "the machine's stream failed",
            },
            message = socket.next() => {
                heard = tokio::time::Instant::now();
                match message {
                    Some(Ok(Message::Binary(bytes))) if to_machine.write_all(&bytes).await.is_err() => break "the machine takes no input",
                    Some(Ok(Message::Text(text))) if to_machine.write_all(text.as_bytes()).await.is_err() => break "the machine takes no input",
                    Some(Ok(Message::Close(_))) | Some(Err(Error::ConnectionClosed)) | None => return,
                    Some(Ok(_)) => {}
                    Some(Err(_)) => return,
                }
            }
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE_MAX || socket.send(Message::Ping(Vec::new().into())).await.is_err() {
                    return;
                }
            }
        }
    };
    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: reason.into(),
    };
    // The peer may be gone already; there is nobody left to tell.
    let _ = socket.close(Some(frame)).await;
}

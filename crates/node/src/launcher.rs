//! The node's side of the launcher's protocol ([`api::launcher`]).

use std::io;
use std::path::Path;
use std::time::Duration;

use api::launcher::{Reply, Request, Status, files};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

/// A status is some kilobytes; a launcher that sends more in a line is broken.
const LONGEST_LINE: u64 = 1 << 20;
/// A launcher answers from memory. One that does not within this time hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// A launcher did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LauncherError {
    /// Nobody listens: the launcher has not started yet, or is gone.
    #[error("the launcher is not there: {0}")]
    Absent(#[source] io::Error),
    /// It was there, and failed in the middle.
    #[error("the launcher cannot be talked to: {0}")]
    Broken(#[source] io::Error),
    /// It refused.
    #[error("{message}")]
    Refused {
        /// One word for programs.
        reason: String,
        /// A sentence for people.
        message: String,
    },
}

/// A connection on which the launcher has answered `Ok`. What it sent after its answer is read
/// first.
pub type Connection = BufReader<UnixStream>;

/// Asks the launcher in `directory`, and returns how it stands, and the connection for requests
/// that go on: [`Request::Watch`], [`Request::Console`], [`Request::Vnc`].
///
/// # Errors
/// [`LauncherError`].
pub(crate) async fn ask(
    directory: &Path,
    request: &Request,
) -> Result<(Status, Connection), LauncherError> {
    ask_within(directory, request, PATIENCE).await
}

/// As [`ask`], of what takes longer than an answer from memory.
///
/// # Errors
/// [`LauncherError`].
pub(crate) async fn ask_within(
    directory: &Path,
    request: &Request,
    patience: Duration,
) -> Result<(Status, Connection), LauncherError> {
    let asked = async {
        let stream = host::socket::connect(&directory.join(files::SOCKET))
            .await
            .map_err(LauncherError::Absent)?;
        let peer = host::socket::peer(&stream).map_err(LauncherError::Broken)?;
        if !peer.trusted() {
            return Err(LauncherError::Broken(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("the socket is served by user {}, not by us", peer.uid),
            )));
        }
        let mut connection = BufReader::new(stream);
        let mut line = serde_json::to_vec(request)
            .map_err(|error| LauncherError::Broken(io::Error::other(error)))?;
        line.push(b'\n');
        connection
            .write_all(&line)
            .await
            .map_err(LauncherError::Broken)?;
        let status = read_reply(&mut connection).await?;
        Ok((status, connection))
    };
    tokio::time::timeout(patience, asked)
        .await
        .unwrap_or_else(|_| {
            let late = format!("no answer within {} s", patience.as_secs());
            Err(LauncherError::Broken(io::Error::new(
                io::ErrorKind::TimedOut,
                late,
            )))
        })
}

/// Reads the next status of a connection that was opened with [`Request::Watch`]. Waits for as
/// long as nothing changes. Not safe to cancel in the middle of a line.
///
/// # Errors
/// [`LauncherError::Broken`], also when the launcher closed it.
pub(crate) async fn next_status(connection: &mut Connection) -> Result<Status, LauncherError> {
    read_reply(connection).await
}

async fn read_reply(connection: &mut Connection) -> Result<Status, LauncherError> {
    let mut line = Vec::new();
    connection
        .take(LONGEST_LINE)
        .read_until(b'\n', &mut line)
        .await
        .map_err(LauncherError::Broken)?;
    if line.last() != Some(&b'\n') {
        let closed = io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "closed before its answer ended",
        );
        return Err(LauncherError::Broken(closed));
    }
    let reply: Reply = serde_json::from_slice(&line).map_err(|error| {
        LauncherError::Broken(io::Error::new(io::ErrorKind::InvalidData, error))
    })?;
    match reply {
        Reply::Ok(status) => Ok(*status),
        Reply::Refused { reason, message } => Err(LauncherError::Refused { reason, message }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::launcher::State;

    async fn serve(directory: &Path, answer: &'static [u8]) {
        let listener = host::socket::listen(&directory.join(files::SOCKET)).expect("listening");
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("accepted");
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await.expect("a request");
            stream.write_all(answer).await.expect("answered");
        });
    }

    #[tokio::test]
    async fn bytes_after_the_answer_belong_to_the_stream() {
        let directory = tempfile::tempdir().expect("a directory");
        serve(
            directory.path(),
            b"{\"Ok\":{\"state\":\"Running\"}}\nlogin: ",
        )
        .await;
        let (status, mut stream) = ask(directory.path(), &Request::Console)
            .await
            .expect("answered");
        assert_eq!(status.state, State::Running);
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("read");
        assert_eq!(text, "login: ");
    }

    #[tokio::test]
    async fn an_absent_a_broken_and_a_refusing_launcher_are_told_apart() {
        let directory = tempfile::tempdir().expect("a directory");
        let absent = ask(directory.path(), &Request::Status).await;
        assert!(
            matches!(absent, Err(LauncherError::Absent(_))),
            "{absent:?}"
        );
        serve(directory.path(), b"{\"Ok\":").await;
        let broken = ask(directory.path(), &Request::Status).await;
        assert!(
            matches!(broken, Err(LauncherError::Broken(_))),
            "{broken:?}"
        );
        serve(
            directory.path(),
            b"{\"Refused\":{\"reason\":\"NotRunning\",\"message\":\"no\"}}\n",
        )
        .await;
        let refused = ask(directory.path(), &Request::Vnc).await;
        assert!(
            matches!(refused, Err(LauncherError::Refused { .. })),
            "{refused:?}"
        );
    }
}

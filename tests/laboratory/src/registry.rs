//! An image registry on loopback: serves layouts over HTTP as the OCI distribution specification says, and can be told to
//! misbehave.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use base64::Engine;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::images::{TAG, text};

type Body = BoxBody<Bytes, io::Error>;

/// Sent at once.
const CHUNK: usize = 64 << 10;

/// What the registry does wrong with layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Breaks the connection after this many bytes of each answer, this many times.
    BreakOff {
        /// Bytes sent before.
        after: u64,
        /// Answers broken.
        times: u32,
    },
    /// Changes the byte at this place.
    Corrupt {
        /// Which byte.
        at: u64,
    },
    /// Ignores ranges: a download that is taken up gets everything again.
    NoRanges,
}

/// A running registry. It ends when dropped.
#[derive(Debug)]
pub struct Registry {
    /// `127.0.0.1:PORT`.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    faults: Mutex<Vec<Fault>>,
    requests: Mutex<Vec<String>>,
    authorization: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// Serves `directory` on a free port of 127.0.0.1: either one image layout, which then answers to every repository
    /// name, or a folder with a layout for each repository.
    ///
    /// # Errors
    /// If no port can be had, or no thread.
    pub fn serve(directory: &Path) -> io::Result<Self> {
        Self::serve_at(directory, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// As [`serve`](Self::serve), at a given address.
    ///
    /// # Errors
    /// If the port is taken, or there is no thread.
    pub fn serve_at(directory: &Path, address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            directory: directory.to_path_buf(),
            faults: Mutex::default(),
            requests: Mutex::default(),
            authorization: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("registry".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        _ = accept(listener, served) => {}
                    }
                });
            })?;
        Ok(Self {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The reference of repository `name`, tag `latest`.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}:latest", self.address)
    }

    /// Misbehaves from now on; faults add up.
    pub fn inject(&self, fault: Fault) {
        lock(&self.shared.faults).push(fault);
    }

    /// Behaves again.
    pub fn heal(&self) {
        lock(&self.shared.faults).clear();
    }

    /// Wants this user (HTTP basic authentication) from now on.
    pub fn require(&self, username: &str, password: &str) {
        let pair =
            base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
        *lock(&self.shared.authorization) = Some(format!("Basic {pair}"));
    }

    /// All requests so far, as `METHOD path`.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared.requests).clone()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by the thread itself.
            drop(thread.join());
        }
    }
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(answer(&shared, request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
            // A client that goes away, or is cut off on purpose, is nothing to report.
            drop(connection.await);
        });
    }
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    lock(&shared.requests).push(format!("{} {path}", request.method()));
    if let Some(wanted) = lock(&shared.authorization).clone() {
        let given = request
            .headers()
            .get(header::AUTHORIZATION)
            .map(|value| value.as_bytes());
        if given != Some(wanted.as_bytes()) {
            let mut refusal = error(
                StatusCode::UNAUTHORIZED,
                "UNAUTHORIZED",
                "authentication required",
            );
            let challenge = header::HeaderValue::from_static("Basic realm=\"laboratory\"");
            refusal
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
            return refusal;
        }
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return error(
            StatusCode::METHOD_NOT_ALLOWED,
            "UNSUPPORTED",
            "this registry only reads",
        );
    }
    let Some(rest) = path.strip_prefix("/v2/") else {
        return error(
            StatusCode::NOT_FOUND,
            "NAME_UNKNOWN",
            "not a path of a registry",
        );
    };
    if rest.is_empty() {
        return whole(
            StatusCode::OK,
            "application/json",
            Bytes::from_static(b"{}"),
        );
    }
    if let Some((name, tag)) = rest.rsplit_once("/manifests/") {
        return manifest(shared, name, tag)
            .unwrap_or_else(|missing| error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", &missing));
    }
    if let Some((name, digest)) = rest.rsplit_once("/blobs/") {
        let from = range_start(request.headers().get(header::RANGE));
        return blob(shared, name, digest, from)
            .await
            .unwrap_or_else(|missing| error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", &missing));
    }
    error(
        StatusCode::NOT_FOUND,
        "NAME_UNKNOWN",
        "not a path of a registry",
    )
}

/// The layout of a repository; names can't leave the folder.
fn layout(shared: &Shared, name: &str) -> PathBuf {
    if shared.directory.join("index.json").exists() || name.split('/').any(|part| part == "..") {
        return shared.directory.clone();
    }
    shared.directory.join(name)
}

fn blob_path(layout: &Path, digest: &str) -> Result<PathBuf, String> {
    let hex = digest
        .strip_prefix("sha256:")
        .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    let hex = hex.ok_or_else(|| format!("{digest} is no digest"))?;
    Ok(layout.join("blobs/sha256").join(hex))
}

fn manifest(shared: &Shared, name: &str, tag: &str) -> Result<Response<Body>, String> {
    let layout = layout(shared, name);
    let said = |error: &dyn std::fmt::Display| format!("{name}: {error}");
    let digest = if tag.starts_with("sha256:") {
        tag.to_owned()
    } else {
        let index = std::fs::read(layout.join("index.json")).map_err(|error| said(&error))?;
        let index: Value = serde_json::from_slice(&index).map_err(|error| said(&error))?;
        let manifests = index["manifests"].as_array().cloned().unwrap_or_default();
        let tagged = manifests
            .iter()
            .find(|entry| entry["annotations"][TAG] == tag);
        tagged
            .map(|entry| text(&entry["digest"]))
            .ok_or_else(|| format!("no tag {tag} in {name}"))?
    };
    let bytes = std::fs::read(blob_path(&layout, &digest)?).map_err(|error| said(&error))?;
    let document: Value = serde_json::from_slice(&bytes).map_err(|error| said(&error))?;
    let mut response = whole(StatusCode::OK, &text(&document["mediaType"]), bytes.into());
    if let Ok(digest) = digest.parse() {
        response
            .headers_mut()
            .insert("docker-content-digest", digest);
    }
    Ok(response)
}

/// `bytes=N-` as N.
fn range_start(value: Option<&header::HeaderValue>) -> Option<u64> {
    value?
        .to_str()
        .ok()?
        .strip_prefix("bytes=")?
        .strip_suffix('-')?
        .parse()
        .ok()
}

/// What to do wrong with one answer.
#[derive(Debug, Default)]
struct Wrong {
    break_after: Option<u64>,
    corrupt_at: Option<u64>,
    no_ranges: bool,
}

fn wrong_now(shared: &Shared) -> Wrong {
    let mut wrong = Wrong::default();
    for fault in lock(&shared.faults).iter_mut() {
        match fault {
            Fault::BreakOff { times: 0, .. } => {}
            Fault::BreakOff { after, times } => {
                *times -= 1;
                wrong.break_after = Some(*after);
            }
            Fault::Corrupt { at } => wrong.corrupt_at = Some(*at),
            Fault::NoRanges => wrong.no_ranges = true,
        }
    }
    wrong
}

async fn blob(
    shared: &Shared,
    name: &str,
    digest: &str,
    from: Option<u64>,
) -> Result<Response<Body>, String> {
    let path = blob_path(&layout(shared, name), digest)?;
    let wrong = wrong_now(shared);
    let said = |error: io::Error| format!("{digest}: {error}");
    let mut file = tokio::fs::File::open(path).await.map_err(said)?;
    let size = file.metadata().await.map_err(said)?.len();
    let from = from.filter(|from| !wrong.no_ranges && *from < size);
    file.seek(io::SeekFrom::Start(from.unwrap_or(0)))
        .await
        .map_err(said)?;
    // Four chunks ahead of a slow client.
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(send(file, from.unwrap_or(0), wrong, sender));
    let body = StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(receiver));
    let mut response = Response::new(BodyExt::boxed(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, (size - from.unwrap_or(0)).into());
    let kind = header::HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    if let Some(from) = from {
        let range = format!("bytes {from}-{}/{size}", size - 1);
        if let Ok(range) = range.parse() {
            headers.insert(header::CONTENT_RANGE, range);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

async fn send(
    mut file: tokio::fs::File,
    mut offset: u64,
    wrong: Wrong,
    sender: mpsc::Sender<io::Result<Frame<Bytes>>>,
) {
    let mut left = wrong.break_after.unwrap_or(u64::MAX);
    loop {
        let mut buffer = vec![0; CHUNK];
        let read = match file.read(&mut buffer).await {
            Ok(0) => return,
            Ok(count) if left > 0 => Ok(count.min(usize::try_from(left).unwrap_or(usize::MAX))),
            Ok(_) => Err(io::Error::other("broken off on purpose")),
            Err(error) => Err(error),
        };
        let frame = read.map(|count| {
            buffer.truncate(count);
            if let Some(place) = wrong.corrupt_at.and_then(|at| at.checked_sub(offset))
                && let Some(byte) = usize::try_from(place).ok().and_then(|p| buffer.get_mut(p))
            {
                *byte ^= 1;
            }
            offset += count as u64;
            left -= count as u64;
            Frame::data(Bytes::from(buffer))
        });
        let ended = frame.is_err();
        // A client that is gone ends the answer.
        if sender.send(frame).await.is_err() || ended {
            return;
        }
    }
}

fn whole(status: StatusCode, media_type: &str, bytes: Bytes) -> Response<Body> {
    let body = Full::new(bytes).map_err(|never: Infallible| match never {});
    let mut response = Response::new(BodyExt::boxed(body));
    *response.status_mut() = status;
    if let Ok(media_type) = media_type.parse() {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, media_type);
    }
    response
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let text = json!({"errors": [{"code": code, "message": message}]}).to_string();
    whole(status, "application/json", text.into())
}

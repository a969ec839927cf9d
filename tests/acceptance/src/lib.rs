//! A stage for acceptance tests: one `anyvirt up` in a folder of its own, and the real kubectl.
//!
//! Everything waits for conditions with a deadline; nothing sleeps in the hope that it is enough.

mod memory;
pub mod starts;
pub mod torture;
pub mod warm;

pub use memory::Memory;

use futures::{AsyncBufReadExt as _, AsyncReadExt as _, StreamExt as _};
use http::Request;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// How long anything may take that needs no guest to boot. Generous: CI shares two cores.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// What a finished program said.
#[derive(Debug, Clone)]
pub struct Said {
    /// True if it ended with status 0.
    pub success: bool,
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// A running `anyvirt up` with its own data directory, port and kubeconfig.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    /// Removes the folder when the stage is taken down; none: it stays.
    _temporary: Option<tempfile::TempDir>,
    address: SocketAddr,
    options: Vec<String>,
    environment: Vec<(String, String)>,
    process: Option<Child>,
}

/// The binary under test, of the same build as this program: `target/<profile>/anyvirt`.
///
/// # Panics
/// If it was not built (`cargo build --workspace`).
pub fn anyvirt_program() -> PathBuf {
    let own = std::env::current_exe().expect("a program has a path");
    // Tests stand in target/<profile>/deps, programs in target/<profile>.
    let found = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("anyvirt"));
    found
        .into_iter()
        .find(|program| program.is_file())
        .unwrap_or_else(|| {
            panic!(
                "no anyvirt beside {}: run `cargo build --workspace`",
                own.display()
            )
        })
}

/// The unmodified kubectl that `cargo xtask setup` installed, else the one on the PATH.
pub fn kubectl_program() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/kubectl");
    if own.is_file() {
        own
    } else {
        PathBuf::from("kubectl")
    }
}

/// Runs `program` to its end. Input is empty.
///
/// # Panics
/// If it cannot be started.
#[expect(clippy::disallowed_methods, reason = "acceptance tests drive programs")]
pub fn run(program: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Said {
    let output = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
    Said {
        success: output.status.success(),
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Asks `check` again and again until it gives a value. Panics with `what` and the last refusal at the deadline.
pub fn wait_for<T>(
    what: &str,
    patience: Duration,
    mut check: impl FnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match check() {
            Ok(value) => return value,
            Err(reason) if Instant::now() > deadline => {
                panic!("waited {patience:?} for {what}: {reason}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

impl Server {
    /// Starts a server with extra `options` of `anyvirt up`, and waits until it is ready.
    pub fn start(options: &[&str]) -> Server {
        Self::start_with(options, &[])
    }

    /// The same with additions to its environment.
    pub fn start_with(options: &[&str], environment: &[(&str, &str)]) -> Server {
        let temporary = tempfile::tempdir().expect("a folder for the server");
        let folder = temporary.path().to_owned();
        Self::set_up(folder, Some(temporary), options, environment)
    }

    /// Starts a server whose folder stays when it is gone, with what an earlier one has left there.
    pub fn start_in(folder: &Path, options: &[&str]) -> Server {
        std::fs::create_dir_all(folder).expect("a folder for the server");
        // Processes are known by the files that they hold open, whose names have no detours.
        let folder = folder.canonicalize().expect("it has just been made");
        Self::set_up(folder, None, options, &[])
    }

    fn set_up(
        folder: PathBuf,
        temporary: Option<tempfile::TempDir>,
        options: &[&str],
        environment: &[(&str, &str)],
    ) -> Server {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|l| l.local_addr())
            .expect("a free port")
            .port();
        let mut server = Server {
            folder,
            _temporary: temporary,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            process: None,
        };
        server.up();
        server
    }

    /// Starts the server again in the same data directory, and waits until it says that it is ready.
    ///
    /// # Panics
    /// If it ends before, with what it wrote.
    #[expect(clippy::disallowed_methods, reason = "acceptance tests drive programs")]
    pub fn up(&mut self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("a log file");
        let mut child = Command::new(anyvirt_program())
            .arg("up")
            .args(["--data-dir", &self.data_directory().display().to_string()])
            .args(["--listen", &self.address.to_string()])
            .args(["--kubeconfig", &self.kubeconfig().display().to_string()])
            .args(&self.options)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("anyvirt starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut seen = String::new();
        loop {
            match lines.next() {
                Some(Ok(line)) => {
                    seen.push_str(&line);
                    seen.push('\n');
                    if line.starts_with("Ready") {
                        break;
                    }
                }
                _ => panic!("anyvirt up ended early:\n{seen}\n{}", self.log()),
            }
        }
        // Keep reading, so that the server never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        self.process = Some(child);
    }

    /// Ends the server with SIGKILL, at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().expect("the server runs");
            child.wait().expect("the server ends");
        }
    }

    /// The server's data directory.
    pub fn data_directory(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The kubeconfig it wrote.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A file of this stage for manifests and such.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, text).expect("the stage's folder is writable");
        path
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// What the server wrote to standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Runs kubectl against this server.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Said {
        self.kubectl_with(arguments, &[])
    }

    /// Runs kubectl with extra environment (for example `KUBE_EDITOR`).
    pub fn kubectl_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Said {
        let kubeconfig = self.kubeconfig().display().to_string();
        let cache = self.folder.join("kubectl-cache").display().to_string();
        let mut all = vec![
            "--kubeconfig",
            kubeconfig.as_str(),
            "--cache-dir",
            cache.as_str(),
        ];
        all.extend(arguments);
        run(&kubectl_program(), &all, environment)
    }

    /// Starts a kubectl that goes on, such as a watch.
    pub fn watch(&self, arguments: &[&str]) -> Console {
        Console::start(&kubectl_program(), arguments, self)
    }

    /// Runs kubectl, which must succeed; its standard output.
    ///
    /// # Panics
    /// With everything it said, if it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let said = self.try_kubectl(arguments);
        assert!(
            said.success,
            "kubectl {} failed:\n{}{}\nserver log:\n{}",
            arguments.join(" "),
            said.out,
            said.err,
            tail(&self.log())
        );
        said.out
    }

    /// Runs `anyvirt` with this server's kubeconfig.
    pub fn anyvirt(&self, arguments: &[&str]) -> Said {
        let kubeconfig = self.kubeconfig().display().to_string();
        run(
            &anyvirt_program(),
            arguments,
            &[("KUBECONFIG", kubeconfig.as_str())],
        )
    }

    /// Applies a manifest given as text.
    pub fn apply(&self, manifest: &str) -> String {
        let path = self.file("apply.yaml", manifest);
        self.kubectl(&["apply", "-f", &path.display().to_string()])
    }

    /// One object as JSON, or None if it is not there.
    pub fn get(&self, kind: &str, name: &str, namespace: &str) -> Option<Value> {
        let said = self.try_kubectl(&["-n", namespace, "get", kind, name, "-o", "json"]);
        said.success
            .then(|| serde_json::from_str(&said.out).expect("kubectl prints JSON"))
    }

    /// Waits until the condition `kind_of_condition` of an object is true.
    pub fn wait_condition(&self, kind: &str, name: &str, kind_of_condition: &str) {
        let what = format!("{kind}/{name} {kind_of_condition}");
        wait_for(&what, PATIENCE, || {
            let object = self.get(kind, name, "default").ok_or("no such object")?;
            let conditions = object["status"]["conditions"].as_array();
            let holds = conditions.into_iter().flatten().any(|condition| {
                condition["type"] == kind_of_condition && condition["status"] == "True"
            });
            if holds {
                Ok(())
            } else {
                Err(format!("{object}; server log:\n{}", tail(&self.log())))
            }
        });
    }

    /// Waits until the object's JSON at `pointer` equals `value`; the object.
    pub fn wait_until(
        &self,
        kind: &str,
        name: &str,
        pointer: &str,
        value: &str,
        patience: Duration,
    ) -> Value {
        wait_for(
            &format!("{kind}/{name} {pointer} = {value}"),
            patience,
            || {
                let object = self.get(kind, name, "default").ok_or("no such object")?;
                match object.pointer(pointer) {
                    Some(Value::String(found)) if found == value => Ok(object),
                    found => Err(format!(
                        "it is {found:?}; server log:\n{}",
                        tail(&self.log())
                    )),
                }
            },
        )
    }
}

/// The last lines of a long text, enough to see why something failed.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

impl Drop for Server {
    /// Ends the server, and every machine it started: they outlive it on purpose.
    fn drop(&mut self) {
        if self.process.is_some() {
            let _ = self.try_kubectl(&[
                "delete",
                "vm,vmi",
                "--all",
                "--all-namespaces",
                "--timeout=20s",
                "--force",
                "--grace-period=0",
            ]);
        }
        self.kill();
        end_processes_of(&self.data_directory());
    }
}

/// Processes that belong to a data directory: named on their command line, or by a file they hold open.
///
/// Machines outlive the server on purpose, so a test must end its own; nobody else's is ever touched.
pub fn processes_of(data_directory: &Path) -> Vec<u32> {
    let needle = data_directory.display().to_string();
    let belongs = |process: &Path| {
        let command = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let named = String::from_utf8_lossy(&command).contains(&needle);
        let holds = || {
            let files = std::fs::read_dir(process.join("fd"))
                .into_iter()
                .flatten()
                .flatten();
            files
                .filter_map(|file| std::fs::read_link(file.path()).ok())
                .any(|target| target.starts_with(data_directory))
        };
        named || holds()
    };
    let processes = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    processes
        .filter_map(|path| Some((path.file_name()?.to_str()?.parse::<u32>().ok()?, path)))
        .filter(|(process, path)| *process != std::process::id() && belongs(path))
        .map(|(process, _)| process)
        .collect()
}

fn end_processes_of(data_directory: &Path) {
    for process in processes_of(data_directory) {
        run(Path::new("kill"), &["-KILL", &process.to_string()], &[]);
    }
}

/// A program that goes on, with pipes for a terminal: a guest's console, or a watch.
#[derive(Debug)]
pub struct Console {
    process: Child,
    seen: std::sync::Arc<std::sync::Mutex<String>>,
    read: usize,
}

impl Console {
    /// Attaches to the serial console of the VMI `name`.
    ///
    /// # Panics
    /// If the program cannot be started.
    pub fn attach(server: &Server, name: &str) -> Console {
        Console::start(&anyvirt_program(), &["console", name], server)
    }

    /// Starts a program with this server's kubeconfig.
    fn start(program: &Path, arguments: &[&str], server: &Server) -> Console {
        let kubeconfig = server.kubeconfig().display().to_string();
        Console::with(program, arguments, &[("KUBECONFIG", &kubeconfig)])
    }

    /// Starts a program whose streams are a terminal's.
    ///
    /// # Panics
    /// If the program cannot be started.
    pub fn run(program: &Path, arguments: &[&str]) -> Console {
        Console::with(program, arguments, &[])
    }

    /// The process.
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    #[expect(clippy::disallowed_methods, reason = "acceptance tests drive programs")]
    fn with(program: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Console {
        let mut process = Command::new(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let seen = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let mut output = process.stdout.take().expect("piped");
        let sink = std::sync::Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = std::io::Read::read(&mut output, &mut buffer) {
                sink.lock()
                    .expect("nobody panics here")
                    .push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        Console {
            process,
            seen,
            read: 0,
        }
    }

    /// Types `text`.
    ///
    /// # Panics
    /// If the console has ended.
    pub fn send(&mut self, text: &str) {
        let input = self.process.stdin.as_mut().expect("piped");
        std::io::Write::write_all(input, text.as_bytes()).expect("the console takes input");
        std::io::Write::flush(input).expect("the console takes input");
    }

    /// Waits until `text` appears behind what was expected before; everything up to it.
    pub fn expect(&mut self, text: &str, patience: Duration) -> String {
        self.expect_one_of(&[text], patience).1
    }

    /// Waits until one of these texts appears behind what was expected before: which, and everything up to it.
    pub fn expect_one_of(&mut self, texts: &[&str], patience: Duration) -> (usize, String) {
        let what = format!("{} on the console", texts.join(" or "));
        let (which, found, read) = wait_for(&what, patience, || {
            let seen = self.seen.lock().expect("nobody panics here");
            let rest = &seen[self.read..];
            let places = texts.iter().enumerate();
            let places = places.filter_map(|(which, text)| Some((rest.find(text)?, which)));
            match places.min() {
                Some((place, which)) => Ok((
                    which,
                    rest[..place].to_owned(),
                    self.read + place + texts[which].len(),
                )),
                None => Err(tail(&seen)),
            }
        });
        self.read = read;
        (which, found)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client in this process, with its connection kept open: for writes that must be fast, or must be wrong.
#[expect(missing_debug_implementations, reason = "kube's client has none")]
pub struct Client {
    runtime: tokio::runtime::Runtime,
    client: kube::Client,
}

impl Client {
    /// A client of `server`, as its administrator.
    ///
    /// # Panics
    /// If the server's kubeconfig cannot be used.
    pub fn of(server: &Server) -> Client {
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let client = runtime.block_on(async {
            let kubeconfig =
                kube::config::Kubeconfig::read_from(server.kubeconfig()).expect("a kubeconfig");
            let options = kube::config::KubeConfigOptions::default();
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
            kube::Client::try_from(config.expect("a usable kubeconfig")).expect("a client")
        });
        Client { runtime, client }
    }

    /// Sends one request with a JSON body; the status code and the answer (null if it is no JSON).
    ///
    /// # Panics
    /// If no answer comes.
    pub fn send(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        self.runtime.block_on(async {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("content-type", "application/json")
                .body(kube::client::Body::from(body.as_bytes().to_vec()))
                .expect("a request");
            let response = self
                .client
                .send(request)
                .await
                .unwrap_or_else(|error| panic!("no answer to {method} {path}: {error}"));
            let code = response.status().as_u16();
            let bytes = response
                .into_body()
                .collect_bytes()
                .await
                .expect("a whole answer");
            (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
        })
    }

    /// Gets what is no object: the status code, the entity tag, and the bytes.
    ///
    /// # Panics
    /// If no answer comes.
    pub fn get_bytes(&self, path: &str, known_tag: &str) -> (u16, String, Vec<u8>) {
        self.runtime.block_on(async {
            let request = Request::get(path)
                .header("if-none-match", known_tag)
                .body(kube::client::Body::empty())
                .expect("a request");
            let response = self
                .client
                .send(request)
                .await
                .unwrap_or_else(|error| panic!("no answer to GET {path}: {error}"));
            let code = response.status().as_u16();
            let tag = response.headers().get("etag");
            let tag = tag.map_or("", |tag| tag.to_str().expect("text")).to_owned();
            let bytes = response.into_body().collect_bytes().await;
            (code, tag, bytes.expect("a whole answer").to_vec())
        })
    }

    /// Creates the VM of a manifest in YAML, in the namespace default.
    ///
    /// # Panics
    /// If it is refused.
    pub fn create_vm(&self, manifest: &str) {
        let object: Value = serde_saphyr::from_str(manifest).expect("YAML");
        let (code, answer) = self.send(
            "POST",
            "/apis/kubevirt.io/v1/namespaces/default/virtualmachines",
            &object.to_string(),
        );
        assert_eq!(code, 201, "{answer}");
    }
    /// Gets what goes on and on: once the server has begun to answer, `then` is done, and the answer read up to the
    /// `words`, which are given with all before them.
    ///
    /// # Panics
    /// If it is refused, ends, or does not say that in time.
    pub fn follow(&self, path: &str, words: &str, then: impl FnOnce()) -> String {
        let request = Request::get(path).body(Vec::new()).expect("a request");
        let begun = self.runtime.block_on(self.client.request_stream(request));
        let mut answer = std::pin::pin!(begun.unwrap_or_else(|error| panic!("{path}: {error}")));
        then();
        let mut seen = Vec::new();
        let read = async {
            let mut byte = [0];
            while !seen.ends_with(words.as_bytes()) {
                let count = answer.read(&mut byte).await.expect("it goes on");
                assert_eq!(count, 1, "{path}: {:?}", String::from_utf8_lossy(&seen));
                seen.push(byte[0]);
            }
        };
        let limited = async { tokio::time::timeout(PATIENCE, read).await };
        let all = self.runtime.block_on(limited);
        all.unwrap_or_else(|_| panic!("no {words:?} in {:?}", String::from_utf8_lossy(&seen)));
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// Opens a stream (a WebSocket with KubeVirt's protocol, by `path`) and gives the first that it says.
    ///
    /// # Panics
    /// If it is refused, ends, or says nothing in time.
    pub fn first_words(&self, path: &str) -> Vec<u8> {
        let request = websocket(path);
        let first = async {
            let response = self.client.send(request).await.expect("an answer");
            assert_eq!(response.status(), 101, "{response:?}");
            let upgraded = hyper::upgrade::on(response).await.expect("a stream");
            let stream = TokioIo::new(upgraded);
            let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
            loop {
                match socket.next().await {
                    Some(Ok(Message::Binary(bytes))) => return bytes.to_vec(),
                    Some(Ok(Message::Ping(_))) => {}
                    other => panic!("{path}: {other:?}"),
                }
            }
        };
        let limited = async { tokio::time::timeout(PATIENCE, first).await };
        self.runtime
            .block_on(limited)
            .unwrap_or_else(|_| panic!("{path} says nothing"))
    }

    /// Presses return on the serial consoles of these VMIs of the namespace default, as soon as each runs, and waits
    /// until all have answered with `words`. Consoles that cannot be opened yet are tried again after `pause`.
    ///
    /// # Panics
    /// If one of them has not answered in `patience`.
    pub fn all_answer(&self, names: &[String], words: &str, pause: Duration, patience: Duration) {
        let (tell, running) = tokio::sync::watch::channel(BTreeSet::new());
        let all = names.iter().map(|name| {
            let mut running = running.clone();
            async move {
                // It ends only with this function.
                let _ = running.wait_for(|running| running.contains(name)).await;
                while !self.try_console(name, words).await {
                    tokio::time::sleep(pause).await;
                }
            }
        });
        let all = async {
            tokio::select! {
                () = self.follow_running(&tell) => {}
                _ = futures::future::join_all(all) => {}
            }
        };
        let limited = async { tokio::time::timeout(patience, all).await };
        self.runtime
            .block_on(limited)
            .unwrap_or_else(|_| panic!("not all of {names:?} have answered {words:?}"));
    }

    /// Tells the names of those VMIs of the namespace default that have run. By a watch: to ask again and again would
    /// take of the processors that emulated guests need. Never ends.
    async fn follow_running(&self, tell: &tokio::sync::watch::Sender<BTreeSet<String>>) {
        let path = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances?watch=1";
        loop {
            let request = Request::get(path).body(Vec::new()).expect("a request");
            let begun = self.client.request_stream(request).await;
            let mut lines = begun
                .unwrap_or_else(|error| panic!("{path}: {error}"))
                .lines();
            while let Some(Ok(line)) = lines.next().await {
                let event: Value = serde_json::from_str(&line).expect("an event");
                let object = &event["object"];
                if object["status"]["phase"] == "Running"
                    && let Some(name) = object["metadata"]["name"].as_str()
                {
                    tell.send_if_modified(|running| running.insert(name.to_owned()));
                }
            }
        }
    }

    /// False: the console cannot be opened yet, or has ended.
    async fn try_console(&self, name: &str, words: &str) -> bool {
        let path = format!(
            "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachineinstances/{name}/console"
        );
        let response = self.client.send(websocket(&path)).await.expect("an answer");
        if response.status() != 101 {
            return false;
        }
        let upgraded = hyper::upgrade::on(response).await.expect("a stream");
        let stream = TokioIo::new(upgraded);
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        let typed = Message::Binary(b"\r".to_vec().into());
        if futures::SinkExt::send(&mut socket, typed).await.is_err() {
            return false;
        }
        let mut seen = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Binary(bytes) = message {
                seen.extend_from_slice(&bytes);
            }
            if String::from_utf8_lossy(&seen).contains(words) {
                return true;
            }
        }
        false
    }
}

/// A request for a stream with KubeVirt's protocol.
fn websocket(path: &str) -> Request<kube::client::Body> {
    Request::get(path)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", generate_key())
        .header("sec-websocket-protocol", "plain.kubevirt.io")
        .body(kube::client::Body::empty())
        .expect("a request")
}

//! A launcher in a process of its own, and a client that talks to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::accelerator::Accelerator;
use api::launcher::{
    DiskFormat, Identity, Reply, Request, ResolvedInterface, ResolvedVolume, StartRequest, State,
    Status, files,
};
use host::identity::Signal;
use host::process::{Child, Ending, Program, Stream};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::boot_sector::{Manner, boot_sector};

/// Far above what anything here takes on a machine of which other tests have the rest.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// This variable makes the test program a launcher.
const ROLE: &str = "ANYVIRT_TEST_LAUNCHER_DIRECTORY";

/// The launcher of a test: started as its own process by [`Home::launcher`].
#[test]
fn launcher_process() {
    let Some(directory) = std::env::var_os(ROLE) else {
        return; // the ordinary run of all tests
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime
        .block_on(launcher::run(Path::new(&directory)))
        .expect("a launcher");
}

/// A launcher's directory, gone with this value.
pub(crate) struct Home {
    root: tempfile::TempDir,
    pub(crate) directory: PathBuf,
    pub(crate) uid: String,
}

impl Home {
    /// A new one, beside `neighbour` if given, as on one installation.
    pub(crate) fn new(uid: &str) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        Self::in_directory(root, uid)
    }

    fn in_directory(root: tempfile::TempDir, uid: &str) -> Self {
        let directory = root.path().join("machines").join(uid);
        let home = Self {
            root,
            directory,
            uid: uid.to_owned(),
        };
        home.prepare(&home.directory, uid);
        home
    }

    /// Another launcher's directory in the same installation.
    pub(crate) fn neighbour(&self, uid: &str) -> PathBuf {
        let directory = self.root.path().join("machines").join(uid);
        self.prepare(&directory, uid);
        directory
    }

    fn prepare(&self, directory: &Path, uid: &str) {
        host::socket::private_directory(directory).expect("made");
        let identity = Identity {
            namespace: "default".to_owned(),
            name: "test".to_owned(),
            uid: uid.to_owned(),
            pod_name: "virt-launcher-test-abcde".to_owned(),
            pod_uid: "pod".to_owned(),
            qemu_program: None,
            grace_period_seconds: 30,
        };
        let text = serde_json::to_vec(&identity).expect("JSON");
        std::fs::write(directory.join(files::IDENTITY), text).expect("written");
    }

    /// Moves its directory to where that of this machine is, whose identity it has then.
    pub(crate) fn move_to(&mut self, uid: &str) {
        let to = self.root.path().join("machines").join(uid);
        self.prepare(&self.directory, uid);
        std::fs::rename(&self.directory, &to).expect("moved");
        self.directory = to;
        uid.clone_into(&mut self.uid);
    }

    /// A file of the installation.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A disk with such a guest.
    pub(crate) fn disk(&self, name: &str, manner: Manner) -> PathBuf {
        let path = self.path(name);
        let mut bytes = boot_sector(manner);
        bytes.resize(1 << 20, 0);
        std::fs::write(&path, bytes).expect("written");
        path
    }

    pub(crate) async fn launcher(&self) -> Launcher {
        Launcher::start(&self.directory).await
    }

    /// A request for such a guest on a containerDisk.
    pub(crate) fn request(&self, manner: Manner) -> StartRequest {
        let path = self.disk("boot.img", manner);
        let volume = ResolvedVolume::ContainerDisk {
            path,
            format: DiskFormat::Raw,
            virtual_size_bytes: 1 << 20,
            digest: "sha256:0".to_owned(),
        };
        request(&self.uid, &json!({}), [("boot".to_owned(), volume)].into())
    }
}

/// A request for these volumes, each with a virtio disk; `domain` is merged into the domain.
pub(crate) fn request(
    uid: &str,
    domain: &Value,
    volumes: BTreeMap<String, ResolvedVolume>,
) -> StartRequest {
    let disks: Vec<Value> = volumes
        .keys()
        .map(|name| json!({"name": name, "disk": {"bus": "virtio"}}))
        .collect();
    let mut spec = json!({
        "memory": {"guest": "64Mi"},
        "devices": {"disks": disks, "autoattachGraphicsDevice": false},
    });
    for (key, value) in domain.as_object().expect("an object") {
        match (spec.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new.clone()),
            _ => spec[key] = value.clone(),
        }
    }
    StartRequest {
        instance: serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": {"name": "test", "namespace": "default", "uid": uid},
            "spec": {"domain": spec},
        }))
        .expect("a VMI"),
        accelerator: Accelerator::Tcg,
        volumes,
        kernel: None,
        interfaces: Vec::<ResolvedInterface>::new(),
        hostname: "test".to_owned(),
        firmware_uuid: "5d307ca9-b3ef-428c-8861-06e72d69f223".to_owned(),
        instance_id: "5d307ca9-b3ef-428c-8861-06e72d69f223".to_owned(),
        slowdown: None,
        qemu_version: None,
        stepped_down: None,
        warm: None,
        save_on_leaving: None,
    }
}

/// A launcher that runs.
pub(crate) struct Launcher {
    pub(crate) child: Child,
    socket: PathBuf,
}

impl Launcher {
    pub(crate) async fn start(directory: &Path) -> Self {
        let child = spawn(directory);
        let socket = directory.join(files::SOCKET);
        let launcher = Self { child, socket };
        let connected = async {
            while host::socket::connect(&launcher.socket).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await; // until it listens
            }
        };
        tokio::time::timeout(SOON, connected)
            .await
            .expect("it listens");
        launcher
    }

    /// Its directory was moved there.
    pub(crate) fn is_in(&mut self, directory: &Path) {
        self.socket = directory.join(files::SOCKET);
    }

    /// Sends a request, and gives the answer and the connection behind it.
    pub(crate) async fn open(&self, request: &Request) -> (Reply, BufReader<UnixStream>) {
        let stream = host::socket::connect(&self.socket)
            .await
            .expect("connected");
        let mut stream = BufReader::new(stream);
        let mut line = serde_json::to_vec(request).expect("JSON");
        line.push(b'\n');
        stream.write_all(&line).await.expect("sent");
        (next(&mut stream).await, stream)
    }

    pub(crate) async fn ask(&self, request: &Request) -> Reply {
        self.open(request).await.0
    }

    /// Asks for what must succeed.
    pub(crate) async fn done(&self, request: &Request) -> Status {
        match self.ask(request).await {
            Reply::Ok(status) => *status,
            Reply::Refused { reason, message } => panic!("refused: {reason}: {message}"),
        }
    }

    /// Asks for what must be refused; gives reason and message.
    pub(crate) async fn refused(&self, request: &Request) -> (String, String) {
        match self.ask(request).await {
            Reply::Ok(status) => panic!("not refused: {status:?}"),
            Reply::Refused { reason, message } => (reason, message),
        }
    }

    pub(crate) async fn start_guest(&self, request: StartRequest) -> Status {
        self.done(&Request::Start(Box::new(request))).await
    }

    /// Watches until the status is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let (first, mut stream) = self.open(&Request::Watch).await;
        let mut last = first.clone();
        let watching = async {
            let mut reply = first;
            loop {
                last = reply.clone();
                match reply {
                    Reply::Ok(status) if wanted(&status) => return *status,
                    Reply::Ok(_) => reply = next(&mut stream).await,
                    Reply::Refused { .. } => panic!("{reply:?}"),
                }
            }
        };
        match tokio::time::timeout(SOON, watching).await {
            Ok(status) => status,
            Err(_) => panic!("not {what}: {last:?}"),
        }
    }

    pub(crate) async fn running(&self) -> Status {
        self.until("running", |status| {
            assert_ne!(status.state, State::Ended, "{:?}", status.exit);
            status.state == State::Running
        })
        .await
    }

    pub(crate) async fn ended(&self) -> Status {
        self.until("ended", |status| status.state == State::Ended)
            .await
    }

    /// Ends the launcher and waits for it.
    pub(crate) async fn end(mut self) {
        self.done(&Request::End).await;
        assert_eq!(self.wait().await, Ending::Exited(0));
    }

    pub(crate) async fn wait(&mut self) -> Ending {
        tokio::time::timeout(SOON, self.child.wait())
            .await
            .expect("it ends")
            .expect("waited")
    }
}

impl Drop for Launcher {
    /// A failed test leaves nothing behind: the launcher kills its guest when it is asked to leave.
    fn drop(&mut self) {
        let _ = self.child.identity().signal(Signal::Terminate);
    }
}

pub(crate) fn spawn(directory: &Path) -> Child {
    let own = std::env::current_exe().expect("our program");
    Program::new(own)
        .arguments(["--exact", "home::launcher_process", "--nocapture"])
        .environment(ROLE, directory)
        .new_session()
        .stderr(Stream::Inherit)
        .spawn()
        .expect("spawned")
}

async fn next(stream: &mut BufReader<UnixStream>) -> Reply {
    let mut line = String::new();
    let read = tokio::time::timeout(SOON, stream.read_line(&mut line)).await;
    read.expect("in time").expect("read");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// Reads until `text` has come.
pub(crate) async fn expect(stream: &mut BufReader<UnixStream>, text: &str) {
    let mut seen = Vec::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&seen).contains(text) {
            let count = stream.read(&mut buffer).await.expect("read");
            assert_ne!(
                count,
                0,
                "closed after {:?}",
                String::from_utf8_lossy(&seen)
            );
            seen.extend_from_slice(&buffer[..count]);
        }
    };
    let found = tokio::time::timeout(SOON, reading).await;
    found.unwrap_or_else(|_| panic!("no {text:?} in {:?}", String::from_utf8_lossy(&seen)));
}

/// Waits until the file has the text.
pub(crate) async fn file_has(path: &Path, text: &str) {
    let has = async {
        while !std::fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let found = tokio::time::timeout(SOON, has).await;
    found.unwrap_or_else(|_| {
        panic!(
            "no {text:?} in {}, whose end is {:?}; its launcher's log: {}",
            path.display(),
            end_of(path),
            end_of(&path.with_file_name(files::LOG)),
        )
    });
}

/// What somebody wants to know of a file that is not as it should be.
fn end_of(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let from = bytes.len().saturating_sub(4096);
    String::from_utf8_lossy(&bytes[from..]).into_owned()
}

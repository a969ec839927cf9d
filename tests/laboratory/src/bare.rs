//! QEMU by hand, as far as templates go: a guest whose memory is a file is booted, kept, and goes on as often as one
//! likes. What anyvirt makes of it is measured and tested beside this.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use renewal::protocol::{FromGuest, FromHost, GuestDecoder, PORT};
use serde_json::{Value, json};

/// Address of the card of every guest that is started here; clones have the template's until they are renewed.
pub const MAC: &str = "52:54:00:00:00:01";

/// Firmware UUID of every guest that is started here.
pub const UUID: &str = "5d307ca9-b3ef-428c-8861-06e72d69f223";

/// What is started.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Its memory.
    pub mebibytes: u32,
    /// What it boots from and what else it has: QEMU's arguments.
    pub arguments: Vec<String>,
}

impl Shape {
    /// The small guest of these files.
    pub fn small(files: &crate::guests::SmallGuest, mebibytes: u32) -> Self {
        let arguments = [
            "-kernel",
            &files.kernel_unpacked.to_string_lossy(),
            "-initrd",
            &files.initrd.to_string_lossy(),
            "-append",
            "console=ttyS0 quiet",
        ];
        Self {
            mebibytes,
            arguments: arguments.map(str::to_owned).to_vec(),
        }
    }
}

/// A guest that was kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What it was.
    pub shape: Shape,
    /// Its memory.
    pub memory: PathBuf,
    /// The state of its devices.
    pub state: PathBuf,
}

/// A running QEMU; killed when dropped.
#[derive(Debug)]
pub struct Bare {
    qemu: Child,
    shape: Shape,
    memory: PathBuf,
    folder: tempfile::TempDir,
    monitor: BufReader<UnixStream>,
    serial: UnixStream,
    hook: UnixStream,
    ear: GuestDecoder,
    heard: Vec<FromGuest>,
    /// What the guest has written on its serial line.
    pub said: String,
}

impl Bare {
    /// Boots a guest whose memory is the new file `memory`.
    ///
    /// # Errors
    /// QEMU cannot be started, or does not answer in `patience`.
    pub fn boot(shape: &Shape, memory: &Path, patience: Duration) -> io::Result<Self> {
        let mut machine = Self::start(shape, memory, None, patience)?;
        machine.command(&json!({"execute": "cont"}))?;
        Ok(machine)
    }

    /// Goes on from a template; the guest runs when this returns.
    ///
    /// # Errors
    /// QEMU cannot be started, or refuses the state.
    pub fn restore(kept: &Kept, patience: Duration) -> io::Result<Self> {
        let mut machine = Self::start(&kept.shape, &kept.memory, Some(&kept.state), patience)?;
        machine.ignore_shared()?;
        // The state is its standard input.
        machine.command(&json!({"execute": "migrate-incoming", "arguments": {"uri": "fd:0"}}))?;
        machine.wait_for_migration(patience)?;
        machine.command(&json!({"execute": "cont"}))?;
        Ok(machine)
    }

    #[expect(clippy::disallowed_methods, reason = "this is about QEMU itself")]
    fn start(
        shape: &Shape,
        memory: &Path,
        state: Option<&Path>,
        patience: Duration,
    ) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let size = shape.mebibytes;
        let share = if state.is_none() { "on" } else { "off" };
        let backend = format!(
            "memory-backend-file,id=m,size={size}M,mem-path={},share={share}",
            memory.display()
        );
        let socket = |name: &str| {
            let path = folder.path().join(name);
            format!(
                "socket,id={name},path={},server=on,wait=off",
                path.display()
            )
        };
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-S"])
            .args([
                "-accel",
                "tcg,thread=multi",
                "-M",
                "q35,hpet=off,memory-backend=m",
            ])
            .args(["-cpu", "max,erms=off,fsrm=off,la57=off,pku=off,pks=off"])
            .args(["-uuid", UUID, "-m", &size.to_string(), "-object", &backend])
            .args(["-chardev", &socket("serial"), "-serial", "chardev:serial"])
            .args(["-device", "virtio-serial-pci", "-chardev", &socket("hook")])
            .arg("-device")
            .arg(format!("virtserialport,chardev=hook,name={PORT}"))
            .args(["-netdev", "user,id=net", "-device"])
            .arg(format!("virtio-net-pci,netdev=net,id=card,mac={MAC}"))
            .args([
                "-chardev",
                &socket("monitor"),
                "-mon",
                "chardev=monitor,mode=control",
            ])
            .args(&shape.arguments)
            .stdout(Stdio::null());
        match state {
            Some(state) => qemu.args(["-incoming", "defer"]).stdin(File::open(state)?),
            None => qemu.stdin(Stdio::null()),
        };
        let mut qemu = qemu.spawn()?;
        let until = Instant::now() + patience;
        let mut connect = |name: &str| loop {
            match UnixStream::connect(folder.path().join(name)) {
                Ok(stream) => return Ok(stream),
                Err(error) if Instant::now() > until || qemu.try_wait()?.is_some() => {
                    return Err(error);
                }
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        // Made in the order of the arguments: who has the last one has all.
        let monitor = connect("monitor")?;
        let (serial, hook) = (connect("serial")?, connect("hook")?);
        let mut machine = Self {
            qemu,
            shape: shape.clone(),
            memory: memory.to_owned(),
            monitor: BufReader::new(monitor),
            serial,
            hook,
            folder,
            ear: GuestDecoder::default(),
            heard: Vec::new(),
            said: String::new(),
        };
        machine.monitor.get_ref().set_read_timeout(Some(patience))?;
        machine.command(&json!({"execute": "qmp_capabilities"}))?;
        Ok(machine)
    }

    /// QEMU's process.
    pub fn process(&self) -> u32 {
        self.qemu.id()
    }

    /// Says a command to QEMU's monitor; gives what it returns.
    ///
    /// # Errors
    /// QEMU refuses it, or is gone.
    pub fn command(&mut self, command: &Value) -> io::Result<Value> {
        writeln!(self.monitor.get_ref(), "{command}")?;
        loop {
            let mut line = String::new();
            if self.monitor.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut answer: Value = serde_json::from_str(&line)?;
            if let Some(error) = answer.get("error") {
                return Err(io::Error::other(format!("{command}: {error}")));
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    fn ignore_shared(&mut self) -> io::Result<()> {
        let capability = json!([{"capability": "x-ignore-shared", "state": true}]);
        self.command(&json!({
            "execute": "migrate-set-capabilities", "arguments": {"capabilities": capability},
        }))
        .map(drop)
    }

    fn wait_for_migration(&mut self, patience: Duration) -> io::Result<()> {
        let until = Instant::now() + patience;
        loop {
            let answer = self.command(&json!({"execute": "query-migrate"}))?;
            match answer.get("status").and_then(Value::as_str) {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => return Err(io::Error::other(answer.to_string())),
                _ if Instant::now() > until => return Err(io::ErrorKind::TimedOut.into()),
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Stops the guest and writes the state of its devices to the new file `state`. QEMU ends.
    ///
    /// # Errors
    /// QEMU refuses it.
    pub fn keep(mut self, state: &Path, patience: Duration) -> io::Result<Kept> {
        self.command(&json!({"execute": "stop"}))?;
        self.ignore_shared()?;
        let uri = format!("exec:cat > '{}'", state.display());
        self.command(&json!({"execute": "migrate", "arguments": {"uri": uri}}))?;
        self.wait_for_migration(patience)?;
        Ok(Kept {
            shape: self.shape.clone(),
            memory: self.memory.clone(),
            state: state.to_owned(),
        })
    }

    /// Types on the serial line.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn type_in(&mut self, text: &str) -> io::Result<()> {
        self.serial.write_all(text.as_bytes())
    }

    /// Waits until the guest has written `marker` since this was last asked, and gives what it wrote until then.
    ///
    /// # Errors
    /// It did not in `patience`: with what it wrote.
    pub fn wait_for(&mut self, marker: &str, patience: Duration) -> io::Result<String> {
        let until = Instant::now() + patience;
        let mut buffer = [0; 4096];
        loop {
            if let Some(place) = self.said.find(marker) {
                let rest = self.said.split_off(place + marker.len());
                return Ok(std::mem::replace(&mut self.said, rest));
            }
            let left = until.saturating_duration_since(Instant::now());
            self.serial
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let count = self.serial.read(&mut buffer).map_err(|error| {
                io::Error::new(error.kind(), format!("no {marker:?} in {:?}", self.said))
            })?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.said
                .push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }

    /// Says `message` to the hook.
    ///
    /// # Errors
    /// It cannot be said, or QEMU is gone.
    pub fn tell(&mut self, message: &FromHost) -> io::Result<()> {
        let text = message.encode().map_err(io::Error::other)?;
        self.hook.write_all(text.as_bytes())
    }

    /// Waits for what the hook says next.
    ///
    /// # Errors
    /// It says nothing in `patience`, or what nobody understands.
    pub fn hear(&mut self, patience: Duration) -> io::Result<FromGuest> {
        let until = Instant::now() + patience;
        let mut buffer = [0; 4096];
        while self.heard.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            self.hook
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let count = self.hook.read(&mut buffer)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            for heard in self.ear.feed(&buffer[..count]) {
                self.heard.push(heard.map_err(io::Error::other)?);
            }
        }
        Ok(self.heard.remove(0))
    }

    /// The folder of its sockets.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        drop(self.qemu.kill());
        drop(self.qemu.wait());
    }
}

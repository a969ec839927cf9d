//! The protocol between the node agent and the launcher: one launcher process owns one virtual machine.
//!
//! A launcher's directory holds the files of [`files`]. On each connection to [`files::SOCKET`] the
//! client sends one line of JSON, a [`Request`], and the launcher answers with one line of JSON, a
//! [`Reply`]. After the `Ok` line of [`Request::Watch`] further status lines follow; after that of
//! [`Request::Console`] and [`Request::Vnc`] the connection carries raw bytes in both directions; after that of
//! [`Request::Usage`] each empty line of the client is answered with one line of JSON.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::accelerator::Accelerator;
use crate::virtual_machine_instance::VirtualMachineInstance;

pub mod saved;
pub mod warm;

/// The longest request line in bytes, newline included: a whole VMI with its cloud-init data fits
/// several times over, and a client that never sends a newline cannot fill the launcher's memory.
pub const LARGEST_REQUEST_BYTES: usize = 4 << 20;

/// Bound of a screenshot in bytes. A guest's screen of 16 MiB of video memory that nothing compresses is below it.
pub const LARGEST_SCREENSHOT_BYTES: usize = 24 << 20;

/// The environment variable that says what is logged, by the server and by its launchers, e.g.
/// `info,launcher=debug`.
pub const LOG_FILTER: &str = "ANYVIRT_LOG";

/// Names of the files in a launcher's directory.
pub mod files {
    /// The launcher's [`Identity`](super::Identity), written by the node before it starts the launcher.
    pub const IDENTITY: &str = "launcher.json";
    /// The unix socket on which the launcher answers.
    pub const SOCKET: &str = "launcher.sock";
    /// The latest of what the launcher itself logs, at most [`LOG_BYTES`].
    pub const LOG: &str = "launcher.log";
    /// Locked (`flock`) exactly as long as QEMU lives.
    pub const LIFE_LOCK: &str = "life.lock";
    /// The first bytes of the guest's serial console, at most [`SERIAL_LOG_BYTES`].
    pub const SERIAL_LOG: &str = "serial.log";
    /// The latest bytes of the serial console after those of [`SERIAL_LOG`], at most [`SERIAL_TAIL_BYTES`].
    pub const SERIAL_TAIL_LOG: &str = "serial.tail.log";
    /// The final [`Exit`](super::Exit), once the guest has ended.
    pub const EXIT: &str = "exit.json";
    /// How the guest's first QEMU ended, if KVM failed it and it was started again without.
    pub const FIRST_EXIT: &str = "exit.first.json";
    /// The latest of what QEMU wrote to its standard error, at most [`PROGRAM_LOG_BYTES`].
    pub const QEMU_LOG: &str = "qemu.log";
    /// Overlays, empty disks and cloud-init images.
    pub const DISKS: &str = "disks";

    /// Bound of [`SERIAL_LOG`] in bytes: a whole boot with a talkative kernel is below 200 KiB.
    pub const SERIAL_LOG_BYTES: u64 = 1 << 20;
    /// Bound of [`SERIAL_TAIL_LOG`] in bytes.
    pub const SERIAL_TAIL_BYTES: u64 = 4 << 20;
    /// Bound in bytes of [`LOG`]: a guest's whole life is some lines; what repeats, e.g. for each client
    /// that is turned away, fills no disk.
    pub const LOG_BYTES: u64 = 256 << 10;
    /// Bound in bytes of [`QEMU_LOG`], and of what other programs of a guest write: that is some lines; a
    /// guest that makes them write more fills no disk.
    pub const PROGRAM_LOG_BYTES: u64 = 256 << 10;
}

/// Whose launcher this is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Identity {
    /// Namespace of the VMI and its pod.
    pub namespace: String,
    /// Name of the VMI.
    pub name: String,
    /// UID of the VMI.
    pub uid: String,
    /// Name of the launcher pod.
    pub pod_name: String,
    /// UID of the launcher pod.
    pub pod_uid: String,
    /// The QEMU program to run; `None` lets the launcher search for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu_program: Option<PathBuf>,
    /// Seconds a guest gets to shut down by itself when nobody says otherwise.
    pub grace_period_seconds: u64,
}

/// What a client asks of a launcher.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Request {
    /// Start the guest. Starting the same VMI UID again is `Ok` and changes nothing.
    Start(Box<StartRequest>),
    /// Get a guest ready for a machine that is not known yet: restore the template of this start, which is nobody's, let
    /// its guest come to rest, and stop it. Answered when that has begun; [`Status::standby`] tells of its end. The next
    /// [`Request::Start`] adopts the guest if it can, and starts another one if not. Before it the launcher's directory may
    /// be moved, and another [`Identity`] put into it: the launcher looks at both again then.
    Prepare(Box<StartRequest>),
    /// How does it stand?
    Status,
    /// A status line now and after each change, until either side closes.
    Watch,
    /// Ask the guest to shut down (ACPI), and kill it after the grace period. 0 kills at once.
    Stop {
        /// Seconds the guest has.
        grace_period_seconds: u64,
    },
    /// Kill QEMU now.
    Kill,
    /// Stop the guest's processors.
    Pause,
    /// Let them run again.
    Unpause,
    /// Attach to the serial console; the previous client is closed.
    Console,
    /// Attach to the VNC server; the previous clients are closed.
    Vnc,
    /// Attach to the VNC server, unless another client is attached (`InUse`).
    VncUnlessInUse,
    /// Attach to the VNC server beside whoever is attached; no more than sixteen (`TooManyViewers`).
    VncShared,
    /// What the screen shows: after the answer come the bytes of a PNG of at most [`LARGEST_SCREENSHOT_BYTES`], and
    /// the end of the connection.
    Screenshot {
        /// Move the pointer first, to wake a screen that sleeps.
        move_pointer: bool,
    },
    /// What the guest uses, as often as the client asks: after the answer each empty line that it sends is answered
    /// with one line, an `Option` of [`Usage`](crate::usage::Usage), which is none while no guest runs.
    Usage,
    /// Keep the guest, which was started with [`warm::WarmStart::Keepable`] and is past its ready point, in this empty
    /// folder: the files of [`warm::files`], durable. The answer comes when that is done, and the guest has ended then,
    /// with [`ExitKind::Kept`]. Refused, and the guest runs on, with `NoHook` where nothing in the guest could renew it.
    Keep {
        /// The folder.
        directory: PathBuf,
    },
    /// Save the guest, which runs or is paused, in this empty folder: the files of [`saved::files`], durable. Any failure
    /// leaves the folder empty, and the guest goes on.
    Save {
        /// The folder.
        directory: PathBuf,
        /// The guest goes on, and the answer tells for how long it stood still. Else it has ended when the answer comes,
        /// with [`ExitKind::Saved`]. Refused with `HostDisk` where it writes to a file of the host.
        go_on: bool,
        /// Others are to go on from it: it comes to rest first, and a hook is put into it through its agent where its image
        /// has none. Refused with `NoHook` where nothing in the guest could renew them, and with `Paused` where it stands
        /// still and has not come to rest before.
        renewable: bool,
    },
    /// End the launcher; refused while a guest runs.
    End,
}

/// The launcher's answer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Reply {
    /// Done, and this is how it stands.
    Ok(Box<Status>),
    /// Not done.
    Refused {
        /// One CamelCase word for programs, e.g. `AlreadyRunning`.
        reason: String,
        /// A sentence for people.
        message: String,
    },
}

/// Everything a launcher needs to start its guest, with all names resolved to local files.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StartRequest {
    /// The object to run, defaults applied.
    pub instance: VirtualMachineInstance,
    /// The accelerator decided by [`crate::accelerator::resolve`].
    pub accelerator: Accelerator,
    /// By volume name: where each volume's bytes are.
    pub volumes: BTreeMap<String, ResolvedVolume>,
    /// A kernel to boot directly instead of the firmware's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelFiles>,
    /// The interfaces, in the order of the VMI's.
    pub interfaces: Vec<ResolvedInterface>,
    /// The guest's host name.
    pub hostname: String,
    /// SMBIOS system UUID.
    pub firmware_uuid: String,
    /// cloud-init's instance-id.
    pub instance_id: String,
    /// How many times slower than KVM this node emulates; `None` where that was not measured. Every
    /// wait of the launcher for its guest is scaled by it, see [`crate::scaling`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowdown: Option<f64>,
    /// The version of QEMU installed on this node, as `7.2.22`; `None` where that is not known yet. What it
    /// emulates well depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu_version: Option<String>,
    /// Why this is the second start of the same guest in its folder: KVM failed it. Done at most
    /// once, with another accelerator, after the first QEMU has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stepped_down: Option<KvmFailure>,
    /// What this start has to do with templates; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<warm::WarmStart>,
    /// When the launcher is told to leave (SIGTERM), it saves its guest in this folder, as [`Request::Save`] that does not
    /// go on; if that fails, the guest is shut down as ever. The folder is made, empty, by the launcher then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub save_on_leaving: Option<PathBuf>,
}

/// A kernel for direct boot.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KernelFiles {
    /// The kernel image.
    pub kernel: PathBuf,
    /// The initial RAM disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<PathBuf>,
}

/// A volume as local bytes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ResolvedVolume {
    /// An image from a registry: a read-only backing file; the launcher puts a qcow2 overlay on it.
    ContainerDisk {
        /// The unpacked image file.
        path: PathBuf,
        /// Its format, read from its header.
        format: DiskFormat,
        /// The size the guest sees, in bytes.
        virtual_size_bytes: u64,
        /// The content's digest, `sha256:...`.
        digest: String,
    },
    /// cloud-init data for the NoCloud source, secrets already resolved.
    CloudInitNoCloud {
        /// The `user-data` file's text.
        user_data: String,
        /// The `network-config` file's text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        network_data: Option<String>,
    },
    /// A new disk that lives as long as the VMI.
    EmptyDisk {
        /// Its size in bytes.
        capacity_bytes: u64,
    },
    /// A file of this machine.
    HostDisk {
        /// Absolute path.
        path: PathBuf,
        /// Create it with this size in bytes when it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        create_bytes: Option<u64>,
        /// Several guests may write to it at once.
        shared: bool,
    },
}

/// Formats of disk images that are served.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum DiskFormat {
    /// The disk's bytes as they are.
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
}

/// A network interface with its address chosen.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ResolvedInterface {
    /// The interface's name in the VMI.
    pub name: String,
    /// MAC address as the guest sees it.
    pub mac: String,
    /// Device model: `virtio`, `e1000`, `e1000e`, `rtl8139` ...
    pub model: String,
    /// The pod's address on this machine; listed ports are forwarded from it.
    pub address: IpAddr,
    /// Ports forwarded to the guest; none listed forwards all that can be.
    pub ports: Vec<ForwardedPort>,
}

/// One port that is forwarded from the pod's address to the guest.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ForwardedPort {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port number, the same on both sides.
    pub port: u16,
}

/// Transport protocols of a forwarded port.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Protocol {
    /// Transmission Control Protocol.
    #[serde(rename = "TCP")]
    Tcp,
    /// User Datagram Protocol.
    #[serde(rename = "UDP")]
    Udp,
}

/// How a launcher and its guest stand.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// Where in its life the guest is.
    pub state: State,
    /// What `query-kvm` of the running QEMU said; `None` before it could be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<Accelerator>,
    /// What the accelerator changes of what the VMI asks for: sentences for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Vec<String>,
    /// The QEMU process, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu: Option<QemuProcess>,
    /// When the guest's processors first ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// The machine type QEMU resolved, e.g. `pc-q35-7.2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_type: Option<String>,
    /// The guest's interfaces.
    #[serde(default)]
    pub interfaces: Vec<InterfaceStatus>,
    /// How the guest ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Bytes the guest has written to its serial console so far.
    #[serde(default)]
    pub serial_bytes: u64,
    /// The guest agent answers.
    #[serde(default)]
    pub agent_connected: bool,
    /// What happened when, in order: for progress and measurements.
    #[serde(default)]
    pub milestones: Vec<Milestone>,
    /// When the guest last showed a sign of life while it starts: wrote to its serial console, used
    /// a disk, or kept a processor busy. `None` while nobody looks: before it runs, while it is
    /// paused, and once its start is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sign: Option<Timestamp>,
    /// KVM does not run this guest as it should. What follows is decided by the node agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kvm_failure: Option<KvmFailure>,
    /// How the restore of a template went, if this start was to be one and it is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<warm::WarmOutcome>,
    /// How the guest stands that was got ready by [`Request::Prepare`]; none once it was adopted, or is not wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<warm::Standby>,
    /// How the guest was saved last, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<saved::SavedNow>,
    /// How it goes on from a saved machine, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<saved::Resumed>,
}

impl Status {
    /// The milestones of the guest's latest start: those after it was started again, booted instead of restored, or
    /// restored instead of adopted.
    pub fn latest_milestones(&self) -> &[Milestone] {
        let again = self.milestones.iter().rposition(|it| {
            matches!(
                it.name.as_str(),
                milestones::STEPPED_DOWN | milestones::BOOTS_INSTEAD | milestones::NOT_ADOPTED
            )
        });
        self.milestones
            .get(again.map_or(0, |again| again + 1)..)
            .unwrap_or_default()
    }
}

impl Default for Status {
    /// A launcher that was never asked to start anything.
    fn default() -> Self {
        Self {
            state: State::Idle,
            accelerator: None,
            adjustments: Vec::new(),
            qemu: None,
            started_at: None,
            machine_type: None,
            interfaces: Vec::new(),
            exit: None,
            serial_bytes: 0,
            agent_connected: false,
            milestones: Vec::new(),
            last_sign: None,
            kvm_failure: None,
            warm: None,
            standby: None,
            saved: None,
            resumed: None,
        }
    }
}

/// The states of a guest, as its launcher sees them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum State {
    /// Nothing was started yet.
    Idle,
    /// Disks and QEMU are being prepared.
    Starting,
    /// The guest's processors run.
    Running,
    /// The guest's processors are stopped, its memory is kept.
    Paused,
    /// QEMU is gone; see [`Status::exit`].
    Ended,
}

/// A QEMU process that cannot be confused with another of the same pid.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct QemuProcess {
    /// Process id.
    pub pid: u32,
    /// Start time of the process, in clock ticks since the machine booted (`/proc/PID/stat`, field 22).
    pub start_time: u64,
    /// QEMU's version, e.g. `7.2.19`.
    pub version: String,
}

/// One interface of the running guest.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct InterfaceStatus {
    /// The interface's name in the VMI.
    pub name: String,
    /// MAC address.
    pub mac: String,
    /// Address by which the guest is reached.
    pub address: IpAddr,
    /// Why no packet passes any more, though the guest runs: what carried its network has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A thing that happened in a guest's life.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Milestone {
    /// What: see [`milestones`].
    pub name: String,
    /// When.
    pub at: Timestamp,
    /// What the guest wrote, for those that tell of trouble.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The longest time without a sign of life between the milestone before and this one, in
    /// milliseconds; for those that the guest reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence_milliseconds: Option<u64>,
}

/// Names of milestones.
pub mod milestones {
    /// All disks are made and open.
    pub const DISKS: &str = "disks";
    /// The networks are there.
    pub const NETWORK: &str = "network";
    /// QEMU's process exists.
    pub const SPAWNED: &str = "spawned";
    /// QEMU's monitor has greeted.
    pub const QMP: &str = "qmp";
    /// A template's memory and devices are there.
    pub const RESTORED: &str = "restored";
    /// A standby guest was taken, which was restored before this machine was known.
    pub const ADOPTED: &str = "adopted";
    /// The standby guest was of no use: another one starts. What was reached before does not count.
    pub const NOT_ADOPTED: &str = "not-adopted";
    /// The restored guest is somebody of its own: names, addresses, keys, clock and random numbers.
    pub const RENEWED: &str = "renewed";
    /// The template was of no use: the guest boots. What was reached before does not count.
    pub const BOOTS_INSTEAD: &str = "boots-instead";
    /// The guest's kernel gave up since the host was too busy to give it the ticks of its timer, and the guest was reset.
    pub const BOOTS_AGAIN: &str = "boots-again";
    /// The guest's processors run for the first time.
    pub const RUNNING: &str = "running";
    /// The guest was paused before its start was over, so its times mean nothing.
    pub const PAUSED: &str = "paused";
    /// The first byte on the serial console.
    pub const FIRST_BYTE: &str = "first-byte";
    /// The firmware has said something.
    pub const FIRMWARE: &str = "firmware";
    /// The kernel has said something.
    pub const KERNEL: &str = "kernel";
    /// Programs of the guest have said something.
    pub const USER_SPACE: &str = "user-space";
    /// The serial console asks for a name, or shows a shell.
    pub const LOGIN: &str = "login";
    /// The guest agent has answered for the first time.
    pub const AGENT: &str = "agent";
    /// The guest's kernel has given up.
    pub const PANIC: &str = "panic";
    /// The guest's user space has given up, and asks for somebody to mend it.
    pub const EMERGENCY: &str = "emergency";
    /// The guest starts again, without KVM: what was reached before does not count.
    pub const STEPPED_DOWN: &str = "stepped-down";
    /// The firmware found nothing to boot from.
    pub const NO_BOOT_DISK: &str = "no-boot-disk";
}

/// How a guest ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Exit {
    /// The manner.
    pub kind: ExitKind,
    /// A sentence for people.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// KVM had failed it before its end, or was the cause of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kvm_failure: Option<KvmFailure>,
}

/// KVM does not run a guest as it should, as the guest's launcher saw it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KvmFailure {
    /// How it fails.
    pub kind: KvmFailureKind,
    /// What was seen, a sentence.
    pub evidence: String,
    /// When.
    pub at: Timestamp,
}

/// The ways in which KVM fails a guest.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum KvmFailureKind {
    /// The processor refused to enter the guest.
    EntryFailed,
    /// KVM gave up on the guest at an instruction.
    InternalError,
    /// KVM runs the guest's kernel one instruction at a time in software, and the guest gets nowhere.
    NoProgress,
    /// QEMU could not make a guest on KVM, or ended in its code for KVM.
    Refused,
}

impl KvmFailureKind {
    /// The class that a node's verdict has after such a failure, as in its condition
    /// `HardwareVirtualization`.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            Self::EntryFailed | Self::Refused => "EntryFailed",
            Self::InternalError => "InternalError",
            Self::NoProgress => "GuestKernelEmulated",
        }
    }
}

/// The manners in which a guest ends.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ExitKind {
    /// The guest shut itself down.
    GuestShutdown,
    /// It was asked to stop, and did within its grace period.
    Stopped,
    /// It was killed: after the grace period, or by [`Request::Kill`].
    Killed,
    /// QEMU ended by itself in another way.
    Crashed {
        /// The signal that ended it, if it was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// Its exit code, if it returned one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<i32>,
    },
    /// It never ran.
    StartFailed,
    /// It was kept as a template, by [`Request::Keep`].
    Kept,
    /// It was saved, by [`Request::Save`], and can go on from there.
    Saved,
}

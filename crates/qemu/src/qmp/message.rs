//! Commands and events.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::version::Version;

/// What we ask of QEMU.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// Ends the negotiation after the greeting. Sent by [`super::Session`] itself.
    Capabilities,
    /// Does KVM run the guest? Answer: [`Command::kvm_enabled`].
    QueryKvm,
    /// Does the guest run? Answer: [`Command::run_state`].
    QueryStatus,
    /// QEMU's version.
    QueryVersion,
    /// The name of the machine type, resolved. Answer: a string such as `pc-q35-7.2-machine`.
    QueryMachineType,
    /// What KVM counts for each processor of the guest (QEMU 7.1, Linux 5.14). Answer:
    /// [`Command::kvm_statistics`].
    QueryKvmStatistics,
    /// The processor models that QEMU knows. Answer: see [`crate::abilities`].
    QueryProcessorModels,
    /// What a processor model is made of. Answer: see [`crate::abilities`].
    ExpandProcessorModel {
        /// The model's name.
        model: String,
        /// Every property, as all architectures can; else only the features, as x86 can.
        full: bool,
    },
    /// The machine types that QEMU knows. Answer: see [`crate::abilities`].
    QueryMachines,
    /// What the guest did with its disks. Answers: [`Command::block_operations`], [`Command::disk_statistics`].
    QueryBlockStats,
    /// The guest's processors. Answer: [`Command::first_processor`].
    QueryProcessors,
    /// Features that were asked for, by model or name, and are not given. Only x86 knows them.
    /// Answer: a list of names.
    QueryMissingFeatures {
        /// The processor, see [`Command::first_processor`].
        processor: String,
    },
    /// Presses the guest's power button.
    SystemPowerdown,
    /// Presses its reset button: it boots anew.
    SystemReset,
    /// Lets the guest's processors run.
    Cont,
    /// Stops the guest's processors.
    Stop,
    /// Ends QEMU at once.
    Quit,
    /// Takes the descriptor that is sent along with this command, under this name.
    TakeDescriptor {
        /// Our name of it.
        name: String,
    },
    /// Makes the socket of that name a client of the VNC server, without a password: whoever
    /// could hand it over was let in already.
    AddVncClient {
        /// The name of an earlier [`Command::TakeDescriptor`].
        name: String,
    },
    /// Keeps the descriptor that is sent along with this command in a new set. Answer: [`Command::descriptor_set`].
    AddDescriptor,
    /// Forgets a set of descriptors.
    RemoveDescriptor {
        /// The set.
        set: u64,
    },
    /// Writes what the guest's first screen shows, as PNG (QEMU 7.1), into the descriptor of a set, which is open for
    /// writing only. Answered once it is written.
    Screendump {
        /// The set.
        set: u64,
    },
    /// Moves the pointer a little, and back: wakes a screen that sleeps.
    MovePointer,
    /// Plugs a network card's cable in, or out: its number among the machine's cards.
    SetLink {
        /// The card.
        card: usize,
        /// In.
        up: bool,
    },
    /// When the guest restarts, QEMU ends ([`ShutdownReason::GuestReset`]).
    EndAtRestart,
    /// Migrations leave out memory that others can read too, and tell by [`Event::Migration`] how far they are. Both in
    /// the QEMU that sends and in the one that receives.
    LeaveOutSharedMemory,
    /// Migrations are of all memory, and tell by [`Event::Migration`] how far they are. Both in the QEMU that sends and in
    /// the one that receives.
    IncludeAllMemory,
    /// Migrations are as fast as the file that they are written to.
    UnboundMigration,
    /// Writes the state of the stopped guest's devices. Answered when it has begun; [`Event::Migration`] tells of its
    /// end.
    Migrate(StateFile),
    /// Reads that state, in a QEMU that waits for it ([`crate::machine::Machine::incoming`]). Answered when it has begun.
    MigrateIncoming(StateFile),
    /// Gives up what [`Command::Migrate`] has begun. [`Event::Migration`] tells of its end.
    CancelMigration,
    /// How a migration stands. Answer: [`Command::migration_failure`].
    QueryMigrate,
}

/// Bytes a second that no file takes.
const FASTEST_MIGRATION: u64 = 1 << 40;

/// The file of a guest's state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StateFile {
    /// The descriptor of this name or, for [`Command::MigrateIncoming`], of this number. QEMU before
    /// [`StateFile::SETS_SINCE`].
    Descriptor(String),
    /// The one descriptor of this set.
    Set(u64),
}

impl StateFile {
    /// Migration to files by their sets came with QEMU 8.2 and works with memory that is left out since 9.0; from 9.1 on
    /// plain descriptors are for sockets and pipes.
    pub const SETS_SINCE: Version = Version {
        major: 9,
        minor: 1,
        micro: 0,
    };

    fn uri(&self) -> Value {
        json!({"uri": match self {
            Self::Descriptor(name) => format!("fd:{name}"),
            Self::Set(set) => format!("file:/dev/fdset/{set}"),
        }})
    }
}

impl Command {
    /// Its name and arguments on the wire.
    pub(super) fn wire(&self) -> (&'static str, Value) {
        let none = json!({});
        match self {
            Self::Capabilities => ("qmp_capabilities", none),
            Self::QueryKvm => ("query-kvm", none),
            Self::QueryStatus => ("query-status", none),
            Self::QueryVersion => ("query-version", none),
            Self::QueryProcessors => ("query-cpus-fast", none),
            Self::QueryMissingFeatures { processor } => (
                "qom-get",
                json!({"path": processor, "property": "unavailable-features"}),
            ),
            Self::QueryMachineType => ("qom-get", json!({"path": "/machine", "property": "type"})),
            Self::QueryKvmStatistics => (
                "query-stats",
                json!({"target": "vcpu", "providers": [
                    {"provider": "kvm", "names": ["insn_emulation", "exits"]}]}),
            ),
            Self::QueryProcessorModels => ("query-cpu-definitions", none),
            Self::ExpandProcessorModel { model, full } => (
                "query-cpu-model-expansion",
                json!({"type": if *full { "full" } else { "static" }, "model": {"name": model}}),
            ),
            Self::QueryMachines => ("query-machines", none),
            Self::QueryBlockStats => ("query-blockstats", none),
            Self::SystemPowerdown => ("system_powerdown", none),
            Self::SystemReset => ("system_reset", none),
            Self::Cont => ("cont", none),
            Self::Stop => ("stop", none),
            Self::Quit => ("quit", none),
            Self::TakeDescriptor { name } => ("getfd", json!({"fdname": name})),
            Self::AddVncClient { name } => (
                "add_client",
                json!({"protocol": "vnc", "fdname": name, "skipauth": true}),
            ),
            Self::AddDescriptor => ("add-fd", none),
            Self::RemoveDescriptor { set } => ("remove-fd", json!({"fdset-id": set})),
            Self::Screendump { set } => (
                "screendump",
                json!({"filename": format!("/dev/fdset/{set}"), "format": "png"}),
            ),
            Self::MovePointer => {
                let step = |by: i8| json!({"type": "rel", "data": {"axis": "x", "value": by}});
                ("input-send-event", json!({"events": [step(1), step(-1)]}))
            }
            Self::SetLink { card, up } => {
                ("set_link", json!({"name": format!("card{card}"), "up": up}))
            }
            Self::EndAtRestart => ("set-action", json!({"reboot": "shutdown"})),
            Self::LeaveOutSharedMemory => (
                "migrate-set-capabilities",
                json!({"capabilities": [
                    {"capability": "x-ignore-shared", "state": true},
                    {"capability": "events", "state": true}]}),
            ),
            Self::IncludeAllMemory => (
                "migrate-set-capabilities",
                json!({"capabilities": [
                    {"capability": "x-ignore-shared", "state": false},
                    {"capability": "events", "state": true}]}),
            ),
            // QEMU's own is 128 MiB a second, for the sake of networks.
            Self::UnboundMigration => (
                "migrate-set-parameters",
                json!({"max-bandwidth": FASTEST_MIGRATION}),
            ),
            Self::Migrate(file) => ("migrate", file.uri()),
            Self::MigrateIncoming(file) => ("migrate-incoming", file.uri()),
            Self::CancelMigration => ("migrate_cancel", none),
            Self::QueryMigrate => ("query-migrate", none),
        }
    }

    /// Reads the answer to [`Command::QueryKvm`]; `None` if it is none.
    #[must_use]
    pub fn kvm_enabled(answer: &Value) -> Option<bool> {
        answer.get("enabled")?.as_bool()
    }

    /// Reads the answer to [`Command::QueryStatus`]; `None` if it is none.
    #[must_use]
    pub fn run_state(answer: &Value) -> Option<RunState> {
        Some(RunState::of(answer.get("status")?.as_str()?))
    }

    /// Reads the answer to [`Command::QueryKvmStatistics`]: the sums over all processors. `None` if
    /// KVM does not count.
    #[must_use]
    pub fn kvm_statistics(answer: &Value) -> Option<KvmStatistics> {
        let counters = answer
            .as_array()?
            .iter()
            .filter_map(|processor| processor.get("stats")?.as_array())
            .flatten();
        let (mut emulated, mut exits) = (None, None);
        for counter in counters {
            let sum = match counter.get("name").and_then(Value::as_str) {
                Some("insn_emulation") => &mut emulated,
                Some("exits") => &mut exits,
                _ => continue,
            };
            let value = counter.get("value")?.as_u64()?;
            *sum = Some(sum.unwrap_or(0_u64).saturating_add(value));
        }
        Some(KvmStatistics {
            emulated: emulated?,
            exits: exits?,
        })
    }

    /// Reads the answer to [`Command::QueryBlockStats`]: how many reads, writes and flushes all of the
    /// guest's disks have done; `None` if it is none.
    #[must_use]
    pub fn block_operations(answer: &Value) -> Option<u64> {
        let count = |device: &Value| {
            let stats = device.get("stats")?;
            let counts = ["rd_operations", "wr_operations", "flush_operations"];
            let counts = counts.map(|name| stats.get(name).and_then(Value::as_u64));
            Some(counts.into_iter().flatten().fold(0, u64::wrapping_add))
        };
        let devices = answer.as_array()?;
        Some(devices.iter().filter_map(count).fold(0, u64::wrapping_add))
    }

    /// Reads the answer to [`Command::QueryBlockStats`]: what the guest did with each of its disks, by their
    /// numbers in the machine; `None` if it is none.
    #[must_use]
    pub fn disk_statistics(answer: &Value) -> Option<BTreeMap<usize, DiskStatistics>> {
        let of_device = |device: &Value| {
            // `/machine/peripheral/disk0`, and for virtio disks what is behind it; see `command_line`.
            let path = device.get("qdev")?.as_str()?;
            let number = path.split('/').find_map(|part| part.strip_prefix("disk"))?;
            let stats = device.get("stats")?;
            let count = |name: &str| stats.get(name)?.as_u64();
            let statistics = DiskStatistics {
                reads: count("rd_operations")?,
                read_bytes: count("rd_bytes")?,
                read_nanoseconds: count("rd_total_time_ns")?,
                writes: count("wr_operations")?,
                written_bytes: count("wr_bytes")?,
                write_nanoseconds: count("wr_total_time_ns")?,
                flushes: count("flush_operations")?,
                flush_nanoseconds: count("flush_total_time_ns")?,
            };
            Some((number.parse().ok()?, statistics))
        };
        Some(answer.as_array()?.iter().filter_map(of_device).collect())
    }

    /// Reads the answer to [`Command::QueryMachineType`]; `None` if it is none.
    #[must_use]
    pub fn machine_type(answer: &Value) -> Option<&str> {
        let name = answer.as_str()?;
        Some(name.strip_suffix("-machine").unwrap_or(name))
    }

    /// Reads the answer to [`Command::AddDescriptor`]: the set; `None` if it is none.
    #[must_use]
    pub fn descriptor_set(answer: &Value) -> Option<u64> {
        answer.get("fdset-id")?.as_u64()
    }

    /// Reads the answer to [`Command::QueryMigrate`]: QEMU's words for why it failed; `None` if it gives none.
    #[must_use]
    pub fn migration_failure(answer: &Value) -> Option<&str> {
        answer.get("error-desc")?.as_str()
    }

    /// Reads the answer to [`Command::QueryProcessors`]: where the first processor is; `None` if it
    /// is none.
    #[must_use]
    pub fn first_processor(answer: &Value) -> Option<&str> {
        answer.get(0)?.get("qom-path")?.as_str()
    }
}

/// What a guest did with one disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DiskStatistics {
    /// Reads that are done.
    pub reads: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// The time they took.
    pub read_nanoseconds: u64,
    /// Writes that are done.
    pub writes: u64,
    /// Their bytes.
    pub written_bytes: u64,
    /// The time they took.
    pub write_nanoseconds: u64,
    /// Flushes that are done.
    pub flushes: u64,
    /// The time they took.
    pub flush_nanoseconds: u64,
}

/// What KVM counts while it runs a guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KvmStatistics {
    /// Instructions that KVM ran in software.
    pub emulated: u64,
    /// How often the guest was left.
    pub exits: u64,
}

/// QEMU's refusal of a command.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, thiserror::Error)]
#[error("{description} ({class})")]
pub struct CommandError {
    /// QEMU's class of errors.
    pub class: String,
    /// QEMU's words.
    #[serde(rename = "desc")]
    pub description: String,
}

/// Whether the guest runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RunState {
    /// Its processors run.
    Running,
    /// Not yet told to run.
    Prelaunch,
    /// Stopped by `stop`.
    Paused,
    /// Stopped because the host's disk failed.
    IoError,
    /// Stopped because KVM failed.
    InternalError,
    /// It has shut down.
    Shutdown,
    /// The guest's system has crashed and said so.
    GuestPanicked,
    /// Another of QEMU's states, in which its processors do not run.
    Other,
}

impl RunState {
    fn of(name: &str) -> Self {
        match name {
            "running" => Self::Running,
            "prelaunch" => Self::Prelaunch,
            "paused" => Self::Paused,
            "io-error" => Self::IoError,
            "internal-error" => Self::InternalError,
            "shutdown" => Self::Shutdown,
            "guest-panicked" => Self::GuestPanicked,
            _ => Self::Other,
        }
    }
}

/// What QEMU tells unasked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// The machine goes off and QEMU ends.
    Shutdown {
        /// The guest did it, not the host.
        guest: bool,
        /// Why.
        reason: ShutdownReason,
    },
    /// The machine starts anew.
    Reset {
        /// The guest did it.
        guest: bool,
    },
    /// The power button was pressed.
    PowerDown,
    /// The processors stopped.
    Stop,
    /// The processors run.
    Resume,
    /// A disk of the host failed.
    BlockIoError(BlockError),
    /// The guest's system has crashed and said so.
    GuestPanicked,
    /// A program of the guest opened or closed a port of the virtio console.
    PortChange {
        /// The port's device, `agent0` for the guest agent's.
        id: String,
        /// It is open now.
        open: bool,
    },
    /// A migration goes on.
    Migration(MigrationState),
    /// One that we do not use.
    Other {
        /// QEMU's name of it.
        name: String,
    },
}

/// How far a migration is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MigrationState {
    /// All is written, or read.
    Completed,
    /// It has failed.
    Failed,
    /// It goes on.
    UnderWay,
}

impl MigrationState {
    fn of(name: &str) -> Self {
        match name {
            "completed" => Self::Completed,
            "failed" | "cancelled" => Self::Failed,
            _ => Self::UnderWay,
        }
    }
}

/// Why a machine goes off.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ShutdownReason {
    /// The guest shut itself down.
    GuestShutdown,
    /// The guest restarted, where that means to end.
    GuestReset,
    /// The guest's system crashed.
    GuestPanic,
    /// [`Command::Quit`].
    HostQuit,
    /// A signal to QEMU.
    HostSignal,
    /// Another one, in QEMU's words.
    Other(String),
}

impl ShutdownReason {
    /// Whether it would start again, but for [`Command::EndAtRestart`]: by its own will, or because its reset button was
    /// pressed.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        match self {
            Self::GuestReset => true,
            Self::Other(name) => name == "host-qmp-system-reset",
            _ => false,
        }
    }

    fn of(name: &str) -> Self {
        match name {
            "guest-shutdown" => Self::GuestShutdown,
            "guest-reset" => Self::GuestReset,
            "guest-panic" => Self::GuestPanic,
            "host-qmp-quit" => Self::HostQuit,
            "host-signal" => Self::HostSignal,
            other => Self::Other(other.chars().take(64).collect()),
        }
    }
}

/// A disk of the host failed under the guest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BlockError {
    /// The disk's device, `disk0` for the first.
    pub device: String,
    /// The guest wrote, not read.
    pub write: bool,
    /// The guest was stopped for it.
    pub stopped: bool,
    /// The disk is full.
    pub no_space: bool,
    /// QEMU's words.
    pub reason: String,
}

impl Event {
    pub(super) fn of(name: &str, data: &Value) -> Self {
        let flag = |key: &str| data.get(key).and_then(Value::as_bool).unwrap_or(false);
        let text = |key: &str| {
            let text = data.get(key).and_then(Value::as_str).unwrap_or_default();
            text.chars().take(256).collect::<String>()
        };
        match name {
            "SHUTDOWN" => Self::Shutdown {
                guest: flag("guest"),
                reason: ShutdownReason::of(&text("reason")),
            },
            "RESET" => Self::Reset {
                guest: flag("guest"),
            },
            "POWERDOWN" => Self::PowerDown,
            "STOP" => Self::Stop,
            "RESUME" => Self::Resume,
            "GUEST_PANICKED" => Self::GuestPanicked,
            "MIGRATION" => Self::Migration(MigrationState::of(&text("status"))),
            "VSERPORT_CHANGE" => Self::PortChange {
                id: text("id"),
                open: flag("open"),
            },
            "BLOCK_IO_ERROR" => Self::BlockIoError(BlockError {
                // For disks made of nodes `device` is empty and the device is a QOM path.
                device: match text("device") {
                    device if device.is_empty() => {
                        let path = text("qom-path");
                        path.split('/')
                            .find(|part| part.starts_with("disk"))
                            .unwrap_or(&path)
                            .to_owned()
                    }
                    device => device,
                },
                write: text("operation") == "write",
                stopped: text("action") == "stop",
                no_space: flag("nospace"),
                reason: text("reason"),
            }),
            other => Self::Other {
                name: other.chars().take(64).collect(),
            },
        }
    }
}

//! What guests use of their machine, as their launchers count it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one guest has used since its QEMU began. Whatever is not known is left out, never zero.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Usage {
    /// The QEMU that is meant; another one counts anew.
    pub run: Run,
    /// When the processes were looked at: nanoseconds since the machine booted, its sleep included.
    pub at_nanoseconds: u64,
    /// QEMU's own process: the guest's processors, its memory, its devices.
    pub qemu: ProcessUsage,
    /// The processes that only this guest needs beside QEMU: its launcher, and what carries its networks.
    pub helpers: ProcessUsage,
    /// Its disks, by the names of their volumes; `None` if QEMU did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disks: Option<BTreeMap<String, DiskUsage>>,
    /// Its network interfaces that are counted, by their names in the VMI.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub interfaces: BTreeMap<String, InterfaceUsage>,
}

impl Usage {
    /// The memory that QEMU and its helpers hold now, in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let helpers = self.helpers.resident_bytes;
        self.qemu.resident_bytes.saturating_add(helpers)
    }
}

/// One run of QEMU on one machine.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Run {
    /// Process id.
    pub pid: u32,
    /// Start time of the process, in clock ticks since the machine booted.
    pub start_time: u64,
}

/// What processes use.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ProcessUsage {
    /// Processor time in their own code, and in the guest's on KVM, in nanoseconds since they began.
    pub user_nanoseconds: u64,
    /// Processor time in the kernel's code, in nanoseconds since they began.
    pub system_nanoseconds: u64,
    /// Memory that they hold now, in bytes.
    pub resident_bytes: u64,
}

impl ProcessUsage {
    /// Their processor time since they began.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        Duration::from_nanos(
            self.user_nanoseconds
                .saturating_add(self.system_nanoseconds),
        )
    }
}

/// What a guest did with one disk.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct DiskUsage {
    /// Reads that are done.
    pub reads: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// The time they took, in nanoseconds.
    pub read_nanoseconds: u64,
    /// Writes that are done.
    pub writes: u64,
    /// Their bytes.
    pub written_bytes: u64,
    /// The time they took, in nanoseconds.
    pub write_nanoseconds: u64,
    /// Flushes that are done.
    pub flushes: u64,
    /// The time they took, in nanoseconds.
    pub flush_nanoseconds: u64,
}

/// What passed through one network card, in Ethernet frames, as its guest sees the directions.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct InterfaceUsage {
    /// Frames that the guest was given.
    pub received_packets: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Frames that the guest has sent, also to where it may not.
    pub sent_packets: u64,
    /// Their bytes.
    pub sent_bytes: u64,
}

//! A guest of a few bytes on `/dev/kvm`: one vCPU, two mebibytes, no devices, a deadline.
//!
//! Only what is needed to see whether KVM does its work; real guests are QEMU's business.
#![expect(unsafe_code, reason = "KVM is ioctls on memory shared with the kernel")]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::fs::{Mode as FileMode, OFlags};

use crate::facts::{self, Device};

/// Where the guest's code is put and starts.
pub const CODE_ADDRESS: u64 = 0x8000;
/// Free memory of the guest for its data, to the end at [`MEMORY_BYTES`].
pub const DATA_ADDRESS: u64 = 0x1_0000;
/// The guest's memory.
pub const MEMORY_BYTES: usize = 2 << 20;

const STACK_ADDRESS: u64 = 0x7000;
/// Page tables of a guest in long mode: one page each, mapping the two mebibytes to themselves.
const TABLE_ADDRESSES: [u64; 3] = [0x1000, 0x2000, 0x3000];
/// A vCPU that does not come back this long after its deadline never will: its signal was sent.
const GRACE: Duration = Duration::from_secs(2);

const GET_API_VERSION: u64 = 0xae00;
const CREATE_VM: u64 = 0xae01;
const GET_VCPU_MMAP_SIZE: u64 = 0xae04;
const GET_SUPPORTED_CPUID: u64 = 0xc008_ae05;
const CREATE_VCPU: u64 = 0xae41;
const SET_USER_MEMORY_REGION: u64 = 0x4020_ae46;
const SET_TSS_ADDR: u64 = 0xae47;
const RUN: u64 = 0xae80;
const SET_REGS: u64 = 0x4090_ae82;
const GET_SREGS: u64 = 0x8138_ae83;
const SET_SREGS: u64 = 0x4138_ae84;
const SET_SIGNAL_MASK: u64 = 0x4004_ae8b;
const SET_CPUID2: u64 = 0x4008_ae90;
const GET_STATS_FD: u64 = 0xaece;

/// The only version of the interface there ever was.
const API_VERSION: i32 = 12;

/// What the guest's processor is like when its code starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// 16 bit, segments at zero.
    Real,
    /// 64 bit, the kernel's ring, memory mapped to itself, SSE on.
    Long,
}

/// A guest to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Its processor's mode.
    pub mode: Mode,
    /// Its code, put at [`CODE_ADDRESS`]; at most 28 KiB.
    pub code: Vec<u8>,
    /// How long it may run.
    pub deadline: Duration,
}

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It wrote to a port.
    Output {
        /// The port.
        port: u16,
        /// The byte written.
        value: u8,
    },
    /// It executed HLT.
    Halted,
    /// KVM gave up on it.
    InternalError {
        /// 1 means: an instruction that KVM could not emulate.
        suberror: u32,
        /// KVM's details.
        data: Vec<u64>,
    },
    /// A triple fault.
    Shutdown,
    /// The processor refused the state that KVM gave it.
    EntryFailed {
        /// The hardware's reason.
        reason: u64,
    },
    /// It was stopped at its deadline.
    Deadline,
    /// Another exit reason of KVM.
    Other(u32),
}

/// What was seen of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// How it ended.
    pub ending: Ending,
    /// How long it ran.
    pub elapsed: Duration,
    /// KVM's counters of this vCPU, by the kernel's names; empty before Linux 5.14.
    pub statistics: BTreeMap<String, u64>,
}

/// A guest could not be run.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// The device cannot be used; which of the ways is inside, never `Usable`.
    #[error("the device is not usable: {0:?}")]
    Device(Device),
    /// The device is not KVM.
    #[error("it answers with interface version {0}, not 12")]
    Version(i32),
    /// Another hypervisor holds the processor.
    #[error("the processor's virtualization is in use by another hypervisor")]
    Busy,
    /// A step failed.
    #[error("failed to {step}: {source}")]
    Failed {
        /// The step, as a verb.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The vCPU does not return from the kernel.
    #[error("the vCPU did not stop after its deadline")]
    Stuck,
    /// There is no probe for this processor's architecture.
    #[error(
        "guests for the architecture {} cannot be made yet",
        std::env::consts::ARCH
    )]
    Architecture,
}

/// Runs a guest on `device` (usually `/dev/kvm`). Blocks for at most the deadline and two seconds.
///
/// # Errors
/// [`KvmError`] if it could not be run. A guest that ran and failed is an `Ok` that says how.
pub fn run(device: &Path, guest: &Guest) -> Result<Run, KvmError> {
    if cfg!(not(target_arch = "x86_64")) {
        return Err(KvmError::Architecture);
    }
    match facts::device(device) {
        Device::Usable => {}
        other => return Err(KvmError::Device(other)),
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let (device, guest) = (device.to_owned(), guest.clone());
    let patience = guest.deadline + GRACE;
    // A thread of its own: its signal mask is changed, and it can be left behind if the kernel
    // never returns from the guest.
    std::thread::Builder::new()
        .name("kvm-probe".to_owned())
        .spawn(move || {
            // Nobody listens any more when we were given up on.
            let _ = sender.send(run_here(&device, &guest));
        })
        .map_err(failed("make a thread"))?;
    receiver
        .recv_timeout(patience)
        .unwrap_or(Err(KvmError::Stuck))
}

fn failed(step: &'static str) -> impl FnOnce(io::Error) -> KvmError {
    move |source| match source.raw_os_error() {
        Some(libc::EBUSY) => KvmError::Busy,
        _ => KvmError::Failed { step, source },
    }
}

fn run_here(device: &Path, guest: &Guest) -> Result<Run, KvmError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let kvm = rustix::fs::open(device, flags, FileMode::empty())
        .map_err(|error| failed("open the device")(error.into()))?;
    let version = ioctl(&kvm, GET_API_VERSION, 0).map_err(failed("ask for its version"))?;
    if version != API_VERSION {
        return Err(KvmError::Version(version));
    }
    let vm = owned(ioctl(&kvm, CREATE_VM, 0).map_err(failed("create a VM"))?);
    // Intel's processors without unrestricted guests need three pages there; others ignore it.
    ioctl(&vm, SET_TSS_ADDR, 0xfffb_d000).map_err(failed("place the task segment"))?;
    let memory = Mapping::anonymous(MEMORY_BYTES).map_err(failed("map the guest's memory"))?;
    load(&memory, guest)?;
    let region = MemoryRegion {
        slot: 0,
        flags: 0,
        guest_address: 0,
        bytes: MEMORY_BYTES as u64,
        address: memory.address as u64,
    };
    ioctl_with(&vm, SET_USER_MEMORY_REGION, &region).map_err(failed("give the VM memory"))?;
    let vcpu = owned(ioctl(&vm, CREATE_VCPU, 0).map_err(failed("create a vCPU"))?);
    let run_bytes =
        ioctl(&kvm, GET_VCPU_MMAP_SIZE, 0).map_err(failed("ask for the vCPU's size"))?;
    let run_bytes = usize::try_from(run_bytes).unwrap_or(0);
    let state = Mapping::shared(&vcpu, run_bytes).map_err(failed("map the vCPU"))?;
    set_processor(&kvm, &vcpu)?;
    set_registers(&vcpu, guest.mode)?;
    let _timer = arm(&vcpu, guest.deadline)?;

    let start = Instant::now();
    let result = ioctl(&vcpu, RUN, 0);
    let elapsed = start.elapsed();
    let ending = match result {
        Ok(_) => read_ending(&state),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ending::Deadline,
        Err(error) => return Err(failed("run the vCPU")(error)),
    };
    // Counters are an extra: kernels before 5.14 have none.
    let statistics = statistics(&vcpu).unwrap_or_default();
    Ok(Run {
        ending,
        elapsed,
        statistics,
    })
}

fn load(memory: &Mapping, guest: &Guest) -> Result<(), KvmError> {
    let room = (DATA_ADDRESS - CODE_ADDRESS) as usize;
    if guest.code.len() > room {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "longer than its room");
        return Err(KvmError::Failed {
            step: "load the guest's code",
            source,
        });
    }
    memory.write(CODE_ADDRESS as usize, &guest.code);
    // Present, writable; the last level also: one page of two mebibytes.
    for (table, entry) in
        TABLE_ADDRESSES
            .iter()
            .zip([TABLE_ADDRESSES[1] | 3, TABLE_ADDRESSES[2] | 3, 0x83])
    {
        memory.write(*table as usize, &entry.to_le_bytes());
    }
    Ok(())
}

/// Offers the guest what the host's processor and KVM can do, as a real guest would get it.
fn set_processor(kvm: &OwnedFd, vcpu: &OwnedFd) -> Result<(), KvmError> {
    // Processors have some dozens of entries; KVM answers E2BIG beyond its own limit of 256.
    const MOST: usize = 256;
    #[repr(C)]
    struct Entries {
        count: u32,
        padding: u32,
        entries: [[u32; 10]; MOST],
    }
    let mut entries = Box::new(Entries {
        count: MOST as u32,
        padding: 0,
        entries: [[0; 10]; MOST],
    });
    ioctl_with_mut(kvm, GET_SUPPORTED_CPUID, &mut *entries)
        .map_err(failed("ask for the processor's features"))?;
    ioctl_with(vcpu, SET_CPUID2, &*entries).map_err(failed("set the processor's features"))?;
    Ok(())
}

#[repr(C)]
struct MemoryRegion {
    slot: u32,
    flags: u32,
    guest_address: u64,
    bytes: u64,
    address: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Segment {
    base: u64,
    limit: u32,
    selector: u16,
    kind: u8,
    present: u8,
    ring: u8,
    operand32: u8,
    not_system: u8,
    long: u8,
    pages: u8,
    available: u8,
    unusable: u8,
    padding: u8,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Table {
    base: u64,
    limit: u16,
    padding: [u16; 3],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct SystemRegisters {
    cs: Segment,
    /// ds, es, fs, gs, ss
    data: [Segment; 5],
    task: Segment,
    local: Segment,
    global_table: Table,
    interrupt_table: Table,
    cr0: u64,
    cr2: u64,
    cr3: u64,
    cr4: u64,
    cr8: u64,
    efer: u64,
    apic_base: u64,
    interrupts: [u64; 4],
}

#[repr(C)]
#[derive(Default)]
struct Registers {
    /// rax rbx rcx rdx rsi rdi rsp rbp r8 to r15
    general: [u64; 16],
    instruction: u64,
    flags: u64,
}

const _: () = assert!(size_of::<SystemRegisters>() == 0x138 && size_of::<Registers>() == 0x90);

fn set_registers(vcpu: &OwnedFd, mode: Mode) -> Result<(), KvmError> {
    let mut system = SystemRegisters::default();
    ioctl_with_mut(vcpu, GET_SREGS, &mut system).map_err(failed("read the vCPU's registers"))?;
    match mode {
        Mode::Real => {
            system.cs.base = 0;
            system.cs.selector = 0;
        }
        Mode::Long => {
            let flat = Segment {
                limit: u32::MAX,
                selector: 0x10,
                kind: 3,
                present: 1,
                operand32: 1,
                not_system: 1,
                pages: 1,
                ..Segment::default()
            };
            system.cs = Segment {
                selector: 8,
                kind: 11,
                operand32: 0,
                long: 1,
                ..flat
            };
            system.data = [flat; 5];
            // Protection, monitor, extension type, numeric error, write protect, paging.
            system.cr0 = 0x8001_0033;
            system.cr3 = TABLE_ADDRESSES[0];
            // Physical address extension; SSE and its exceptions.
            system.cr4 = 0x620;
            // Long mode enabled and active.
            system.efer = 0x500;
        }
    }
    ioctl_with(vcpu, SET_SREGS, &system).map_err(failed("set the vCPU's system registers"))?;
    let mut registers = Registers {
        instruction: CODE_ADDRESS,
        flags: 2,
        ..Registers::default()
    };
    registers.general[6] = STACK_ADDRESS;
    ioctl_with(vcpu, SET_REGS, &registers).map_err(failed("set the vCPU's registers"))?;
    Ok(())
}

fn read_ending(state: &Mapping) -> Ending {
    let word = |offset: usize| u32::from_ne_bytes(state.read(offset));
    let long = |offset: usize| u64::from_ne_bytes(state.read(offset));
    // The exit reason is at 8, what belongs to it from 32 on.
    match word(8) {
        2 => {
            let data = usize::try_from(long(40)).unwrap_or(usize::MAX);
            Ending::Output {
                port: u16::from_ne_bytes(state.read(34)),
                value: u8::from_ne_bytes(state.read(data)),
            }
        }
        5 => Ending::Halted,
        8 => Ending::Shutdown,
        9 => Ending::EntryFailed { reason: long(32) },
        17 => {
            let count = usize::try_from(word(36)).unwrap_or(0).min(16);
            let data = (0..count).map(|index| long(40 + 8 * index)).collect();
            Ending::InternalError {
                suberror: word(32),
                data,
            }
        }
        other => Ending::Other(other),
    }
}

/// Reads the vCPU's counters: a header, descriptions, values, each found by an offset.
fn statistics(vcpu: &OwnedFd) -> io::Result<BTreeMap<String, u64>> {
    let file = std::fs::File::from(owned(ioctl(vcpu, GET_STATS_FD, 0)?));
    let read_at = |offset: u64, bytes: usize| {
        use std::os::unix::fs::FileExt as _;
        let mut buffer = vec![0; bytes];
        file.read_exact_at(&mut buffer, offset).map(|()| buffer)
    };
    let header = read_at(0, 24)?;
    let field = |buffer: &[u8], offset: usize| {
        buffer
            .get(offset..offset + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u32::from_ne_bytes)
    };
    // A kernel has some dozens of counters with names of 48 bytes; these bounds only keep a
    // broken one from taking our memory.
    let name_bytes = field(&header, 4).min(256) as usize;
    let count = field(&header, 8).min(4096) as usize;
    let (descriptions, values) = (field(&header, 16), field(&header, 20));
    let size = 16 + name_bytes;
    let mut found = BTreeMap::new();
    for description in read_at(u64::from(descriptions), count * size)?.chunks_exact(size) {
        let name = description[16..]
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        let offset = u64::from(values) + u64::from(field(description, 8));
        let value = read_at(offset, 8)?.try_into().map_or(0, u64::from_ne_bytes);
        found.insert(String::from_utf8_lossy(name).into_owned(), value);
    }
    Ok(found)
}

/// A timer that interrupts this thread's vCPU. The signal is blocked except inside the guest, so
/// no handler is needed and nobody else ever sees it.
struct Timer(libc::timer_t);

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: made by timer_create and deleted only here.
        unsafe { libc::timer_delete(self.0) };
    }
}

fn arm(vcpu: &OwnedFd, deadline: Duration) -> Result<Timer, KvmError> {
    let signal = libc::SIGRTMIN() + 4;
    // SAFETY: sets of our own; only this thread's mask changes.
    let blocked = unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut())
    };
    if blocked != 0 {
        return Err(failed("block a signal")(io::Error::from_raw_os_error(
            blocked,
        )));
    }
    #[repr(C, packed)]
    struct SignalMask {
        length: u32,
        blocked: u64,
    }
    let mask = SignalMask {
        length: 8,
        blocked: !(1 << (signal - 1)),
    };
    ioctl_with(vcpu, SET_SIGNAL_MASK, &mask).map_err(failed("set the vCPU's signals"))?;

    // SAFETY: an all-zero event is valid; its fields are set below.
    let mut event = unsafe { std::mem::zeroed::<libc::sigevent>() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = signal;
    event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
    let mut timer: libc::timer_t = std::ptr::null_mut();
    // SAFETY: both structures are live; the timer's number is written on success.
    let made = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
    if made != 0 {
        return Err(failed("make a timer")(io::Error::last_os_error()));
    }
    let timer = Timer(timer);
    let time = |duration: Duration| libc::timespec {
        tv_sec: libc::time_t::try_from(duration.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(duration.subsec_nanos().cast_signed()),
    };
    // Again and again, in case the first one comes before the guest is entered.
    let often = Duration::from_millis(10);
    let when = libc::itimerspec {
        it_interval: time(often),
        it_value: time(deadline.max(Duration::from_nanos(1))),
    };
    // SAFETY: the timer exists, the time is live.
    let set = unsafe { libc::timer_settime(timer.0, 0, &raw const when, std::ptr::null_mut()) };
    if set != 0 {
        return Err(failed("set the timer")(io::Error::last_os_error()));
    }
    Ok(timer)
}

/// Memory shared with the kernel or the guest. Only copies in and out, never references.
struct Mapping {
    address: *mut u8,
    bytes: usize,
}

impl Mapping {
    fn anonymous(bytes: usize) -> io::Result<Self> {
        Self::map(
            bytes,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
        )
    }

    fn shared(file: &OwnedFd, bytes: usize) -> io::Result<Self> {
        Self::map(bytes, libc::MAP_SHARED, file.as_raw_fd())
    }

    fn map(bytes: usize, flags: libc::c_int, file: libc::c_int) -> io::Result<Self> {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing of ours.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), bytes, rights, flags, file, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            address: address.cast(),
            bytes,
        })
    }

    /// Writes what fits.
    fn write(&self, offset: usize, data: &[u8]) {
        let room = self.bytes.saturating_sub(offset).min(data.len());
        // SAFETY: `offset` plus `room` is within the mapping, and `data` is not part of it.
        unsafe {
            std::ptr::copy_nonoverlapping(data.as_ptr(), self.address.wrapping_add(offset), room);
        }
    }

    /// Reads what is there; zeroes beyond the end.
    fn read<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut data = [0; N];
        let room = self.bytes.saturating_sub(offset).min(N);
        // SAFETY: as in `write`.
        unsafe {
            std::ptr::copy_nonoverlapping(
                self.address.wrapping_add(offset),
                data.as_mut_ptr(),
                room,
            );
        }
        data
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this length, and not used after.
        unsafe { libc::munmap(self.address.cast(), self.bytes) };
    }
}

fn ioctl(file: &OwnedFd, request: u64, argument: u64) -> io::Result<i32> {
    // SAFETY: used with requests that take a number, never an address.
    check(unsafe { libc::ioctl(file.as_raw_fd(), request, argument) })
}

/// `T` must have the layout of the structure that `request` reads.
fn ioctl_with<T>(file: &OwnedFd, request: u64, argument: &T) -> io::Result<i32> {
    // SAFETY: the argument is live and laid out as the kernel's structure for this request.
    check(unsafe { libc::ioctl(file.as_raw_fd(), request, std::ptr::from_ref(argument)) })
}

/// `T` must have the layout of the structure that `request` reads and writes.
fn ioctl_with_mut<T>(file: &OwnedFd, request: u64, argument: &mut T) -> io::Result<i32> {
    // SAFETY: as above, and nobody else uses it meanwhile.
    check(unsafe { libc::ioctl(file.as_raw_fd(), request, std::ptr::from_mut(argument)) })
}

fn check(result: libc::c_int) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Takes the descriptor that an ioctl answered with.
fn owned(number: i32) -> OwnedFd {
    // SAFETY: KVM made it for this call's answer, so nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

//! The kernel's KVM.
#![expect(unsafe_code, reason = "KVM is ioctls on memory shared with the kernel")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use super::mapping::Mapping;
use super::{Exit, Kvm, Layout, Step, Times};

const GET_API_VERSION: u64 = 0xae00;
const CREATE_VM: u64 = 0xae01;
const GET_VCPU_MMAP_SIZE: u64 = 0xae04;
const GET_SUPPORTED_CPUID: u64 = 0xc008_ae05;
const CREATE_VCPU: u64 = 0xae41;
const SET_USER_MEMORY_REGION: u64 = 0x4020_ae46;
const SET_TSS_ADDR: u64 = 0xae47;
const CREATE_IRQCHIP: u64 = 0xae60;
const RUN: u64 = 0xae80;
const SET_SIGNAL_MASK: u64 = 0x4004_ae8b;
const SET_CPUID2: u64 = 0x4008_ae90;
const GET_STATS_FD: u64 = 0xaece;

/// The only version of the interface there ever was.
const API_VERSION: i32 = 12;
/// Three pages for Intel's processors without unrestricted guests, below any firmware; others ignore it.
const TASK_ADDRESS: u64 = 0xfffb_d000;
/// How often a guest is interrupted, so that somebody looks at the clock: a fraction of the shortest
/// deadline of the probe, and no load.
const TICK: Duration = Duration::from_millis(2);
/// Processors have some dozens of entries; KVM answers E2BIG beyond its own limit of 256.
const MOST_FEATURES: usize = 256;

/// The kernel's KVM with one VM.
#[derive(Debug)]
pub struct Linux {
    device: PathBuf,
    layout: Layout,
    began: Instant,
    kvm: Option<OwnedFd>,
    vm: Option<OwnedFd>,
    /// The VM's memory and firmware; they must outlive the VM.
    memory: Vec<Mapping>,
    vcpus: Vec<Vcpu>,
    features: Option<Box<Features>>,
    timer: Option<Timer>,
    counter: Option<Counter>,
    /// Where the answer to the last exit goes.
    answer_at: Option<usize>,
    second: Option<Second>,
}

#[derive(Debug)]
struct Vcpu {
    file: OwnedFd,
    state: Option<Mapping>,
}

/// The thread of the second processor.
#[derive(Debug)]
struct Second {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

#[repr(C)]
#[derive(Debug)]
struct Features {
    count: u32,
    padding: u32,
    entries: [[u32; 10]; MOST_FEATURES],
}

#[repr(C)]
struct MemoryRegion {
    slot: u32,
    flags: u32,
    guest_address: u64,
    bytes: u64,
    address: u64,
}

impl Linux {
    /// A VM to be made on `device` (usually `/dev/kvm`). Nothing is done yet.
    #[must_use]
    pub fn new(device: &Path, layout: Layout) -> Self {
        Self {
            device: device.to_owned(),
            layout,
            began: Instant::now(),
            kvm: None,
            vm: None,
            memory: Vec::new(),
            vcpus: Vec::new(),
            features: None,
            timer: None,
            counter: None,
            answer_at: None,
            second: None,
        }
    }

    fn kvm(&self) -> io::Result<&OwnedFd> {
        self.kvm.as_ref().ok_or_else(out_of_order)
    }

    fn vm(&self) -> io::Result<&OwnedFd> {
        self.vm.as_ref().ok_or_else(out_of_order)
    }

    fn give_memory(&mut self) -> io::Result<()> {
        let memory = Mapping::anonymous(self.layout.memory_bytes)?;
        let image = Mapping::anonymous(self.layout.image.len())?;
        image.write(0, &self.layout.image);
        let places = self
            .layout
            .image_addresses
            .iter()
            .map(|address| (*address, &image));
        for (slot, (guest_address, mapping)) in
            (0..).zip(std::iter::once((0, &memory)).chain(places))
        {
            let region = MemoryRegion {
                slot,
                flags: 0,
                guest_address,
                bytes: mapping.bytes(),
                address: mapping.address(),
            };
            ioctl_with(self.vm()?, SET_USER_MEMORY_REGION, &region)?;
        }
        self.memory = vec![memory, image];
        Ok(())
    }

    fn create_vcpus(&mut self) -> io::Result<()> {
        for number in 0..self.layout.processors.min(2) {
            let file = owned(ioctl(self.vm()?, CREATE_VCPU, number as u64)?);
            self.vcpus.push(Vcpu { file, state: None });
        }
        Ok(())
    }

    fn map_vcpus(&mut self) -> io::Result<()> {
        let bytes = usize::try_from(ioctl(self.kvm()?, GET_VCPU_MMAP_SIZE, 0)?).unwrap_or(0);
        for vcpu in &mut self.vcpus {
            vcpu.state = Some(Mapping::shared(&vcpu.file, bytes)?);
        }
        // Counters are an extra: kernels before 5.14 have none.
        self.counter = self
            .vcpus
            .first()
            .and_then(|vcpu| Counter::open(&vcpu.file, "insn_emulation").ok());
        Ok(())
    }

    /// Offers the guest what the host's processor and KVM can do, as a real guest would get it.
    fn get_features(&mut self) -> io::Result<()> {
        let mut features = Box::new(Features {
            count: MOST_FEATURES as u32,
            padding: 0,
            entries: [[0; 10]; MOST_FEATURES],
        });
        ioctl_with_mut(self.kvm()?, GET_SUPPORTED_CPUID, &mut *features)?;
        self.features = Some(features);
        Ok(())
    }

    fn set_features(&self) -> io::Result<()> {
        let features = self.features.as_ref().ok_or_else(out_of_order)?;
        for vcpu in &self.vcpus {
            ioctl_with(&vcpu.file, SET_CPUID2, &**features)?;
        }
        Ok(())
    }

    fn arm(&mut self) -> io::Result<()> {
        for vcpu in &self.vcpus {
            set_signal_mask(&vcpu.file)?;
        }
        self.timer = Some(Timer::start()?);
        if self.vcpus.len() > 1
            && let Some(vcpu) = self.vcpus.pop()
        {
            let stop = Arc::new(AtomicBool::new(false));
            let thread = std::thread::Builder::new()
                .name("kvm-probe-2".to_owned())
                .spawn({
                    let stop = Arc::clone(&stop);
                    move || run_second(&vcpu, &stop)
                })?;
            self.second = Some(Second { stop, thread });
        }
        Ok(())
    }

    fn exit(&mut self) -> Exit {
        let Some(state) = self.vcpus.first().and_then(|vcpu| vcpu.state.as_ref()) else {
            return Exit::Other(0);
        };
        let word = |offset: usize| u32::from_ne_bytes(state.read(offset));
        let long = |offset: usize| u64::from_ne_bytes(state.read(offset));
        // The exit reason is at 8, what belongs to it from 32 on.
        match word(8) {
            2 => {
                let data = usize::try_from(long(40)).unwrap_or(usize::MAX);
                let port = u16::from_ne_bytes(state.read(34));
                let [direction] = state.read(32);
                if direction == 0 {
                    self.answer_at = Some(data);
                    Exit::Input { port }
                } else {
                    let [value] = state.read(data);
                    Exit::Output { port, value }
                }
            }
            5 => Exit::Halted,
            6 => {
                let address = long(32);
                let [writes] = state.read(52);
                if writes == 0 {
                    self.answer_at = Some(40);
                    Exit::Read { address }
                } else {
                    Exit::Write { address }
                }
            }
            8 => Exit::Shutdown,
            9 => Exit::EntryFailed { reason: long(32) },
            10 => Exit::Interrupted,
            17 => {
                let count = usize::try_from(word(36)).unwrap_or(0).min(16);
                let data = (0..count).map(|index| long(40 + 8 * index)).collect();
                Exit::InternalError {
                    suberror: word(32),
                    data,
                }
            }
            other => Exit::Other(other),
        }
    }
}

impl Kvm for Linux {
    fn prepare(&mut self, step: Step) -> io::Result<()> {
        // Opening tells the same on every architecture; what follows is x86's.
        if cfg!(not(target_arch = "x86_64")) && step != Step::Open {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the guest is one for x86-64",
            ));
        }
        match step {
            Step::Open => {
                // Waits for nobody: some devices wait for a carrier when they are opened.
                let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
                self.kvm = Some(rustix::fs::open(&self.device, flags, Mode::empty())?);
            }
            Step::Version => match ioctl(self.kvm()?, GET_API_VERSION, 0)? {
                API_VERSION => {}
                other => {
                    return Err(io::Error::other(format!(
                        "it answers with interface version {other}, not {API_VERSION}"
                    )));
                }
            },
            Step::CreateVm => self.vm = Some(owned(ioctl(self.kvm()?, CREATE_VM, 0)?)),
            Step::PlaceTask => drop(ioctl(self.vm()?, SET_TSS_ADDR, TASK_ADDRESS)?),
            Step::InterruptControllers => {
                if self.layout.interrupt_controllers {
                    ioctl(self.vm()?, CREATE_IRQCHIP, 0)?;
                }
            }
            Step::Memory => self.give_memory()?,
            Step::CreateVcpu => self.create_vcpus()?,
            Step::MapVcpu => self.map_vcpus()?,
            Step::GetFeatures => self.get_features()?,
            Step::SetFeatures => self.set_features()?,
            Step::Deadline => self.arm()?,
        }
        Ok(())
    }

    fn run(&mut self) -> io::Result<Exit> {
        let first = self.vcpus.first().ok_or_else(out_of_order)?;
        self.answer_at = None;
        match ioctl(&first.file, RUN, 0) {
            Ok(_) => Ok(self.exit()),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                ) =>
            {
                // The signal is blocked outside of the guest, so it is still pending there.
                take_signal();
                Ok(Exit::Interrupted)
            }
            Err(error) => Err(error),
        }
    }

    fn answer(&mut self, bytes: &[u8]) {
        let state = self.vcpus.first().and_then(|vcpu| vcpu.state.as_ref());
        if let (Some(offset), Some(state)) = (self.answer_at.take(), state) {
            // The kernel's room is eight bytes for memory, one element for a port.
            state.write(offset, &bytes[..bytes.len().min(8)]);
        }
    }

    fn emulated_instructions(&mut self) -> Option<u64> {
        self.counter.as_ref()?.read().ok()
    }

    fn times(&self) -> Times {
        Times {
            wall: self.began.elapsed(),
            processor: processor_time(),
        }
    }
}

impl Drop for Linux {
    fn drop(&mut self) {
        if let Some(second) = self.second.take() {
            second.stop.store(true, Ordering::Release);
            // Its own timer brings it back within a tick. A panic there is no matter of ours.
            let _ = second.thread.join();
        }
        // The VM before its memory.
        self.counter = None;
        self.vcpus.clear();
        self.vm = None;
    }
}

/// How long this thread has had a processor.
fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: written on success; the clock of one's own thread always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(
        time.tv_sec.try_into().unwrap_or(0),
        time.tv_nsec.try_into().unwrap_or(0),
    )
}

fn out_of_order() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "an earlier step is missing")
}

/// Runs the second processor until told to stop: it waits in the kernel until the first one starts
/// it. What it does is seen by the first one; its exits are not.
fn run_second(vcpu: &Vcpu, stop: &AtomicBool) {
    let Ok(_timer) = Timer::start() else { return };
    while !stop.load(Ordering::Acquire) {
        match ioctl(&vcpu.file, RUN, 0) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                ) =>
            {
                take_signal();
            }
            // It ended in some way; the first one finds that it never came.
            Ok(_) | Err(_) => return,
        }
    }
}

/// The signal that interrupts a vCPU.
fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 4
}

/// The set of only that signal.
fn signals() -> libc::sigset_t {
    // SAFETY: an all-zero set is a valid value to be emptied.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal());
        set
    }
}

/// Takes the signal if it is pending on this thread.
fn take_signal() {
    let now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let set = signals();
    // SAFETY: both are live; no information is asked for.
    unsafe { libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const now) };
}

/// Inside the guest only that signal is let through.
fn set_signal_mask(vcpu: &OwnedFd) -> io::Result<()> {
    #[repr(C, packed)]
    struct SignalMask {
        length: u32,
        blocked: u64,
    }
    let mask = SignalMask {
        length: 8,
        blocked: !(1 << (signal() - 1)),
    };
    ioctl_with(vcpu, SET_SIGNAL_MASK, &mask).map(drop)
}

/// A timer that interrupts this thread's vCPU at each tick. The signal is blocked except inside the
/// guest, so no handler is needed and nobody else ever sees it.
#[derive(Debug)]
struct Timer(libc::timer_t);

// SAFETY: a number of the kernel's, which any thread may delete.
unsafe impl Send for Timer {}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: made by timer_create and deleted only here.
        unsafe { libc::timer_delete(self.0) };
    }
}

impl Timer {
    fn start() -> io::Result<Self> {
        let set = signals();
        // SAFETY: a set of our own; only this thread's mask changes.
        let blocked =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if blocked != 0 {
            return Err(io::Error::from_raw_os_error(blocked));
        }
        // SAFETY: an all-zero event is valid; its fields are set below.
        let mut event = unsafe { std::mem::zeroed::<libc::sigevent>() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal();
        event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
        let mut timer: libc::timer_t = std::ptr::null_mut();
        // SAFETY: both structures are live; the timer's number is written on success.
        let made =
            unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
        if made != 0 {
            return Err(io::Error::last_os_error());
        }
        let timer = Self(timer);
        let tick = libc::timespec {
            tv_sec: 0,
            tv_nsec: libc::c_long::from(TICK.subsec_nanos().cast_signed()),
        };
        let when = libc::itimerspec {
            it_interval: tick,
            it_value: tick,
        };
        // SAFETY: the timer exists, the time is live.
        let set = unsafe { libc::timer_settime(timer.0, 0, &raw const when, std::ptr::null_mut()) };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(timer)
    }
}

/// One of a vCPU's counters: a file with a header, descriptions and values, each found by an offset.
#[derive(Debug)]
struct Counter {
    file: File,
    offset: u64,
}

impl Counter {
    fn open(vcpu: &OwnedFd, name: &str) -> io::Result<Self> {
        let file = File::from(owned(ioctl(vcpu, GET_STATS_FD, 0)?));
        let read_at = |offset: u64, bytes: usize| {
            let mut buffer = vec![0; bytes];
            file.read_exact_at(&mut buffer, offset).map(|()| buffer)
        };
        let field = |buffer: &[u8], offset: usize| {
            buffer
                .get(offset..offset + 4)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u32::from_ne_bytes)
        };
        let header = read_at(0, 24)?;
        // A kernel has some dozens of counters with names of 48 bytes; these bounds only keep a
        // broken one from taking our memory.
        let name_bytes = field(&header, 4).min(256) as usize;
        let count = field(&header, 8).min(4096) as usize;
        let (descriptions, values) = (field(&header, 16), field(&header, 20));
        let size = 16 + name_bytes;
        let found = read_at(u64::from(descriptions), count * size)?
            .chunks_exact(size)
            .find(|description| {
                description[16..].split(|byte| *byte == 0).next() == Some(name.as_bytes())
            })
            .map(|description| u64::from(values) + u64::from(field(description, 8)));
        let offset = found.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { file, offset })
    }

    fn read(&self) -> io::Result<u64> {
        let mut value = [0; 8];
        self.file.read_exact_at(&mut value, self.offset)?;
        Ok(u64::from_ne_bytes(value))
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

//! The calls of Linux that Rust's own library does not have. Numbers and layouts are those of the kernel's headers,
//! which never change; they are the same on x86_64 and aarch64.
#![expect(
    unsafe_code,
    reason = "the guest's program has no crate to ask the kernel for it; nothing else in this crate is unsafe"
)]

use std::ffi::{CString, c_char, c_int, c_long, c_short, c_uint, c_ulong, c_void};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

unsafe extern "C" {
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn clock_settime(clock: c_int, time: *const TimeSpec) -> c_int;
    fn sethostname(name: *const c_char, length: usize) -> c_int;
    fn gethostname(name: *mut c_char, length: usize) -> c_int;
    fn mount(
        from: *const c_char,
        to: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn umount2(from: *const c_char, flags: c_int) -> c_int;
    fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize;
    fn kill(process: c_int, signal: c_int) -> c_int;
    fn poll(fds: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn fork() -> c_int;
    fn setsid() -> c_int;
    fn dup2(from: c_int, to: c_int) -> c_int;
    fn sync();
    fn sched_setscheduler(process: c_int, policy: c_int, parameter: *const c_int) -> c_int;
}

#[repr(C)]
struct TimeSpec {
    seconds: c_long,
    nanoseconds: c_long,
}

#[repr(C)]
struct PollFd {
    fd: c_int,
    events: c_short,
    returned: c_short,
}

/// `struct ifreq`: a card's name, and 24 bytes of what is asked or told.
#[repr(C)]
struct CardRequest {
    name: [u8; 16],
    value: [u8; 24],
}

/// `struct rand_pool_info`, with as many bytes as an order has.
#[repr(C)]
struct Entropy {
    bits: c_int,
    size: c_int,
    bytes: [u8; crate::protocol::SEED_BYTES],
}

const RNDADDENTROPY: c_ulong = 0x4008_5203;
const RNDRESEEDCRNG: c_ulong = 0x5207;
const BLKFLSBUF: c_ulong = 0x1261;
const SIOCGIFFLAGS: c_ulong = 0x8913;
const SIOCSIFFLAGS: c_ulong = 0x8914;
const SIOCSIFHWADDR: c_ulong = 0x8924;
const SIOCGIFHWADDR: c_ulong = 0x8927;
const IFF_UP: u16 = 1;
/// The kind of hardware of an Ethernet card.
const ARPHRD_ETHER: u16 = 1;

fn done(result: c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Mixes `seed` into the kernel's generator, counts it, and makes all processors draw from it from now on.
pub(super) fn reseed(
    urandom: &impl AsRawFd,
    seed: &[u8; crate::protocol::SEED_BYTES],
) -> io::Result<()> {
    let entropy = Entropy {
        bits: (seed.len() * 8) as c_int,
        size: seed.len() as c_int,
        bytes: *seed,
    };
    // SAFETY: `entropy` is a rand_pool_info that lives during the call, and its `size` is that of its bytes.
    done(unsafe { ioctl(urandom.as_raw_fd(), RNDADDENTROPY, &raw const entropy) })?;
    // SAFETY: this request has no argument.
    done(unsafe { ioctl(urandom.as_raw_fd(), RNDRESEEDCRNG) })
}

/// Fills `buffer` with what the kernel's generator gives now.
pub(super) fn random(buffer: &mut [u8]) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of one slice that lives during the call.
    let count = unsafe { getrandom(buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    // Up to 256 bytes are never given in part.
    match usize::try_from(count) {
        Ok(count) if count == buffer.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Sets the time of day.
pub(super) fn set_clock(time: crate::protocol::Time) -> io::Result<()> {
    const CLOCK_REALTIME: c_int = 0;
    let time = TimeSpec {
        seconds: c_long::try_from(time.seconds).map_err(io::Error::other)?,
        nanoseconds: c_long::from(time.nanoseconds),
    };
    // SAFETY: `time` lives during the call.
    done(unsafe { clock_settime(CLOCK_REALTIME, &raw const time) })
}

/// Sets the kernel's name of this machine.
pub(super) fn set_hostname(name: &str) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of one string that lives during the call.
    done(unsafe { sethostname(name.as_ptr().cast(), name.len()) })
}

/// The kernel's name of this machine.
pub(super) fn hostname() -> io::Result<String> {
    let mut buffer = [0_u8; 256];
    // SAFETY: the pointer and the length are those of one array that lives during the call.
    done(unsafe { gethostname(buffer.as_mut_ptr().cast(), buffer.len()) })?;
    let name = buffer.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8(name.to_vec()).map_err(io::Error::other)
}

/// Shows the file `from` wherever the file `to` is read.
pub(super) fn bind(from: &Path, to: &Path) -> io::Result<()> {
    const MS_BIND: c_ulong = 4096;
    let (from, to) = (c_path(from)?, c_path(to)?);
    // SAFETY: both paths end with a zero byte and live during the call; a bind mount takes neither kind nor data.
    done(unsafe {
        mount(
            from.as_ptr(),
            to.as_ptr(),
            std::ptr::null(),
            MS_BIND,
            std::ptr::null(),
        )
    })
}

/// Takes away what is shown at `path`, also while somebody reads it.
pub(super) fn unbind(path: &Path) -> io::Result<()> {
    const MNT_DETACH: c_int = 2;
    let path = c_path(path)?;
    // SAFETY: the path ends with a zero byte and lives during the call.
    done(unsafe { umount2(path.as_ptr(), MNT_DETACH) })
}

/// Tells a program that its files have changed (SIGHUP).
pub(super) fn hang_up(process: u32) -> io::Result<()> {
    const SIGHUP: c_int = 1;
    let process = c_int::try_from(process).map_err(io::Error::other)?;
    // SAFETY: sending a signal touches no memory of this program.
    done(unsafe { kill(process, SIGHUP) })
}

/// What may be done with a file that is polled.
pub(super) struct Ready {
    /// Reading gives something, or an error that says what is wrong.
    pub(super) readable: bool,
    /// Nobody is at the other end.
    pub(super) hung_up: bool,
}

/// Waits until `fd` may be read, or `written` if `to_write`; none: nothing happened in `milliseconds`. Negative: waits
/// for ever.
pub(super) fn wait(
    fd: &impl AsRawFd,
    to_write: bool,
    milliseconds: c_int,
) -> io::Result<Option<Ready>> {
    const POLLIN: c_short = 1;
    const POLLOUT: c_short = 4;
    const POLLERR: c_short = 8;
    const POLLHUP: c_short = 16;
    let mut asked = PollFd {
        fd: fd.as_raw_fd(),
        events: if to_write { POLLOUT } else { POLLIN },
        returned: 0,
    };
    // SAFETY: one PollFd is asked, which lives during the call.
    match unsafe { poll(&raw mut asked, 1, milliseconds) } {
        0 => Ok(None),
        1 => Ok(Some(Ready {
            readable: asked.returned & (POLLIN | POLLERR) != 0,
            hung_up: asked.returned & POLLHUP != 0,
        })),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A socket to ask and tell the kernel about network cards with.
pub(super) struct CardControl(OwnedFd);

impl CardControl {
    /// Opens it.
    pub(super) fn open() -> io::Result<Self> {
        const AF_INET: c_int = 2;
        const AF_UNIX: c_int = 1;
        const SOCK_DGRAM_CLOEXEC: c_int = 2 | 0o2_000_000;
        for domain in [AF_INET, AF_UNIX] {
            // SAFETY: opening a socket touches no memory of this program.
            let fd = unsafe { socket(domain, SOCK_DGRAM_CLOEXEC, 0) };
            if fd >= 0 {
                // SAFETY: the kernel has just given this descriptor to nobody else.
                return Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        Err(io::Error::last_os_error())
    }

    fn ask(&self, request: c_ulong, card: &str, value: [u8; 24]) -> io::Result<[u8; 24]> {
        let mut asked = CardRequest {
            name: [0; 16],
            value,
        };
        let name = card.as_bytes();
        asked
            .name
            .get_mut(..name.len())
            .filter(|place| place.len() < 16)
            .ok_or_else(|| io::Error::other("a card's name is too long"))?
            .copy_from_slice(name);
        // SAFETY: `asked` is an ifreq that lives during the call; the kernel writes within it.
        done(unsafe { ioctl(self.0.as_raw_fd(), request, &raw mut asked) })?;
        Ok(asked.value)
    }

    /// A card's address; none: it is no Ethernet card.
    pub(super) fn mac(&self, card: &str) -> io::Result<Option<[u8; 6]>> {
        let [a, b, mac @ ..] = self.ask(SIOCGIFHWADDR, card, [0; 24])?;
        let ethernet = u16::from_ne_bytes([a, b]) == ARPHRD_ETHER;
        Ok(mac.first_chunk().copied().filter(|_| ethernet))
    }

    /// Sets a card's address.
    pub(super) fn set_mac(&self, card: &str, mac: [u8; 6]) -> io::Result<()> {
        let mut value = [0; 24];
        value[..2].copy_from_slice(&ARPHRD_ETHER.to_ne_bytes());
        value[2..8].copy_from_slice(&mac);
        self.ask(SIOCSIFHWADDR, card, value).map(drop)
    }

    /// Is the card up?
    pub(super) fn is_up(&self, card: &str) -> io::Result<bool> {
        let [a, b, ..] = self.ask(SIOCGIFFLAGS, card, [0; 24])?;
        Ok(u16::from_ne_bytes([a, b]) & IFF_UP != 0)
    }

    /// Sets a card up or down.
    pub(super) fn set_up(&self, card: &str, up: bool) -> io::Result<()> {
        let mut value = self.ask(SIOCGIFFLAGS, card, [0; 24])?;
        let flags = u16::from_ne_bytes([value[0], value[1]]);
        let flags = if up { flags | IFF_UP } else { flags & !IFF_UP };
        value[..2].copy_from_slice(&flags.to_ne_bytes());
        self.ask(SIOCSIFFLAGS, card, value).map(drop)
    }
}

/// Forgets what the kernel has read of a disk.
pub(super) fn forget_what_was_read(disk: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: this request has no argument that is looked at.
    done(unsafe { ioctl(disk.as_raw_fd(), BLKFLSBUF, 0 as c_ulong) })
}

/// Writes everything that was written to files to the disks.
pub(super) fn write_all_to_disks() {
    // SAFETY: it takes nothing and gives nothing.
    unsafe { sync() }
}

/// Runs before everything else that this machine does, from now on. Programs and threads that are started do not.
pub(super) fn go_first() -> io::Result<()> {
    const SCHED_FIFO: c_int = 1;
    const SCHED_RESET_ON_FORK: c_int = 0x4000_0000;
    // The lowest of those priorities: above all that have none.
    let priority: c_int = 1;
    // SAFETY: `struct sched_param` is one int, which lives during the call.
    done(unsafe { sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &raw const priority) })
}

/// Goes on in a process of its own session, without the terminal or pipe of whoever started it. True in the new one.
pub(super) fn detach() -> io::Result<bool> {
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    // SAFETY: there is one thread, so the child is a whole copy of this program.
    match unsafe { fork() } {
        0 => {
            // SAFETY: takes nothing; the child leads no process group, so it does not fail.
            unsafe { setsid() };
            for standard in 0..3 {
                // SAFETY: both are descriptors of this process; nothing else of it uses the standard ones.
                unsafe { dup2(null.as_raw_fd(), standard) };
            }
            Ok(true)
        }
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(false),
    }
}

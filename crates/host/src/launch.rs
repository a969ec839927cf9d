//! The few instructions between `fork` and `execve`.
//!
//! Written without the standard library's `Command`, because that one keeps a pipe at a number
//! which a file handed over by number may overwrite, and cannot report parts of a jail.
#![expect(
    unsafe_code,
    reason = "fork, execve and the calls between them have no safe form"
)]

use std::ffi::{CString, OsStr};
use std::io;
use std::io::Read as _;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::identity::Identity;
use crate::jail::{self, Confinement, Jail, JailReport};
use crate::process::{Child, Program, SpawnError, Stream, open_pidfd};

pub(crate) const STEP_EXECUTE: &str = "execute it";

/// The steps in the new process, which reports the number of the one that failed.
const STEPS: [&str; 15] = [
    "put its open files in order",
    "close all other files",
    "start a session",
    "change to its directory",
    "limit its open files",
    "forbid core dumps",
    "give it its own network",
    "give it its own message queues",
    "give it its own host name",
    "drop capabilities",
    "set its groups",
    "change to its user",
    "forbid new privileges",
    "restrict its files",
    STEP_EXECUTE,
];
const FILES: u8 = 0;
const CLOSE: u8 = 1;
const SESSION: u8 = 2;
const DIRECTORY: u8 = 3;
const OPEN_FILES: u8 = 4;
const CORE: u8 = 5;
const NETWORK: u8 = 6;
const IPC: u8 = 7;
const HOSTNAME: u8 = 8;
const CAPABILITIES: u8 = 9;
const GROUPS: u8 = 10;
const USER: u8 = 11;
const NO_NEW_PRIVILEGES: u8 = 12;
const RESTRICT: u8 = 13;
const EXECUTE: u8 = 14;

/// One message of the new process: fatal or not, the step, the error number.
const MESSAGE: usize = 6;

/// Everything the new process needs, made before it exists: between `fork` and `execve` only calls
/// that are safe in a signal handler are allowed, so no memory may be taken.
struct Prepared {
    path: CString,
    // The pointers below point into these two.
    _strings: Vec<CString>,
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    directory: CString,
    /// Descriptor here, descriptor there.
    files: Vec<(RawFd, RawFd)>,
    /// The lowest number above all those wanted there.
    above: RawFd,
    new_session: bool,
    small_pages: bool,
    ignores_termination: bool,
    jail: Option<PreparedJail>,
}

struct PreparedJail {
    user: Option<(u32, u32)>,
    groups: Vec<u32>,
    open_files: u64,
    namespaces: Vec<(libc::c_int, u8)>,
    ruleset: Option<RawFd>,
    last_capability: u32,
    low_ports: bool,
}

/// CAP_NET_BIND_SERVICE.
const LOW_PORTS: u32 = 10;

pub(crate) fn spawn(program: Program) -> Result<Child, SpawnError> {
    let path = program.path.clone();
    let failed = |step: &'static str| {
        let path = path.clone();
        move |source: io::Error| SpawnError { path, step, source }
    };
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(failed("open /dev/null"))?;
    let (ruleset, mut report) = describe(program.jail.as_ref());
    let prepared =
        prepare(&program, null.as_raw_fd(), ruleset.as_ref()).map_err(failed("prepare"))?;
    let (mut reader, writer) = io::pipe().map_err(failed("make a pipe"))?;

    let pid = fork(&prepared, writer.as_raw_fd()).map_err(failed("make a process"))?;
    drop(writer);
    // Nobody else waits for this child, so its number stays its own until we do.
    let pidfd = open_pidfd(pid).map_err(failed("open a descriptor of it"))?;
    let identity = Identity::of_child(pid).map_err(failed("read its start time"))?;

    let mut messages = Vec::new();
    reader
        .read_to_end(&mut messages)
        .map_err(failed("hear of its start"))?;
    for message in messages.chunks_exact(MESSAGE) {
        let step = STEPS
            .get(usize::from(message[1]))
            .copied()
            .unwrap_or("start");
        let number = i32::from_ne_bytes([message[2], message[3], message[4], message[5]]);
        let source = io::Error::from_raw_os_error(number);
        if message[0] == 1 {
            reap(&pidfd);
            return Err(failed(step)(source));
        }
        report.missing.push(format!("failed to {step}: {source}"));
        match message[1] {
            NETWORK => report.namespaces.retain(|name| *name != "network"),
            IPC => report.namespaces.retain(|name| *name != "ipc"),
            HOSTNAME => report.namespaces.retain(|name| *name != "hostname"),
            _ => {}
        }
    }
    Ok(Child::new(identity, pidfd, report))
}

/// Removes the entry of a child that failed to start.
fn reap(pidfd: &OwnedFd) {
    // The child has called _exit; the only possible error is that nothing is left to wait for.
    let _ = rustix::process::waitid(
        rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(pidfd)),
        rustix::process::WaitIdOptions::EXITED,
    );
}

fn describe(jail: Option<&Jail>) -> (Option<OwnedFd>, JailReport) {
    let mut report = JailReport::unconfined();
    let Some(jail) = jail else {
        return (None, report);
    };
    report.capabilities_dropped = true;
    report.no_new_privileges = true;
    report.user = jail.user.as_ref().map(|user| user.uid);
    for (wanted, name) in [
        (jail.namespaces.network, "network"),
        (jail.namespaces.ipc, "ipc"),
        (jail.namespaces.hostname, "hostname"),
    ] {
        if wanted {
            report.namespaces.push(name);
        }
    }
    let Some(files) = &jail.files else {
        return (None, report);
    };
    let (ruleset, confinement) = jail::ruleset(files);
    if let Confinement::None(reason) = &confinement {
        report
            .missing
            .push(format!("failed to restrict its files: {reason}"));
    }
    report.files = confinement;
    (ruleset, report)
}

fn prepare(program: &Program, null: RawFd, ruleset: Option<&OwnedFd>) -> io::Result<Prepared> {
    let path = c_string(program.path.as_os_str())?;
    let mut strings = vec![path.clone()];
    for argument in &program.arguments {
        strings.push(c_string(argument)?);
    }
    let argument_count = strings.len();
    for (name, value) in &program.environment {
        if name.is_empty() || name.as_bytes().contains(&b'=') {
            return Err(invalid(
                "the name of a variable of the environment is empty or has a =",
            ));
        }
        let mut entry = name.clone();
        entry.push("=");
        entry.push(value);
        strings.push(c_string(&entry)?);
    }
    let pointers = |strings: &[CString]| {
        strings
            .iter()
            .map(|text| text.as_ptr())
            .chain([std::ptr::null()])
            .collect::<Vec<_>>()
    };
    let arguments = pointers(&strings[..argument_count]);
    let environment = pointers(&strings[argument_count..]);
    let directory = program.directory.as_deref().unwrap_or(Path::new("/"));

    let mut files = Vec::new();
    for (stream, number) in [
        (&program.stdin, 0),
        (&program.stdout, 1),
        (&program.stderr, 2),
    ] {
        match stream {
            Stream::Null => files.push((null, number)),
            Stream::Inherit => files.push((number, number)),
            Stream::File(file) => files.push((file.as_raw_fd(), number)),
        }
    }
    for (file, number) in &program.inherited {
        if *number < 3 || files.iter().any(|(_, taken)| taken == number) {
            return Err(invalid(
                "a file is handed over at a number below 3, or taken",
            ));
        }
        files.push((file.as_raw_fd(), *number));
    }
    let above = files
        .iter()
        .map(|(_, number)| number + 1)
        .max()
        .unwrap_or(3)
        .max(3);

    Ok(Prepared {
        path,
        _strings: strings,
        arguments,
        environment,
        directory: c_string(directory.as_os_str())?,
        files,
        above,
        new_session: program.new_session,
        small_pages: program.small_pages,
        ignores_termination: program.ignores_termination,
        jail: program
            .jail
            .as_ref()
            .map(|jail| prepare_jail(jail, ruleset))
            .transpose()?,
    })
}

fn prepare_jail(jail: &Jail, ruleset: Option<&OwnedFd>) -> io::Result<PreparedJail> {
    let namespaces = [
        (jail.namespaces.network, libc::CLONE_NEWNET, NETWORK),
        (jail.namespaces.ipc, libc::CLONE_NEWIPC, IPC),
        (jail.namespaces.hostname, libc::CLONE_NEWUTS, HOSTNAME),
    ];
    let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")?;
    Ok(PreparedJail {
        user: jail.user.as_ref().map(|user| (user.uid, user.gid)),
        groups: jail
            .user
            .as_ref()
            .map(|user| user.groups.clone())
            .unwrap_or_default(),
        open_files: jail.open_files,
        namespaces: namespaces
            .into_iter()
            .filter(|(wanted, ..)| *wanted)
            .map(|(_, flag, step)| (flag, step))
            .collect(),
        ruleset: ruleset.map(AsRawFd::as_raw_fd),
        low_ports: jail.low_ports,
        last_capability: last
            .trim()
            .parse()
            .map_err(|_| invalid("cap_last_cap is no number"))?,
    })
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| invalid("a zero byte in a path or argument"))
}

fn fork(prepared: &Prepared, report: RawFd) -> io::Result<u32> {
    // SAFETY: zeroed signal sets are valid storage, filled by sigfillset and pthread_sigmask.
    let (all, mut before) = unsafe {
        (
            std::mem::zeroed::<libc::sigset_t>(),
            std::mem::zeroed::<libc::sigset_t>(),
        )
    };
    let mut all = all;
    // SAFETY: both sets are ours and live. No signal may be handled in the new process while it
    // still has our handlers, which write into pipes that we share.
    let blocked = unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before)
    };
    if blocked != 0 {
        return Err(io::Error::from_raw_os_error(blocked));
    }
    // SAFETY: the new process runs `child` only, which makes nothing but async-signal-safe calls
    // on memory prepared before and never returns.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        child(prepared, report);
    }
    let error = io::Error::last_os_error();
    // SAFETY: `before` was filled by the call above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
    u32::try_from(pid).map_err(|_| error)
}

/// The new process. Every call here is async-signal-safe.
fn child(prepared: &Prepared, report: RawFd) -> ! {
    // SAFETY: moving descriptors of this process only; see each call.
    let report = unsafe { libc::fcntl(report, libc::F_DUPFD_CLOEXEC, prepared.above) };
    check(report, report >= 0, FILES);
    let ruleset = prepared
        .jail
        .as_ref()
        .and_then(|jail| jail.ruleset)
        .map(|ruleset| {
            // SAFETY: duplicates a descriptor of this process.
            let moved = unsafe { libc::fcntl(ruleset, libc::F_DUPFD_CLOEXEC, prepared.above) };
            check(report, moved >= 0, FILES);
            moved
        });
    order_files(prepared, report);
    if prepared.new_session {
        // SAFETY: no memory involved.
        check(report, unsafe { libc::setsid() } >= 0, SESSION);
    }
    if prepared.small_pages {
        // Only saves memory, so a kernel that refuses it does no harm. SAFETY: no memory involved.
        unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    }
    // SAFETY: the string is terminated and live.
    check(
        report,
        unsafe { libc::chdir(prepared.directory.as_ptr()) } == 0,
        DIRECTORY,
    );
    if let Some(jail) = &prepared.jail {
        confine(jail, ruleset, report);
    }
    reset_signals(prepared.ignores_termination);
    // SAFETY: both arrays end with a null pointer and point to terminated, live strings.
    unsafe {
        libc::execve(
            prepared.path.as_ptr(),
            prepared.arguments.as_ptr(),
            prepared.environment.as_ptr(),
        )
    };
    check(report, false, EXECUTE);
    // SAFETY: ends this process at once, without our exit handlers.
    unsafe { libc::_exit(127) }
}

/// Puts each handed over file at its number and marks all others to be closed by `execve`.
fn order_files(prepared: &Prepared, report: RawFd) {
    // SAFETY: descriptors of this process; the flag only marks them.
    let closed = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3 as libc::c_uint,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    check(report, closed == 0, CLOSE);
    // First copies above all wanted numbers, so that none is overwritten before it was read.
    // At most this many files are handed over; more would need memory.
    const MOST: usize = 64;
    let mut moved = [-1; MOST];
    check(report, prepared.files.len() <= MOST, FILES);
    for (slot, (source, _)) in moved.iter_mut().zip(&prepared.files) {
        // SAFETY: duplicates a descriptor of this process.
        *slot = unsafe { libc::fcntl(*source, libc::F_DUPFD_CLOEXEC, prepared.above) };
        check(report, *slot >= 0, FILES);
    }
    for (source, (_, target)) in moved.iter().zip(&prepared.files) {
        // SAFETY: `target` is below all descriptors still needed; the copy survives `execve`.
        check(report, unsafe { libc::dup2(*source, *target) } >= 0, FILES);
    }
}

fn confine(jail: &PreparedJail, ruleset: Option<RawFd>, report: RawFd) {
    // SAFETY: no memory involved.
    unsafe { libc::umask(0o077) };
    limit(report, libc::RLIMIT_NOFILE, jail.open_files, OPEN_FILES);
    limit(report, libc::RLIMIT_CORE, 0, CORE);
    for (flag, step) in &jail.namespaces {
        // SAFETY: no memory involved. Not having it is reported, not fatal.
        if unsafe { libc::unshare(*flag) } != 0 {
            tell(report, false, *step);
        }
    }
    drop_bounding_set(jail);
    if jail.low_ports {
        // Else changing the user would drop it. SAFETY: no memory involved.
        unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) };
    }
    if let Some((uid, gid)) = jail.user {
        // SAFETY: the list is live and of the length given; the other calls take numbers.
        unsafe {
            check(
                report,
                libc::setgroups(jail.groups.len(), jail.groups.as_ptr()) == 0,
                GROUPS,
            );
            check(
                report,
                libc::syscall(libc::SYS_setresgid, gid, gid, gid) == 0,
                USER,
            );
            check(
                report,
                libc::syscall(libc::SYS_setresuid, uid, uid, uid) == 0,
                USER,
            );
        }
    }
    drop_capabilities(jail.low_ports, report);
    // SAFETY: no memory involved.
    let forbidden = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    check(report, forbidden == 0, NO_NEW_PRIVILEGES);
    if let Some(ruleset) = ruleset {
        // SAFETY: a ruleset's descriptor and no flags.
        let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) };
        check(report, done == 0, RESTRICT);
    }
}

/// Lowers a limit; one that is already lower stays.
fn limit(report: RawFd, resource: libc::__rlimit_resource_t, most: u64, step: u8) {
    let mut now = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `now` is live and of the right type.
    check(
        report,
        unsafe { libc::getrlimit(resource, &raw mut now) } == 0,
        step,
    );
    let most = most.min(now.rlim_max);
    let wanted = libc::rlimit {
        rlim_cur: most,
        rlim_max: most,
    };
    // SAFETY: as above.
    check(
        report,
        unsafe { libc::setrlimit(resource, &raw const wanted) } == 0,
        step,
    );
}

/// Without CAP_SETPCAP (an ordinary user) this does nothing, and no_new_privs covers it.
fn drop_bounding_set(jail: &PreparedJail) {
    for capability in 0..=jail.last_capability {
        if !(jail.low_ports && capability == LOW_PORTS) {
            let capability = libc::c_ulong::from(capability);
            // SAFETY: no memory involved.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        }
    }
}

fn drop_capabilities(keep_low_ports: bool, report: RawFd) {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    // _LINUX_CAPABILITY_VERSION_3, and two words each of effective, permitted and inheritable.
    let header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let capset = |words: &[u32; 6]| {
        // SAFETY: header and data have the kernel's layout for version 3 and are live.
        unsafe { libc::syscall(libc::SYS_capset, &raw const header, words.as_ptr()) == 0 }
    };
    if keep_low_ports {
        let one = 1 << LOW_PORTS;
        // SAFETY: no memory involved. It can be ambient only while permitted and inheritable.
        let kept = capset(&[one, one, one, 0, 0, 0])
            && unsafe {
                let raise = libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong;
                let capability = libc::c_ulong::from(LOW_PORTS);
                libc::prctl(libc::PR_CAP_AMBIENT, raise, capability, 0, 0) == 0
            };
        check(report, kept, CAPABILITIES);
    } else {
        check(report, capset(&[0; 6]), CAPABILITIES);
    }
}

/// Handlers end with `execve`, ignored signals do not: Rust ignores SIGPIPE, programs expect not. A program that sets a
/// handler for SIGTERM is still not told of it while it is blocked.
fn reset_signals(ignores_termination: bool) {
    for signal in 1..=64 {
        // SAFETY: the default action; for the two signals that have no other it fails, harmlessly.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: a set on our stack.
    unsafe {
        let mut blocked = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut blocked);
        if ignores_termination {
            libc::sigaddset(&raw mut blocked, libc::SIGTERM);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const blocked, std::ptr::null_mut());
    }
}

/// Ends this process with a message if a step failed.
fn check(report: RawFd, good: bool, step: u8) {
    if !good {
        tell(report, true, step);
        // SAFETY: ends this process at once, without our exit handlers.
        unsafe { libc::_exit(127) }
    }
}

fn tell(report: RawFd, fatal: bool, step: u8) {
    // SAFETY: errno is a thread's own variable.
    let number = unsafe { *libc::__errno_location() }.to_ne_bytes();
    let message = [
        u8::from(fatal),
        step,
        number[0],
        number[1],
        number[2],
        number[3],
    ];
    // SAFETY: the buffer is live and of this length. Less than a pipe's atomic size.
    unsafe { libc::write(report, message.as_ptr().cast(), MESSAGE) };
}

pub(crate) fn landlock_version() -> u32 {
    const QUERY_VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the kernel takes no memory and answers with its version.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0usize,
            QUERY_VERSION,
        )
    };
    u32::try_from(version).unwrap_or(0)
}

//! What this machine is: devices, memory, processors, kernel, distribution.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Whether a device can be used by us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// It can be opened for reading and writing.
    Usable,
    /// There is no such file.
    Missing,
    /// We may not open it.
    PermissionDenied {
        /// Its mode, owner and group, as in `crw-rw---- user 0 group 108`.
        rights: String,
    },
    /// Another process has it for itself.
    Busy,
    /// It exists and cannot be opened for another reason, e.g. its driver is missing.
    Broken {
        /// The kernel's answer.
        error: String,
    },
}

/// Tries to open a device, as a program that uses it would.
#[must_use]
pub fn device(path: &Path) -> Device {
    match open(path) {
        Ok(_file) => Device::Usable,
        Err(obstacle) => obstacle,
    }
}

/// What a device of the kernel's vhost (`/dev/vhost-net`, `/dev/vhost-vsock`) can do: VHOST_GET_FEATURES,
/// which takes nothing and changes nothing.
///
/// # Errors
/// What is the matter with the device; never `Usable`.
pub fn vhost_features(path: &Path) -> Result<u64, Device> {
    const VHOST_GET_FEATURES: u64 = 0x8008_af00;
    ask_number(path, VHOST_GET_FEATURES)
}

/// What `/dev/net/tun` can do: TUNGETFEATURES, which makes no interface.
///
/// # Errors
/// What is the matter with the device; never `Usable`.
pub fn tun_features(path: &Path) -> Result<u64, Device> {
    const TUNGETFEATURES: u64 = 0x8004_54cf;
    ask_number(path, TUNGETFEATURES)
}

/// Asks a device for a number of at most eight bytes.
#[expect(unsafe_code, reason = "asking a device is an ioctl")]
fn ask_number(path: &Path, request: u64) -> Result<u64, Device> {
    use std::os::fd::AsRawFd as _;
    let file = open(path)?;
    let mut answer: u64 = 0;
    // SAFETY: both requests used here write at most eight bytes, into a live variable.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request, &raw mut answer) };
    if result < 0 {
        let error = io::Error::last_os_error().to_string();
        return Err(Device::Broken { error });
    }
    Ok(answer)
}

fn open(path: &Path) -> Result<OwnedFd, Device> {
    use std::os::unix::fs::MetadataExt as _;
    let opened = rustix::fs::open(
        path,
        OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    );
    Err(match opened {
        Ok(file) => return Ok(file),
        Err(rustix::io::Errno::NOENT) => Device::Missing,
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => {
            let rights = std::fs::metadata(path).map_or_else(
                |error| error.to_string(),
                |found| {
                    let mode = found.mode() & 0o777;
                    format!(
                        "mode {mode:03o}, user {}, group {}",
                        found.uid(),
                        found.gid()
                    )
                },
            );
            Device::PermissionDenied { rights }
        }
        Err(rustix::io::Errno::BUSY) => Device::Busy,
        Err(error) => Device::Broken {
            error: io::Error::from(error).to_string(),
        },
    })
}

/// What a Node object says of its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Processors that we may use.
    pub processors: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// As `uname -r`.
    pub kernel: String,
    /// As `uname -m`.
    pub architecture: String,
    /// As `uname -n`.
    pub hostname: String,
    /// This boot.
    pub boot_id: String,
    /// `/etc/machine-id`, empty if the machine has none.
    pub machine_id: String,
    /// `PRETTY_NAME` of `/etc/os-release`, else `Linux`.
    pub distribution: String,
}

impl Machine {
    /// Looks at this machine.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn look() -> io::Result<Self> {
        let name = rustix::system::uname();
        let words = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        let memory_bytes = parse_memory(&memory)
            .ok_or_else(|| io::Error::other("/proc/meminfo has no line MemTotal"))?;
        // Files that a minimal system lacks.
        let machine_id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        Ok(Self {
            processors: std::thread::available_parallelism()?.get(),
            memory_bytes,
            kernel: words(name.release()),
            architecture: words(name.machine()),
            hostname: words(name.nodename()),
            boot_id: crate::identity::boot_id()?.to_owned(),
            machine_id: machine_id.trim().to_owned(),
            distribution: parse_distribution(&release).unwrap_or_else(|| "Linux".to_owned()),
        })
    }

    /// The architecture by Go's name for it, which Kubernetes uses.
    #[must_use]
    pub fn go_architecture(&self) -> &str {
        match self.architecture.as_str() {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
    }
}

/// Memory that programs can get without others being swapped out, in bytes, as the kernel estimates
/// it; `None` if it does not tell.
#[must_use]
pub fn available_memory_bytes() -> Option<u64> {
    parse_kibibytes(
        &std::fs::read_to_string("/proc/meminfo").ok()?,
        "MemAvailable:",
    )
}

/// Memory that a process shares with nobody and no file, in bytes; `None` if it has ended, or the kernel does not tell.
#[must_use]
pub fn own_memory_bytes(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    parse_kibibytes(&text, "RssAnon:")
}

/// How a file stands: kind, mode, owner and group as `crw-rw---- user 0 group 108`; or why that cannot
/// be told.
#[must_use]
pub fn rights(path: &Path) -> String {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return "no such file".to_owned(),
        Err(error) => return error.to_string(),
    };
    let kind = if found.file_type().is_char_device() {
        'c'
    } else {
        '-'
    };
    let bit = |shift: u32, letter: char| {
        if found.mode() >> shift & 1 == 1 {
            letter
        } else {
            '-'
        }
    };
    let mode: String = [8, 7, 6, 5, 4, 3, 2, 1, 0]
        .into_iter()
        .zip("rwxrwxrwx".chars())
        .map(|(shift, letter)| bit(shift, letter))
        .collect();
    format!("{kind}{mode} user {} group {}", found.uid(), found.gid())
}

/// The module that hands virtualization on to guests' guests, and its parameter `nested`; `None` if
/// neither is loaded.
#[must_use]
pub fn nested() -> Option<(&'static str, String)> {
    ["kvm_intel", "kvm_amd"].into_iter().find_map(|module| {
        let path = format!("/sys/module/{module}/parameters/nested");
        let value = std::fs::read_to_string(path).ok()?;
        Some((module, value.trim().to_owned()))
    })
}

fn parse_memory(text: &str) -> Option<u64> {
    parse_kibibytes(text, "MemTotal:")
}

/// The bytes in the line of `/proc/meminfo` that begins with `name`.
pub(crate) fn parse_kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn parse_distribution(text: &str) -> Option<String> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let value = value.trim().trim_matches('"').trim_matches('\'');
    (!value.is_empty()).then(|| value.to_owned())
}

/// Free and total bytes of the file system that holds `path`.
///
/// # Errors
/// If it cannot be asked.
pub fn file_system_bytes(path: &Path) -> io::Result<(u64, u64)> {
    let found = rustix::fs::statvfs(path)?;
    Ok((
        found.f_bavail.saturating_mul(found.f_frsize),
        found.f_blocks.saturating_mul(found.f_frsize),
    ))
}

/// Whether a kernel module is loaded, as `/sys/module` says.
#[must_use]
pub fn module_loaded(name: &str) -> bool {
    Path::new("/sys/module").join(name).is_dir()
}

/// Who made the first processor in `/proc/cpuinfo`, e.g. `GenuineIntel`; `None` where the kernel does
/// not tell (ARM).
#[must_use]
pub fn processor_vendor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    processor_field(&text, "vendor_id").map(str::to_owned)
}

/// What the text of `/proc/cpuinfo` says first under this name: that of the first processor.
#[must_use]
pub fn processor_field<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

/// The flags of the first processor in `/proc/cpuinfo` (`flags` or, on ARM, `Features`).
///
/// # Errors
/// If `/proc` cannot be read.
pub fn processor_flags() -> io::Result<Vec<String>> {
    let text = std::fs::read_to_string("/proc/cpuinfo")?;
    let flags = processor_field(&text, "flags").or_else(|| processor_field(&text, "Features"));
    Ok(flags
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_distribution_are_read_from_their_lines() {
        assert_eq!(
            parse_memory("MemTotal:       1024 kB\nMemFree: 1 kB\n"),
            Some(1 << 20)
        );
        assert_eq!(parse_memory("MemFree: 1 kB\n"), None);
        let release = "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n";
        assert_eq!(
            parse_distribution(release).as_deref(),
            Some("Debian GNU/Linux 12")
        );
    }

    #[test]
    fn the_first_processor_is_asked_for_the_whole_name() {
        let text = "processor\t: 0\nmodel\t\t: 25\nmodel name\t: A: B\nmicrocode\t: 0xa1\n\
                    processor\t: 1\nmodel name\t: C\nflags\t\t:\n";
        for (name, value) in [
            ("model", Some("25")),
            ("model name", Some("A: B")),
            ("microcode", Some("0xa1")),
            ("flags", Some("")),
            ("Features", None),
            ("name", None),
        ] {
            assert_eq!(processor_field(text, name), value, "{name}");
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_missing_and_null_is_usable() {
        assert_eq!(device(Path::new("/dev/nonexistent")), Device::Missing);
        assert_eq!(device(Path::new("/dev/null")), Device::Usable);
    }

    #[test]
    fn rights_are_told_as_ls_tells_them() {
        assert_eq!(rights(Path::new("/dev/null")), "crw-rw-rw- user 0 group 0");
        assert_eq!(rights(Path::new("/dev/nonexistent")), "no such file");
    }

    #[test]
    fn this_machine_is_described() {
        let machine = Machine::look().expect("readable");
        assert!(machine.processors > 0 && machine.memory_bytes > 1 << 20);
        assert!(!machine.kernel.is_empty() && !machine.go_architecture().is_empty());
    }
}

//! Opens what a [`Blueprint`](crate::blueprint::Blueprint) names, anew for each launch: two QEMUs
//! that share one open file are not kept apart by QEMU's image locks.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use api::launcher::warm::{CLOUD_INIT_IMAGE_BYTES, WarmStart};
use api::launcher::{DiskFormat, StartRequest};
use host::lock::{LifeLock, LockError};
use jiff::Timestamp;
use qemu::architecture::{Architecture, FirmwareImage};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::blueprint::{ImageSize, Piece, Source};
use crate::cloud_init::{self, MetaData};
use crate::warm::{resume, template};

/// Where things are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places<'a> {
    /// The folder of new disks.
    pub(crate) disks: &'a Path,
    /// The folder of the locks on disks that all virtual machines of this installation share.
    pub(crate) locks: &'a Path,
    /// Who we are, for whoever finds a lock held.
    pub(crate) holder: &'a str,
    /// What lies below the disks of a guest that starts again, by its names among what is saved.
    pub(crate) lower: &'a BTreeMap<String, File>,
}

/// An open file and its number in QEMU.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Its number in QEMU.
    pub(crate) number: RawFd,
    /// The file.
    pub(crate) file: OwnedFd,
}

/// Everything opened for one launch.
#[derive(Debug, Default)]
pub(crate) struct OpenedFiles {
    /// What QEMU inherits.
    pub(crate) files: Vec<Opened>,
    /// Paths that QEMU must be able to open by `/proc/self/fd/N`.
    pub(crate) readable: Vec<PathBuf>,
}

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The kernel refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Another machine writes to the disk.
    #[error("disk in use: {} is held by {by}; stop that one first", disk.display())]
    InUse {
        /// The disk's file, as it was opened.
        disk: PathBuf,
        /// Who holds it.
        by: String,
    },
    /// Nothing could be promised of the disk.
    #[error("the disk cannot be locked: {0}")]
    Lock(LockError),
    /// The image refers to something outside itself, or is not what was said.
    #[error("the image {} is refused: {problem}", path.display())]
    Image {
        /// The image.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// A new disk cannot have this size.
    #[error("volume {volume}: {source}")]
    Size {
        /// The volume.
        volume: String,
        /// The bounds.
        source: qemu::overlay::WrongSize,
    },
    /// The guest's firmware is not installed.
    #[error(
        "spec.architecture: guests of {architecture} start by EFI firmware, which is missing: install the Debian package `{}` \
         (looked for {looked})",
        architecture.firmware_package()
    )]
    Firmware {
        /// The guest's architecture.
        architecture: Architecture,
        /// Where it was looked for.
        looked: String,
    },
    /// A template is not what it should be, or not one for this guest.
    #[error("the template's {} is of no use: {problem}", path.display())]
    Template {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// What was saved of the machine is not what it should be, or not of this machine.
    #[error("what was saved of the machine is of no use: {}: {problem}", path.display())]
    Saved {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The cloud-init data does not fit.
    #[error("volume {volume}: {source}")]
    CloudInit {
        /// The volume.
        volume: String,
        /// Why.
        source: cloud_init::iso::IsoError,
    },
}

/// Opens all disks and boot files of `pieces`. Sockets, the life-lock and networks are not opened
/// here.
///
/// # Errors
/// [`FileError`] for the first that cannot be had.
pub(crate) fn open(
    pieces: &[Piece],
    request: &StartRequest,
    places: Places<'_>,
    now: Timestamp,
) -> Result<OpenedFiles, FileError> {
    let mut opened = OpenedFiles::default();
    for piece in pieces {
        let file = match &piece.source {
            Source::Socket(_) | Source::LifeLock | Source::Network(_) => continue,
            Source::NewDisk { volume, bytes } => new_disk(places.disks, volume, *bytes)?.into(),
            Source::CloudInit {
                volume,
                user_data,
                network_data,
                read_only,
                size,
            } => {
                let image = CloudInitImage {
                    volume,
                    data: (user_data.as_str(), network_data.as_deref()),
                    read_only: *read_only,
                    size: *size,
                };
                cloud_init_disk(places.disks, &image, request, now)?.into()
            }
            Source::Base {
                path,
                format,
                direct,
            } => base(path, *format, *direct)?.into(),
            Source::HostDisk {
                path,
                create_bytes,
                read_only,
                direct,
            } => host_disk(path, *create_bytes, *read_only, *direct)?.into(),
            Source::LockOf(number) => lock_of(&opened, *number, places)?,
            Source::Boot(path) => boot(path, &mut opened.readable)?,
            Source::Memory { bytes } => host::memory::create("guest", *bytes)
                .map_err(doing("make memory for", Path::new("the guest")))?,
            Source::TemplateMemory { path, inode, bytes } => {
                template::memory(path, *inode, *bytes)?.into()
            }
            Source::TemplateState(file) => template::state(file)?.into(),
            Source::TemplateDisk { file, direct } => template::disk(file, *direct)?.into(),
            Source::SavedState(file) => resume::state(file)?.into(),
            Source::SavedDisk {
                file,
                take_over,
                read_only,
                direct,
            } => resume::disk(places.disks, file, *take_over, (*read_only, *direct))?.into(),
            Source::Own { name, read_only } => {
                let path = places.disks.join(name);
                OpenOptions::new()
                    .read(true)
                    .write(!read_only)
                    .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                    .open(&path)
                    .map_err(doing("open", &path))?
                    .into()
            }
            Source::Lower(name) => {
                let held = places.lower.get(name).map(File::try_clone);
                let held = held.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()));
                held.map_err(doing("hold", Path::new(name)))?.into()
            }
            Source::FirmwareCode(guest) => {
                let code = firmware(*guest)?.code;
                File::open(code)
                    .map_err(doing("open", Path::new(code)))?
                    .into()
            }
            Source::FirmwareVariables(guest) => {
                let template = firmware(*guest)?.variables;
                firmware_variables(places.disks, Path::new(template))?.into()
            }
        };
        opened.files.push(Opened {
            number: piece.number,
            file,
        });
    }
    Ok(opened)
}

/// Removes the disks that a start of `request` has made, if it has come so far.
pub(crate) fn remove_new_disks(disks: &Path, request: &StartRequest) {
    let own = request
        .volumes
        .keys()
        .flat_map(|name| [format!("{name}.qcow2"), format!("{name}.iso")]);
    for file in own.chain([EFI_VARIABLES.to_owned()]) {
        match std::fs::remove_file(disks.join(&file)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("cannot remove {file}: {error}"),
        }
    }
}

fn doing(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::Io {
        doing,
        path,
        source,
    }
}

/// A file that was not there before, or an old one emptied: what an earlier guest of this
/// directory wrote is gone with its memory.
pub(crate) fn new_file(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(doing("create", path))
}

fn new_disk(disks: &Path, volume: &str, bytes: u64) -> Result<File, FileError> {
    let overlay = qemu::overlay::overlay(bytes).map_err(|source| FileError::Size {
        volume: volume.to_owned(),
        source,
    })?;
    let path = disks.join(format!("{volume}.qcow2"));
    let mut file = new_file(&path)?;
    let mut write = || {
        for (at, bytes) in &overlay.parts {
            file.seek(SeekFrom::Start(*at))?;
            file.write_all(bytes)?;
        }
        file.set_len(overlay.file_bytes)
    };
    write().map_err(doing("write", &path))?;
    Ok(file)
}

/// What a cloud-init image is made of.
struct CloudInitImage<'a> {
    volume: &'a str,
    /// `user-data` and `network-config`.
    data: (&'a str, Option<&'a str>),
    read_only: bool,
    size: ImageSize,
}

impl CloudInitImage<'_> {
    /// Its bytes; up to its size zeros follow.
    fn bytes(
        &self,
        path: &Path,
        request: &StartRequest,
        now: Timestamp,
    ) -> Result<Vec<u8>, FileError> {
        let (user_data, network_data) = self.data;
        let meta_data = MetaData {
            instance_id: &request.instance_id,
            hostname: &request.hostname,
        };
        let time = now.to_zoned(jiff::tz::TimeZone::UTC).datetime();
        let image =
            cloud_init::no_cloud(user_data, network_data, meta_data, time).map_err(|source| {
                FileError::CloudInit {
                    volume: self.volume.to_owned(),
                    source,
                }
            })?;
        let length = image.len() as u64;
        match self.size {
            ImageSize::Exactly(bytes) if length > bytes => {
                let path = path.to_owned();
                let problem = format!(
                    "its guest knows a cloud-init disk of {bytes} bytes, and this machine's data need {length}"
                );
                return Err(match request.warm {
                    Some(WarmStart::Resume(_)) => FileError::Saved { path, problem },
                    _ => FileError::Template { path, problem },
                });
            }
            ImageSize::AtLeast(_) | ImageSize::Exactly(_) => {}
        }
        Ok(image)
    }
}

fn cloud_init_disk(
    disks: &Path,
    image: &CloudInitImage<'_>,
    request: &StartRequest,
    now: Timestamp,
) -> Result<File, FileError> {
    let path = disks.join(format!("{}.iso", image.volume));
    let bytes = image.bytes(&path, request, now)?;
    let mut file = new_file(&path)?;
    file.write_all(&bytes).map_err(doing("write", &path))?;
    let (ImageSize::AtLeast(size) | ImageSize::Exactly(size)) = image.size;
    let size = size.max(bytes.len() as u64);
    file.set_len(size).map_err(doing("write", &path))?;
    if image.read_only {
        return File::open(&path).map_err(doing("open", &path));
    }
    Ok(file)
}

/// Puts a machine's cloud-init data into the images of the guest that it adopts, which its QEMU has open.
///
/// # Errors
/// [`FileError`]; the images are of no use then.
pub(crate) fn renew_cloud_init(
    pieces: &[Piece],
    request: &StartRequest,
    disks: &Path,
    now: Timestamp,
) -> Result<(), FileError> {
    for piece in pieces {
        let Source::CloudInit {
            volume,
            user_data,
            network_data,
            ..
        } = &piece.source
        else {
            continue;
        };
        let image = CloudInitImage {
            volume,
            data: (user_data.as_str(), network_data.as_deref()),
            read_only: false,
            size: ImageSize::Exactly(CLOUD_INIT_IMAGE_BYTES),
        };
        let path = disks.join(format!("{volume}.iso"));
        let bytes = image.bytes(&path, request, now)?;
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(&path)?;
            // The guest stands still: nobody reads between what was there and what comes.
            file.set_len(0)?;
            file.write_all(&bytes)?;
            file.set_len(CLOUD_INIT_IMAGE_BYTES)
        };
        write().map_err(doing("write", &path))?;
    }
    Ok(())
}

/// The firmware that is installed.
fn firmware(guest: Architecture) -> Result<&'static FirmwareImage, FileError> {
    let installed = guest.installed_firmware(Path::is_file);
    installed.ok_or_else(|| FileError::Firmware {
        architecture: guest,
        looked: guest
            .efi_firmware()
            .iter()
            .map(|image| image.code)
            .collect::<Vec<_>>()
            .join(", "),
    })
}

/// The firmware's variables, in the folder of disks.
const EFI_VARIABLES: &str = api::launcher::saved::files::EFI_VARIABLES;
/// So much is copied at once; what is all zero is left out of the file.
const COPY_BYTES: usize = 64 << 10;

/// A new copy of the firmware's variables: 64 MiB for a guest, next to all of it zeros.
fn firmware_variables(disks: &Path, template: &Path) -> Result<File, FileError> {
    let mut from = File::open(template).map_err(doing("open", template))?;
    let path = disks.join(EFI_VARIABLES);
    let mut to = new_file(&path)?;
    let mut copy = || {
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = 0_u64;
        loop {
            let count = from.read(&mut buffer)?;
            if count == 0 {
                return to.set_len(at);
            }
            if buffer[..count].iter().any(|byte| *byte != 0) {
                to.seek(SeekFrom::Start(at))?;
                to.write_all(&buffer[..count])?;
            }
            at += count as u64;
        }
    };
    copy().map_err(doing("write", &path))?;
    Ok(to)
}

/// An image that is only read.
pub(crate) fn base(path: &Path, format: DiskFormat, direct: bool) -> Result<File, FileError> {
    let file = File::open(path).map_err(doing("open", path))?;
    // A raw image is raw whatever its bytes look like; a qcow2 header must name nothing outside.
    if format == DiskFormat::Qcow2 {
        let refused = |problem| FileError::Image {
            path: path.to_owned(),
            problem,
        };
        let inspected =
            qemu::image::inspect_file(&file).map_err(|error| refused(error.to_string()))?;
        if inspected.format != qemu::image::Format::Qcow2 {
            return Err(refused("it is said to be qcow2, and is not".to_owned()));
        }
    }
    if !direct {
        return Ok(file);
    }
    let flags = OFlags::DIRECT.bits().cast_signed();
    OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(doing("open (for cache none)", path))
}

/// No symbolic link is followed anywhere on the way: the disk is the one that the path names.
fn host_disk(
    path: &Path,
    create_bytes: Option<u64>,
    read_only: bool,
    direct: bool,
) -> Result<File, FileError> {
    let access = if read_only {
        OFlags::RDONLY
    } else {
        OFlags::RDWR
    };
    let direct = if direct {
        OFlags::DIRECT
    } else {
        OFlags::empty()
    };
    let flags = access | direct | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let try_open = |flags, mode| {
        let file = rustix::fs::openat2(
            rustix::fs::CWD,
            path,
            flags,
            mode,
            ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        );
        file.map(File::from).map_err(io::Error::from)
    };
    let file = match (try_open(flags, Mode::empty()), create_bytes) {
        (Err(error), Some(bytes)) if error.kind() == io::ErrorKind::NotFound && !read_only => {
            // Exclusively: never change the size of a file that somebody else just made.
            let file = try_open(
                flags | OFlags::CREATE | OFlags::EXCL,
                Mode::RUSR | Mode::WUSR,
            )
            .map_err(doing("create", path))?;
            file.set_len(bytes)
                .map_err(doing("set the size of", path))?;
            file
        }
        (result, _) => result.map_err(doing("open the host disk", path))?,
    };
    let metadata = file.metadata().map_err(doing("look at", path))?;
    if !metadata.is_file() {
        let kind = if metadata.file_type().is_block_device() {
            "a block device"
        } else {
            "no regular file"
        };
        return Err(FileError::Image {
            path: path.to_owned(),
            problem: format!("it is {kind}; a host disk is a file with the disk's bytes"),
        });
    }
    Ok(file)
}

fn lock_of(opened: &OpenedFiles, number: RawFd, places: Places<'_>) -> Result<OwnedFd, FileError> {
    let disk = opened.files.iter().find(|file| file.number == number);
    let disk = disk
        .and_then(|disk| disk.file.try_clone().ok())
        .map(File::from);
    let Some(disk) = disk else {
        // The blueprint lists a lock after its disk, so only the copy can have failed.
        return Err(doing("copy the disk's descriptor for", places.locks)(
            io::Error::last_os_error(),
        ));
    };
    host::socket::private_directory(places.locks).map_err(doing("make", places.locks))?;
    match LifeLock::acquire_for_disk(places.locks, &disk, places.holder) {
        Ok(lock) => Ok(lock.into_descriptor()),
        Err(LockError::Held { by, .. }) => Err(FileError::InUse {
            disk: path_of(&disk),
            by,
        }),
        Err(error) => Err(FileError::Lock(error)),
    }
}

/// Where the open file is: people know the disk, not the lock that stands for it.
fn path_of(file: &File) -> PathBuf {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::read_link(&link).unwrap_or_else(|_| PathBuf::from(link))
}

/// QEMU opens this one by itself, as its own user: if that user may not, it gets a copy in memory.
fn boot(path: &Path, readable: &mut Vec<PathBuf>) -> Result<OwnedFd, FileError> {
    let mut file = File::open(path).map_err(doing("open", path))?;
    let metadata = file.metadata().map_err(doing("look at", path))?;
    if metadata.permissions().mode() & 0o004 != 0 {
        // Landlock judges by the file's own path.
        let own = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        readable.push(std::fs::read_link(own).map_err(doing("find", path))?);
        return Ok(file.into());
    }
    let memory = rustix::fs::memfd_create("boot", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(|error| doing("make memory for", path)(error.into()))?;
    let mut copy = File::from(memory);
    io::copy(&mut file, &mut copy).map_err(doing("copy", path))?;
    copy.set_permissions(std::fs::Permissions::from_mode(0o444))
        .map_err(doing("open to all", path))?;
    Ok(copy.into())
}

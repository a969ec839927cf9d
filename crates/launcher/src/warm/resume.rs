//! What was saved of a machine, looked at and taken up when the machine goes on. What is in the files was checked by
//! whoever named them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use api::launcher::saved::{HostDisk, Saved, files as names};
use api::launcher::warm::{FileIdentity, TemplateFile};
use api::launcher::{DiskFormat, StartRequest};
use rustix::fs::OFlags;

use crate::files::{self, FileError};
use crate::warm::outgoing::copy_content;
use crate::warm::save::volumes;

fn of_no_use(path: &Path, problem: impl ToString) -> FileError {
    FileError::Saved {
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}

/// Opens exactly the file that is meant.
fn open(meant: &TemplateFile) -> Result<File, FileError> {
    let path = &meant.path;
    let nofollow = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nofollow.bits().cast_signed())
        .open(path)
        .map_err(|error| of_no_use(path, error))?;
    let found = file.metadata().map_err(|error| of_no_use(path, error))?;
    if !found.is_file() {
        return Err(of_no_use(path, "it is no regular file"));
    }
    if FileIdentity::of(&found) != meant.identity {
        return Err(of_no_use(path, "it is another file than was checked"));
    }
    Ok(file)
}

/// Opens the state of the guest, with its memory.
pub(crate) fn state(meant: &TemplateFile) -> Result<File, FileError> {
    open(meant)
}

/// Makes a saved disk one of the machine's own, in its folder of disks, and opens it. With `take_over` the saved file
/// has two names then, and is not written to before the guest runs; else it is copied. `manner`: the guest only reads
/// it; past the page cache.
pub(crate) fn disk(
    disks: &Path,
    meant: &TemplateFile,
    take_over: bool,
    manner: (bool, bool),
) -> Result<File, FileError> {
    let (read_only, direct) = manner;
    let from = open(meant)?;
    let name = meant.path.file_name().unwrap_or_default();
    let path = disks.join(name);
    let problem = |error: io::Error| of_no_use(&path, error);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(problem(error)),
        _ => {}
    }
    // Another file system has no second name for it.
    let linked = take_over && std::fs::hard_link(&meant.path, &path).is_ok();
    if !linked {
        let to = files::new_file(&path)?;
        copy_content(&from, &to).map_err(problem)?;
    }
    let has_header = name.to_string_lossy().ends_with(names::DISK_SUFFIX);
    if has_header {
        // Its header names nothing outside: the guest's QEMU had it, but the file lay about since.
        files::base(&path, DiskFormat::Qcow2, false).map_err(|error| of_no_use(&path, error))?;
    }
    let direct = if direct {
        OFlags::DIRECT
    } else {
        OFlags::empty()
    };
    OpenOptions::new()
        .read(true)
        .write(!read_only)
        .custom_flags((OFlags::NOFOLLOW | direct).bits().cast_signed())
        .open(&path)
        .map_err(problem)
}

/// Notes durably that a guest has taken over the disks: with the state beside them they are of no use any more.
pub(crate) fn mark_used(directory: &Path) -> io::Result<()> {
    std::fs::rename(directory.join(names::RECORD), directory.join(names::USED))?;
    File::open(directory)?.sync_all()
}

/// Whether what was saved is of such a machine, as far as its record tells.
///
/// # Errors
/// What is not alike.
pub(crate) fn suits(saved: &Saved, request: &StartRequest) -> Result<(), FileError> {
    let wrong = |problem: String| of_no_use(&saved.directory, problem);
    let (cards, known) = (request.interfaces.len(), saved.record.macs.len());
    if cards != known {
        return Err(wrong(format!(
            "it has {known} network cards, and the machine {cards}"
        )));
    }
    let accelerator = saved.record.accelerator;
    if let Some(theirs) = accelerator.filter(|theirs| *theirs != request.accelerator) {
        return Err(wrong(format!(
            "its guest ran on {theirs}, and this machine is to run on {}",
            request.accelerator
        )));
    }
    let (known, ours) = (&saved.record.volumes, volumes(request));
    let names = known.keys().chain(ours.keys());
    for name in names {
        let told = |volume: Option<&String>| volume.map_or("none", String::as_str).to_owned();
        let (known, ours) = (told(known.get(name)), told(ours.get(name)));
        if known != ours {
            return Err(wrong(format!(
                "volume `{name}` was {known}, and is {ours} now"
            )));
        }
    }
    for (volume, known) in &saved.record.host_disks {
        let path = &known.path;
        let found = std::fs::metadata(path).map_err(|error| of_no_use(path, error))?;
        if HostDisk::of(path.clone(), &found) != *known {
            return Err(of_no_use(
                path,
                format!(
                    "the host disk of volume `{volume}` was changed since, so the guest would destroy it: put it back, or throw away what was saved"
                ),
            ));
        }
    }
    Ok(())
}

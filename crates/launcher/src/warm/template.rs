//! A template's files, looked at before they are used. What is in them was checked by whoever named them.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use api::launcher::warm::{FileIdentity, Template, TemplateFile};
use api::launcher::{DiskFormat, ResolvedVolume, StartRequest};
use rustix::fs::OFlags;

use crate::files::{self, FileError};

/// The largest state that is read: the memory of the guest's screen, which is 16 MiB, and some hundred KiB of all other
/// devices fit many times over.
const LARGEST_STATE_BYTES: u64 = 256 << 20;

fn of_no_use(path: &Path, problem: impl Into<String>) -> FileError {
    FileError::Template {
        path: path.to_owned(),
        problem: problem.into(),
    }
}

/// Opens a template's memory: exactly that file, of that size, which nobody can change any more.
pub(crate) fn memory(path: &Path, inode: u64, bytes: u64) -> Result<File, FileError> {
    let refused = |problem: String| Err(of_no_use(path, problem));
    let file = File::open(path).map_err(|error| of_no_use(path, error.to_string()))?;
    let found = file.metadata();
    let found = found.map_err(|error| of_no_use(path, error.to_string()))?;
    if found.ino() != inode {
        return refused(format!(
            "it is another file than was meant: inode {}, not {inode}",
            found.ino()
        ));
    }
    if !host::memory::is_sealed(&file) {
        return refused("it is not sealed against changes".to_owned());
    }
    if found.len() != bytes {
        return refused(format!(
            "it has {} bytes, and the guest has {bytes}",
            found.len()
        ));
    }
    Ok(file)
}

/// Refuses another file than the one that was checked: after a template was made again its files have the same paths,
/// and one's state and disks are of no use with the other's memory.
fn is_meant(file: &File, meant: &TemplateFile) -> Result<(), FileError> {
    let TemplateFile { path, identity } = meant;
    let found = file.metadata();
    let found = found.map_err(|error| of_no_use(path, error.to_string()))?;
    let found = FileIdentity::of(&found);
    if found == *identity {
        return Ok(());
    }
    let told = |it: &FileIdentity| {
        let (seconds, nanoseconds) = it.changed;
        let FileIdentity { inode, bytes, .. } = it;
        format!("inode {inode} of {bytes} bytes, changed at {seconds}.{nanoseconds:09}")
    };
    let (found, wanted) = (told(&found), told(identity));
    let problem = format!("it is another file than was checked: {found}; not {wanted}");
    Err(of_no_use(path, problem))
}

/// Opens the state of a template's devices: exactly the file that is meant.
pub(crate) fn state(meant: &TemplateFile) -> Result<File, FileError> {
    let path = &meant.path;
    let nofollow = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nofollow.bits().cast_signed())
        .open(path)
        .map_err(|error| of_no_use(path, error.to_string()))?;
    let found = file.metadata();
    let found = found.map_err(|error| of_no_use(path, error.to_string()))?;
    if !found.is_file() {
        return Err(of_no_use(path, "it is no regular file"));
    }
    if found.len() == 0 || found.len() > LARGEST_STATE_BYTES {
        let problem = format!("it has {} bytes", found.len());
        return Err(of_no_use(path, problem));
    }
    is_meant(&file, meant)?;
    Ok(file)
}

/// Opens what a template's guest had written to a disk: exactly the file that is meant.
pub(crate) fn disk(meant: &TemplateFile, direct: bool) -> Result<File, FileError> {
    let path = &meant.path;
    let file = files::base(path, DiskFormat::Qcow2, direct)
        .map_err(|error| of_no_use(path, error.to_string()))?;
    is_meant(&file, meant)?;
    Ok(file)
}

/// Whether the template is one for such a guest, as far as its notes tell.
///
/// # Errors
/// A sentence: what is not alike.
pub(crate) fn suits(template: &Template, request: &StartRequest) -> Result<(), String> {
    let (cards, kept) = (request.interfaces.len(), template.kept.macs.len());
    if cards != kept {
        return Err(format!(
            "the template has {kept} network cards, and the machine {cards}"
        ));
    }
    let disks = &request.instance.spec.domain.devices.disks;
    let writable = |name: &str| {
        let disk = disks.iter().find(|disk| disk.name == name);
        let read_only = disk.is_some_and(|disk| {
            let hard = disk.disk.as_ref();
            disk.cdrom.is_some() || hard.is_some_and(|hard| hard.readonly == Some(true))
        });
        match request.volumes.get(name) {
            Some(ResolvedVolume::ContainerDisk { .. }) => disk.is_some() && !read_only,
            Some(ResolvedVolume::EmptyDisk { .. }) => disk.is_some(),
            Some(ResolvedVolume::CloudInitNoCloud { .. } | ResolvedVolume::HostDisk { .. })
            | None => false,
        }
    };
    if let Some(more) = template.disks.keys().find(|name| !writable(name)) {
        return Err(format!(
            "the template has a disk `{more}`, to which the machine does not write"
        ));
    }
    let volumes = request.volumes.iter();
    for (name, volume) in volumes {
        if writable(name) && !template.disks.contains_key(name) {
            return Err(format!("the template has no disk `{name}`"));
        }
        // What is on it is not part of the template, but of what the guest remembers of it.
        if matches!(volume, ResolvedVolume::HostDisk { .. }) {
            return Err(format!(
                "volume `{name}` is a host disk, which others change: such a machine is never of a template"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &Path) -> TemplateFile {
        TemplateFile {
            path: path.to_owned(),
            identity: FileIdentity::of(&path.metadata().expect("there")),
        }
    }

    #[test]
    fn a_state_or_disk_that_came_after_the_checked_one_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let overlay = qemu::overlay::overlay(1 << 20).expect("an overlay");
        let mut content = vec![0; usize::try_from(overlay.file_bytes).expect("small")];
        for (at, bytes) in &overlay.parts {
            let at = usize::try_from(*at).expect("small");
            content[at..at + bytes.len()].copy_from_slice(bytes);
        }
        std::fs::write(&path, &content).expect("written");
        let meant = file(&path);
        state(&meant).expect("the file that is meant");
        disk(&meant, false).expect("the file that is meant");

        // A template that was made again: all alike, but for what it is.
        let other = folder.path().join("other");
        std::fs::write(&other, &content).expect("written");
        std::fs::rename(&other, &path).expect("in its place");
        for refused in [state(&meant), disk(&meant, false)] {
            let refused = refused.expect_err("another file").to_string();
            assert!(
                refused.contains("another file than was checked"),
                "{refused}"
            );
        }

        // One that got the same inode number and length.
        let mut earlier = file(&path);
        earlier.identity.changed.0 -= 1;
        state(&earlier).expect_err("of another time");
        let mut longer = file(&path);
        longer.identity.bytes += 1;
        disk(&longer, false).expect_err("of another length");
    }
}

//! The files that say who this machine is. `root` is `/` in a guest, and another folder in tests.

use super::sys;
use crate::protocol::{Id, Name};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Folders of which one can hold a file that is shown elsewhere; the last one is there whenever device files are.
const SCRATCH: [&str; 3] = ["run", "dev/shm", "dev"];
/// A file system that cannot be written to (`EROFS`).
const READ_ONLY: i32 = 30;

/// Writes `/etc/machine-id`, and dbus' own copy where it is no link. False: there is no `/etc`.
pub(super) fn set_machine_id(root: &Path, id: Id) -> io::Result<bool> {
    if !root.join("etc").is_dir() {
        return Ok(false);
    }
    let text = format!("{}\n", id.plain());
    replace_text(root, &root.join("etc/machine-id"), &text, 0o444)?;
    let dbus = root.join("var/lib/dbus/machine-id");
    if fs::symlink_metadata(&dbus).is_ok_and(|file| file.is_file()) {
        replace_text(root, &dbus, &text, 0o444)?;
    }
    Ok(true)
}

/// What `/etc/machine-id` says; none: nothing that could be one.
pub(super) fn machine_id(root: &Path) -> Option<Id> {
    Id::parse(fs::read_to_string(root.join("etc/machine-id")).ok()?.trim())
}

/// Writes `/etc/hostname`, where there is `/etc`.
pub(super) fn set_hostname_file(root: &Path, name: &Name) -> io::Result<()> {
    if !root.join("etc").is_dir() {
        return Ok(());
    }
    replace_text(
        root,
        &root.join("etc/hostname"),
        &format!("{name}\n"),
        0o644,
    )
}

/// Writes `text` over what `path` has; the file stays the same one, since it may be mounted from elsewhere. In a
/// system that cannot be written to, another file is shown in its place.
fn replace_text(root: &Path, path: &Path, text: &str, mode: u32) -> io::Result<()> {
    match write_over(path, text, mode) {
        Err(error) if error.raw_os_error() == Some(READ_ONLY) && path.exists() => {
            show(root, path, text, mode)
        }
        result => result,
    }
}

/// Writes `text` over what `path` has, or makes it; who may read it stays as it was. To make another file and rename it,
/// or to take the old text away first, would take far longer in an emulated guest that has just been restored.
pub(super) fn write_over(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(mode)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    let length = text.len() as u64;
    if file.metadata()?.len() > length {
        file.set_len(length)?;
    }
    Ok(())
}

/// Shows `text` at `path`, which the kernel makes and nobody can write to. Where a file is shown already, since this
/// was rehearsed, it gets the text: to mount takes far longer in an emulated guest that has just been restored.
pub(super) fn show(root: &Path, path: &Path, text: &str, mode: u32) -> io::Result<()> {
    if is_shown_over(path)? {
        if fs::write(path, text).is_ok() {
            return Ok(());
        }
        sys::unbind(path)?;
    }
    let file = scratch(root, text, mode)?;
    let shown = sys::bind(&file, path);
    // The mount holds on to it: nobody else needs its name.
    fs::remove_file(&file)?;
    shown
}

/// Is another file shown at `path` than the one of its folder's file system?
fn is_shown_over(path: &Path) -> io::Result<bool> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    Ok(fs::metadata(path)?.dev() != fs::metadata(folder)?.dev())
}

/// A new file with `text`, in a folder that is in memory.
fn scratch(root: &Path, text: &str, mode: u32) -> io::Result<PathBuf> {
    let mut last = io::ErrorKind::NotFound.into();
    for folder in SCRATCH {
        let path = root.join(folder).join(".anyvirt-renew");
        // What an earlier run may have left when the machine was kept just then.
        let _ = fs::remove_file(&path);
        match File::options()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
        {
            Ok(mut file) => {
                file.write_all(text.as_bytes())?;
                // Whatever the umask was.
                file.set_permissions(fs::Permissions::from_mode(mode))?;
                return Ok(path);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// `/etc/hosts` with `new` wherever the machine itself was called `old`: on lines of loopback addresses, also with a
/// domain behind it.
pub(super) fn hosts(text: &str, old: &str, new: &str) -> String {
    let renamed = |word: &str| {
        let (name, domain) = word.split_once('.').unwrap_or((word, ""));
        match (word == old, name == old, domain) {
            (true, ..) => new.to_owned(),
            (false, true, domain) => format!("{new}.{domain}"),
            _ => word.to_owned(),
        }
    };
    let mut renewed = String::new();
    for line in text.split_inclusive('\n') {
        let mut words = line.split_whitespace();
        let own = words
            .next()
            .is_some_and(|address| address.starts_with("127.") || address == "::1");
        if own && old != "localhost" && words.clone().any(|word| renamed(word) != word) {
            let words: Vec<String> = line.split_whitespace().map(renamed).collect();
            renewed.push_str(&words.join(" "));
            renewed.push('\n');
        } else {
            renewed.push_str(line);
        }
    }
    renewed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_etc_has_no_machine_id_and_dbus_gets_its_own_copy() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        assert!(!set_machine_id(root, Id([1; 16])).expect("nothing to do"));
        assert_eq!(machine_id(root), None);
        fs::create_dir_all(root.join("etc")).expect("made");
        fs::create_dir_all(root.join("var/lib/dbus")).expect("made");
        fs::write(
            root.join("etc/machine-id"),
            "uninitialized and longer than an id could ever be\n",
        )
        .expect("written");
        fs::write(root.join("var/lib/dbus/machine-id"), "").expect("written");
        assert_eq!(machine_id(root), None);
        assert!(set_machine_id(root, Id([1; 16])).expect("written"));
        assert_eq!(machine_id(root), Some(Id([1; 16])));
        let text = |path: &str| fs::read_to_string(root.join(path)).expect("read");
        assert_eq!(text("etc/machine-id"), format!("{}\n", "01".repeat(16)));
        assert_eq!(text("var/lib/dbus/machine-id"), text("etc/machine-id"));
    }

    #[test]
    fn the_machines_own_name_changes_in_hosts_and_nothing_else() {
        let text = "127.0.0.1\tlocalhost\n127.0.1.1 debian.example debian\n10.0.0.1 debian\n# debian\n\n::1 debian ip6-localhost";
        assert_eq!(
            hosts(text, "debian", "web-1"),
            "127.0.0.1\tlocalhost\n127.0.1.1 web-1.example web-1\n10.0.0.1 debian\n# debian\n\n::1 web-1 ip6-localhost\n"
        );
        assert_eq!(
            hosts("127.0.0.1 localhost\n", "localhost", "web-1"),
            "127.0.0.1 localhost\n"
        );
    }

    #[test]
    fn a_scratch_file_has_its_mode_and_takes_the_place_of_one_that_was_left() {
        let root = tempfile::tempdir().expect("a folder");
        assert!(scratch(root.path(), "x", 0o444).is_err());
        fs::create_dir_all(root.path().join("dev")).expect("made");
        for text in ["one", "two"] {
            let path = scratch(root.path(), text, 0o400).expect("made");
            assert_eq!(fs::read_to_string(&path).expect("read"), text);
            let mode = fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o400);
            assert!(!is_shown_over(&path).expect("known"));
        }
    }
}

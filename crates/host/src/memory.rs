//! Memory as a file without a name: guests' RAM, and templates of it that nobody can change any more.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, SealFlags, SeekFrom};

/// Bytes that are copied at a time.
const PIECE: usize = 1 << 20;

/// What a memory of which nobody can write, shrink or grow a byte any more is sealed against; and nobody can take
/// these seals off, or forbid others.
const SEALS: SealFlags = SealFlags::WRITE
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// A new memory of so many bytes, all zero, that takes room only where something was written. `name` is shown in
/// `/proc/PID/maps` and means nothing else.
///
/// # Errors
/// If the kernel has no room, or `name` has more than 249 bytes.
pub fn create(name: &str, bytes: u64) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    // QEMU opens it once more, by its own number, as a user of its own. It has no name: nobody reaches it but by a
    // process that has it, for which they need that process's user.
    rustix::fs::fchmod(&memory, rustix::fs::Mode::from_raw_mode(0o666))?;
    rustix::fs::ftruncate(&memory, bytes)?;
    Ok(memory)
}

/// Seals a memory of [`create`] for ever against writing and resizing.
///
/// # Errors
/// If somebody has it mapped to write to it, or it is no such memory.
pub fn seal(memory: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::fcntl_add_seals(memory, SEALS)?)
}

/// Whether this is a memory that was sealed by [`seal`]. Any other file is not.
#[must_use]
pub fn is_sealed(file: impl AsFd) -> bool {
    rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SEALS))
}

/// The path by which processes of the same user open a file that this process holds open.
#[must_use]
pub fn path_of(file: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
}

/// A file's inode number, by which it is told from another one at the same path.
///
/// # Errors
/// If the kernel does not say.
pub fn inode(file: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(file)?.st_ino)
}

/// Copies what is not a hole of `from` to the same places of `to`, which must be new: what is all zero stays a hole in
/// it. `each` sees every piece with its place before it is written. Both have the same size afterwards; returns the
/// bytes that were written. Blocks.
///
/// # Errors
/// As reading and writing have them, and those of `each`.
pub fn copy_data(
    from: &File,
    to: &File,
    mut each: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let bytes = from.metadata()?.size();
    to.set_len(bytes)?;
    let mut piece = vec![0; PIECE];
    let (mut written, mut at) = (0, 0);
    let (mut reader, mut writer) = (from, to);
    while let Some((start, end)) = next_data(from, at, bytes)? {
        reader.seek(io::SeekFrom::Start(start))?;
        at = start;
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let part = piece.get_mut(..wanted).unwrap_or_default();
            reader.read_exact(part)?;
            each(at, part)?;
            if part.iter().any(|byte| *byte != 0) {
                writer.seek(io::SeekFrom::Start(at))?;
                writer.write_all(part)?;
                written += wanted as u64;
            }
            at += wanted as u64;
        }
    }
    Ok(written)
}

/// The next stretch of `file` at or after `at` that is no hole; `None` where only a hole is left.
///
/// # Errors
/// If the kernel cannot tell; file systems without holes have all of a file in one stretch.
pub fn next_data(file: &File, at: u64, bytes: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= bytes {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
    Ok((start < bytes).then_some((start, end.min(bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt as _;

    #[test]
    fn a_sealed_memory_is_read_by_its_path_and_cannot_be_changed() {
        let memory = create("test", 8192).expect("memory");
        let file = File::from(memory);
        file.write_all_at(b"guest", 4096).expect("written");
        assert!(!is_sealed(&file));
        seal(&file).expect("sealed");
        assert!(is_sealed(&file));
        let path = path_of(file.as_fd());
        let again = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .expect("QEMU 7.2 opens it so");
        again.write_all_at(b"x", 0).expect_err("sealed");
        again.set_len(0).expect_err("sealed");
        again.set_len(1 << 20).expect_err("sealed");
        let mut found = [0; 5];
        again.read_exact_at(&mut found, 4096).expect("readable");
        assert_eq!(&found, b"guest");
        assert_eq!(inode(&again).expect("known"), inode(&file).expect("known"));
        let other = create("test", 8192).expect("memory");
        assert_ne!(inode(&other).expect("known"), inode(&file).expect("known"));
    }

    #[test]
    fn another_file_is_not_sealed() {
        assert!(!is_sealed(tempfile::tempfile().expect("a file")));
        assert!(!is_sealed(create("test", 1).expect("memory")));
    }

    #[test]
    fn holes_stay_holes_and_all_data_is_copied_and_seen() {
        let bytes = 64 << 20;
        let from = File::from(create("from", bytes).expect("memory"));
        // Beside a border of pieces, at the end, and zeros that take room.
        let places = [
            (0, b"first".as_slice()),
            ((1 << 20) - 2, b"border"),
            (bytes - 4, b"last"),
        ];
        for (at, text) in places {
            from.write_all_at(text, at).expect("written");
        }
        from.write_all_at(&[0; 8192], 32 << 20).expect("written");
        let to = tempfile::tempfile().expect("a file");
        let mut seen = 0;
        let written = copy_data(&from, &to, |_, piece| {
            seen += piece.len() as u64;
            Ok(())
        })
        .expect("copied");
        assert!(written < 4 << 20, "{written}");
        assert!(seen >= written);
        assert_eq!(to.metadata().expect("known").len(), bytes);
        assert!(to.metadata().expect("known").blocks() * 512 < 8 << 20);
        for (at, text) in places {
            let mut found = vec![0; text.len()];
            to.read_exact_at(&mut found, at).expect("readable");
            assert_eq!(found, text);
        }
    }

    #[test]
    fn an_empty_memory_is_copied_as_one_hole() {
        let from = File::from(create("from", 1 << 20).expect("memory"));
        let to = tempfile::tempfile().expect("a file");
        assert_eq!(copy_data(&from, &to, |_, _| Ok(())).expect("copied"), 0);
        assert_eq!(to.metadata().expect("known").len(), 1 << 20);
    }
}

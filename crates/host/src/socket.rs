//! Unix sockets in private directories, with paths of any length.
//!
//! The kernel takes at most 107 bytes of a socket's path. A longer one is reached through the
//! open directory: `/proc/self/fd/N/NAME`.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Who is at the other end of a unix socket, as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process number at the time it connected.
    pub pid: u32,
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
}

impl Peer {
    /// Whether it is our own user, or root.
    #[must_use]
    pub fn trusted(self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }
}

/// Who is at the other end of `socket`.
///
/// # Errors
/// If `socket` is not a connected unix socket.
pub fn peer(socket: impl AsFd) -> io::Result<Peer> {
    let credentials = rustix::net::sockopt::socket_peercred(socket)?;
    Ok(Peer {
        pid: credentials.pid.as_raw_nonzero().get().unsigned_abs(),
        uid: credentials.uid.as_raw(),
        gid: credentials.gid.as_raw(),
    })
}

/// Makes `path`, and what is missing above it, as directories that only our user may enter.
///
/// # Errors
/// If it exists and is not a directory (a symbolic link to one is refused too), belongs to
/// somebody else, or cannot be made.
pub fn private_directory(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)?;
    let found = std::fs::symlink_metadata(path)?;
    if !found.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            format!("{} is not a directory", path.display()),
        ));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} belongs to user {}", path.display(), found.uid()),
        ));
    }
    if found.permissions().mode() & 0o077 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Listens at `path`, with access for our user only; a socket left there by an ended process is
/// removed first. The directory must be private ([`private_directory`]): between its making and
/// the change of its mode the socket has the rights of the umask.
///
/// # Errors
/// If something other than a socket is at `path`, or the kernel refuses.
pub fn bind(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
            std::fs::remove_file(path)?;
        }
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} exists and is not a socket", path.display()),
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let short = Short::of(path)?;
    let listener = std::os::unix::net::UnixListener::bind(&short.path)?;
    std::fs::set_permissions(&short.path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// As [`bind`], for tokio.
///
/// # Errors
/// As [`bind`].
pub fn listen(path: &Path) -> io::Result<tokio::net::UnixListener> {
    let listener = bind(path)?;
    listener.set_nonblocking(true)?;
    tokio::net::UnixListener::from_std(listener)
}

/// Connects to the socket at `path`.
///
/// # Errors
/// The kernel's answer: `NotFound` without a socket, `ConnectionRefused` without a listener.
pub async fn connect(path: &Path) -> io::Result<tokio::net::UnixStream> {
    let short = Short::of(path)?;
    tokio::net::UnixStream::connect(&short.path).await
}

/// Two connected stream sockets, closed on `execve` unless handed over.
///
/// # Errors
/// If no more files can be opened.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (one, other) = std::os::unix::net::UnixStream::pair()?;
    Ok((one.into(), other.into()))
}

/// A path short enough for the kernel, good while this value lives.
struct Short {
    path: PathBuf,
    _directory: OwnedFd,
}

impl Short {
    fn of(path: &Path) -> io::Result<Self> {
        let name: &OsStr = path.file_name().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "a socket's path ends with a name",
            )
        })?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let directory = rustix::fs::open(
            parent,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let path = Path::new("/proc/self/fd")
            .join(directory.as_raw_fd().to_string())
            .join(name);
        Ok(Self {
            path,
            _directory: directory,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deep_directory() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().expect("a directory");
        let deep = root.path().join("a".repeat(90)).join("b".repeat(90));
        private_directory(&deep).expect("made");
        (root, deep)
    }

    #[tokio::test]
    async fn a_socket_with_a_long_path_is_reached_and_its_peer_is_us() {
        let (_root, deep) = deep_directory();
        let path = deep.join("launcher.sock");
        assert!(path.as_os_str().len() > 107);
        let listener = listen(&path).expect("listening");
        let (client, server) = tokio::join!(connect(&path), listener.accept());
        let client = client.expect("connected");
        let (server, _) = server.expect("accepted");
        assert_eq!(peer(&server).expect("a peer").pid, std::process::id());
        assert!(peer(&client).expect("a peer").trusted());
        let mode = std::fs::metadata(&path)
            .expect("exists")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_another_file_is_not() {
        let (_root, deep) = deep_directory();
        let path = deep.join("s");
        drop(listen(&path).expect("first"));
        let error = connect(&path).await.expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        drop(listen(&path).expect("second"));
        std::fs::remove_file(&path).expect("removed");
        std::fs::write(&path, b"data").expect("written");
        assert_eq!(
            listen(&path).expect_err("kept").kind(),
            io::ErrorKind::AlreadyExists
        );
    }

    #[test]
    fn a_link_is_not_a_private_directory() {
        let (_root, deep) = deep_directory();
        let link = deep.join("link");
        std::os::unix::fs::symlink("/tmp", &link).expect("linked");
        private_directory(&link).expect_err("refused");
    }
}

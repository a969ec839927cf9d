//! The port to the host.

use super::sys;
use crate::protocol::{FromGuest, PORT};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

const O_NONBLOCK: i32 = 0o4000;
/// `EBUSY`: a port has one opener, so the program has one instance.
const BUSY: i32 = 16;
/// Its driver may be loaded late; a machine without the port is asked rarely.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const RAREST_LOOK: Duration = Duration::from_secs(10);
/// How often it is looked whether the host is there again.
const HOST_LOOK: Duration = Duration::from_millis(250);
/// A host that takes nothing for so long hears nothing; it will ask again.
const LONGEST_WRITE_MS: i32 = 5000;

/// The open port. Clones write to the same one, a message at a time.
#[derive(Clone)]
pub(super) struct Port(Arc<(File, Mutex<()>)>);

/// Does another program have the port?
pub(super) fn is_taken(error: &io::Error) -> bool {
    error.raw_os_error() == Some(BUSY)
}

/// Waits until there is the port, and opens it.
pub(super) fn wait_for() -> io::Result<Port> {
    let mut pause = FIRST_LOOK;
    loop {
        if let Some(path) = find(Path::new("/")) {
            match File::options()
                .read(true)
                .write(true)
                .custom_flags(O_NONBLOCK)
                .open(path)
            {
                Ok(file) => return Ok(Port(Arc::new((file, Mutex::new(()))))),
                // Its device file comes a moment after its name.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        sleep(pause);
        pause = (pause * 2).min(RAREST_LOOK);
    }
}

/// The port's device file: by udev's link, or by what the kernel calls the port.
fn find(root: &Path) -> Option<PathBuf> {
    let link = root.join("dev/virtio-ports").join(PORT);
    if link.exists() {
        return Some(link);
    }
    let ports = fs::read_dir(root.join("sys/class/virtio-ports")).ok()?;
    ports.flatten().find_map(|port| {
        let name = fs::read_to_string(port.path().join("name")).ok()?;
        (name.trim() == PORT).then(|| root.join("dev").join(port.file_name()))
    })
}

impl Port {
    /// Waits until the host says something, and reads it. An error: the port is gone.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut file = &self.0.0;
        loop {
            match sys::wait(file, false, -1) {
                Ok(Some(ready)) if ready.readable => match file.read(buffer) {
                    Ok(0) => sleep(HOST_LOOK),
                    Ok(count) => return Ok(count),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                },
                // No host: the port says so at once, whenever it is asked. A port that is gone shows in reading.
                Ok(Some(_)) => {
                    sleep(HOST_LOOK);
                    match file.read(buffer) {
                        Ok(0) => {}
                        Ok(count) => return Ok(count),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Says it, if the host listens. A message that the host does not take in time is dropped: the host, which has a
    /// bound of its own, asks again.
    pub(super) fn say(&self, message: &FromGuest) {
        // The lock holds nothing that could be left half done.
        let _one_at_a_time = self.0.1.lock().unwrap_or_else(PoisonError::into_inner);
        let text = message.encode();
        let mut rest = text.as_bytes();
        let mut file = &self.0.0;
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match sys::wait(file, true, LONGEST_WRITE_MS) {
                        Ok(Some(ready)) if !ready.hung_up => {}
                        _ => return,
                    }
                }
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_found_by_its_name_where_udev_does_not_run() {
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!(find(root.path()), None);
        for (port, name) in [("vport1p1", "org.qemu.guest_agent.0"), ("vport1p2", PORT)] {
            let folder = root.path().join("sys/class/virtio-ports").join(port);
            fs::create_dir_all(&folder).expect("made");
            fs::write(folder.join("name"), format!("{name}\n")).expect("written");
        }
        assert_eq!(find(root.path()), Some(root.path().join("dev/vport1p2")));
        let links = root.path().join("dev/virtio-ports");
        fs::create_dir_all(&links).expect("made");
        fs::write(links.join(PORT), "").expect("written");
        assert_eq!(find(root.path()), Some(links.join(PORT)));
    }
}

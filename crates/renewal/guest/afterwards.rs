//! What is done after the answer, while the machine already counts as running.
#![expect(
    clippy::disallowed_methods,
    reason = "this runs in a guest, where crate `host` is not"
)]

use super::port::Port;
use super::renew::Remains;
use super::{files, host_keys, sys};
use crate::protocol::FromGuest;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// cloud-init's first stage, which writes how the network is to be: its files name cards by their addresses.
const CLOUD_INIT_LOCAL: [&str; 2] = ["init", "--local"];
/// cloud-init's other stages. Its units in systemd are not used: they stand before others, e.g. an SSH server that cloud-init
/// restarts and waits for, and are ordered by targets that have long been reached.
const CLOUD_INIT_STAGES: [&[&str]; 3] = [
    &["init"],
    &["modules", "--mode=config"],
    &["modules", "--mode=final"],
];
/// Disks up to so many sectors of 512 bytes may be cloud-init's: it has 1 MiB, and so has no disk of anything else.
const LARGEST_SEED: u64 = 64 << 11;
/// What the kernel says at the opening of a drive without a disk: `ENXIO` (a diskette drive), `ENODEV`, `ENOMEDIUM`.
const NO_DISK: [i32; 3] = [6, 19, 123];
/// Whoever makes an image may have a program here, which runs when the machine has become another one.
const OWN_PROGRAM: &str = "/etc/anyvirt/renewed";

/// The one who does it: a thread, so that the host is still heard.
pub(super) struct Afterwards {
    work: SyncSender<Remains>,
    port: Port,
}

impl Afterwards {
    /// Begins to wait for work.
    pub(super) fn start(port: Port) -> Self {
        // One that waits while one is done: a machine is not renewed more often than it is kept.
        let (work, waiting) = sync_channel::<Remains>(1);
        let says = port.clone();
        thread::spawn(move || {
            for remains in waiting {
                for problem in tidy(&remains) {
                    says.say(&FromGuest::Note(problem));
                }
                says.say(&FromGuest::Note(
                    "all is done that follows a renewal".to_owned(),
                ));
            }
        });
        Self { work, port }
    }

    /// Gives it work; does not wait.
    pub(super) fn begin(&self, remains: Remains) {
        if self.work.try_send(remains).is_err() {
            let busy = "what follows the renewals before is not done yet: this one's is left out";
            self.port.say(&FromGuest::Note(busy.to_owned()));
        }
    }
}

/// Does it all; gives what did not work, which holds nothing up.
fn tidy(remains: &Remains) -> Vec<String> {
    let mut problems = Vec::new();
    let mut note = |what: &str, result: io::Result<()>| {
        problems.extend(result.err().map(|error| format!("{what}: {error}")));
    };
    note("/etc/hosts", rename_in_hosts(remains));
    note("systemd's random seed", renew_random_seed());
    // It made its word for itself towards DHCP servers of the old machine-id.
    note("systemd-networkd", restart_network());
    if Path::new(OWN_PROGRAM).exists() {
        note(OWN_PROGRAM, run(OWN_PROGRAM, &[]));
    }
    if cloud_init_is_here() && remains.has_instance_id {
        note("cloud-init", renew_cloud_init());
    }
    let mut made = false;
    for kind in &remains.missing_keys {
        let result = make_key(kind);
        made |= result.is_ok();
        note("ssh-keygen", result);
    }
    if made {
        host_keys::reload_server(Path::new("/"), host_keys::Server::Unknown);
    }
    sys::write_all_to_disks();
    problems
}

/// Starts systemd-networkd again, where it runs.
fn restart_network() -> io::Result<()> {
    let on_systemd = Path::new("/run/systemd/system").is_dir();
    if !on_systemd || !Path::new("/run/systemd/netif").is_dir() {
        return Ok(());
    }
    let network = ["--no-block", "try-restart", "systemd-networkd.service"];
    run("systemctl", &network)
}

fn rename_in_hosts(remains: &Remains) -> io::Result<()> {
    let path = "/etc/hosts";
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let renewed = files::hosts(&text, &remains.old_name, remains.new_name.as_str());
    if renewed == text {
        return Ok(());
    }
    fs::write(path, renewed)
}

/// All clones would start their next boot with the same one.
fn renew_random_seed() -> io::Result<()> {
    let path = Path::new("/var/lib/systemd/random-seed");
    let Ok(old) = fs::metadata(path) else {
        return Ok(());
    };
    // As long as it was; systemd's is at most 512 bytes.
    let mut seed = vec![0; usize::try_from(old.len()).unwrap_or(512).clamp(32, 512)];
    for piece in seed.chunks_mut(256) {
        sys::random(piece)?;
    }
    fs::write(path, seed)
}

/// Starts cloud-init, unless it could take the template's data for this machine's.
fn renew_cloud_init() -> io::Result<()> {
    let remembered = forget_small_disks(Path::new("/"), |disk| {
        sys::forget_what_was_read(&File::open(disk)?)
    });
    if remembered.is_empty() {
        return start_cloud_init();
    }
    let disks = remembered.join(", ");
    Err(io::Error::other(format!(
        "not started, since it could read the template's data: what the kernel knows of a disk that may have them \
         cannot be forgotten: {disks}"
    )))
}

/// Forgets, by `forget`, what the kernel has read of each disk that may have cloud-init's data: it has read the
/// template's. Gives those of which it cannot be forgotten, and why.
fn forget_small_disks(root: &Path, forget: impl Fn(&Path) -> io::Result<()>) -> Vec<String> {
    let folder = root.join("sys/class/block");
    let disks = match fs::read_dir(&folder) {
        Ok(disks) => disks,
        Err(error) => return vec![format!("{}: {error}", folder.display())],
    };
    let one = |disk: io::Result<fs::DirEntry>| {
        let disk = disk.map_err(|error| format!("{}: {error}", folder.display()))?;
        let device = root.join("dev").join(disk.file_name());
        let result = may_be_seed(&disk.path()).and_then(|may| match may {
            true => forget(&device),
            false => Ok(()),
        });
        match result {
            // Nothing was read of a drive that has no medium, and nobody reads a disk that has gone meanwhile.
            Err(error) if error.raw_os_error().is_some_and(|it| NO_DISK.contains(&it)) => Ok(()),
            Err(_) if !disk.path().exists() => Ok(()),
            Err(error) => Err(format!("{}: {error}", device.display())),
            Ok(()) => Ok(()),
        }
    };
    disks.filter_map(|disk| one(disk).err()).collect()
}

/// Whether the disk that the kernel shows in this folder is as small as one with cloud-init's data.
fn may_be_seed(shown: &Path) -> io::Result<bool> {
    let size = fs::read_to_string(shown.join("size"))?;
    let sectors: u64 = size.trim().parse().map_err(io::Error::other)?;
    Ok((1..=LARGEST_SEED).contains(&sectors))
}

/// Is cloud-init installed?
pub(super) fn cloud_init_is_here() -> bool {
    Path::new("/usr/bin/cloud-init").exists()
}

fn start_cloud_init() -> io::Result<()> {
    if Path::new("/run/cloud-init/disabled").exists()
        || Path::new("/etc/cloud/cloud-init.disabled").exists()
    {
        return Ok(());
    }
    for old in [
        // The template's data, which it would take for this machine's.
        "/var/lib/cloud/instance",
        "/run/cloud-init/.instance-id",
        // Whoever waits for its end looks here.
        "/run/cloud-init/result.json",
        "/run/cloud-init/status.json",
    ] {
        match fs::remove_file(old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    run("/usr/bin/cloud-init", &CLOUD_INIT_LOCAL)?;
    // At a boot it would start only now; it knows the template's cards, and leaves this machine's alone.
    restart_network()?;
    CLOUD_INIT_STAGES
        .into_iter()
        .try_for_each(|stage| run("/usr/bin/cloud-init", stage))
}

/// Makes a host key of a kind that the machine had. At the lowest priority: one of RSA takes seconds when emulated.
fn make_key(kind: &str) -> io::Result<()> {
    let file = format!("/etc/ssh/ssh_host_{kind}_key");
    if Path::new(&file).exists() {
        // cloud-init was quicker.
        return Ok(());
    }
    run(
        "nice",
        &[
            "-n",
            "19",
            "ssh-keygen",
            "-q",
            "-t",
            kind,
            "-N",
            "",
            "-C",
            "",
            "-f",
            &file,
        ],
    )
}

/// Runs a program to its end. Err: it ended badly, with the last it said.
fn run(program: &str, arguments: &[&str]) -> io::Result<()> {
    let ended = command(program, arguments).output()?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr)
        .trim()
        .replace('\n', " / ");
    Err(io::Error::other(format!("{}: {said}", ended.status)))
}

/// What a program writes to its standard output, however it ends.
pub(super) fn output_of(program: &str, arguments: &[&str]) -> io::Result<String> {
    let ended = command(program, arguments).output()?;
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        // Whoever started this program may have given it no PATH.
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// The disks that were forgotten, and what is told of those that were not, where these have such sizes.
    fn forgotten(disks: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let root = tempfile::tempdir().expect("a folder");
        for (name, sectors) in disks {
            let shown = root.path().join("sys/class/block").join(name);
            fs::create_dir_all(&shown).expect("made");
            if *sectors != "unreadable" {
                fs::write(shown.join("size"), format!("{sectors}\n")).expect("written");
            }
        }
        let done = RefCell::new(Vec::new());
        let forget = |disk: &Path| {
            let name = disk.strip_prefix(root.path()).expect("there");
            let name = name.display().to_string();
            match &name[..] {
                "dev/broken" => return Err(io::Error::from_raw_os_error(5)),
                "dev/fd0" => return Err(io::Error::from_raw_os_error(6)),
                "dev/gone" => {
                    fs::remove_dir_all(root.path().join("sys/class/block/gone")).expect("gone");
                    return Err(io::ErrorKind::NotFound.into());
                }
                _ => {}
            }
            done.borrow_mut().push(name);
            Ok(())
        };
        let mut told = forget_small_disks(root.path(), forget);
        let mut done = done.take();
        done.sort();
        told.sort();
        let begin = format!("{}/", root.path().display());
        let told = told.iter().map(|it| it.replace(&begin, "")).collect();
        (done, told)
    }

    #[test]
    fn every_disk_that_may_have_the_data_is_forgotten_whatever_the_others_do() {
        let (done, told) = forgotten(&[
            ("broken", "2048"),
            ("fd0", "8"),
            ("gone", "2048"),
            ("nothing", "0"),
            ("root", "131073"),
            ("strange", "x"),
            ("unreadable", "unreadable"),
            ("vdb", "2048"),
            ("vdc", "131072"),
        ]);
        assert_eq!(done, ["dev/vdb", "dev/vdc"]);
        let begins = ["dev/broken: ", "dev/strange: ", "dev/unreadable: "];
        assert_eq!(told.len(), begins.len(), "{told:?}");
        for (told, begin) in told.iter().zip(begins) {
            assert!(told.starts_with(begin), "{told}");
        }
    }

    #[test]
    fn drives_without_a_disk_hold_up_nothing_and_disks_that_nobody_can_list_do() {
        let (done, told) = forgotten(&[("fd0", "8"), ("gone", "8"), ("vdb", "2048")]);
        assert_eq!((done, told), (vec!["dev/vdb".to_owned()], vec![]));
        assert_eq!(forgotten(&[]).1.len(), 1, "no folder of disks");
    }
}

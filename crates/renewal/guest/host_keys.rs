//! The keys of the machine's SSH server.

use super::{files, sys};
use crate::protocol::HostKey;
use std::fs;
use std::io;
use std::path::Path;

const FOLDER: &str = "etc/ssh";
const ED25519: &str = "ssh_host_ed25519_key";
const DROPBEAR: &str = "etc/dropbear";
/// So often a list that changes is made again; then all processes are looked at.
const LISTS: usize = 3;

/// What was done with the keys.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Replaced {
    /// The server had keys.
    pub(super) had_any: bool,
    /// Kinds that it had and now lacks: `rsa`.
    pub(super) missing: Vec<String>,
}

/// The files of keys that OpenSSH's server has under `root`.
fn existing(root: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(root.join(FOLDER)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("ssh_host_") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Err: a server's keys that this program cannot renew.
pub(super) fn check(root: &Path) -> Result<(), String> {
    let has_dropbear = fs::read_dir(root.join(DROPBEAR)).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().ends_with("_host_key"))
    });
    if has_dropbear {
        return Err("dropbear's host keys are in /etc/dropbear, and cannot be renewed".to_owned());
    }
    Ok(())
}

/// Replaces the host keys, where there are any, by `key`; kinds that it does not stand for are removed.
pub(super) fn replace(root: &Path, key: Option<&HostKey>) -> Result<Replaced, String> {
    check(root)?;
    let told = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("{what}: {error}")
    };
    let names = existing(root).map_err(told("/etc/ssh"))?;
    let folder = root.join(FOLDER);
    let mut replaced = Replaced {
        had_any: names.iter().any(|name| name.ends_with("_key")),
        missing: Vec::new(),
    };
    if !replaced.had_any {
        return Ok(replaced);
    }
    // Written before anything is removed: a machine that ends in between has keys.
    let mut kept = Vec::new();
    if let Some(key) = key {
        let public = format!("{ED25519}.pub");
        for (name, text, mode) in [
            (ED25519, key.private(), 0o600),
            (&public, key.public(), 0o644),
        ] {
            files::write_over(&folder.join(name), text, mode).map_err(told(name))?;
            kept.push(name.to_owned());
        }
    }
    for name in names.iter().filter(|name| !kept.contains(name)) {
        fs::remove_file(folder.join(name)).map_err(told(name))?;
        let kind = name
            .strip_prefix("ssh_host_")
            .and_then(|kind| kind.strip_suffix("_key"));
        replaced.missing.extend(kind.map(str::to_owned));
    }
    Ok(replaced)
}

/// The public key that the server has; none: it has no Ed25519 key.
pub(super) fn public(root: &Path) -> Option<String> {
    let text = fs::read_to_string(root.join(FOLDER).join(format!("{ED25519}.pub"))).ok()?;
    (text.len() <= HostKey::LONGEST_PUBLIC).then_some(text)
}

/// Makes the running server, if one runs, read its keys again: from then on it does not answer with the old ones.
pub(super) fn reload_server(root: &Path, known: Server) {
    if let Some(process) = running(root, known) {
        // It may have ended in between: then there is nobody with old keys.
        let _ = sys::hang_up(process);
    }
}

/// What is known of the running server, beside the number that it may have noted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Server {
    /// A moment ago it was this process.
    Runs(u32),
    /// A moment ago there was none.
    RunsNot,
    /// It must be looked for.
    Unknown,
}

/// Looks for the server.
pub(super) fn server_now(root: &Path) -> Server {
    running(root, Server::Unknown).map_or(Server::RunsNot, Server::Runs)
}

/// The running server.
fn running(root: &Path, known: Server) -> Option<u32> {
    let noted = fs::read_to_string(root.join("run/sshd.pid"));
    let noted = noted
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .filter(|process| is_server(root, *process));
    noted.or_else(|| match known {
        Server::Runs(process) => Some(process).filter(|it| is_server(root, *it)),
        Server::RunsNot => None,
        Server::Unknown => look_for_server(root),
    })
}

/// The server, if one runs that has not noted its number. Starts nothing.
fn look_for_server(root: &Path) -> Option<u32> {
    let proc = root.join("proc");
    match children_of_init(&proc) {
        Some(children) => children.into_iter().find(|it| is_server(root, *it)),
        // A kernel without such lists: all processes are looked at.
        None => numbers(&proc)?.find(|process| is_server(root, *process)),
    }
}

/// The processes whose parent is the first one, which the server's is: a handful, where an idle kernel alone has some
/// sixty. To look at one takes an emulated guest that has just been restored half a millisecond.
fn children_of_init(proc: &Path) -> Option<Vec<u32>> {
    let threads = proc.join("1/task");
    let list = || -> Option<Vec<u32>> {
        let mut children = Vec::new();
        for thread in numbers(&threads)? {
            let text = fs::read_to_string(threads.join(format!("{thread}/children"))).ok()?;
            children.extend(
                text.split_whitespace()
                    .filter_map(|it| it.parse::<u32>().ok()),
            );
        }
        Some(children)
    };
    // One that ends while the kernel writes the list may take another one out of it (proc_pid_children(5)): a list that
    // is the same twice misses nobody.
    let mut first = list()?;
    for _ in 0..LISTS {
        let second = list()?;
        if first == second {
            return Some(first);
        }
        first = second;
    }
    None
}

/// The folders with a number as their name.
fn numbers(folder: &Path) -> Option<impl Iterator<Item = u32>> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    Some(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

/// Is it the server itself, and not the part of it that serves one login?
fn is_server(root: &Path, process: u32) -> bool {
    let Ok(stat) = fs::read_to_string(root.join(format!("proc/{process}/stat"))) else {
        return false;
    };
    // `pid (name) state parent …`
    stat.contains(" (sshd) ")
        && stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.split(' ').nth(1))
            == Some("1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn key() -> HostKey {
        HostKey::new(
            "-----BEGIN OPENSSH PRIVATE KEY-----\nnew\n-----END OPENSSH PRIVATE KEY-----\n",
            "ssh-ed25519 new\n",
        )
        .expect("a key")
    }

    #[test]
    fn keys_are_replaced_only_where_there_were_some() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        assert_eq!(replace(root, Some(&key())), Ok(Replaced::default()));
        fs::create_dir_all(root.join(FOLDER)).expect("made");
        fs::write(root.join("etc/ssh/sshd_config"), "").expect("written");
        assert_eq!(replace(root, Some(&key())), Ok(Replaced::default()));
        assert_eq!(public(root), None);
        for name in [
            "ssh_host_rsa_key",
            "ssh_host_rsa_key.pub",
            ED25519,
            "ssh_host_rsa_key-cert.pub",
        ] {
            let file = root.join(FOLDER).join(name);
            fs::write(&file, "old and longer than the new one").expect("written");
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(&file, mode).expect("changed");
        }
        let replaced = Replaced {
            had_any: true,
            missing: vec!["rsa".to_owned()],
        };
        assert_eq!(replace(root, Some(&key())), Ok(replaced));
        assert_eq!(
            existing(root).expect("listed"),
            [ED25519, "ssh_host_ed25519_key.pub"]
        );
        assert_eq!(public(root).as_deref(), Some("ssh-ed25519 new\n"));
        let file = root.join(FOLDER).join(ED25519);
        assert_eq!(fs::read_to_string(&file).expect("read"), key().private());
        assert_eq!(
            fs::metadata(&file).expect("there").permissions().mode() & 0o777,
            0o600
        );
        // Told no key: none may stay.
        let replaced = Replaced {
            had_any: true,
            missing: vec!["ed25519".to_owned()],
        };
        assert_eq!(replace(root, None), Ok(replaced));
        assert_eq!(existing(root).expect("listed"), [""; 0]);
    }

    #[test]
    fn another_servers_keys_are_refused_by_name() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join(DROPBEAR);
        fs::create_dir_all(&folder).expect("made");
        assert_eq!(check(root.path()), Ok(()));
        fs::write(folder.join("dropbear_rsa_host_key"), "").expect("written");
        let refused = replace(root.path(), Some(&key())).expect_err("refused");
        assert!(refused.contains("dropbear"), "{refused}");
    }

    #[test]
    fn the_server_is_told_from_its_sessions() {
        let root = tempfile::tempdir().expect("a folder");
        for (process, stat) in [
            (10, "10 (sshd) S 1 10 10 0"),
            (11, "11 (sshd) S 10 11 11 0"),
            (12, "12 (not sshd) S 1 12"),
        ] {
            let folder = root.path().join(format!("proc/{process}"));
            fs::create_dir_all(&folder).expect("made");
            fs::write(folder.join("stat"), stat).expect("written");
        }
        let servers: Vec<u32> = (9..13)
            .filter(|process| is_server(root.path(), *process))
            .collect();
        assert_eq!(servers, [10]);
    }

    #[test]
    fn a_server_that_was_found_before_is_not_looked_for() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        for (process, stat) in [(10, "10 (other) S 1 10"), (20, "20 (sshd) S 1 20")] {
            let folder = root.join(format!("proc/{process}"));
            fs::create_dir_all(&folder).expect("made");
            fs::write(folder.join("stat"), stat).expect("written");
        }
        let lists = root.join("proc/1/task/1");
        fs::create_dir_all(&lists).expect("made");
        let list = |children: &str| fs::write(lists.join("children"), children).expect("written");
        list("10 20 ");
        assert_eq!(server_now(root), Server::Runs(20));
        // From here on whoever looks finds none.
        list("10 ");
        assert_eq!(server_now(root), Server::RunsNot);
        assert_eq!(running(root, Server::Runs(20)), Some(20));
        // It has ended, and another process has its number.
        assert_eq!(running(root, Server::Runs(10)), None);
        assert_eq!(running(root, Server::RunsNot), None);
        // It was started after it was looked, and has noted its number.
        fs::create_dir(root.join("run")).expect("made");
        fs::write(root.join("run/sshd.pid"), "20\n").expect("written");
        assert_eq!(running(root, Server::RunsNot), Some(20));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a process that is told")]
    fn a_server_reads_its_keys_again_whether_or_not_it_has_noted_its_number() {
        use std::os::unix::process::ExitStatusExt as _;
        for (noted, lists) in [
            ("itself", false),
            ("nothing", false),
            ("nothing", true),
            ("10", false),
            ("10", true),
        ] {
            let root = tempfile::tempdir().expect("a folder");
            let root = root.path();
            // Whoever runs this test may have told all its processes to ignore that signal.
            let mut server = std::process::Command::new("env")
                .args(["--default-signal=HUP", "sleep", "60"])
                .spawn()
                .expect("started");
            let process = server.id();
            let is = || fs::read_to_string(format!("/proc/{process}/comm"));
            while is().expect("it runs").trim() != "sleep" {
                std::thread::yield_now();
            }
            for (process, stat) in [(10, "10 (other) S 1 10"), (process, "7 (sshd) S 1 7")] {
                let folder = root.join(format!("proc/{process}"));
                fs::create_dir_all(&folder).expect("made");
                fs::write(folder.join("stat"), stat).expect("written");
            }
            // The first process has two threads, and each of them a child.
            for (thread, child) in [(1, 10), (7, process)] {
                let folder = root.join(format!("proc/1/task/{thread}"));
                if lists {
                    fs::create_dir_all(&folder).expect("made");
                    fs::write(folder.join("children"), format!("{child} ")).expect("written");
                }
            }
            fs::create_dir(root.join("run")).expect("made");
            let number = match noted {
                "itself" => Some(process.to_string()),
                "nothing" => None,
                // Of one that has ended, and whose number another has now.
                other => Some(other.to_owned()),
            };
            if let Some(number) = number {
                fs::write(root.join("run/sshd.pid"), format!("{number}\n")).expect("written");
            }
            reload_server(root, Server::Unknown);
            // It has no file to read again: it ends of what it is told.
            let ended = server.wait().expect("ended");
            assert_eq!(ended.signal(), Some(1), "{noted}, {lists}: {ended}");
        }
    }
}

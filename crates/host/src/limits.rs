//! Whom we run as, and how processes can be limited here: for reports, nothing is changed.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// `CAP_SETGID` and `CAP_SETUID` of `linux/capability.h`: becoming other users.
const CHANGE_USER: u64 = 1 << 6 | 1 << 7;

/// Controllers that limit guests.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// Where control groups are mounted.
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// Whom we run as, without a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Effective user id.
    pub id: u32,
    /// Names of our groups among `kvm` and `root`; other ones matter to nobody here.
    pub groups: Vec<String>,
    /// May we become other users?
    pub can_change_user: bool,
}

impl User {
    /// Whom we run as.
    #[must_use]
    pub fn look() -> Self {
        let mut ids: Vec<u32> = rustix::process::getgroups()
            .unwrap_or_default()
            .into_iter()
            .map(rustix::process::Gid::as_raw)
            .collect();
        ids.push(rustix::process::getegid().as_raw());
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            id: rustix::process::geteuid().as_raw(),
            groups: groups(
                &std::fs::read_to_string("/etc/group").unwrap_or_default(),
                &ids,
            ),
            can_change_user: capabilities(&status) & CHANGE_USER == CHANGE_USER,
        }
    }
}

/// Of the groups that matter, those whose number is among `ids`.
fn groups(table: &str, ids: &[u32]) -> Vec<String> {
    let mut found: Vec<String> = table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let id: u32 = fields.nth(1)?.parse().ok()?;
            (matches!(name, "kvm" | "root") && ids.contains(&id)).then(|| name.to_owned())
        })
        .collect();
    found.sort();
    found
}

/// The effective capabilities of a `/proc/PID/status`; none if it does not tell.
fn capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hexadecimal| u64::from_str_radix(hexadecimal.trim(), 16).ok())
        .unwrap_or(0)
}

/// How processes can be limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlGroups {
    /// The second version is mounted.
    pub second: bool,
    /// Controllers of the first version are mounted.
    pub first: bool,
    /// Which of `cpu`, `memory` and `pids` can be used, in either version.
    pub controllers: Vec<String>,
    /// May we make groups in our own one, for each of the controllers?
    pub writable: bool,
}

impl ControlGroups {
    /// What this machine has.
    #[must_use]
    pub fn look() -> Self {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let groups = places(&own, &mounts);
        let list = |folder: &Path| {
            std::fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default()
        };
        let second = groups.second.as_deref().map(list).unwrap_or_default();
        let in_second = |name: &str| second.split_ascii_whitespace().any(|it| it == name);
        let mut seen = Self {
            second: groups.second.is_some(),
            first: !groups.first.is_empty(),
            ..Self::default()
        };
        let mut writable = Vec::new();
        for name in CONTROLLERS {
            let folder = match groups.second.as_ref().filter(|_| in_second(name)) {
                Some(folder) => Some(folder),
                None => groups
                    .first
                    .iter()
                    .find(|(controller, _)| controller == name)
                    .map(|(_, folder)| folder),
            };
            if let Some(folder) = folder {
                seen.controllers.push(name.to_owned());
                writable.push(access(folder, Access::WRITE_OK).is_ok());
            }
        }
        seen.writable = !writable.is_empty() && writable.into_iter().all(|it| it);
        seen
    }
}

/// Our own groups.
#[derive(Debug, Default, PartialEq, Eq)]
struct Places {
    second: Option<PathBuf>,
    /// By controller.
    first: Vec<(String, PathBuf)>,
}

/// Our own groups, from `/proc/self/cgroup` and `/proc/self/mounts`.
fn places(own: &str, mounts: &str) -> Places {
    let mounted = |kind: &str, option: Option<&str>| {
        mounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, place, its_kind, options, ..] = fields.as_slice() else {
                return None;
            };
            let has = option.is_none_or(|wanted| options.split(',').any(|it| it == wanted));
            let there = place.starts_with(CONTROL_GROUPS);
            (*its_kind == kind && has && there).then(|| PathBuf::from(place))
        })
    };
    let below = |mount: PathBuf, path: &str| mount.join(path.trim_start_matches('/'));
    let mut places = Places::default();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if controllers.is_empty() {
            places.second = mounted("cgroup2", None).map(|mount| below(mount, path));
            continue;
        }
        for name in controllers
            .split(',')
            .filter(|name| CONTROLLERS.contains(name))
        {
            if let Some(mount) = mounted("cgroup", Some(name)) {
                places.first.push((name.to_owned(), below(mount, path)));
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_matter_are_named_and_others_are_not() {
        let table = "root:x:0:\nkvm:x:108:alice\nalice:x:1000:\nbroken\n";
        assert_eq!(groups(table, &[0, 108, 1000]), ["kvm", "root"]);
        assert_eq!(groups(table, &[1000]), Vec::<String>::new());
    }

    #[test]
    fn capabilities_are_read_from_their_line() {
        let status = "CapPrm:\t0\nCapEff:\t00000000000000c0\nCapBnd:\tff\n";
        assert_eq!(capabilities(status), CHANGE_USER);
        assert_eq!(capabilities(""), 0);
    }

    #[test]
    fn groups_of_both_versions_are_found() {
        let second = "0::/user.slice/session-1.scope\n";
        let mounts = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        assert_eq!(
            places(second, mounts),
            Places {
                second: Some("/sys/fs/cgroup/user.slice/session-1.scope".into()),
                first: Vec::new(),
            }
        );
        let both = "4:memory:/job\n2:cpu,cpuacct:/\n0::/\n";
        let mounts = "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,cpu,cpuacct 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(
            places(both, mounts),
            Places {
                second: Some("/sys/fs/cgroup/unified/".into()),
                first: vec![
                    ("memory".to_owned(), "/sys/fs/cgroup/memory/job".into()),
                    ("cpu".to_owned(), "/sys/fs/cgroup/cpu/".into()),
                ],
            }
        );
        assert_eq!(places("", ""), Places::default());
    }

    #[test]
    fn this_process_is_somebody() {
        let user = User::look();
        assert_eq!(user.id, rustix::process::geteuid().as_raw());
        // Must not fail wherever it runs.
        let groups = ControlGroups::look();
        assert!(!groups.writable || !groups.controllers.is_empty());
    }
}

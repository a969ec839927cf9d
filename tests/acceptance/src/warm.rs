//! A stage for tests of warm starts: machines of one guest, and what tells them apart.

use crate::{Client, Console, PATIENCE, Server, processes_of, wait_for};
use laboratory::guests::{self, OWN_WORDS};
use laboratory::images::Image;
use laboratory::registry::Registry;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A template is made by a cold boot first. Generous: CI shares two cores.
pub const BOOT: Duration = Duration::from_secs(300);
/// What the guest is asked for: a name of ours, and the shell's words that print it on one line.
const IDENTITY: [(&str, &str); 7] = [
    ("machine-id", "cat /etc/machine-id"),
    ("boot-id", "cat /proc/sys/kernel/random/boot_id"),
    ("mac", "cat /sys/class/net/eth0/address"),
    (
        "host-key",
        "cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub",
    ),
    ("random", "head -c 24 /dev/urandom | base64"),
    ("hostname", "hostname"),
    ("uuid", "cat /sys/class/dmi/id/product_uuid"),
];

const EMULATED: [&str; 2] = ["--emulation", "on"];

/// A disk of the machine's own: the guest's /dev/vda.
pub const SCRATCH: (&str, &str) = ("scratch", "emptyDisk: {capacity: 64Mi}");

/// A server, a registry with the guest's image, and machines that start from templates.
#[expect(missing_debug_implementations, reason = "the client has none")]
pub struct Stage {
    /// The server.
    pub server: Server,
    /// A client of it.
    pub client: Client,
    _registry: Registry,
    /// The image's reference.
    pub image: String,
}

impl Stage {
    /// One with the small guest that brings the renewal hook.
    ///
    /// # Panics
    /// As all of these: if something is not as it has to be, in words.
    pub fn warm() -> Stage {
        let (_, image) = guests::warm().expect("the guest with the renewal hook is made");
        Stage::of(&image, "warm")
    }

    /// One with this image, under that name.
    pub fn of(image: &Image, name: &str) -> Stage {
        Stage::on(image, name, Server::start(&EMULATED))
    }

    /// That of [`Stage::warm`], with all that the server keeps in this folder.
    pub fn warm_in(folder: &Path) -> Stage {
        let (_, image) = guests::warm().expect("the guest with the renewal hook is made");
        Stage::on(&image, "warm", Server::start_in(folder, &EMULATED))
    }

    fn on(image: &Image, name: &str, server: Server) -> Stage {
        let registry = Registry::serve(&image.layout).expect("a registry on loopback");
        let stage = Stage {
            client: Client::of(&server),
            image: registry.reference(name),
            _registry: registry,
            server,
        };
        // What is counted there are machines' QEMUs.
        stage.stand_by(0);
        stage
    }

    /// Has so many guests of each template stand by.
    pub fn stand_by(&self, size: u32) {
        let patch =
            format!(r#"{{"spec":{{"configuration":{{"warmStartPool":{{"size":{size}}}}}}}}}"#);
        let kubevirt = ["-n", "kubevirt", "patch", "kubevirt", "kubevirt"];
        let how = ["--type=merge", "-p", &patch];
        self.server.kubectl(&[&kubevirt[..], &how[..]].concat());
    }

    /// The manifest of a machine with these disks, of one line of YAML each, and these volumes.
    pub fn manifest(&self, name: &str, volumes: &[(&str, &str)]) -> String {
        let disks: Vec<String> = volumes
            .iter()
            .map(|(volume, _)| format!("{{name: {volume}, disk: {{bus: virtio}}}}"))
            .collect();
        let sources: Vec<String> = volumes
            .iter()
            .map(|(volume, source)| format!("{{name: {volume}, {source}}}"))
            .collect();
        let disks = format!(
            "          disks: [{}]\n          interfaces:",
            disks.join(", ")
        );
        let sources = format!("      volumes: [{}]\n      networks:", sources.join(", "));
        guests::warm_vm(name, &self.image)
            .replace("          interfaces:", &disks)
            .replace("      networks:", &sources)
            // As many as these fit on two processors: a processor of KubeVirt's asks for a tenth of one.
            .replace(
                "        devices:",
                "        resources: {requests: {cpu: 10m}}\n        devices:",
            )
    }

    /// The condition `WarmStart` of a VMI that runs.
    pub fn warm_start(&self, name: &str) -> Value {
        self.server
            .wait_until("vmi", name, "/status/phase", "Running", BOOT);
        wait_for("the condition WarmStart", PATIENCE, || {
            let vmi = self.server.get("vmi", name, "default").ok_or("no VMI")?;
            let conditions = vmi["status"]["conditions"].as_array();
            let conditions = conditions.ok_or("no conditions")?;
            let found = conditions.iter().find(|it| it["type"] == "WarmStart");
            found.cloned().ok_or_else(|| format!("{conditions:?}"))
        })
    }

    /// Waits until the machine runs, and has started from a template.
    pub fn runs_from_a_template(&self, name: &str) {
        let condition = self.warm_start(name);
        assert_eq!(condition["status"], "True", "{name}: {condition}");
    }

    /// Waits until the machine runs as another VMI than `before`.
    pub fn runs_anew(&self, name: &str, before: &Value) {
        wait_for("another VMI that runs", BOOT, || {
            let vmi = self.server.get("vmi", name, "default").ok_or("no VMI")?;
            let is_new = vmi["metadata"]["uid"] != before["metadata"]["uid"];
            (is_new && vmi["status"]["phase"] == "Running")
                .then_some(())
                .ok_or_else(|| vmi["status"].to_string())
        });
    }

    /// A shell of the guest, over its serial line.
    pub fn shell(&self, name: &str) -> Console {
        let mut console = Console::attach(&self.server, name);
        console.send("\n");
        console.expect("login:", PATIENCE);
        console.send("root\n");
        console.expect("# ", PATIENCE);
        console
    }

    /// The only template's object, once it is as it should be.
    pub fn one_template(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, BOOT, || {
            let text = self.server.kubectl(&["get", "wst", "-o", "json"]);
            let list: Value = serde_json::from_str(&text).expect("JSON");
            match list["items"].as_array().map(Vec::as_slice) {
                Some([one]) if wanted(one) => Ok(one.clone()),
                other => Err(format!("{other:?}")),
            }
        })
    }

    /// The templates' own folders.
    pub fn templates(&self) -> Vec<PathBuf> {
        let root = self.server.data_directory().join("templates");
        files_below(&root)
            .into_iter()
            .filter(|file| file.ends_with("memory"))
            .filter_map(|file| file.parent().map(Path::to_path_buf))
            .filter(|folder| !folder.to_string_lossy().contains("/.build"))
            .collect()
    }
}

/// All files below a folder; none if it is not there.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(&entry.path()),
            _ => vec![entry.path()],
        })
        .collect()
}

/// Runs a command in a guest's shell; what it printed, without what the laboratory's guest says by itself meanwhile.
pub fn ask(console: &mut Console, command: &str) -> String {
    // Sums appear only where the shell has computed them, never in the echo of what was typed.
    console.send(&format!(
        "echo begin=$((5*5)); {command}; echo over=$((6*7))\n"
    ));
    console.expect("begin=25", PATIENCE);
    answer_in(&console.expect("over=42", PATIENCE))
}

/// The answer among what stood on the console. A guest that has just become another one tells of its address there.
fn answer_in(said: &str) -> String {
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.starts_with(OWN_WORDS))
        .collect();
    lines.join("\n").trim().to_owned()
}

fn seconds_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a clock after 1970").as_secs()
}

/// What tells this guest from others, and that its clock is right.
pub fn identity(console: &mut Console) -> BTreeMap<&'static str, String> {
    let before = seconds_now();
    let clock: u64 = ask(console, "date +%s").parse().expect("seconds");
    let after = seconds_now();
    assert!(
        (before - 1..=after + 1).contains(&clock),
        "the guest's clock shows {clock}, it is {before} to {after}"
    );
    IDENTITY
        .map(|(what, command)| (what, ask(console, command)))
        .into_iter()
        .collect()
}

/// The QEMU processes of a server.
pub fn qemu_of(server: &Server) -> Vec<u32> {
    processes_of(&server.data_directory())
        .into_iter()
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|comm| comm.starts_with("qemu-system"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_says_by_itself_is_no_answer() {
        let said = "\r\nanyvirt-guest: address 10.0.2.2/24\r\n";
        assert_eq!(answer_in(said), "");
        let said = "\r\nfirst\r\nanyvirt-guest: no network\r\nsecond\r\n";
        assert_eq!(answer_in(said), "first\nsecond");
    }
}

//! `warm-start`: from the POST of a VM that starts from a template to the answer of its guest on its serial line,
//! beside QEMU doing the same restore by hand and beside the cold boot of the same guest; and fifty clones at once.
//!
//! An emulated Debian boots in minutes on a busy machine, so what is made of its boot (anyvirt's template, the one made
//! by hand and the time that its boot took) is kept in `target/laboratory/warm-start` and made again only when
//! anyvirt, QEMU or the guest is another one.

mod by_hand;

use super::median;
use acceptance::{Client, Server, wait_for};
use by_hand::ByHand;
use laboratory::guests;
use laboratory::registry::Registry;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// An emulated Debian on a machine that is busy with other things.
const PATIENCE_FOR_A_BOOT: Duration = Duration::from_secs(600);
/// Guests of each template that stand by. As a rule it is one; it takes the node two seconds to begin to get others ready.
const STANDBYS: usize = 4;
/// So often all of them are adopted, or some.
const ROUNDS: usize = 2;
/// Pairs of runs in each round: ours and by hand, one after the other, since this machine's speed changes within seconds.
const SMALL_PAIRS: usize = STANDBYS;
const DEBIAN_PAIRS: usize = 3;
/// Starts without a guest that stands by.
const RESTORED: usize = 3;
const COLD_STARTS: usize = 2;
const CLONES: usize = 50;
/// A console that cannot be opened yet is tried again after so long: the resolution of the figures.
/// Trying takes of the processors that the guest needs.
const PAUSE: Duration = Duration::from_millis(5);
/// The same when fifty are tried, or when a guest boots.
const LONG_PAUSE: Duration = Duration::from_millis(100);
const LOGIN: &str = "login:";

/// What is measured of one guest, in ms.
#[derive(Default)]
struct Figures {
    /// By guests that stood by, as far as there are some.
    warm: Vec<f64>,
    /// Without them.
    restored: Vec<f64>,
    cold: Vec<f64>,
    by_hand: Vec<f64>,
}

/// Prints the figures, as a table or as JSON. Err: what of it did not work.
pub(crate) fn measure(is_json: bool) -> Result<(), String> {
    let (files, small_image) = guests::warm()?;
    let (disk, debian_image) = (guests::debian_disk()?, guests::debian()?);
    let failed = |error: std::io::Error| error.to_string();
    let registry = Registry::serve(&small_image.layout).map_err(failed)?;
    let debian_registry = Registry::serve(&debian_image.layout).map_err(failed)?;
    let cache = guests::cache().join("warm-start");
    let server = Server::start_in(&cache.join("server"), &["--emulation", "on"]);
    let stage = Stage {
        client: Client::of(&server),
        server,
        small: registry.reference("warm"),
        debian: debian_registry.reference("debian"),
        machines: AtomicUsize::new(0),
    };
    stage.remove_all();
    stage.permit(STANDBYS);

    let debian = debian_vm("first-debian", &stage.debian);
    let debian_by_hand = std::thread::scope(|scope| {
        let by_hand = scope.spawn(|| ByHand::debian(&disk, &cache));
        stage.start("first-debian", &debian, LONG_PAUSE);
        by_hand
            .join()
            .map_err(|_| "booting by hand failed".to_owned())
    })?
    .map_err(failed)?;
    let small_by_hand = ByHand::small(&files, &cache).map_err(failed)?;
    // The first makes the template, and reads it.
    stage.start("first-small", &stage.small_vm("first-small"), LONG_PAUSE);
    stage.remove_all();

    let mut small = Figures::default();
    let mut debian = Figures {
        cold: vec![debian_by_hand.cold],
        ..Figures::default()
    };
    let debian_manifest = |name: &str| debian_vm(name, &stage.debian);
    let small_manifest = |name: &str| stage.small_vm(name);
    for _ in 0..ROUNDS {
        stage.wait_for_standbys();
        for _ in 0..SMALL_PAIRS {
            small.warm.push(stage.once(&small_manifest, PAUSE));
            small.by_hand.push(small_by_hand.restore().map_err(failed)?);
        }
        for _ in 0..DEBIAN_PAIRS {
            debian.warm.push(stage.once(&debian_manifest, PAUSE));
            let restored = debian_by_hand.restore().map_err(failed)?;
            debian.by_hand.push(restored);
        }
    }
    stage.permit(0);
    for _ in 0..RESTORED {
        small.restored.push(stage.once(&small_manifest, PAUSE));
        debian.restored.push(stage.once(&debian_manifest, PAUSE));
    }
    for _ in 0..COLD_STARTS {
        let manifest = |name: &str| stage.small_vm(name).replace("Require", "Never");
        small.cold.push(stage.once(&manifest, LONG_PAUSE));
    }
    let (clones, private) = stage.clones();
    tell(&mut small, &mut debian, clones, private, is_json);
    Ok(())
}

struct Stage {
    server: Server,
    client: Client,
    small: String,
    debian: String,
    /// So many were made alone.
    machines: AtomicUsize,
}

impl Stage {
    fn small_vm(&self, name: &str) -> String {
        lean(&guests::warm_vm(name, &self.small))
    }

    /// As many emulated guests at once as there are clones; as a rule it is ten for each processor. And that so many stand
    /// by for each template.
    fn permit(&self, standbys: usize) {
        let patch = format!(
            r#"{{"spec":{{"configuration":{{"emulatedProcessorsPerCore":{CLONES},"warmStartPool":{{"size":{standbys},"maximumMemory":"2Gi"}}}}}}}}"#
        );
        let kubevirt = ["-n", "kubevirt", "patch", "kubevirt", "kubevirt"];
        self.server
            .kubectl(&[&kubevirt[..], &["--type=merge", "-p", &patch]].concat());
    }

    /// Waits until all that are to stand by do.
    fn wait_for_standbys(&self) {
        let path = "/apis/anyvirt.io/v1alpha1/warmstarttemplates";
        wait_for("guests stand by", acceptance::PATIENCE, || {
            let (code, list) = self.client.send("GET", path, "");
            assert_eq!(code, 200, "{list}");
            let items = list["items"].as_array().cloned().unwrap_or_default();
            let ready = |item: &serde_json::Value| {
                let standby = &item["status"]["standby"];
                standby["ready"].as_u64() == Some(STANDBYS as u64)
            };
            if items.iter().filter(|item| ready(item)).count() >= 2 {
                Ok(())
            } else {
                Err(format!("{items:?}"))
            }
        });
    }

    /// One machine alone, from its POST to its guest's answer, in ms.
    fn once(&self, manifest: &dyn Fn(&str) -> String, pause: Duration) -> f64 {
        let number = self.machines.fetch_add(1, Ordering::Relaxed);
        let name = format!("machine-{number}");
        let took = self.start(&name, &manifest(&name), pause);
        self.remove_all();
        took
    }

    /// From the POST of a VM to its guest's answer, in ms.
    fn start(&self, name: &str, manifest: &str, pause: Duration) -> f64 {
        let began = Instant::now();
        self.client.create_vm(manifest);
        let names = [name.to_owned()];
        self.client
            .all_answer(&names, LOGIN, pause, PATIENCE_FOR_A_BOOT);
        began.elapsed().as_secs_f64() * 1000.0
    }

    /// Fifty at once: until all have answered, in ms; and what QEMU of one of them has for itself alone, in MiB.
    fn clones(&self) -> (f64, f64) {
        let names: Vec<String> = (0..CLONES).map(|clone| format!("clone-{clone}")).collect();
        let began = Instant::now();
        for name in &names {
            self.client.create_vm(&self.small_vm(name));
        }
        self.client
            .all_answer(&names, LOGIN, LONG_PAUSE, PATIENCE_FOR_A_BOOT);
        let all = began.elapsed().as_secs_f64() * 1000.0;
        let machines = self.server.data_directory().join("machines");
        let mut private: Vec<f64> = acceptance::processes_of(&machines)
            .into_iter()
            .filter_map(private_mebibytes)
            .collect();
        assert!(private.len() >= CLONES, "{} QEMUs", private.len());
        self.remove_all();
        (all, median(&mut private))
    }

    /// Deletes all VMs, and waits until nothing of them is left.
    fn remove_all(&self) {
        let path = "/apis/kubevirt.io/v1/namespaces/default/virtualmachines";
        let (code, answer) = self.client.send("DELETE", path, "");
        assert_eq!(code, 200, "{answer}");
        let machines = self.server.data_directory().join("machines");
        wait_for("the machines are gone", acceptance::PATIENCE, || {
            let left = super::folders(&machines);
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        });
    }
}

/// Ends at once when it is deleted, and has no screen: neither has the one by hand. Asks for so little of the processors
/// that fifty fit on two, where a pod of KubeVirt asks for a tenth of one for each of the guest's.
fn lean(manifest: &str) -> String {
    manifest
        .replace(
            "terminationGracePeriodSeconds: 5",
            "terminationGracePeriodSeconds: 0",
        )
        .replace(
            "      domain:\n",
            "      domain:\n        resources: {requests: {cpu: 10m}}\n",
        )
        .replace(
            "        devices:\n",
            "        devices:\n          autoattachGraphicsDevice: false\n",
        )
}

fn debian_vm(name: &str, image: &str) -> String {
    lean(&format!(
        r#"
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {{name: {name}}}
spec:
  runStrategy: Always
  template:
    metadata: {{annotations: {{anyvirt.io/warm-start: Require}}}}
    spec:
      terminationGracePeriodSeconds: 5
      domain:
        memory: {{guest: 512Mi}}
        devices:
          disks: [{{name: root, disk: {{bus: virtio}}}}]
          interfaces: [{{name: default, masquerade: {{}}}}]
      networks: [{{name: default, pod: {{}}}}]
      volumes: [{{name: root, containerDisk: {{image: "{image}"}}}}]
"#
    ))
}

/// Memory that no other process has; none: the process is no QEMU, or has ended.
fn private_mebibytes(process: u32) -> Option<f64> {
    let folder = Path::new("/proc").join(process.to_string());
    let name = std::fs::read_to_string(folder.join("comm")).ok()?;
    let rollup = std::fs::read_to_string(folder.join("smaps_rollup")).ok()?;
    let kibibytes: f64 = rollup
        .lines()
        .filter(|line| line.starts_with("Private_Clean:") || line.starts_with("Private_Dirty:"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok())
        .sum();
    name.starts_with("qemu").then_some(kibibytes / 1024.0)
}

fn tell(small: &mut Figures, debian: &mut Figures, clones: f64, private: f64, is_json: bool) {
    let round = |value: f64| (value * 10.0).round() / 10.0;
    let mut told = serde_json::Map::new();
    for (figures, suffix) in [(small, ""), (debian, "_debian")] {
        let (warm, restored, cold, by_hand) = (
            median(&mut figures.warm),
            median(&mut figures.restored),
            median(&mut figures.cold),
            median(&mut figures.by_hand),
        );
        // Of so few, the worst stands for one in a hundred.
        let worst = figures.warm.iter().copied().fold(0.0, f64::max);
        for (key, value) in [
            ("warm_ms_p50", warm),
            ("warm_ms_p99", worst),
            ("restored_ms_p50", restored),
            ("cold_ms_p50", cold),
            ("bare_qemu_restore_ms_p50", by_hand),
        ] {
            told.insert(format!("{key}{suffix}"), round(value).into());
        }
        if !is_json {
            let guest = if suffix.is_empty() { "small" } else { "Debian" };
            println!(
                "{guest:<6} warm {warm:>7.1} ms (worst {worst:.1}), restored {restored:>7.1} ms, by hand {by_hand:>7.1} ms, ours {:>+6.1} ms; cold {cold:>9.1} ms, {:.0} times as long",
                warm - by_hand,
                cold / warm
            );
        }
    }
    told.insert("clone_private_mib".to_owned(), round(private).into());
    told.insert("clones_50_ms".to_owned(), round(clones).into());
    if is_json {
        println!("{}", serde_json::Value::Object(told));
    } else {
        println!(
            "{CLONES} clones have answered after {clones:.0} ms, {private:.1} MiB of their own each"
        );
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        println!("load {}", load.trim());
    }
}

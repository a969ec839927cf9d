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
use std::time::{Duration, Instant};

/// An emulated Debian on a machine that is busy with other things.
const PATIENCE_FOR_A_BOOT: Duration = Duration::from_secs(600);
/// Pairs of runs: ours and by hand, one after the other, since this machine's speed changes within seconds.
const SMALL_PAIRS: usize = 12;
const DEBIAN_PAIRS: usize = 5;
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
    warm: Vec<f64>,
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
    };
    stage.remove_all();
    stage.permit_many();

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
    for pair in 0..SMALL_PAIRS {
        let name = format!("small-{pair}");
        small
            .warm
            .push(stage.start(&name, &stage.small_vm(&name), PAUSE));
        stage.remove_all();
        small.by_hand.push(small_by_hand.restore().map_err(failed)?);
    }
    for start in 0..COLD_STARTS {
        let name = format!("cold-{start}");
        let manifest = stage.small_vm(&name).replace("Require", "Never");
        small.cold.push(stage.start(&name, &manifest, LONG_PAUSE));
        stage.remove_all();
    }
    let mut debian = Figures {
        cold: vec![debian_by_hand.cold],
        ..Figures::default()
    };
    for pair in 0..DEBIAN_PAIRS {
        let name = format!("debian-{pair}");
        let manifest = debian_vm(&name, &stage.debian);
        debian.warm.push(stage.start(&name, &manifest, PAUSE));
        stage.remove_all();
        debian
            .by_hand
            .push(debian_by_hand.restore().map_err(failed)?);
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
}

impl Stage {
    fn small_vm(&self, name: &str) -> String {
        lean(&guests::warm_vm(name, &self.small))
    }

    /// As many emulated guests at once as there are clones; as a rule it is ten for each processor.
    fn permit_many(&self) {
        let patch =
            format!(r#"{{"spec":{{"configuration":{{"emulatedProcessorsPerCore":{CLONES}}}}}}}"#);
        let kubevirt = ["-n", "kubevirt", "patch", "kubevirt", "kubevirt"];
        self.server
            .kubectl(&[&kubevirt[..], &["--type=merge", "-p", &patch]].concat());
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
        let (warm, cold, by_hand) = (
            median(&mut figures.warm),
            median(&mut figures.cold),
            median(&mut figures.by_hand),
        );
        // Of so few, the worst stands for one in a hundred.
        let worst = figures.warm.iter().copied().fold(0.0, f64::max);
        for (key, value) in [
            ("warm_ms_p50", warm),
            ("warm_ms_p99", worst),
            ("cold_ms_p50", cold),
            ("bare_qemu_restore_ms_p50", by_hand),
        ] {
            told.insert(format!("{key}{suffix}"), round(value).into());
        }
        if !is_json {
            let guest = if suffix.is_empty() { "small" } else { "Debian" };
            println!(
                "{guest:<6} warm {warm:>7.1} ms (worst {worst:.1}), by hand {by_hand:>7.1} ms, ours {:>+6.1} ms; cold {cold:>9.1} ms, {:.0} times as long",
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

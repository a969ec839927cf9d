//! The same guest on both accelerators: one disk sector of real-mode instructions, which even this project's machines run
//! under KVM. What is shown is compared with what QEMU is.

use acceptance::{Console, PATIENCE, Server, processes_of, wait_for};
use laboratory::guests::{self, BOOT_SECTOR_ANSWER, BOOT_SECTOR_HELLO};
use laboratory::registry::Registry;
use serde_json::Value;

/// The arguments of the QEMU that runs the instance `uid`.
fn qemu_arguments(server: &Server, uid: &str) -> String {
    let directory = server.data_directory().join("machines").join(uid);
    processes_of(&directory)
        .into_iter()
        .filter_map(|process| std::fs::read(format!("/proc/{process}/cmdline")).ok())
        .map(|arguments| String::from_utf8_lossy(&arguments).replace('\0', " "))
        .find(|arguments| arguments.contains("-accel "))
        .expect("its QEMU runs")
}

fn runs_on(accelerator: &str, option: &str) {
    let image = guests::boot_sector().expect("the boot sector guest is made");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let server = Server::start(&["--emulation", "on"]);
    let forced =
        format!("metadata: {{annotations: {{anyvirt.io/accelerator: {option}}}}}\n    spec:");
    // QEMU 7.2 does not survive `-cpu host` on this project's KVM (MSR 0x10a); the plain model runs anywhere.
    let manifest = guests::boot_sector_vm("sector", &registry.reference("boot-sector"))
        .replace(
            "spec:\n      terminationGrace",
            &format!("{forced}\n      terminationGrace"),
        )
        .replace("domain:\n", "domain:\n        cpu: {model: qemu64}\n");
    server.apply(&manifest);
    server.wait_until("vmi", "sector", "/status/phase", "Running", PATIENCE);
    let mut console = Console::attach(&server, "sector");
    console.send("x");
    console.expect(BOOT_SECTOR_ANSWER, PATIENCE);
    let pods = server.kubectl(&["get", "pods", "-o", "name"]);
    let serial = server.kubectl(&["logs", pods.trim(), "-c", "guest-console-log"]);
    assert!(serial.contains(BOOT_SECTOR_HELLO), "{serial}");

    let vmi = server.get("vmi", "sector", "default").expect("it runs");
    let shown: &Value = &vmi["status"]["accelerator"];
    assert_eq!(shown["type"], accelerator, "{shown}");
    assert_eq!(shown["reason"], "ForcedByAnnotation", "{shown}");
    let uid = vmi["metadata"]["uid"].as_str().expect("a uid");
    let arguments = qemu_arguments(&server, uid);
    assert!(
        arguments.contains(&format!("-accel {option}")),
        "{arguments}"
    );
    let table = server.kubectl(&["get", "vmi", "sector"]);
    assert!(table.contains(accelerator), "{table}");
    is_measured(&server);
}

/// What it uses is known within seconds: to `kubectl top`, to a scrape, and to the console.
fn is_measured(server: &Server) {
    let top = |what: &[&str], of: &str| {
        let asked = [&["top"], what, &["--no-headers"]].concat();
        wait_for(&format!("kubectl top {}", what.join(" ")), PATIENCE, || {
            let said = server.try_kubectl(&asked);
            let line = said.out.lines().find(|line| line.contains(of));
            let line = line.ok_or_else(|| format!("{}{}", said.out, said.err))?;
            Ok(line
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>())
        })
    };
    let node = server.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    let used = top(&["node"], &node);
    assert!(
        used[1].ends_with('m') && used[3].ends_with("Mi"),
        "{used:?}"
    );
    let used = top(
        &["pod", "-l", "vm.kubevirt.io/name=sector"],
        "virt-launcher-sector",
    );
    // QEMU's code alone is some mebibytes.
    let mebibytes = used[2]
        .strip_suffix("Mi")
        .and_then(|number| number.parse::<u64>().ok());
    assert!(mebibytes.is_some_and(|number| number > 4), "{used:?}");
    let none = server.try_kubectl(&["top", "pod", "-l", "vm.kubevirt.io/name=other"]);
    assert!(!none.out.contains("sector"), "{}", none.out);

    // A single sample may lack what QEMU was too busy to tell.
    wait_for("all figures in a scrape", PATIENCE, || {
        let scrape = server.kubectl(&["get", "--raw", "/metrics"]);
        for (name, least) in [
            ("kubevirt_vmi_cpu_usage_seconds_total", 0.01),
            ("kubevirt_vmi_memory_resident_bytes", 4e6),
            ("kubevirt_vmi_storage_read_traffic_bytes_total", 512.0),
        ] {
            let line = scrape
                .lines()
                .find(|line| line.starts_with(&format!("{name}{{")));
            let line = line.ok_or_else(|| format!("no {name} in {scrape}"))?;
            assert!(line.contains("name=\"sector\""), "{line}");
            let value = line.rsplit(' ').next();
            let value = value.and_then(|number| number.parse::<f64>().ok());
            if value.expect("a number") < least {
                return Err(format!("less than {least}: {line}"));
            }
        }
        Ok(())
    });

    let told = wait_for("what the console's charts show", PATIENCE, || {
        let told = server.kubectl(&[
            "get",
            "--raw",
            "/console/api/metrics?namespace=default&name=sector&minutes=5",
        ]);
        let told: Value = serde_json::from_str(&told).map_err(|error| error.to_string())?;
        let is_known = told["latest"]["processor"].as_f64().is_some();
        if is_known {
            Ok(told)
        } else {
            Err(told.to_string())
        }
    });
    assert_eq!(
        told["series"]["processor"].as_array().map(Vec::len),
        Some(60),
        "{told}"
    );
}

#[test]
fn a_boot_sector_forced_onto_kvm_answers_there_and_is_shown_as_kvm() {
    if !std::path::Path::new("/dev/kvm").exists() {
        panic!("this test needs a /dev/kvm that opens, even one that is of little use");
    }
    runs_on("KVM", "kvm");
}

#[test]
fn a_boot_sector_forced_onto_tcg_answers_there_and_is_shown_as_tcg() {
    runs_on("TCG", "tcg");
}

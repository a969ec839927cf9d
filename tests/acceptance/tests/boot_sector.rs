//! The same guest on both accelerators: one disk sector of real-mode instructions, which even this project's machines run
//! under KVM. What is shown is compared with what QEMU is.

use acceptance::{Console, PATIENCE, Server, processes_of};
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

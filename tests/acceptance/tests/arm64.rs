//! A guest of another architecture: `spec.architecture: arm64` on an amd64 machine, by emulation.

use acceptance::starts::see_three_starts;
use acceptance::{Client, Console, Memory, PATIENCE, Server, wait_for};
use laboratory::guests;
use laboratory::registry::Registry;
use std::time::Duration;

/// An emulated guest boots within seconds; on two shared cores with others beside it, within a minute or two.
const BOOT: Duration = Duration::from_secs(240);
/// Debian needs 25 to 40 s on an idle machine, firmware included; ten busy neighbours made it two minutes.
const DEBIAN_BOOT: Duration = Duration::from_secs(600);

#[test]
fn an_arm64_guest_runs_on_amd64_answers_on_its_serial_port_and_says_what_it_is() {
    let image = guests::small_arm().expect("the small guest is made from Debian packages");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let server = Server::start(&["--emulation", "on"]);
    server.apply(&guests::small_arm_vm("arm", &registry.reference("small")));
    let instance = server.wait_until("vmi", "arm", "/status/phase", "Running", BOOT);
    assert_eq!(instance["spec"]["architecture"], "arm64");
    assert_eq!(instance["spec"]["domain"]["machine"]["type"], "virt");
    let status = &instance["status"];
    assert_eq!(status["accelerator"]["type"], "TCG", "{status}");
    let machine = status["machine"]["type"].as_str().unwrap_or_default();
    assert!(machine.starts_with("virt-"), "{status}");

    let mut console = Console::attach(&server, "arm");
    console.send("\n");
    console.expect("login:", BOOT);
    console.send("root\n");
    console.expect("# ", PATIENCE);
    // The answer differs from the question's echo.
    console.send("echo machine=$(uname -m) cards=$(ls /sys/class/net | wc -w)\n");
    console.expect("machine=aarch64 cards=2", PATIENCE);
    Memory::of(&server, "arm", 256).check();

    // Beside it, a machine type of another architecture is refused by its field.
    let wrong = guests::small_arm_vm("wrong", &registry.reference("small"))
        .replace("domain:\n", "domain:\n        machine: {type: q35}\n");
    let path = server.file("wrong.yaml", &wrong);
    let said = server.try_kubectl(&["apply", "-f", &path.display().to_string()]);
    assert!(
        !said.success && said.err.contains("spec.template.spec.domain.machine.type"),
        "{said:?}"
    );

    server.kubectl(&["delete", "vm", "arm", "--timeout=120s"]);
    wait_for("the instance is gone", PATIENCE, || {
        match server.get("vmi", "arm", "default") {
            None => Ok(()),
            Some(instance) => Err(instance["status"]["phase"].to_string()),
        }
    });
}

#[test]
fn debian_for_arm64_starts_from_its_disk_three_times_as_it_was_promised_and_has_a_screen() {
    let image = guests::debian_arm().expect("the Debian guest is made from Debian packages");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let mut server = Server::start(&["--emulation", "auto"]);
    server.apply(&guests::debian_arm_vm("arm", &registry.reference("debian")));
    see_three_starts(&mut server, "arm", true, DEBIAN_BOOT, |server, round| {
        if round == 0 {
            is_as_it_should_be(server);
        }
    });
}

/// The running guest `arm`, from the outside and from the inside.
fn is_as_it_should_be(server: &Server) {
    let instance = server.get("vmi", "arm", "default").expect("it runs");
    let status = &instance["status"];
    assert_eq!(status["accelerator"]["type"], "TCG", "{status}");
    server.wait_condition("vmi", "arm", "AgentConnected");
    Memory::of(server, "arm", 512).check();

    let screen =
        "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachineinstances/arm/vnc";
    let words = Client::of(server).first_words(screen);
    assert_eq!(String::from_utf8_lossy(&words), "RFB 003.008\n");

    let mut console = Console::attach(server, "arm");
    console.send("\n");
    console.expect("debian login:", PATIENCE);
    console.send("root\n");
    console.expect("# ", PATIENCE);
    // The answers differ from the questions' echo.
    console.send("echo machine=$(uname -m) firmware=$(cd /sys/firmware/efi && echo EFI)\n");
    console.expect("machine=aarch64 firmware=EFI", PATIENCE);
    console.send("ip -4 -brief address; echo done=$?\n");
    let addresses = console.expect("done=0", PATIENCE);
    assert!(addresses.contains("10.0.2.2/24"), "{addresses}");
}

#[test]
fn an_arm64_guest_whose_disk_is_empty_says_that_nothing_boots() {
    let server = Server::start(&["--emulation", "on"]);
    server.apply(
        r#"
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: empty}
spec:
  runStrategy: Halted
  template:
    spec:
      architecture: arm64
      terminationGracePeriodSeconds: 0
      domain:
        memory: {guest: 256Mi}
        devices:
          autoattachPodInterface: false
          disks: [{name: root, disk: {bus: virtio}}]
      volumes: [{name: root, emptyDisk: {capacity: 16Mi}}]
"#,
    );
    let said = server.anyvirt(&["start", "empty", "--wait", "--timeout", "240"]);
    // The firmware ends in a shell of its own.
    let words = "VM empty does not start (NoBootDisk): BdsDxe: failed to load Boot0001";
    assert!(!said.success && said.err.contains(words), "{said:?}");
    assert!(said.err.contains("Shell>"), "{said:?}");
}

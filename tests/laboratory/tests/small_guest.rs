//! The small guest under software emulation, with plain QEMU: what every other test takes for granted about it.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use laboratory::guests::{Architecture, FIRST_LINE, small_files, small_files_of};

/// It takes some seconds on an idle machine; others may be building.
const PATIENCE: Duration = Duration::from_secs(120);

/// A machine that is killed when the test ends, however it ends.
struct Machine {
    qemu: Child,
    serial: Receiver<Vec<u8>>,
    said: String,
}

impl Machine {
    #[expect(clippy::disallowed_methods, reason = "this test is about QEMU itself")]
    fn boot(program: &str, machine: &[&str], kernel: &Path, initrd: &Path, monitor: &Path) -> Self {
        let mut qemu = Command::new(program)
            .args(machine)
            .args(["-accel", "tcg", "-m", "256"])
            .args(["-nodefaults", "-display", "none", "-serial", "stdio"])
            .args([
                "-netdev",
                "user,id=net",
                "-device",
                "virtio-net-pci,netdev=net",
            ])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initrd)
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = qemu.stdout.take().unwrap();
        let (sender, serial) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            qemu,
            serial,
            said: String::new(),
        }
    }

    fn wait_for(&mut self, marker: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.said.contains(marker) {
            let left = deadline.saturating_duration_since(Instant::now());
            let bytes = self.serial.recv_timeout(left);
            let bytes = bytes.unwrap_or_else(|_| panic!("no {marker:?} in:\n{}", self.said));
            self.said.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        drop(self.qemu.kill());
        drop(self.qemu.wait());
    }
}

fn press_the_power_button(monitor: &Path) {
    let mut stream = UnixStream::connect(monitor).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
    assert!(answers.next().unwrap().unwrap().contains("QMP"));
    for command in ["qmp_capabilities", "system_powerdown"] {
        writeln!(stream, "{{\"execute\": \"{command}\"}}").unwrap();
        let answer =
            answers.find(|line| line.as_ref().is_ok_and(|line| !line.contains("\"event\"")));
        assert!(answer.unwrap().unwrap().contains("\"return\""));
    }
}

#[test]
fn the_small_guest_boots_takes_an_address_and_obeys_the_power_button() {
    let files = small_files().expect("the small guest is made from Debian packages");
    for kernel in [&files.kernel, &files.kernel_unpacked] {
        let folder = tempfile::tempdir().unwrap();
        let monitor = folder.path().join("monitor");
        let started = Instant::now();
        let pc = ["-M", "q35", "-append", "console=ttyS0 quiet"];
        let mut machine = Machine::boot("qemu-system-x86_64", &pc, kernel, &files.initrd, &monitor);
        machine.wait_for(FIRST_LINE);
        machine.wait_for("anyvirt-guest: address 10.0.2.15/24");
        machine.wait_for("login:");
        println!(
            "{}: login after {:.1} s",
            kernel.display(),
            started.elapsed().as_secs_f64()
        );
        press_the_power_button(&monitor);
        machine.wait_for("anyvirt-guest: powering off");
        assert!(machine.qemu.wait().unwrap().success(), "{}", machine.said);
    }
}

#[test]
fn the_small_guest_for_arm_boots_and_takes_an_address() {
    let files =
        small_files_of(Architecture::Arm64).expect("the small guest is made from Debian packages");
    let folder = tempfile::tempdir().unwrap();
    let monitor = folder.path().join("monitor");
    let arm = [
        "-M",
        "virt",
        "-cpu",
        "max,pauth=off",
        "-append",
        "console=ttyAMA0 quiet",
    ];
    let mut machine = Machine::boot(
        "qemu-system-aarch64",
        &arm,
        &files.kernel,
        &files.initrd,
        &monitor,
    );
    machine.wait_for(FIRST_LINE);
    machine.wait_for("anyvirt-guest: address 10.0.2.15/24");
    machine.wait_for("login:");
}

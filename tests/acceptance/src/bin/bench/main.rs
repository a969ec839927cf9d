//! `cargo xtask bench NAME`: figures beside a bare baseline of the same run.
//!
//! `start`: from `apply` of a VM to the first byte of its guest's serial line, beside QEMU started by hand with the same
//! guest. The difference is what is not QEMU's: the API, four controllers' steps, the launcher, disks, network. Runs are
//! interleaved, since this machine's speed changes within seconds.
//!
//! `accelerator`: what hardware virtualization and its replacement cost, part by part.
//!
//! `warm-start`: from `apply` of a VM that goes on from a template to its guest's answer, beside QEMU doing the same by
//! hand; with `json`, for programs.
//!
//! `console`: the web console's list of 1,000 machines in a browser, beside a bare page; with `json`, for programs.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people"
)]

mod accelerator;
mod console;
mod warm_start;

use acceptance::{PATIENCE, Server, wait_for};
use laboratory::guests;
use laboratory::registry::Registry;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Pairs of runs; the median of their differences is the figure.
const PAIRS: usize = 9;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (name, part) = (arguments.next(), arguments.next());
    let pairs = arguments.next().and_then(|pairs| pairs.parse().ok());
    let measured = match name.as_deref() {
        Some("start") => {
            start();
            Ok(())
        }
        Some("accelerator") => accelerator::measure(part.as_deref(), pairs),
        Some("console") => console::measure(part.as_deref() == Some("json")),
        Some("warm-start") => warm_start::measure(part.as_deref() == Some("json")),
        other => Err(format!(
            "no measurement {other:?}; there is: start, accelerator, console, warm-start"
        )),
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("bench: {problem}");
            ExitCode::from(2)
        }
    }
}

fn start() {
    let image = guests::small().expect("the small guest is made from Debian packages");
    let files = guests::small_files().expect("the small guest is made from Debian packages");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let server = Server::start(&["--emulation", "on"]);
    let client = acceptance::Client::of(&server);
    let reference = registry.reference("small");
    // The first start pulls the image; what is measured is the start with everything cached.
    anyvirt(&server, &client, "warm-up", &reference);
    let (mut ours, mut bare, mut differences) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        let (our, qemu) = (
            anyvirt(&server, &client, &format!("bench-{pair}"), &reference),
            by_hand(&files),
        );
        println!(
            "apply to first line {:>7.1} ms   bare QEMU {:>7.1} ms   not QEMU's {:>+7.1} ms",
            our,
            qemu,
            our - qemu
        );
        ours.push(our);
        bare.push(qemu);
        differences.push(our - qemu);
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let (our, qemu, difference) = (
        median(&mut ours),
        median(&mut bare),
        median(&mut differences),
    );
    println!(
        "median {our:.1} ms, bare {qemu:.1} ms, ratio {:.2}, not QEMU's {difference:.1} ms (goal 50), load {}",
        our / qemu,
        load.trim()
    );
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One VM from POST to the first byte of its serial log, in ms; it is deleted again.
fn anyvirt(server: &Server, client: &acceptance::Client, name: &str, image: &str) -> f64 {
    let machines = server.data_directory().join("machines");
    let before = folders(&machines);
    let began = Instant::now();
    // Without a screen, as the baseline: a VGA adapter's firmware costs an emulated guest a quarter of a second.
    let manifest = guests::small_vm(name, image);
    client.create_vm(&manifest.replace(
        "        devices:\n",
        "        devices:\n          autoattachGraphicsDevice: false\n",
    ));
    let first = loop {
        let new = folders(&machines)
            .into_iter()
            .find(|folder| !before.contains(folder));
        if new.is_some_and(|folder| {
            std::fs::metadata(machines.join(folder).join("serial.log"))
                .is_ok_and(|file| file.len() > 0)
        }) {
            break began.elapsed();
        }
        assert!(
            began.elapsed() < PATIENCE,
            "no first line: {}",
            acceptance::tail(&server.log())
        );
        // Polled every half millisecond: the resolution of the figure.
        std::thread::sleep(Duration::from_micros(500));
    };
    server.kubectl(&["delete", "vm", name, "--timeout=60s"]);
    wait_for("the machine is gone", PATIENCE, || {
        if folders(&machines) == before {
            Ok(())
        } else {
            Err(format!("{:?}", folders(&machines)))
        }
    });
    first.as_secs_f64() * 1000.0
}

/// The same guest by hand: from exec to the first byte on its serial line, in ms.
fn by_hand(files: &guests::SmallGuest) -> f64 {
    let began = Instant::now();
    #[expect(
        clippy::disallowed_methods,
        reason = "the baseline is the bare program"
    )]
    let mut qemu = Command::new("qemu-system-x86_64")
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-accel",
            "tcg,thread=multi",
            "-M",
            "q35,hpet=off",
        ])
        .args([
            "-cpu",
            "max,erms=off,fsrm=off,la57=off,pku=off,pks=off",
            "-m",
            "256",
            "-serial",
            "stdio",
            "-append",
            "console=ttyS0 quiet",
        ])
        .args(["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n"])
        .arg("-kernel")
        .arg(&files.kernel_unpacked)
        .arg("-initrd")
        .arg(&files.initrd)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("QEMU is installed");
    let mut first = [0];
    qemu.stdout
        .take()
        .expect("piped")
        .read_exact(&mut first)
        .expect("the guest says something");
    let elapsed = began.elapsed();
    qemu.kill().expect("QEMU runs");
    qemu.wait().expect("QEMU ends");
    elapsed.as_secs_f64() * 1000.0
}

fn folders(machines: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = std::fs::read_dir(machines)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    names.sort();
    names
}

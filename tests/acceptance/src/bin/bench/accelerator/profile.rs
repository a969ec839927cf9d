//! Our profile of an emulated machine beside two others: QEMU's defaults, and what libvirt's tools
//! make of the same machine (`virt-install --virt-type qemu`: the arguments of libvirt 9.0 for a
//! machine of type q35 with processor mode `maximum`, its default under emulation).
//!
//! Ours is started through the API, with everything that is in its way; the others are QEMU alone.
//! All have one processor, a screen, a virtio disk (qcow2, cached) and a virtio network card, and
//! boot the same kernel. Their network is QEMU's own (slirp), ours passt.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use acceptance::{Client, Console, PATIENCE, Server, processes_of, wait_for};
use laboratory::guests::{self, SmallGuest};
use laboratory::registry::Registry;

/// Runs of each arm, if nobody says otherwise.
const PAIRS: usize = 7;
/// Emulated guests boot within seconds; on a busy machine within a minute or two.
const BOOT: Duration = Duration::from_secs(300);
/// The guest's processors have nothing to do for so long, to see what that costs.
const IDLE: Duration = Duration::from_secs(5);
/// As in the workload.
const NETWORK_BYTES: usize = 48 << 20;
const MEMORY: &str = "512";
const APPEND: &str = "console=ttyS0 quiet";

/// What the guest does, in the order of the table: the workload's name of it, and words for people.
const WORK: [(&str, &str); 9] = [
    ("integer", "integer: sort and hash"),
    ("floating", "floating point, scalar"),
    ("library", "floating point, the C library"),
    ("fused", "floating point, chosen by feature `fma`"),
    ("memory", "memory copies"),
    ("disk-write", "disk: write and flush 96 MiB"),
    ("disk-read", "disk: read 96 MiB"),
    ("disk-random", "disk: 1,500 reads of 4 KiB"),
    ("network", "network: 48 MiB each way"),
];

/// Seconds on the clock, and seconds of the host's processors.
#[derive(Clone, Copy, Debug)]
struct Spent {
    clock: f64,
    processor: f64,
}

/// By name: those of [`WORK`], `boot` and `idle`.
type Figures = BTreeMap<&'static str, Spent>;

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Arm {
    Ours,
    Defaults,
    Libvirt,
}

/// Prints the table.
pub(super) fn measure(pairs: Option<usize>) {
    let pairs = pairs.unwrap_or(PAIRS).max(1);
    let folder = tempfile::tempdir().expect("a folder");
    let program = compile(folder.path());
    let (files, image) = guests::small_with("workload", &program)
        .expect("the small guest is made from Debian packages");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let server = Server::start(&["--emulation", "on"]);
    let client = Client::of(&server);
    let reference = registry.reference("small");
    let mut runs: BTreeMap<Arm, Vec<Figures>> = BTreeMap::new();
    for pair in 0..=pairs {
        for turn in 0..3 {
            // Nobody is always first.
            let arm = [Arm::Ours, Arm::Defaults, Arm::Libvirt][(pair + turn) % 3];
            let figures = match arm {
                Arm::Ours => ours(&server, &client, &format!("bench-{pair}"), &reference),
                Arm::Defaults | Arm::Libvirt => by_hand(arm, &files, folder.path()),
            };
            println!("pair {pair} {arm:?}: {figures:.3?}");
            // The first round pulls images and fills caches.
            if pair > 0 {
                runs.entry(arm).or_default().push(figures);
            }
        }
    }
    table(&runs);
}

fn table(runs: &BTreeMap<Arm, Vec<Figures>>) {
    println!(
        "seconds of the clock / of processors (QEMU's; of ours also passt's and the cable's to it)"
    );
    println!("| | anyvirt | QEMU's defaults | libvirt's | QEMU's by ours | libvirt's by ours |");
    println!("|---|---|---|---|---|---|");
    let rows = [("boot", "boot to login")].into_iter().chain(WORK);
    for (name, words) in rows.chain([("idle", "idle for 5 s")]) {
        let of = |arm: Arm| -> Vec<Spent> { runs[&arm].iter().map(|run| run[name]).collect() };
        let ours = of(Arm::Ours);
        let ratios = |theirs: &[Spent], part: fn(&Spent) -> f64| {
            let pairs = ours.iter().zip(theirs);
            let ratios: Vec<f64> = pairs.map(|(our, their)| part(their) / part(our)).collect();
            let error = standard_error(&ratios);
            (median(ratios), error)
        };
        let shown = |spent: &[Spent]| {
            let clock = median(spent.iter().map(|it| it.clock).collect());
            let processor = median(spent.iter().map(|it| it.processor).collect());
            format!("{clock:.2} / {processor:.2}")
        };
        let compared = |theirs: &[Spent]| {
            let (clock, _) = ratios(theirs, |it| it.clock);
            let (processor, error) = ratios(theirs, |it| it.processor);
            format!("{clock:.2} / {processor:.2} ± {error:.2}")
        };
        let (defaults, libvirt) = (of(Arm::Defaults), of(Arm::Libvirt));
        println!(
            "| {words} | {} | {} | {} | {} | {} |",
            shown(&ours),
            shown(&defaults),
            shown(&libvirt),
            compared(&defaults),
            compared(&libvirt)
        );
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "medians; ratios are medians of the pairs' ratios, above 1 where anyvirt is better, with the standard error of their \
         mean; load {}",
        load.trim()
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Of the mean of these values; infinite for one, which tells nothing of how they scatter.
fn standard_error(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    if values.len() < 2 {
        f64::INFINITY
    } else {
        (squares / (count - 1.0) / count).sqrt()
    }
}

/// The workload as a program that needs nothing of the guest.
fn compile(folder: &Path) -> PathBuf {
    let source = folder.join("workload.rs");
    std::fs::write(&source, include_str!("workload.rs")).expect("written");
    let program = folder.join("workload");
    let paths = [source.display().to_string(), program.display().to_string()];
    let said = acceptance::run(
        Path::new("rustc"),
        &[
            "--edition=2021",
            "-O",
            "-C",
            "target-feature=+crt-static",
            "-o",
            &paths[1],
            &paths[0],
        ],
        &[],
    );
    assert!(said.success, "{}", said.err);
    program
}

/// One run through the API.
fn ours(server: &Server, client: &Client, name: &str, image: &str) -> Figures {
    let manifest = guests::small_vm(name, image)
        .replace("guest: 256Mi", &format!("guest: {MEMORY}Mi"))
        .replace(
            "masquerade: {}}]",
            "masquerade: {}, ports: [{port: 8080}]}]\n          disks: [{name: data, disk: {bus: virtio}}]",
        )
        .replace(
            "networks: [",
            "volumes: [{name: data, emptyDisk: {capacity: 1Gi}}]\n      networks: [",
        );
    let machines = server.data_directory().join("machines");
    let began = Instant::now();
    client.create_vm(&manifest);
    let log = wait_for("the machine's folder", PATIENCE, || {
        let entry = std::fs::read_dir(&machines)
            .ok()
            .and_then(|mut all| all.next());
        let entry = entry
            .ok_or("none yet")?
            .map_err(|error| error.to_string())?;
        Ok(entry.path().join("serial.log"))
    });
    wait_for("the login prompt", BOOT, || {
        let text = std::fs::read(&log).unwrap_or_default();
        contains(&text, b"login:")
            .then_some(())
            .ok_or("not yet".to_owned())
    });
    let boot = began.elapsed();
    let instance = server.wait_until("vmi", name, "/status/phase", "Running", PATIENCE);
    let address = instance["status"]["interfaces"][0]["ipAddress"]
        .as_str()
        .expect("an address");
    let address: SocketAddr = format!("{address}:8080").parse().expect("an address");
    let folder = log.parent().expect("a folder").to_owned();
    let named = |process: &u32, name: &str| {
        let comm = std::fs::read_to_string(format!("/proc/{process}/comm"));
        comm.is_ok_and(|comm| comm.starts_with(name))
    };
    let of_machine = processes_of(&folder);
    let launcher = of_machine.iter().find(|process| named(process, "anyvirt"));
    let launcher = launcher.expect("the launcher runs").to_string();
    let passt = acceptance::run(Path::new("pgrep"), &["--parent", &launcher, "passt"], &[]);
    let passt = passt
        .out
        .split_whitespace()
        .filter_map(|text| text.parse().ok());
    let qemu = of_machine
        .iter()
        .copied()
        .filter(|process| named(process, "qemu-system"));
    let launchers = launcher.parse().ok();
    let processes: Vec<u32> = qemu.chain(passt).chain(launchers).collect();
    assert_eq!(processes.len(), 3, "QEMU, passt and the launcher run");
    let mut console = Console::attach(server, name);
    let figures = guest(&mut console, &processes, boot, address);
    drop(console);
    server.kubectl(&["delete", "vm", name, "--grace-period=0", "--timeout=60s"]);
    wait_for("the machine is gone", PATIENCE, || {
        let left = std::fs::read_dir(&machines).into_iter().flatten().count();
        (left == 0).then_some(()).ok_or(format!("{left} left"))
    });
    figures
}

/// One run of QEMU alone.
fn by_hand(arm: Arm, files: &SmallGuest, folder: &Path) -> Figures {
    let disk = folder.join("disk.qcow2").display().to_string();
    let said = acceptance::run(
        Path::new("qemu-img"),
        &["create", "-q", "-f", "qcow2", &disk, "1G"],
        &[],
    );
    assert!(said.success, "{}", said.err);
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port");
    let forward = format!("hostfwd=tcp:{port}-:8080");
    let texts =
        |texts: &[&str]| -> Vec<String> { texts.iter().map(|&text| text.to_owned()).collect() };
    let mut arguments = match arm {
        Arm::Ours | Arm::Defaults => {
            let mut arguments = texts(&["-m", MEMORY, "-display", "none", "-serial", "stdio"]);
            arguments.extend([
                "-drive".to_owned(),
                format!("file={disk},if=virtio,format=qcow2"),
            ]);
            arguments.extend([
                "-nic".to_owned(),
                format!("user,model=virtio-net-pci,{forward}"),
            ]);
            arguments
        }
        Arm::Libvirt => libvirt(&disk, &forward),
    };
    arguments.extend(texts(&["-append", APPEND]));
    for (option, path) in [
        ("-kernel", &files.kernel_unpacked),
        ("-initrd", &files.initrd),
    ] {
        arguments.extend([option.to_owned(), path.display().to_string()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let began = Instant::now();
    let mut console = Console::run(Path::new("qemu-system-x86_64"), &arguments);
    console.expect("login:", BOOT);
    let boot = began.elapsed();
    let processes = [console.process()];
    guest(&mut console, &processes, boot, port)
}

/// What libvirt gives QEMU for such a machine, its sockets and files apart.
fn libvirt(disk: &str, forward: &str) -> Vec<String> {
    let text = format!(
        "-name guest=bench,debug-threads=on -machine pc-q35-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram \
         -accel tcg -cpu max -m {MEMORY} \
         -object {{\"qom-type\":\"memory-backend-ram\",\"id\":\"pc.ram\",\"size\":536870912}} \
         -overcommit mem-lock=off -smp 1,sockets=1,cores=1,threads=1 -no-user-config -nodefaults \
         -rtc base=utc -no-shutdown -boot strict=on -display none -chardev stdio,id=charserial0 \
         -device {{\"driver\":\"pcie-root-port\",\"port\":16,\"chassis\":1,\"id\":\"pci.1\",\"bus\":\"pcie.0\",\"multifunction\":true,\"addr\":\"0x2\"}} \
         -device {{\"driver\":\"pcie-root-port\",\"port\":17,\"chassis\":2,\"id\":\"pci.2\",\"bus\":\"pcie.0\",\"addr\":\"0x2.0x1\"}} \
         -device {{\"driver\":\"pcie-root-port\",\"port\":18,\"chassis\":3,\"id\":\"pci.3\",\"bus\":\"pcie.0\",\"addr\":\"0x2.0x2\"}} \
         -device {{\"driver\":\"pcie-root-port\",\"port\":19,\"chassis\":4,\"id\":\"pci.4\",\"bus\":\"pcie.0\",\"addr\":\"0x2.0x3\"}} \
         -device {{\"driver\":\"pcie-root-port\",\"port\":20,\"chassis\":5,\"id\":\"pci.5\",\"bus\":\"pcie.0\",\"addr\":\"0x2.0x4\"}} \
         -device {{\"driver\":\"pcie-root-port\",\"port\":21,\"chassis\":6,\"id\":\"pci.6\",\"bus\":\"pcie.0\",\"addr\":\"0x2.0x5\"}} \
         -device {{\"driver\":\"qemu-xhci\",\"p2\":15,\"p3\":15,\"id\":\"usb\",\"bus\":\"pci.2\",\"addr\":\"0x0\"}} \
         -device {{\"driver\":\"virtio-serial-pci\",\"id\":\"virtio-serial0\",\"bus\":\"pci.3\",\"addr\":\"0x0\"}} \
         -blockdev {{\"driver\":\"file\",\"filename\":\"{disk}\",\"node-name\":\"storage\",\"auto-read-only\":true,\"discard\":\"unmap\"}} \
         -blockdev {{\"node-name\":\"format\",\"read-only\":false,\"discard\":\"unmap\",\"driver\":\"qcow2\",\"file\":\"storage\",\"backing\":null}} \
         -device {{\"driver\":\"virtio-blk-pci\",\"bus\":\"pci.4\",\"addr\":\"0x0\",\"drive\":\"format\",\"id\":\"virtio-disk0\"}} \
         -netdev user,id=hostnet0,{forward} \
         -device {{\"driver\":\"virtio-net-pci\",\"netdev\":\"hostnet0\",\"id\":\"net0\",\"mac\":\"52:54:00:00:00:01\",\"bus\":\"pci.1\",\"addr\":\"0x0\"}} \
         -device {{\"driver\":\"isa-serial\",\"chardev\":\"charserial0\",\"id\":\"serial0\",\"index\":0}} \
         -device {{\"driver\":\"usb-tablet\",\"id\":\"input0\",\"bus\":\"usb.0\",\"port\":\"1\"}} \
         -audiodev {{\"id\":\"audio1\",\"driver\":\"none\"}} \
         -device {{\"driver\":\"VGA\",\"id\":\"video0\",\"vgamem_mb\":16,\"bus\":\"pcie.0\",\"addr\":\"0x1\"}} \
         -global ICH9-LPC.disable_s3=1 -global ICH9-LPC.disable_s4=1 \
         -device {{\"driver\":\"virtio-balloon-pci\",\"id\":\"balloon0\",\"bus\":\"pci.5\",\"addr\":\"0x0\"}} \
         -object {{\"qom-type\":\"rng-random\",\"id\":\"objrng0\",\"filename\":\"/dev/urandom\"}} \
         -device {{\"driver\":\"virtio-rng-pci\",\"rng\":\"objrng0\",\"id\":\"rng0\",\"bus\":\"pci.6\",\"addr\":\"0x0\"}} \
         -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny -msg timestamp=on"
    );
    text.split_whitespace().map(str::to_owned).collect()
}

/// Logs in, looks at what the idle guest costs, and gives it work. `processes` are QEMU and what
/// carries its network.
fn guest(console: &mut Console, processes: &[u32], boot: Duration, address: SocketAddr) -> Figures {
    let mut figures = Figures::new();
    let boot = Spent {
        clock: boot.as_secs_f64(),
        processor: processor_seconds(processes),
    };
    figures.insert("boot", boot);
    console.send("\nroot\n");
    console.expect("# ", BOOT);
    let before = processor_seconds(processes);
    // Not a wait for something: what is measured is what nothing costs in this time.
    std::thread::sleep(IDLE);
    let idle = Spent {
        clock: IDLE.as_secs_f64(),
        processor: processor_seconds(processes) - before,
    };
    figures.insert("idle", idle);
    for (name, _) in WORK {
        let before = processor_seconds(processes);
        console.send(&format!("workload {name}\n"));
        if name == "network" {
            console.expect("MARK listening", BOOT);
            transfer(address);
        }
        let text = console.expect("MARK end", BOOT);
        let processor = processor_seconds(processes) - before;
        let mut words = text.split_whitespace().skip_while(|word| *word != "MARK");
        let clock = words.nth(2).and_then(|text| text.parse().ok());
        let clock = clock.unwrap_or_else(|| panic!("no figure of {name} in {text}"));
        figures.insert(name, Spent { clock, processor });
    }
    figures
}

fn transfer(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).expect("the guest listens");
    let mut block = vec![0; 64 << 10];
    stream.write_all(&[1]).expect("sent");
    let mut left = NETWORK_BYTES;
    while left > 0 {
        let count = stream.read(&mut block).expect("received");
        assert!(count > 0, "the guest closed early, {left} bytes too soon");
        left -= count;
    }
    for _ in 0..NETWORK_BYTES / block.len() {
        stream.write_all(&block).expect("sent");
    }
    stream.read_exact(&mut block[..1]).expect("all has arrived");
}

/// Processor time of all threads of these processes, in seconds; of a launcher only that of the cable
/// between QEMU and passt: the console that it serves is this program's own in the other arms.
fn processor_seconds(processes: &[u32]) -> f64 {
    let threads = processes.iter().flat_map(|process| {
        let folder = PathBuf::from(format!("/proc/{process}"));
        let arguments = std::fs::read(folder.join("cmdline")).unwrap_or_default();
        let launcher = contains(&arguments, b"\0launcher\0");
        let threads = std::fs::read_dir(folder.join("task"));
        let paths = threads.into_iter().flatten().flatten().map(|it| it.path());
        paths.filter(move |thread| {
            let name = std::fs::read_to_string(thread.join("comm")).unwrap_or_default();
            !launcher || name.starts_with("cable")
        })
    });
    threads
        .filter_map(|thread| {
            // Nanoseconds on a processor, nanoseconds in the queue, turns.
            let text = std::fs::read_to_string(thread.join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<f64>().ok()
        })
        .sum::<f64>()
        / 1e9
}

fn contains(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}

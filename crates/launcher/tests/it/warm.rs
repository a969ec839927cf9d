//! Guests that are kept, and others that go on from there as somebody else. With the laboratory's warm guest: Linux
//! with the hook in its initramfs.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use api::launcher::warm::{
    FileIdentity, Kept, Template, TemplateFile, WarmFailure, WarmStage, WarmStart, files as names,
};
use api::launcher::{
    DiskFormat, ExitKind, ForwardedPort, KernelFiles, Protocol, Request, ResolvedInterface,
    ResolvedVolume, StartRequest, State, Status, files, milestones,
};
use host::identity::{Identity, Signal};
use jiff::Timestamp;
use laboratory::guests::{FIRST_LINE, SmallGuest};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::boot_sector::Manner;
use crate::home::{Home, Launcher, SOON, file_has, request};

/// Their port, forwarded unless a guest is to be kept.
const PORT: u16 = 8022;

/// The bytes of [`image`]'s disk.
const IMAGE_BYTES: u64 = 8 << 20;

/// An image of a disk, in this installation.
pub(crate) fn image(home: &Home) -> PathBuf {
    let path = home.path("image.raw");
    std::fs::write(&path, "of the image\n").expect("written");
    let file = File::options().write(true).open(&path).expect("there");
    file.set_len(IMAGE_BYTES).expect("as large as a disk");
    path
}

/// A start of this guest, with two disks that it may write to: a new one, and one that begins as the image.
pub(crate) fn start(guest: &SmallGuest, image: &Path, uid: &str, number: u8) -> StartRequest {
    let data = ResolvedVolume::EmptyDisk {
        capacity_bytes: 16 << 20,
    };
    let init = ResolvedVolume::CloudInitNoCloud {
        user_data: format!("#cloud-config\n# {uid}\n"),
        network_data: None,
    };
    let root = ResolvedVolume::ContainerDisk {
        path: image.to_owned(),
        format: DiskFormat::Raw,
        virtual_size_bytes: IMAGE_BYTES,
        digest: "sha256:0".to_owned(),
    };
    let volumes = [("data", data), ("init", init), ("root", root)];
    let volumes = volumes.map(|(name, volume)| (name.to_owned(), volume));
    let domain = json!({
        "memory": {"guest": "128Mi"},
        "firmware": {"kernelBoot": {"kernelArgs": "console=ttyS0 quiet nokaslr"}},
    });
    let mut request = request(uid, &domain, volumes.into());
    request.kernel = Some(KernelFiles {
        kernel: guest.kernel_unpacked.clone(),
        initrd: Some(guest.initrd.clone()),
    });
    request.hostname = format!("guest-{number}");
    request.firmware_uuid = format!("5d307ca9-b3ef-428c-8861-0000000000{number:02x}");
    request.instance_id = format!("instance-{number}");
    let interface = |card: u8| ResolvedInterface {
        name: format!("card{card}"),
        mac: format!("02:00:00:00:{card:02x}:{number:02x}"),
        model: "virtio".to_owned(),
        address: IpAddr::V4(Ipv4Addr::new(127, 0, 77 + card, number)),
        ports: vec![],
    };
    request.interfaces = vec![interface(0), interface(1)];
    request.slowdown = Some(8.0);
    request
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 77, number)
}

/// A template, and what it was made of.
pub(crate) struct Kit {
    guest: SmallGuest,
    image: PathBuf,
    home: Home,
    folder: PathBuf,
    memory: File,
    kept: Kept,
}

impl Kit {
    /// Boots the guest, and keeps it.
    pub(crate) async fn make(uid: &str, guest: SmallGuest) -> Self {
        let home = Home::new(uid);
        let launcher = home.launcher().await;
        let image = image(&home);
        let mut request = start(&guest, &image, uid, 1);
        request.warm = Some(WarmStart::Keepable);
        launcher.start_guest(request).await;
        file_has(&home.directory.join(files::SERIAL_LOG), "login:").await;
        // Nobody reaches a guest that is to be kept.
        TcpListener::bind((address(1), 22)).expect("nothing is forwarded");
        let mut shell = Shell::log_in(&launcher).await;
        shell.run("echo of the template > /dev/vda").await;
        let write = "echo of the template | dd of=/dev/vdc bs=1M seek=1; sync";
        shell.run(write).await;
        drop(shell);

        let folder = home.path("template");
        let keep = Request::Keep {
            directory: folder.clone(),
        };
        let (reason, message) = launcher.refused(&keep).await;
        assert_eq!(reason, "WrongFolder", "{message}");
        std::fs::create_dir(&folder).expect("made");
        std::fs::write(folder.join("other"), "").expect("written");
        let (reason, message) = launcher.refused(&keep).await;
        assert_eq!(reason, "WrongFolder", "{message}");
        std::fs::remove_file(folder.join("other")).expect("removed");
        assert_eq!(launcher.done(&Request::Status).await.state, State::Running);
        no_room(&launcher, &home.path("no-room")).await;

        let status = launcher.done(&keep).await;
        assert_eq!(status.state, State::Ended);
        assert_eq!(status.exit.expect("told").kind, ExitKind::Kept);
        launcher.end().await;

        let kept = std::fs::read(folder.join(names::KEPT)).expect("written");
        let kept: Kept = serde_json::from_slice(&kept).expect("JSON");
        assert_eq!(
            (&kept.macs[..], kept.memory_bytes, &kept.hook[..]),
            (
                &["02:00:00:00:00:01", "02:00:00:00:01:01"].map(str::to_owned)[..],
                128 << 20,
                "image"
            )
        );
        let stored = File::open(folder.join(names::MEMORY)).expect("written");
        let memory = File::from(host::memory::create("test", kept.memory_bytes).expect("memory"));
        host::memory::copy_data(&stored, &memory, |_, _| Ok(())).expect("copied");
        host::memory::seal(&memory).expect("sealed");
        Self {
            guest,
            image,
            home,
            folder,
            memory,
            kept,
        }
    }

    pub(crate) fn template(&self) -> Template {
        let disks = ["data", "root"].map(|name| {
            let disk = self.folder.join(format!("{name}{}", names::DISK_SUFFIX));
            (name.to_owned(), file(disk))
        });
        Template {
            key: "ab".to_owned(),
            made_at: Timestamp::UNIX_EPOCH,
            memory: host::memory::path_of(self.memory.as_fd()),
            memory_inode: host::memory::inode(&self.memory).expect("known"),
            state: file(self.folder.join(names::STATE)),
            disks: disks.into(),
            kept: self.kept.clone(),
            required: true,
        }
    }

    /// A start that restores the template.
    pub(crate) fn clone_of(&self, template: Template, uid: &str, number: u8) -> StartRequest {
        let mut request = start(&self.guest, &self.image, uid, number);
        request.interfaces[0].ports.push(ForwardedPort {
            protocol: Protocol::Tcp,
            port: PORT,
        });
        request.warm = Some(WarmStart::Restore(Box::new(template)));
        request
    }
}

/// The file that is there now.
fn file(path: PathBuf) -> TemplateFile {
    let found = path.metadata().expect("there");
    let identity = FileIdentity::of(&found);
    TemplateFile { path, identity }
}

/// Keeps the guest where there is no room for it: it runs on, and nothing is left of it there.
#[expect(clippy::print_stdout, reason = "a test that is left out says so")]
async fn no_room(launcher: &Launcher, folder: &Path) {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: a full disk: only root can make a file system");
        return;
    }
    std::fs::create_dir(folder).expect("made");
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("none", folder, "tmpfs", flags, c"size=1m").expect("mounted");
    let keep = Request::Keep {
        directory: folder.to_owned(),
    };
    let (reason, message) = launcher.refused(&keep).await;
    let left = std::fs::read_dir(folder).expect("there").count();
    let unmounted = rustix::mount::unmount(folder, rustix::mount::UnmountFlags::DETACH);
    unmounted.expect("unmounted");
    assert_eq!((&reason[..], left), ("KeepFailed", 0), "{message}");
    assert!(message.contains("No space left"), "{message}");
    launcher.running().await;
    let mut shell = Shell::attach(launcher).await;
    assert_eq!(shell.run("cat /sys/class/net/eth0/carrier").await, "1");
}

/// A shell in a guest, on its serial line.
pub(crate) struct Shell(BufReader<UnixStream>);

impl Shell {
    pub(crate) async fn log_in(launcher: &Launcher) -> Self {
        let (_, console) = launcher.open(&Request::Console).await;
        let mut shell = Self(console);
        shell.0.write_all(b"root\n").await.expect("typed");
        shell.until("# ").await;
        shell
    }

    /// Where somebody is logged in already.
    pub(crate) async fn attach(launcher: &Launcher) -> Self {
        let (_, console) = launcher.open(&Request::Console).await;
        Self(console)
    }

    /// What the command prints.
    pub(crate) async fn run(&mut self, command: &str) -> String {
        let line = format!("{command}; echo end$((1+1))\n");
        self.0.write_all(line.as_bytes()).await.expect("typed");
        let said = self.until("end2\r\n").await;
        self.until("# ").await;
        // The first line is what was typed.
        let (_, said) = said.split_once('\n').expect("an echo");
        said.trim_end_matches("end2\r\n").trim().to_owned()
    }

    /// Gives it a command after which the guest says nothing any more.
    pub(crate) async fn give(&mut self, command: &str) {
        let line = format!("{command}\n");
        self.0.write_all(line.as_bytes()).await.expect("typed");
    }

    async fn until(&mut self, end: &str) -> String {
        let mut seen = Vec::new();
        let reading = async {
            while !seen.ends_with(end.as_bytes()) {
                seen.push(self.0.read_u8().await.expect("read"));
            }
        };
        let read = tokio::time::timeout(SOON, reading).await;
        let seen = String::from_utf8_lossy(&seen).into_owned();
        read.unwrap_or_else(|_| panic!("no {end:?} in {seen:?}"));
        seen
    }
}

/// Waits until it has the address that all guests have: it may have been kept before it was given that.
pub(crate) async fn has_address(shell: &mut Shell) {
    let has = async {
        while !shell
            .run("ip -4 address show dev eth0")
            .await
            .contains("inet 10.0.2.2/24")
        {}
    };
    let found = tokio::time::timeout(SOON, has).await;
    found.expect("the guest has its address");
}

fn failure(status: &Status) -> &WarmFailure {
    let warm = status.warm.as_ref().expect("decided");
    assert_eq!((&warm.key[..], &warm.random), ("ab", &None));
    warm.failure.as_ref().expect("of no use")
}

fn names_of(status: &Status) -> Vec<&str> {
    status
        .milestones
        .iter()
        .map(|it| it.name.as_str())
        .collect()
}

/// A clone that must start from its template and cannot; nothing is left of it. How it failed.
async fn fails(uid: &str, request: StartRequest) -> WarmFailure {
    let address = request.interfaces[0].address;
    let home = Home::new(uid);
    let launcher = home.launcher().await;
    launcher.start_guest(request).await;
    let status = launcher.ended().await;
    let exit = status.exit.as_ref().expect("told");
    assert_eq!(exit.kind, ExitKind::StartFailed, "{}", exit.message);
    let failure = failure(&status).clone();
    assert!(exit.message.contains(&failure.message), "{}", exit.message);
    assert!(!names_of(&status).contains(&milestones::RENEWED));
    launcher.end().await;
    let left: Vec<_> = std::fs::read_dir(home.directory.join(files::DISKS))
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    assert!(left.is_empty(), "{uid}: {left:?}");
    TcpListener::bind((address, PORT)).expect("its network has ended");
    failure
}

#[tokio::test]
async fn guests_go_on_from_a_template_as_somebody_else_and_boot_where_it_is_of_no_use() {
    let (guest, _) = laboratory::guests::warm().expect("the laboratory's guest");
    let kit = Kit::make("kept", guest).await;
    two_that_differ(&kit).await;
    every_damage_is_named(&kit).await;
    one_boots_instead(&kit).await;
    one_waits_and_one_is_given_up(&kit).await;
}

async fn two_that_differ(kit: &Kit) {
    let commands = [
        "cat /proc/sys/kernel/random/boot_id",
        "cat /etc/machine-id",
        "hostname",
        "cat /sys/class/net/eth0/address",
        "cat /sys/class/net/eth1/address",
        "head -c 16 /dev/urandom | od -An -tx1",
        "cat /etc/ssh/ssh_host_ed25519_key.pub",
    ];
    let mut answers = [const { Vec::new() }; 2];
    let mut guests = Vec::new();
    for (number, answers) in (2..).zip(&mut answers) {
        let home = Home::new(&format!("clone{number}"));
        let launcher = home.launcher().await;
        let request = kit.clone_of(kit.template(), &home.uid, number);
        launcher.start_guest(request).await;
        let status = launcher.running().await;
        assert_eq!(
            names_of(&status),
            [
                "disks", "network", "spawned", "qmp", "restored", "running", "renewed"
            ]
        );
        let warm = status.warm.expect("told");
        assert_eq!((&warm.key[..], warm.failure), ("ab", None));
        assert_eq!(warm.random.as_ref().map(String::len), Some(64));
        answers.extend(warm.random);

        let mut shell = Shell::log_in(&launcher).await;
        has_address(&mut shell).await;
        for command in commands {
            answers.push(shell.run(command).await);
        }
        let told = [
            format!("5d307ca9b3ef428c88610000000000{number:02x}"),
            format!("guest-{number}"),
            format!("02:00:00:00:00:{number:02x}"),
            format!("02:00:00:00:01:{number:02x}"),
        ];
        assert_eq!(answers[2..6], told);
        let clock: i64 = shell.run("date +%s").await.parse().expect("a number");
        let now = Timestamp::now().as_second();
        assert!((now - 2..=now).contains(&clock), "{clock} is not {now}");
        // Its disks begin as the template's, and are its own.
        shell.run("echo 3 > /proc/sys/vm/drop_caches").await;
        assert_eq!(shell.run("head -n 1 /dev/vda").await, "of the template");
        assert_eq!(shell.run("head -n 1 /dev/vdc").await, "of the image");
        let second = "dd if=/dev/vdc bs=1M skip=1 2>/dev/null | head -n 1";
        assert_eq!(shell.run(second).await, "of the template");
        let write = format!("echo of {number} > /dev/vda; echo of {number} > /dev/vdc; sync");
        shell.run(&write).await;
        shell.run("echo 3 > /proc/sys/vm/drop_caches").await;
        // It has its own cloud-init data, and is reached.
        let init = shell.run("grep -c '# clone' /dev/vdb").await;
        assert_eq!(init, "1");
        assert_eq!(shell.run("cat /sys/block/vdb/size").await, "2048");
        TcpListener::bind((address(number), PORT)).expect_err("forwarded");
        guests.push((home, launcher, shell));
    }
    for (place, (one, other)) in answers[0].iter().zip(&answers[1]).enumerate() {
        assert_ne!(one, other, "{place}");
    }
    for (number, (_, launcher, mut shell)) in (2..).zip(guests) {
        for disk in ["vda", "vdc"] {
            let own = shell.run(&format!("head -n 1 /dev/{disk}")).await;
            assert_eq!(own, format!("of {number}"));
        }
        launcher.done(&Request::Kill).await;
        launcher.ended().await;
        launcher.end().await;
    }
}

type Change = fn(&Kit, &mut StartRequest, &mut Template);

#[expect(clippy::too_many_lines, reason = "a table of cases")]
async fn every_damage_is_named(kit: &Kit) {
    let cases: [(&str, Change, WarmStage, &str); 12] = [
        (
            "inode",
            |_, _, template| template.memory_inode += 1,
            WarmStage::Files,
            "another file than was meant",
        ),
        (
            "unsealed",
            |kit, _, template| {
                template.memory = kit.folder.join(names::MEMORY);
                let stored = File::open(&template.memory).expect("there");
                template.memory_inode = host::memory::inode(stored).expect("known");
            },
            WarmStage::Files,
            "not sealed",
        ),
        (
            "gone",
            |_, _, template| template.memory = "/proc/self/fd/1000".into(),
            WarmStage::Files,
            "No such file",
        ),
        (
            "size",
            |_, request, _| {
                let memory = json!({"guest": "64Mi"});
                let memory = serde_json::from_value(memory).expect("memory");
                request.instance.spec.domain.memory = memory;
            },
            WarmStage::Files,
            "and the guest has 67108864",
        ),
        (
            "empty",
            |kit, _, template| {
                let empty = kit.home.path("empty");
                std::fs::write(&empty, "").expect("written");
                template.state = file(empty);
            },
            WarmStage::Files,
            "it has 0 bytes",
        ),
        (
            "cut",
            |kit, _, template| {
                let mut state = std::fs::read(&template.state.path).expect("there");
                state.truncate(state.len() / 2);
                let cut = kit.home.path("cut");
                std::fs::write(&cut, state).expect("written");
                template.state = file(cut);
            },
            WarmStage::Restore,
            "QEMU said",
        ),
        (
            "damaged",
            |kit, _, template| {
                let damaged = kit.home.path("damaged");
                std::fs::write(&damaged, vec![b'x'; 4096]).expect("written");
                template.state = file(damaged);
            },
            WarmStage::Restore,
            "Not a migration stream",
        ),
        (
            "other-state",
            |kit, _, template| {
                let other = kit.home.path("other-state");
                std::fs::copy(&template.state.path, &other).expect("copied");
                template.state.path = other;
            },
            WarmStage::Files,
            "another file than was checked",
        ),
        (
            "other-disk",
            |kit, _, template| {
                let root = template.disks.get_mut("root").expect("of it");
                let other = kit.home.path("other-disk");
                std::fs::copy(&root.path, &other).expect("copied");
                root.path = other;
            },
            WarmStage::Files,
            "another file than was checked",
        ),
        (
            "upgraded",
            |_, _, template| template.kept.qemu_version = "7.2.0".to_owned(),
            WarmStage::Files,
            "of QEMU 7.2.0",
        ),
        (
            "disk",
            |_, _, template| template.disks.clear(),
            WarmStage::Files,
            "no disk `data`",
        ),
        (
            "card",
            |_, _, template| template.kept.macs[1] = "02:00:00:00:00:77".to_owned(),
            WarmStage::Renewal,
            "failed at mac",
        ),
    ];
    for (uid, change, stage, words) in cases {
        let mut template = kit.template();
        let mut request = kit.clone_of(template.clone(), uid, 9);
        change(kit, &mut request, &mut template);
        request.warm = Some(WarmStart::Restore(Box::new(template)));
        let failure = fails(uid, request).await;
        assert_eq!(failure.stage, stage, "{uid}: {}", failure.message);
        let message = &failure.message;
        assert!(message.contains(words), "{uid}: {message}");
    }
}

async fn one_boots_instead(kit: &Kit) {
    let home = Home::new("instead");
    let launcher = home.launcher().await;
    let mut template = kit.template();
    template.required = false;
    template.state = file(kit.home.path("damaged"));
    launcher
        .start_guest(kit.clone_of(template, &home.uid, 10))
        .await;
    let status = launcher.running().await;
    let failure = failure(&status);
    assert_eq!(failure.stage, WarmStage::Restore);
    let instead = status
        .milestones
        .iter()
        .find(|it| it.name == milestones::BOOTS_INSTEAD)
        .expect("told");
    assert_eq!(instead.text.as_ref(), Some(&failure.message));
    let latest: Vec<_> = status
        .latest_milestones()
        .iter()
        .map(|it| &it.name[..])
        .collect();
    assert_eq!(
        latest[..5],
        ["disks", "network", "spawned", "qmp", "running"]
    );
    file_has(&home.directory.join(files::SERIAL_LOG), FIRST_LINE).await;
    launcher.done(&Request::Kill).await;
    launcher.ended().await;
    launcher.end().await;
}

async fn one_waits_and_one_is_given_up(kit: &Kit) {
    let home = Home::new("waits");
    let launcher = home.launcher().await;
    let mut request = kit.clone_of(kit.template(), &home.uid, 11);
    request.instance.spec.start_strategy = Some("Paused".to_owned());
    launcher.start_guest(request).await;
    let paused = launcher
        .until("paused", |status| status.state == State::Paused)
        .await;
    assert!(paused.warm.expect("told").random.is_some());
    launcher.done(&Request::Unpause).await;
    let mut shell = Shell::log_in(&launcher).await;
    assert_eq!(shell.run("hostname").await, "guest-11");
    let (reason, message) = launcher
        .refused(&Request::Keep {
            directory: home.path("nowhere"),
        })
        .await;
    assert_eq!(reason, "NotKeepable", "{message}");
    launcher.done(&Request::Kill).await;
    launcher.ended().await;
    launcher.end().await;

    let home = Home::new("given-up");
    let launcher = home.launcher().await;
    let request = kit.clone_of(kit.template(), &home.uid, 12);
    launcher.start_guest(request).await;
    launcher
        .until("spawned", |status| {
            names_of(status).contains(&milestones::SPAWNED)
        })
        .await;
    launcher.done(&Request::Kill).await;
    let status = launcher.ended().await;
    assert_eq!(status.exit.expect("told").kind, ExitKind::Killed);
    assert_eq!(status.warm, None);
    launcher.end().await;
}

/// Stands in for the hook, and behaves by the name that it is given.
const SCRIPT: &str = r#"#!/bin/sh
for port in /sys/class/virtio-ports/*; do
    [ "$(cat $port/name)" = io.anyvirt.renew.0 ] && device=/dev/${port##*/}
done
exec 3<>$device
echo "hello 1 a script" >&3
while read -r word value <&3; do
    case $word in
        who) echo "hello 1 a script" >&3 ;;
        settle) echo "settled at once" >&3 ;;
        renew) nonce=$value ;;
        hostname) name=$value ;;
        boot-id) boot=$value ;;
        end) case $name in
            silent) ;;
            sorry) echo "failed entropy out of luck" >&3 ;;
            off) poweroff -f ;;
            noise) yes nonsense >&3 ;;
            *)
                [ $name = liar ] && boot=00000000-0000-4000-8000-000000000000
                [ $name = stale ] && nonce=00000000000000000000000000000000
                echo "renewed $nonce" >&3
                echo "random 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff" >&3
                echo "time 100.000000000" >&3
                echo "hostname $name" >&3
                echo "boot-id $boot" >&3
                echo "mac 02:00:00:00:00:14" >&3
                echo "mac 02:00:00:00:01:14" >&3
                echo "end" >&3 ;;
        esac ;;
    esac
done
"#;

#[tokio::test]
async fn a_hook_that_lies_or_does_not_answer_is_not_believed() {
    let hook = SCRIPT.as_bytes();
    let guest = laboratory::guests::warm_files(hook).expect("the laboratory's guest");
    killed_while_it_is_kept(&guest).await;
    let kit = Kit::make("scripted", guest).await;
    for (name, words) in [
        ("liar", "boot id"),
        ("stale", "answer"),
        ("late", "clock"),
        ("sorry", "failed at entropy: out of luck"),
        ("off", "before"),
        ("silent", "within 3 s"),
        ("noise", "within 3 s"),
    ] {
        let mut request = kit.clone_of(kit.template(), name, 20);
        request.hostname = name.to_owned();
        request.slowdown = Some(1.0);
        let failure = fails(name, request).await;
        assert_eq!(failure.stage, WarmStage::Renewal, "{}", failure.message);
        let message = &failure.message;
        assert!(message.contains(words), "{name}: {message}");
    }
    qemu_is_killed(&kit).await;
}

/// Nothing is left of a guest that is killed while it is written down.
async fn killed_while_it_is_kept(guest: &SmallGuest) {
    let home = Home::new("unkept");
    let launcher = home.launcher().await;
    let mut request = start(guest, &image(&home), &home.uid, 21);
    request.warm = Some(WarmStart::Keepable);
    launcher.start_guest(request).await;
    file_has(&home.directory.join(files::SERIAL_LOG), "login:").await;
    let folder = home.path("template");
    std::fs::create_dir(&folder).expect("made");
    let keep = Request::Keep {
        directory: folder.clone(),
    };
    let kill = async {
        launcher
            .until("stopped", |status| status.state == State::Paused)
            .await;
        assert_eq!(launcher.refused(&keep).await.0, "Keeping");
        launcher.done(&Request::Kill).await
    };
    let (kept, _) = tokio::join!(launcher.refused(&keep), kill);
    let (reason, message) = kept;
    assert!(["Killed", "KeepFailed"].contains(&&reason[..]), "{message}");
    assert_eq!(std::fs::read_dir(&folder).expect("there").count(), 0);
    let exit = launcher.ended().await.exit.expect("told");
    assert_eq!(exit.kind, ExitKind::Killed, "{}", exit.message);
    launcher.end().await;
}

/// Somebody kills QEMU while the hook in its guest is waited for.
async fn qemu_is_killed(kit: &Kit) {
    let home = Home::new("killed");
    let launcher = home.launcher().await;
    let mut request = kit.clone_of(kit.template(), &home.uid, 20);
    request.hostname = "silent".to_owned();
    launcher.start_guest(request).await;
    launcher
        .until("restored", |status| {
            names_of(status).contains(&milestones::RUNNING)
        })
        .await;
    let pid = launcher.child.identity().pid;
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("there");
    let children: Vec<_> = tasks
        .map(|task| std::fs::read_to_string(task.expect("readable").path().join("children")))
        .collect::<Result<_, _>>()
        .expect("readable");
    let children = children.join(" ");
    let qemu = children
        .split_whitespace()
        .map(|pid| pid.parse().expect("a number"))
        .find(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.starts_with("qemu"))
        });
    let qemu = Identity::of(qemu.expect("a child")).expect("readable");
    let qemu = qemu.expect("running");
    qemu.signal(Signal::Kill).expect("killed");
    let status = launcher.ended().await;
    let failure = failure(&status);
    assert_eq!(failure.stage, WarmStage::Renewal, "{}", failure.message);
    launcher.end().await;
}

#[tokio::test]
async fn a_guest_without_a_hook_is_not_kept_and_runs_on() {
    let home = Home::new("hookless");
    let launcher = home.launcher().await;
    let mut request = home.request(Manner::Polite);
    request.slowdown = Some(1.0);
    request.warm = Some(WarmStart::Keepable);
    launcher.start_guest(request).await;
    launcher.running().await;
    let folder = home.path("template");
    std::fs::create_dir(&folder).expect("made");
    let keep = Request::Keep {
        directory: folder.clone(),
    };
    let (reason, message) = launcher.refused(&keep).await;
    assert_eq!(reason, "NoHook", "{message}");
    assert_eq!(std::fs::read_dir(&folder).expect("there").count(), 0);
    assert_eq!(launcher.done(&Request::Status).await.state, State::Running);
    // Asked again, the same.
    assert_eq!(launcher.refused(&keep).await.0, "NoHook");
    launcher.done(&Request::Kill).await;
    launcher.ended().await;
    assert_eq!(launcher.refused(&keep).await.0, "NotRunning");
    launcher.end().await;
}

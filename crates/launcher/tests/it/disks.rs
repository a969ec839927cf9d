//! What guests get to read and write.

use api::launcher::{ExitKind, Request, ResolvedVolume, files};
use serde_json::json;

use crate::boot_sector::{GREETING, Manner, kernel};
use crate::home::{Home, Launcher, request};

fn host_disk(path: &std::path::Path, shared: bool) -> ResolvedVolume {
    ResolvedVolume::HostDisk {
        path: path.to_owned(),
        create_bytes: None,
        shared,
    }
}

#[tokio::test]
async fn all_kinds_of_volumes_are_opened_by_qemu() {
    let home = Home::new("volumes");
    let launcher = home.launcher().await;
    let mut all = home.request(Manner::Brief);
    let made = home.path("made.img");
    let volumes = [
        (
            "cloudinit",
            ResolvedVolume::CloudInitNoCloud {
                user_data: "#cloud-config\n".to_owned(),
                network_data: Some("version: 2\n".to_owned()),
            },
        ),
        (
            "empty",
            ResolvedVolume::EmptyDisk {
                capacity_bytes: 1 << 30,
            },
        ),
        (
            "host",
            ResolvedVolume::HostDisk {
                path: made.clone(),
                create_bytes: Some(1 << 20),
                shared: false,
            },
        ),
    ];
    all.volumes
        .extend(volumes.map(|(name, volume)| (name.to_owned(), volume)));
    let disks = json!([
        {"name": "boot", "disk": {"bus": "sata"}},
        {"name": "cloudinit", "cdrom": {"bus": "sata"}},
        {"name": "empty", "disk": {"bus": "scsi"}},
        {"name": "host", "disk": {"bus": "usb"}, "cache": "writethrough"},
    ]);
    all.instance.spec.domain.devices.disks = serde_json::from_value(disks).expect("disks");
    launcher.start_guest(all).await;
    let exit = launcher.ended().await.exit.expect("told");
    assert_eq!(exit.kind, ExitKind::GuestShutdown, "{}", exit.message);
    assert_eq!(std::fs::metadata(&made).expect("made").len(), 1 << 20);
    let disks = home.directory.join("disks");
    let iso = std::fs::read(disks.join("cloudinit.iso")).expect("made");
    assert_eq!(&iso[16 * 2048 + 40..16 * 2048 + 47], b"cidata ");
    // udev finds a disk's label as this program does, and cloud-init asks udev.
    let blkid = host::process::Program::new("/usr/sbin/blkid")
        .arguments(["-p", "-o", "export"])
        .argument(disks.join("cloudinit.iso"));
    let found = blkid
        .output(crate::home::SOON, 4096)
        .await
        .expect("it runs")
        .stdout;
    let found = String::from_utf8(found).expect("text");
    assert!(
        found.contains("LABEL=cidata\n") && found.contains("TYPE=iso9660\n"),
        "{found}"
    );
    assert!(disks.join("empty.qcow2").exists() && disks.join("boot.qcow2").exists());
    launcher.end().await;
}

#[tokio::test]
async fn a_second_writer_of_one_host_disk_is_told_who_has_it() {
    let home = Home::new("first");
    let path = home.disk("shared.img", Manner::Deaf);
    let ask = |uid: &str, shared| {
        request(
            uid,
            &json!({}),
            [("boot".to_owned(), host_disk(&path, shared))].into(),
        )
    };
    let first = home.launcher().await;
    first.start_guest(ask("first", false)).await;
    first.running().await;

    // The same file by another name is still the same disk.
    let other_name = home.path("other-name.img");
    std::fs::hard_link(&path, &other_name).expect("linked");
    let second = Launcher::start(&home.neighbour("second")).await;
    let volumes = [("boot".to_owned(), host_disk(&other_name, false))];
    second
        .start_guest(request("second", &json!({}), volumes.into()))
        .await;
    let exit = second.ended().await.exit.expect("told");
    assert_eq!(exit.kind, ExitKind::StartFailed);
    assert!(
        exit.message.contains("disk in use") && exit.message.contains("(first)"),
        "{}",
        exit.message
    );
    second.end().await;

    // QEMU's own lock holds against one who says that the disk is shared, when the first did not.
    let third = Launcher::start(&home.neighbour("third")).await;
    third.start_guest(ask("third", true)).await;
    let exit = third.ended().await.exit.expect("told");
    assert_eq!(exit.kind, ExitKind::StartFailed);
    assert!(exit.message.contains("lock"), "{}", exit.message);
    third.end().await;
    first.done(&Request::Kill).await;
    first.ended().await;
    first.end().await;
}

#[tokio::test]
async fn what_cannot_be_started_says_field_and_cause() {
    let home = Home::new("refused");
    let link = home.path("link.img");
    std::os::unix::fs::symlink("/etc/passwd", &link).expect("linked");
    let bad_image = home.path("bad.qcow2");
    std::fs::write(&bad_image, vec![0; 4096]).expect("written");
    let container = |path: &std::path::Path| ResolvedVolume::ContainerDisk {
        path: path.to_owned(),
        format: api::launcher::DiskFormat::Qcow2,
        virtual_size_bytes: 1 << 20,
        digest: "sha256:0".to_owned(),
    };
    let cases = [
        (host_disk(&link, false), json!({}), "link.img"),
        (
            host_disk(&home.path("missing.img"), false),
            json!({}),
            "No such file",
        ),
        (container(&bad_image), json!({}), "bad.qcow2 is refused"),
        (
            ResolvedVolume::EmptyDisk {
                capacity_bytes: 1 << 62,
            },
            json!({}),
            "volume boot",
        ),
        (
            ResolvedVolume::EmptyDisk {
                capacity_bytes: 512,
            },
            json!({"machine": {"type": "isapc"}}),
            "spec.domain.machine.type",
        ),
        (
            ResolvedVolume::EmptyDisk {
                capacity_bytes: 512,
            },
            json!({"cpu": {"model": "a,b"}}),
            "spec.domain.cpu.model",
        ),
        // Known to QEMU only: how it ended, and its own words.
        (
            ResolvedVolume::EmptyDisk {
                capacity_bytes: 512,
            },
            json!({"machine": {"type": "pc-q35-99.9"}}),
            "QEMU ended at once with",
        ),
        (
            ResolvedVolume::EmptyDisk {
                capacity_bytes: 512,
            },
            json!({"machine": {"type": "pc-q35-99.9"}}),
            "unsupported machine type",
        ),
    ];
    for (index, (volume, domain, words)) in cases.into_iter().enumerate() {
        let uid = format!("case{index}");
        let launcher = Launcher::start(&home.neighbour(&uid)).await;
        launcher
            .start_guest(request(&uid, &domain, [("boot".to_owned(), volume)].into()))
            .await;
        let exit = launcher.ended().await.exit.expect("told");
        assert_eq!(exit.kind, ExitKind::StartFailed, "{words}");
        assert!(
            exit.message.contains(words),
            "{} lacks {words}",
            exit.message
        );
        launcher.end().await;
    }
}

#[tokio::test]
async fn a_kernel_is_booted_directly_whoever_may_read_its_file() {
    use std::os::unix::fs::PermissionsExt as _;
    for mode in [0o644, 0o600] {
        let home = Home::new("kernel");
        let file = home.path("vmlinuz");
        std::fs::write(&file, kernel(Manner::Brief)).expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("set");
        let launcher = home.launcher().await;
        let domain = json!({"firmware": {"kernelBoot": {"kernelArgs": "console=ttyS0,115200"}}});
        let mut direct = request(&home.uid, &domain, [].into());
        direct.kernel = Some(api::launcher::KernelFiles {
            kernel: file.clone(),
            initrd: Some(file),
        });
        launcher.start_guest(direct).await;
        let exit = launcher.ended().await.exit.expect("told");
        assert_eq!(
            exit.kind,
            ExitKind::GuestShutdown,
            "{mode:o}: {}",
            exit.message
        );
        let log = std::fs::read_to_string(home.directory.join(files::SERIAL_LOG)).expect("text");
        assert!(log.starts_with(GREETING), "{log}");
        launcher.end().await;
    }
}

#[tokio::test]
async fn a_start_for_whose_disks_there_is_no_room_fails_by_name_and_leaves_its_room_to_others() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: a full disk: only root can make a file system");
        return;
    }
    let home = Home::new("full");
    let disks = home.directory.join(files::DISKS);
    host::socket::private_directory(&disks).expect("made");
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("none", &disks, "tmpfs", flags, c"size=64k").expect("mounted");
    let filler = disks.join("filler");
    let mut bytes = 128 << 10;
    while std::fs::write(&filler, vec![1; bytes]).is_err() {
        bytes -= 4096;
    }
    let launcher = home.launcher().await;
    let mut request = home.request(Manner::Brief);
    let empty = ResolvedVolume::EmptyDisk {
        capacity_bytes: 1 << 30,
    };
    request.volumes.insert("empty".to_owned(), empty);
    let two = json!([{"name": "boot"}, {"name": "empty"}]);
    request.instance.spec.domain.devices.disks = serde_json::from_value(two).expect("disks");
    launcher.start_guest(request.clone()).await;
    let exit = launcher.ended().await.exit.expect("told");
    launcher.end().await;
    // There is room again.
    std::fs::remove_file(&filler).expect("removed");
    std::fs::remove_file(home.directory.join(files::EXIT)).expect("as the node does");
    let again = home.launcher().await;
    again.start_guest(request).await;
    let second = again.ended().await.exit.expect("told");
    again.end().await;
    let unmounted = rustix::mount::unmount(&disks, rustix::mount::UnmountFlags::DETACH);
    unmounted.expect("unmounted");
    assert_eq!(exit.kind, ExitKind::StartFailed, "{}", exit.message);
    assert!(exit.message.contains("No space left"), "{}", exit.message);
    assert_eq!(second.kind, ExitKind::GuestShutdown, "{}", second.message);
}

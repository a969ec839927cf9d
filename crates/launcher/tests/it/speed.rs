//! How much a launcher adds to QEMU's own start. Printed, not judged: see `cargo xtask bench`.

use std::time::{Duration, Instant};

use api::launcher::{Request, files};
use host::process::{Program, Stream};
use tokio::io::AsyncReadExt as _;

use crate::boot_sector::{Manner, boot_sector};
use crate::home::{Home, file_has};

async fn bare(home: &Home) -> Duration {
    let disk = home.path("bare.img");
    let mut bytes = boot_sector(Manner::Brief);
    bytes.resize(1 << 20, 0);
    std::fs::write(&disk, bytes).expect("written");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut reader =
        tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into()).expect("watched");
    let begin = Instant::now();
    let mut qemu = Program::new("/usr/bin/qemu-system-x86_64")
        .arguments([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-machine",
            "q35,hpet=off",
        ])
        .arguments([
            "-accel", "tcg", "-cpu", "max", "-m", "64", "-serial", "stdio",
        ])
        .argument("-drive")
        .argument(format!("if=virtio,format=raw,file={}", disk.display()))
        .stdout(Stream::File(writer.into()))
        .spawn()
        .expect("spawned");
    reader.read_exact(&mut [0]).await.expect("a byte");
    let time = begin.elapsed();
    qemu.wait().await.expect("waited");
    time
}

#[tokio::test]
async fn a_launchers_guest_speaks_soon_after_a_bare_one() {
    let mut times = Vec::new();
    for round in 0..3 {
        let home = Home::new(&format!("speed{round}"));
        let launcher = home.launcher().await;
        let request = home.request(Manner::Brief);
        let begin = Instant::now();
        launcher.start_guest(request).await;
        file_has(&home.directory.join(files::SERIAL_LOG), "a").await;
        let ours = begin.elapsed();
        let status = launcher.ended().await;
        let first = status.milestones.first().expect("reached").at;
        for milestone in &status.milestones {
            println!(
                "    {:12} +{:?}",
                milestone.name,
                milestone.at.duration_since(first).unsigned_abs()
            );
        }
        launcher.done(&Request::Status).await;
        launcher.end().await;
        times.push((ours, bare(&home).await));
    }
    for (ours, bare) in &times {
        println!(
            "start to first serial byte: {} ms; bare QEMU {} ms",
            ours.as_millis(),
            bare.as_millis()
        );
    }
    assert!(
        times
            .iter()
            .all(|(ours, _)| *ours < Duration::from_secs(60))
    );
}

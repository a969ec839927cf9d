//! The slowdown of TCG on the machine that runs this test.

use std::path::Path;

use jiff::Timestamp;
use node::calibration::{self, Baseline, Key, Record, Slowdown};

async fn measured(folder: &Path) -> Slowdown {
    let qemu = Path::new("/usr/bin/qemu-system-x86_64");
    calibration::measure(qemu, folder, Baseline::Processor, Timestamp::UNIX_EPOCH)
        .await
        .expect("QEMU is installed and runs the guest")
}

#[tokio::test]
async fn the_slowdown_of_this_machine_is_measured_and_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let began = std::time::Instant::now();
    let found = measured(folder.path()).await;
    println!("{found:?} in {:?}", began.elapsed());
    // No emulator is as fast as the processor, and none that boots a guest is a thousand times slower.
    assert!(found.ratio > 1.0 && found.ratio < 1000.0, "{found:?}");
    assert!(found.low <= found.ratio && found.ratio <= found.high);
    let record = Record {
        slowdown: found,
        key: Key::look("test", false).expect("readable"),
    };
    calibration::store(folder.path(), &record).expect("writable");
    let kept = calibration::cached(folder.path()).expect("readable");
    assert_eq!(kept, Some(record));
    // Twice is harmless.
    measured(folder.path()).await;
}

#[tokio::test]
async fn without_qemu_there_is_an_error_and_no_figure() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = Path::new("/nowhere/qemu");
    calibration::measure(
        missing,
        folder.path(),
        Baseline::Processor,
        Timestamp::UNIX_EPOCH,
    )
    .await
    .expect_err("nothing is there");
    // A program that says nothing of what a guest says.
    let error = calibration::measure(
        Path::new("/bin/true"),
        folder.path(),
        Baseline::Processor,
        Timestamp::UNIX_EPOCH,
    )
    .await
    .expect_err("it is no QEMU");
    assert!(error.to_string().contains("long mode"), "{error}");
}

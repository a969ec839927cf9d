//! Images made to do harm. Whatever they hold, nothing but the wanted file comes out, or a refusal.

use std::io::Read;
use std::path::Path;

use images::{ImageRequest, Limits, Problem};
use laboratory::images::{Packing, add_entry, add_file};
use proptest::prelude::*;
use tar::EntryType;

use crate::{Bench, small_limits};

async fn refusal(bench: &Bench, request: &ImageRequest) -> String {
    let refusal = bench.pull(request).await.expect_err("it must be refused");
    assert_eq!(
        bench.left_over(),
        Vec::<std::path::PathBuf>::new(),
        "{refusal}"
    );
    let entries = std::fs::read_dir(bench.folder.path().join("cache/entries")).unwrap();
    assert_eq!(entries.count(), 0, "{refusal}");
    refusal.problem.to_string()
}

#[tokio::test]
async fn the_folder_disk_holds_exactly_one_file() {
    type Files<'a> = &'a [(&'a str, &'a [u8])];
    let table: [(Files<'_>, &str); 4] = [
        (&[], "no file found in folder /disk, no disk present"),
        (
            &[("other/disk.img", b"x")],
            "no file found in folder /disk, no disk present",
        ),
        (
            &[("disk/deeper/disk.img", b"x")],
            "no file found in folder /disk, no disk present",
        ),
        (
            &[("disk/a.img", b"x"), ("disk/b.img", b"x")],
            "more than one file found in folder /disk, only one disk is allowed",
        ),
    ];
    for (files, expected) in table {
        let bench = Bench::new();
        let image = bench.image(files);
        assert_eq!(refusal(&bench, &image).await, expected);
    }
}

#[tokio::test]
async fn entries_that_leave_the_image_or_are_no_files_are_refused() {
    let secret = tempfile::tempdir().unwrap();
    let target = secret.path().join("secret");
    std::fs::write(&target, "secret").unwrap();
    let target = target.display().to_string();
    let table: [(EntryType, &str, Option<&str>, &str); 10] = [
        (EntryType::Regular, "../disk/x", None, "leaves the image"),
        (EntryType::Regular, "disk/../../x", None, "leaves the image"),
        (
            EntryType::Regular,
            "/disk/../etc/x",
            None,
            "leaves the image",
        ),
        (
            EntryType::Symlink,
            "disk/x",
            Some(&target),
            "is a symbolic link",
        ),
        (EntryType::Link, "disk/x", Some(&target), "is a hard link"),
        (
            EntryType::Symlink,
            "disk",
            Some("/etc"),
            "is a symbolic link",
        ),
        (EntryType::Char, "disk/x", None, "is a device"),
        (EntryType::Block, "disk/x", None, "is a device"),
        (EntryType::Fifo, "disk/x", None, "is a named pipe"),
        (
            EntryType::Regular,
            "disk",
            None,
            "is a file, not a directory",
        ),
    ];
    for (kind, path, link, expected) in table {
        let bench = Bench::new();
        let image = bench.shaped(|archive| {
            add_entry(archive, kind, path, link, b"")?;
            if path != "disk/x" {
                add_file(archive, "disk/x", &b"good"[..], 4)?;
            }
            Ok(())
        });
        let said = refusal(&bench, &image).await;
        assert!(said.contains(expected), "{kind:?} {path}: {said}");
    }
}

#[tokio::test]
async fn links_and_devices_elsewhere_do_no_harm() {
    let bench = Bench::new();
    let image = bench.shaped(|archive| {
        add_entry(
            archive,
            EntryType::Symlink,
            "etc/mtab",
            Some("/proc/mounts"),
            b"",
        )?;
        add_entry(archive, EntryType::Char, "dev/null", None, b"")?;
        add_entry(archive, EntryType::Directory, "disk/", None, b"")?;
        add_file(archive, "disk/disk.img", &b"good"[..], 4)
    });
    assert_eq!(bench.pull(&image).await.unwrap(), b"good");
}

#[tokio::test]
async fn the_last_layer_wins_and_whiteouts_hide() {
    let file = |path: &'static str, content: &'static [u8]| (path, content);
    type Layers<'a> = &'a [&'a [(&'static str, &'static [u8])]];
    let table: [(Layers<'_>, &str); 7] = [
        (&[&[file("disk/a", b"1")], &[file("disk/a", b"2")]], "2"),
        (
            &[
                &[file("disk/a", b"1")],
                &[file("disk/.wh.a", b""), file("disk/b", b"2")],
            ],
            "2",
        ),
        (
            &[
                &[file("disk/a", b"1")],
                &[file("disk/b", b"2"), file("disk/.wh..wh..opq", b"")],
            ],
            "2",
        ),
        (
            &[
                &[file("disk/a", b"1")],
                &[file(".wh.disk", b"")],
                &[file("disk/b", b"3")],
            ],
            "3",
        ),
        (&[&[file("disk/a", b"1")], &[file("etc/.wh.a", b"")]], "1"),
        (
            &[&[file("disk/a", b"1")], &[file("disk/.wh.a", b"")]],
            "no file found",
        ),
        (
            &[&[file("disk/a", b"1")], &[file("disk/b", b"2")]],
            "more than one file found",
        ),
    ];
    for (number, (layers, expected)) in table.into_iter().enumerate() {
        let bench = Bench::new();
        let layers: Vec<_> = layers
            .iter()
            .map(|files| {
                let fill = |archive: &mut tar::Builder<&mut dyn std::io::Write>| {
                    files.iter().try_for_each(|(path, content)| {
                        add_file(archive, path, *content, content.len() as u64)
                    })
                };
                bench.layout.layer(Packing::Tar, fill).unwrap()
            })
            .collect();
        bench.layout.image("latest", &layers).unwrap();
        let said = match bench.pull(&bench.request()).await {
            Ok(content) => String::from_utf8(content).unwrap(),
            Err(refusal) => refusal.problem.to_string(),
        };
        assert!(said.starts_with(expected), "case {number}: {said}");
    }
}

#[tokio::test]
async fn bombs_stop_at_their_limit() {
    let zeros = |bytes: u64| std::io::repeat(0).take(bytes);
    // Small on the wire, large when unpacked: 20 MiB wanted, and 64 MiB unwanted.
    for (path, size, expected) in [
        (
            "disk/disk.img",
            20 << 20,
            "/disk/disk.img is more than the limit of 16777216",
        ),
        (
            "other",
            64 << 20,
            "the unpacked image is more than the limit of 33554432",
        ),
    ] {
        for packing in [Packing::Gzip, Packing::Zstd] {
            let bench = Bench::new();
            let layer = bench.layout.layer(packing, |archive| {
                add_file(archive, path, zeros(size), size)
            });
            bench.layout.image("latest", &[layer.unwrap()]).unwrap();
            assert_eq!(refusal(&bench, &bench.request()).await, expected);
        }
    }
    let bench = Bench::new();
    let image = bench.shaped(|archive| {
        (0..101).try_for_each(|n| add_file(archive, &format!("file-{n}"), &b""[..], 0))
    });
    let said = refusal(&bench, &image).await;
    assert_eq!(said, "the number of files is more than the limit of 100");

    let bench = Bench::new();
    let image = bench.image(&[("disk/disk.img", &vec![1; 9 << 20])]);
    let said = refusal(&bench, &image).await;
    assert_eq!(
        said,
        "the image with 1 layers is more than the limit of 8388608"
    );
    assert_eq!(
        bench.layer_requests(),
        0,
        "what is too large is not even fetched"
    );
}

#[tokio::test]
async fn a_disk_of_zeros_takes_no_space() {
    use std::os::unix::fs::MetadataExt;
    let bench = Bench::new();
    let size = 10 << 20;
    let layer = bench.layout.layer(Packing::Gzip, |archive| {
        add_file(
            archive,
            "disk/disk.img",
            std::io::repeat(0).take(size),
            size,
        )
    });
    bench.layout.image("latest", &[layer.unwrap()]).unwrap();
    let disk = bench.cache.containerdisk(&bench.request()).await.unwrap();
    let metadata = std::fs::metadata(disk.path).unwrap();
    assert_eq!(metadata.len(), size);
    assert!(
        metadata.blocks() * 512 < 1 << 20,
        "{} blocks",
        metadata.blocks()
    );
}

#[tokio::test]
async fn a_disk_that_must_not_be_used_is_never_in_the_cache() {
    let bench = Bench::new();
    let image = bench.image(&[("disk/disk.img", b"BACKING /etc/passwd")]);
    let said = refusal(&bench, &image).await;
    assert_eq!(
        said,
        "/disk/disk.img is not a disk that can be used: its header names the backing file /etc/passwd"
    );
    let bench = Bench::with(Limits {
        virtual_bytes: 3,
        ..small_limits()
    });
    let image = bench.image(&[("disk/disk.img", b"four")]);
    assert!(
        refusal(&bench, &image)
            .await
            .contains("more than the limit of 3")
    );
}

#[tokio::test]
async fn layers_of_an_unknown_kind_are_refused_by_name() {
    let bench = Bench::new();
    let layer = bench.layout.blob(b"x", "application/x-qemu-disk").unwrap();
    bench.layout.image("latest", &[layer]).unwrap();
    let refusal = bench.pull(&bench.request()).await.unwrap_err();
    assert!(
        matches!(refusal.problem, Problem::Unsupported(_)),
        "{refusal}"
    );
    assert!(
        refusal.to_string().contains("application/x-qemu-disk"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_layout_can_not_lead_elsewhere() {
    let bench = Bench::new();
    let outside = bench.folder.path().join("outside");
    std::fs::write(&outside, "host").unwrap();
    let place = bench.layout.directory().to_path_buf();
    let layout = ImageRequest::new(format!("oci-layout:{}", place.display()));
    // A digest that is a path.
    let layer = serde_json::json!({
        "mediaType": Packing::Tar.media_type(), "digest": "sha256:../../../outside", "size": 4
    });
    bench.layout.image("latest", &[layer]).unwrap();
    let said = refusal(&bench, &layout).await;
    assert!(said.contains("is no sha256 digest"), "{said}");
    // A blob that is a link.
    let layer = bench
        .layout
        .blob(b"host", Packing::Tar.media_type())
        .unwrap();
    let hex = layer["digest"].as_str().unwrap().replace("sha256:", "");
    bench.layout.image("latest", &[layer]).unwrap();
    let blob: &Path = &place.join("blobs/sha256").join(hex);
    std::fs::remove_file(blob).unwrap();
    std::os::unix::fs::symlink(&outside, blob).unwrap();
    let said = refusal(&bench, &layout).await;
    assert!(said.contains("is no regular file"), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// A good layer with some bytes changed before it was signed: never a panic, never more than the limits, and what
    /// comes out is a file of at most its size.
    #[test]
    fn a_mangled_archive_is_refused_or_harmless(
        changes in prop::collection::vec((0..3000_usize, any::<u8>()), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new();
            let mut good = tar::Builder::new(Vec::new());
            add_file(&mut good, "disk/disk.img", &[5; 700][..], 700).unwrap();
            add_file(&mut good, "etc/hosts", &[6; 700][..], 700).unwrap();
            let mut bytes = good.into_inner().unwrap();
            let length = bytes.len();
            for (place, byte) in changes {
                bytes[place % length] = byte;
            }
            let layer = bench.layout.blob(&bytes, Packing::Tar.media_type()).unwrap();
            bench.layout.image("latest", &[layer]).unwrap();
            let reference = format!("oci-layout:{}", bench.layout.directory().display());
            if let Ok(disk) = bench.pull(&ImageRequest::new(reference)).await {
                assert!(disk.len() <= length);
            }
            assert!(bench.left_over().is_empty());
        });
    }
}

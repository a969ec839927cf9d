use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use images::{Cache, Credentials, Format, ImageRequest, Limits, Problem, Progress, PullPolicy};
use laboratory::images::{Packing, add_file};
use laboratory::registry::Fault;

use crate::{Bench, inspect, small_limits};

#[tokio::test]
async fn the_only_file_in_disk_becomes_a_local_file() {
    let bench = Bench::new();
    for packing in [Packing::Tar, Packing::Gzip, Packing::Zstd] {
        let content = format!("{packing:?}").repeat(1000);
        let layer = bench.layout.layer(packing, |archive| {
            add_file(
                archive,
                "./disk/fedora.img",
                content.as_bytes(),
                content.len() as u64,
            )?;
            add_file(archive, "etc/passwd", &b"root"[..], 4)
        });
        let digest = bench.layout.image("latest", &[layer.unwrap()]).unwrap();
        let request = bench.with_policy(PullPolicy::Always);
        let disk = bench.cache.containerdisk(&request).await.unwrap();
        assert_eq!(std::fs::read(&disk.path).unwrap(), content.as_bytes());
        assert_eq!(
            (disk.format, disk.virtual_size_bytes),
            (Format::Raw, content.len() as u64)
        );
        assert_eq!(disk.digest, digest);
        let mode = std::fs::metadata(&disk.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o444);
    }
    assert!(bench.left_over().is_empty());
}

#[tokio::test]
async fn a_named_path_is_taken_wherever_it_is() {
    let bench = Bench::new();
    let image = bench.image(&[
        ("disk/a", b"a"),
        ("disk/b", b"b"),
        ("images/deep/c.img", b"c"),
    ]);
    for (path, content) in [
        ("/disk/b", b"b"),
        ("images/deep/c.img", b"c"),
        ("/./disk//a", b"a"),
    ] {
        let request = ImageRequest {
            path: Some(path.to_owned()),
            ..image.clone()
        };
        assert_eq!(bench.pull(&request).await.unwrap(), content, "{path}");
    }
    let request = ImageRequest {
        path: Some("/disk/c".to_owned()),
        ..image
    };
    let refusal = bench.pull(&request).await.unwrap_err();
    assert!(
        refusal.to_string().ends_with("no file found at /disk/c"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_kernel_and_an_initrd_are_taken_by_their_paths() {
    let bench = Bench::new();
    let image = bench.image(&[("boot/vmlinuz", b"kernel"), ("boot/initrd", b"initrd")]);
    let both = bench
        .cache
        .kernel(&image, Some("/boot/vmlinuz"), Some("/boot/initrd"))
        .await
        .unwrap();
    assert_eq!(std::fs::read(both.kernel.unwrap()).unwrap(), b"kernel");
    assert_eq!(std::fs::read(both.initrd.unwrap()).unwrap(), b"initrd");
    let one = bench
        .cache
        .kernel(&image, Some("/boot/vmlinuz"), None)
        .await
        .unwrap();
    assert_eq!((one.kernel.is_some(), one.initrd), (true, None));
    assert!(bench.cache.kernel(&image, None, None).await.is_err());
    let refusal = bench
        .cache
        .kernel(&image, Some("/boot/other"), None)
        .await
        .unwrap_err();
    assert!(
        refusal
            .to_string()
            .ends_with("no file found at /boot/other"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_layout_on_this_machine_needs_no_registry() {
    let bench = Bench::new();
    bench.image(&[("disk/disk.img", b"from the layout")]);
    let place = bench.layout.directory().display().to_string();
    for reference in [format!("oci-layout:{place}"), format!("oci:{place}:latest")] {
        let disk = bench.pull(&ImageRequest::new(&*reference)).await.unwrap();
        assert_eq!(disk, b"from the layout", "{reference}");
    }
    assert_eq!(bench.registry.requests(), Vec::<String>::new());
    let refusal = bench
        .pull(&ImageRequest::new(format!("oci:{place}:old")))
        .await
        .unwrap_err();
    assert!(
        refusal
            .to_string()
            .contains("has no tag \"old\" (tags: latest)"),
        "{refusal}"
    );
    let nowhere = bench
        .pull(&ImageRequest::new("oci-layout:/nowhere"))
        .await
        .unwrap_err();
    assert!(matches!(nowhere.problem, Problem::NotFound(_)), "{nowhere}");
    let off = Bench::with(Limits {
        layouts: false,
        ..small_limits()
    });
    let refusal = off
        .pull(&ImageRequest::new(format!("oci:{place}")))
        .await
        .unwrap_err();
    assert!(
        matches!(refusal.problem, Problem::Unsupported(_)),
        "{refusal}"
    );
}

#[tokio::test]
async fn an_index_gives_the_image_for_this_machine() {
    let bench = Bench::new();
    let one = |content: &'static [u8]| {
        let layer = bench.layout.layer(Packing::Tar, |archive| {
            add_file(archive, "disk/disk.img", content, content.len() as u64)
        });
        bench.layout.manifest(&[layer.unwrap()]).unwrap()
    };
    let (ours, theirs) = (one(b"ours"), one(b"theirs"));
    let architecture = laboratory::images::architecture();
    let offered = [
        (theirs.clone(), "linux", "s390x"),
        (ours, "linux", architecture),
    ];
    bench.layout.index("latest", &offered).unwrap();
    assert_eq!(bench.pull(&bench.request()).await.unwrap(), b"ours");
    bench
        .layout
        .index("latest", &[(theirs, "linux", "s390x")])
        .unwrap();
    let refusal = bench
        .pull(&bench.with_policy(PullPolicy::Always))
        .await
        .unwrap_err();
    assert!(
        refusal.to_string().ends_with("only for linux/s390x"),
        "{refusal}"
    );
}

#[tokio::test]
async fn the_pull_policy_says_when_the_registry_is_asked() {
    let bench = Bench::new();
    bench.image(&[("disk/disk.img", b"old")]);
    let never = bench
        .pull(&bench.with_policy(PullPolicy::Never))
        .await
        .unwrap_err();
    let reference = bench.registry.reference("disk");
    assert_eq!(never.reason(), "ErrImageNeverPull");
    assert_eq!(
        never.to_string(),
        format!("Container image \"{reference}\" is not present with pull policy of Never")
    );
    assert_eq!(bench.registry.requests(), Vec::<String>::new());

    assert_eq!(
        bench
            .pull(&bench.with_policy(PullPolicy::IfNotPresent))
            .await
            .unwrap(),
        b"old"
    );
    let (asked, fetched) = (bench.registry.requests().len(), bench.layer_requests());
    bench.image(&[("disk/disk.img", b"new")]);
    for policy in [PullPolicy::IfNotPresent, PullPolicy::Never] {
        assert_eq!(
            bench.pull(&bench.with_policy(policy)).await.unwrap(),
            b"old",
            "{policy:?}"
        );
    }
    assert_eq!(bench.registry.requests().len(), asked);

    assert_eq!(
        bench
            .pull(&bench.with_policy(PullPolicy::Always))
            .await
            .unwrap(),
        b"new"
    );
    assert_eq!(bench.layer_requests(), fetched + 1);
    assert_eq!(
        bench
            .pull(&bench.with_policy(PullPolicy::Always))
            .await
            .unwrap(),
        b"new"
    );
    assert_eq!(
        bench.layer_requests(),
        fetched + 1,
        "the same digest is not fetched twice"
    );
    assert_eq!(
        bench
            .pull(&bench.with_policy(PullPolicy::Never))
            .await
            .unwrap(),
        b"new"
    );
}

#[tokio::test]
async fn many_who_want_the_same_image_share_one_pull() {
    let bench = Bench::new();
    let image = bench.image(&[("disk/disk.img", &[7; 300_000])]);
    let pulls: Vec<_> = (0..20)
        .map(|_| {
            let (cache, image) = (bench.cache.clone(), image.clone());
            tokio::spawn(async move { cache.containerdisk(&image).await.unwrap().path })
        })
        .collect();
    let mut paths = Vec::new();
    for pull in pulls {
        paths.push(pull.await.unwrap());
    }
    paths.dedup();
    assert_eq!((paths.len(), bench.layer_requests()), (1, 1));
}

#[tokio::test]
async fn a_broken_download_is_taken_up_where_it_ended() {
    let content = vec![3; 400_000];
    for ranges in [true, false] {
        let bench = Bench::new();
        let image = bench.image(&[("disk/disk.img", &content)]);
        bench.registry.inject(Fault::BreakOff {
            after: 150_000,
            times: 2,
        });
        if !ranges {
            bench.registry.inject(Fault::NoRanges);
        }
        assert_eq!(bench.pull(&image).await.unwrap(), content);
        assert_eq!(bench.layer_requests(), 3);
    }
}

#[tokio::test]
async fn a_download_that_breaks_too_often_leaves_nothing_behind() {
    let bench = Bench::new();
    let image = bench.image(&[("disk/disk.img", &[3; 400_000])]);
    bench.registry.inject(Fault::BreakOff {
        after: 0,
        times: u32::MAX,
    });
    let refusal = bench.pull(&image).await.unwrap_err();
    assert!(
        matches!(refusal.problem, Problem::Unreachable(_)),
        "{refusal}"
    );
    assert_eq!(
        (refusal.reason(), refusal.transient()),
        ("ErrImagePull", true)
    );
    let back_off = format!(
        "Back-off pulling image {:?}: ErrImagePull: ",
        image.reference
    );
    assert!(refusal.back_off_message().starts_with(&back_off));
    assert!(bench.left_over().is_empty());
    bench.registry.heal();
    assert!(bench.pull(&image).await.is_ok());
}

#[tokio::test]
async fn bytes_that_do_not_match_their_digest_are_refused() {
    let bench = Bench::new();
    let image = bench.image(&[("disk/disk.img", &[3; 400_000])]);
    bench.registry.inject(Fault::Corrupt { at: 200_000 });
    let refusal = bench.pull(&image).await.unwrap_err();
    assert!(matches!(&refusal.problem, Problem::Damaged(_)), "{refusal}");
    assert!(
        refusal.to_string().contains("has digest sha256:"),
        "{refusal}"
    );
    assert!(bench.left_over().is_empty());

    let place = bench.layout.directory();
    for blob in std::fs::read_dir(place.join("blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if bytes.len() > 1000 {
            bytes[300_000] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let local = ImageRequest::new(format!("oci-layout:{}", place.display()));
    let refusal = bench.pull(&local).await.unwrap_err();
    assert!(matches!(&refusal.problem, Problem::Damaged(_)), "{refusal}");
}

#[tokio::test]
async fn what_the_registry_says_becomes_a_reason() {
    let bench = Bench::new();
    bench.image(&[("disk/disk.img", b"private")]);
    let missing = ImageRequest::new(format!("{}/disk:no-such-tag", bench.registry.address));
    let refusal = bench.pull(&missing).await.unwrap_err();
    assert!(matches!(refusal.problem, Problem::NotFound(_)), "{refusal}");

    bench.registry.require("anna", "secret");
    let refusal = bench.pull(&bench.request()).await.unwrap_err();
    assert!(
        matches!(refusal.problem, Problem::Unauthorized(_)),
        "{refusal}"
    );
    assert!(!refusal.transient());
    let pair = |password: &str| {
        Some(Credentials {
            username: "anna".to_owned(),
            password: password.to_owned(),
        })
    };
    let wrong = ImageRequest {
        credentials: pair("guess"),
        ..bench.request()
    };
    assert!(matches!(
        bench.pull(&wrong).await.unwrap_err().problem,
        Problem::Unauthorized(_)
    ));
    let right = ImageRequest {
        credentials: pair("secret"),
        ..bench.request()
    };
    assert_eq!(bench.pull(&right).await.unwrap(), b"private");
    assert!(!format!("{right:?} {:?}", right.credentials).contains("secret"));

    let invalid = bench
        .pull(&ImageRequest::new("NOT a reference"))
        .await
        .unwrap_err();
    assert_eq!(invalid.reason(), "InvalidImageName");
    let nobody = ImageRequest::new("127.0.0.1:1/disk");
    let refusal = bench.pull(&nobody).await.unwrap_err();
    assert!(
        matches!(refusal.problem, Problem::Unreachable(_)),
        "{refusal}"
    );
    assert!(
        refusal.to_string().contains("onnection refused"),
        "{refusal}"
    );
    // The registry speaks plain HTTP only, so a request that insists on TLS must fail.
    let strict = ImageRequest {
        insecure: false,
        pull_policy: PullPolicy::Always,
        ..bench.request()
    };
    assert!(bench.pull(&strict).await.is_err());
}

#[tokio::test]
async fn progress_ends_at_the_total() {
    let bench = Bench::new();
    let heard = Arc::new(Mutex::new(Vec::<Progress>::new()));
    let listener = Arc::clone(&heard);
    let request = ImageRequest {
        progress: Some(Arc::new(move |progress| {
            listener.lock().unwrap().push(progress)
        })),
        ..bench.image(&[("disk/disk.img", &[1; 500_000])])
    };
    bench.registry.inject(Fault::BreakOff {
        after: 100_000,
        times: 1,
    });
    bench.registry.inject(Fault::NoRanges);
    bench.pull(&request).await.unwrap();
    let heard = heard.lock().unwrap();
    let last = heard.last().unwrap();
    assert_eq!(last.done_bytes, last.total_bytes);
    assert!(
        heard
            .iter()
            .all(|progress| progress.done_bytes <= progress.total_bytes)
    );
}

#[tokio::test]
async fn a_damaged_entry_is_fetched_again() {
    let bench = Bench::new();
    let image = bench.image(&[("disk/disk.img", b"precious")]);
    let path = bench.cache.containerdisk(&image).await.unwrap().path;
    let damages: [(&str, &dyn Fn()); 4] = [
        ("another byte", &|| rewrite(&path, b"Precious")),
        ("shorter", &|| rewrite(&path, b"prec")),
        ("gone", &|| std::fs::remove_file(&path).unwrap()),
        ("no marker", &|| {
            rewrite(&path.with_file_name("marker.json"), b"{");
        }),
    ];
    for (count, (what, damage)) in damages.into_iter().enumerate() {
        damage();
        assert_eq!(bench.pull(&image).await.unwrap(), b"precious", "{what}");
        assert_eq!(bench.layer_requests(), count + 2, "{what}");
    }
    // The same bytes with another time are looked at once, and believed.
    rewrite(&path, b"precious");
    assert_eq!(bench.pull(&image).await.unwrap(), b"precious");
    assert_eq!(bench.layer_requests(), 5);
}

fn rewrite(path: &std::path::Path, bytes: &[u8]) {
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn the_cache_outlives_its_process_and_leftovers_do_not() {
    let bench = Bench::new();
    let image = bench.image(&[("disk/disk.img", b"kept")]);
    bench.pull(&image).await.unwrap();
    let directory = bench.folder.path().join("cache");
    std::fs::create_dir(directory.join("partial/77")).unwrap();
    let again = Cache::open(&directory, small_limits(), Arc::new(inspect)).unwrap();
    let request = bench.with_policy(PullPolicy::Never);
    assert!(again.containerdisk(&request).await.is_ok());
    assert!(bench.left_over().is_empty());
}

#[tokio::test]
async fn pruning_removes_what_is_old_and_unused() {
    let bench = Bench::new();
    let image = bench.image(&[
        ("disk/a", &[1; 100_000]),
        ("disk/b", b"b"),
        ("disk/c", b"c"),
    ]);
    let mut paths = Vec::new();
    for path in ["/disk/a", "/disk/b", "/disk/c"] {
        let request = ImageRequest {
            path: Some(path.to_owned()),
            ..image.clone()
        };
        paths.push(bench.cache.containerdisk(&request).await.unwrap().path);
    }
    let marked = std::time::SystemTime::now();
    let none = std::collections::BTreeSet::new();
    let earlier = marked - std::time::Duration::from_secs(3600);
    assert_eq!(bench.cache.prune(&none, earlier).await.unwrap(), 0);
    // Using it again makes it new.
    let again = ImageRequest {
        path: Some("/disk/c".to_owned()),
        ..image.clone()
    };
    bench.cache.containerdisk(&again).await.unwrap();
    let in_use = std::collections::BTreeSet::from([paths[1].clone()]);
    let freed = bench.cache.prune(&in_use, marked).await.unwrap();
    assert!(freed >= 100_000, "{freed}");
    let left: Vec<bool> = paths.iter().map(|path| path.exists()).collect();
    assert_eq!(left, [false, true, true]);
    assert!(bench.left_over().is_empty());
}

#[tokio::test]
async fn what_a_reference_meant_is_forgotten_with_the_last_of_its_image() {
    let bench = Bench::new();
    let image = bench.image(&[("disk/a", b"a"), ("disk/b", b"b")]);
    for path in ["/disk/a", "/disk/b"] {
        let path = Some(path.to_owned());
        let wanted = ImageRequest {
            path,
            ..image.clone()
        };
        bench.cache.containerdisk(&wanted).await.unwrap();
    }
    let kept = |file| ImageRequest {
        path: Some(file),
        pull_policy: PullPolicy::Never,
        ..image.clone()
    };
    let wanted = kept("/disk/b".to_owned());
    let second = bench.cache.containerdisk(&wanted).await.unwrap().path;
    let references = bench.folder.path().join("cache/references");
    let known = || std::fs::read_dir(&references).unwrap().count();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);

    bench.cache.prune(&[second].into(), later).await.unwrap();
    assert_eq!(known(), 1, "one of its files is still here");
    bench.cache.containerdisk(&wanted).await.unwrap();

    let none = std::collections::BTreeSet::new();
    // One that was written just now may belong to a pull that goes on.
    let earlier = later - std::time::Duration::from_secs(7200);
    bench.cache.prune(&none, earlier).await.unwrap();
    assert_eq!(known(), 1);
    bench.cache.prune(&none, later).await.unwrap();
    assert_eq!(known(), 0);
}

#[tokio::test]
async fn what_is_stored_is_told_by_its_names_the_largest_first() {
    let bench = Bench::new();
    let small = bench.image(&[("disk/disk.img", b"small")]);
    bench.pull(&small).await.unwrap();
    let known = bench.cache.stored().await.unwrap();
    let [image] = known.as_slice() else {
        panic!("one image is stored: {known:?}")
    };
    let [name, by_digest] = image.names.as_slice() else {
        panic!("it has a name and a digest: {image:?}")
    };
    assert_eq!(*name, small.reference);
    let (repository, digest) = by_digest.split_once('@').unwrap();
    assert!(small.reference.starts_with(repository) && digest.starts_with("sha256:"));

    // The same reference comes to mean another image: the first one keeps its digest only.
    let large = bench.image(&[("disk/disk.img", &[7; 300_000])]);
    assert_eq!(large.reference, small.reference);
    let again = ImageRequest {
        pull_policy: PullPolicy::Always,
        ..large
    };
    bench.pull(&again).await.unwrap();
    // Nothing that could be used, and no reason to tell nothing.
    std::fs::create_dir(bench.folder.path().join("cache/entries/empty")).unwrap();
    let known = bench.cache.stored().await.unwrap();
    assert_eq!(known.len(), 2, "{known:?}");
    assert_eq!(known[0].names[0], small.reference);
    assert_eq!(known[1].names, std::slice::from_ref(by_digest));
    assert!(known[0].disk_bytes >= 300_000 && known[1].disk_bytes < 100_000);
}

//! The hook in the small guest, with plain QEMU under software emulation: a guest that was kept goes on as several.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use laboratory::bare::{Bare, MAC, Shape};
use laboratory::guests;
use renewal::protocol::{
    Card, FromGuest, FromHost, HostKey, Id, InstanceId, Mac, Name, Order, Proof, Secret, Time,
};

/// It takes some seconds on an idle machine; others may be building.
const PATIENCE: Duration = Duration::from_secs(120);

fn order(number: u8) -> Order {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    Order {
        nonce: Id([number; 16]),
        seed: Secret([number; 64]),
        time: Time {
            seconds: now.as_secs(),
            nanoseconds: now.subsec_nanos(),
        },
        hostname: Name::new(&format!("clone-{number}")).unwrap(),
        machine_id: Id([0x10 + number; 16]),
        boot_id: Id([0x20 + number; 16]),
        product_uuid: Id([0x30 + number; 16]),
        cards: vec![Card {
            old: Mac::parse(MAC).unwrap(),
            new: Mac([0x52, 0x54, 0, 0, 1, number]),
        }],
        host_key: HostKey::new(
            "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n-----END OPENSSH PRIVATE KEY-----\n",
            &format!("ssh-ed25519 key-{number}\n"),
        ),
        instance_id: InstanceId::new("i-1"),
    }
}

/// The next that is no note.
fn answer(machine: &mut Bare) -> FromGuest {
    loop {
        match machine.hear(PATIENCE).unwrap() {
            FromGuest::Note(_) => {}
            other => return other,
        }
    }
}

fn renewed(machine: &mut Bare, order: &Order) -> Proof {
    machine
        .tell(&FromHost::Renew(Box::new(order.clone())))
        .unwrap();
    match answer(machine) {
        FromGuest::Renewed(proof) => *proof,
        other => panic!("{other:?}"),
    }
}

/// What a command in the guest prints, by its serial line.
fn output(machine: &mut Bare, command: &str) -> String {
    machine
        .type_in(&format!("{command}; echo E'N'D\n"))
        .unwrap();
    let seen = machine.wait_for("END\r\n", PATIENCE).unwrap();
    // Without the prompt and what was typed.
    seen.split_once("\r\n").unwrap().1.to_owned()
}

#[test]
fn a_guest_that_was_kept_goes_on_as_several_who_share_nothing_that_must_differ() {
    let (files, _) = guests::warm().expect("the guest is made from Debian packages");
    let folder = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() {
        "/dev/shm"
    } else {
        "/tmp"
    })
    .unwrap();
    let shape = Shape::small(&files, 128);
    let mut template = Bare::boot(&shape, &folder.path().join("memory"), PATIENCE).unwrap();
    let hello = answer(&mut template);
    assert!(
        matches!(&hello, FromGuest::Hello(hello) if hello.about.starts_with("Linux ")),
        "{hello:?}"
    );
    template.wait_for("login:", PATIENCE).unwrap();
    template.type_in("root\n").unwrap();
    template.wait_for("#", PATIENCE).unwrap();
    let before = output(&mut template, "cat /proc/sys/kernel/random/boot_id");
    template.tell(&FromHost::Settle).unwrap();
    let settled = answer(&mut template);
    assert_eq!(
        settled,
        FromGuest::Settled("nothing to wait for".to_owned())
    );
    assert_eq!(
        output(&mut template, "cat /proc/sys/kernel/random/boot_id"),
        before
    );
    let kept = template
        .keep(&folder.path().join("state"), PATIENCE)
        .unwrap();

    let mut proofs = Vec::new();
    for number in 1..=3 {
        let began = Instant::now();
        let mut clone = Bare::restore(&kept, PATIENCE).unwrap();
        let restored = began.elapsed();
        let order = order(number);
        let proof = renewed(&mut clone, &order);
        println!(
            "restored after {restored:?}, renewed after {:?}",
            began.elapsed()
        );
        proof.check(&order, PATIENCE).unwrap();
        assert_eq!(proof.machine_id, Some(order.machine_id));
        assert_eq!(proof.product_uuid, Some(order.product_uuid));
        assert_eq!(
            proof.host_key.as_deref(),
            order.host_key.as_ref().map(HostKey::public)
        );
        assert!(
            proofs
                .iter()
                .all(|other: &Proof| other.random != proof.random)
        );
        proofs.push(proof);
        // Told twice, it is the same one still.
        let again = renewed(&mut clone, &order);
        again.check(&order, PATIENCE).unwrap();
        let seen = output(
            &mut clone,
            "hostname; cat /etc/hostname /etc/machine-id /proc/sys/kernel/random/boot_id /sys/class/dmi/id/product_uuid \
             /sys/class/net/eth0/address /etc/ssh/*.pub; date +%Y",
        );
        for fact in [
            format!("clone-{number}\r\nclone-{number}\r\n"),
            order.machine_id.plain(),
            order.boot_id.to_string(),
            order.product_uuid.to_string(),
            order.cards[0].new.to_string(),
            format!("ssh-ed25519 key-{number}\r\n"),
        ] {
            assert!(seen.contains(&fact), "no {fact:?} in {seen}");
        }
    }
}

//! What a machine shows, and what it has written, as the console gets them.

use std::io::Read as _;

use acceptance::{Client, PATIENCE, Server, wait_for};
use laboratory::guests::{self, BOOT_SECTOR_HELLO};
use laboratory::registry::Registry;

/// The parts of a PNG's picture, unpacked: rows of a filter's number and bytes. Panics if it is none.
fn rows(png: &[u8]) -> (usize, Vec<u8>) {
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"), "no PNG: {png:?}");
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().expect("4 bytes"));
    // Its first part tells width, height, bits and kind of colour.
    let width = number(16) as usize;
    assert_eq!(&png[24..26], [8, 2], "8 bits of red, green and blue");
    let (mut packed, mut at) = (Vec::new(), 8);
    while at < png.len() {
        let length = number(at) as usize;
        if &png[at + 4..at + 8] == b"IDAT" {
            packed.extend(&png[at + 8..at + 8 + length]);
        }
        at += length + 12;
    }
    let mut unpacked = Vec::new();
    let mut decoder = flate2::read::ZlibDecoder::new(&packed[..]);
    decoder.read_to_end(&mut unpacked).expect("unpacked");
    (1 + 3 * width, unpacked)
}

/// A black screen is all zeros, whatever filter a row is written with.
fn shows_something(png: &[u8]) -> bool {
    let (row, bytes) = rows(png);
    bytes
        .chunks(row)
        .any(|row| row[1..].iter().any(|byte| *byte != 0))
}

#[test]
fn a_machines_screen_is_pictured_and_its_first_words_are_kept() {
    let image = guests::boot_sector().expect("the boot sector guest is made");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let server = Server::start(&["--emulation", "on"]);
    let manifest = guests::boot_sector_vm("sector", &registry.reference("boot-sector")).replace(
        "autoattachGraphicsDevice: false",
        "autoattachGraphicsDevice: true",
    );
    server.apply(&manifest);
    server.wait_until("vmi", "sector", "/status/phase", "Running", PATIENCE);
    let client = Client::of(&server);
    let path =
        "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachineinstances/sector";
    let picture = format!("{path}/vnc/screenshot?moveCursor=true");
    // The firmware greets on the screen as soon as it runs.
    let tag = wait_for("a picture that shows something", PATIENCE, || {
        let (code, tag, bytes) = client.get_bytes(&picture, "");
        assert_eq!(code, 200, "{}", String::from_utf8_lossy(&bytes));
        shows_something(&bytes)
            .then_some(tag)
            .ok_or_else(|| "it is black".to_owned())
    });
    assert!(tag.len() > 2 && tag.starts_with('"'), "{tag}");

    let written = || {
        let (code, _, bytes) = client.get_bytes(&format!("{path}/log"), "");
        assert_eq!(code, 200);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    wait_for("the guest's first words", PATIENCE, || {
        let log = written();
        log.contains(BOOT_SECTOR_HELLO).then_some(()).ok_or(log)
    });
    let (code, _, answer) = client.get_bytes(&format!("{path}/vnc/photograph"), "");
    assert_eq!(code, 404, "{}", String::from_utf8_lossy(&answer));

    // Beside others, or keeping them out, but not both.
    let joined = client.first_words(&format!("{path}/vnc?shared=true"));
    assert!(joined.starts_with(b"RFB 003.008\n"), "{joined:?}");
    let both = format!("{path}/vnc?shared=true&preserveSession=true");
    let (code, _, answer) = client.get_bytes(&both, "");
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        code == 400 && answer.contains("preserveSession and shared"),
        "{code} {answer}"
    );

    // The way in.
    let said = server.anyvirt(&["web", "--print"]);
    let link = format!("https://{}/console/login#otk=", server.address());
    assert!(said.out.starts_with(&link), "{} {}", said.out, said.err);
}

#[test]
fn who_follows_a_machine_before_it_starts_reads_its_first_words() {
    let image = guests::boot_sector().expect("the boot sector guest is made");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let server = Server::start(&["--emulation", "on"]);
    let manifest = guests::boot_sector_vm("sector", &registry.reference("boot-sector")).replace(
        "      domain:\n",
        "      nodeSelector: {late: \"yes\"}\n      domain:\n",
    );
    server.apply(&manifest);
    server.wait_until(
        "vm",
        "sector",
        "/status/printableStatus",
        "ErrorUnschedulable",
        PATIENCE,
    );
    let path = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachineinstances/sector/log?follow=true";
    let log = Client::of(&server).follow(path, BOOT_SECTOR_HELLO, || {
        server.kubectl(&["label", "nodes", "--all", "late=yes"]);
    });
    assert!(log.ends_with(BOOT_SECTOR_HELLO), "{log}");
}

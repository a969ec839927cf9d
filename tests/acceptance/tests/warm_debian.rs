//! Warm starts of a whole distribution, with nothing put into its image: systemd, the guest agent that brings the
//! renewal hook, sshd and cloud-init, which runs again with the machine's own data.

use acceptance::warm::{BOOT, ask};
use acceptance::{Console, PATIENCE, Server, wait_for};
use laboratory::guests;
use laboratory::registry::Registry;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const IDENTITY: [(&str, &str); 7] = [
    ("machine-id", "cat /etc/machine-id"),
    ("boot-id", "cat /proc/sys/kernel/random/boot_id"),
    ("mac", "cat /sys/class/net/e*/address"),
    (
        "host-key",
        "ssh-keyscan -t ed25519 127.0.0.1 2>/dev/null | cut -d' ' -f3",
    ),
    ("random", "head -c 24 /dev/urandom | base64"),
    ("hostname", "hostname"),
    ("instance", "sudo cat /var/lib/cloud/data/instance-id"),
];

fn manifest(example: &str, image: &str, name: &str) -> String {
    let changes = [
        ("localhost:5000/anyvirt/debian:12", image.to_owned()),
        ("  name: debian\n", format!("  name: {name}\n")),
        (
            "  template:\n    spec:\n",
            "  template:\n    metadata: {annotations: {anyvirt.io/warm-start: Require}}\n    spec:\n"
                .to_owned(),
        ),
        ("guest: 512Mi", "guest: 2Gi".to_owned()),
        ("password: anyvirt", format!("password: of-{name}")),
    ];
    changes.iter().fold(example.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the example has {from:?}");
        text.replacen(from, to, 1)
    })
}

/// Logs in with the password that only this machine's own data name.
fn shell(server: &Server, name: &str) -> Console {
    let mut console = Console::attach(server, name);
    // cloud-init sets the password in the background, a moment after the guest has answered.
    wait_for("a login with the machine's own password", BOOT, || {
        console.send("\n");
        console.expect("login: ", PATIENCE);
        console.send("debian\n");
        console.expect("Password: ", PATIENCE);
        console.send(&format!("of-{name}\n"));
        match console.expect_one_of(&["$ ", "Login incorrect"], PATIENCE) {
            (0, _) => Ok(()),
            (_, said) => Err(said),
        }
    });
    console
}

#[test]
fn debian_machines_of_two_gibibytes_go_on_from_one_template_with_data_of_their_own() {
    let image = guests::debian().expect("the Debian guest is made from Debian packages");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let server = Server::start(&["--emulation", "on"]);
    let example = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/debian.yaml"
    ))
    .expect("the example");
    let names = ["first", "second"];
    for name in names {
        server.apply(&manifest(&example, &registry.reference("debian"), name));
    }
    let mut seen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for name in names {
        server.wait_until("vmi", name, "/status/phase", "Running", BOOT);
        let told = wait_for("the condition WarmStart", PATIENCE, || {
            let vmi = server.get("vmi", name, "default").ok_or("no VMI")?;
            let conditions = vmi["status"]["conditions"].as_array();
            let found = conditions
                .into_iter()
                .flatten()
                .find(|it| it["type"] == "WarmStart");
            found.cloned().ok_or_else(|| vmi["status"].to_string())
        });
        assert_eq!(told["status"], "True", "{name}: {told}");
        let mut console = shell(&server, name);
        let outcome = ask(&mut console, "cloud-init status --wait");
        assert!(outcome.contains("status: done"), "{name}: {outcome}");
        for (what, command) in IDENTITY {
            let value = ask(&mut console, command);
            assert!(!value.is_empty(), "{name}: {what}");
            if what == "hostname" {
                assert_eq!(value, name);
            }
            assert!(
                seen.entry(what).or_default().insert(value.clone()),
                "{name} has {what} {value} as another has"
            );
        }
        // Its network is plugged in once it is somebody, and asks for an address then.
        wait_for("the machine's address", PATIENCE, || {
            let addresses = ask(&mut console, "ip -4 -brief address");
            let has = addresses.contains("10.0.2.2/24");
            has.then_some(()).ok_or(addresses)
        });
        println!("{}", server.anyvirt(&["timeline", name]).out);
    }
    let listed = server.kubectl(&["get", "wst", "-o", "json"]);
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let templates = listed["items"].as_array().expect("a list");
    assert_eq!(templates.len(), 1, "{listed}");
    assert_eq!(templates[0]["status"]["phase"], "Ready", "{listed}");
}

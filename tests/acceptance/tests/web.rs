//! The web console in a real browser: the article's walk, every page, the keyboard, against a real server with a real
//! guest. The steps are written in `web/tests/browser/`; here is what they need.

use acceptance::{PATIENCE, Server, run};
use laboratory::guests;
use laboratory::registry::Registry;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What drives the browser.
const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../web/tests/browser/run.mjs"
);

#[test]
fn the_articles_walk_is_walked_in_a_browser() {
    assert!(
        Path::new("/usr/bin/chromium").is_file(),
        "this test needs Debian's chromium: cargo xtask setup installs it"
    );
    let image = guests::debian().expect("the Debian guest is made from Debian packages");
    let registry = Registry::serve(&image.layout).expect("a registry on loopback");
    let server = Server::start(&["--emulation", "off"]);
    let example = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/debian.yaml"
    ))
    .expect("the example");
    let manifest = example.replace(
        "localhost:5000/anyvirt/debian:12",
        &registry.reference("debian"),
    );
    server.apply(&manifest);
    server.wait_until(
        "vm",
        "debian",
        "/status/printableStatus",
        "ErrorUnschedulable",
        PATIENCE,
    );
    let link = server.anyvirt(&["web", "--print"]);
    assert!(link.success, "{}", link.err);
    let token = |name: &str| {
        std::fs::read_to_string(server.data_directory().join(name)).expect("a token's file")
    };
    let said = run(
        Path::new("/usr/bin/env"),
        &["node", SCRIPT],
        &[
            ("ANYVIRT_CONSOLE_URL", link.out.trim()),
            ("ANYVIRT_TOKEN", &token("token")),
            ("ANYVIRT_VIEWER_TOKEN", &token("viewer-token")),
            ("ANYVIRT_MACHINE", "default/debian"),
            (
                "ANYVIRT_PICTURES",
                concat!(env!("CARGO_TARGET_TMPDIR"), "/console"),
            ),
        ],
    );
    println!("{}", said.out);
    assert!(
        said.success,
        "{}\n{}\nserver:\n{}",
        said.out,
        said.err,
        server.log()
    );
}

/// A machine that never starts: it needs no image.
const HALTED: &str = "
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata:
  name: halted
spec:
  runStrategy: Halted
  template:
    spec:
      domain:
        devices: {}
        memory:
          guest: 64Mi
";

/// The browser's driver, which does not outlive a test that fails.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        // One that has ended is only waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "acceptance tests drive programs")]
fn an_open_page_outlives_its_server() {
    let mut server = Server::start(&["--emulation", "on"]);
    server.apply(HALTED);
    let link = server.anyvirt(&["web", "--print"]);
    assert!(link.success, "{}", link.err);
    let driver = Command::new("node")
        .args([SCRIPT, "reconnect"])
        .env("ANYVIRT_CONSOLE_URL", link.out.trim())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    let mut driver = Driver(driver);
    let mut answers = driver.0.stdin.take().expect("piped");
    let lines = BufReader::new(driver.0.stdout.take().expect("piped")).lines();
    for line in lines {
        let line = line.expect("text");
        match line.as_str() {
            "ask: kill" => server.kill(),
            "ask: up" => server.up(),
            told => {
                println!("{told}");
                continue;
            }
        }
        answers.write_all(b"done\n").expect("the browser waits");
    }
    let ended = driver.0.wait().expect("node ends");
    assert!(ended.success(), "{ended}\nserver:\n{}", server.log());
}

//! `console`: the list of 1,000 machines in a real browser, beside a bare page that shows the same list. What is
//! measured, and how, is written in `web/tests/browser/bench.mjs`; here is the server that it looks at.

use acceptance::{PATIENCE, Server, run, wait_for};
use std::path::Path;

/// What the console is made for.
const MACHINES: usize = 1000;

/// Prints the figures, as a table or as JSON. Err: what of it did not work.
pub(crate) fn measure(is_json: bool) -> Result<(), String> {
    let server = Server::start(&["--emulation", "on"]);
    let client = acceptance::Client::of(&server);
    let example = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/debian.yaml"
    ))
    .map_err(|error| format!("the example: {error}"))?;
    let halted = example.replace("runStrategy: Always", "runStrategy: Halted");
    for index in 0..MACHINES {
        client.create_vm(&halted.replace("name: debian\n", &format!("name: vm-{index:04}\n")));
    }
    wait_for("all machines to be told as stopped", PATIENCE, || {
        let stopped = server
            .kubectl(&["get", "vm", "--no-headers"])
            .lines()
            .filter(|line| line.contains(" Stopped "))
            .count();
        if stopped == MACHINES {
            Ok(())
        } else {
            Err(format!("{stopped} of {MACHINES}"))
        }
    });
    let link = server.anyvirt(&["web", "--print"]);
    if !link.success {
        return Err(format!("no link into the console: {}", link.err));
    }
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../web/tests/browser/bench.mjs"
    );
    let said = run(
        Path::new("/usr/bin/env"),
        &["node", script],
        &[
            ("ANYVIRT_CONSOLE_URL", link.out.trim()),
            ("ANYVIRT_MACHINES", &MACHINES.to_string()),
            ("ANYVIRT_OUTPUT", if is_json { "json" } else { "table" }),
        ],
    );
    print!("{}", said.out);
    if said.success {
        Ok(())
    } else {
        Err(format!("{}\nserver:\n{}", said.err, server.log()))
    }
}

//! The node agent with a real API server, real controllers, real launchers and a real QEMU, whose
//! guest is a boot sector of 512 bytes under emulation.
//!
//! Without the usual harness: the agent starts this very program as `… launcher --directory DIR`.

#![expect(clippy::print_stdout, reason = "it is its own harness")]

// Shared with the launcher's own tests, which use all of it.
#[path = "../../../launcher/tests/it/boot_sector.rs"]
#[expect(dead_code, reason = "only some manners of the guest are needed here")]
mod boot_sector;
mod image;
mod lives;
mod world;

use std::path::Path;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    if let [_, role, _, directory] = arguments.as_slice()
        && role == "launcher"
    {
        runtime
            .block_on(launcher::run(Path::new(directory)))
            .expect("a launcher");
        return;
    }
    // What the ordinary harness is asked for: a list, or only tests of a name.
    if arguments.iter().any(|argument| argument == "--list") {
        println!("lives: test");
        return;
    }
    let filter = arguments
        .iter()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    if filter.is_some_and(|filter| !"lives".contains(filter.as_str())) {
        return;
    }
    runtime.block_on(lives::all());
    println!("test result: ok");
}

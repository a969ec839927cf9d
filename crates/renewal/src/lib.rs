//! How a guest that goes on from a template becomes somebody else.
//!
//! All guests that go on from one template would have one name, one set of keys, and would draw the same random
//! numbers. So a program in the guest waits on a port of its own, is told by the host who the guest is to be, renews
//! what must differ, and proves it. [`protocol`] is what the two say to each other; the launcher speaks the host's
//! side. Must never: open a socket, read a clock.

#[cfg(test)]
#[expect(dead_code, reason = "the program's beginning has no test")]
#[path = "../guest/mod.rs"]
mod guest;
mod host_key;
pub mod protocol;

pub use host_key::host_key;

/// What the guest's program is called.
pub const PROGRAM_NAME: &str = "anyvirt-renew";

/// The guest's program: a static ELF for Linux. None: there is none for guests of this `architecture` (in KubeVirt's
/// words, `amd64` or `arm64`), only for guests of the architecture that anyvirt itself was made for.
pub fn program(architecture: &str) -> Option<&'static [u8]> {
    let own = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    (architecture == own).then_some(include_bytes!(env!("ANYVIRT_RENEW")))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_guests_program_is_static_and_small() {
        let own = if cfg!(target_arch = "x86_64") {
            "amd64"
        } else {
            "arm64"
        };
        let program = super::program(own).expect("for this architecture");
        assert_eq!(&program[..4], b"\x7fELF");
        // A dynamic one names its loader.
        assert!(
            !program
                .windows(8)
                .any(|bytes| bytes == b"/ld-linux"[..8].as_ref())
        );
        assert!(program.len() < 2 << 20, "{} bytes", program.len());
        assert_eq!(super::program("s390x"), None);
    }
}

//! What `anyvirt up` tells the person who started it: what it found, how to reach it, what to do next.
#![expect(
    clippy::print_stdout,
    reason = "the one place of this crate that talks to a person"
)]

use crate::kubeconfig::CONTEXT;
use crate::up::Choice;
use qemu::probe::Verdict;
use std::path::Path;
use std::time::Duration;

/// The lines of a start, in order.
#[derive(Debug, Default)]
pub(crate) struct Report;

impl Report {
    /// Where everything is kept, and how much room there is.
    pub(crate) fn data_directory(&mut self, path: &Path) {
        let free = match host::facts::file_system_bytes(path) {
            Ok((_, free)) => format!(" ({} GiB free)", free >> 30),
            // Not worth failing for: the line only informs.
            Err(_) => String::new(),
        };
        println!(" \u{2713} Data directory  {}{free}", path.display());
    }

    /// Where the API is, and the kubeconfig for it.
    pub(crate) fn server(&mut self, url: &str, kubeconfig: &Path, current: bool) {
        let note = if current { "" } else { ", not the current one" };
        println!(
            " \u{2713} API server      {url}   kubeconfig {} (context {CONTEXT}{note})",
            kubeconfig.display()
        );
    }

    /// What the probe found, and what that means for VMs.
    pub(crate) fn acceleration(&mut self, verdict: &Verdict, choice: &Choice) {
        for line in acceleration(verdict.usable(), &verdict.evidence, choice) {
            println!("{line}");
        }
    }

    /// The way into the console.
    pub(crate) fn console(&mut self, link: &str) {
        println!(" \u{2713} Console         {link}");
        println!(
            "                   this link works once, for ten minutes; `anyvirt web` makes another"
        );
    }

    /// The last line before the server only serves; programs wait for its first word.
    pub(crate) fn ready(&mut self, elapsed: Duration, kubeconfig: &Path, current: bool) {
        let context = if current {
            String::new()
        } else {
            format!(" --context {CONTEXT}")
        };
        println!(
            "Ready in {:.1} s. Next: kubectl --kubeconfig {}{context} get vm,vmi,nodes",
            elapsed.as_secs_f64(),
            kubeconfig.display()
        );
    }
}

/// The lines about acceleration. Pure.
fn acceleration(usable: bool, evidence: &str, choice: &Choice) -> Vec<String> {
    let place = "ConfigMap openshift-cnv/kubevirt-config, debug.useEmulation";
    let permitted = match choice {
        Choice::Written(value) => *value == "true",
        Choice::Left(value) => value.as_deref().map(str::trim) == Some("true"),
    };
    let mut lines = Vec::new();
    let mark = if usable { '\u{2713}' } else { '!' };
    let found = if usable {
        "KVM works"
    } else {
        "KVM does not work"
    };
    lines.push(format!(" {mark} Acceleration    {found}: {evidence}"));
    let meaning = match (usable, permitted) {
        (true, _) => "VMs run with hardware virtualization",
        (false, true) => "VMs are emulated by QEMU's TCG; that is slower and no security boundary",
        (false, false) => {
            "VMs wait until hardware virtualization works, or until you run: anyvirt emulation on"
        }
    };
    lines.push(format!("                   {meaning}"));
    if let Choice::Written(value) = choice {
        lines.push(format!(
            "                   set to \"{value}\" just now: {place}"
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unusable_kvm_says_what_happens_and_what_was_written() {
        let lines = acceleration(false, "it lies", &Choice::Written("true")).join("\n");
        assert!(
            lines.contains("KVM does not work: it lies")
                && lines.contains("emulated")
                && lines.contains("set to \"true\""),
            "{lines}"
        );
    }

    #[test]
    fn without_emulation_the_cure_is_named() {
        let lines = acceleration(false, "it lies", &Choice::Left(None)).join("\n");
        assert!(lines.contains("anyvirt emulation on"), "{lines}");
        assert!(
            !acceleration(true, "fine", &Choice::Left(None))
                .join("\n")
                .contains("emulat")
        );
    }
}

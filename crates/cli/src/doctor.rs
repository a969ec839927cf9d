//! What is the matter with this machine: can it run virtual machines, how, and what is in the way?
//!
//! The binary looks, and fills in [`Facts`]; this module judges and tells.

use std::path::PathBuf;

use api::accelerator::{ClusterPolicy, NodeVerdict};
use serde::Serialize;

use crate::connect::Connection;
use crate::emulation::{Seen, policy_words};
use crate::failure::{Exit, Failure};
use crate::{Format, output};

/// What was found on this machine.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The processor's name, e.g. `AMD EPYC 7763`.
    pub processor: String,
    /// How many processors there are.
    pub processors: usize,
    /// The processor's flag for hardware virtualization, `vmx` or `svm`, if it shows one.
    pub virtualization_flag: Option<String>,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution, e.g. `Debian GNU/Linux 12 (bookworm)`.
    pub distribution: String,
    /// `/dev/kvm`.
    pub kvm: Device,
    /// What running small guests on it showed; `None` if it could not be tried.
    pub kvm_verdict: Option<NodeVerdict>,
    /// `/dev/vhost-net`.
    pub vhost_net: Device,
    /// `/dev/net/tun`.
    pub tun: Device,
    /// QEMU: where and which version; or why there is none.
    pub qemu: Result<Program, String>,
    /// passt, which gives guests their network; or why there is none.
    pub passt: Result<Program, String>,
    /// Where data is kept, and how much room is left there in bytes; `None` if it is not there yet.
    pub data_directory: PathBuf,
    /// Free bytes in the data directory's file system, if they could be read.
    pub free_bytes: Option<u64>,
}

/// How a device file stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Device {
    /// It can be opened.
    Usable,
    /// There is no such file.
    Missing,
    /// It is there and may not be opened; with its mode, owner and group.
    PermissionDenied(String),
    /// It cannot be opened for another reason.
    Broken(String),
}

/// A program that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Program {
    /// Its path.
    pub path: PathBuf,
    /// Its version.
    pub version: String,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    name: &'static str,
    result: Outcome,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// As it should be.
    Ok,
    /// Something is slower or smaller for it, and nothing stops.
    Warning,
    /// Virtual machines do not start for it.
    Failed,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    checks: Vec<Check>,
    verdict: String,
    #[serde(skip)]
    exit: ExitOf,
}

/// The exit code that goes with the verdict.
struct ExitOf(Exit);

pub(crate) async fn run(
    facts: &Facts,
    connection: Option<&Connection>,
    format: Format,
) -> Result<Exit, Failure> {
    // A server that cannot be reached is one of the findings.
    let cluster = match connection {
        None => Err("no kubeconfig was found".to_owned()),
        Some(connection) => Seen::look(connection)
            .await
            .map_err(|failure| failure.message),
    };
    let policy = cluster.map(|seen| seen.policy(None));
    let report = examine(facts, policy.as_ref().map_err(String::as_str));
    output::object(format, &report, || table(&report))?;
    Ok(report.exit.0)
}

/// Judges all facts. Pure.
fn examine(facts: &Facts, policy: Result<&ClusterPolicy, &str>) -> Report {
    let mut checks = vec![
        processor(facts),
        Check {
            name: "Memory",
            result: Outcome::Ok,
            detail: gibibytes(facts.memory_bytes),
            remedy: None,
        },
        Check {
            name: "System",
            result: Outcome::Ok,
            detail: format!("{}, Linux {}", facts.distribution, facts.kernel),
            remedy: None,
        },
        kvm(facts),
        device(
            "/dev/vhost-net",
            &facts.vhost_net,
            "vhost_net",
            "guests' networks are slower",
        ),
        device(
            "/dev/net/tun",
            &facts.tun,
            "tun",
            "not needed by the network of one machine",
        ),
        program("QEMU", &facts.qemu, "apt install qemu-system-x86"),
        program("passt", &facts.passt, "apt install passt"),
        data_directory(facts),
    ];
    checks.push(match policy {
        Ok(policy) => Check {
            name: "Policy",
            result: if policy.problems.is_empty() {
                Outcome::Ok
            } else {
                Outcome::Warning
            },
            detail: format!("{} ({})", policy_words(policy), policy.decided_by),
            remedy: policy
                .problems
                .first()
                .map(|problem| problem.message.clone()),
        },
        Err(why) => Check {
            name: "Server",
            result: Outcome::Warning,
            detail: why.to_owned(),
            remedy: Some("anyvirt up".to_owned()),
        },
    });
    let (verdict, exit) = judge(facts, policy.ok());
    Report {
        api_version: crate::status::API_VERSION,
        kind: "Doctor",
        checks,
        verdict,
        exit: ExitOf(exit),
    }
}

fn judge(facts: &Facts, policy: Option<&ClusterPolicy>) -> (String, Exit) {
    if let Err(why) = &facts.qemu {
        let text = format!("No virtual machine can start: there is no QEMU ({why}).");
        return (text, Exit::Acceleration);
    }
    if let Err(why) = &facts.passt {
        let text =
            format!("Virtual machines with a network cannot start: there is no passt ({why}).");
        return (text, Exit::Acceleration);
    }
    let usable = facts
        .kvm_verdict
        .as_ref()
        .is_some_and(|verdict| verdict.usable);
    let permitted = policy.map(|policy| policy.policy.permits_software());
    match (usable, permitted) {
        (true, _) => ("Hardware virtualization works: guests run at full speed.".to_owned(), Exit::Ok),
        (false, Some(true)) => (
            "Hardware virtualization does not work here; guests are emulated in software, several \
             times slower."
                .to_owned(),
            Exit::Ok,
        ),
        (false, Some(false)) => (
            "Hardware virtualization does not work here, and emulation is not permitted: virtual \
             machines will wait. Permit it: anyvirt emulation on"
                .to_owned(),
            Exit::Acceleration,
        ),
        (false, None) => (
            "Hardware virtualization does not work here; guests can be emulated in software, several \
             times slower. `anyvirt up` permits that by itself."
                .to_owned(),
            Exit::Ok,
        ),
    }
}

fn processor(facts: &Facts) -> Check {
    let flag = facts.virtualization_flag.as_deref();
    Check {
        name: "Processor",
        result: if flag.is_some() {
            Outcome::Ok
        } else {
            Outcome::Warning
        },
        detail: format!(
            "{} x {}, {}",
            facts.processors,
            facts.processor,
            flag.map_or(
                "shows no hardware virtualization".to_owned(),
                |flag| format!("has {flag}")
            )
        ),
        remedy: flag.is_none().then(|| {
            "switch it on in the firmware; on a virtual machine, ask for nested virtualization"
                .to_owned()
        }),
    }
}

fn kvm(facts: &Facts) -> Check {
    let (result, detail, remedy) = match (&facts.kvm, &facts.kvm_verdict) {
        (Device::Usable, Some(verdict)) if verdict.usable => (
            Outcome::Ok,
            format!("runs guests: {}", verdict.message),
            None,
        ),
        (Device::Usable, Some(verdict)) => (
            Outcome::Warning,
            format!(
                "can be opened, but does not run guests: {} ({})",
                verdict.message, verdict.class
            ),
            Some("guests are emulated instead: anyvirt emulation on".to_owned()),
        ),
        (Device::Usable, None) => (
            Outcome::Warning,
            "can be opened; no guest was tried".to_owned(),
            None,
        ),
        (Device::Missing, _) => (
            Outcome::Warning,
            "does not exist".to_owned(),
            Some(format!("sudo modprobe {}", kvm_module(facts))),
        ),
        (Device::PermissionDenied(rights), _) => (
            Outcome::Warning,
            format!("may not be opened: {rights}"),
            Some("sudo usermod -aG kvm $USER, then log in again".to_owned()),
        ),
        (Device::Broken(error), _) => (
            Outcome::Warning,
            format!("cannot be opened: {error}"),
            Some(format!("sudo modprobe {}", kvm_module(facts))),
        ),
    };
    Check {
        name: "/dev/kvm",
        result,
        detail,
        remedy,
    }
}

fn kvm_module(facts: &Facts) -> &'static str {
    match facts.virtualization_flag.as_deref() {
        Some("svm") => "kvm_amd",
        Some("vmx") => "kvm_intel",
        _ => "kvm",
    }
}

fn device(name: &'static str, device: &Device, module: &str, without: &str) -> Check {
    let (detail, remedy) = match device {
        Device::Usable => {
            return Check {
                name,
                result: Outcome::Ok,
                detail: "can be opened".to_owned(),
                remedy: None,
            };
        }
        Device::Missing => (
            "does not exist".to_owned(),
            format!("sudo modprobe {module}"),
        ),
        Device::PermissionDenied(rights) => (
            format!("may not be opened: {rights}"),
            "run as root, or change its rights".to_owned(),
        ),
        Device::Broken(error) => (
            format!("cannot be opened: {error}"),
            format!("sudo modprobe {module}"),
        ),
    };
    Check {
        name,
        result: Outcome::Warning,
        detail: format!("{detail}; {without}"),
        remedy: Some(remedy),
    }
}

fn program(name: &'static str, found: &Result<Program, String>, install: &str) -> Check {
    match found {
        Ok(program) => Check {
            name,
            result: Outcome::Ok,
            detail: format!("{}, {}", program.version, program.path.display()),
            remedy: None,
        },
        Err(why) => Check {
            name,
            result: Outcome::Failed,
            detail: why.clone(),
            remedy: Some(format!("sudo {install}")),
        },
    }
}

fn data_directory(facts: &Facts) -> Check {
    /// Below this an image and an overlay hardly fit.
    const SCARCE: u64 = 2 << 30;
    let path = facts.data_directory.display();
    match facts.free_bytes {
        Some(free) if free < SCARCE => Check {
            name: "Data",
            result: Outcome::Warning,
            detail: format!("{path}, only {} free", gibibytes(free)),
            remedy: Some(
                "make room, or choose another place: anyvirt up --data-dir DIR".to_owned(),
            ),
        },
        Some(free) => Check {
            name: "Data",
            result: Outcome::Ok,
            detail: format!("{path}, {} free", gibibytes(free)),
            remedy: None,
        },
        None => Check {
            name: "Data",
            result: Outcome::Ok,
            detail: format!("{path}, not made yet"),
            remedy: None,
        },
    }
}

fn gibibytes(bytes: u64) -> String {
    let tenths = bytes / ((1 << 30) / 10);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

fn table(report: &Report) -> String {
    let mut rows = vec![["CHECK", "RESULT", "DETAIL"].map(str::to_owned).to_vec()];
    for check in &report.checks {
        let result = match check.result {
            Outcome::Ok => "ok",
            Outcome::Warning => "warning",
            Outcome::Failed => "FAILED",
        };
        rows.push(vec![
            check.name.to_owned(),
            result.to_owned(),
            check.detail.clone(),
        ]);
        if let Some(remedy) = &check.remedy {
            rows.push(vec![String::new(), String::new(), format!("-> {remedy}")]);
        }
    }
    format!("{}\nVerdict: {}\n", output::columns(&rows), report.verdict)
}

#[cfg(test)]
mod tests {
    use api::accelerator::EmulationPolicy;
    use expect_test::expect;

    use super::*;

    fn facts() -> Facts {
        Facts {
            processor: "AMD EPYC 7763".to_owned(),
            processors: 2,
            virtualization_flag: Some("svm".to_owned()),
            memory_bytes: 8 << 30,
            kernel: "6.1.0".to_owned(),
            distribution: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            kvm: Device::Usable,
            kvm_verdict: Some(NodeVerdict {
                usable: true,
                class: "Usable".to_owned(),
                stage: String::new(),
                message: "a guest ran in 3 ms".to_owned(),
            }),
            vhost_net: Device::Usable,
            tun: Device::Usable,
            qemu: Ok(Program {
                path: "/usr/bin/qemu-system-x86_64".into(),
                version: "7.2.19".to_owned(),
            }),
            passt: Ok(Program {
                path: "/usr/bin/passt".into(),
                version: "0.0~git".to_owned(),
            }),
            data_directory: "/var/lib/anyvirt".into(),
            free_bytes: Some(40 << 30),
        }
    }

    fn policy(policy: EmulationPolicy) -> ClusterPolicy {
        ClusterPolicy {
            policy,
            decided_by: "default".to_owned(),
            problems: Vec::new(),
        }
    }

    #[test]
    fn a_healthy_machine_has_nothing_but_ok() {
        let report = examine(&facts(), Ok(&policy(EmulationPolicy::None)));
        assert_eq!(report.exit.0, Exit::Ok);
        expect![[r#"
            CHECK            RESULT   DETAIL
            Processor        ok       2 x AMD EPYC 7763, has svm
            Memory           ok       8.0 GiB
            System           ok       Debian GNU/Linux 12 (bookworm), Linux 6.1.0
            /dev/kvm         ok       runs guests: a guest ran in 3 ms
            /dev/vhost-net   ok       can be opened
            /dev/net/tun     ok       can be opened
            QEMU             ok       7.2.19, /usr/bin/qemu-system-x86_64
            passt            ok       0.0~git, /usr/bin/passt
            Data             ok       /var/lib/anyvirt, 40.0 GiB free
            Policy           ok       hardware virtualization only (default)

            Verdict: Hardware virtualization works: guests run at full speed.
        "#]]
        .assert_eq(&table(&report));
    }

    #[test]
    fn what_is_missing_is_told_with_its_remedy() {
        let facts = Facts {
            kvm: Device::Missing,
            kvm_verdict: None,
            vhost_net: Device::Missing,
            passt: Err("not found on the PATH".to_owned()),
            ..facts()
        };
        let report = examine(&facts, Err("cannot reach https://127.0.0.1:6443"));
        assert_eq!(report.exit.0, Exit::Acceleration);
        expect![[r#"
            CHECK            RESULT    DETAIL
            Processor        ok        2 x AMD EPYC 7763, has svm
            Memory           ok        8.0 GiB
            System           ok        Debian GNU/Linux 12 (bookworm), Linux 6.1.0
            /dev/kvm         warning   does not exist
                                       -> sudo modprobe kvm_amd
            /dev/vhost-net   warning   does not exist; guests' networks are slower
                                       -> sudo modprobe vhost_net
            /dev/net/tun     ok        can be opened
            QEMU             ok        7.2.19, /usr/bin/qemu-system-x86_64
            passt            FAILED    not found on the PATH
                                       -> sudo apt install passt
            Data             ok        /var/lib/anyvirt, 40.0 GiB free
            Server           warning   cannot reach https://127.0.0.1:6443
                                       -> anyvirt up

            Verdict: Virtual machines with a network cannot start: there is no passt (not found on the PATH).
        "#]]
        .assert_eq(&table(&report));
    }

    #[test]
    fn the_verdict_follows_from_kvm_and_policy() {
        let broken = Facts {
            kvm_verdict: None,
            ..facts()
        };
        for (facts, permits, exit) in [
            (&facts(), Some(EmulationPolicy::None), Exit::Ok),
            (&broken, Some(EmulationPolicy::None), Exit::Acceleration),
            (&broken, Some(EmulationPolicy::Software), Exit::Ok),
            (&broken, None, Exit::Ok),
        ] {
            let policy = permits.map(policy);
            assert_eq!(judge(facts, policy.as_ref()).1, exit);
        }
    }
}

//! The checks. Pure.

use api::accelerator::{
    Class, ClusterPolicy, NodeFacts, device_remedies, permit_emulation, remedies,
};
use api::explain::Remedy;

use super::{Check, Emulator, Facts, Firmware, Helper, Outcome, Program, Report};
use crate::cluster::{Cluster, NODES};
use crate::emulation::policy_words;

/// Below this an image and an overlay hardly fit.
const SCARCE_DISK_BYTES: u64 = 2 << 30;
/// Below this a small Linux guest under QEMU hardly fits.
const SCARCE_MEMORY_BYTES: u64 = 512 << 20;

/// Judges everything. `cluster` is what a running server says, or why none could be asked.
pub(super) fn examine(facts: &Facts, cluster: Result<&Cluster, &str>) -> Report {
    let seen = cluster.map(|cluster| (cluster, cluster.policy()));
    // What nobody can tell decides nothing.
    let known = seen.as_ref().ok().filter(|(it, _)| !it.hides_policy());
    let policy = known.map(|(_, policy)| policy);
    let hidden = seen.is_ok() && policy.is_none();
    let mut checks = vec![
        system(facts),
        surroundings(facts),
        processor(facts),
        memory(facts),
        disk(facts),
        user(facts),
        control_groups(facts),
        modules(facts),
        nested(facts),
        kvm(facts, policy),
    ];
    checks.extend(facts.helpers.iter().map(|it| helper(facts, it)));
    checks.extend(facts.emulators.iter().map(|it| emulator(facts, it)));
    checks.extend(facts.firmware.iter().map(firmware));
    checks.push(passt(&facts.passt));
    checks.push(slowdown(facts));
    match &seen {
        Ok((cluster, policy)) => checks.extend(of_server(cluster, policy)),
        Err(why) => checks.push(Check {
            id: "server".to_owned(),
            name: "Server".to_owned(),
            result: Outcome::Warning,
            evidence: format!("not asked: {why}"),
            cures: vec![
                Remedy::new(
                    "Start the server",
                    "its policy and speed are shown here",
                    "none",
                    true,
                )
                .command("anyvirt up"),
            ],
        }),
    }
    let (verdict, ready) = judge(facts, policy, hidden);
    Report {
        api_version: crate::status::API_VERSION,
        kind: "Doctor",
        version: facts.version.clone(),
        checks,
        verdict,
        ready,
    }
}

/// `hidden`: there is a server, whose policy may not be read.
fn judge(facts: &Facts, policy: Option<&ClusterPolicy>, hidden: bool) -> (String, bool) {
    if let Some(Err(why)) = facts.emulators.first().map(|it| &it.program) {
        return (
            format!("No virtual machine can start: there is no QEMU ({why})."),
            false,
        );
    }
    if let Err(why) = &facts.passt {
        return (
            format!("Virtual machines with a network cannot start: there is no passt ({why})."),
            false,
        );
    }
    let permitted = policy.map(|policy| policy.policy.permits_software());
    let verdict = match (facts.kvm.class == Class::Usable, permitted) {
        (true, _) => "Hardware virtualization works: guests run at full speed.",
        (false, Some(true)) => {
            "Hardware virtualization does not work here; guests are emulated in software, several times \
             slower."
        }
        (false, Some(false)) => {
            "Hardware virtualization does not work here, and emulation is not permitted: virtual machines \
             will wait, unless they permit it themselves. Permit it for all: anyvirt emulation on"
        }
        (false, None) if hidden => {
            "Hardware virtualization does not work here; whether guests may be emulated in software instead may \
             not be read."
        }
        (false, None) => {
            "Hardware virtualization does not work here; guests can be emulated in software, several times \
             slower. `anyvirt up` permits that by itself."
        }
    };
    let ready = facts.kvm.class == Class::Usable || permitted != Some(false);
    (verdict.to_owned(), ready)
}

fn check(id: &str, name: &str, result: Outcome, evidence: String) -> Check {
    Check {
        id: id.to_owned(),
        name: name.to_owned(),
        result,
        evidence,
        cures: Vec::new(),
    }
}

fn fine(id: &str, name: &str, evidence: String) -> Check {
    check(id, name, Outcome::Ok, evidence)
}

impl Check {
    fn cured_by(mut self, cures: impl IntoIterator<Item = Remedy>) -> Self {
        self.cures.extend(cures);
        self
    }
}

/// Warning unless `good`.
fn warn_unless(good: bool) -> Outcome {
    if good { Outcome::Ok } else { Outcome::Warning }
}

fn system(facts: &Facts) -> Check {
    let evidence = format!(
        "{}, Linux {}, {}",
        facts.distribution, facts.kernel, facts.architecture
    );
    fine("system", "System", evidence)
}

fn surroundings(facts: &Facts) -> Check {
    let hypervisor = facts
        .surroundings
        .hypervisor
        .as_ref()
        .map_or(String::new(), |name| {
            format!("; the hypervisor calls itself {name}")
        });
    fine(
        "surroundings",
        "Surroundings",
        format!("{}{hypervisor}", facts.surroundings),
    )
}

fn processor(facts: &Facts) -> Check {
    let flag = facts.virtualization_flag.as_deref();
    let shows = flag.map_or("shows no hardware virtualization".to_owned(), |flag| {
        format!("has {flag}")
    });
    check(
        "processor",
        "Processor",
        // KVM may work without it, and not work with it: the verdict below decides.
        warn_unless(flag.is_some() || facts.kvm.class == Class::Usable),
        format!("{} x {}, {shows}", facts.processors, facts.processor),
    )
}

fn memory(facts: &Facts) -> Check {
    let all = gibibytes(facts.memory_bytes);
    match facts.available_bytes {
        Some(free) if free < SCARCE_MEMORY_BYTES => check(
            "memory",
            "Memory",
            Outcome::Warning,
            format!("{all}, only {} available", gibibytes(free)),
        )
        .cured_by([Remedy::new(
            "Free memory",
            "guests can start",
            "stop something, or a machine with more memory",
            true,
        )
        .command("free -m")]),
        Some(free) => fine(
            "memory",
            "Memory",
            format!("{all}, {} available", gibibytes(free)),
        ),
        None => fine("memory", "Memory", all),
    }
}

fn disk(facts: &Facts) -> Check {
    let path = without_home(&facts.data_directory);
    match &facts.free_bytes {
        Ok(free) if *free < SCARCE_DISK_BYTES => check(
            "disk",
            "Disk",
            Outcome::Warning,
            format!("{path}, only {} free", gibibytes(*free)),
        )
        .cured_by([Remedy::new(
            "Keep the data elsewhere",
            "images and disks fit",
            "the server starts anew; move the old directory, or begin an empty one",
            true,
        )
        .command("anyvirt up --data-dir DIR")]),
        Ok(free) => fine("disk", "Disk", format!("{path}, {} free", gibibytes(*free))),
        Err(error) => check(
            "disk",
            "Disk",
            Outcome::Warning,
            format!("{path}, its free space cannot be read: {error}"),
        ),
    }
}

/// A path fit for a bug report: a home directory has its user's name in it.
fn without_home(path: &std::path::Path) -> String {
    let rest = path.strip_prefix("/home").ok();
    let rest = rest.and_then(|rest| {
        let mut parts = rest.components();
        parts.next()?;
        Some(parts.as_path().to_owned())
    });
    match rest {
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    }
}

fn user(facts: &Facts) -> Check {
    let user = &facts.user;
    let groups = if user.groups.is_empty() {
        "in none of the groups kvm and root".to_owned()
    } else {
        format!("in group {}", user.groups.join(" and "))
    };
    let who = if user.id == 0 {
        "root".to_owned()
    } else {
        format!("user {}", user.id)
    };
    if user.can_change_user {
        let evidence = format!("{who}, {groups}; each guest gets a user of its own");
        return fine("user", "User", evidence);
    }
    check(
        "user",
        "User",
        Outcome::Warning,
        format!("{who}, {groups}; guests share this user, so only their jails keep them apart"),
    )
    .cured_by([Remedy::new(
        "Run the server as root",
        "each guest runs as a user of its own",
        "root for the server; guests never have it",
        true,
    )
    .command("sudo anyvirt up")])
}

fn control_groups(facts: &Facts) -> Check {
    let groups = &facts.control_groups;
    let (id, name) = ("control-groups", "Control groups");
    if groups.version.is_empty() {
        return check(
            id,
            name,
            Outcome::Warning,
            "none: guests are not limited".to_owned(),
        );
    }
    let controllers = if groups.controllers.is_empty() {
        "no controller of cpu, memory and pids".to_owned()
    } else {
        groups.controllers.join(", ")
    };
    let write = if groups.writable {
        "groups can be made"
    } else {
        "groups cannot be made: guests are limited by QEMU and their jail only"
    };
    let evidence = format!("{}: {controllers}; {write}", groups.version);
    check(id, name, warn_unless(groups.writable), evidence)
}

fn modules(facts: &Facts) -> Check {
    let of = |wanted: bool| {
        let names: Vec<&str> = facts
            .modules
            .iter()
            .filter(|(_, loaded)| **loaded == wanted)
            .map(|(name, _)| name.as_str())
            .collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    // What is built into the kernel is no module, so that this decides nothing.
    fine(
        "modules",
        "Kernel modules",
        format!("loaded: {}; not loaded: {}", of(true), of(false)),
    )
}

fn nested(facts: &Facts) -> Check {
    let evidence = match &facts.nested {
        Some((module, value)) => {
            let can = if matches!(value.as_str(), "Y" | "1") {
                "can"
            } else {
                "cannot"
            };
            format!("guests {can} run guests of their own ({module} nested={value})")
        }
        None => "not known: neither kvm_intel nor kvm_amd is loaded".to_owned(),
    };
    fine("nested", "Nested guests", evidence)
}

fn kvm(facts: &Facts, policy: Option<&ClusterPolicy>) -> Check {
    let verdict = &facts.kvm;
    let stage = verdict
        .stage
        .as_ref()
        .map_or(String::new(), |stage| format!(" at {stage}"));
    let tried = if verdict.runs == 0 {
        "no guest was run".to_owned()
    } else {
        let plural = if verdict.runs == 1 { "" } else { "s" };
        let milliseconds = verdict.took.as_secs_f64() * 1000.0;
        format!("{} guest{plural} run in {milliseconds:.1} ms", verdict.runs)
    };
    let evidence = format!(
        "{}{stage}: {} ({tried}; {})",
        verdict.class, verdict.evidence, facts.kvm_file
    );
    if verdict.class == Class::Usable {
        return fine("kvm", "/dev/kvm", evidence);
    }
    let permitted = policy.map(|policy| policy.policy.permits_software());
    let result = if permitted == Some(false) {
        Outcome::Failed
    } else {
        Outcome::Warning
    };
    let mut cures = remedies(verdict.class, &facts.surroundings);
    if permitted != Some(true) {
        cures.push(permit_emulation());
    }
    check("kvm", "/dev/kvm", result, evidence).cured_by(cures)
}

fn helper(facts: &Facts, helper: &Helper) -> Check {
    let path = helper.device.path();
    let id = path.rsplit('/').next().unwrap_or(path);
    let result = warn_unless(helper.class == Class::Usable);
    let evidence = format!("{}: {}", helper.class, helper.evidence);
    check(id, path, result, evidence).cured_by(device_remedies(
        helper.device,
        helper.class,
        &facts.surroundings,
    ))
}

fn emulator(facts: &Facts, emulator: &Emulator) -> Check {
    let id = format!("qemu-{}", emulator.architecture);
    let name = format!("QEMU for {}", emulator.architecture);
    let own = emulator.architecture == facts.architecture;
    match &emulator.program {
        Ok(program) => {
            let accelerators = if emulator.accelerators.is_empty() {
                "its accelerators are not known".to_owned()
            } else {
                format!("accelerators {}", emulator.accelerators.join(", "))
            };
            let evidence = format!(
                "{}, {}; {accelerators}",
                program.version,
                program.path.display()
            );
            fine(&id, &name, evidence)
        }
        Err(why) => {
            let (result, effect) = if own {
                (Outcome::Failed, "virtual machines can start")
            } else {
                (
                    Outcome::Warning,
                    "guests of that architecture can be emulated",
                )
            };
            check(&id, &name, result, why.clone()).cured_by([install(&emulator.package, effect)])
        }
    }
}

fn firmware(firmware: &Firmware) -> Check {
    let id = format!(
        "firmware-{}",
        firmware.name.to_lowercase().replace(' ', "-")
    );
    match &firmware.path {
        Some(path) => fine(&id, &firmware.name, path.display().to_string()),
        None => check(
            &id,
            &firmware.name,
            Outcome::Warning,
            format!("not installed: {}", firmware.without),
        )
        .cured_by([install(&firmware.package, "such guests can start")]),
    }
}

fn passt(found: &Result<Program, String>) -> Check {
    match found {
        Ok(program) => fine(
            "passt",
            "passt",
            format!("{}, {}", program.version, program.path.display()),
        ),
        Err(why) => check("passt", "passt", Outcome::Failed, why.clone())
            .cured_by([install("passt", "guests get a network")]),
    }
}

fn install(package: &str, effect: &str) -> Remedy {
    Remedy::new(
        &format!("Install {package}"),
        effect,
        "root; some disk",
        true,
    )
    .command(format!("sudo apt-get install {package}"))
}

/// What only a running server knows.
fn of_server(cluster: &Cluster, policy: &ClusterPolicy) -> Vec<Check> {
    let mut policy_check = check(
        "policy",
        "Policy",
        warn_unless(policy.problems.is_empty() && cluster.hidden.is_empty()),
        format!(
            "{} (by {})",
            policy_words(&policy.policy.to_string()),
            policy.decided_by
        ),
    );
    for problem in cluster.unseen() {
        policy_check.evidence.push_str("; ");
        policy_check.evidence.push_str(&problem.message);
    }
    for problem in &policy.problems {
        let cure = Remedy::new(
            &problem.message,
            "the policy is as it is written",
            "none",
            true,
        );
        policy_check.cures.push(cure);
    }
    // Names of nodes are names of machines: a report for others counts instead.
    let facts: Vec<NodeFacts> = cluster.nodes.iter().map(NodeFacts::of).collect();
    let usable = facts.iter().filter(|it| it.verdict.usable).count();
    let measured = facts.iter().filter(|it| it.slowdown.is_some()).count();
    let nodes = check(
        "nodes",
        "Nodes",
        warn_unless(!cluster.hidden.contains(NODES)),
        format!(
            "{} in all, hardware virtualization works on {usable}, emulation's cost is known on {measured}; caps: {} \
             of namespaces, {} of nodes",
            facts.len(),
            cluster.caps().len() - facts.iter().filter(|it| it.cap.is_some()).count(),
            facts.iter().filter(|it| it.cap.is_some()).count(),
        ),
    );
    vec![policy_check, nodes]
}

fn slowdown(facts: &Facts) -> Check {
    let (id, name) = ("slowdown", "Emulation's cost");
    match &facts.slowdown {
        Ok(found) => fine(
            id,
            name,
            format!(
                "emulated guests are about {:.1} times slower than {} here ({:.1} to {:.1}, measured now)",
                found.ratio, found.than, found.low, found.high
            ),
        ),
        Err(why) => check(
            id,
            name,
            Outcome::Warning,
            format!("could not be measured: {why}"),
        )
        .cured_by([Remedy::new(
            "Measure again",
            "the cost of emulation is known, and waits are scaled by it",
            "half a second of one processor",
            true,
        )
        .command("anyvirt doctor")]),
    }
}

fn gibibytes(bytes: u64) -> String {
    if bytes < 1 << 30 {
        return format!("{} MiB", bytes >> 20);
    }
    let tenths = bytes / ((1 << 30) / 10);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_users_name_stays_out_of_a_report() {
        for (path, shown) in [
            ("/home/alice/.local/share/anyvirt", "~/.local/share/anyvirt"),
            ("/var/lib/anyvirt", "/var/lib/anyvirt"),
            ("/home/alice", "~/"),
        ] {
            assert_eq!(without_home(Path::new(path)), shown);
        }
    }
}

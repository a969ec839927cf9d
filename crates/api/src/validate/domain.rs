//! Rules for processors, memory, firmware and the spec's plain fields.

use std::collections::BTreeMap;

use super::cause::{Causes, Path};
use super::text;
use crate::configuration::{ClusterConfiguration, GUEST_ARCHITECTURES};
use crate::quantity::{Amount, Quantity};
use crate::resources;
use crate::virtual_machine_instance::{
    Cpu, Firmware, KernelBoot, ResourceRequirements, VirtualMachineInstanceSpec,
};

/// The smallest memory that makes sense, as upstream bounds it: 1M.
const LEAST_MEMORY: u64 = 1_000_000;
/// The longest kernel command line Linux takes on the architectures served.
const KERNEL_ARGUMENT_BYTES: usize = 2048;
/// The longest text SMBIOS fields are given.
const SMBIOS_BYTES: usize = 256;

pub(super) fn check(
    path: &Path,
    spec: &VirtualMachineInstanceSpec,
    cluster: &ClusterConfiguration,
    causes: &mut Causes,
) {
    placement(path, spec, causes);
    strategies(path, spec, causes);
    let domain = path.field("domain");
    memory(&domain, spec, causes);
    if let Some(resources) = &spec.domain.resources {
        processor_amounts(&domain, resources, causes);
    }
    if let Some(cpu) = &spec.domain.cpu {
        processors(&domain.field("cpu"), spec, cpu, causes);
    }
    machine_type(
        &domain.field("machine").field("type"),
        spec,
        cluster,
        causes,
    );
    if let Some(found) = &spec.domain.firmware {
        let path = domain.field("firmware");
        firmware(&path, found, causes);
        bootloader(&path.field("bootloader"), spec, causes);
    }
    if let Some(clock) = &spec.domain.clock {
        let path = domain.field("clock");
        if clock.utc.is_some() && clock.timezone.is_some() {
            causes.invalid(
                &path,
                format!("{path} must have only one of utc and timezone"),
            );
        }
        let named = |zone: &str| {
            let mut bytes = zone.bytes();
            !zone.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b))
        };
        if let Some(zone) = clock.timezone.as_deref().filter(|zone| !named(zone)) {
            let path = path.field("timezone");
            causes.invalid(&path, format!("{path} '{zone}' is no name of a time zone"));
        }
    }
}

fn placement(path: &Path, spec: &VirtualMachineInstanceSpec, causes: &mut Causes) {
    match spec.architecture.as_deref() {
        None | Some("") => {}
        Some(name) if GUEST_ARCHITECTURES.contains(&name) => {}
        Some(name @ "s390x") => causes.unserved(
            &path.field("architecture"),
            &format!("architecture {name}"),
            &format!("use {}, or remove it", GUEST_ARCHITECTURES.join(" or ")),
        ),
        Some(name) => causes.not_supported(
            &path.field("architecture"),
            format!("unsupported architecture: {name}"),
        ),
    }
    if let Some(name) = spec.hostname.as_deref().filter(|name| !name.is_empty())
        && let Some(why) = text::not_a_label(name)
    {
        let path = path.field("hostname");
        let message = format!("{path} does not conform to the kubernetes DNS_LABEL rules : {why}");
        causes.invalid(&path, message);
    }
    if let Some(name) = spec.subdomain.as_deref().filter(|name| !name.is_empty())
        && let Some(why) = text::not_a_subdomain(name)
    {
        let path = path.field("subdomain");
        let message =
            format!("{path} does not conform to the kubernetes DNS_SUBDOMAIN rules : {why}");
        causes.invalid(&path, message);
    }
    let selector = path.field("nodeSelector");
    for (key, value) in &spec.node_selector {
        if !text::is_label_key(key) || !text::is_label_value(value) {
            causes.invalid(
                &selector,
                format!("{selector}: \"{key}: {value}\" is no valid label"),
            );
        }
    }
    for (index, toleration) in spec.tolerations.iter().enumerate() {
        let path = path.field("tolerations").index(index);
        let operator = toleration.operator.as_deref().unwrap_or("Equal");
        if !matches!(operator, "" | "Equal" | "Exists") {
            let path = path.field("operator");
            causes.not_supported(
                &path,
                format!("{path}: \"{operator}\" must be Equal or Exists"),
            );
        }
        let effect = toleration.effect.as_deref().unwrap_or_default();
        if !matches!(effect, "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            let path = path.field("effect");
            let message =
                format!("{path}: \"{effect}\" must be NoSchedule, PreferNoSchedule or NoExecute");
            causes.not_supported(&path, message);
        }
    }
}

fn strategies(path: &Path, spec: &VirtualMachineInstanceSpec, causes: &mut Causes) {
    match spec.eviction_strategy.as_deref() {
        None | Some("None" | "LiveMigrateIfPossible") => {}
        Some(name @ ("LiveMigrate" | "External")) => causes.unserved(
            &path.field("evictionStrategy"),
            &format!("evictionStrategy {name}"),
            "use None or LiveMigrateIfPossible: guests are not migrated",
        ),
        Some(name) => {
            let path = path.field("evictionStrategy");
            causes.invalid(
                &path,
                format!("{path} is set with an unrecognized option: {name}"),
            );
        }
    }
    if let Some(name) = spec
        .start_strategy
        .as_deref()
        .filter(|name| *name != "Paused")
    {
        let path = path.field("startStrategy");
        causes.invalid(
            &path,
            format!("{path} is set with an unrecognized option: {name}"),
        );
    }
    if let Some(seconds) = spec
        .termination_grace_period_seconds
        .filter(|seconds| *seconds < 0)
    {
        let path = path.field("terminationGracePeriodSeconds");
        causes.invalid(
            &path,
            format!("{path} '{seconds}': must be greater than or equal to 0."),
        );
    }
}

fn memory(domain: &Path, spec: &VirtualMachineInstanceSpec, causes: &mut Causes) {
    let guest_path = domain.field("memory").field("guest");
    let resources = domain.field("resources");
    if resources::guest_memory(spec).is_none() {
        let message = format!(
            "no memory requested, at least one of '{guest_path}', '{domain}.memory.hugepages.pageSize' \
             or '{resources}.requests.memory' must be set"
        );
        causes.required(&guest_path, message);
        return;
    }
    let written = spec.domain.resources.as_ref();
    let amount = |kind: &str, found: Option<&BTreeMap<String, Quantity>>, causes: &mut Causes| {
        let quantity = found?.get("memory")?;
        let path = resources.field(kind).field("memory");
        let amount = text::quantity(&path, quantity, causes)?;
        memory_is_enough(&path, quantity, amount, causes);
        Some((path, quantity.clone(), amount))
    };
    let request = amount("requests", written.map(|found| &found.requests), causes);
    let limit = amount("limits", written.map(|found| &found.limits), causes);
    if let (Some((path, asked, request)), Some((limit_path, most, limit))) = (&request, &limit)
        && request > limit
    {
        let message = format!("{path} '{asked}' is greater than {limit_path} '{most}'");
        causes.invalid(path, message);
    }
    let guest = spec
        .domain
        .memory
        .as_ref()
        .and_then(|memory| memory.guest.as_ref());
    // A guest's memory that was taken from the request or limit was looked at there.
    let copied = [&request, &limit]
        .into_iter()
        .flatten()
        .any(|(_, quantity, _)| Some(quantity) == guest);
    let unreadable_twin = written.is_some_and(|found| {
        let twins = [found.requests.get("memory"), found.limits.get("memory")];
        twins
            .into_iter()
            .flatten()
            .any(|twin| Some(twin) == guest && twin.parse().is_err())
    });
    if let Some(quantity) = guest
        && !copied
        && !unreadable_twin
        && let Some(amount) = text::quantity(&guest_path, quantity, causes)
    {
        memory_is_enough(&guest_path, quantity, amount, causes);
        if let Some((limit_path, most, limit)) = &limit
            && amount > *limit
        {
            let message = format!(
                "{guest_path} '{quantity}' must be equal to or less than the memory limit \
                 {limit_path} '{most}'"
            );
            causes.invalid(&guest_path, message);
        }
    }
}

fn memory_is_enough(path: &Path, quantity: &Quantity, amount: Amount, causes: &mut Causes) {
    if amount.is_negative() {
        causes.invalid(
            path,
            format!("{path} '{quantity}': must be greater than or equal to 0."),
        );
    } else if amount < Amount::of_units(LEAST_MEMORY) {
        causes.invalid(
            path,
            format!("{path} '{quantity}': must be greater than or equal to 1M."),
        );
    }
}

fn processor_amounts(domain: &Path, found: &ResourceRequirements, causes: &mut Causes) {
    let path = domain.field("resources");
    let amount = |kind: &str, amounts: &BTreeMap<String, Quantity>, causes: &mut Causes| {
        for name in amounts
            .keys()
            .filter(|name| !matches!(name.as_str(), "cpu" | "memory"))
        {
            let path = path.field(kind).field(name);
            causes.unserved(
                &path,
                &path.to_string(),
                "remove it: only cpu and memory can be asked for",
            );
        }
        let quantity = amounts.get("cpu")?;
        let path = path.field(kind).field("cpu");
        let amount = text::quantity(&path, quantity, causes)?;
        if amount.is_negative() {
            let message = format!("{path} '{quantity}': must be greater than or equal to 0.");
            causes.invalid(&path, message);
        }
        Some((path, quantity.clone(), amount))
    };
    let request = amount("requests", &found.requests, causes);
    let limit = amount("limits", &found.limits, causes);
    if let (Some((path, asked, request)), Some((limit_path, most, limit))) = (request, limit)
        && request > limit
    {
        causes.invalid(
            &path,
            format!("{path} '{asked}' is greater than {limit_path} '{most}'"),
        );
    }
}

fn processors(path: &Path, spec: &VirtualMachineInstanceSpec, cpu: &Cpu, causes: &mut Causes) {
    let count = resources::processors(spec);
    if count > resources::MOST_PROCESSORS {
        let message = format!(
            "{path}: {count} virtual processors are more than the {} that a guest can have",
            resources::MOST_PROCESSORS
        );
        causes.invalid(path, message);
    }
    if let Some(name) = cpu.model.as_deref().filter(|name| !name.is_empty())
        && !text::is_hardware_name(name)
    {
        let path = path.field("model");
        causes.invalid(
            &path,
            format!("{path}: \"{name}\" is no name of a processor model"),
        );
    }
    if is_arm(spec) && cpu.threads.is_some_and(|threads| threads > 1) {
        let path = path.field("threads");
        causes.not_supported(
            &path,
            format!("{path} must not be greater than 1 on arm64; use cores or sockets"),
        );
    }
    for (index, feature) in cpu.features.iter().enumerate() {
        let path = path.field("features").index(index);
        if !text::is_hardware_name(&feature.name) {
            let path = path.field("name");
            let message = format!(
                "{path}: \"{}\" is no name of a processor feature",
                feature.name
            );
            causes.invalid(&path, message);
        }
        let policy = feature.policy.as_deref().unwrap_or_default();
        if !matches!(
            policy,
            "" | "force" | "require" | "optional" | "disable" | "forbid"
        ) {
            let message = format!(
                "CPU feature {} uses policy {policy} that is not supported.",
                feature.name
            );
            causes.invalid(&path.field("policy"), message);
        }
    }
}

fn machine_type(
    path: &Path,
    spec: &VirtualMachineInstanceSpec,
    cluster: &ClusterConfiguration,
    causes: &mut Causes,
) {
    let name = spec
        .domain
        .machine
        .as_ref()
        .and_then(|machine| machine.type_.as_deref());
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return;
    };
    let architecture = spec.architecture.as_deref().filter(|name| !name.is_empty());
    let architecture = architecture.unwrap_or(&cluster.architecture);
    if !GUEST_ARCHITECTURES.contains(&architecture) {
        // Refused for its architecture already.
        return;
    }
    let allowed = cluster.machines(architecture).allowed;
    let matches = allowed
        .iter()
        .any(|pattern| text::matches_pattern(pattern, name));
    if !matches || !text::is_hardware_name(name) {
        let message = format!(
            "{path} is not supported: {name} (allowed values: [{}])",
            allowed.join(" ")
        );
        causes.not_supported(path, message);
    }
}

fn firmware(path: &Path, firmware: &Firmware, causes: &mut Causes) {
    if let Some(uuid) = firmware.uuid.as_deref().filter(|uuid| !text::is_uuid(uuid)) {
        let path = path.field("uuid");
        let message = format!("{path}: \"{uuid}\" is no UUID of 8-4-4-4-12 hexadecimal digits");
        causes.invalid(&path, message);
    }
    if let Some(serial) = &firmware.serial
        && (serial.len() > SMBIOS_BYTES || !text::is_printable(serial))
    {
        let path = path.field("serial");
        causes.invalid(
            &path,
            format!("{path} must be printable and less than or equal to {SMBIOS_BYTES} in length"),
        );
    }
    if let Some(boot) = &firmware.kernel_boot {
        kernel_boot(&path.field("kernelBoot"), boot, causes);
    }
}

/// Whether the guest is an ARM machine.
pub(super) fn is_arm(spec: &VirtualMachineInstanceSpec) -> bool {
    spec.architecture.as_deref() == Some("arm64")
}

/// Each architecture has the firmware of its machines.
fn bootloader(path: &Path, spec: &VirtualMachineInstanceSpec, causes: &mut Causes) {
    let firmware = spec.domain.firmware.as_ref();
    let Some(found) = firmware.and_then(|firmware| firmware.bootloader.as_ref()) else {
        return;
    };
    let (bios, efi) = (path.field("bios"), path.field("efi"));
    if found.bios.is_some() && found.efi.is_some() {
        causes.invalid(path, format!("{path} must have only one of bios and efi"));
    }
    if is_arm(spec) && found.bios.is_some() {
        let message = format!("{bios} is not possible on arm64; use efi: {{secureBoot: false}}");
        causes.not_supported(&bios, message);
    }
    let Some(settings) = &found.efi else { return };
    if !is_arm(spec) {
        causes.unserved(&efi, &efi.to_string(), "use bios: {}");
    } else if settings.secure_boot == Some(true) {
        let path = efi.field("secureBoot");
        causes.unserved(&path, &path.to_string(), "set it to false");
    }
}

fn kernel_boot(path: &Path, boot: &KernelBoot, causes: &mut Causes) {
    let arguments = boot.kernel_args.as_deref().unwrap_or_default();
    if arguments.len() > KERNEL_ARGUMENT_BYTES || !text::is_printable(arguments) {
        let path = path.field("kernelArgs");
        let message = format!(
            "{path} must be printable and less than or equal to {KERNEL_ARGUMENT_BYTES} in length"
        );
        causes.invalid(&path, message);
    }
    let Some(container) = &boot.container else {
        if !arguments.is_empty() {
            causes.invalid(
                path,
                "kernel arguments cannot be provided without an external kernel",
            );
        }
        return;
    };
    let path = path.field("container");
    if container.image.trim().is_empty() {
        causes.invalid(&path, format!("{path} must be defined with an image"));
    }
    let is_set = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    if !is_set(&container.kernel_path) && !is_set(&container.initrd_path) {
        let message = format!(
            "{path} must be defined with at least one of the following: kernelPath, initrdPath"
        );
        causes.invalid(&path, message);
    } else if !is_set(&container.kernel_path) {
        let path = path.field("kernelPath");
        causes.unserved(
            &path,
            "initrdPath without kernelPath",
            "give the kernel's path as well",
        );
    }
    pull_policy(&path, container.image_pull_policy.as_deref(), causes);
    for (name, found) in [
        ("kernelPath", &container.kernel_path),
        ("initrdPath", &container.initrd_path),
    ] {
        if let Some(found) = found.as_deref().filter(|found| !found.is_empty()) {
            image_path(&path.field(name), found, causes);
        }
    }
}

/// A pull policy of Kubernetes, or none.
pub(super) fn pull_policy(path: &Path, policy: Option<&str>, causes: &mut Causes) {
    if let Some(other) = policy
        && !matches!(other, "" | "Always" | "IfNotPresent" | "Never")
    {
        let path = path.field("imagePullPolicy");
        let message = format!("{path}: \"{other}\" must be Always, IfNotPresent or Never");
        causes.not_supported(&path, message);
    }
}

/// A path inside an image: absolute, and nothing that leads out of it.
pub(super) fn image_path(path: &Path, found: &str, causes: &mut Causes) {
    let steps = |found: &str| found.split('/').any(|step| step == ".." || step == ".");
    if !found.starts_with('/') || found.ends_with('/') || steps(found) || !text::is_printable(found)
    {
        let message =
            format!("{path} must be an absolute path to a file without relative elements");
        causes.invalid(path, message);
    }
}

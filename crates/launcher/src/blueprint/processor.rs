//! Processors: what the VMI asks for, as the accelerator gives it.

use api::virtual_machine_instance::DomainSpec;
use qemu::architecture::Architecture;
use qemu::machine::{Processor, ProcessorFeature, Word};
use qemu::profile::{self, Wish};
use qemu::version::Version;

use super::{BlueprintError, wrong};

/// The machine's processors.
pub(super) struct Processors {
    /// As QEMU is told of them.
    pub(super) processor: Processor,
    /// Features without which the guest must not start: name and field.
    pub(super) required: Vec<(String, String)>,
    /// What the accelerator changes, in sentences.
    pub(super) adjustments: Vec<String>,
}

/// The processors that the domain asks for, as a QEMU of that version runs them.
pub(super) fn processors(
    domain: &DomainSpec,
    guest: Architecture,
    emulated: bool,
    version: Option<Version>,
) -> Result<Processors, BlueprintError> {
    let cpu = domain.cpu.clone().unwrap_or_default();
    let model = cpu.model.as_deref().unwrap_or_default();
    if !model.is_empty() {
        Word::parse(model).map_err(|error| wrong("spec.domain.cpu.model", error.to_string()))?;
    }
    let mut features = Vec::new();
    let mut required = Vec::new();
    for (index, feature) in cpu.features.iter().enumerate() {
        let field = format!("spec.domain.cpu.features[{index}]");
        let (on, must) = match feature.policy.as_deref() {
            None | Some("" | "require") => (true, true),
            Some("force" | "optional") => (true, false),
            Some("disable" | "forbid") => (false, false),
            Some(other) => {
                return Err(wrong(
                    format!("{field}.policy"),
                    format!("`{other}` is none of force, require, optional, disable, forbid"),
                ));
            }
        };
        let name = Word::parse(&feature.name)
            .map_err(|error| wrong(format!("{field}.name"), error.to_string()))?;
        // ARM's QEMU refuses a feature that it does not have by itself.
        if must && guest == Architecture::Amd64 {
            required.push((feature.name.clone(), field));
        }
        features.push(ProcessorFeature { name, on });
    }
    let chosen = profile::processors(Wish {
        guest,
        emulated,
        version,
        model,
        features: &features,
    });
    let count = |count: Option<u32>| count.unwrap_or(1).max(1);
    Ok(Processors {
        processor: Processor {
            model: chosen.model,
            features: chosen.features,
            sockets: count(cpu.sockets),
            cores: count(cpu.cores),
            threads: count(cpu.threads),
        },
        required,
        adjustments: chosen.adjustments,
    })
}

/// What QEMU says it cannot give, beside what must be there: the adjustments to tell, or why the
/// guest must not start.
///
/// # Errors
/// A [`BlueprintError`] for the first required feature that is missing.
pub(crate) fn check_missing(
    missing: &[String],
    required: &[(String, String)],
    emulated: bool,
) -> Result<Option<String>, BlueprintError> {
    let by = if emulated {
        "emulation"
    } else {
        "this host's KVM"
    };
    if let Some((name, field)) = required.iter().find(|(name, _)| missing.contains(name)) {
        return Err(wrong(
            field.clone(),
            format!(
                "the processor feature {name} is not given by {by}: remove it, or give it the policy optional"
            ),
        ));
    }
    if missing.is_empty() {
        return Ok(None);
    }
    Ok(Some(format!(
        "features of the processor model that {by} does not give: {}",
        missing.join(", ")
    )))
}

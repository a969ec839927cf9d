//! What an accelerator makes of a machine's processors. Pure.
//!
//! The machine type, the number of processors, memory and devices stay what the guest was
//! promised, whatever runs it. What is chosen here is what the guest cannot tell, or what no
//! emulation gives: the features of the processor, QEMU's threads, the interrupt controller.
//!
//! Measured (guest time by host time of one binary; lower is better): with QEMU 10.0 fused
//! multiply-add 3,981 as TCG's `fma`, 127 as AVX without it; memory copies 33 with `erms`, 7
//! without (QEMU 7.2: a third more processor time with `erms`); an arm64 guest with the architected
//! pointer authentication boots 4 times slower than without. A library that finds such a feature
//! uses it, and Linux its part: page tables of five levels (`la57`), and keys of memory (`pku`, `pks`),
//! which it loads at each change of task, take 3 to 5 % of the processor time of disk traffic. `smap`
//! costs as much, and stays: it protects the guest's kernel.

use crate::architecture::Architecture;
use crate::machine::{InterruptController, ProcessorFeature, ProcessorModel, Threads, Word};
use crate::version::Version;

/// What is known of a guest's processors, and where they will run.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The guest's architecture.
    pub guest: Architecture,
    /// By emulation, not on the host's own processors.
    pub emulated: bool,
    /// The QEMU that will run it, if that is known.
    pub version: Option<Version>,
    /// The model asked for: one of [`HOST_MODELS`], empty, or a name of QEMU's.
    pub model: &'a str,
    /// The features asked for.
    pub features: &'a [ProcessorFeature],
}

/// Processors as QEMU will be told of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chosen {
    /// The model.
    pub model: ProcessorModel,
    /// Features, those asked for last.
    pub features: Vec<ProcessorFeature>,
    /// What differs from the wish: sentences for people, in the words of the VMI.
    pub adjustments: Vec<String>,
}

/// Models that mean "as the host's".
pub const HOST_MODELS: [&str; 2] = ["host-model", "host-passthrough"];

/// Features of the architecture that TCG has, but slower than what programs do without them. With QEMU 7
/// `fma` is none of them: sines and exponentials take 8 % less with it, and loops of it 5 % more.
fn slow_features(guest: Architecture, version: Option<Version>) -> &'static [&'static str] {
    match guest {
        Architecture::Amd64 if version.is_some_and(|version| version.major <= 7) => {
            &["erms", "fsrm", "la57", "pku", "pks"]
        }
        Architecture::Amd64 => &["fma", "erms", "fsrm", "la57", "pku", "pks"],
        Architecture::Arm64 => &["pauth"],
    }
}

/// The processors for a wish. Under emulation a model that is the host's, or one that QEMU 7.2
/// does not have, becomes all that TCG does well; a named one stays, without its slow features. A
/// feature that was asked for by name is never taken away.
#[must_use]
pub fn processors(wish: Wish<'_>) -> Chosen {
    let Wish {
        guest,
        emulated,
        version,
        model,
        features: wished,
    } = wish;
    let mut adjustments = Vec::new();
    let mut host = model.is_empty() || HOST_MODELS.contains(&model);
    if !emulated && !host && guest == Architecture::Arm64 {
        adjustments.push(format!(
            "cpu.model {model}: KVM on ARM gives a guest the host's processor and no other"
        ));
        host = true;
    }
    let named = (!host).then(|| Word::parse(model).ok()).flatten();
    let chosen = match (emulated, named) {
        (false, None) => ProcessorModel::Host,
        (true, None) => ProcessorModel::Maximum,
        (true, Some(name)) if !is_emulated_model(guest, name.as_str()) => {
            adjustments.push(format!(
                "cpu.model {model} is not among QEMU's emulated models for {guest}; the guest sees all features that emulation \
                 does well instead"
            ));
            ProcessorModel::Maximum
        }
        (_, Some(name)) => ProcessorModel::Named(name),
    };
    if emulated && host && !model.is_empty() {
        adjustments.push(format!(
            "cpu.model {model} is emulated: the guest sees all features that emulation does well, not those of the host"
        ));
    }
    let mut features = Vec::new();
    if emulated {
        features.extend(hidden((guest, version), &chosen, wished));
        if !features.is_empty() && !host {
            let names: Vec<_> = features
                .iter()
                .map(|it: &ProcessorFeature| it.name.as_str())
                .collect();
            adjustments.push(format!(
                "features that are slower emulated than gone without are hidden: {}; to have one all the same, list it under \
                 cpu.features",
                names.join(", ")
            ));
        }
    }
    features.extend_from_slice(wished);
    Chosen {
        model: chosen,
        features,
        adjustments,
    }
}

/// The slow features that nobody asked for. ARM's models have fixed features: only `max` can be
/// told to leave one out.
fn hidden(
    (guest, version): (Architecture, Option<Version>),
    model: &ProcessorModel,
    wished: &[ProcessorFeature],
) -> Vec<ProcessorFeature> {
    if guest == Architecture::Arm64 && *model != ProcessorModel::Maximum {
        return Vec::new();
    }
    let asked = |name: &str| wished.iter().any(|feature| feature.name.as_str() == name);
    slow_features(guest, version)
        .iter()
        .filter(|name| !asked(name))
        .filter_map(|name| {
            Some(ProcessorFeature {
                name: Word::parse(name).ok()?,
                on: false,
            })
        })
        .collect()
}

/// How TCG uses the host's processors: a thread for each of the guest's where there are several,
/// and one thread for all where the host's memory is less ordered than the guest's, which would
/// break programs (x86 guests on ARM). `host` is `None` where it is another architecture.
#[must_use]
pub fn threads(guest: Architecture, host: Option<Architecture>, processors: u32) -> Threads {
    let ordered = guest == Architecture::Arm64 || host == Some(Architecture::Amd64);
    if processors > 1 && ordered {
        Threads::Multiple
    } else {
        Threads::Single
    }
}

/// The interrupt controller of ARM's machine: the host's own under KVM, which has no other; version
/// 3 emulated, whose predecessor ends at eight processors.
#[must_use]
pub fn interrupt_controller(emulated: bool) -> InterruptController {
    if emulated {
        InterruptController::Version3
    } else {
        InterruptController::Host
    }
}

/// Whether QEMU 7.2, the oldest that is served, emulates a model of that name. Newer ones have
/// these too.
fn is_emulated_model(guest: Architecture, name: &str) -> bool {
    let models: &[&str] = match guest {
        Architecture::Amd64 => &AMD64_MODELS,
        Architecture::Arm64 => &ARM64_MODELS,
    };
    // Versions of a model follow its name: `Nehalem-v2`.
    let versioned = name.rsplit_once("-v").and_then(|(family, version)| {
        let digits = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
        digits.then_some(family)
    });
    let known = |name: &str| models.contains(&name);
    known(name) || (guest == Architecture::Amd64 && versioned.is_some_and(known))
}

/// Of `qemu-system-x86_64 -cpu help`, those with 64 bits, without `host`, `base` and `max`.
const AMD64_MODELS: [&str; 56] = [
    "Broadwell",
    "Broadwell-IBRS",
    "Broadwell-noTSX",
    "Broadwell-noTSX-IBRS",
    "Cascadelake-Server",
    "Cascadelake-Server-noTSX",
    "Conroe",
    "Cooperlake",
    "Denverton",
    "Dhyana",
    "EPYC",
    "EPYC-IBPB",
    "EPYC-Milan",
    "EPYC-Rome",
    "Haswell",
    "Haswell-IBRS",
    "Haswell-noTSX",
    "Haswell-noTSX-IBRS",
    "Icelake-Server",
    "Icelake-Server-noTSX",
    "IvyBridge",
    "IvyBridge-IBRS",
    "KnightsMill",
    "Nehalem",
    "Nehalem-IBRS",
    "Opteron_G1",
    "Opteron_G2",
    "Opteron_G3",
    "Opteron_G4",
    "Opteron_G5",
    "Penryn",
    "SandyBridge",
    "SandyBridge-IBRS",
    "Skylake-Client",
    "Skylake-Client-IBRS",
    "Skylake-Client-noTSX-IBRS",
    "Skylake-Server",
    "Skylake-Server-IBRS",
    "Skylake-Server-noTSX-IBRS",
    "Snowridge",
    "Westmere",
    "Westmere-IBRS",
    "core2duo",
    "kvm64",
    "phenom",
    "qemu64",
    // 32-bit ones, for whoever has such a guest.
    "486",
    "athlon",
    "coreduo",
    "kvm32",
    "n270",
    "pentium",
    "pentium2",
    "pentium3",
    "qemu32",
    "max",
];

/// Of `qemu-system-aarch64 -cpu help`, those with 64 bits.
const ARM64_MODELS: [&str; 8] = [
    "a64fx",
    "cortex-a35",
    "cortex-a53",
    "cortex-a57",
    "cortex-a72",
    "cortex-a76",
    "max",
    "neoverse-n1",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(guest: Architecture, emulated: bool, model: &str, wished: &[(&str, bool)]) -> Chosen {
        let features: Vec<_> = wished
            .iter()
            .map(|(name, on)| ProcessorFeature {
                name: Word::parse(name).expect("a word"),
                on: *on,
            })
            .collect();
        processors(Wish {
            guest,
            emulated,
            version: None,
            model,
            features: &features,
        })
    }

    #[test]
    fn fused_multiply_add_is_hidden_where_emulating_it_is_slow_or_may_be() {
        for (version, hidden) in [
            (None, true),
            (Version::of_numbers("7.2.22"), false),
            (Version::of_numbers("8.0.0"), true),
            (Version::of_numbers("10.0.2"), true),
        ] {
            let (guest, emulated, model, features) = (Architecture::Amd64, true, "", &[]);
            let found = processors(Wish {
                guest,
                emulated,
                version,
                model,
                features,
            });
            assert_eq!(shown(&found).contains("-fma"), hidden, "{version:?}");
            assert!(shown(&found).contains("-erms"), "{version:?}");
        }
    }

    fn shown(chosen: &Chosen) -> String {
        let mut text = match &chosen.model {
            ProcessorModel::Host => "host".to_owned(),
            ProcessorModel::Maximum => "max".to_owned(),
            ProcessorModel::Named(name) => name.as_str().to_owned(),
        };
        for feature in &chosen.features {
            text.push(if feature.on { '+' } else { '-' });
            text.push_str(feature.name.as_str());
        }
        text
    }

    /// Architecture, whether emulated, the model asked for, the features asked for or forbidden; the
    /// model that results, and how many adjustments are told.
    type Row = (
        Architecture,
        bool,
        &'static str,
        &'static [(&'static str, bool)],
        &'static str,
        usize,
    );

    #[test]
    fn each_accelerator_gets_the_processors_it_runs_well() {
        use Architecture::{Amd64, Arm64};
        let table: [Row; 18] = [
            (Amd64, false, "", &[], "host", 0),
            (Amd64, false, "host-model", &[], "host", 0),
            (
                Amd64,
                false,
                "host-passthrough",
                &[("fma", false)],
                "host-fma",
                0,
            ),
            (Amd64, false, "Haswell", &[("aes", true)], "Haswell+aes", 0),
            (Amd64, false, "NotYetKnown", &[], "NotYetKnown", 0),
            (Arm64, false, "host-passthrough", &[], "host", 0),
            (Arm64, false, "neoverse-n1", &[], "host", 1),
            (Amd64, true, "", &[], "max-fma-erms-fsrm-la57-pku-pks", 0),
            (
                Amd64,
                true,
                "host-model",
                &[],
                "max-fma-erms-fsrm-la57-pku-pks",
                1,
            ),
            (
                Amd64,
                true,
                "host-passthrough",
                &[("fma", true)],
                "max-erms-fsrm-la57-pku-pks+fma",
                1,
            ),
            (
                Amd64,
                true,
                "Haswell",
                &[],
                "Haswell-fma-erms-fsrm-la57-pku-pks",
                1,
            ),
            (
                Amd64,
                true,
                "Nehalem-v2",
                &[("aes", true)],
                "Nehalem-v2-fma-erms-fsrm-la57-pku-pks+aes",
                1,
            ),
            (
                Amd64,
                true,
                "SapphireRapids",
                &[],
                "max-fma-erms-fsrm-la57-pku-pks",
                2,
            ),
            (
                Amd64,
                true,
                "neoverse-n1",
                &[],
                "max-fma-erms-fsrm-la57-pku-pks",
                2,
            ),
            (Arm64, true, "host-passthrough", &[], "max-pauth", 1),
            (Arm64, true, "", &[("pauth", true)], "max+pauth", 0),
            (Arm64, true, "neoverse-n1", &[], "neoverse-n1", 0),
            (Arm64, true, "Haswell", &[], "max-pauth", 2),
        ];
        for (guest, emulated, model, wished, expected, adjustments) in table {
            let found = chosen(guest, emulated, model, wished);
            assert_eq!(shown(&found), expected, "{guest} {emulated} {model}");
            assert_eq!(
                found.adjustments.len(),
                adjustments,
                "{:?}",
                found.adjustments
            );
        }
    }

    #[test]
    fn versions_belong_to_their_model() {
        for (name, known) in [
            ("Nehalem", true),
            ("Nehalem-v1", true),
            ("Nehalem-v", false),
            ("Nehalem-vx", false),
            ("-v1", false),
        ] {
            assert_eq!(
                is_emulated_model(Architecture::Amd64, name),
                known,
                "{name}"
            );
        }
        assert!(!is_emulated_model(Architecture::Arm64, "cortex-a72-v1"));
    }

    #[test]
    fn threads_are_several_only_where_memory_is_ordered_enough() {
        use Architecture::{Amd64, Arm64};
        let table = [
            (Amd64, Some(Amd64), 1, Threads::Single),
            (Amd64, Some(Amd64), 2, Threads::Multiple),
            (Arm64, Some(Amd64), 4, Threads::Multiple),
            (Arm64, Some(Arm64), 4, Threads::Multiple),
            (Arm64, None, 2, Threads::Multiple),
            (Amd64, Some(Arm64), 4, Threads::Single),
            (Amd64, None, 4, Threads::Single),
        ];
        for (guest, host, processors, expected) in table {
            assert_eq!(
                threads(guest, host, processors),
                expected,
                "{guest} {host:?}"
            );
        }
    }
}

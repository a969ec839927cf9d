//! What an installed QEMU can give a guest: processor models, features, machine types. Learned from
//! QEMU itself, by a conversation with one that has no machine.
//!
//! Pure: [`Conversation::questions`] are the bytes for QEMU's standard input, [`Conversation::understand`]
//! reads what it wrote to its standard output. The conversation ends QEMU by itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::machine::MachineType;
use crate::qmp::{Command, CommandId, Incoming, Session};
use crate::version::Version;

/// Kubernetes allows so many bytes in the part of a label's name behind the slash.
const LONGEST_NAME: usize = 63;

/// The accelerator that is asked about.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Accelerator {
    /// Hardware virtualization.
    Kvm,
    /// Emulation.
    Tcg,
}

impl Accelerator {
    fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// The model that has everything a guest can have there.
    fn best_model(self) -> &'static str {
        match self {
            Self::Kvm => "host",
            Self::Tcg => "max",
        }
    }
}

/// What guests can have on one accelerator.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Abilities {
    /// Processor models that lack nothing there, without their versions (`Nehalem`, not `Nehalem-v1`).
    pub models: BTreeSet<String>,
    /// Processor features.
    pub features: BTreeSet<String>,
    /// Machine types that are served.
    pub machine_types: BTreeSet<String>,
    /// By model: how many features it has, for those that were asked about.
    pub sizes: BTreeMap<String, usize>,
}

/// What QEMU told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// QEMU's version.
    pub version: Version,
    /// What guests can have.
    pub abilities: Abilities,
}

/// QEMU did not tell what was asked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("QEMU's answers are not understood: {0}")]
pub struct NotUnderstood(String);

/// The arguments of a QEMU that has no machine and runs nothing, and talks on its standard streams.
#[must_use]
pub fn arguments(accelerator: Accelerator) -> Vec<&'static str> {
    vec![
        "-accel",
        accelerator.name(),
        "-machine",
        "none",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-S",
        "-qmp",
        "stdio",
    ]
}

/// A conversation with such a QEMU.
#[derive(Debug)]
pub struct Conversation {
    session: Session,
    asked: BTreeMap<CommandId, Question>,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Question {
    Models,
    Features,
    Machines,
    Size(String),
}

impl Conversation {
    /// Asks what guests can have on `accelerator`, and how large the models of `compared` are (at
    /// most 40: so many names there are, and QEMU's queue is no place for more).
    #[must_use]
    pub fn new<'a>(accelerator: Accelerator, compared: impl IntoIterator<Item = &'a str>) -> Self {
        let mut conversation = Self {
            session: Session::new(),
            asked: BTreeMap::new(),
            bytes: Vec::new(),
        };
        conversation.ask(&Command::Capabilities, None);
        conversation.ask(&Command::QueryProcessorModels, Some(Question::Models));
        // x86 tells features alone, ARM only everything; who refuses one of them answers the other.
        for full in [false, true] {
            let model = accelerator.best_model().to_owned();
            let expand = Command::ExpandProcessorModel { model, full };
            conversation.ask(&expand, Some(Question::Features));
        }
        conversation.ask(&Command::QueryMachines, Some(Question::Machines));
        for model in compared.into_iter().take(40) {
            let model = model.to_owned();
            let expand = Command::ExpandProcessorModel {
                model: model.clone(),
                full: false,
            };
            conversation.ask(&expand, Some(Question::Size(model)));
        }
        conversation.ask(&Command::Quit, None);
        conversation
    }

    fn ask(&mut self, command: &Command, question: Option<Question>) {
        // Refused only beyond the bound on commands without an answer, which is above ours.
        if let Ok((id, bytes)) = self.session.send(command) {
            self.bytes.extend(bytes);
            self.asked.extend(question.map(|question| (id, question)));
        }
    }

    /// The bytes for QEMU's standard input; nothing follows them.
    #[must_use]
    pub fn questions(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads everything that QEMU wrote.
    ///
    /// # Errors
    /// [`NotUnderstood`] if it greeted as no QEMU does, or did not tell its models.
    pub fn understand(mut self, output: &[u8]) -> Result<Told, NotUnderstood> {
        let incoming = self
            .session
            .receive(output)
            .map_err(|error| NotUnderstood(error.to_string()))?;
        let mut version = None;
        let mut abilities = Abilities::default();
        for message in incoming {
            match message {
                Incoming::Greeting(greeted) => version = Some(greeted),
                Incoming::Answer {
                    id,
                    result: Ok(answer),
                } => match self.asked.get(&id) {
                    Some(Question::Models) => abilities.models = models(&answer),
                    // The second answer has the first one's among much else.
                    Some(Question::Features) if abilities.features.is_empty() => {
                        abilities.features = features(&answer);
                    }
                    Some(Question::Machines) => abilities.machine_types = machine_types(&answer),
                    Some(Question::Size(model)) => {
                        abilities
                            .sizes
                            .insert(model.clone(), features(&answer).len());
                    }
                    Some(Question::Features) | None => {}
                },
                Incoming::Answer { result: Err(_), .. }
                | Incoming::Event(_)
                | Incoming::Garbage(_) => {}
            }
        }
        let version = version.ok_or_else(|| NotUnderstood("no greeting".to_owned()))?;
        if abilities.models.is_empty() {
            return Err(NotUnderstood(format!(
                "QEMU {version} told no processor models"
            )));
        }
        Ok(Told { version, abilities })
    }
}

fn fits_a_label(name: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    bytes.len() <= LONGEST_NAME
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn models(answer: &Value) -> BTreeSet<String> {
    let usable = |model: &&Value| {
        let lacks = model.get("unavailable-features").and_then(Value::as_array);
        // Without the list (ARM) nothing is known to be missing.
        lacks.is_none_or(Vec::is_empty)
            && model.get("deprecated").and_then(Value::as_bool) != Some(true)
    };
    answer
        .as_array()
        .into_iter()
        .flatten()
        .filter(usable)
        .filter_map(|model| model.get("name")?.as_str())
        // What has no fixed content is no model, and versions are the models again.
        .filter(|name| !matches!(*name, "max" | "host" | "base") && !is_version(name))
        .filter(|name| fits_a_label(name))
        .map(str::to_owned)
        .collect()
}

/// `Nehalem-v1`, but not `Opteron_G1` or `kvm64`.
fn is_version(name: &str) -> bool {
    name.rsplit_once("-v").is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn features(answer: &Value) -> BTreeSet<String> {
    answer
        .pointer("/model/props")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, value)| **value == Value::Bool(true))
        // What KVM offers to its guests is no feature of a processor.
        .filter(|(name, _)| !name.starts_with("kvm") && fits_a_label(name))
        .map(|(name, _)| name.clone())
        .collect()
}

fn machine_types(answer: &Value) -> BTreeSet<String> {
    let names = |machine: &Value| {
        let text = |key: &str| Some(machine.get(key)?.as_str()?.to_owned());
        [text("name"), text("alias")]
    };
    answer
        .as_array()
        .into_iter()
        .flatten()
        .filter(|machine| machine.get("deprecated").and_then(Value::as_bool) != Some(true))
        .flat_map(names)
        .flatten()
        .filter(|name| MachineType::parse(name).is_ok() && fits_a_label(name))
        .collect()
}

/// Who makes the processors that a model is named after, by Linux' names for them. QEMU does not
/// tell: under KVM each model says it is the host's.
#[must_use]
pub fn vendor_of(model: &str) -> &'static str {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| model.starts_with(prefix));
    if begins(&["EPYC", "Opteron", "phenom", "athlon"]) {
        "AuthenticAMD"
    } else if begins(&["Dhyana"]) {
        "HygonGenuine"
    } else if begins(&["YongFeng"]) {
        "  Shanghai  "
    } else {
        "GenuineIntel"
    }
}

/// The model that is nearest to the host's processor: of those of its `vendor` that lack nothing
/// here, the one with most features; of equals the last by name.
#[must_use]
pub fn nearest_model<'a>(abilities: &'a Abilities, vendor: &str) -> Option<&'a str> {
    abilities
        .sizes
        .iter()
        .filter(|(model, _)| vendor_of(model) == vendor && abilities.models.contains(*model))
        .max_by_key(|(_, size)| **size)
        .map(|(model, _)| model.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cut down from what QEMU 7.2.22 says under TCG.
    const OUTPUT: &str = concat!(
        r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}"#,
        "\r\n",
        r#"{"return": {}, "id": 0}"#,
        "\r\n",
        r#"{"return": [{"name": "max", "unavailable-features": []}, {"name": "host", "unavailable-features": ["kvm"]}, {"name": "Nehalem", "alias-of": "Nehalem-v1", "unavailable-features": []}, {"name": "Nehalem-v1", "unavailable-features": []}, {"name": "Haswell", "unavailable-features": ["pcid"]}, {"name": "kvm64", "unavailable-features": []}, {"name": "Icelake-Client", "unavailable-features": [], "deprecated": true}], "id": 1}"#,
        "\r\n",
        r#"{"return": {"model": {"name": "base", "props": {"sse4.1": true, "aes": true, "pcid": false, "kvm-pv-eoi": true, "vendor": "AuthenticAMD", "family": 15}}}, "id": 2}"#,
        "\r\n",
        r#"{"return": {"model": {"name": "max", "props": {"hotpluggable": true}}}, "id": 3}"#,
        "\r\n",
        r#"{"return": [{"name": "pc-q35-7.2", "alias": "q35", "deprecated": false}, {"name": "microvm"}, {"name": "pc-i440fx-1.4", "deprecated": true}, {"name": "none"}], "id": 4}"#,
        "\r\n",
        r#"{"return": {"model": {"name": "base", "props": {"sse4.1": true}}}, "id": 5}"#,
        "\r\n",
        r#"{"id": 6, "error": {"class": "GenericError", "desc": "unknown"}}"#,
        "\r\n",
    );

    fn names(set: &BTreeSet<String>) -> Vec<&str> {
        set.iter().map(String::as_str).collect()
    }

    #[test]
    fn models_features_and_machine_types_are_those_that_a_guest_can_have() {
        let conversation = Conversation::new(Accelerator::Tcg, ["Nehalem", "Nonsense"]);
        let questions = String::from_utf8(conversation.questions().to_vec()).expect("text");
        assert_eq!(questions.lines().count(), 8);
        assert!(questions.ends_with("\"quit\",\"id\":7}\n"), "{questions}");
        let told = conversation
            .understand(OUTPUT.as_bytes())
            .expect("understood");
        assert_eq!(told.version.to_string(), "7.2.22");
        let abilities = told.abilities;
        assert_eq!(names(&abilities.models), ["Nehalem", "kvm64"]);
        assert_eq!(names(&abilities.features), ["aes", "sse4.1"]);
        assert_eq!(names(&abilities.machine_types), ["pc-q35-7.2", "q35"]);
        assert_eq!(abilities.sizes, BTreeMap::from([("Nehalem".to_owned(), 1)]));
    }

    #[test]
    fn a_qemu_that_told_nothing_is_not_understood() {
        for output in ["", "Could not access KVM kernel module\n", "{\"QMP\": 1}\n"] {
            Conversation::new(Accelerator::Kvm, [])
                .understand(output.as_bytes())
                .expect_err(output);
        }
    }

    #[test]
    fn the_nearest_model_is_the_largest_usable_one_of_the_same_maker() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let abilities = Abilities {
            models: set(&["EPYC", "Nehalem", "Opteron_G3", "Westmere"]),
            sizes: [
                ("EPYC-Rome", 90),
                ("EPYC", 80),
                ("Opteron_G3", 40),
                ("Westmere", 50),
                ("Nehalem", 45),
            ]
            .map(|(name, size)| (name.to_owned(), size))
            .into(),
            ..Abilities::default()
        };
        for (vendor, expected) in [
            ("AuthenticAMD", Some("EPYC")),
            ("GenuineIntel", Some("Westmere")),
            ("HygonGenuine", None),
        ] {
            assert_eq!(nearest_model(&abilities, vendor), expected, "{vendor}");
        }
    }

    #[test]
    fn versions_are_told_from_names_that_end_alike() {
        for (name, expected) in [
            ("EPYC-Rome-v2", true),
            ("kvm64", false),
            ("Opteron_G1", false),
            ("x-v", false),
            ("a-v2x", false),
        ] {
            assert_eq!(is_version(name), expected, "{name}");
        }
    }
}

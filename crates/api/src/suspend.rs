//! Suspending a virtual machine: what its annotations ask for.

use std::collections::BTreeMap;

use crate::launcher::saved::Renewal;
use crate::names::annotations;

/// What a VM's annotation [`annotations::SUSPENDED`] asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asked {
    /// Nothing: it runs as its strategy says.
    Nothing,
    /// Its guest is saved, and does not run.
    Suspend,
    /// What was saved of its guest is thrown away, and it runs as its strategy says.
    Discard,
}

/// What the annotations of a VM ask for. Anything but `true` and `discard` asks for nothing, as an annotation that is
/// not there.
#[must_use]
pub fn asked(annotated: &BTreeMap<String, String>) -> Asked {
    match annotated.get(annotations::SUSPENDED).map(String::as_str) {
        Some("true") => Asked::Suspend,
        Some("discard") => Asked::Discard,
        _ => Asked::Nothing,
    }
}

/// Says which of these annotations, a VM's own, a template's or a VMI's, is not understood: its name, its value, and what
/// may be written instead.
#[must_use]
pub fn not_understood(
    annotated: &BTreeMap<String, String>,
) -> Vec<(&'static str, &str, &'static str)> {
    let known: [(&str, &[&str], &str); 3] = [
        (
            annotations::SUSPENDED,
            &["true", "false", "discard"],
            "true, false or discard",
        ),
        (
            annotations::ON_HOST_SHUTDOWN,
            &["Shutdown", "Suspend"],
            "Shutdown or Suspend",
        ),
        (
            annotations::RESUME_AS,
            &["Clock", "Everything"],
            "Clock or Everything",
        ),
    ];
    let wrong = known.into_iter().filter_map(|(name, values, instead)| {
        let value = annotated.get(name)?.as_str();
        (!values.contains(&value)).then_some((name, value, instead))
    });
    wrong.collect()
}

/// Whether the guest of a VMI with these annotations is saved when its host is shut down.
#[must_use]
pub fn survives_shutdown(annotated: &BTreeMap<String, String>) -> bool {
    annotated
        .get(annotations::ON_HOST_SHUTDOWN)
        .is_some_and(|what| what == "Suspend")
}

/// What a VMI goes on from, and as who; none: it starts.
#[must_use]
pub fn resume_from(annotated: &BTreeMap<String, String>) -> Option<(&str, Renewal)> {
    let id = annotated.get(annotations::RESUME_FROM)?;
    let everything = annotated
        .get(annotations::RESUME_AS)
        .is_some_and(|who| who == "Everything");
    let renewal = if everything {
        Renewal::Everything
    } else {
        Renewal::Clock
    };
    Some((id, renewal))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(name: &str, value: &str) -> BTreeMap<String, String> {
        [(name.to_owned(), value.to_owned())].into()
    }

    #[test]
    fn each_value_asks_for_what_it_says_and_others_are_named() {
        for (value, wanted) in [
            ("true", Asked::Suspend),
            ("discard", Asked::Discard),
            ("false", Asked::Nothing),
        ] {
            let annotated = annotated(annotations::SUSPENDED, value);
            assert_eq!(asked(&annotated), wanted, "{value}");
            assert_eq!(not_understood(&annotated), []);
        }
        let wrong = annotated(annotations::SUSPENDED, "yes");
        assert_eq!(asked(&wrong), Asked::Nothing);
        assert_eq!(
            not_understood(&wrong),
            [(annotations::SUSPENDED, "yes", "true, false or discard")]
        );
        let wrong = annotated(annotations::ON_HOST_SHUTDOWN, "suspend");
        assert!(!survives_shutdown(&wrong));
        assert_eq!(not_understood(&wrong).len(), 1);
        assert!(survives_shutdown(&annotated(
            annotations::ON_HOST_SHUTDOWN,
            "Suspend"
        )));
        let mut resumed = annotated(annotations::RESUME_FROM, "u-1");
        assert_eq!(resume_from(&resumed), Some(("u-1", Renewal::Clock)));
        resumed.extend(annotated(annotations::RESUME_AS, "Everything"));
        assert_eq!(resume_from(&resumed), Some(("u-1", Renewal::Everything)));
    }
}

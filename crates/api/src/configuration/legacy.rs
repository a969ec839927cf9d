//! Keys of the legacy ConfigMap that have no effect: KubeVirt's that are not served, and misspelt ones.

use std::collections::BTreeMap;

use super::setting::Setting;
use crate::accelerator::{Problem, SWITCH, is_misspelt, letters_apart};
use crate::names;

/// KubeVirt's keys that are not served, each with the field below `spec.configuration` of the KubeVirt
/// object that took its place.
const NOT_SERVED: [(&str, Option<&str>); 11] = [
    ("dev.imagePullPolicy", Some("imagePullPolicy")),
    ("memBalloonStatsPeriod", Some("memBalloonStatsPeriod")),
    ("migrations", Some("migrations")),
    ("ovmfPath", Some("architectureConfiguration.amd64.ovmfPath")),
    (
        "permitBridgeInterfaceOnPodNetwork",
        Some("network.permitBridgeInterfaceOnPodNetwork"),
    ),
    // KubeVirt took slirp away.
    ("permitSlirpInterface", None),
    ("permittedHostDevices", Some("permittedHostDevices")),
    (
        "pvc-tolerate-less-space-up-to-percent",
        Some("developerConfiguration.pvcTolerateLessSpaceUpToPercent"),
    ),
    ("selinuxLauncherType", Some("selinuxLauncherType")),
    ("smbios", Some("smbios")),
    ("supported-guest-agent", Some("supportedGuestAgentVersions")),
];

/// The most letters by which a misspelt key may differ from a known one.
const LETTERS_APART_MAX: usize = 2;

/// What is to be said of the keys of one ConfigMap that have no effect. The misspelt switch is told with
/// the emulation policy.
pub(super) fn without_effect(namespace: &str, data: &BTreeMap<String, String>) -> Vec<Problem> {
    let is_served = |key: &str| {
        key == SWITCH
            || Setting::ALL
                .iter()
                .any(|setting| setting.key() == Some(key))
    };
    data.iter()
        .filter(|(key, value)| !value.trim().is_empty() && !is_served(key) && !is_misspelt(key))
        .map(|(key, _)| {
            let place = format!("ConfigMap {namespace}/{} {key}", names::CONFIG_MAP);
            problem(&place, key)
        })
        .collect()
}

fn problem(place: &str, key: &str) -> Problem {
    match NOT_SERVED.iter().find(|(known, _)| *known == key) {
        Some((_, Some(field))) => Problem::new(
            "NotServed",
            format!(
                "{place} has no effect in anyvirt, nor has spec.configuration.{field} of the KubeVirt \
                 object, which took its place in KubeVirt; remove it"
            ),
        ),
        Some((_, None)) => Problem::new(
            "NotServed",
            format!("{place} has no effect in anyvirt, and is gone from KubeVirt; remove it"),
        ),
        None => match resembles(key) {
            Some(known) => Problem::new(
                "Misspelt",
                format!("{place} is not a key of this ConfigMap and has no effect; write {known}"),
            ),
            None => Problem::new(
                "UnknownKey",
                format!("{place} is not a key of this ConfigMap; remove it"),
            ),
        },
    }
}

/// The key that a misspelt one is meant to be: by its letters, or by the name of the field that took its
/// place.
fn resembles(key: &str) -> Option<&'static str> {
    let found = letters(key);
    let served = Setting::ALL.iter().filter_map(|setting| {
        let path = setting.path("amd64");
        Some((setting.key()?, path.rsplit('.').next()?.to_owned()))
    });
    let others = NOT_SERVED.iter().map(|(key, field)| {
        let field = field.and_then(|field| field.rsplit('.').next());
        (*key, field.unwrap_or_default().to_owned())
    });
    served
        .chain(others)
        .map(|(key, field)| {
            let by_key = letters_apart(&found, &letters(key));
            let by_field = letters_apart(&found, &letters(&field));
            (by_key.min(by_field), key)
        })
        .filter(|(apart, _)| *apart <= LETTERS_APART_MAX && found.len() > LETTERS_APART_MAX)
        .min()
        .map(|(_, key)| key)
}

fn letters(text: &str) -> Vec<char> {
    let letters = text.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

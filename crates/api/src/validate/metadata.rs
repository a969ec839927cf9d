//! Rules for labels and annotations.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::cause::{Cause, Causes, Path};
use super::text;
use crate::accelerator::{self, Accelerator, EmulationPolicy};
use crate::names;
use crate::suspend;
use crate::warm_start;

/// Labels must be labels.
pub(super) fn check_labels(path: &Path, metadata: &ObjectMeta, causes: &mut Causes) {
    let labels = path.field("labels");
    for (key, value) in metadata.labels.iter().flatten() {
        if !text::is_label_key(key) {
            causes.invalid(
                &labels,
                format!("{labels}: \"{key}\" is not a valid label key"),
            );
        }
        if !text::is_label_value(value) {
            let message =
                format!("{labels}: \"{value}\" is not a valid value for the label \"{key}\"");
            causes.invalid(&labels, message);
        }
    }
}

/// Labels must be labels, and the annotations that say how a guest runs must be understood.
pub(super) fn check(path: &Path, metadata: &ObjectMeta, causes: &mut Causes) {
    check_labels(path, metadata, causes);
    let Some(annotations) = &metadata.annotations else {
        return;
    };
    let path = path.field("annotations");
    for key in annotations
        .keys()
        .filter(|key| !text::is_label_key(&key.to_lowercase()))
    {
        causes.invalid(
            &path,
            format!("{path}: \"{key}\" is not a valid annotation key"),
        );
    }
    check_accelerator(&path, metadata, causes);
    if let Err(value) = stuck_after(annotations) {
        let message = format!(
            "{path}: \"{value}\" is no value for {}: write a whole number of seconds from {} to \
             {}, or remove it",
            names::annotations::STUCK_AFTER,
            STUCK_AFTER_SECONDS.start(),
            STUCK_AFTER_SECONDS.end()
        );
        causes.not_supported(&path, message);
    }
    check_warm_start(&path, annotations, causes);
    check_suspend(&path, metadata, causes);
}

/// The annotations on suspending must be understood.
pub(super) fn check_suspend(path: &Path, metadata: &ObjectMeta, causes: &mut Causes) {
    let annotations = metadata.annotations.iter();
    for (name, value, instead) in annotations.flat_map(suspend::not_understood) {
        let message =
            format!("{path}: \"{value}\" is no value for {name}: write {instead}, or remove it");
        causes.not_supported(path, message);
    }
}

/// The annotations on warm starts must be understood.
pub(super) fn check_warm_start(
    path: &Path,
    annotations: &BTreeMap<String, String>,
    causes: &mut Causes,
) {
    if let Err(value) = warm_start::asked(annotations) {
        let message = format!(
            "{path}: \"{value}\" is no value for {}: write Auto, Never or Require, or remove it",
            names::annotations::WARM_START
        );
        causes.not_supported(path, message);
    }
    if let Err(value) = warm_start::marker(annotations) {
        let message = format!(
            "{path}: \"{}\" is no value for {}: write one line of at most {} bytes that the guest shows on its serial \
             console, or remove it",
            value.escape_debug(),
            names::annotations::WARM_START_MARKER,
            warm_start::LONGEST_MARKER
        );
        causes.not_supported(path, message);
    }
}

/// Annotations by which controllers and nodes tell each other what is saved and what goes on, set or changed by anybody
/// else: what they name is a guest's whole memory. `at` is the path of the metadata; `old` what was there.
#[must_use]
pub fn annotations_of_controllers(
    at: &str,
    old: Option<&ObjectMeta>,
    new: &ObjectMeta,
) -> Vec<Cause> {
    let mut causes = Causes::default();
    let path = Path::of(at).field("annotations");
    let value = |metadata: &ObjectMeta, name: &str| {
        let annotations = metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(name)).cloned()
    };
    for name in names::annotations::OF_CONTROLLERS {
        let now = value(new, name);
        if now.is_some() && now != old.and_then(|old| value(old, name)) {
            let message = format!(
                "{path}: {name} is written by anyvirt's own controllers alone; remove it, and ask by anyvirt suspend, \
                 resume, snapshot or restore"
            );
            causes.not_supported(&path, message);
        }
    }
    causes.into()
}

/// The annotation that forces an accelerator must name one.
pub(super) fn check_accelerator(annotations: &Path, metadata: &ObjectMeta, causes: &mut Causes) {
    let found = metadata.annotations.as_ref().map(accelerator::forced);
    if let Some(Err(value)) = found {
        let message = format!(
            "{annotations}: \"{value}\" is no value for {}: write kvm or tcg, or remove it",
            names::annotations::ACCELERATOR
        );
        causes.not_supported(annotations, message);
    }
}

/// The annotation may not force what the same guest's own policy forbids: it could never run.
pub(super) fn check_contradiction(
    annotations: &Path,
    metadata: &ObjectMeta,
    own: Option<EmulationPolicy>,
    causes: &mut Causes,
) {
    let found = metadata.annotations.as_ref().map(accelerator::forced);
    if let (Some(Ok(Some(Accelerator::Tcg))), Some(own)) = (found, own)
        && !own.permits_software()
    {
        let message = format!(
            "{annotations}: {} asks for software emulation (tcg), which emulationPolicy {own} of the same \
             object forbids: set emulationPolicy to Software, or remove one of both",
            names::annotations::ACCELERATOR
        );
        causes.invalid(annotations, message);
    }
}

/// What may stand in the annotation [`names::annotations::STUCK_AFTER`]: the launcher looks for signs of life
/// every few seconds, and for two hours, so that a silence of an hour is surely seen.
const STUCK_AFTER_SECONDS: std::ops::RangeInclusive<u32> = 10..=3_600;

/// The seconds in the annotation [`names::annotations::STUCK_AFTER`], if it is there.
///
/// # Errors
/// Its value, if that is no number from 10 to 3600.
pub fn stuck_after(annotations: &BTreeMap<String, String>) -> Result<Option<u32>, String> {
    let Some(value) = annotations.get(names::annotations::STUCK_AFTER) else {
        return Ok(None);
    };
    let seconds = value
        .parse()
        .ok()
        .filter(|seconds| STUCK_AFTER_SECONDS.contains(seconds));
    seconds.map(Some).ok_or_else(|| value.clone())
}

/// Labels that only KubeVirt's own components may set.
pub(super) fn refuse_reserved_labels(path: &Path, metadata: &ObjectMeta, causes: &mut Causes) {
    let labels = metadata.labels.iter().flatten();
    if labels.into_iter().any(|(key, _)| is_reserved(key)) {
        causes.not_supported(
            &path.field("labels"),
            "creation of the following reserved kubevirt.io/ labels on a VMI object is prohibited",
        );
    }
}

/// The same labels may not be changed either.
pub(super) fn refuse_changed_reserved_labels(
    old: &ObjectMeta,
    new: &ObjectMeta,
    causes: &mut Causes,
) {
    let value = |metadata: &ObjectMeta, key: &str| {
        metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(key))
            .cloned()
    };
    if names::labels::RESERVED
        .iter()
        .any(|key| value(old, key) != value(new, key))
    {
        causes.not_supported(
            &Path::of("metadata").field("labels"),
            "modification of the following reserved kubevirt.io/ labels on a VMI object is prohibited",
        );
    }
}

fn is_reserved(key: &str) -> bool {
    names::labels::RESERVED.contains(&key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_bound_of_a_silence_is_a_number_of_seconds_or_refused_with_its_value() {
        for (value, wanted) in [
            (None, Ok(None)),
            (Some("10"), Ok(Some(10))),
            (Some("3600"), Ok(Some(3_600))),
            (Some("9"), Err("9")),
            (Some("3601"), Err("3601")),
            (Some("5m"), Err("5m")),
            (Some(""), Err("")),
            (Some("-20"), Err("-20")),
        ] {
            let annotations =
                value.map(|value| (names::annotations::STUCK_AFTER.to_owned(), value.to_owned()));
            let annotations = annotations.into_iter().collect();
            let found = stuck_after(&annotations);
            assert_eq!(found, wanted.map_err(str::to_owned), "{value:?}");
            let metadata = ObjectMeta {
                annotations: Some(annotations),
                ..ObjectMeta::default()
            };
            let mut causes = Causes::default();
            check(&Path::of("metadata"), &metadata, &mut causes);
            assert_eq!(Vec::from(causes).is_empty(), found.is_ok(), "{value:?}");
        }
    }

    #[test]
    fn an_accelerator_that_the_objects_own_policy_forbids_is_refused() {
        let cluster = crate::configuration::ClusterConfiguration::of_architecture("amd64");
        let metadata = |value: &str| json!({"annotations": {"anyvirt.io/accelerator": value}});
        let machine = |own: serde_json::Value, outer: &str, inner: &str| {
            let object: crate::virtual_machine::VirtualMachine = serde_json::from_value(json!({
                "metadata": metadata(outer),
                "spec": {"runStrategy": "Always", "template": {"metadata": metadata(inner),
                    "spec": {"emulationPolicy": own, "domain": {"devices": {}, "memory": {"guest": "64Mi"}}}}},
            }))
            .unwrap();
            let causes = crate::validate::virtual_machine(&object, &cluster);
            causes
                .into_iter()
                .map(|cause| cause.field)
                .collect::<Vec<_>>()
        };
        let inner = "spec.template.metadata.annotations";
        let outer = "metadata.annotations";
        assert_eq!(machine(json!("None"), "kvm", "tcg"), [inner]);
        assert_eq!(machine(json!("Hardware"), "tcg", "kvm"), [outer]);
        assert_eq!(machine(json!("Software"), "tcg", "tcg"), [""; 0]);
        assert_eq!(machine(json!(null), "tcg", "tcg"), [""; 0]);
        assert_eq!(machine(json!(null), "KVM", "tcg"), [outer]);
    }
}

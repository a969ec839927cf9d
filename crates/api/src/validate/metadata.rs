//! Rules for labels and annotations.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::cause::{Causes, Path};
use super::text;
use crate::accelerator;
use crate::names;

/// Labels must be labels, and the annotation that forces an accelerator must name one.
pub(super) fn check(path: &Path, metadata: &ObjectMeta, causes: &mut Causes) {
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
    if let Err(value) = accelerator::forced(annotations) {
        let message = format!(
            "{path}: \"{value}\" is no value for {}: write kvm or tcg, or remove it",
            names::annotations::ACCELERATOR
        );
        causes.not_supported(&path, message);
    }
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

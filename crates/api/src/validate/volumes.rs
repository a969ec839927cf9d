//! Rules for volumes.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::cause::{Causes, Path};
use super::{domain, text};
use crate::configuration::{ClusterConfiguration, HOST_DISK_GATE};
use crate::virtual_machine_instance::{
    CloudInitNoCloud, ContainerDisk, HostDisk, VirtualMachineInstanceSpec, Volume,
};

/// The longest cloud-init data that may stand in an object itself.
const INLINE_BYTES: usize = 2048;

pub(super) fn check(
    path: &Path,
    spec: &VirtualMachineInstanceSpec,
    cluster: &ClusterConfiguration,
    causes: &mut Causes,
) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, volume) in spec.volumes.iter().enumerate() {
        let here = path.field("volumes").index(index);
        if let Some(earlier) = seen.get(volume.name.as_str()) {
            let other = path.field("volumes").index(*earlier);
            let message = format!("{here} and {other} must not have the same Name.");
            causes.invalid(&here.field("name"), message);
        } else {
            seen.insert(&volume.name, index);
        }
        if let Some(why) = text::not_a_label(&volume.name) {
            let name = here.field("name");
            causes.invalid(&name, format!("{name} '{}': {why}", volume.name));
        }
        source(&here, volume, cluster, causes);
    }
}

fn source(path: &Path, volume: &Volume, cluster: &ClusterConfiguration, causes: &mut Causes) {
    let typed = [
        volume.container_disk.is_some(),
        volume.cloud_init_no_cloud.is_some(),
        volume.empty_disk.is_some(),
        volume.host_disk.is_some(),
    ];
    let unserved = volume
        .unserved
        .values()
        .filter(|value| !value.is_null())
        .count();
    if typed.into_iter().filter(|is_set| *is_set).count() + unserved != 1 {
        causes.invalid(
            path,
            format!("{path} must have exactly one source type set"),
        );
    }
    if let Some(disk) = &volume.container_disk {
        container_disk(&path.field("containerDisk"), disk, causes);
    }
    if let Some(data) = &volume.cloud_init_no_cloud {
        cloud_init(&path.field("cloudInitNoCloud"), data, causes);
    }
    if let Some(disk) = &volume.empty_disk {
        let path = path.field("emptyDisk").field("capacity");
        if let Some(amount) = text::quantity(&path, &disk.capacity, causes)
            && amount.to_units().is_none_or(|units| units < 512)
        {
            let message = format!(
                "{path} '{}': must be greater than or equal to 512.",
                disk.capacity
            );
            causes.invalid(&path, message);
        }
    }
    if let Some(disk) = &volume.host_disk {
        host_disk(path, disk, cluster, causes);
    }
}

fn container_disk(path: &Path, disk: &ContainerDisk, causes: &mut Causes) {
    let image = path.field("image");
    if disk.image.trim().is_empty() {
        causes.required(&image, format!("{image} is a required field"));
    } else if disk
        .image
        .chars()
        .any(|c| c.is_whitespace() || c.is_control())
    {
        causes.invalid(
            &image,
            format!("{image}: \"{}\" is no reference of an image", disk.image),
        );
    }
    if let Some(found) = disk.path.as_deref().filter(|found| !found.is_empty()) {
        domain::image_path(&path.field("path"), found, causes);
    }
    domain::pull_policy(path, disk.image_pull_policy.as_deref(), causes);
}

fn cloud_init(path: &Path, data: &CloudInitNoCloud, causes: &mut Causes) {
    let user = [
        is_set(data.user_data.as_deref()),
        is_set(data.user_data_base64.as_deref()),
        data.secret_ref.is_some(),
    ];
    let network = [
        is_set(data.network_data.as_deref()),
        is_set(data.network_data_base64.as_deref()),
        data.network_data_secret_ref.is_some(),
    ];
    let count = |sources: [bool; 3]| sources.into_iter().filter(|is_set| *is_set).count();
    if count(user) > 1 {
        causes.invalid(
            path,
            format!("{path} must have only one userdatasource set."),
        );
    }
    if count(network) > 1 {
        causes.invalid(
            path,
            format!("{path} must have only one networkdata source set."),
        );
    }
    if count(user) + count(network) == 0 {
        let message =
            format!("{path} must have at least one userdatasource or one networkdatasource set.");
        causes.invalid(path, message);
    }
    for (name, reference) in [
        ("secretRef", &data.secret_ref),
        ("networkDataSecretRef", &data.network_data_secret_ref),
    ] {
        if reference
            .as_ref()
            .is_some_and(|reference| reference.name.is_empty())
        {
            let path = path.field(name).field("name");
            causes.required(&path, format!("{path} is a required field"));
        }
    }
    let user_bytes = inline_bytes(
        &path.field("userDataBase64"),
        data.user_data.as_deref(),
        data.user_data_base64.as_deref(),
        causes,
    );
    if user_bytes > INLINE_BYTES {
        let message = format!(
            "{path} userdata exceeds {INLINE_BYTES} byte limit. Should use UserDataSecretRef for \
             larger data."
        );
        causes.invalid(path, message);
    }
    let network_bytes = inline_bytes(
        &path.field("networkDataBase64"),
        data.network_data.as_deref(),
        data.network_data_base64.as_deref(),
        causes,
    );
    if network_bytes > INLINE_BYTES {
        let message = format!(
            "{path} networkdata exceeds {INLINE_BYTES} byte limit. Should use NetworkDataSecretRef \
             for larger data."
        );
        causes.invalid(path, message);
    }
}

fn is_set(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

/// The length of what is given in the clear or in base64.
fn inline_bytes(
    base64_path: &Path,
    clear: Option<&str>,
    encoded: Option<&str>,
    causes: &mut Causes,
) -> usize {
    let decoded = encoded.map(|encoded| STANDARD.decode(encoded));
    let decoded = match decoded {
        Some(Err(_)) => {
            causes.invalid(
                base64_path,
                format!("{base64_path} is not a valid base64 value."),
            );
            0
        }
        Some(Ok(bytes)) => {
            if std::str::from_utf8(&bytes).is_err() {
                causes.unserved(base64_path, "data that is not UTF-8", "give text");
            }
            bytes.len()
        }
        None => 0,
    };
    clear.unwrap_or_default().len().max(decoded)
}

fn host_disk(path: &Path, disk: &HostDisk, cluster: &ClusterConfiguration, causes: &mut Causes) {
    if !cluster.feature_gates.contains(HOST_DISK_GATE) {
        causes.invalid(path, "HostDisk feature gate is not enabled");
    }
    let path = path.field("hostDisk");
    if disk.path.is_empty() {
        let path = path.field("path");
        causes.required(&path, format!("{path} is required for hostDisk volume"));
    } else {
        domain::image_path(&path.field("path"), &disk.path, causes);
    }
    if !matches!(disk.type_.as_str(), "Disk" | "DiskOrCreate") {
        let path = path.field("type");
        let message = format!(
            "{path} has invalid value '{}', allowed are 'Disk' or 'DiskOrCreate'",
            disk.type_
        );
        causes.invalid(&path, message);
    }
    let path = path.field("capacity");
    match &disk.capacity {
        Some(capacity) => {
            if let Some(amount) = text::quantity(&path, capacity, causes)
                && amount.to_units().is_none_or(|units| units < 512)
            {
                let message = format!("{path} '{capacity}': must be greater than or equal to 512.");
                causes.invalid(&path, message);
            }
        }
        None if disk.type_ == "DiskOrCreate" => {
            causes.required(
                &path,
                format!("{path} is required for hostDisk of type DiskOrCreate"),
            );
        }
        None => {}
    }
}

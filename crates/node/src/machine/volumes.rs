//! A VMI's volumes, interfaces and names, resolved to what a launcher needs: no name is left that
//! has to be looked up in the API.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use api::accelerator::Accelerator;
use api::defaults::mac_address;
use api::launcher::{
    ForwardedPort, KvmFailure, Protocol, ResolvedInterface, ResolvedVolume, StartRequest,
};
use api::virtual_machine_instance::{CloudInitNoCloud, Interface, VirtualMachineInstance, Volume};
use base64::Engine as _;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use qemu::version::Version;

use super::images::Pulled;

/// The keys of a Secret that `secretRef` and `networkDataSecretRef` name; the upper-case form is
/// accepted by KubeVirt too.
const USER_DATA_KEYS: [&str; 2] = ["userdata", "userData"];
const NETWORK_DATA_KEYS: [&str; 2] = ["networkdata", "networkData"];

/// Something of a VMI cannot be resolved: which field, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {cause}")]
pub(crate) struct Unresolved {
    pub(crate) field: String,
    pub(crate) cause: String,
}

fn unresolved(field: impl Into<String>, cause: impl Into<String>) -> Unresolved {
    Unresolved {
        field: field.into(),
        cause: cause.into(),
    }
}

/// Names of the Secrets that a VMI's volumes refer to.
pub(crate) fn secrets(instance: &VirtualMachineInstance) -> Vec<String> {
    let sources = instance
        .spec
        .volumes
        .iter()
        .filter_map(|it| it.cloud_init_no_cloud.as_ref());
    let mut names: Vec<String> = sources
        .flat_map(|source| [&source.secret_ref, &source.network_data_secret_ref])
        .flatten()
        .map(|reference| reference.name.clone())
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The request that starts `instance` by this version of QEMU, where emulation has this slowdown; `stepped_down` is how KVM
/// failed it before, if that is why it starts.
pub(crate) fn start_request(
    instance: &VirtualMachineInstance,
    accelerator: Accelerator,
    qemu_version: Option<Version>,
    (slowdown, stepped_down): (Option<f64>, Option<KvmFailure>),
    pulled: &Pulled,
    secrets: &BTreeMap<String, Secret>,
    address: Ipv4Addr,
) -> Result<StartRequest, Unresolved> {
    let mut volumes = BTreeMap::new();
    for (index, volume) in instance.spec.volumes.iter().enumerate() {
        let resolved = resolve(volume, index, pulled, secrets)?;
        volumes.insert(volume.name.clone(), resolved);
    }
    let firmware = instance.spec.domain.firmware.as_ref();
    let firmware_uuid = firmware
        .and_then(|firmware| firmware.uuid.clone())
        .filter(|uuid| !uuid.is_empty())
        .unwrap_or_else(|| instance.uid().unwrap_or_default());
    let interfaces = instance
        .spec
        .domain
        .devices
        .interfaces
        .iter()
        .map(|interface| resolve_interface(interface, &firmware_uuid, address))
        .collect();
    Ok(StartRequest {
        accelerator,
        volumes,
        kernel: pulled.kernel.clone(),
        interfaces,
        hostname: hostname(instance),
        instance_id: firmware_uuid.clone(),
        slowdown,
        qemu_version: qemu_version.map(|version| version.to_string()),
        stepped_down,
        warm: None,
        save_on_leaving: None,
        firmware_uuid,
        instance: instance.clone(),
    })
}

fn resolve(
    volume: &Volume,
    index: usize,
    pulled: &Pulled,
    secrets: &BTreeMap<String, Secret>,
) -> Result<ResolvedVolume, Unresolved> {
    let field = |name: &str| format!("spec.volumes[{index}].{name}");
    if volume.container_disk.is_some() {
        return pulled
            .disks
            .get(&volume.name)
            .cloned()
            .ok_or_else(|| unresolved(field("containerDisk"), "its image was not pulled"));
    }
    if let Some(source) = &volume.cloud_init_no_cloud {
        return cloud_init(source, &field("cloudInitNoCloud"), secrets);
    }
    if let Some(disk) = &volume.empty_disk {
        let capacity_bytes = disk.capacity.to_units().ok_or_else(|| {
            unresolved(
                field("emptyDisk.capacity"),
                "not an amount of bytes, e.g. 1Gi",
            )
        })?;
        return Ok(ResolvedVolume::EmptyDisk { capacity_bytes });
    }
    if let Some(disk) = &volume.host_disk {
        let create_bytes = match (disk.type_.as_str(), &disk.capacity) {
            ("DiskOrCreate", Some(capacity)) => Some(capacity.to_units().ok_or_else(|| {
                unresolved(
                    field("hostDisk.capacity"),
                    "not an amount of bytes, e.g. 1Gi",
                )
            })?),
            _ => None,
        };
        return Ok(ResolvedVolume::HostDisk {
            path: PathBuf::from(&disk.path),
            create_bytes,
            shared: disk.shared.unwrap_or(false),
        });
    }
    Err(unresolved(
        format!("spec.volumes[{index}]"),
        "a source that is not served: use containerDisk, cloudInitNoCloud, emptyDisk or hostDisk",
    ))
}

fn cloud_init(
    source: &CloudInitNoCloud,
    field: &str,
    secrets: &BTreeMap<String, Secret>,
) -> Result<ResolvedVolume, Unresolved> {
    let user_data = first_of([
        source.user_data.clone().map(Ok),
        source
            .user_data_base64
            .as_deref()
            .map(|text| decode(text, field, "userDataBase64")),
        source.secret_ref.as_ref().map(|reference| {
            secret_value(
                secrets,
                &reference.name,
                &USER_DATA_KEYS,
                field,
                "secretRef",
            )
        }),
    ])?;
    let network_data = first_of([
        source.network_data.clone().map(Ok),
        source
            .network_data_base64
            .as_deref()
            .map(|text| decode(text, field, "networkDataBase64")),
        source.network_data_secret_ref.as_ref().map(|reference| {
            let name = "networkDataSecretRef";
            secret_value(secrets, &reference.name, &NETWORK_DATA_KEYS, field, name)
        }),
    ])?;
    Ok(ResolvedVolume::CloudInitNoCloud {
        user_data: user_data.unwrap_or_default(),
        network_data,
    })
}

/// The first that was given; admission lets only one be.
fn first_of(given: [Option<Result<String, Unresolved>>; 3]) -> Result<Option<String>, Unresolved> {
    given.into_iter().flatten().next().transpose()
}

fn decode(text: &str, field: &str, name: &str) -> Result<String, Unresolved> {
    let compact: String = text.split_ascii_whitespace().collect();
    let refused = |cause: &str| unresolved(format!("{field}.{name}"), cause);
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(compact)
        .map_err(|error| refused(&format!("not base64: {error}")))?;
    String::from_utf8(bytes).map_err(|_| refused("not text (UTF-8) when decoded"))
}

fn secret_value(
    secrets: &BTreeMap<String, Secret>,
    name: &str,
    keys: &[&str],
    field: &str,
    reference: &str,
) -> Result<String, Unresolved> {
    let refused = |cause: String| unresolved(format!("{field}.{reference}"), cause);
    let secret = secrets.get(name).ok_or_else(|| {
        refused(format!(
            "the Secret {name:?} does not exist in this namespace"
        ))
    })?;
    let data = secret.data.as_ref();
    let value = keys.iter().find_map(|key| data?.get(*key)).ok_or_else(|| {
        refused(format!(
            "the Secret {name:?} has no key {:?}",
            keys.first().unwrap_or(&"")
        ))
    })?;
    String::from_utf8(value.0.clone()).map_err(|_| {
        refused(format!(
            "the Secret {name:?} holds something other than text"
        ))
    })
}

fn resolve_interface(
    interface: &Interface,
    firmware_uuid: &str,
    address: Ipv4Addr,
) -> ResolvedInterface {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    ResolvedInterface {
        name: interface.name.clone(),
        mac: given(&interface.mac_address)
            .unwrap_or_else(|| mac_address(firmware_uuid, &interface.name)),
        model: given(&interface.model).unwrap_or_else(|| "virtio".to_owned()),
        address: address.into(),
        ports: interface
            .ports
            .iter()
            .filter_map(|port| {
                let protocol = match port.protocol.as_deref() {
                    Some("UDP") => Protocol::Udp,
                    _ => Protocol::Tcp,
                };
                // Admission lets only 1 to 65535 through.
                Some(ForwardedPort {
                    protocol,
                    port: u16::try_from(port.port).ok()?,
                })
            })
            .collect(),
    }
}

/// The first label of the wanted name: a VMI's name may contain dots, a host name may not.
fn hostname(instance: &VirtualMachineInstance) -> String {
    let wanted = instance
        .spec
        .hostname
        .clone()
        .filter(|name| !name.is_empty());
    let wanted = wanted.unwrap_or_else(|| instance.name_any());
    let first = wanted.split('.').next().unwrap_or_default();
    // Names of objects and labels are ASCII; 63 is the longest label of DNS.
    first
        .chars()
        .take(63)
        .collect::<String>()
        .trim_end_matches('-')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn instance(volumes: serde_json::Value) -> VirtualMachineInstance {
        serde_json::from_value(json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": { "name": "web.example", "namespace": "ns", "uid": "u-1" },
            "spec": {
                "domain": { "devices": { "interfaces": [
                    { "name": "default", "ports": [{ "port": 22 }, { "port": 53, "protocol": "UDP" }] }
                ] } },
                "volumes": volumes
            }
        }))
        .expect("a VMI")
    }

    fn request(volumes: serde_json::Value) -> Result<StartRequest, Unresolved> {
        let secret: Secret = serde_json::from_value(json!({
            "metadata": { "name": "cloud" }, "data": { "userdata": "I2Nsb3VkLWNvbmZpZwo=" }
        }))
        .expect("a Secret");
        let secrets = BTreeMap::from([("cloud".to_owned(), secret)]);
        let address = Ipv4Addr::new(127, 64, 0, 9);
        start_request(
            &instance(volumes),
            Accelerator::Tcg,
            Version::of_numbers("7.2.22"),
            (None, None),
            &Pulled::default(),
            &secrets,
            address,
        )
    }

    #[test]
    fn volumes_are_resolved_with_their_secrets() {
        let found = request(json!([
            { "name": "init", "cloudInitNoCloud": { "secretRef": { "name": "cloud" }, "networkDataBase64": "dmVyc2lvbjogMgo=" } },
            { "name": "scratch", "emptyDisk": { "capacity": "1Gi" } },
            { "name": "host", "hostDisk": { "path": "/disks/a.img", "type": "DiskOrCreate", "capacity": "2Gi" } },
            { "name": "old", "hostDisk": { "path": "/disks/b.img", "type": "Disk", "shared": true } },
        ]))
        .expect("resolved");
        let path = PathBuf::from("/disks/a.img");
        assert_eq!(
            found.volumes["init"],
            ResolvedVolume::CloudInitNoCloud {
                user_data: "#cloud-config\n".to_owned(),
                network_data: Some("version: 2\n".to_owned()),
            }
        );
        assert_eq!(
            found.volumes["scratch"],
            ResolvedVolume::EmptyDisk {
                capacity_bytes: 1 << 30
            }
        );
        assert_eq!(
            found.volumes["host"],
            ResolvedVolume::HostDisk {
                path,
                create_bytes: Some(2 << 30),
                shared: false
            }
        );
        let path = PathBuf::from("/disks/b.img");
        assert_eq!(
            found.volumes["old"],
            ResolvedVolume::HostDisk {
                path,
                create_bytes: None,
                shared: true
            }
        );
        assert_eq!(
            (found.hostname.as_str(), found.firmware_uuid.as_str()),
            ("web", "u-1")
        );
    }

    #[test]
    fn interfaces_have_a_stable_address_a_model_and_their_ports() {
        let first = request(json!([])).expect("resolved").interfaces;
        assert_eq!(first, request(json!([])).expect("resolved").interfaces);
        assert_eq!(first[0].model, "virtio");
        assert!(first[0].mac.starts_with("02:"));
        let ports: Vec<_> = first[0]
            .ports
            .iter()
            .map(|it| (it.protocol, it.port))
            .collect();
        assert_eq!(ports, [(Protocol::Tcp, 22), (Protocol::Udp, 53)]);
    }

    #[test]
    fn what_cannot_be_resolved_is_named_with_its_field() {
        for (volumes, expected) in [
            (
                json!([{ "name": "d", "containerDisk": { "image": "i" } }]),
                "spec.volumes[0].containerDisk: its image was not pulled",
            ),
            (
                json!([{ "name": "d", "cloudInitNoCloud": { "secretRef": { "name": "gone" } } }]),
                "spec.volumes[0].cloudInitNoCloud.secretRef: the Secret \"gone\" does not exist",
            ),
            (
                json!([{ "name": "d", "cloudInitNoCloud": { "networkDataSecretRef": { "name": "cloud" } } }]),
                "networkDataSecretRef: the Secret \"cloud\" has no key \"networkdata\"",
            ),
            (
                json!([{ "name": "d", "cloudInitNoCloud": { "userDataBase64": "%%" } }]),
                "spec.volumes[0].cloudInitNoCloud.userDataBase64: not base64",
            ),
            (
                json!([{ "name": "d" }]),
                "spec.volumes[0]: a source that is not served",
            ),
        ] {
            let error = request(volumes).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn each_secret_is_asked_for_once() {
        let found = secrets(&instance(json!([
            { "name": "a", "cloudInitNoCloud": { "secretRef": { "name": "x" }, "networkDataSecretRef": { "name": "x" } } },
            { "name": "b", "cloudInitNoCloud": { "secretRef": { "name": "" } } },
        ])));
        assert_eq!(found, ["x"]);
    }
}

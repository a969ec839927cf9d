//! The launcher pod of a VMI, as KubeVirt shapes it: VMI and cluster configuration in, Pod out.

use super::placement::{Placement, placement};
use crate::event::fingerprint;
use api::accelerator::EffectivePolicy;
use api::configuration::ClusterConfiguration;
use api::names::{annotations, conditions, containers, labels};
use api::resources;
use api::virtual_machine_instance::{VirtualMachineInstance, Volume as InstanceVolume};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, ImageVolumeSource, Pod, PodReadinessGate,
    PodSecurityContext, PodSpec, ResourceRequirements, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource as _, ResourceExt as _};
use std::collections::BTreeMap;

/// Seconds a guest gets to shut down when its VMI does not say.
const DEFAULT_GRACE_SECONDS: i64 = 30;
/// Seconds added for the launcher to end after its guest was killed.
const LAUNCHER_GRACE_SECONDS: i64 = 30;
/// The user KubeVirt's launchers run as.
const LAUNCHER_USER: i64 = 107;
/// The longest value of a label.
const LABEL_BYTES_MAX: usize = 63;

/// What is the same for every launcher pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launcher {
    /// Image reference of the program. On one machine no image is pulled for it.
    pub image: String,
}

impl Default for Launcher {
    fn default() -> Self {
        // Named like a registry's so that it is a valid reference, under a domain that never resolves.
        Self {
            image: concat!("anyvirt.invalid/launcher:", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// On a launcher pod: a fingerprint of what of it decides where it goes.
const PLACEMENT_FINGERPRINT: &str = "anyvirt.io/placement-fingerprint";

/// The pod that runs `vmi` under its effective policy.
///
/// # Errors
/// Which field of the VMI is in the way.
pub fn render(
    vmi: &VirtualMachineInstance,
    cluster: &ClusterConfiguration,
    policy: &EffectivePolicy,
    launcher: &Launcher,
) -> Result<Pod, String> {
    let name = vmi.name_any();
    let placement = placement(vmi, cluster, policy)?;
    let recorded = pod_annotations(vmi, policy, &placement);
    let grace = vmi
        .spec
        .termination_grace_period_seconds
        .unwrap_or(DEFAULT_GRACE_SECONDS)
        .max(0);
    let volumes = image_volumes(vmi);
    let mounts = volumes.iter().map(|volume| VolumeMount {
        name: volume.name.clone(),
        mount_path: format!("/var/run/kubevirt-image-volume/{}", volume.name),
        read_only: Some(true),
        ..Default::default()
    });
    let compute = Container {
        name: containers::COMPUTE.to_owned(),
        image: Some(launcher.image.clone()),
        command: Some(command(vmi)),
        resources: Some(placement.resources),
        security_context: Some(confined(Some(vec!["NET_BIND_SERVICE".to_owned()]))),
        ports: Some(ports(vmi)).filter(|ports| !ports.is_empty()),
        volume_mounts: Some(mounts.collect()).filter(|mounts: &Vec<_>| !mounts.is_empty()),
        ..Default::default()
    };
    let metadata = ObjectMeta {
        generate_name: Some(format!("virt-launcher-{name}-")),
        namespace: vmi.namespace(),
        labels: Some(pod_labels(vmi)),
        annotations: Some(recorded),
        owner_references: vmi.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..Default::default()
    };
    let spec = PodSpec {
        restart_policy: Some("Never".to_owned()),
        enable_service_links: Some(false),
        automount_service_account_token: Some(false),
        termination_grace_period_seconds: Some(grace.saturating_add(LAUNCHER_GRACE_SECONDS)),
        security_context: Some(PodSecurityContext {
            run_as_user: Some(LAUNCHER_USER),
            run_as_group: Some(LAUNCHER_USER),
            fs_group: Some(LAUNCHER_USER),
            run_as_non_root: Some(true),
            ..Default::default()
        }),
        hostname: Some(hostname(vmi)),
        subdomain: vmi.spec.subdomain.clone(),
        readiness_gates: Some(vec![PodReadinessGate {
            condition_type: conditions::UNPAUSED.to_owned(),
        }]),
        node_selector: Some(placement.node_selector),
        affinity: placement.affinity,
        tolerations: Some(vmi.spec.tolerations.clone()).filter(|list| !list.is_empty()),
        init_containers: logs_console(vmi).then(|| vec![console_log(launcher)]),
        containers: vec![compute],
        volumes: Some(volumes).filter(|volumes| !volumes.is_empty()),
        ..Default::default()
    };
    Ok(Pod {
        metadata,
        spec: Some(spec),
        status: None,
    })
}

/// How a pod that waits stands to what would be made now.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// It is the same.
    Current,
    /// It is under a policy that leaves it as it is; these annotations tell of that policy.
    Renamed(BTreeMap<String, String>),
    /// It cannot become what would be made now.
    Outdated,
}

/// Compares a pod that waits with what would be made now, by what it was made from: what an API server
/// or a webhook made of it meanwhile is theirs.
///
/// # Errors
/// As of [`render`].
pub fn standing(
    pod: &Pod,
    vmi: &VirtualMachineInstance,
    cluster: &ClusterConfiguration,
    policy: &EffectivePolicy,
) -> Result<Standing, String> {
    let wanted = placement(vmi, cluster, policy)?.fingerprint();
    if pod.annotations().get(PLACEMENT_FINGERPRINT) != Some(&wanted) {
        return Ok(Standing::Outdated);
    }
    let recorded = policy.annotations();
    let told = recorded
        .iter()
        .all(|(name, value)| pod.annotations().get(name) == Some(value));
    Ok(if told {
        Standing::Current
    } else {
        Standing::Renamed(recorded)
    })
}

/// The VMI's host name, as Kubernetes accepts one.
pub(super) fn hostname(vmi: &VirtualMachineInstance) -> String {
    let wanted = vmi.spec.hostname.clone().unwrap_or_else(|| vmi.name_any());
    // The first label, as upstream has it: a VMI's name may contain dots, a host name may not.
    let first = wanted.split('.').next().unwrap_or_default();
    let mut name = first.to_owned();
    name.truncate(LABEL_BYTES_MAX);
    name.trim_end_matches('-').to_owned()
}

/// The VMI's name as a label's value.
fn label_id(name: &str) -> String {
    if name.len() <= LABEL_BYTES_MAX {
        name.to_owned()
    } else {
        format!("{:016x}", fingerprint(&[name]))
    }
}

fn pod_labels(vmi: &VirtualMachineInstance) -> BTreeMap<String, String> {
    let mut all = vmi.labels().clone();
    all.insert(
        labels::KUBEVIRT.to_owned(),
        labels::KUBEVIRT_LAUNCHER.to_owned(),
    );
    all.insert(labels::CREATED_BY.to_owned(), vmi.uid().unwrap_or_default());
    all.insert(labels::VM_NAME.to_owned(), hostname(vmi));
    all.insert(labels::VMI_ID.to_owned(), label_id(&vmi.name_any()));
    all
}

fn pod_annotations(
    vmi: &VirtualMachineInstance,
    policy: &EffectivePolicy,
    placement: &Placement,
) -> BTreeMap<String, String> {
    let mut all = vmi.annotations().clone();
    all.remove(annotations::LAST_APPLIED);
    all.remove(annotations::LATEST_OBSERVED_API_VERSION);
    let overhead = resources::memory_overhead_bytes(&vmi.spec, placement.may_be_emulated);
    let more = [
        (annotations::DOMAIN, vmi.name_any()),
        (
            annotations::DEFAULT_CONTAINER,
            containers::COMPUTE.to_owned(),
        ),
        (annotations::MEMORY_OVERHEAD, overhead.to_string()),
        (
            annotations::PROCESSORS,
            resources::processors(&vmi.spec).to_string(),
        ),
        (PLACEMENT_FINGERPRINT, placement.fingerprint()),
        ("kubevirt.io/migrationTransportUnix", "true".to_owned()),
        (
            "descheduler.alpha.kubernetes.io/request-evict-only",
            String::new(),
        ),
    ];
    all.extend(more.map(|(name, value)| (name.to_owned(), value)));
    all.extend(policy.annotations());
    all
}

/// The images the node must have before the guest starts: container disks and the kernel.
fn image_volumes(vmi: &VirtualMachineInstance) -> Vec<Volume> {
    let image = |name: &str, reference: &str, policy: Option<&String>| Volume {
        name: name.to_owned(),
        image: Some(ImageVolumeSource {
            reference: Some(reference.to_owned()),
            pull_policy: Some(
                policy
                    .cloned()
                    .unwrap_or_else(|| default_pull_policy(reference)),
            ),
        }),
        ..Default::default()
    };
    let disk = |volume: &InstanceVolume| {
        let disk = volume.container_disk.as_ref()?;
        Some(image(
            &volume.name,
            &disk.image,
            disk.image_pull_policy.as_ref(),
        ))
    };
    let mut volumes: Vec<Volume> = vmi.spec.volumes.iter().filter_map(disk).collect();
    let kernel = vmi
        .spec
        .domain
        .firmware
        .as_ref()
        .and_then(|firmware| firmware.kernel_boot.as_ref()?.container.as_ref());
    if let Some(kernel) = kernel {
        let policy = kernel.image_pull_policy.as_ref();
        volumes.push(image(containers::KERNEL_BOOT_VOLUME, &kernel.image, policy));
    }
    volumes
}

/// An image without a tag, or tagged `latest`, may change at any time; other ones do not.
fn default_pull_policy(reference: &str) -> String {
    let name = reference.rsplit('/').next().unwrap_or_default();
    let moves = !reference.contains('@') && (!name.contains(':') || name.ends_with(":latest"));
    if moves { "Always" } else { "IfNotPresent" }.to_owned()
}

fn ports(vmi: &VirtualMachineInstance) -> Vec<ContainerPort> {
    let interfaces = vmi.spec.domain.devices.interfaces.iter();
    let ports = interfaces.flat_map(|interface| &interface.ports);
    ports
        .map(|port| ContainerPort {
            name: port.name.clone(),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            container_port: port.port,
            ..Default::default()
        })
        .collect()
}

fn command(vmi: &VirtualMachineInstance) -> Vec<String> {
    let uid = vmi.uid().unwrap_or_default();
    let directory = format!("/var/lib/anyvirt/machines/{uid}");
    ["anyvirt", "launcher", "--directory", &directory]
        .map(str::to_owned)
        .to_vec()
}

fn logs_console(vmi: &VirtualMachineInstance) -> bool {
    let devices = &vmi.spec.domain.devices;
    devices.autoattach_serial_console != Some(false) && devices.log_serial_console != Some(false)
}

/// The container whose log is what the guest writes to its serial console.
fn console_log(launcher: &Launcher) -> Container {
    let amounts = |cpu: &str, memory: &str| {
        Some(
            [("cpu", cpu), ("memory", memory)]
                .map(|(n, q)| (n.to_owned(), Quantity(q.to_owned())))
                .into(),
        )
    };
    Container {
        name: containers::GUEST_CONSOLE_LOG.to_owned(),
        image: Some(launcher.image.clone()),
        // Running beside the guest, not before it.
        restart_policy: Some("Always".to_owned()),
        command: Some(
            ["anyvirt", "launcher", "console-log"]
                .map(str::to_owned)
                .to_vec(),
        ),
        resources: Some(ResourceRequirements {
            requests: amounts("5m", "35M"),
            limits: amounts("15m", "60M"),
            ..Default::default()
        }),
        security_context: Some(confined(None)),
        ..Default::default()
    }
}

fn confined(add: Option<Vec<String>>) -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            add,
            drop: Some(vec!["ALL".to_owned()]),
        }),
        run_as_group: Some(LAUNCHER_USER),
        run_as_non_root: Some(true),
        run_as_user: Some(LAUNCHER_USER),
        ..Default::default()
    }
}

//! Images a machine needs, pulled, with kubelet's back-off between tries.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::launcher::{DiskFormat, KernelFiles, ResolvedVolume};
use api::virtual_machine_instance::VirtualMachineInstanceSpec;
use images::{Cache, Format, ImageRequest, PullError, PullPolicy};

/// Kubelet's figures.
const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);

/// The files of a machine's images.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Pulled {
    /// By volume name.
    pub(crate) disks: BTreeMap<String, ResolvedVolume>,
    /// For direct boot.
    pub(crate) kernel: Option<KernelFiles>,
}

impl Pulled {
    /// All of its files in the cache.
    fn files(&self) -> BTreeSet<PathBuf> {
        let disks = self.disks.values().filter_map(|volume| match volume {
            ResolvedVolume::ContainerDisk { path, .. } => Some(path.clone()),
            _ => None,
        });
        let kernel = self.kernel.iter().flat_map(|files| {
            let initrd = files.initrd.clone();
            [Some(files.kernel.clone()), initrd].into_iter().flatten()
        });
        disks.chain(kernel).collect()
    }
}

/// The files of images that machines may start with without pulling them again; the cache must keep
/// them. A machine found here after a restart of ours pulls before it starts anything.
#[derive(Debug, Default)]
pub(crate) struct InUse(Mutex<BTreeMap<String, BTreeSet<PathBuf>>>);

impl InUse {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, BTreeSet<PathBuf>>> {
        // Nothing that holds it panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine `uid` starts with these.
    pub(crate) fn hold(&self, uid: &str, pulled: &Pulled) {
        self.lock().insert(uid.to_owned(), pulled.files());
    }

    /// The machine `uid` starts with none, or pulls first.
    pub(crate) fn release(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Those of all machines.
    pub(crate) fn files(&self) -> BTreeSet<PathBuf> {
        self.lock().values().flatten().cloned().collect()
    }
}

/// Why images did not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PullFailure {
    /// Kubelet's word.
    pub(crate) reason: String,
    /// Kubelet's sentence.
    pub(crate) message: String,
    /// Kubelet's sentence while it waits.
    pub(crate) back_off_message: String,
}

/// How long to wait after so many failures in a row (1 or more).
pub(crate) fn back_off(failures: u32) -> Duration {
    let doubled = FIRST_BACK_OFF.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(LONGEST_BACK_OFF)
}

/// Pulls all images that `spec` names. What is here already costs a look at its marker.
pub(crate) async fn pull(
    cache: &Cache,
    spec: &VirtualMachineInstanceSpec,
    insecure: bool,
) -> Result<Pulled, PullFailure> {
    let mut pulled = Pulled::default();
    for volume in &spec.volumes {
        let Some(disk) = &volume.container_disk else {
            continue;
        };
        let request = ImageRequest {
            path: disk.path.clone(),
            ..request(&disk.image, disk.image_pull_policy.as_deref(), insecure)
        };
        let found = cache.containerdisk(&request).await.map_err(failure)?;
        let resolved = ResolvedVolume::ContainerDisk {
            path: found.path,
            format: match found.format {
                Format::Raw => DiskFormat::Raw,
                Format::Qcow2 => DiskFormat::Qcow2,
            },
            virtual_size_bytes: found.virtual_size_bytes,
            digest: found.digest,
        };
        pulled.disks.insert(volume.name.clone(), resolved);
    }
    let kernel = spec
        .domain
        .firmware
        .as_ref()
        .and_then(|firmware| firmware.kernel_boot.as_ref());
    if let Some(container) = kernel.and_then(|kernel| kernel.container.as_ref()) {
        let request = request(
            &container.image,
            container.image_pull_policy.as_deref(),
            insecure,
        );
        let (kernel_path, initrd_path) = (
            container.kernel_path.as_deref(),
            container.initrd_path.as_deref(),
        );
        let found = cache
            .kernel(&request, kernel_path, initrd_path)
            .await
            .map_err(failure)?;
        // An initrd alone boots nothing; admission refuses it.
        pulled.kernel = found.kernel.map(|kernel| KernelFiles {
            kernel,
            initrd: found.initrd.clone(),
        });
    }
    Ok(pulled)
}

fn request(reference: &str, policy: Option<&str>, insecure: bool) -> ImageRequest {
    let pull_policy = match policy {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        _ => PullPolicy::IfNotPresent,
    };
    ImageRequest {
        pull_policy,
        insecure,
        ..ImageRequest::new(reference)
    }
}

fn failure(error: PullError) -> PullFailure {
    PullFailure {
        reason: error.reason().to_owned(),
        message: error.message(),
        back_off_message: error.back_off_message(),
    }
}

/// Judges disk images by their headers, for the cache.
pub(crate) fn inspect() -> images::Inspect {
    std::sync::Arc::new(|path| {
        let found = qemu::image::inspect(path).map_err(|refused| refused.to_string())?;
        Ok(images::Inspected {
            format: match found.format {
                qemu::image::Format::Raw => Format::Raw,
                qemu::image::Format::Qcow2 => Format::Qcow2,
            },
            virtual_size_bytes: found.virtual_size_bytes,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_up_to_five_minutes() {
        let seconds: Vec<u64> = (1..=8)
            .map(|failures| back_off(failures).as_secs())
            .collect();
        assert_eq!(seconds, [10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(back_off(u32::MAX), LONGEST_BACK_OFF);
    }

    #[test]
    fn files_are_in_use_as_long_as_any_machine_may_start_with_them() {
        let disk = |path: &str| ResolvedVolume::ContainerDisk {
            path: path.into(),
            format: DiskFormat::Raw,
            virtual_size_bytes: 512,
            digest: "sha256:0".to_owned(),
        };
        let pulled = |path: &str| Pulled {
            disks: BTreeMap::from([("disk".to_owned(), disk(path))]),
            kernel: Some(KernelFiles {
                kernel: "/images/k/kernel".into(),
                initrd: Some("/images/k/initrd".into()),
            }),
        };
        let in_use = InUse::default();
        let held = || -> Vec<String> {
            let files = in_use.files();
            files.iter().map(|it| it.display().to_string()).collect()
        };
        in_use.hold("a", &pulled("/images/a/disk"));
        in_use.hold("b", &pulled("/images/b/disk"));
        in_use.hold("b", &pulled("/images/c/disk"));
        let (initrd, kernel) = ("/images/k/initrd", "/images/k/kernel");
        assert_eq!(held(), ["/images/a/disk", "/images/c/disk", initrd, kernel]);
        in_use.release("a");
        in_use.release("a");
        assert_eq!(held(), ["/images/c/disk", initrd, kernel]);
        in_use.release("b");
        assert!(held().is_empty());
    }

    #[test]
    fn pull_policies_are_the_apis() {
        for (name, policy) in [
            (Some("Always"), PullPolicy::Always),
            (Some("Never"), PullPolicy::Never),
            (Some("IfNotPresent"), PullPolicy::IfNotPresent),
            (None, PullPolicy::IfNotPresent),
        ] {
            assert_eq!(request("image", name, true).pull_policy, policy);
        }
    }
}

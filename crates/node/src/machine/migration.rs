//! Whether a guest can be moved to another node while it runs: it cannot, and says why. Pure.

use api::condition::Condition;
use api::names::conditions::LIVE_MIGRATABLE;
use api::virtual_machine_instance::VirtualMachineInstanceSpec;
use jiff::Timestamp;

/// KubeVirt's reason of a guest whose disks exist on one node only.
const DISKS_NOT_LIVE_MIGRATABLE: &str = "DisksNotLiveMigratable";
/// Ours, where KubeVirt would have none: none of its own would become true by a change of the guest.
const NOT_SERVED: &str = "LiveMigrationNotServed";

/// The condition `LiveMigratable` of a guest that runs on `node`. KubeVirt sets it on every guest that
/// runs, `False` with the first reason that it finds; `now` is used if it is new.
pub(super) fn live_migratable(
    spec: &VirtualMachineInstanceSpec,
    node: &str,
    now: Timestamp,
) -> Condition {
    let never = "anyvirt does not migrate guests while they run";
    let tied = spec.volumes.iter().find(|volume| {
        let disk = volume.host_disk.as_ref();
        disk.is_some_and(|disk| disk.shared != Some(true))
    });
    let (reason, message) = match tied {
        Some(volume) => (
            DISKS_NOT_LIVE_MIGRATABLE,
            format!(
                "cannot migrate VMI with non-shared HostDisk: volume {} is a file of node {node}; and {never}",
                volume.name
            ),
        ),
        None => (
            NOT_SERVED,
            format!(
                "{never}: it stays on node {node} until it is stopped, and is placed anew when it is started again"
            ),
        ),
    };
    Condition::new(LIVE_MIGRATABLE, false, now).because(reason, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_guest_is_migratable_and_each_says_why() {
        let image = json!({ "name": "root", "containerDisk": { "image": "i" } });
        let file = json!({ "name": "data", "hostDisk": { "path": "/d.img", "type": "Disk" } });
        let mut unshared = file.clone();
        unshared["hostDisk"]["shared"] = json!(false);
        let mut shared = file.clone();
        shared["hostDisk"]["shared"] = json!(true);
        let disks = "cannot migrate VMI with non-shared HostDisk: volume data is a file of node n1; and \
                     anyvirt does not migrate guests while they run";
        let ours = "anyvirt does not migrate guests while they run: it stays on node n1 until it is stopped, \
                    and is placed anew when it is started again";
        for (volumes, reason, message) in [
            (json!([]), NOT_SERVED, ours),
            (json!([image]), NOT_SERVED, ours),
            (json!([image, file]), DISKS_NOT_LIVE_MIGRATABLE, disks),
            (json!([unshared]), DISKS_NOT_LIVE_MIGRATABLE, disks),
            (json!([shared]), NOT_SERVED, ours),
            (json!([shared, file]), DISKS_NOT_LIVE_MIGRATABLE, disks),
        ] {
            let spec = json!({ "domain": { "devices": {} }, "volumes": volumes });
            let spec = serde_json::from_value(spec).expect("a spec");
            let told = live_migratable(&spec, "n1", Timestamp::UNIX_EPOCH);
            assert_eq!(
                (told.type_.as_str(), told.status.as_str()),
                ("LiveMigratable", "False")
            );
            let why = (told.reason.as_deref(), told.message.as_deref());
            assert_eq!(why, (Some(reason), Some(message)), "{volumes}");
        }
    }
}

//! Names that objects carry and other programs look for: groups, labels, annotations, finalizers, resources.

/// API group of VirtualMachine, VirtualMachineInstance and KubeVirt.
pub const GROUP: &str = "kubevirt.io";
/// The version in which the kinds of [`GROUP`] are stored.
pub const VERSION: &str = "v1";
/// The deprecated version that is still served.
pub const DEPRECATED_VERSION: &str = "v1alpha3";
/// API group of start, stop, console and the other verbs on virtual machines.
pub const SUBRESOURCES_GROUP: &str = "subresources.kubevirt.io";
/// API group of our own kinds.
pub const OWN_GROUP: &str = "anyvirt.io";
/// The version of the kinds of [`OWN_GROUP`].
pub const OWN_VERSION: &str = "v1alpha1";
/// API group of snapshots and restores of virtual machines.
pub const SNAPSHOT_GROUP: &str = "snapshot.kubevirt.io";
/// The version in which the kinds of [`SNAPSHOT_GROUP`] are stored.
pub const SNAPSHOT_VERSION: &str = "v1beta1";
/// The older version of them that is served.
pub const SNAPSHOT_OLD_VERSION: &str = "v1alpha1";
/// API group of pools of virtual machines.
pub const POOL_GROUP: &str = "pool.kubevirt.io";
/// The version in which the kind of [`POOL_GROUP`] is stored.
pub const POOL_VERSION: &str = "v1beta1";
/// The older version of it that is served.
pub const POOL_OLD_VERSION: &str = "v1alpha1";
/// Websocket subprotocol of console and VNC.
pub const PLAIN_STREAM_PROTOCOL: &str = "plain.kubevirt.io";

/// Namespace of KubeVirt's own objects.
pub const NAMESPACE_KUBEVIRT: &str = "kubevirt";
/// Namespace in which OpenShift Virtualization keeps them.
pub const NAMESPACE_OPENSHIFT_CNV: &str = "openshift-cnv";
/// Name of the legacy configuration ConfigMap.
pub const CONFIG_MAP: &str = "kubevirt-config";
/// Name of the KubeVirt object.
pub const KUBEVIRT: &str = "kubevirt";
/// Name of the HyperConverged object.
pub const HYPER_CONVERGED: &str = "kubevirt-hyperconverged";

/// Labels.
pub mod labels {
    /// On each CRD (empty value) and on pods (`virt-launcher`).
    pub const KUBEVIRT: &str = "kubevirt.io";
    /// Value of [`KUBEVIRT`] on a launcher pod.
    pub const KUBEVIRT_LAUNCHER: &str = "virt-launcher";
    /// On a launcher pod: the VMI's UID.
    pub const CREATED_BY: &str = "kubevirt.io/created-by";
    /// On a launcher pod: the VMI's host name (deprecated upstream).
    pub const VM_NAME: &str = "vm.kubevirt.io/name";
    /// On a launcher pod: the VMI's name, hashed when it is longer than a label may be.
    pub const VMI_ID: &str = "vmi.kubevirt.io/id";
    /// On a launcher pod and a VMI: the node it runs on.
    pub const NODE_NAME: &str = "kubevirt.io/nodeName";
    /// On a node: launcher pods may be placed here.
    pub const SCHEDULABLE: &str = "kubevirt.io/schedulable";
    /// On a node: its processor architecture, in Go's names.
    pub const ARCHITECTURE: &str = "kubernetes.io/arch";
    /// On a Namespace and a Node: the most that is permitted there, `None`, `Hardware` or `Software`.
    pub const EMULATION_POLICY: &str = "anyvirt.io/emulation-policy";
    /// On a Namespace: may its emulated guests share a node with other namespaces' ones? `Allow`, `Warn`
    /// or `Deny`.
    pub const EMULATION_MULTI_TENANCY: &str = "anyvirt.io/emulation-multi-tenancy";
    /// On a node: `usable` or `unusable`.
    pub const HARDWARE_VIRTUALIZATION: &str = "anyvirt.io/hardware-virtualization";
    /// On a node: `true` where `/dev/kvm` exists and opens, whatever it is worth.
    pub const KVM_DEVICE: &str = "anyvirt.io/kvm-device";
    /// On a node, followed by an architecture in Go's names: `true` where such guests can run.
    pub const VM_ARCHITECTURE_PREFIX: &str = "kubevirt.io/vm-arch-";
    /// On a node, followed by a processor model: `true` where guests can have it.
    pub const CPU_MODEL_PREFIX: &str = "cpu-model.node.kubevirt.io/";
    /// On a node, followed by a processor feature: `true` where guests can have it.
    pub const CPU_FEATURE_PREFIX: &str = "cpu-feature.node.kubevirt.io/";
    /// On a node, followed by the model that `host-model` stands for.
    pub const HOST_MODEL_CPU_PREFIX: &str = "host-model-cpu.node.kubevirt.io/";
    /// On a node, followed by its processor's vendor.
    pub const CPU_VENDOR_PREFIX: &str = "cpu-vendor.node.kubevirt.io/";
    /// On a node, followed by a machine type: `true` where guests can have it.
    pub const MACHINE_TYPE_PREFIX: &str = "machine-type.node.kubevirt.io/";
    /// On a node: its host name.
    pub const HOSTNAME: &str = "kubernetes.io/hostname";
    /// On a VirtualMachineSnapshot that its machine's ring has made: the machine's UID.
    pub const SNAPSHOT_RING: &str = "anyvirt.io/snapshot-ring";

    /// On a VM of a pool, its template and so its VMI: the state of the pool's template that it was made of.
    pub const POOL_REVISION: &str = "kubevirt.io/vm-pool-revision-name";

    /// Labels a user may not put on a VMI.
    pub const RESERVED: [&str; 6] = [
        CREATED_BY,
        "kubevirt.io/migrationJobUID",
        NODE_NAME,
        "kubevirt.io/migrationTargetNodeName",
        SCHEDULABLE,
        "kubevirt.io/install-strategy",
    ];
}

/// Annotations.
pub mod annotations {
    /// On a VM or VMI: force one accelerator, `kvm` or `tcg`.
    pub const ACCELERATOR: &str = "anyvirt.io/accelerator";
    /// On a VMI: the accelerator that its VM insisted on when this was last looked at; absent if on
    /// none. One that a person asked the VMI itself for is theirs.
    pub const MACHINE_ACCELERATOR: &str = "anyvirt.io/machine-accelerator";
    /// On a launcher pod and VMI: the policy under which it was made.
    pub const EMULATION_POLICY: &str = "anyvirt.io/emulation-policy";
    /// On a launcher pod and VMI: the place that decided that policy.
    pub const EMULATION_DECIDED_BY: &str = "anyvirt.io/emulation-decided-by";
    /// On a VM or VMI: seconds without any sign of life after which a guest that starts counts as
    /// stuck, instead of what its earlier starts say.
    pub const STUCK_AFTER: &str = "anyvirt.io/stuck-after-seconds";
    /// On a VM's template or VMI: whether it starts from a template, `Auto`, `Never` or `Require`. Written on a VMI that
    /// says nothing by what the cluster wants. On a pool: the same for its machines that say nothing.
    pub const WARM_START: &str = "anyvirt.io/warm-start";
    /// On a VMI, and the template of a pool's VM: the place that decided [`WARM_START`], where that is not the VMI or its VM.
    pub const WARM_START_DECIDED_BY: &str = "anyvirt.io/warm-start-decided-by";
    /// On a VM's template or VMI: a text on the serial console by which a guest that becomes a template is ready,
    /// instead of its login or its agent.
    pub const WARM_START_MARKER: &str = "anyvirt.io/warm-start-marker";
    /// On a VM: `true` saves its guest with its memory and ends it; taken away, it goes on from there. `discard` throws
    /// what was saved away.
    pub const SUSPENDED: &str = "anyvirt.io/suspended";
    /// On a VMI: its guest is to be saved under this name on its node, and to end.
    pub const SAVE_TO: &str = "anyvirt.io/save-to";
    /// On a VM's template or VMI: what becomes of its guest when its host is shut down, `Shutdown` or `Suspend`.
    pub const ON_HOST_SHUTDOWN: &str = "anyvirt.io/on-host-shutdown";
    /// On a VM's template or VMI: the firmware's UUID and serial number that were made up for it, separated by a space;
    /// nobody insists on those.
    pub const GENERATED_FIRMWARE: &str = "anyvirt.io/generated-firmware-identity";
    /// On a VM that is to go on from a saved state, and on the VMI that does: the state's id. That of a snapshot is the
    /// UID of its VirtualMachineSnapshotContent; that of a suspended machine its own UID.
    pub const RESUME_FROM: &str = "anyvirt.io/resume-from";
    /// Beside [`RESUME_FROM`]: `Clock`, the same machine goes on, or `Everything`, it goes on as somebody else.
    pub const RESUME_AS: &str = "anyvirt.io/resume-as";
    /// Beside [`RESUME_FROM`]: the node that has the state.
    pub const RESUME_NODE: &str = "anyvirt.io/resume-node";
    /// Those by which controllers tell each other and nodes what is saved, and what goes on: nobody else writes them.
    pub const OF_CONTROLLERS: [&str; 4] = [SAVE_TO, RESUME_FROM, RESUME_AS, RESUME_NODE];
    /// On a VM: take snapshots with memory again and again, e.g. `every=1m,keep=5`.
    pub const SNAPSHOT_RING: &str = "anyvirt.io/snapshot-ring";
    /// On a VirtualMachineSnapshotContent: UID of the VirtualMachineRestore before which its node is to look through the
    /// memory. It answers in `status.memory.checked`.
    pub const CHECK_REQUESTED: &str = "anyvirt.io/check-requested";
    /// On a VM: name and UID of the VirtualMachineRestore that has written its spec last.
    pub const LAST_RESTORE: &str = "restore.kubevirt.io/lastRestoreUID";
    /// On a launcher pod and VMI: every place that had a say in that policy, a JSON list.
    pub const EMULATION_CONSIDERED: &str = "anyvirt.io/emulation-considered";
    /// On a node: its verdict on hardware virtualization, a JSON object (class, stage, evidence, at,
    /// took, runs).
    pub const HARDWARE_VIRTUALIZATION_VERDICT: &str = "anyvirt.io/hardware-virtualization-verdict";
    /// On a node: how many times slower than KVM an emulated guest is there, e.g. `7.8`; absent where
    /// it was not measured.
    pub const TCG_SLOWDOWN: &str = "anyvirt.io/tcg-slowdown";
    /// On HyperConverged: a JSON patch for the KubeVirt object.
    pub const HYPER_CONVERGED_PATCH: &str = "kubevirt.kubevirt.io/jsonpatch";
    /// On a VMI: the VM's generation it was made from.
    pub const VM_GENERATION: &str = "kubevirt.io/vm-generation";
    /// On a launcher pod: the VMI's name.
    pub const DOMAIN: &str = "kubevirt.io/domain";
    /// On a launcher pod: the container `kubectl logs` shows.
    pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
    /// On a launcher pod: the guest's virtual processors.
    pub const PROCESSORS: &str = "anyvirt.io/processors";
    /// On a launcher pod: bytes added to the guest's memory.
    pub const MEMORY_OVERHEAD: &str = "kubevirt.io/memory-overhead-bytes";
    /// On a node, by whoever wants its verdict taken again: any token. Answered by
    /// [`VERDICT_RETAKEN`].
    pub const RETAKE_VERDICT: &str = "anyvirt.io/retake-verdict";
    /// On a node: the token of the last [`RETAKE_VERDICT`] that was answered.
    pub const VERDICT_RETAKEN: &str = "anyvirt.io/verdict-retaken";
    /// On a node, by who knows better than its probe: `true` takes hardware virtualization for
    /// usable, with the class `Assumed`, until a guest proves the contrary.
    pub const ASSUME_HARDWARE_VIRTUALIZATION: &str = "anyvirt.io/assume-hardware-virtualization";
    /// On a node: the processor models that guests can have there, by accelerator, a JSON object.
    pub const CPU_MODELS: &str = "anyvirt.io/cpu-models";
    /// On a node: when its agent was last heard.
    pub const HEARTBEAT: &str = "kubevirt.io/heartbeat";
    /// Written by `kubectl apply`; never copied to pods.
    pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
    /// The API version a client used last; never copied to pods.
    pub const LATEST_OBSERVED_API_VERSION: &str = "kubevirt.io/latest-observed-api-version";
}

/// Finalizers.
pub mod finalizers {
    /// On a VM and on a VMI that a VM made: taken off by the VM controller.
    pub const VIRTUAL_MACHINE_CONTROLLER: &str = "kubevirt.io/virtualMachineControllerFinalize";
    /// On each VMI: taken off when its guest and pod are gone.
    pub const FOREGROUND_DELETE: &str = "kubevirt.io/foregroundDeleteVirtualMachine";
}

/// Finalizers of snapshots, as KubeVirt names them.
pub mod snapshot_finalizers {
    /// On a VirtualMachineSnapshot.
    pub const SNAPSHOT: &str = "snapshot.kubevirt.io/vmsnapshot-protection";
    /// On a VirtualMachineSnapshotContent: taken off when its snapshot goes.
    pub const CONTENT: &str = "snapshot.kubevirt.io/vmsnapshotcontent-protection";
    /// On a VirtualMachineRestore.
    pub const RESTORE: &str = "snapshot.kubevirt.io/vmrestore-protection";
    /// On a VM of which a snapshot is being taken.
    pub const SOURCE: &str = "snapshot.kubevirt.io/snapshot-source-protection";
}

/// Resources a node offers and a launcher pod asks for.
pub mod resources {
    /// Hardware virtualization.
    pub const KVM: &str = "devices.kubevirt.io/kvm";
    /// The kernel's half of virtio networking.
    pub const VHOST_NET: &str = "devices.kubevirt.io/vhost-net";
    /// Tap devices.
    pub const TUN: &str = "devices.kubevirt.io/tun";
    /// Sockets between guests and their host.
    pub const VHOST_VSOCK: &str = "devices.kubevirt.io/vhost-vsock";
    /// How many of each a working device offers, as KubeVirt's device plugins do.
    pub const PER_DEVICE: i64 = 1000;
}

/// Containers of a launcher pod.
pub mod containers {
    /// The one that runs the guest.
    pub const COMPUTE: &str = "compute";
    /// The one whose log is the guest's serial console.
    pub const GUEST_CONSOLE_LOG: &str = "guest-console-log";
    /// The pod volume that carries the kernel of `kernelBoot.container`.
    pub const KERNEL_BOOT_VOLUME: &str = "kernel-boot";
}

/// Conditions: KubeVirt's of launcher pods, and those that anyvirt adds to KubeVirt's.
pub mod conditions {
    /// On a launcher pod, as its readiness gate: its guest is not paused.
    pub const UNPAUSED: &str = "kubevirt.io/virtual-machine-unpaused";
    /// On a node: does hardware virtualization work here?
    pub const HARDWARE_VIRTUALIZATION: &str = "HardwareVirtualization";
    /// On a VMI: it waits until other emulated guests of its node have booted.
    pub const START_QUEUED: &str = "StartQueued";
    /// On a VMI that runs, and its VM: can it be moved to another node while it runs?
    pub const LIVE_MIGRATABLE: &str = "LiveMigratable";
    /// On a VMI and VM: is the guest emulated in software?
    pub const SOFTWARE_EMULATION: &str = "SoftwareEmulation";
    /// On a VMI: are the emulated guests on its node all of one owner?
    pub const EMULATION_ISOLATION: &str = "EmulationIsolation";
    /// On a VMI and VM: started again now, it would run on another accelerator, or not at all.
    pub const ACCELERATOR_OUTDATED: &str = "AcceleratorOutdated";
    /// The reason of [`ACCELERATOR_OUTDATED`] of an emulated guest for which the hardware of another
    /// node has room, by the scheduler's own choice.
    pub const HARDWARE_FREE_ELSEWHERE: &str = "HardwareFreeElsewhere";
    /// On a VMI: does it go on from a template, and if not, why did it boot?
    pub const WARM_START: &str = "WarmStart";
    /// On a VM: its guest is saved, and does not run.
    pub const SUSPENDED: &str = "Suspended";
    /// On a VMI: its guest was saved, or could not be.
    pub const SAVED: &str = "Saved";
    /// On a VMI: its guest goes on from what was saved.
    pub const RESUMED: &str = "Resumed";
    /// On the KubeVirt object: were all places of configuration understood, and do they agree?
    pub const EMULATION_CONFIGURATION: &str = "EmulationConfiguration";
}

/// Components that write events, as KubeVirt names them.
pub mod components {
    /// Events about VMs, VMIs and pods by the controllers.
    pub const VIRTUAL_MACHINE_CONTROLLER: &str = "virtualmachine-controller";
    /// Events about snapshots by the controllers.
    pub const SNAPSHOT_CONTROLLER: &str = "snapshot-controller";
    /// Events about restores by the controllers.
    pub const RESTORE_CONTROLLER: &str = "restore-controller";
    /// Events about pools by the controllers.
    pub const POOL_CONTROLLER: &str = "virtualmachinepool-controller";
    /// Events about running guests by the node agent.
    pub const VIRT_HANDLER: &str = "virt-handler";
}

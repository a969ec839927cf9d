import type { Condition, KubernetesObject } from '../kubernetes/object';

/** A virtual machine that exists whether it runs or not, as far as pages read it. */
export interface VirtualMachine extends KubernetesObject {
  spec: {
    running?: boolean;
    runStrategy?: RunStrategy;
    template?: { metadata?: { labels?: Record<string, string>; annotations?: Record<string, string> }; spec: MachineSpec };
  };
  status?: {
    created?: boolean;
    ready?: boolean;
    printableStatus?: PrintableStatus;
    accelerator?: string;
    runStrategy?: RunStrategy;
    conditions?: Condition[];
    stateChangeRequests?: { action: 'Start' | 'Stop'; uid?: string }[];
    startFailure?: { consecutiveFailCount?: number; retryAfterTimestamp?: string };
    observedGeneration?: number;
    desiredGeneration?: number;
  };
}

/** When a virtual machine runs. */
export type RunStrategy = 'Always' | 'Halted' | 'Manual' | 'RerunOnFailure' | 'Once';

/** KubeVirt's one word for a virtual machine. */
export const PRINTABLE_STATUSES = [
  'Stopped', 'Provisioning', 'Starting', 'Running', 'Paused', 'Suspended', 'Stopping', 'Terminating', 'CrashLoopBackOff',
  'Migrating', 'Unknown', 'ErrorUnschedulable', 'ErrImagePull', 'ImagePullBackOff', 'ErrorPvcNotFound',
  'DataVolumeError', 'WaitingForVolumeBinding', 'WaitingForReceiver',
] as const;

/** One of {@link PRINTABLE_STATUSES}. */
export type PrintableStatus = (typeof PRINTABLE_STATUSES)[number];

/** What an instance shall be. */
export interface MachineSpec {
  architecture?: string;
  emulationPolicy?: EmulationPolicy;
  terminationGracePeriodSeconds?: number;
  nodeSelector?: Record<string, string>;
  domain: {
    cpu?: { cores?: number; sockets?: number; threads?: number; model?: string };
    memory?: { guest?: string };
    resources?: { requests?: Record<string, string>; limits?: Record<string, string> };
    machine?: { type?: string };
    firmware?: { uuid?: string; serial?: string; kernelBoot?: { container?: { image?: string } } };
    devices: { disks?: Disk[]; interfaces?: NetworkInterface[]; autoattachGraphicsDevice?: boolean; autoattachSerialConsole?: boolean; autoattachPodInterface?: boolean };
  };
  livenessProbe?: object;
  networks?: { name: string; pod?: object }[];
  volumes?: Volume[];
}

/** A disk as the guest sees it. */
export interface Disk {
  name: string;
  bootOrder?: number;
  disk?: { bus?: string; readonly?: boolean };
  cdrom?: { bus?: string };
}

/** A network interface as the guest sees it. */
export interface NetworkInterface {
  name: string;
  model?: string;
  masquerade?: object;
  macAddress?: string;
  ports?: { port: number; name?: string; protocol?: string }[];
}

/** Where a disk's content comes from. */
export interface Volume {
  name: string;
  containerDisk?: { image: string; path?: string };
  cloudInitNoCloud?: { userData?: string; userDataBase64?: string; secretRef?: { name?: string } };
  emptyDisk?: { capacity: string };
  hostDisk?: { path: string; type: string; capacity?: string };
}

/** The worst way to run guests that is permitted. */
export type EmulationPolicy = 'None' | 'Hardware' | 'Software';

/** A virtual machine that runs, or is about to. */
export interface VirtualMachineInstance extends KubernetesObject {
  spec: MachineSpec;
  status?: {
    phase?: 'Pending' | 'Scheduling' | 'Scheduled' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown' | 'WaitingForSync';
    phaseTransitionTimestamps?: { phase: string; phaseTransitionTimestamp: string }[];
    reason?: string;
    nodeName?: string;
    accelerator?: AcceleratorStatus;
    startTimeline?: StartTimeline;
    conditions?: Condition[];
    interfaces?: { name?: string; ipAddress?: string; ipAddresses?: string[]; mac?: string; interfaceName?: string; linkState?: string }[];
    guestOSInfo?: { name?: string; prettyName?: string; version?: string; kernelRelease?: string };
    volumeStatus?: { name: string; target?: string; phase?: string; reason?: string; message?: string; size?: number }[];
    machine?: { type?: string };
    currentCPUTopology?: { cores?: number; sockets?: number; threads?: number };
    memory?: { guestAtBoot?: string; guestCurrent?: string; guestRequested?: string; memoryOverhead?: string };
    qosClass?: string;
    launcherContainerImageVersion?: string;
  };
}

/** What runs the guest's instructions, and why: QEMU's own answer, never the setting. */
export interface AcceleratorStatus {
  /** `KVM` or `TCG`. */
  type: string;
  reason?: string;
  message?: string;
  policy?: string;
  decidedBy?: string;
  considered?: { scope: string; place: string; policy: string }[];
  expectedSlowdown?: string;
  isolation?: string;
  architecture?: string;
  adjustments?: string[];
}

/** The start of a guest, step by step. */
export interface StartTimeline {
  startedAt: string;
  steps: { name: string; at?: string; usualSeconds?: number }[];
  progressPercent: number;
  estimate?: { lowSeconds: number; highSeconds: number; basis: string; starts: number };
  trouble?: { reason: string; message: string; at: string };
  stuck?: { since: string; usualSeconds?: number; message: string };
}

/** A machine with its instance, if it has one: what most pages show. */
export interface Machine {
  vm: VirtualMachine;
  vmi: VirtualMachineInstance | undefined;
}

/** What the machine's one word is. */
export function statusOf(machine: Machine): PrintableStatus {
  if (machine.vm.metadata.deletionTimestamp !== undefined) return 'Terminating';
  return machine.vm.status?.printableStatus ?? 'Stopped';
}

/** The strategy in force: `runStrategy`, else what the deprecated `running` stands for. */
export function strategyOf(vm: VirtualMachine): RunStrategy | undefined {
  if (vm.spec.runStrategy !== undefined) return vm.spec.runStrategy;
  if (vm.spec.running === undefined) return undefined;
  return vm.spec.running ? 'Always' : 'Halted';
}

/** The number of virtual processors a spec asks for. */
export function processorsOf(spec: MachineSpec | undefined): number {
  const { sockets = 1, cores = 1, threads = 1 } = spec?.domain.cpu ?? {};
  return sockets * cores * threads;
}

/** The memory that the guest sees, as it was written. */
export function memoryOf(spec: MachineSpec | undefined): string | undefined {
  return spec?.domain.memory?.guest ?? spec?.domain.resources?.requests?.memory ?? spec?.domain.resources?.limits?.memory;
}

/** The guest's address, if one is known. */
export function addressOf(machine: Machine): string | undefined {
  return machine.vmi?.status?.interfaces?.find((one) => one.ipAddress !== undefined)?.ipAddress;
}

/** Each machine with the instance of its name. */
export function machinesOf(
  vms: ReadonlyMap<string, VirtualMachine>,
  instances: ReadonlyMap<string, VirtualMachineInstance>,
): Machine[] {
  return [...vms].map(([key, vm]) => ({ vm, vmi: instances.get(key) }));
}

/** Instances that no machine of their name stands for: somebody made them by themselves. */
export function instancesAlone(
  vms: ReadonlyMap<string, VirtualMachine>,
  instances: ReadonlyMap<string, VirtualMachineInstance>,
): VirtualMachineInstance[] {
  const isOwned = ({ metadata }: VirtualMachineInstance): boolean => metadata.ownerReferences?.some(({ kind }) => kind === 'VirtualMachine') ?? false;
  return [...instances].flatMap(([key, instance]) => (vms.has(key) || isOwned(instance) ? [] : [instance]));
}

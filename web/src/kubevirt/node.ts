import { type Condition, conditionOf, type KubernetesObject } from '../kubernetes/object';
import { t } from '../words/words';

/** A machine of the cluster, as far as pages read it. */
export interface Node extends KubernetesObject {
  spec?: { unschedulable?: boolean };
  status?: {
    conditions?: Condition[];
    capacity?: Record<string, string>;
    allocatable?: Record<string, string>;
    nodeInfo?: { kernelVersion?: string; osImage?: string; architecture?: string; kubeletVersion?: string };
    addresses?: { type: string; address: string }[];
    images?: { names?: string[]; sizeBytes?: number }[];
  };
}

/** What the node agent's probe found. */
export interface Verdict {
  usable: boolean;
  /** E.g. `DeviceMissing`; empty if nobody looked. */
  class: string;
  /** A sentence, the evidence. */
  message: string;
  since: string | undefined;
  stage: string | undefined;
  took: string | undefined;
  at: string | undefined;
}

const VERDICT = 'anyvirt.io/hardware-virtualization-verdict';
/** How many times slower than KVM an emulated guest is there. */
export const SLOWDOWN = 'anyvirt.io/tcg-slowdown';
/** The cap of a Namespace or a Node. */
export const CAP = 'anyvirt.io/emulation-policy';

/** The verdict on a node's hardware virtualization. */
export function verdictOf(node: Node): Verdict {
  const condition = conditionOf(node.status?.conditions, 'HardwareVirtualization');
  const probe = probeOf(node);
  return {
    usable: condition?.status === 'True',
    class: condition?.reason ?? '',
    message: condition?.message ?? t('Nobody has looked at hardware virtualization on this node yet.'),
    since: condition?.lastTransitionTime,
    stage: probe.stage,
    took: probe.took,
    at: probe.at,
  };
}

function probeOf(node: Node): { stage?: string; took?: string; at?: string } {
  const text = node.metadata.annotations?.[VERDICT];
  if (text === undefined) return {};
  try {
    return JSON.parse(text) as { stage?: string; took?: string; at?: string };
  } catch {
    return {};
  }
}

/** Is its agent heard? */
export function isReady(node: Node): boolean {
  return conditionOf(node.status?.conditions, 'Ready')?.status === 'True';
}

/** A pod, as far as it is read: what it asks of its node. */
export interface Pod extends KubernetesObject {
  spec?: { nodeName?: string; containers?: { resources?: { requests?: Record<string, string>; limits?: Record<string, string> } }[] };
  status?: { phase?: string };
}

/** How many of each device the pods on a node hold, by the resource's name. */
export function devicesHeld(node: string, pods: Iterable<Pod>): Readonly<Record<string, number>> {
  const held: Record<string, number> = {};
  for (const { spec, status } of pods) {
    if (spec?.nodeName !== node || status?.phase === 'Succeeded' || status?.phase === 'Failed') continue;
    for (const { resources } of spec.containers ?? []) {
      const asked = Object.entries({ ...resources?.requests, ...resources?.limits });
      for (const [name, amount] of asked) if (name.startsWith('devices.kubevirt.io/')) held[name] = (held[name] ?? 0) + Number(amount);
    }
  }
  return held;
}

/** One device a node may offer to guests. */
export interface Device {
  name: 'kvm' | 'vhost-net' | 'tun' | 'vhost-vsock';
  /** The resource that launcher pods ask for. */
  resource: string;
  offered: boolean;
  allocatable: string;
  /** What it is good for. */
  purpose: string;
  /** Why it is not offered, and what helps; empty if it is. */
  missing: string;
}

/** The devices of a node, and why one is missing. */
export function devicesOf(node: Node): Device[] {
  const verdict = verdictOf(node);
  const device = (name: Device['name'], purpose: string, missing: string): Device => {
    const resource = `devices.kubevirt.io/${name}`;
    const allocatable = node.status?.allocatable?.[resource] ?? '0';
    const offered = allocatable !== '0';
    return { name, resource, offered, allocatable, purpose, missing: offered ? '' : missing };
  };
  return [
    device('kvm', t('Runs guests on the processor itself.'), `${verdict.class === '' ? '' : `${verdict.class}: `}${verdict.message}`),
    device('vhost-net', t("The kernel's half of virtio networking."), t('/dev/vhost-net is not there or cannot be used. On the node: sudo modprobe vhost_net.')),
    device('tun', t('Tap devices, which connect guests to networks.'), t('/dev/net/tun is not there or cannot be used. On the node: sudo modprobe tun.')),
    device('vhost-vsock', t('Sockets between a guest and its host.'), t('/dev/vhost-vsock is not there. Only guests with autoattachVSOCK need it: sudo modprobe vhost_vsock.')),
  ];
}

import { quantity } from '../words/measures';
import type { VirtualMachineInstance } from './machine';
import { memoryOf, processorsOf } from './machine';
import { isReady, type Node } from './node';

/** What guests take of a node, and what it has for them. Memory in bytes. */
export interface Usage {
  guests: number;
  processors: { used: number; all: number };
  memory: { used: number; all: number };
}

/** Does it hold a place on a node: it runs, or is about to? */
function holdsPlace({ status }: VirtualMachineInstance): boolean {
  return status?.phase !== 'Succeeded' && status?.phase !== 'Failed';
}

/** What the guests on `node` take: processors that they see, memory with what QEMU needs beside it. */
export function usageOf(node: Node, instances: Iterable<VirtualMachineInstance>): Usage {
  const usage: Usage = {
    guests: 0,
    processors: { used: 0, all: quantity(node.status?.allocatable?.cpu) ?? 0 },
    memory: { used: 0, all: quantity(node.status?.allocatable?.memory) ?? 0 },
  };
  for (const instance of instances) {
    if (instance.status?.nodeName !== node.metadata.name || !holdsPlace(instance)) continue;
    usage.guests += 1;
    usage.processors.used += processorsOf(instance.spec);
    usage.memory.used += (quantity(memoryOf(instance.spec)) ?? 0) + (quantity(instance.status.memory?.memoryOverhead) ?? 0);
  }
  return usage;
}

/** Does a machine find room? Of the node with the most free memory. */
export interface Fit {
  node: string;
  /** `tight`: its guest's memory is free, but what QEMU needs beside it may not be. */
  is: 'fits' | 'tight' | 'full';
  freeMemory: number;
  usage: Usage;
}

const MEBIBYTE = 2 ** 20;
/** Bytes that QEMU needs at most beside a guest's memory, which emulated keeps translated code (crates/api/src/resources.rs). */
const BESIDE = { KVM: 200 * MEBIBYTE, TCG: 800 * MEBIBYTE } as const;

/** Whether a guest with so much memory (bytes) fits; undefined if no node takes machines. */
export function fitOf(memory: number, isEmulated: boolean, nodes: readonly Node[], instances: readonly VirtualMachineInstance[]): Fit | undefined {
  const open = nodes.filter((node) => isReady(node) && node.spec?.unschedulable !== true);
  const free = open.map((node) => {
    const usage = usageOf(node, instances);
    return { node: node.metadata.name, usage, freeMemory: usage.memory.all - usage.memory.used };
  });
  const [best] = free.sort((a, b) => b.freeMemory - a.freeMemory);
  if (best === undefined) return undefined;
  const beside = isEmulated ? BESIDE.TCG : BESIDE.KVM;
  return { ...best, is: memory > best.freeMemory ? 'full' : memory + beside > best.freeMemory ? 'tight' : 'fits' };
}

/** Seconds from the request to the login that a start of `image` takes, and what that is known from. */
export interface UsualLogin {
  low: number;
  high: number;
  /** The node's words, or that one start was measured. */
  basis: string | undefined;
}

/** What is known of starts of `image` from the instances that there are: the node's estimate, else a start that was measured. */
export function usualLogin(image: string, instances: readonly VirtualMachineInstance[]): UsualLogin | undefined {
  const same = instances.filter(({ spec }) => spec.volumes?.some(({ containerDisk }) => containerDisk?.image === image));
  const timelines = same.flatMap(({ status }) => status?.startTimeline ?? []);
  const estimate = timelines.find((timeline) => timeline.estimate !== undefined)?.estimate;
  if (estimate !== undefined) return { low: estimate.lowSeconds, high: estimate.highSeconds, basis: estimate.basis };
  for (const { startedAt, steps } of timelines) {
    const at = steps.find(({ name }) => name === 'login')?.at;
    const took = at === undefined ? Number.NaN : (Date.parse(at) - Date.parse(startedAt)) / 1000;
    if (took > 0) return { low: took, high: took, basis: undefined };
  }
  return undefined;
}

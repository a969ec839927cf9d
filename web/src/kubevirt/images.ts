import { instancesAlone, type Machine, type MachineSpec, type VirtualMachine, type VirtualMachineInstance } from './machine';
import type { Node } from './node';

/** An image and who uses it. */
export interface UsedImage {
  image: string;
  /** `disk`, or `kernel` for a kernel and its initial disk. */
  purpose: 'disk' | 'kernel';
  machines: { namespace: string; name: string; isRunning: boolean }[];
}

function imagesOf(vm: VirtualMachine): { image: string; purpose: UsedImage['purpose'] }[] {
  const spec = vm.spec.template?.spec;
  const disks = (spec?.volumes ?? []).flatMap(({ containerDisk }) => (containerDisk === undefined ? [] : [{ image: containerDisk.image, purpose: 'disk' as const }]));
  const kernel = spec?.domain.firmware?.kernelBoot?.container?.image;
  return kernel === undefined ? disks : [...disks, { image: kernel, purpose: 'kernel' as const }];
}

/** The images that machines use, by name. */
export function imagesInUse(machines: readonly Machine[]): UsedImage[] {
  const found = new Map<string, UsedImage>();
  for (const { vm, vmi } of machines) {
    for (const { image, purpose } of imagesOf(vm)) {
      const key = `${purpose} ${image}`;
      const entry = found.get(key) ?? { image, purpose, machines: [] };
      const { namespace = 'default', name } = vm.metadata;
      entry.machines.push({ namespace, name, isRunning: vmi?.status?.phase === 'Running' });
      found.set(key, entry);
    }
  }
  return [...found.values()].sort((a, b) => (a.image < b.image ? -1 : 1));
}

/** An image that machines use, or that a node keeps. */
export interface ImageRow {
  key: string;
  image: string;
  /** What machines use it for; undefined if none does. */
  purpose: UsedImage['purpose'] | undefined;
  machines: UsedImage['machines'];
  /** Nodes that keep it, and the bytes that it takes there. */
  nodes: readonly { name: string; bytes: number }[];
}

/** Images that a node tells at most (crates/node/src/registration.rs), the largest. */
export const MOST_TOLD = 50;

/** All images that are used or kept: those in use first. */
export function imageRows(machines: readonly Machine[], nodes: readonly Node[]): ImageRow[] {
  const kept = nodes.flatMap((node) => (node.status?.images ?? []).map(({ names = [], sizeBytes = 0 }) => ({ names, at: { name: node.metadata.name, bytes: sizeBytes } })));
  const used = imagesInUse(machines);
  const inUse = used.map(({ image, purpose, machines: users }) => ({
    key: `${purpose} ${image}`, image, purpose, machines: users, nodes: kept.filter(({ names }) => names.includes(image)).map(({ at }) => at),
  }));
  const others = new Map<string, ImageRow>();
  for (const { names, at } of kept) {
    const [image] = names;
    if (image === undefined || used.some((one) => names.includes(one.image))) continue;
    const row = others.get(image) ?? { key: image, image, purpose: undefined, machines: [], nodes: [] };
    others.set(image, { ...row, nodes: [...row.nodes, at] });
  }
  return [...inUse, ...[...others.values()].sort((a, b) => (a.image < b.image ? -1 : 1))];
}

/** Nodes that keep an image of that name. */
export function keepersOf(image: string, nodes: readonly Node[]): string[] {
  return nodes.filter((node) => node.status?.images?.some(({ names }) => names?.includes(image))).map(({ metadata }) => metadata.name);
}

/** A volume of a machine. */
export interface UsedVolume {
  key: string;
  namespace: string;
  machine: string;
  name: string;
  kind: string;
  source: string;
  size: number | undefined;
  /** Does what is written to it outlive the guest? */
  isKept: boolean;
  /** Has its instance no VirtualMachine that would start it again? */
  isOrphan: boolean;
}

/** The volumes of all machines, and of instances that no machine stands for. */
export function volumesInUse(vms: ReadonlyMap<string, VirtualMachine>, instances: ReadonlyMap<string, VirtualMachineInstance>): UsedVolume[] {
  const ofMachines = [...vms].flatMap(([key, { metadata, spec }]) => volumesOf(metadata, spec.template?.spec, instances.get(key), false));
  const alone = instancesAlone(vms, instances).flatMap((instance) => volumesOf(instance.metadata, instance.spec, instance, true));
  return [...ofMachines, ...alone];
}

function volumesOf(metadata: VirtualMachine['metadata'], spec: MachineSpec | undefined, vmi: VirtualMachineInstance | undefined, isOrphan: boolean): UsedVolume[] {
  const { namespace = 'default', name: machine } = metadata;
  return (spec?.volumes ?? []).map((volume) => {
    const told = vmi?.status?.volumeStatus?.find((one) => one.name === volume.name);
    const kind = Object.keys(volume).find((key) => key !== 'name') ?? '';
    const source = volume.containerDisk?.image ?? volume.hostDisk?.path ?? volume.emptyDisk?.capacity ?? '';
    return { key: `${namespace}/${machine}/${volume.name}`, namespace, machine, name: volume.name, kind, source, size: told?.size, isKept: kind === 'hostDisk', isOrphan };
  });
}

import type { Machine, VirtualMachine } from './machine';

/** An image and who uses it. */
export interface UsedImage {
  image: string;
  /** `disk`, or `kernel` for a kernel and its initial disk. */
  purpose: 'disk' | 'kernel';
  machines: { namespace: string; name: string; isRunning: boolean }[];
}

interface WithKernel {
  firmware?: { kernelBoot?: { container?: { image?: string } } };
}

function imagesOf(vm: VirtualMachine): { image: string; purpose: UsedImage['purpose'] }[] {
  const spec = vm.spec.template?.spec;
  const disks = (spec?.volumes ?? []).flatMap(({ containerDisk }) => (containerDisk === undefined ? [] : [{ image: containerDisk.image, purpose: 'disk' as const }]));
  const kernel = (spec?.domain as WithKernel | undefined)?.firmware?.kernelBoot?.container?.image;
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
}

/** The volumes of all machines. */
export function volumesInUse(machines: readonly Machine[]): UsedVolume[] {
  return machines.flatMap(({ vm, vmi }) => {
    const { namespace = 'default', name: machine } = vm.metadata;
    return (vm.spec.template?.spec.volumes ?? []).map((volume) => {
      const told = vmi?.status?.volumeStatus?.find((one) => one.name === volume.name);
      const kind = Object.keys(volume).find((key) => key !== 'name') ?? '';
      const source = volume.containerDisk?.image ?? volume.hostDisk?.path ?? volume.emptyDisk?.capacity ?? '';
      return { key: `${namespace}/${machine}/${volume.name}`, namespace, machine, name: volume.name, kind, source, size: told?.size, isKept: kind === 'hostDisk' };
    });
  });
}

import { t } from '../words/words';
import type { Disk, Machine, MachineSpec, NetworkInterface, RunStrategy, VirtualMachine, Volume } from './machine';
import { memoryOf } from './machine';
import { flawOfDisk, type Flaws, isAmount, isCount, labelsOf, linesOf, portsOf, portsText, SIZE_FLAW, volumeOf } from './new-machine';

/** A disk of a machine, as its form shows it. */
export interface DiskRow {
  name: string;
  /** Of which kind its volume is, e.g. `containerDisk`. */
  kind: string;
  /** The image of a container disk, the path of a host disk. */
  source: string;
  /** The size of an empty disk, or of a host disk that is made. */
  size: string;
  /** Empty: as is usual. */
  bus: string;
  /** A number, the lowest first; empty: none. */
  bootOrder: string;
}

type Port = NonNullable<NetworkInterface['ports']>[number];

/** A network card of a machine, as its form shows it. */
export interface CardRow {
  name: string;
  model: string;
  mac: string;
  ports: string;
}

/** What a person may change in the form of a machine. */
export interface Configured {
  /** Cores per socket; see {@link processorsPerCore}. */
  cores: number;
  memory: string;
  runStrategy: string;
  emulationPolicy: string;
  disks: readonly DiskRow[];
  cards: readonly CardRow[];
  machineType: string;
  hasScreen: boolean;
  grace: string;
  /** Cloud-init user data; undefined if the machine has none of its own, or keeps it in a Secret. */
  userData: string | undefined;
  /** Labels of the machine itself, and of the instances that are made from it: a line each. */
  labels: string;
  instanceLabels: string;
}

/** How many processors one core per socket makes: 1, unless the machine has several sockets, or threads per core. */
export function processorsPerCore(machine: Machine): number {
  const { sockets = 1, threads = 1 } = machine.vm.spec.template?.spec.domain.cpu ?? {};
  return sockets * threads;
}

/** The form's values of a machine. */
export function configuredOf({ metadata, spec }: VirtualMachine): Configured {
  const template = spec.template?.spec;
  return {
    cores: template?.domain.cpu?.cores ?? 1,
    memory: memoryOf(template) ?? '',
    runStrategy: spec.runStrategy ?? (spec.running === true ? 'Always' : 'Halted'),
    emulationPolicy: template?.emulationPolicy ?? '',
    disks: (template?.volumes ?? []).map((volume) => diskRowOf(volume, template?.domain.devices.disks)),
    cards: (template?.domain.devices.interfaces ?? []).map(({ name, model = '', macAddress = '', ports = [] }) => ({ name, model, mac: macAddress, ports: portsText(ports) })),
    machineType: template?.domain.machine?.type ?? '',
    hasScreen: template?.domain.devices.autoattachGraphicsDevice !== false,
    grace: template?.terminationGracePeriodSeconds === undefined ? '' : String(template.terminationGracePeriodSeconds),
    userData: template?.volumes?.find(hasOwnData)?.cloudInitNoCloud?.userData,
    labels: linesOf(metadata.labels),
    instanceLabels: linesOf(spec.template?.metadata?.labels),
  };
}

function hasOwnData(volume: Volume): boolean {
  return volume.cloudInitNoCloud?.userData !== undefined;
}

function diskRowOf(volume: Volume, disks: readonly Disk[] | undefined): DiskRow {
  const disk = disks?.find(({ name }) => name === volume.name);
  return {
    name: volume.name,
    kind: Object.keys(volume).find((key) => key !== 'name') ?? '',
    source: volume.containerDisk?.image ?? volume.hostDisk?.path ?? '',
    size: volume.emptyDisk?.capacity ?? volume.hostDisk?.capacity ?? '',
    bus: disk?.disk?.bus ?? disk?.cdrom?.bus ?? '',
    bootOrder: disk?.bootOrder === undefined ? '' : String(disk.bootOrder),
  };
}

/** A disk that is added: empty, with the first name that neither the form has nor the machine, of which it may have been taken away. */
export function addedDisk(disks: readonly DiskRow[], vm: VirtualMachine): DiskRow {
  const taken = new Set([...disks, ...(vm.spec.template?.spec.volumes ?? [])].map(({ name }) => name));
  let number = 1;
  while (taken.has(`disk-${number}`)) number += 1;
  return { name: `disk-${number}`, kind: 'emptyDisk', source: '', size: '1Gi', bus: 'virtio', bootOrder: '' };
}

/** What is wrong with each field: a disk's by `disk NAME`, a card's by `card NAME`. */
export function flawsIn(configured: Configured): Flaws {
  const flaws: Record<string, string> = {};
  if (!isCount(configured.cores)) flaws.cores = t('A whole number, at least one.');
  if (!isAmount(configured.memory)) flaws.memory = SIZE_FLAW();
  for (const disk of configured.disks) {
    const { name } = disk;
    const flaw = flawOfDisk(disk, disk.size !== '');
    if (flaw !== undefined) flaws[`disk ${name}`] = flaw;
    if (!/^([1-9]\d*)?$/.test(disk.bootOrder)) flaws[`disk ${name}`] = t('Its place in the order is a number from 1 on, or empty.');
  }
  for (const { name, ports } of configured.cards) if (portsOf(ports) === undefined) flaws[`card ${name}`] = t('Numbers from 1 to 65535 with commas between, e.g. 22, 53/UDP.');
  if (!/^\d*$/.test(configured.grace)) flaws.grace = t('A number of seconds.');
  if (labelsOf(configured.labels) === undefined) flaws.labels = t('One key=value in each line, each key once.');
  if (labelsOf(configured.instanceLabels) === undefined) flaws.instanceLabels = t('One key=value in each line, each key once.');
  return flaws;
}

/** The machine with what differs between `before` and `after`. What the form does not show stays as it is. */
export function configured(vm: VirtualMachine, before: Configured, after: Configured): VirtualMachine {
  const next = structuredClone(vm);
  const differs = (key: keyof Configured): boolean => JSON.stringify(before[key]) !== JSON.stringify(after[key]);
  const template = next.spec.template;
  if (differs('runStrategy')) {
    next.spec.runStrategy = after.runStrategy as RunStrategy;
    // The deprecated way to say it excludes the other.
    delete next.spec.running;
  }
  if (differs('labels')) put(next.metadata, 'labels', unlessEmpty(labelsOf(after.labels)));
  if (template === undefined) return next;
  const { spec } = template;
  const { domain } = spec;
  if (differs('cores')) domain.cpu = { ...domain.cpu, cores: after.cores };
  if (differs('memory')) domain.memory = { ...domain.memory, guest: after.memory };
  if (differs('emulationPolicy')) put(spec, 'emulationPolicy', after.emulationPolicy === '' ? undefined : (after.emulationPolicy as MachineSpec['emulationPolicy']));
  if (differs('machineType')) put(domain, 'machine', after.machineType === '' ? undefined : { ...domain.machine, type: after.machineType });
  if (differs('hasScreen')) put(domain.devices, 'autoattachGraphicsDevice', after.hasScreen ? undefined : false);
  if (differs('grace')) put(spec, 'terminationGracePeriodSeconds', after.grace === '' ? undefined : Number(after.grace));
  if (differs('instanceLabels')) template.metadata = { ...template.metadata, labels: labelsOf(after.instanceLabels) ?? {} };
  if (differs('disks')) putDisks(spec, before.disks, after.disks);
  if (differs('cards')) putCards(spec, before.cards, after.cards);
  const own = spec.volumes?.find(hasOwnData);
  if (differs('userData') && own?.cloudInitNoCloud !== undefined && after.userData !== undefined) own.cloudInitNoCloud.userData = after.userData;
  return next;
}

function unlessEmpty(labels: Record<string, string> | undefined): Record<string, string> | undefined {
  return labels === undefined || Object.keys(labels).length === 0 ? undefined : labels;
}

/** Sets a field, or takes it away: a field that is undefined is no field of JSON, but one of a comparison. */
function put<T extends object, K extends keyof T>(object: T, key: K, value: T[K] | undefined): void {
  if (value === undefined) delete object[key];
  else object[key] = value;
}

function putDisks(spec: MachineSpec, before: readonly DiskRow[], after: readonly DiskRow[]): void {
  const isKept = ({ name }: { name: string }): boolean => after.some((row) => row.name === name);
  const volumes = (spec.volumes ?? []).filter(isKept);
  const disks = (spec.domain.devices.disks ?? []).filter((disk) => isKept(disk) || !before.some(({ name }) => name === disk.name));
  for (const row of after) {
    const was = before.find(({ name }) => name === row.name);
    const made = (): Volume => volumeOf({ kind: row.kind as 'emptyDisk', source: row.source, size: row.size }, row.name);
    if (was === undefined) volumes.push(made());
    else if (was.kind !== row.kind) volumes.splice(volumes.findIndex(({ name }) => name === row.name), 1, made());
    else if (was.source !== row.source || was.size !== row.size) Object.assign(volumes.find(({ name }) => name === row.name) ?? {}, sourceOf(row, volumes));
    if (was !== undefined && was.bus === row.bus && was.bootOrder === row.bootOrder) continue;
    let disk = disks.find(({ name }) => name === row.name);
    if (disk === undefined) disks.push((disk = { name: row.name }));
    if (row.bus !== (was?.bus ?? '')) Object.assign(disk, disk.cdrom === undefined ? { disk: withBus(disk.disk, row.bus) } : { cdrom: withBus(disk.cdrom, row.bus) });
    put(disk, 'bootOrder', row.bootOrder === '' ? undefined : Number(row.bootOrder));
  }
  spec.volumes = volumes;
  spec.domain.devices.disks = disks;
}

function withBus<T extends { bus?: string }>(target: T | undefined, bus: string): T {
  const { bus: _, ...rest } = target ?? ({} as T);
  return (bus === '' ? rest : { ...rest, bus }) as T;
}

/** The source of a volume whose kind stays, with what else it says. */
function sourceOf(row: DiskRow, volumes: readonly Volume[]): Partial<Volume> {
  const volume = volumes.find(({ name }) => name === row.name);
  if (volume?.containerDisk !== undefined) return { containerDisk: { ...volume.containerDisk, image: row.source.trim() } };
  if (volume?.emptyDisk !== undefined) return { emptyDisk: { ...volume.emptyDisk, capacity: row.size } };
  if (volume?.hostDisk !== undefined) return { hostDisk: { ...volume.hostDisk, path: row.source.trim(), ...(row.size === '' ? {} : { capacity: row.size }) } };
  return {};
}

function putCards(spec: MachineSpec, before: readonly CardRow[], after: readonly CardRow[]): void {
  const { devices } = spec.domain;
  const isKept = ({ name }: { name: string }): boolean => after.some((row) => row.name === name);
  const cards = (devices.interfaces ?? []).filter(isKept);
  const networks = (spec.networks ?? []).filter(isKept);
  for (const row of after) {
    const was = before.find(({ name }) => name === row.name);
    let card: NetworkInterface | undefined = cards.find(({ name }) => name === row.name);
    if (card === undefined) cards.push((card = { name: row.name, masquerade: {} }));
    if (was === undefined) networks.push({ name: row.name, pod: {} });
    if (row.model !== (was?.model ?? '')) put(card, 'model', row.model === '' ? undefined : row.model);
    if (row.mac !== (was?.mac ?? '')) put(card, 'macAddress', row.mac === '' ? undefined : row.mac);
    if (row.ports !== (was?.ports ?? '')) put(card, 'ports', row.ports === '' ? undefined : portsOf(row.ports)?.map(knownAmong(card.ports ?? [])));
  }
  put(devices, 'interfaces', cards.length === 0 ? undefined : cards);
  put(spec, 'networks', networks.length === 0 ? undefined : networks);
  // A machine that says nothing of networks is given one.
  if ((before.length === 0) !== (cards.length === 0)) put(devices, 'autoattachPodInterface', cards.length === 0 ? false : undefined);
}

/** Gives the port that is there already, which may have a name, for one of the same number and protocol. */
function knownAmong(known: readonly Port[]): (port: Port) => Port {
  // TCP, unless it says otherwise.
  const isSame = (a: Port, b: Port): boolean => a.port === b.port && (a.protocol ?? 'TCP') === (b.protocol ?? 'TCP');
  return (port) => known.find((one) => isSame(one, port)) ?? port;
}

/** The merge patch (RFC 7396) that makes `before` into `after`; undefined if nothing differs. Lists are given whole. */
export function patchBetween(before: unknown, after: unknown): unknown {
  if (!isObject(before) || !isObject(after)) return JSON.stringify(before) === JSON.stringify(after) ? undefined : after;
  const gone = Object.keys(before).filter((key) => after[key] === undefined).map((key) => [key, null] as const);
  const other = Object.entries(after).map(([key, value]) => [key, patchBetween(before[key], value)] as const);
  const changes = [...other, ...gone].filter(([, value]) => value !== undefined);
  return changes.length === 0 ? undefined : Object.fromEntries(changes);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The command that makes `before` into `after`. */
export function patchCommand(before: VirtualMachine, after: VirtualMachine): string {
  const { namespace = 'default', name } = before.metadata;
  // Between quotes of the shell a quote is written by ending them.
  const patch = JSON.stringify(patchBetween(before, after) ?? {}).replaceAll("'", `'\\''`);
  return `kubectl -n ${namespace} patch vm ${name} --type=merge -p '${patch}'`;
}

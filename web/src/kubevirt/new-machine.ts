import { isMap, parseDocument, stringify } from 'yaml';

import { quantity } from '../words/measures';
import { t } from '../words/words';
import type { Disk, EmulationPolicy, NetworkInterface, VirtualMachine, Volume } from './machine';

/** A disk beside the first one. `hostDisk` is served only where the feature gate HostDisk is on. */
export interface NewDisk {
  kind: 'emptyDisk' | 'containerDisk' | 'hostDisk';
  /** The image of a container disk, the path of a host disk. */
  source: string;
  /** The size of an empty disk, and of a host disk that is made. */
  size: string;
}

/** What a person chooses for a new machine. */
export interface NewMachine {
  name: string;
  namespace: string;
  image: string;
  cores: number;
  memory: string;
  user: string;
  password: string;
  sshKey: string;
  hasNetwork: boolean;
  starts: boolean;
  disks: readonly NewDisk[];
  /** The network card; empty: the cluster's choice. */
  model: string;
  mac: string;
  /** Ports that can be reached, as in `22, 53/UDP`; empty: all. */
  ports: string;
  architecture: string;
  machineType: string;
  hasScreen: boolean;
  emulationPolicy: EmulationPolicy | '';
  /** Whether it starts from a template, as {@link WARM_STARTS} has it. */
  warmStart: string;
  /** Seconds that a guest has to shut down; empty: as usual. */
  grace: string;
  /** Cloud-init user data of a person's own. */
  ownData: string;
  /** A line each, as in `key=value`. */
  labels: string;
}

/** What the form begins with. */
export function blank(namespace: string, image: string): NewMachine {
  return {
    name: '', namespace, image, cores: 1, memory: '1Gi', user: '', password: '', sshKey: '', hasNetwork: true, starts: true,
    disks: [], model: '', mac: '', ports: '', architecture: '', machineType: '', hasScreen: true, emulationPolicy: '', warmStart: '', grace: '', ownData: '', labels: '',
  };
}

/** The annotation of a machine's template that decides how it starts. */
const WARM_START = 'anyvirt.io/warm-start';

/** What it may say; empty: nothing, so the cluster decides. */
export const WARM_STARTS = ['', 'Never', 'Auto', 'Require'] as const;

/** Sizes on buttons. */
export const SIZES: readonly { name: string; cores: number; memory: string }[] = [
  { name: 'Tiny', cores: 1, memory: '256Mi' },
  { name: 'Small', cores: 1, memory: '1Gi' },
  { name: 'Medium', cores: 2, memory: '4Gi' },
  { name: 'Large', cores: 4, memory: '8Gi' },
];

/** What is wrong, by the field of the form; a disk's field is its name, see {@link diskName}. */
export type Flaws = Readonly<Record<string, string>>;

/** What the volume of the disk beside the first one at `index` is called. */
export function diskName(index: number): string {
  return `disk-${index + 1}`;
}

const IMAGE = /^\S+$/;
export const SIZE_FLAW = (): string => t('An amount such as 512Mi or 2Gi.');

/** What is wrong with each field; nothing, if the machine can be made. */
export function flawsOf(machine: NewMachine): Flaws {
  const flaws: Record<string, string> = {};
  // RFC 1123 label, at most 63 letters: the name becomes the guest's host name.
  if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(machine.name)) flaws.name = t('Small letters, digits and hyphens, at most 63; it becomes the host name.');
  if (!IMAGE.test(machine.image.trim())) flaws.image = t('An image of a registry, e.g. quay.io/containerdisks/fedora:42.');
  if (!isAmount(machine.memory)) flaws.memory = SIZE_FLAW();
  if (!isCount(machine.cores)) flaws.cores = t('A whole number, at least one.');
  if (machine.sshKey.trim() !== '' && !/^(ssh-|ecdsa-|sk-)\S+ \S+/.test(machine.sshKey.trim())) flaws.sshKey = t('A public key as in ~/.ssh/id_ed25519.pub.');
  machine.disks.forEach((disk, index) => {
    const flaw = flawOfDisk(disk);
    if (flaw !== undefined) flaws[diskName(index)] = flaw;
  });
  if (portsOf(machine.ports) === undefined) flaws.ports = t('Numbers from 1 to 65535 with commas between, e.g. 22, 53/UDP.');
  if (labelsOf(machine.labels) === undefined) flaws.labels = t('One key=value in each line, each key once.');
  if (!/^\d*$/.test(machine.grace.trim())) flaws.grace = t('A number of seconds.');
  const data = dataOf(machine);
  if ('flaw' in data) flaws.ownData = data.flaw;
  return flaws;
}

/** Whether there can be so many processors. */
export function isCount(cores: number): boolean {
  return Number.isInteger(cores) && cores >= 1;
}

/** Whether a text is an amount of bytes, above none. */
export function isAmount(text: string): boolean {
  return (quantity(text) ?? 0) > 0;
}

/** What is wrong with a disk, of whichever kind; a host disk that is not made (`isMade`), but there already, has no size. */
export function flawOfDisk({ kind, source, size }: { kind: string; source: string; size: string }, isMade = true): string | undefined {
  if (kind === 'containerDisk' && !IMAGE.test(source.trim())) return t('An image of a registry.');
  if (kind === 'hostDisk' && !source.trim().startsWith('/')) return t('A path on the node that begins with /.');
  return (kind === 'emptyDisk' || (kind === 'hostDisk' && isMade)) && !isAmount(size) ? SIZE_FLAW() : undefined;
}

/** The ports of a text such as `22, 53/UDP`; undefined if it is no such text. */
export function portsOf(text: string): NonNullable<NetworkInterface['ports']> | undefined {
  const ports = text.split(/[\s,]+/).filter((word) => word !== '').map((word) => {
    const [, number, protocol] = /^(\d{1,5})(?:\/(tcp|udp))?$/i.exec(word) ?? [];
    const port = Number(number ?? 0);
    return { port, ...(protocol === undefined ? {} : { protocol: protocol.toUpperCase() }) };
  });
  return ports.every(({ port }) => port >= 1 && port <= 65_535) ? ports : undefined;
}

/** The labels of lines such as `key=value`; undefined if there is another line, or a key twice. */
export function labelsOf(text: string): Record<string, string> | undefined {
  const lines = text.split('\n').map((line) => line.trim()).filter((line) => line !== '');
  const pairs = lines.map((line) => /^([^=\s]+)=(\S*)$/.exec(line));
  if (pairs.some((pair) => pair === null) || new Set(pairs.map((pair) => pair?.[1])).size < pairs.length) return undefined;
  return Object.fromEntries(pairs.map((pair) => [pair?.[1] ?? '', pair?.[2] ?? '']));
}

/** The text that {@link portsOf} reads. */
export function portsText(ports: NonNullable<NetworkInterface['ports']>): string {
  return ports.map(({ port, protocol }) => (protocol === undefined ? String(port) : `${port}/${protocol}`)).join(', ');
}

/** The lines that {@link labelsOf} reads. */
export function linesOf(labels: Record<string, string> | undefined): string {
  return Object.entries(labels ?? {}).map(([key, value]) => `${key}=${value}`).join('\n');
}

/** What makes cloud-init read a text as its configuration. */
const CONFIG = '#cloud-config';

/** What lets somebody in, as cloud-init's configuration. */
function access({ user, password, sshKey }: Pick<NewMachine, 'user' | 'password' | 'sshKey'>): Record<string, unknown> {
  return {
    ...(user === '' ? {} : { user }),
    ...(password === '' ? {} : { password, chpasswd: { expire: false }, ssh_pwauth: true }),
    ...(sshKey.trim() === '' ? {} : { ssh_authorized_keys: [sshKey.trim()] }),
  };
}

/** Both kinds of user data together, or why they cannot be. */
function dataOf(machine: NewMachine): { text: string } | { flaw: string } {
  const own = machine.ownData;
  const generated = access(machine);
  const keys = Object.keys(generated);
  if (own.trim() === '') return { text: keys.length === 0 ? '' : `${CONFIG}\n${stringify(generated, { lineWidth: 0 })}` };
  if (keys.length === 0) return { text: own };
  if (!own.startsWith(CONFIG)) return { flaw: t('Only text that begins with #cloud-config can be put together with a user, password or key: leave those empty, or write them here.') };
  const document = parseDocument(own);
  if (document.errors[0] !== undefined) return { flaw: document.errors[0].message.split('\n')[0] ?? '' };
  if (document.contents !== null && !isMap(document.contents)) return { flaw: t('A #cloud-config is a list of key: value lines.') };
  const both = keys.filter((key) => document.has(key));
  if (both.length > 0) return { flaw: t('This says {keys}, and so do the fields above: keep one of them.', { keys: both.join(', ') }) };
  for (const [key, value] of Object.entries(generated)) document.set(key, document.createNode(value));
  try {
    // A comment that stands before nothing is the document's, and stays where it is.
    const text = document.toString({ lineWidth: 0 });
    return { text: text.startsWith(CONFIG) ? text : `${CONFIG}\n${text}` };
  } catch (thrown) {
    // An alias of nothing is found only here.
    return { flaw: thrown instanceof Error ? thrown.message : String(thrown) };
  }
}

/** The cloud-init user data that lets somebody in, with what a person adds; undefined if nothing was chosen. */
export function userData(machine: NewMachine): string | undefined {
  const data = dataOf(machine);
  const text = 'text' in data ? data.text : machine.ownData;
  return text === '' ? undefined : text;
}

/** The volume of a disk. */
export function volumeOf({ kind, source, size }: NewDisk, name: string): Volume {
  switch (kind) {
    case 'emptyDisk':
      return { name, emptyDisk: { capacity: size } };
    case 'containerDisk':
      return { name, containerDisk: { image: source.trim() } };
    case 'hostDisk':
      return { name, hostDisk: { path: source.trim(), type: 'DiskOrCreate', capacity: size } };
  }
}

/** The object that is made. What a flaw makes unreadable is left out; such a machine is not sent. */
export function manifestOf(machine: NewMachine): VirtualMachine {
  const data = userData(machine);
  const ports = portsOf(machine.ports) ?? [];
  const labels = labelsOf(machine.labels) ?? {};
  const hasLabels = Object.keys(labels).length > 0;
  const metadata = {
    ...(hasLabels ? { labels } : {}),
    ...(machine.warmStart === '' ? {} : { annotations: { [WARM_START]: machine.warmStart } }),
  };
  const disk = (name: string): Disk => ({ name, disk: { bus: 'virtio' } });
  const card: NetworkInterface = {
    name: 'default',
    ...(machine.model === '' ? {} : { model: machine.model }),
    masquerade: {},
    ...(machine.mac.trim() === '' ? {} : { macAddress: machine.mac.trim() }),
    ...(ports.length === 0 ? {} : { ports }),
  };
  return {
    apiVersion: 'kubevirt.io/v1',
    kind: 'VirtualMachine',
    metadata: { name: machine.name, namespace: machine.namespace, ...(hasLabels ? { labels } : {}) },
    spec: {
      runStrategy: machine.starts ? 'Always' : 'Halted',
      template: {
        ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
        spec: {
          ...(machine.architecture === '' ? {} : { architecture: machine.architecture }),
          ...(machine.emulationPolicy === '' ? {} : { emulationPolicy: machine.emulationPolicy }),
          ...(machine.grace.trim() === '' ? {} : { terminationGracePeriodSeconds: Number(machine.grace) }),
          domain: {
            cpu: { cores: machine.cores },
            memory: { guest: machine.memory },
            ...(machine.machineType.trim() === '' ? {} : { machine: { type: machine.machineType.trim() } }),
            devices: {
              disks: [disk('root'), ...(data === undefined ? [] : [disk('cloudinit')]), ...machine.disks.map((_, index) => disk(diskName(index)))],
              // A machine that says nothing of networks is given one.
              ...(machine.hasNetwork ? { interfaces: [card] } : { autoattachPodInterface: false }),
              ...(machine.hasScreen ? {} : { autoattachGraphicsDevice: false }),
            },
          },
          ...(machine.hasNetwork ? { networks: [{ name: 'default', pod: {} }] } : {}),
          volumes: [
            { name: 'root', containerDisk: { image: machine.image.trim() } },
            ...(data === undefined ? [] : [{ name: 'cloudinit', cloudInitNoCloud: { userData: data } }]),
            ...machine.disks.map((one, index) => volumeOf(one, diskName(index))),
          ],
        },
      },
    },
  };
}

/**
 * The form's values that make `object`; undefined if it says what the form cannot. What lets somebody in stays as
 * `near` has it, if that comes to the same.
 */
export function formOf(object: VirtualMachine, near: NewMachine): NewMachine | undefined {
  try {
    const rest = guess(object, near);
    const text = object.spec.template?.spec.volumes?.find(({ name }) => name === 'cloudinit')?.cloudInitNoCloud?.userData ?? '';
    const wanted = canonical(object);
    return [rest, { ...rest, ...accessIn(text), ownData: '' }, { ...rest, user: '', password: '', sshKey: '', ownData: text }].find(
      (candidate) => canonical(manifestOf(candidate)) === wanted,
    );
  } catch {
    // Not even the shape of a machine, or not of its texts.
    return undefined;
  }
}

/** What a text that {@link userData} made lets in. */
function accessIn(text: string): Pick<NewMachine, 'user' | 'password' | 'sshKey'> {
  const said: unknown = parseDocument(text).toJS();
  const { user, password, ssh_authorized_keys: keys } = (typeof said === 'object' ? (said ?? {}) : {}) as Record<string, unknown>;
  const [key] = Array.isArray(keys) ? (keys as unknown[]) : [];
  return { user: String(user ?? ''), password: String(password ?? ''), sshKey: String(key ?? '') };
}

/** Values that may make `object`; whether they do is looked at afterwards. */
function guess(object: VirtualMachine, near: NewMachine): NewMachine {
  const spec = object.spec.template?.spec;
  const [card] = spec?.domain.devices.interfaces ?? [];
  const extra = (spec?.volumes ?? []).filter(({ name }) => name !== 'root' && name !== 'cloudinit');
  return {
    ...near,
    name: object.metadata.name,
    namespace: object.metadata.namespace ?? near.namespace,
    image: spec?.volumes?.find(({ name }) => name === 'root')?.containerDisk?.image ?? '',
    cores: spec?.domain.cpu?.cores ?? 1,
    memory: spec?.domain.memory?.guest ?? '',
    hasNetwork: card !== undefined,
    starts: object.spec.runStrategy === 'Always',
    disks: extra.map(newDiskOf),
    model: card?.model ?? '',
    mac: card?.macAddress ?? '',
    ports: portsText(card?.ports ?? []),
    architecture: spec?.architecture ?? '',
    machineType: spec?.domain.machine?.type ?? '',
    hasScreen: spec?.domain.devices.autoattachGraphicsDevice !== false,
    emulationPolicy: spec?.emulationPolicy ?? '',
    // Another word is one that the form cannot say.
    warmStart: WARM_STARTS.find((word) => word === object.spec.template?.metadata?.annotations?.[WARM_START]) ?? '',
    grace: spec?.terminationGracePeriodSeconds === undefined ? '' : String(spec.terminationGracePeriodSeconds),
    labels: linesOf(object.metadata.labels),
  };
}

function newDiskOf({ containerDisk, hostDisk, emptyDisk }: Volume): NewDisk {
  if (containerDisk !== undefined) return { kind: 'containerDisk', source: containerDisk.image, size: '' };
  if (hostDisk !== undefined) return { kind: 'hostDisk', source: hostDisk.path, size: hostDisk.capacity ?? '' };
  return { kind: 'emptyDisk', source: '', size: emptyDisk?.capacity ?? '' };
}

/** What decides how a machine will run: of the form, or of a YAML beyond it, in which what it says otherwise counts as absent. */
export function forecastBy(machine: NewMachine, beyond: VirtualMachine | undefined): { image: string; cores: number; memory: string } {
  if (beyond === undefined) return { image: machine.image, cores: machine.cores, memory: machine.memory };
  type Said = { domain?: { cpu?: { cores?: unknown }; memory?: { guest?: unknown } }; volumes?: unknown };
  const said = beyond.spec?.template?.spec as Said | undefined;
  const cores = said?.domain?.cpu?.cores;
  const memory = said?.domain?.memory?.guest;
  const volumes = Array.isArray(said?.volumes) ? (said.volumes as ({ name?: unknown; containerDisk?: { image?: unknown } } | null)[]) : [];
  const image = volumes.find((volume) => volume?.name === 'root')?.containerDisk?.image;
  return { image: typeof image === 'string' ? image : '', cores: typeof cores === 'number' ? cores : 1, memory: typeof memory === 'string' ? memory : '' };
}

/** The same text for the same object, in whichever order its keys stand. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part) ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1))) : part,
  );
}

/** Fields of the object, without `spec.template.spec`, and the form's fields for them. */
const FIELDS: readonly [RegExp, string][] = [
  [/^metadata\.name$/, 'name'],
  [/^metadata\.namespace$/, 'namespace'],
  [/^(metadata|spec\.template\.metadata)\.labels/, 'labels'],
  [/^spec\.template\.metadata\.annotations$/, 'warmStart'],
  [/^domain\.cpu/, 'cores'],
  [/^domain\.(memory|resources)/, 'memory'],
  [/^domain\.machine/, 'machineType'],
  [/^domain\.devices\.interfaces\[\d+\]\.model/, 'model'],
  [/^domain\.devices\.interfaces\[\d+\]\.macAddress/, 'mac'],
  [/^domain\.devices\.interfaces\[\d+\]\.ports/, 'ports'],
  [/^architecture/, 'architecture'],
  [/^emulationPolicy/, 'emulationPolicy'],
  [/^terminationGracePeriodSeconds/, 'grace'],
];

/** The field of the form that the server speaks of when it names `field` of `object`; undefined if there is none. */
export function fieldOf(field: string, object: VirtualMachine): string | undefined {
  const path = field.replace(/^spec\.template\.spec\./, '');
  const spec = object.spec.template?.spec;
  const [, volume] = /^volumes\[(\d+)\]/.exec(path) ?? [];
  const [, disk] = /^domain\.devices\.disks\[(\d+)\]/.exec(path) ?? [];
  const name = volume !== undefined ? spec?.volumes?.[Number(volume)]?.name : disk !== undefined ? spec?.domain.devices.disks?.[Number(disk)]?.name : undefined;
  if (name !== undefined) return { root: 'image', cloudinit: 'ownData' }[name] ?? name;
  return FIELDS.find(([pattern]) => pattern.test(path))?.[1];
}

/** Letters of passwords that are made: none that is taken for another. */
const LETTERS = 'abcdefghjkmnopqrstuvwx23456789';
/** Letters of a password: 20 of 30 kinds are 98 bits. */
const LENGTH = 20;

/** A password from random bytes, which `fill` writes into what it is given. */
export function passwordOf(fill: (bytes: Uint8Array<ArrayBuffer>) => void): string {
  let password = '';
  while (password.length < LENGTH) {
    const bytes = new Uint8Array(2 * LENGTH);
    fill(bytes);
    // Bytes beyond the last whole round of letters would make the first letters likelier.
    for (const byte of bytes) if (byte < 256 - (256 % LETTERS.length) && password.length < LENGTH) password += LETTERS[byte % LETTERS.length];
  }
  return password;
}

/** Images that are published for KubeVirt, by what people call them. */
export const KNOWN_IMAGES: readonly { name: string; image: string; user: string }[] = [
  { name: 'Fedora', image: 'quay.io/containerdisks/fedora:42', user: 'fedora' },
  { name: 'Debian', image: 'quay.io/containerdisks/debian:12', user: 'debian' },
  { name: 'Ubuntu', image: 'quay.io/containerdisks/ubuntu:24.04', user: 'ubuntu' },
  { name: 'CentOS Stream', image: 'quay.io/containerdisks/centos-stream:10', user: 'cloud-user' },
  { name: 'Alpine (demo)', image: 'quay.io/kubevirt/alpine-container-disk-demo', user: '' },
];

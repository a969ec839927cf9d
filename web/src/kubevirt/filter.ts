import { quantity } from '../words/measures';
import { badgeOf } from './acceleration';
import { addressOf, type Machine, memoryOf, processorsOf, type PrintableStatus, PRINTABLE_STATUSES, statusOf } from './machine';

/** Which machines are shown, and in which order; as it stands in the address. */
export interface Search {
  project?: string;
  q?: string;
  status?: PrintableStatus;
  accel?: Acceleration;
  /** A label that the machine has, as `key=value`. */
  label?: string;
  /** The guest's system, see {@link systemOf}. */
  os?: string;
  sort?: SortKey;
  desc?: boolean;
  /** The machine that is shown beside the list, as `namespace/name`. */
  beside?: string;
}

/** What machines can be filtered by. */
export const ACCELERATIONS = ['kvm', 'emulated', 'blocked', 'none'] as const;
/** One of {@link ACCELERATIONS}. */
export type Acceleration = (typeof ACCELERATIONS)[number];

/** What machines can be sorted by. */
export const SORT_KEYS = ['name', 'project', 'status', 'accel', 'node', 'cpu', 'memory', 'created'] as const;
/** One of {@link SORT_KEYS}. */
export type SortKey = (typeof SORT_KEYS)[number];

/** Reads the address; what it does not know it leaves out. */
export function searchOf(raw: Record<string, unknown>): Search {
  const search: Search = {};
  if (typeof raw.project === 'string' && raw.project !== '') search.project = raw.project;
  if (raw.q !== undefined && String(raw.q) !== '') search.q = String(raw.q);
  const status = PRINTABLE_STATUSES.find((one) => one === raw.status);
  if (status !== undefined) search.status = status;
  const accel = ACCELERATIONS.find((one) => one === raw.accel);
  if (accel !== undefined) search.accel = accel;
  const sort = SORT_KEYS.find((one) => one === raw.sort);
  if (sort !== undefined) search.sort = sort;
  if (raw.desc === true) search.desc = true;
  if (typeof raw.label === 'string' && raw.label !== '') search.label = raw.label;
  // A name such as `11` stands in an address as a number.
  if (raw.os !== undefined && String(raw.os) !== '') search.os = String(raw.os);
  if (typeof raw.beside === 'string' && raw.beside !== '') search.beside = raw.beside;
  return search;
}

/** On a template: which system its guest runs, as OpenShift's templates say it. */
const SYSTEM = 'vm.kubevirt.io/os';

/** What the guest's system is called: by its agent, else by the template's annotation; undefined if neither says. */
export function systemOf({ vm, vmi }: Machine): string | undefined {
  const { name, prettyName } = vmi?.status?.guestOSInfo ?? {};
  return [name, prettyName, vm.spec.template?.metadata?.annotations?.[SYSTEM]].find((told) => told !== undefined && told !== '');
}

/** Labels of a machine and of its template, as `key=value`. */
function labelsOf({ vm }: Machine): string[] {
  const labels = { ...vm.spec.template?.metadata?.labels, ...vm.metadata.labels };
  return Object.entries(labels).map(([key, value]) => `${key}=${value}`);
}

/** Choices that are offered at most: a menu of thousands helps nobody, and the words find the rest. */
const OFFERED = 100;

/** What the machines that there are can be filtered by beyond what every machine has. */
export function choicesOf(machines: readonly Machine[]): { labels: string[]; systems: string[] } {
  const offered = (all: string[]): string[] => [...new Set(all)].sort(NAMES.compare).slice(0, OFFERED);
  return { labels: offered(machines.flatMap(labelsOf)), systems: offered(machines.flatMap((machine) => systemOf(machine) ?? [])) };
}

/** How a machine is accelerated, in the filter's words. */
export function accelerationOf(machine: Machine): Acceleration {
  const badge = badgeOf(machine);
  if (badge === undefined) return 'none';
  return { good: 'kvm', notice: 'kvm', slow: 'emulated', bad: 'blocked', unknown: 'none' }[badge.tone] as Acceleration;
}

/** The machines that the search asks for, in its order. */
export function found(machines: readonly Machine[], search: Search): Machine[] {
  const words = (search.q ?? '').toLowerCase().split(/\s+/).filter((word) => word !== '');
  const shown = machines.filter((machine) => {
    const { namespace } = machine.vm.metadata;
    if (search.project !== undefined && namespace !== search.project) return false;
    if (search.status !== undefined && statusOf(machine) !== search.status) return false;
    if (search.accel !== undefined && accelerationOf(machine) !== search.accel) return false;
    if (search.label !== undefined && !labelsOf(machine).includes(search.label)) return false;
    if (search.os !== undefined && systemOf(machine) !== search.os) return false;
    return words.every((word) => textOf(machine).includes(word));
  });
  return sorted(shown, search);
}

/** Everything that the text filter looks at. */
function textOf(machine: Machine): string {
  const { name, namespace = '' } = machine.vm.metadata;
  const guest = machine.vmi?.status?.guestOSInfo?.prettyName ?? systemOf(machine) ?? '';
  return [name, namespace, addressOf(machine) ?? '', machine.vmi?.status?.nodeName ?? '', guest, ...labelsOf(machine)].join(' ').toLowerCase();
}

/** Rows by one column; equals by name, so that the order never flickers. */
export function sorted(machines: readonly Machine[], search: Pick<Search, 'sort' | 'desc'>): Machine[] {
  const key = search.sort ?? 'name';
  const sign = search.desc === true ? -1 : 1;
  const decorated = machines.map((machine) => ({ machine, value: sortValue(machine, key) }));
  decorated.sort((a, b) => sign * compare(a.value, b.value) || compare(nameOf(a.machine), nameOf(b.machine)));
  return decorated.map(({ machine }) => machine);
}

function nameOf(machine: Machine): string {
  return `${machine.vm.metadata.name}/${machine.vm.metadata.namespace}`;
}

function sortValue(machine: Machine, key: SortKey): string | number {
  switch (key) {
    case 'name':
      return machine.vm.metadata.name;
    case 'project':
      return machine.vm.metadata.namespace ?? '';
    case 'status':
      return statusOf(machine);
    case 'accel':
      return accelerationOf(machine);
    case 'node':
      return machine.vmi?.status?.nodeName ?? '';
    case 'cpu':
      return processorsOf(machine.vm.spec.template?.spec);
    case 'memory':
      return quantity(memoryOf(machine.vm.spec.template?.spec)) ?? 0;
    case 'created':
      return machine.vm.metadata.creationTimestamp ?? '';
  }
}

const NAMES = new Intl.Collator('en', { numeric: true });

function compare(a: string | number, b: string | number): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return NAMES.compare(String(a), String(b));
}

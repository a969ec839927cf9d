import type { MergePatch } from '../kubernetes/patch';
import { t } from '../words/words';
import { type Machine, memoryOf, processorsOf } from './machine';

/** A value of the configuration that the running instance does not have yet. */
export interface Pending {
  what: string;
  runs: string;
  wanted: string;
}

/** What takes effect only on the next restart. Empty for a machine that does not run. */
export function pendingOf(machine: Machine): Pending[] {
  const wanted = machine.vm.spec.template?.spec;
  const runs = machine.vmi?.spec;
  if (wanted === undefined || runs === undefined) return [];
  const rows: [string, string, string][] = [
    [t('Processors'), String(processorsOf(runs)), String(processorsOf(wanted))],
    [t('Memory'), memoryOf(runs) ?? '–', memoryOf(wanted) ?? '–'],
    [t('Emulation policy'), runs.emulationPolicy ?? t("the cluster's"), wanted.emulationPolicy ?? t("the cluster's")],
    [t('Disks'), names(runs.volumes), names(wanted.volumes)],
    [t('Network interfaces'), names(runs.domain.devices.interfaces), names(wanted.domain.devices.interfaces)],
  ];
  return rows.flatMap(([what, now, then]) => (now === then ? [] : [{ what, runs: now, wanted: then }]));
}

function names(of: readonly { name: string }[] | undefined): string {
  return (of ?? []).map(({ name }) => name).join(', ') || '–';
}

/** What a person may change in the form of a machine. */
export interface Settings {
  /** Cores per socket; see {@link processorsPerCore}. */
  cores: number;
  memory: string;
  runStrategy: string;
  emulationPolicy: string;
}

/** How many processors one core per socket makes: 1, unless the machine has several sockets, or threads per core. */
export function processorsPerCore(machine: Machine): number {
  const { sockets = 1, threads = 1 } = machine.vm.spec.template?.spec.domain.cpu ?? {};
  return sockets * threads;
}

/** The form's values of a machine. */
export function settingsOf(machine: Machine): Settings {
  const { spec } = machine.vm;
  return {
    cores: spec.template?.spec.domain.cpu?.cores ?? 1,
    memory: memoryOf(spec.template?.spec) ?? '',
    runStrategy: spec.runStrategy ?? (spec.running === true ? 'Always' : 'Halted'),
    emulationPolicy: spec.template?.spec.emulationPolicy ?? '',
  };
}

/** The merge patch that makes `before` into `after`; undefined if nothing differs. */
export function patchOf(before: Settings, after: Settings): MergePatch | undefined {
  const domain: Record<string, unknown> = {};
  if (after.cores !== before.cores) domain.cpu = { cores: after.cores };
  if (after.memory !== before.memory) domain.memory = { guest: after.memory };
  const spec: Record<string, unknown> = {};
  if (Object.keys(domain).length > 0) spec.domain = domain;
  if (after.emulationPolicy !== before.emulationPolicy) {
    spec.emulationPolicy = after.emulationPolicy === '' ? null : after.emulationPolicy;
  }
  const patch: Record<string, unknown> = {};
  if (Object.keys(spec).length > 0) patch.template = { spec };
  // `running` is the deprecated way to say it, and excludes the other.
  if (after.runStrategy !== before.runStrategy) Object.assign(patch, { runStrategy: after.runStrategy, running: null });
  return Object.keys(patch).length === 0 ? undefined : { spec: patch };
}

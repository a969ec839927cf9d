import { conditionOf } from '../kubernetes/object';
import { t } from '../words/words';
import { type Machine, type MachineSpec, memoryOf, processorsOf, type Volume } from './machine';
import { portsText } from './new-machine';

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
    [t('Disks'), disks(runs), disks(wanted)],
    [t('Network interfaces'), names(runs.domain.devices.interfaces), names(wanted.domain.devices.interfaces)],
    [t('Boot order'), order(runs), order(wanted)],
    [t('Ports'), ports(runs), ports(wanted)],
    [t('Screen'), screen(runs), screen(wanted)],
  ];
  return rows.flatMap(([what, now, then]) => (now === then ? [] : [{ what, runs: now, wanted: then }]));
}

/** Volumes with where their content comes from. */
function disks({ volumes = [] }: MachineSpec): string {
  const source = ({ containerDisk, emptyDisk, hostDisk }: Volume): string => containerDisk?.image ?? hostDisk?.path ?? emptyDisk?.capacity ?? '';
  return volumes.map((volume) => [volume.name, source(volume)].filter((word) => word !== '').join(' ')).join(', ') || '–';
}

function order(spec: MachineSpec): string {
  const placed = (spec.domain.devices.disks ?? []).filter(({ bootOrder }) => bootOrder !== undefined);
  return names(placed.toSorted((a, b) => (a.bootOrder ?? 0) - (b.bootOrder ?? 0)));
}

function ports(spec: MachineSpec): string {
  return (spec.domain.devices.interfaces ?? []).map((one) => portsText(one.ports ?? [])).filter((text) => text !== '').join('; ') || '–';
}

function screen(spec: MachineSpec): string {
  return spec.domain.devices.autoattachGraphicsDevice === false ? t('no') : t('yes');
}

/** The server's own word that the machine must be started again; undefined if it says none. */
export function restartWords(machine: Machine): string | undefined {
  const condition = conditionOf(machine.vm.status?.conditions, 'RestartRequired');
  return condition?.status === 'True' ? (condition.message ?? condition.reason ?? '') : undefined;
}

function names(of: readonly { name: string }[] | undefined): string {
  return (of ?? []).map(({ name }) => name).join(', ') || '–';
}

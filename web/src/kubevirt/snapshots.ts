import { type Condition, conditionOf, type KubernetesObject } from '../kubernetes/object';
import { apiVersionOf, RESOURCES } from '../kubernetes/resource';

/** A machine, as snapshots and restores name it. */
interface MachineReference {
  apiGroup: string;
  kind: string;
  name: string;
}

/** What a machine was at an instant. */
export interface Snapshot extends KubernetesObject {
  spec: { source: MachineReference; includeMemory?: boolean };
  status?: {
    phase?: string;
    readyToUse?: boolean;
    creationTime?: string;
    error?: { message?: string };
    conditions?: Condition[];
  };
}

/** A machine that becomes what a snapshot has. */
export interface Restore extends KubernetesObject {
  spec: { target: MachineReference; virtualMachineSnapshotName: string };
  status?: { complete?: boolean; restoreTime?: string; conditions?: Condition[] };
}

/** Snapshots of one machine, the latest first. */
export function snapshotsOf(all: Iterable<Snapshot>, machine: string): Snapshot[] {
  const taken = ({ status, metadata }: Snapshot): string => status?.creationTime ?? metadata.creationTimestamp ?? '';
  return [...all].filter(({ spec }) => spec.source.name === machine).sort((a, b) => taken(b).localeCompare(taken(a)) || a.metadata.name.localeCompare(b.metadata.name));
}

/** Restores of snapshots of one machine that are not done: under way, or failed. */
export function openRestores(all: Iterable<Restore>, snapshots: readonly Snapshot[]): Restore[] {
  const names = new Set(snapshots.map(({ metadata }) => metadata.name));
  return [...all].filter(({ spec, status }) => status?.complete !== true && names.has(spec.virtualMachineSnapshotName));
}

/** How a restore that is not done stands, for people. */
export function standing({ status }: Restore): { hasFailed: boolean; message: string } {
  const failure = conditionOf(status?.conditions, 'Failure');
  const told = failure?.status === 'True' ? failure : conditionOf(status?.conditions, 'Progressing');
  return { hasFailed: told === failure && failure !== undefined, message: told?.message ?? told?.reason ?? '' };
}

/** How the phase of a snapshot is to be looked at. */
export function lightOf({ status }: Snapshot): 'success' | 'info' | 'danger' {
  if (status?.phase === 'Failed') return 'danger';
  return status?.readyToUse === true ? 'success' : 'info';
}

/** Why a snapshot is not there; empty if nothing is wrong. */
export function whyNot({ status }: Snapshot): string {
  return status?.error?.message ?? (status?.phase === 'Failed' ? conditionOf(status.conditions, 'Failure')?.message ?? '' : '');
}

const MACHINE = { apiGroup: 'kubevirt.io', kind: 'VirtualMachine' };

/** What asks for a snapshot. */
export function newSnapshot(namespace: string, name: string, machine: string, hasMemory: boolean): Snapshot {
  const type = RESOURCES.snapshots;
  return {
    apiVersion: apiVersionOf(type),
    kind: type.kind,
    metadata: { name, namespace },
    spec: { source: { ...MACHINE, name: machine }, ...(hasMemory ? { includeMemory: true } : {}) },
  };
}

/** What asks that `target` becomes what a snapshot has; a machine that runs is stopped for it. */
export function newRestore(namespace: string, name: string, snapshot: string, target: string): Restore & { spec: { targetReadinessPolicy: string } } {
  const type = RESOURCES.restores;
  return {
    apiVersion: apiVersionOf(type),
    kind: type.kind,
    metadata: { name, namespace },
    spec: { target: { ...MACHINE, name: target }, virtualMachineSnapshotName: snapshot, targetReadinessPolicy: 'StopTarget' },
  };
}

/** A name for something of `of`, made at this time: unique to the second, and short enough for a label. */
export function nameAt(of: string, time: Date): string {
  const digits = time.toISOString().replace(/\D/g, '').slice(2, 14);
  return `${of.slice(0, 48)}-${digits}`;
}

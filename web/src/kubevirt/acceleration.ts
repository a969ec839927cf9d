import { conditionOf } from '../kubernetes/object';
import { t } from '../words/words';
import type { KubeVirt } from './configuration';
import { type Machine, statusOf } from './machine';
import { type Node, verdictOf } from './node';

/** How good news is. */
export type Tone = 'good' | 'notice' | 'slow' | 'bad' | 'unknown';

/** The badge of one machine, or the pill of the cluster: the fact in a word or two, and its reason. */
export interface Badge {
  label: string;
  tone: Tone;
  /** A sentence that says why. */
  why: string;
}

/** On a VM or VMI: the annotation that forces one accelerator. */
export const FORCED = 'anyvirt.io/accelerator';

/** The badge of a machine; undefined if nothing can be said, e.g. of one that is stopped. */
export function badgeOf(machine: Machine): Badge | undefined {
  const told = machine.vmi?.status?.accelerator;
  if (told !== undefined) {
    const why = told.message ?? told.reason ?? '';
    if (told.type === 'KVM') {
      const slower = (told.adjustments ?? []).find((line) => /vhost|network/i.test(line));
      return slower === undefined
        ? { label: 'KVM', tone: 'good', why }
        : { label: t('KVM, slower network'), tone: 'notice', why: slower };
    }
    const forced = machine.vmi?.metadata.annotations?.[FORCED] === 'tcg';
    return { label: forced ? t('Emulated (forced)') : t('Emulated'), tone: 'slow', why };
  }
  const obstacle = obstacleOf(machine);
  if (statusOf(machine) === 'ErrorUnschedulable' && obstacle !== undefined && isAboutAcceleration(obstacle)) {
    return { label: t('Blocked'), tone: 'bad', why: obstacle };
  }
  return undefined;
}

/** The scheduler's words about why the machine has no node, verbatim. */
export function obstacleOf(machine: Machine): string | undefined {
  const conditions = [...(machine.vmi?.status?.conditions ?? []), ...(machine.vm.status?.conditions ?? [])];
  return conditionOf(conditions, 'PodScheduled')?.message;
}

function isAboutAcceleration(words: string): boolean {
  return /devices\.kubevirt\.io\/|emulat|hardware.virtualization/i.test(words);
}

/** The cluster's pill: what a machine that starts now would get. */
export function pillOf(kubeVirt: KubeVirt | undefined, nodes: readonly Node[]): Badge {
  const emulation = kubeVirt?.status?.emulation;
  const verdicts = nodes.map(verdictOf);
  const usable = verdicts.filter((verdict) => verdict.usable).length;
  if (nodes.length === 0 || emulation === undefined) {
    return { label: t('Acceleration unknown'), tone: 'unknown', why: t('No node has reported yet.') };
  }
  const permitted = emulation.policy === 'Software';
  const decided = t('Emulation policy {policy}, decided by {place}.', { policy: emulation.policy, place: emulation.decidedBy });
  if (usable === nodes.length) {
    return { label: 'KVM', tone: 'good', why: `${t('Hardware virtualization works on every node.')} ${decided}` };
  }
  const first = verdicts.find((verdict) => !verdict.usable)?.message ?? '';
  if (usable > 0) {
    const label = t('KVM on {usable} of {all} nodes', { usable, all: nodes.length });
    return { label, tone: 'notice', why: `${first} ${decided}` };
  }
  return permitted
    ? { label: t('Emulated'), tone: 'slow', why: `${first}. ${decided}` }
    : { label: t('No acceleration'), tone: 'bad', why: `${first}. ${decided} ${t('New machines wait.')}` };
}

import type { KubernetesObject } from '../kubernetes/object';
import type { VirtualMachineInstance } from './machine';

/** A booted guest that a node keeps, for machines of its namespace to start from (`WarmStartTemplate`). */
export interface WarmStartTemplate extends KubernetesObject {
  spec: { node: string; key: string; image?: string; accelerator?: string; memory?: string; qemuVersion?: string };
  status?: {
    phase?: string;
    reason?: string;
    message?: string;
    madeAt?: string;
    sizeBytes?: number;
    heldBytes?: number;
    uses?: number;
    lastUsedAt?: string;
    failures?: number;
  };
}

/** Templates, those first from which a machine has started last. */
export function templateRows(templates: Iterable<WarmStartTemplate>): WarmStartTemplate[] {
  const latest = ({ status }: WarmStartTemplate): string => status?.lastUsedAt ?? status?.madeAt ?? '';
  const name = ({ metadata: { namespace = '', name } }: WarmStartTemplate): string => `${namespace}/${name}`;
  return [...templates].sort((a, b) => latest(b).localeCompare(latest(a)) || name(a).localeCompare(name(b)));
}

/** How the phase of a template is to be looked at. */
export function lightOf(template: WarmStartTemplate): 'success' | 'info' | 'warning' {
  const phase = template.status?.phase;
  if (phase === 'Ready') return 'success';
  return phase === 'Refused' || phase === 'Failed' ? 'warning' : 'info';
}

/** How a machine that was to start from a template started; `undefined` if it was not to. */
export function warmStartOf(vmi: VirtualMachineInstance | undefined): { isWarm: boolean; message: string } | undefined {
  const condition = vmi?.status?.conditions?.find(({ type }) => type === 'WarmStart');
  if (condition === undefined) return undefined;
  return { isWarm: condition.status === 'True', message: condition.message ?? condition.reason ?? '' };
}

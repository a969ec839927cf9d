import type { ResourceType } from '../kubernetes/resource';
import { RESOURCES } from '../kubernetes/resource';
import { t } from '../words/words';
import { type ConfigMap, type KubeVirt, SET_BY, SWITCH, SWITCH_MAP } from './configuration';
import type { EmulationPolicy } from './machine';
import { type Node, verdictOf } from './node';

/** What a person may want of the cluster's emulation; the same words as `anyvirt emulation`. */
export const WANTED = ['on', 'off', 'auto'] as const;
/** One of {@link WANTED}. */
export type Wanted = (typeof WANTED)[number];

/** One value that is written. */
export interface Edit {
  type: ResourceType;
  namespace: string;
  name: string;
  /** The merge patch that writes it. */
  patch: object;
  /** The object with it, for the server to tell the consequences. */
  after: object;
  /** Where the value stands, for people. */
  field: string;
  was: string | undefined;
  becomes: string | undefined;
}

/** What the cluster has, as far as the switch looks at it. */
export interface Seen {
  map: ConfigMap | undefined;
  kubeVirt: KubeVirt | undefined;
  nodes: readonly Node[];
}

/** Which of the words describes what is set now; `on` and `off` also where `auto` set them, with `auto` true. */
export function current(seen: Seen): Wanted {
  if (seen.map?.metadata.annotations?.[SET_BY] !== undefined) return 'auto';
  return seen.kubeVirt?.status?.emulation?.policy === 'Software' ? 'on' : 'off';
}

/** What `auto` would choose, and why. */
export function automatic(nodes: readonly Node[]): { value: boolean; because: string } {
  const usable = nodes.filter((node) => verdictOf(node).usable).length;
  const because = `hardware virtualization works on ${usable === 0 ? 'none' : usable} of ${nodes.length} nodes`;
  return { value: usable === 0, because };
}

/**
 * What must be written so that it is as wanted, in the way of `anyvirt emulation`: the article's ConfigMap, unless the
 * KubeVirt object's emulationPolicy stands above it. `now` is RFC 3339. Nothing, if it is so already.
 */
export function edits(wanted: Wanted, seen: Seen, now: string): Edit[] {
  const stronger = seen.kubeVirt?.spec?.configuration?.emulationPolicy;
  const chosen = wanted === 'auto' ? automatic(seen.nodes) : { value: wanted === 'on', because: '' };
  const found: Edit[] = [];
  if (stronger !== undefined && seen.kubeVirt !== undefined) {
    const policy: EmulationPolicy | undefined = wanted === 'auto' ? undefined : chosen.value ? 'Software' : 'None';
    if (policy !== stronger) found.push(policyEdit(seen.kubeVirt, stronger, policy));
    if (wanted !== 'auto') return found;
  }
  const setBy = wanted === 'auto' ? `set by auto at ${now} because ${chosen.because}` : undefined;
  const value = String(chosen.value);
  const isSame = seen.map?.data?.[SWITCH] === value && (seen.map.metadata.annotations?.[SET_BY] !== undefined) === (wanted === 'auto');
  if (!isSame) found.push(switchEdit(seen.map, value, setBy));
  return found;
}

function policyEdit(kubeVirt: KubeVirt, was: EmulationPolicy, becomes: EmulationPolicy | undefined): Edit {
  const { emulationPolicy: _, ...configuration } = kubeVirt.spec?.configuration ?? {};
  return {
    type: RESOURCES.kubeVirts,
    namespace: kubeVirt.metadata.namespace ?? 'kubevirt',
    name: kubeVirt.metadata.name,
    patch: { spec: { configuration: { emulationPolicy: becomes ?? null } } },
    after: { ...kubeVirt, spec: { ...kubeVirt.spec, configuration: { ...configuration, ...(becomes === undefined ? {} : { emulationPolicy: becomes }) } } },
    field: 'spec.configuration.emulationPolicy',
    was,
    becomes,
  };
}

function switchEdit(map: ConfigMap | undefined, value: string, setBy: string | undefined): Edit {
  const annotations = { ...map?.metadata.annotations };
  if (setBy === undefined) delete annotations[SET_BY];
  else annotations[SET_BY] = setBy;
  return {
    type: RESOURCES.configMaps,
    ...SWITCH_MAP,
    patch: { metadata: { annotations: { [SET_BY]: setBy ?? null } }, data: { [SWITCH]: value } },
    after: {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      ...map,
      metadata: { ...(map?.metadata ?? SWITCH_MAP), annotations },
      data: { ...map?.data, [SWITCH]: value },
    },
    field: `data["${SWITCH}"]`,
    was: map?.data?.[SWITCH],
    becomes: value,
  };
}

/** What a choice means on these nodes, in a sentence. */
export function meaningOf(wanted: Wanted, nodes: readonly Node[]): string {
  const { value, because } = automatic(nodes);
  const works = nodes.some((node) => verdictOf(node).usable);
  switch (wanted) {
    case 'on':
      return works
        ? t('Machines use KVM where it works, and are emulated elsewhere.')
        : t('KVM works on no node, so new machines are emulated: they run everywhere, and slower.');
    case 'off':
      return works ? t('Machines run only where KVM works.') : t('KVM works on no node, so new machines wait.');
    case 'auto':
      return t('Chosen by what the nodes can. Now that would be {value}: {because}.', { value: value ? 'on' : 'off', because });
  }
}

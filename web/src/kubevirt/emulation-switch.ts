import type { MergePatch } from '../kubernetes/patch';
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

/** One value as it is and as it becomes; `undefined`: not set. */
export interface Line {
  /** Where the value stands, for people. */
  field: string;
  was: string | undefined;
  becomes: string | undefined;
}

/** One object that is written. */
export interface Edit {
  type: ResourceType;
  namespace: string;
  name: string;
  /** The merge patch that writes it. */
  patch: MergePatch;
  /** The object with it, for the server to tell the consequences. */
  after: object;
  /** What differs. */
  lines: readonly Line[];
}

/** What the cluster has, as far as the switch looks at it. */
export interface Seen {
  map: ConfigMap | undefined;
  kubeVirt: KubeVirt | undefined;
  nodes: readonly Node[];
}

/** The policy that stands above the switch. */
function strongerOf(seen: Seen): EmulationPolicy | undefined {
  return seen.kubeVirt?.spec?.configuration?.emulationPolicy;
}

/** Which of the words describes what is set now. Where a policy stands above the switch, `auto` has no say. */
export function current(seen: Seen): Wanted {
  const stronger = strongerOf(seen);
  if (stronger !== undefined) return stronger === 'Software' ? 'on' : 'off';
  if (seen.map?.metadata.annotations?.[SET_BY] !== undefined) return 'auto';
  return seen.kubeVirt?.status?.emulation?.policy === 'Software' ? 'on' : 'off';
}

/** What `auto` would choose, and why. */
export function automatic(nodes: readonly Node[]): { value: boolean; because: string } {
  const usable = nodes.filter((node) => verdictOf(node).usable);
  const [first] = usable;
  const where = first !== undefined && usable.length === 1 ? `node ${first.metadata.name}` : `${first === undefined ? 'none' : usable.length} of ${nodes.length} nodes`;
  return { value: first === undefined, because: `hardware virtualization works on ${where}` };
}

/**
 * What must be written so that it is as wanted, in the way of `anyvirt emulation`: the article's ConfigMap, unless the
 * KubeVirt object's emulationPolicy stands above it. `now` is RFC 3339. Nothing, if it is so already.
 */
export function edits(wanted: Wanted, seen: Seen, now: string): Edit[] {
  const stronger = strongerOf(seen);
  const chosen = wanted === 'auto' ? automatic(seen.nodes) : { value: wanted === 'on', because: '' };
  const isMarked = seen.map?.metadata.annotations?.[SET_BY] !== undefined;
  const found: Edit[] = [];
  if (stronger !== undefined && seen.kubeVirt !== undefined) {
    const agrees = wanted !== 'auto' && (stronger === 'Software') === chosen.value;
    if (!agrees) found.push(policyEdit(seen.kubeVirt, stronger, wanted === 'auto' ? undefined : policyOf(chosen.value)));
    // The switch below has no say; only the mark must go, or it would be `auto` again when the policy goes.
    if (wanted !== 'auto' && !isMarked) return found;
  }
  const setBy = wanted === 'auto' ? `set by auto at ${now} because ${chosen.because}` : undefined;
  const value = String(chosen.value);
  const isSame = seen.map?.data?.[SWITCH] === value && isMarked === (wanted === 'auto');
  if (!isSame) found.push(switchEdit(seen.map, value, setBy));
  return found;
}

function policyOf(value: boolean): EmulationPolicy {
  return value ? 'Software' : 'None';
}

/**
 * The object by which the server tells what follows from all `edits` together: it is asked about one object. A policy
 * on the KubeVirt object decides alone, whatever the switch says. If it goes, the switch decides, which is asked as
 * the same policy in its place (`standsFor`). `undefined` if nothing is written.
 */
export function questionOf(edits: readonly Edit[]): { object: object; standsFor: EmulationPolicy | undefined } | undefined {
  const [first, second] = edits;
  if (first === undefined) return undefined;
  const [line] = first.lines;
  if (second === undefined || line?.becomes !== undefined) return { object: first.after, standsFor: undefined };
  const standsFor = policyOf((second.after as ConfigMap).data?.[SWITCH] === 'true');
  const { spec, ...rest } = first.after as KubeVirt;
  return { object: { ...rest, spec: { ...spec, configuration: { ...spec?.configuration, emulationPolicy: standsFor } } }, standsFor };
}

/** The commands that write the same as `edits`, in their order. None, if nothing is written. */
export function commandsOf(wanted: Wanted, edits: readonly Edit[]): string[] {
  if (edits.length === 0) return [];
  if (wanted === 'auto') return ['anyvirt emulation auto'];
  // `anyvirt emulation on` and `off` refuse to write below a policy that says otherwise, so that one is written first.
  return edits.map(({ type, namespace, name, patch }) =>
    type === RESOURCES.kubeVirts ? `kubectl -n ${namespace} patch kubevirt ${name} --type=merge -p '${JSON.stringify(patch)}'` : `anyvirt emulation ${wanted}`,
  );
}

/** The object of an edit, for people. */
export function objectOf({ type, namespace, name }: Edit): string {
  return t('{kind} {name} in {namespace}', { kind: type.kind, name, namespace });
}

/** What is to be said when writing failed after the first `done` of `edits`. */
export function brokenOff(edits: readonly Edit[], done: number): string {
  if (done === 0) return t('Nothing was changed');
  const named = (some: readonly Edit[]): string => some.map(objectOf).join(', ');
  return t('Only a part was changed: {done}. Not changed: {rest}', { done: named(edits.slice(0, done)), rest: named(edits.slice(done)) });
}

function policyEdit(kubeVirt: KubeVirt, was: EmulationPolicy, becomes: EmulationPolicy | undefined): Edit {
  const { emulationPolicy: _, ...configuration } = kubeVirt.spec?.configuration ?? {};
  return {
    type: RESOURCES.kubeVirts,
    namespace: kubeVirt.metadata.namespace ?? 'kubevirt',
    name: kubeVirt.metadata.name,
    patch: { spec: { configuration: { emulationPolicy: becomes ?? null } } },
    after: { ...kubeVirt, spec: { ...kubeVirt.spec, configuration: { ...configuration, ...(becomes === undefined ? {} : { emulationPolicy: becomes }) } } },
    lines: [{ field: 'spec.configuration.emulationPolicy', was, becomes }],
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
    lines: [
      { field: `data["${SWITCH}"]`, was: map?.data?.[SWITCH], becomes: value },
      { field: `metadata.annotations["${SET_BY}"]`, was: map?.metadata.annotations?.[SET_BY], becomes: setBy },
    ].filter(({ was, becomes }) => was !== becomes),
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

import { describe, expect, test } from 'vitest';

import type { ConfigMap, KubeVirt } from './configuration';
import { automatic, brokenOff, commandsOf, current, edits, questionOf, type Seen, type Wanted } from './emulation-switch';
import type { EmulationPolicy } from './machine';

const NOW = '2026-11-23T02:00:00Z';
const KEY = 'debug.useEmulation';

function seen(part: { data?: Record<string, string>; setBy?: string; cr?: EmulationPolicy; effective?: EmulationPolicy; usable?: boolean[] }): Seen {
  const map: ConfigMap | undefined = part.data === undefined ? undefined : {
    metadata: { name: 'kubevirt-config', namespace: 'openshift-cnv', ...(part.setBy === undefined ? {} : { annotations: { 'anyvirt.io/emulation-set-by': part.setBy } }) },
    data: part.data,
  };
  const kubeVirt: KubeVirt = {
    apiVersion: 'kubevirt.io/v1',
    kind: 'KubeVirt',
    metadata: { name: 'kubevirt', namespace: 'kubevirt' },
    spec: part.cr === undefined ? {} : { configuration: { emulationPolicy: part.cr } },
    status: { emulation: { policy: part.effective ?? 'None', decidedBy: '' } },
  };
  const nodes = (part.usable ?? [false]).map((usable, index) => ({
    metadata: { name: `n${index}` },
    status: { conditions: [{ type: 'HardwareVirtualization', status: usable ? 'True' : 'False' }] },
  }));
  return { map, kubeVirt, nodes };
}

const MARK = 'metadata.annotations["anyvirt.io/emulation-set-by"]';
const told = (wanted: Wanted, it: Seen): string[] => edits(wanted, it, NOW).flatMap(({ lines }) => lines).map(({ field, was, becomes }) => `${field}: ${was ?? '-'} -> ${becomes ?? '-'}`);

describe('what is written', () => {
  test.each<[string, Wanted, Seen, string[]]>([
    ['on writes the key of the article', 'on', seen({ data: {} }), [`data["${KEY}"]: - -> true`]],
    ['on where it is on writes nothing', 'on', seen({ data: { [KEY]: 'true' } }), []],
    ['off on the way back', 'off', seen({ data: { [KEY]: 'true' } }), [`data["${KEY}"]: true -> false`]],
    ['on without the ConfigMap makes it', 'on', seen({}), [`data["${KEY}"]: - -> true`]],
    ['a stronger place is written instead', 'on', seen({ data: {}, cr: 'None' }), ['spec.configuration.emulationPolicy: None -> Software']],
    ['a stronger place that agrees is left', 'off', seen({ data: {}, cr: 'None' }), []],
    ['auto removes the stronger place', 'auto', seen({ data: {}, cr: 'None' }), ['spec.configuration.emulationPolicy: None -> -', `data["${KEY}"]: - -> true`, `${MARK}: - -> set by auto at ${NOW} because hardware virtualization works on none of 1 nodes`]],
    ['auto chooses hardware that works', 'auto', seen({ data: { [KEY]: 'true' }, usable: [false, true] }), [`data["${KEY}"]: true -> false`, `${MARK}: - -> set by auto at ${NOW} because hardware virtualization works on node n1`]],
    ['on takes over what auto has set', 'on', seen({ data: { [KEY]: 'true' }, setBy: 'set by auto' }), [`${MARK}: set by auto -> -`]],
    ['off takes the mark of auto away below a stronger place', 'off', seen({ data: { [KEY]: 'true' }, setBy: 'set by auto', cr: 'Software' }), ['spec.configuration.emulationPolicy: Software -> None', `data["${KEY}"]: true -> false`, `${MARK}: set by auto -> -`]],
    ['and where the stronger place agrees', 'off', seen({ data: { [KEY]: 'false' }, setBy: 'set by auto', cr: 'None' }), [`${MARK}: set by auto -> -`]],
    ['hardware only is off', 'off', seen({ data: {}, cr: 'Hardware' }), []],
  ])('%s', (_name, wanted, it, lines) => {
    expect(told(wanted, it)).toEqual(lines);
  });

  test('auto says when and why', () => {
    const [edit] = edits('auto', seen({ data: {} }), NOW);
    expect(JSON.stringify(edit?.patch)).toContain(`set by auto at ${NOW} because hardware virtualization works on none of 1 nodes`);
  });

  test('the object for the consequences has everything that was there', () => {
    const [edit] = edits('on', seen({ data: { other: 'kept' } }), NOW);
    expect(edit?.after).toMatchObject({ kind: 'ConfigMap', data: { other: 'kept', [KEY]: 'true' } });
  });
});

test('what is set now', () => {
  expect(current(seen({ data: {}, effective: 'Software' }))).toBe('on');
  expect(current(seen({ data: {}, effective: 'None' }))).toBe('off');
  expect(current(seen({ data: {}, setBy: 'set by auto', effective: 'Software' }))).toBe('auto');
  expect(current(seen({ data: {}, setBy: 'set by auto', cr: 'None' }))).toBe('off');
  expect(current(seen({ data: {}, setBy: 'set by auto', cr: 'Software' }))).toBe('on');
});

test('auto permits emulation only where no node has hardware that works', () => {
  expect(automatic(seen({ usable: [true, false] }).nodes).value).toBe(false);
  expect(automatic(seen({ usable: [false, false] }).nodes).value).toBe(true);
});

/** What the server is asked, by kind, and the policy or the switch in it. */
function asked(wanted: Wanted, it: Seen): unknown {
  const question = questionOf(edits(wanted, it, NOW));
  if (question === undefined) return undefined;
  const { kind, spec, data } = question.object as KubeVirt & ConfigMap;
  return [kind, kind === 'KubeVirt' ? spec?.configuration?.emulationPolicy : data?.[KEY], question.standsFor];
}

describe('what follows is asked of everything that is written', () => {
  test.each<[string, Wanted, Seen, unknown]>([
    ['nothing', 'off', seen({ data: { [KEY]: 'false' } }), undefined],
    ['the switch', 'on', seen({ data: {} }), ['ConfigMap', 'true', undefined]],
    ['a policy above the switch, which then has no say', 'on', seen({ data: { [KEY]: 'false' }, setBy: 'set by auto', cr: 'None' }), ['KubeVirt', 'Software', undefined]],
    ['a policy that goes, and the switch that then decides', 'auto', seen({ data: {}, cr: 'None' }), ['KubeVirt', 'Software', 'Software']],
    ['the same with hardware that works', 'auto', seen({ data: {}, cr: 'Software', usable: [true] }), ['KubeVirt', 'None', 'None']],
    ['a policy that goes, with the switch as it is', 'auto', seen({ data: { [KEY]: 'true' }, setBy: 'set by auto', cr: 'None' }), ['KubeVirt', undefined, undefined]],
  ])('%s', (_what, wanted, it, question) => {
    expect(asked(wanted, it)).toEqual(question);
  });
});

describe('the command', () => {
  const PATCH = `kubectl -n kubevirt patch kubevirt kubevirt --type=merge -p '{"spec":{"configuration":{"emulationPolicy":"Software"}}}'`;
  test.each<[string, Wanted, Seen, string[]]>([
    ['of nothing is none', 'off', seen({ data: { [KEY]: 'false' } }), []],
    ['of the switch', 'on', seen({ data: {} }), ['anyvirt emulation on']],
    ['of a policy above the switch, against which anyvirt emulation refuses', 'on', seen({ data: {}, cr: 'None' }), [PATCH]],
    ['of both, the policy first', 'on', seen({ data: {}, setBy: 'set by auto', cr: 'None' }), [PATCH, 'anyvirt emulation on']],
    ['of auto removes the policy by itself', 'auto', seen({ data: {}, cr: 'None' }), ['anyvirt emulation auto']],
    ['of auto where only the policy goes', 'auto', seen({ data: { [KEY]: 'true' }, setBy: 'set by auto', cr: 'None' }), ['anyvirt emulation auto']],
  ])('%s', (_what, wanted, it, commands) => {
    expect(commandsOf(wanted, edits(wanted, it, NOW))).toEqual(commands);
  });
});

test('who is told of a failure is told what was written before it', () => {
  const plan = edits('auto', seen({ data: {}, cr: 'None' }), NOW);
  expect([brokenOff(plan, 0), brokenOff(plan, 1)]).toEqual([
    'Nothing was changed',
    'Only a part was changed: KubeVirt kubevirt in kubevirt. Not changed: ConfigMap kubevirt-config in openshift-cnv',
  ]);
});

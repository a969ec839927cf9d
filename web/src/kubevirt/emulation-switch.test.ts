import { describe, expect, test } from 'vitest';

import type { ConfigMap, KubeVirt } from './configuration';
import { automatic, current, edits, type Seen, type Wanted } from './emulation-switch';
import type { EmulationPolicy } from './machine';

const NOW = '2026-11-23T02:00:00Z';
const KEY = 'debug.useEmulation';

function seen(part: { data?: Record<string, string>; setBy?: string; cr?: EmulationPolicy; effective?: EmulationPolicy; usable?: boolean[] }): Seen {
  const map: ConfigMap | undefined = part.data === undefined ? undefined : {
    metadata: { name: 'kubevirt-config', namespace: 'openshift-cnv', ...(part.setBy === undefined ? {} : { annotations: { 'anyvirt.io/emulation-set-by': part.setBy } }) },
    data: part.data,
  };
  const kubeVirt: KubeVirt = {
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

const told = (wanted: Wanted, it: Seen): string[] => edits(wanted, it, NOW).map(({ field, was, becomes }) => `${field}: ${was ?? '-'} -> ${becomes ?? '-'}`);

describe('what is written', () => {
  test.each<[string, Wanted, Seen, string[]]>([
    ['on writes the key of the article', 'on', seen({ data: {} }), [`data["${KEY}"]: - -> true`]],
    ['on where it is on writes nothing', 'on', seen({ data: { [KEY]: 'true' } }), []],
    ['off on the way back', 'off', seen({ data: { [KEY]: 'true' } }), [`data["${KEY}"]: true -> false`]],
    ['on without the ConfigMap makes it', 'on', seen({}), [`data["${KEY}"]: - -> true`]],
    ['a stronger place is written instead', 'on', seen({ data: {}, cr: 'None' }), ['spec.configuration.emulationPolicy: None -> Software']],
    ['a stronger place that agrees is left', 'off', seen({ data: {}, cr: 'None' }), []],
    ['auto removes the stronger place', 'auto', seen({ data: {}, cr: 'None' }), ['spec.configuration.emulationPolicy: None -> -', `data["${KEY}"]: - -> true`]],
    ['auto chooses hardware that works', 'auto', seen({ data: { [KEY]: 'true' }, usable: [false, true] }), [`data["${KEY}"]: true -> false`]],
    ['on takes over what auto has set', 'on', seen({ data: { [KEY]: 'true' }, setBy: 'set by auto' }), [`data["${KEY}"]: true -> true`]],
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
});

test('auto permits emulation only where no node has hardware that works', () => {
  expect(automatic(seen({ usable: [true, false] }).nodes).value).toBe(false);
  expect(automatic(seen({ usable: [false, false] }).nodes).value).toBe(true);
});

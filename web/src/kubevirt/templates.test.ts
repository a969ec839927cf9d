import { expect, test } from 'vitest';

import type { VirtualMachineInstance } from './machine';
import { lightOf, templateRows, warmStartOf, type WarmStartTemplate } from './templates';

const template = (name: string, status: WarmStartTemplate['status']): WarmStartTemplate => ({
  apiVersion: 'anyvirt.io/v1alpha1',
  kind: 'WarmStartTemplate',
  metadata: { namespace: 'default', name },
  spec: { node: 'here', key: name },
  status,
});

test('templates that machines have started from last come first, then those made last, then by name', () => {
  const rows = templateRows([
    template('b', undefined),
    template('made', { madeAt: '2026-11-23T10:00:00Z' }),
    template('a', undefined),
    template('used', { madeAt: '2026-11-22T10:00:00Z', lastUsedAt: '2026-11-23T11:00:00Z' }),
  ]);
  expect(rows.map(({ metadata }) => metadata.name)).toEqual(['used', 'made', 'a', 'b']);
});

test.each([
  ['Ready', 'success'],
  ['Building', 'info'],
  [undefined, 'info'],
  ['Refused', 'warning'],
  ['Failed', 'warning'],
])('a template that is %s has the light %s', (phase, light) => {
  expect(lightOf(template('one', phase === undefined ? undefined : { phase }))).toBe(light);
});

test('how a machine started is told by its condition alone', () => {
  const vmi = (conditions: object[]): VirtualMachineInstance => ({ kind: 'VirtualMachineInstance', metadata: { name: 'one' }, spec: {}, status: { conditions } }) as unknown as VirtualMachineInstance;
  expect(warmStartOf(undefined)).toBeUndefined();
  expect(warmStartOf(vmi([{ type: 'Ready', status: 'True' }]))).toBeUndefined();
  expect(warmStartOf(vmi([{ type: 'WarmStart', status: 'True', reason: 'Restored', message: 'from a template' }]))).toEqual({ isWarm: true, message: 'from a template' });
  expect(warmStartOf(vmi([{ type: 'WarmStart', status: 'False', reason: 'NoHook' }]))).toEqual({ isWarm: false, message: 'NoHook' });
});

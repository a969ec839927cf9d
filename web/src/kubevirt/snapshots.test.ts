import { expect, test } from 'vitest';

import { lightOf, nameAt, newRestore, newSnapshot, openRestores, type Restore, type Snapshot, snapshotsOf, standing, whyNot } from './snapshots';

function taken(name: string, status: Snapshot['status'] = {}): Snapshot {
  const snapshot = newSnapshot('demo', name, 'web', true);
  return { ...snapshot, status };
}

test('only snapshots of the machine are shown, the latest first', () => {
  const other = newSnapshot('demo', 'other', 'db', false);
  const all = [taken('a', { creationTime: '2026-11-23T10:00:00Z' }), other, taken('b', { creationTime: '2026-11-23T11:00:00Z' })];
  expect(snapshotsOf(all, 'web').map(({ metadata }) => metadata.name)).toEqual(['b', 'a']);
});

test('memory is asked for only where it is wanted', () => {
  expect(newSnapshot('demo', 'a', 'web', true).spec).toEqual({ source: { apiGroup: 'kubevirt.io', kind: 'VirtualMachine', name: 'web' }, includeMemory: true });
  expect('includeMemory' in newSnapshot('demo', 'a', 'web', false).spec).toBe(false);
});

test('a restore stops its target, and is told of until it is done', () => {
  const restore: Restore = newRestore('demo', 'r', 'a', 'web');
  expect(restore.spec).toMatchObject({ virtualMachineSnapshotName: 'a', targetReadinessPolicy: 'StopTarget' });
  const foreign = newRestore('demo', 'f', 'not-ours', 'web');
  expect(openRestores([restore, foreign], [taken('a')])).toEqual([restore]);
  expect(openRestores([{ ...restore, status: { complete: true } }], [taken('a')])).toEqual([]);
});

test('a restore that failed says why, and one under way what it waits for', () => {
  const restore = newRestore('demo', 'r', 'a', 'web');
  const under = { ...restore, status: { conditions: [{ type: 'Progressing', status: 'True', reason: 'it stops' }] } };
  expect(standing(under)).toEqual({ hasFailed: false, message: 'it stops' });
  const failed = { ...restore, status: { conditions: [{ type: 'Failure', status: 'True', message: 'gone' }, { type: 'Progressing', status: 'False' }] } };
  expect(standing(failed)).toEqual({ hasFailed: true, message: 'gone' });
  expect(standing(restore)).toEqual({ hasFailed: false, message: '' });
});

test('a failed snapshot is red and says why', () => {
  const failed = taken('a', { phase: 'Failed', error: { message: 'no room' } });
  expect([lightOf(failed), whyNot(failed)]).toEqual(['danger', 'no room']);
  expect(lightOf(taken('b', { phase: 'Succeeded', readyToUse: true }))).toBe('success');
  expect([lightOf(taken('c', { phase: 'InProgress' })), whyNot(taken('c'))]).toEqual(['info', '']);
});

test('names are of their second, and no longer than a label', () => {
  const time = new Date('2026-11-23T16:20:05.123Z');
  expect(nameAt('web', time)).toBe('web-261123162005');
  expect(nameAt('x'.repeat(63), time).length).toBeLessThanOrEqual(63);
});

import { expect, test } from 'vitest';

import { Failure } from './failure';
import type { KubernetesObject, WatchEvent } from './object';
import { type Happening, HELD, nothingYet, reduce, type Watched } from './watch-state';

const object = (name: string, version: string): KubernetesObject => ({ metadata: { name, namespace: 'demo', uid: name, resourceVersion: version } });
const event = (type: WatchEvent<KubernetesObject>['type'], it: KubernetesObject): WatchEvent<KubernetesObject> => ({ type, object: it });
const after = (...happenings: Happening<KubernetesObject>[]): Watched<KubernetesObject> => happenings.reduce(reduce, nothingYet<KubernetesObject>());
const listed = (...objects: KubernetesObject[]): Happening<KubernetesObject> => ({ type: 'listed', objects, resourceVersion: '10', at: 1 });

test('a list makes the state live at its version', () => {
  const state = after(listed(object('a', '3'), object('b', '4')));
  expect([state.phase, state.resourceVersion, [...state.objects.keys()]]).toEqual(['live', '10', ['demo/a', 'demo/b']]);
});

test('events add, change and delete, and move the version', () => {
  const state = after(listed(object('a', '3'), object('b', '4')), {
    type: 'events',
    at: 2,
    events: [event('ADDED', object('c', '11')), event('MODIFIED', object('a', '12')), event('DELETED', object('b', '13'))],
  });
  expect([...state.objects.keys()]).toEqual(['demo/a', 'demo/c']);
  expect(state.objects.get('demo/a')?.metadata.resourceVersion).toBe('12');
  expect(state.resourceVersion).toBe('13');
});

test('a bookmark moves the version and nothing else', () => {
  const before = after(listed(object('a', '3')));
  const state = reduce(before, { type: 'events', at: 2, events: [event('BOOKMARK', { metadata: { name: '', resourceVersion: '99' } })] });
  expect(state.resourceVersion).toBe('99');
  expect(state.objects).toBe(before.objects);
});

test('a second list keeps what has not changed as the same objects', () => {
  const first = object('a', '3');
  const state = after(listed(first), listed(object('a', '3'), object('b', '5')));
  expect(state.objects.get('demo/a')).toBe(first);
});

test('an object of the same name and version but another uid is another object', () => {
  const first = object('a', '3');
  const again = { metadata: { ...object('a', '3').metadata, uid: 'other' } };
  expect(after(listed(first), listed(again)).objects.get('demo/a')).toBe(again);
});

test('an old watch keeps what is shown and asks for a list', () => {
  const state = after(listed(object('a', '3')), { type: 'failed', failure: new Failure(410, 'Expired', 'too old'), lasted: 0 });
  expect([state.phase, state.resourceVersion, state.objects.size, state.failure]).toEqual(['live', '', 1, undefined]);
});

test('a lost server keeps what is shown as stale, and where to go on', () => {
  const state = after(listed(object('a', '3')), { type: 'failed', failure: new Failure(0, 'Unreachable', 'gone'), lasted: 0 });
  expect([state.phase, state.resourceVersion, state.objects.size, state.failures]).toEqual(['stale', '10', 1, 1]);
});

test('a watch that is let in after a failure is live again, and has not held yet', () => {
  const state = after(listed(), { type: 'failed', failure: new Failure(503, '', 'busy'), lasted: 0 }, { type: 'opened', at: 7 });
  expect([state.phase, state.failure, state.failures, state.heardAt]).toEqual(['live', undefined, 1, 7]);
});

const ended = (lasted: number): Happening<KubernetesObject> => ({ type: 'ended', at: 8, lasted });
const broke = (lasted: number): Happening<KubernetesObject> => ({ type: 'failed', failure: new Failure(500, '', 'broken'), lasted });

test('a watch that ends before it held leaves what is shown stale: it is not asked again at once', () => {
  expect([after(listed(), ended(HELD - 1)).phase, after(listed(), ended(HELD)).phase]).toEqual(['stale', 'live']);
});

test.each<[string, Happening<KubernetesObject>[], number]>([
  ['ends before it held', [broke(0), ended(HELD - 1)], 2],
  ['ends after it held', [broke(0), ended(HELD)], 0],
  ['breaks before it held', [broke(0), broke(HELD - 1)], 2],
  ['breaks after it held', [broke(0), broke(0), broke(HELD)], 1],
  ['brings a change before it breaks', [broke(0), { type: 'events', at: 8, events: [event('ADDED', object('a', '11'))] }, broke(0)], 2],
  ['is listed anew before it breaks', [broke(0), listed(), broke(0)], 2],
])('failures in a row of a watch that %s', (_what, happenings, failures) => {
  expect(after(listed(), ...happenings).failures).toBe(failures);
});

test('who may not look sees nothing of what was shown before', () => {
  const state = after(listed(object('a', '3')), { type: 'failed', failure: new Failure(403, 'Forbidden', 'no'), lasted: 0 });
  expect([state.phase, state.objects.size, state.resourceVersion]).toEqual(['refused', 0, '']);
});

test('a failure before the first list is still loading, with its reason', () => {
  const state = after({ type: 'failed', failure: new Failure(500, '', 'broken'), lasted: 0 });
  expect([state.phase, state.failure?.message]).toEqual(['loading', 'broken']);
});

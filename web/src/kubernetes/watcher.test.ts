import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import type { KubernetesObject } from './object';
import { RESOURCES } from './resource';
import { nothingYet, reduce, type Watched } from './watch-state';
import { follow } from './watcher';

/** A minute, in which a server that is well is asked once. */
const MINUTE = 60_000;
/** Requests after which the server falls silent: a client that never waits would go on for ever. */
const MOST = 200;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date', 'performance'] });
  vi.spyOn(Math, 'random').mockReturnValue(0);
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const LIST = { metadata: { resourceVersion: '1' }, items: [] };
const event = (type: string, object: object): string => `${JSON.stringify({ type, object })}\n`;
const CHANGE = event('MODIFIED', { metadata: { name: 'a', namespace: 'demo', resourceVersion: '2' } });
const STATUS = { kind: 'Status', status: 'Failure', message: 'no' };
const BROKEN = event('ERROR', { ...STATUS, code: 500, reason: 'InternalError' });
const EXPIRED = event('ERROR', { ...STATUS, code: 410, reason: 'Expired' });

/** The seconds at which a watch is begun within a minute, if each says `text` after `held` milliseconds and ends. */
async function begunAt(text: string, held: number): Promise<number[]> {
  const began = Date.now();
  const times: number[] = [];
  const answer = (path: string): Promise<Response> => {
    if (!path.includes('watch=true')) return Promise.resolve(Response.json(LIST));
    times.push((Date.now() - began) / 1000);
    if (times.length > MOST) return new Promise(() => undefined);
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        function end(): void {
          if (text !== '') controller.enqueue(new TextEncoder().encode(text));
          controller.close();
        }
        if (held === 0) end();
        else setTimeout(end, held);
      },
    });
    return Promise.resolve(new Response(body));
  };
  vi.stubGlobal('fetch', answer);
  const stop = new AbortController();
  let state: Watched<KubernetesObject> = nothingYet();
  void follow<KubernetesObject>({ type: RESOURCES.configMaps }, () => state, (happening) => { state = reduce(state, happening); }, stop.signal);
  await vi.advanceTimersByTimeAsync(MINUTE);
  stop.abort();
  return times;
}

test('a thousand machines are one list, without indents', async () => {
  const asked: URLSearchParams[] = [];
  vi.stubGlobal('fetch', (path: string): Promise<Response> => {
    asked.push(new URL(path, 'https://localhost').searchParams);
    return path.includes('watch=true') ? new Promise(() => undefined) : Promise.resolve(Response.json(LIST));
  });
  const stop = new AbortController();
  void follow<KubernetesObject>({ type: RESOURCES.virtualMachines }, () => nothingYet(), () => undefined, stop.signal);
  await vi.advanceTimersByTimeAsync(0);
  stop.abort();
  expect(asked.map((query) => [query.get('limit'), query.get('pretty'), query.get('watch')])).toEqual([['1000', 'false', null], [null, null, 'true']]);
});

const EVER_RARER = [0, 0.5, 1.5, 3.5, 7.5, 15.5, 30.5, 45.5];

test.each([
  ['ends', ''],
  ['ends after a change', CHANGE],
  ['breaks', BROKEN],
  ['breaks after a change', CHANGE + BROKEN],
  ['is too old', EXPIRED],
])('a watch that %s at once is begun ever more seldom', async (_what, text) => {
  expect(await begunAt(text, 0)).toEqual(EVER_RARER);
});

test('a watch that held is begun again at once when the server ends it', async () => {
  expect(await begunAt('', 25_000)).toEqual([0, 25, 50]);
});

test('a watch that held and then breaks is begun again after the first wait', async () => {
  expect(await begunAt(BROKEN, 20_000)).toEqual([0, 20.5, 41]);
});

test('a watch in which nothing is said is broken off and begun anew', async () => {
  const began = Date.now();
  const told: string[] = [];
  let watches = 0;
  vi.stubGlobal('fetch', (path: string, { signal }: RequestInit): Promise<Response> => {
    if (!path.includes('watch=true')) return Promise.resolve(Response.json(LIST));
    watches += 1;
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        // As browsers do.
        signal?.addEventListener('abort', () => controller.error(signal.reason));
        // Said after a minute: the silence begins anew.
        if (watches === 1) setTimeout(() => controller.enqueue(new TextEncoder().encode(CHANGE)), MINUTE);
      },
    });
    return Promise.resolve(new Response(body));
  });
  const stop = new AbortController();
  let state: Watched<KubernetesObject> = nothingYet();
  void follow<KubernetesObject>({ type: RESOURCES.configMaps }, () => state, (happening) => {
    state = reduce(state, happening);
    told.push(`${Math.floor((Date.now() - began) / 100) / 10} ${happening.type} ${state.phase} ${state.failure?.message ?? ''}`.trim());
  }, stop.signal);
  await vi.advanceTimersByTimeAsync(3 * MINUTE);
  stop.abort();
  expect(told).toEqual(['0 listed live', '0 opened live', '60 events live', '150 failed stale The server has said nothing for 1 min 30 s.', '150.5 opened live']);
});

import { duration } from '../words/measures';
import { t } from '../words/words';
import { waitAfter } from './backoff';
import { Failure } from './failure';
import { Lines } from './lines';
import type { KubernetesObject, ObjectList, WatchEvent } from './object';
import { apiVersionOf, collectionPath, type ResourceType } from './resource';
import { open, send } from './request';
import { type Happening, statusOf, type Watched } from './watch-state';

/** Which objects are watched. */
export interface Selection {
  type: ResourceType;
  namespace?: string | undefined;
  fieldSelector?: string | undefined;
}

/** Objects per request: some 2.5 MB of virtual machines, a tenth of that while they travel. */
const PAGE = 1000;
/** Seconds after which the server ends a watch by itself; it then begins anew where it was. */
const WATCH_SECONDS = 290;
/** Milliseconds of silence after which a watch is taken for broken: the server says something each minute, if only a bookmark. */
const SILENCE = 90_000;
/** Milliseconds between two tries of something that is refused: rights change rarely. */
const REFUSED_WAIT = 30_000;
/** Milliseconds in which events are collected before they are told: one frame. */
const FRAME = 16;

/** Lists, then watches, until `signal` is aborted. Tells everything that happens. */
export async function follow<T extends KubernetesObject>(
  selection: Selection,
  known: () => Watched<T>,
  tell: (happening: Happening<T>) => void,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    let opened: number | undefined;
    const silence = new Silence();
    const lasted = (): number => (opened === undefined ? 0 : performance.now() - opened);
    try {
      if (known().resourceVersion === '') {
        const { objects, resourceVersion } = await list<T>(selection, signal);
        tell({ type: 'listed', objects, resourceVersion, at: Date.now() });
      }
      silence.begin();
      const response = await openWatch(selection, known().resourceVersion, AbortSignal.any([signal, silence.signal]));
      opened = performance.now();
      tell({ type: 'opened', at: Date.now() });
      await watch<T>(selection, response, tell, silence);
      tell({ type: 'ended', at: Date.now(), lasted: lasted() });
    } catch (thrown) {
      if (signal.aborted) return;
      tell({ type: 'failed', failure: Failure.of(thrown), lasted: lasted() });
    } finally {
      silence.over();
    }
    const { phase, failures } = known();
    // A watch that held and was ended by the server goes on at once.
    if (failures > 0) await wait(phase === 'refused' ? REFUSED_WAIT : waitAfter(failures, Math.random()), signal);
  }
}

async function list<T extends KubernetesObject>(
  selection: Selection,
  signal: AbortSignal,
): Promise<{ objects: T[]; resourceVersion: string }> {
  const objects: T[] = [];
  let token: string | undefined;
  let resourceVersion = '';
  do {
    // Kubernetes indents what it sends to browsers, as if a person read it; that doubles it.
    const query = queryOf(selection, { limit: String(PAGE), pretty: 'false', ...(token === undefined ? {} : { continue: token }) });
    const { body } = await send<ObjectList<T>>(`${collectionPath(selection.type, selection.namespace)}?${query}`, { signal });
    objects.push(...body.items.map((object) => trimmed(object, selection.type)));
    resourceVersion = body.metadata.resourceVersion ?? '0';
    token = body.metadata.continue === '' ? undefined : body.metadata.continue;
  } while (token !== undefined);
  return { objects, resourceVersion };
}

function openWatch(selection: Selection, resourceVersion: string, signal: AbortSignal): Promise<Response> {
  const query = queryOf(selection, {
    watch: 'true',
    allowWatchBookmarks: 'true',
    timeoutSeconds: String(WATCH_SECONDS),
    resourceVersion,
  });
  return open(`${collectionPath(selection.type, selection.namespace)}?${query}`, { signal });
}

/** Tells what the server says until it ends the watch. Throws {@link Failure} if the server says that it failed. */
async function watch<T extends KubernetesObject>(
  selection: Selection,
  response: Response,
  tell: (happening: Happening<T>) => void,
  silence: Silence,
): Promise<void> {
  if (response.body === null) throw new Error('the watch has no body');
  const collected = new Collected<T>(tell);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const lines = new Lines();
  try {
    for (;;) {
      silence.begin();
      const { done, value } = await reader.read();
      if (done) return;
      for (const line of lines.take(value)) {
        const event = JSON.parse(line) as WatchEvent<T>;
        const status = statusOf(event);
        if (status !== undefined) throw Failure.ofAnswer(status.code ?? 500, JSON.stringify(status));
        collected.add({ ...event, object: trimmed(event.object as T, selection.type) });
      }
    }
  } finally {
    collected.flush();
  }
}

/**
 * Breaks off a watch in which nothing is said: a computer that slept, or whose network went, is told by nobody that its
 * connection is gone, and would show old data as live.
 */
class Silence {
  readonly #controller = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** From now on nothing is said. */
  begin(): void {
    this.over();
    const failure = new Failure(0, 'Unreachable', t('The server has said nothing for {time}.', { time: duration(SILENCE / 1000) }));
    this.#timer = setTimeout(() => this.#controller.abort(failure), SILENCE);
  }

  over(): void {
    clearTimeout(this.#timer);
  }
}

/** Events of one frame, told together. */
class Collected<T extends KubernetesObject> {
  #events: WatchEvent<T>[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #tell: (happening: Happening<T>) => void;

  constructor(tell: (happening: Happening<T>) => void) {
    this.#tell = tell;
  }

  add(event: WatchEvent<T>): void {
    this.#events.push(event);
    this.#timer ??= setTimeout(() => this.flush(), FRAME);
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#events.length === 0) return;
    const events = this.#events;
    this.#events = [];
    this.#tell({ type: 'events', events, at: Date.now() });
  }
}

function queryOf(selection: Selection, more: Record<string, string>): string {
  const query = new URLSearchParams(more);
  if (selection.fieldSelector !== undefined) query.set('fieldSelector', selection.fieldSelector);
  return query.toString();
}

/** Without managed fields, which no page shows and which are half of an object; with its kind. */
function trimmed<T extends KubernetesObject>(object: T, type: ResourceType): T {
  const { managedFields: _, ...metadata } = object.metadata;
  return { ...object, apiVersion: object.apiVersion ?? apiVersionOf(type), kind: object.kind ?? type.kind, metadata };
}

function wait(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done);
  });
}

import { LONGEST } from './backoff';
import type { Failure } from './failure';
import { keyOf, type KubernetesObject, type Status, type WatchEvent } from './object';

/** What is known of all objects of one kind, and how fresh that is. */
export interface Watched<T extends KubernetesObject> {
  /** `loading`: never listed. `live`: a watch runs. `stale`: known, but the server cannot be asked now. */
  phase: 'loading' | 'live' | 'stale' | 'refused';
  objects: ReadonlyMap<string, T>;
  /** Where the next watch begins; empty: list first. */
  resourceVersion: string;
  /** Why it is not live. */
  failure: Failure | undefined;
  /** When the server was last heard, in milliseconds since 1970; 0 if never. */
  heardAt: number;
  /** Tries in a row after which no watch has held; see {@link HELD}. */
  failures: number;
}

/** Milliseconds after which a watch has held: as long as the longest wait, so that one that breaks is never begun more often than that. */
export const HELD = LONGEST;

/** What can happen to {@link Watched}. `at` is in milliseconds since 1970, `lasted` is how long a watch was open. */
export type Happening<T extends KubernetesObject> =
  | { type: 'listed'; objects: T[]; resourceVersion: string; at: number }
  | { type: 'opened'; at: number }
  | { type: 'events'; events: WatchEvent<T>[]; at: number }
  | { type: 'ended'; at: number; lasted: number }
  | { type: 'failed'; failure: Failure; lasted: number };

/** What is known before anything was. */
export function nothingYet<T extends KubernetesObject>(): Watched<T> {
  return { phase: 'loading', objects: new Map(), resourceVersion: '', failure: undefined, heardAt: 0, failures: 0 };
}

/** Is it known which objects there are, be it from a while ago? Else that there are none would be a guess. */
export function isKnown({ phase }: { phase: Watched<KubernetesObject>['phase'] }): boolean {
  return phase === 'live' || phase === 'stale';
}

/** What is known after `happening`. Pure. */
export function reduce<T extends KubernetesObject>(state: Watched<T>, happening: Happening<T>): Watched<T> {
  switch (happening.type) {
    case 'listed':
      return {
        phase: 'live',
        objects: kept(state.objects, happening.objects),
        resourceVersion: happening.resourceVersion,
        failure: undefined,
        heardAt: happening.at,
        failures: state.failures,
      };
    case 'opened':
      // Being let in is news: whatever was stale is live again.
      return { ...state, phase: 'live', failure: undefined, heardAt: happening.at };
    case 'events':
      return withEvents(state, happening.events, happening.at);
    case 'ended':
      if (happening.lasted >= HELD) return { ...state, heardAt: happening.at, failures: 0 };
      return { ...state, phase: 'stale', heardAt: happening.at, failures: state.failures + 1 };
    case 'failed':
      return failed({ ...state, failures: happening.lasted < HELD ? state.failures + 1 : 1 }, happening.failure);
  }
}

/** An object that is the same as before stays the same reference, so that its row is not drawn again. */
function kept<T extends KubernetesObject>(before: ReadonlyMap<string, T>, objects: T[]): ReadonlyMap<string, T> {
  const after = new Map<string, T>();
  for (const object of objects) {
    const key = keyOf(object);
    const known = before.get(key);
    const same = known !== undefined && known.metadata.uid === object.metadata.uid
      && known.metadata.resourceVersion === object.metadata.resourceVersion;
    after.set(key, same ? known : object);
  }
  return after;
}

function withEvents<T extends KubernetesObject>(state: Watched<T>, events: WatchEvent<T>[], at: number): Watched<T> {
  let objects: Map<string, T> | undefined;
  let resourceVersion = state.resourceVersion;
  for (const event of events) {
    if (event.type === 'ERROR') continue;
    const object = event.object as T;
    resourceVersion = object.metadata.resourceVersion ?? resourceVersion;
    if (event.type === 'BOOKMARK') continue;
    objects ??= new Map(state.objects);
    if (event.type === 'DELETED') objects.delete(keyOf(object));
    else objects.set(keyOf(object), object);
  }
  return {
    ...state,
    phase: 'live',
    objects: objects ?? state.objects,
    resourceVersion,
    failure: undefined,
    heardAt: at,
  };
}

function failed<T extends KubernetesObject>(state: Watched<T>, failure: Failure): Watched<T> {
  // An old watch is no failure: nothing is shown of it, everything is listed again.
  if (failure.isGone) return { ...state, resourceVersion: '' };
  if (failure.isForbidden || failure.code === 404) {
    return { ...state, phase: 'refused', objects: new Map(), resourceVersion: '', failure };
  }
  const phase = state.phase === 'loading' ? 'loading' : 'stale';
  return { ...state, phase, failure };
}

/** The failure in a watch event of type `ERROR`. */
export function statusOf<T extends KubernetesObject>(event: WatchEvent<T>): Status | undefined {
  return event.type === 'ERROR' ? (event.object as Status) : undefined;
}

import { useMemo, useSyncExternalStore } from 'react';

import type { KubernetesObject } from './object';
import type { ResourceType } from './resource';
import { nothingYet, reduce, type Watched } from './watch-state';
import { follow, type Selection } from './watcher';

/** Milliseconds a watch goes on after the last page that showed it: going back and forth lists nothing again. */
const LINGER = 20_000;

/** All objects of one selection, shared by every page that shows them. */
class Store<T extends KubernetesObject> {
  #state: Watched<T> = nothingYet();
  readonly #selection: Selection;
  readonly #listeners = new Set<() => void>();
  #running: AbortController | undefined;
  #farewell: ReturnType<typeof setTimeout> | undefined;

  constructor(selection: Selection) {
    this.#selection = selection;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    clearTimeout(this.#farewell);
    this.#start();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#farewell = setTimeout(() => this.stop(), LINGER);
    };
  };

  readonly state = (): Watched<T> => this.#state;

  /** Ends the watch; what is known is forgotten. */
  stop(): void {
    this.#running?.abort();
    this.#running = undefined;
    this.#state = nothingYet();
  }

  #start(): void {
    if (this.#running !== undefined) return;
    const running = new AbortController();
    this.#running = running;
    const tell = (happening: Parameters<typeof reduce<T>>[1]): void => {
      if (running.signal.aborted) return;
      this.#state = reduce(this.#state, happening);
      for (const listener of this.#listeners) listener();
    };
    void follow<T>(this.#selection, this.state, tell, running.signal);
  }
}

const stores = new Map<string, Store<KubernetesObject>>();

function storeOf<T extends KubernetesObject>(selection: Selection): Store<T> {
  const { type, namespace, fieldSelector } = selection;
  const key = [type.group, type.version, type.plural, namespace ?? '', fieldSelector ?? ''].join('|');
  let store = stores.get(key);
  if (store === undefined) {
    store = new Store(selection);
    stores.set(key, store);
  }
  return store as unknown as Store<T>;
}

/** All objects of a kind, live. `namespace` absent: of all namespaces. */
export function useWatched<T extends KubernetesObject>(
  type: ResourceType,
  namespace?: string,
  fieldSelector?: string,
): Watched<T> {
  const store = useMemo(() => storeOf<T>({ type, namespace, fieldSelector }), [type, namespace, fieldSelector]);
  return useSyncExternalStore(store.subscribe, store.state);
}

/** One object by name, live; `undefined` while it is not known or does not exist. */
export function useObject<T extends KubernetesObject>(
  type: ResourceType,
  namespace: string | undefined,
  name: string,
): { object: T | undefined; watched: Watched<T> } {
  const watched = useWatched<T>(type, namespace, `metadata.name=${name}`);
  const object = watched.objects.get(type.namespaced ? `${namespace}/${name}` : name);
  return { object, watched };
}

/** Ends all watches: somebody logs out. */
export function forgetAll(): void {
  for (const store of stores.values()) store.stop();
  stores.clear();
}

import { useSyncExternalStore } from 'react';

/** An address of the console: path without `/console`, and its query. */
export interface Place {
  pathname: string;
  search: Readonly<Record<string, unknown>>;
}

const ALL_MAPS = '/k8s/all-namespaces/configmaps';
const OF_PROJECT = /^\/k8s\/ns\/([^/]+)\//;
const OF_MACHINE = /^\/machines\/([^/]+)\//;
/** Pages whose address names the project in its query. */
const ASKED = ['/machines', '/events', '/create'];

/** The project of a page: its name, `null` for a page of all projects, `undefined` for one that has none. */
export function projectAt({ pathname, search }: Place): string | null | undefined {
  const named = (OF_PROJECT.exec(pathname) ?? OF_MACHINE.exec(pathname))?.[1];
  if (named !== undefined) return decodeURIComponent(named);
  if (pathname === ALL_MAPS) return null;
  if (!ASKED.includes(pathname)) return undefined;
  // What is made belongs to one project: to that which was chosen last, unless the address says another.
  if (pathname === '/create' && search.project === undefined) return undefined;
  return typeof search.project === 'string' && search.project !== '' ? search.project : null;
}

/**
 * Where a change to `project` (`null`: all) leads from a page: to the same list of that project, from one object to the
 * list of its kind. `undefined`: the page stays, it is the same for all projects.
 */
export function movedTo({ pathname, search }: Place, project: string | null): Place | undefined {
  const { project: _before, ...rest } = search;
  if (ASKED.includes(pathname)) return { pathname, search: project === null ? rest : { ...rest, project } };
  if (OF_MACHINE.test(pathname)) return { pathname: '/machines', search: project === null ? {} : { project } };
  if (pathname !== ALL_MAPS && !OF_PROJECT.test(pathname)) return undefined;
  const kept = 'q' in search ? { q: search.q } : {};
  return { pathname: mapsOf(project), search: kept };
}

/** The address of a project's config maps, as in OpenShift. */
export function mapsOf(project: string | null): string {
  return project === null ? ALL_MAPS : `/k8s/ns/${encodeURIComponent(project)}/configmaps`;
}

let chosen: string | null = null;
const listeners = new Set<() => void>();

/** Keeps the choice for the pages that are opened next, until the console is loaded anew. */
export function chooseProject(project: string | null): void {
  if (project === chosen) return;
  chosen = project;
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The project that a person chose last; `null`: all. */
export function useChosenProject(): string | null {
  return useSyncExternalStore(subscribe, () => chosen);
}

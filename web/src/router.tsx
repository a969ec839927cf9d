import { createRootRoute, createRoute, createRouter, lazyRouteComponent, redirect } from '@tanstack/react-router';

import { searchOf } from './kubevirt/filter';
import { NotFound, PageFailure } from './pages/lost';
import { MACHINE_TABS, RESOURCE_TABS, VIEWS } from './pages/tabs';
import { Root } from './root';

type Raw = Record<string, unknown>;

const root = createRootRoute({ component: Root, notFoundComponent: NotFound, errorComponent: PageFailure });

function text(value: unknown): string | undefined {
  return value === undefined || value === null || value === '' ? undefined : String(value);
}

function oneOf<V extends string>(values: readonly V[], value: unknown): V | undefined {
  return values.find((one) => one === value);
}

/** Leaves out what is undefined, so that addresses stay short. */
function only<T extends object>(search: T): Partial<{ [K in keyof T]: NonNullable<T[K]> }> {
  return Object.fromEntries(Object.entries(search).filter(([, value]) => value !== undefined)) as Partial<{ [K in keyof T]: NonNullable<T[K]> }>;
}

const routes = [
  createRoute({ getParentRoute: () => root, path: '/', beforeLoad: () => { throw redirect({ to: '/overview' }); } }),
  createRoute({ getParentRoute: () => root, path: '/login', validateSearch: (raw: Raw) => only({ from: text(raw.from) }) }),
  createRoute({ getParentRoute: () => root, path: '/overview', component: lazyRouteComponent(() => import('./pages/overview'), 'OverviewPage') }),
  createRoute({
    getParentRoute: () => root,
    path: '/machines',
    validateSearch: searchOf,
    component: lazyRouteComponent(() => import('./pages/machines'), 'MachinesPage'),
  }),
  createRoute({
    getParentRoute: () => root,
    path: '/machines/$namespace/$name',
    validateSearch: (raw: Raw) => only({ tab: oneOf(MACHINE_TABS, raw.tab), view: oneOf(VIEWS, raw.view) }),
    component: lazyRouteComponent(() => import('./pages/machine'), 'MachinePage'),
  }),
  createRoute({
    getParentRoute: () => root,
    path: '/create',
    validateSearch: (raw: Raw) => only({ project: text(raw.project), image: text(raw.image) }),
    component: lazyRouteComponent(() => import('./pages/create'), 'CreatePage'),
  }),
  createRoute({
    getParentRoute: () => root,
    path: '/k8s/all-namespaces/configmaps',
    validateSearch: (raw: Raw) => only({ q: text(raw.q) }),
    component: lazyRouteComponent(() => import('./pages/config-maps'), 'ConfigMapsOfAll'),
  }),
  createRoute({
    getParentRoute: () => root,
    path: '/k8s/ns/$namespace/configmaps',
    validateSearch: (raw: Raw) => only({ q: text(raw.q) }),
    component: lazyRouteComponent(() => import('./pages/config-maps'), 'ConfigMapsOfProject'),
  }),
  createRoute({
    getParentRoute: () => root,
    path: '/k8s/ns/$namespace/$plural/~new',
    component: lazyRouteComponent(() => import('./pages/resource'), 'NewResourcePage'),
  }),
  createRoute({
    getParentRoute: () => root,
    path: '/k8s/ns/$namespace/$plural/$name',
    validateSearch: (raw: Raw) => only({ tab: oneOf(RESOURCE_TABS, raw.tab) }),
    component: lazyRouteComponent(() => import('./pages/resource'), 'ResourcePage'),
  }),
  createRoute({
    getParentRoute: () => root,
    path: '/events',
    validateSearch: (raw: Raw) => only({ project: text(raw.project), q: text(raw.q), warnings: raw.warnings === true ? true : undefined, kind: text(raw.kind), each: raw.each === true ? true : undefined }),
    component: lazyRouteComponent(() => import('./pages/events'), 'EventsPage'),
  }),
  createRoute({ getParentRoute: () => root, path: '/nodes', component: lazyRouteComponent(() => import('./pages/nodes'), 'NodesPage') }),
  createRoute({ getParentRoute: () => root, path: '/images', component: lazyRouteComponent(() => import('./pages/images'), 'ImagesPage') }),
  createRoute({ getParentRoute: () => root, path: '/settings', component: lazyRouteComponent(() => import('./pages/settings'), 'SettingsPage') }),
  createRoute({ getParentRoute: () => root, path: '/licences', component: lazyRouteComponent(() => import('./pages/licences'), 'LicencesPage') }),
] as const;

/** Which address shows which page. */
export const router = createRouter({ routeTree: root.addChildren(routes), basepath: '/console', defaultPreload: 'intent' });

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router;
  }
}

import { expect, test } from 'vitest';

import { movedTo, type Place, projectAt } from './project';

const at = (pathname: string, search: Place['search'] = {}): Place => ({ pathname, search });

test.each([
  [at('/machines'), null],
  [at('/machines', { project: 'demo' }), 'demo'],
  [at('/machines/demo/fedora'), 'demo'],
  [at('/k8s/all-namespaces/configmaps'), null],
  [at('/k8s/ns/openshift-cnv/configmaps'), 'openshift-cnv'],
  [at('/k8s/ns/openshift-cnv/configmaps/kubevirt-config'), 'openshift-cnv'],
  [at('/events', { project: '' }), null],
  [at('/create', { project: 'demo' }), 'demo'],
  [at('/create'), undefined],
  [at('/overview'), undefined],
  [at('/settings', { project: 'demo' }), undefined],
])('%j shows project %j', (place, project) => {
  expect(projectAt(place)).toBe(project);
});

test.each([
  [at('/machines', { q: 'web', project: 'a' }), 'b', at('/machines', { q: 'web', project: 'b' })],
  [at('/machines', { q: 'web', project: 'a' }), null, at('/machines', { q: 'web' })],
  [at('/machines/a/fedora', { tab: 'yaml' }), 'b', at('/machines', { project: 'b' })],
  [at('/k8s/ns/a/configmaps', { q: 'x' }), 'b', at('/k8s/ns/b/configmaps', { q: 'x' })],
  [at('/k8s/ns/a/configmaps/one', { tab: 'yaml' }), null, at('/k8s/all-namespaces/configmaps')],
  [at('/k8s/all-namespaces/configmaps'), 'b', at('/k8s/ns/b/configmaps')],
  [at('/events', { warnings: true }), 'b', at('/events', { warnings: true, project: 'b' })],
  [at('/nodes'), 'b', undefined],
])('from %j project %j leads to %j', (place, project, next) => {
  expect(movedTo(place, project)).toEqual(next);
});

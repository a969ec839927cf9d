import { describe, expect, test } from 'vitest';

import { waitAfter } from './backoff';
import { Failure } from './failure';
import { Lines } from './lines';
import { madeBy } from './patch';
import { collectionPath, objectPath, resourceAt, RESOURCES, subresourcePath } from './resource';
import { warningsIn } from './request';

test.each([
  [collectionPath(RESOURCES.configMaps, 'openshift-cnv'), '/api/v1/namespaces/openshift-cnv/configmaps'],
  [collectionPath(RESOURCES.virtualMachines), '/apis/kubevirt.io/v1/virtualmachines'],
  [collectionPath(RESOURCES.nodes, 'ignored'), '/api/v1/nodes'],
  [objectPath(RESOURCES.configMaps, 'a', '../secrets'), '/api/v1/namespaces/a/configmaps/..%2Fsecrets'],
  [subresourcePath(RESOURCES.virtualMachines, 'demo', 'vm', 'start'), '/apis/subresources.kubevirt.io/v1/namespaces/demo/virtualmachines/vm/start'],
])('the address is %s', (path, wanted) => {
  expect(path).toBe(wanted);
});

test('lines come out whole, whatever the pieces', () => {
  const lines = new Lines();
  expect([lines.take('{"a"'), lines.take(':1}\n{"b":2}\n\n{'), lines.take('}\n')]).toEqual([[], ['{"a":1}', '{"b":2}'], ['{}']]);
});

test('a line longer than any object ends the watch', () => {
  const lines = new Lines();
  expect(() => lines.take('x'.repeat(Lines.LONGEST + 1))).toThrow(/longer/);
});

describe('the wait after failures', () => {
  test.each([[1, 500], [2, 1000], [3, 2000], [6, 15_000], [60, 15_000]])('after %i is at most %i ms', (failures, most) => {
    expect(waitAfter(failures, 0)).toBe(most);
    expect(waitAfter(failures, 0.999)).toBeGreaterThanOrEqual(most / 2);
  });
});

describe('a refusal', () => {
  test('of Kubernetes is read with its fields', () => {
    const body = JSON.stringify({ kind: 'Status', code: 422, reason: 'Invalid', message: 'no', details: { causes: [{ field: 'spec.running', message: 'bad' }] } });
    const failure = Failure.ofAnswer(422, body);
    expect([failure.reason, failure.message, failure.causes]).toEqual(['Invalid', 'no', [{ field: 'spec.running', message: 'bad' }]]);
  });

  test.each([['SessionExpired', true, false], ['CsrfTokenWrong', false, true], ['CsrfTokenMissing', false, false]])('a refusal because of %s', (reason, isOver, isOfAnotherSession) => {
    const failure = Failure.ofAnswer(401, JSON.stringify({ kind: 'Status', details: { causes: [{ reason, field: 'Cookie', message: 'no' }] } }));
    expect([failure.isOver, failure.isOfAnotherSession]).toEqual([isOver, isOfAnotherSession]);
  });

  test('of something else keeps its words', () => {
    expect(Failure.ofAnswer(502, 'bad gateway').message).toBe('bad gateway');
    expect(Failure.ofAnswer(502, '').message).toBe('The server answered 502 without a reason.');
  });

  test.each([[410, '', true], [500, 'Expired', true], [409, 'Conflict', false]])('%i %s: is the watch too old? %s', (code, reason, isGone) => {
    expect(new Failure(code, reason, '').isGone).toBe(isGone);
  });
});

test.each([
  [null, []],
  ['299 - "emulated guests share a node"', ['emulated guests share a node']],
  ['299 - "one, with a comma", 299 - "say \\"two\\""', ['one, with a comma', 'say "two"']],
])('the warnings in %s', (header, wanted) => {
  expect(warningsIn(header)).toEqual(wanted);
});

describe('a patch of what does not exist', () => {
  const PATH = '/api/v1/namespaces/openshift-cnv/configmaps/kubevirt-config';

  test('makes a ConfigMap of what it sets, without what it takes away', () => {
    const patch = { metadata: { annotations: { kept: 'x', gone: null } }, data: { 'debug.useEmulation': 'true' } };
    expect(madeBy(PATH, patch)).toEqual({
      path: '/api/v1/namespaces/openshift-cnv/configmaps',
      object: {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'kubevirt-config', namespace: 'openshift-cnv', annotations: { kept: 'x' } },
        data: { 'debug.useEmulation': 'true' },
      },
    });
  });

  test.each([
    '/apis/kubevirt.io/v1/namespaces/kubevirt/kubevirts/kubevirt',
    '/apis/kubevirt.io/v1/namespaces/demo/virtualmachines/vm',
    '/api/v1/nodes/one',
    `${PATH}/status`,
  ])('makes nothing at %s', (path) => {
    expect(madeBy(path, { data: {} })).toBeUndefined();
  });
});

test.each([
  ['/api/v1/namespaces/openshift-cnv/configmaps/kubevirt-config', 'ConfigMap', 'openshift-cnv'],
  ['/apis/kubevirt.io/v1/namespaces/default/virtualmachines/vm', 'VirtualMachine', 'default'],
  ['/api/v1/nodes/n', 'Node', undefined],
  ['/apis/apps/v1/namespaces/default/deployments/d', undefined, undefined],
  ['/api/v1/namespaces/default/configmaps', undefined, undefined],
])('at %s is a %s in %s', (path, kind, namespace) => {
  const found = resourceAt(path);
  expect([found?.type.kind, found?.namespace]).toEqual([kind, namespace]);
});

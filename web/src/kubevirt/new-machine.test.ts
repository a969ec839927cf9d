import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';

import type { VirtualMachine } from './machine';
import { blank, fieldOf, flawsOf, forecastBy, formOf, manifestOf, type NewMachine, passwordOf, userData } from './new-machine';
import { devicesHeld } from './node';
import { sampleInstance } from './sample';
import { fitOf, usageOf, usualLogin } from './usage';

const good: NewMachine = { ...blank('demo', 'quay.io/containerdisks/fedora:42'), name: 'web-1' };
const KEY = 'ssh-ed25519 AAAA me';
const everything: NewMachine = {
  ...good,
  user: 'me', password: 'secret', sshKey: KEY, starts: false, model: 'e1000', mac: '02:00:00:00:00:01', ports: '22, 53/UDP', architecture: 'arm64', machineType: 'virt',
  hasScreen: false, emulationPolicy: 'Software', warmStart: 'Auto', grace: '30', ownData: '#cloud-config\npackages: [vim]\n', labels: 'tier=front\nempty=',
  disks: [{ kind: 'emptyDisk', source: '', size: '2Gi' }, { kind: 'containerDisk', source: 'a/b:1', size: '' }, { kind: 'hostDisk', source: '/srv/d', size: '1Gi' }],
};

describe('a new machine', () => {
  test.each([
    [{}, []],
    [{ name: 'Web' }, ['name']],
    [{ name: `a${'b'.repeat(63)}` }, ['name']],
    [{ image: '' }, ['image']],
    [{ memory: 'lots' }, ['memory']],
    [{ sshKey: 'my key' }, ['sshKey']],
    [{ ports: '22, 70000' }, ['ports']],
    [{ ports: 'ssh' }, ['ports']],
    [{ labels: 'front' }, ['labels']],
    [{ labels: 'tier=a\ntier=b' }, ['labels']],
    [{ cores: 1.5 }, ['cores']],
    [{ grace: 'soon' }, ['grace']],
    [{ disks: [{ kind: 'emptyDisk', source: '', size: '1Gi' }, { kind: 'hostDisk', source: 'srv', size: '1Gi' }] } as const, ['disk-2']],
    [everything, []],
  ])('%o has flaws in %o', (part, fields) => {
    expect(Object.keys(flawsOf({ ...good, ...part }))).toEqual(fields);
  });

  test('without a user has no cloud-init disk', () => {
    const spec = manifestOf(good).spec.template?.spec;
    expect(spec?.volumes).toEqual([{ name: 'root', containerDisk: { image: good.image } }]);
    expect(spec?.domain.devices.interfaces).toEqual([{ name: 'default', masquerade: {} }]);
  });

  test('without a network says so: one that says nothing is given one', () => {
    const spec = manifestOf({ ...good, hasNetwork: false }).spec.template?.spec;
    expect(spec?.domain.devices).toEqual({ disks: [{ name: 'root', disk: { bus: 'virtio' } }], autoattachPodInterface: false });
    expect(spec?.networks).toBeUndefined();
  });

  test('has everything that was chosen', () => {
    const { metadata, spec } = manifestOf(everything);
    expect(metadata.labels).toEqual({ tier: 'front', empty: '' });
    expect(spec.template?.metadata).toEqual({ labels: { tier: 'front', empty: '' }, annotations: { 'anyvirt.io/warm-start': 'Auto' } });
    expect(spec.template?.spec).toMatchObject({
      architecture: 'arm64', emulationPolicy: 'Software', terminationGracePeriodSeconds: 30,
      domain: { machine: { type: 'virt' }, devices: { autoattachGraphicsDevice: false, interfaces: [{ model: 'e1000', macAddress: '02:00:00:00:00:01', ports: [{ port: 22 }, { port: 53, protocol: 'UDP' }] }] } },
    });
    expect(spec.template?.spec.volumes?.map(({ name }) => name)).toEqual(['root', 'cloudinit', 'disk-1', 'disk-2', 'disk-3']);
    expect(spec.template?.spec.domain.devices.disks?.map(({ name }) => name)).toEqual(['root', 'cloudinit', 'disk-1', 'disk-2', 'disk-3']);
  });
});

describe('cloud-init', () => {
  test('what a person types cannot become another key of it', () => {
    expect(userData({ ...good, user: 'me\nruncmd: [reboot]' })).toBe('#cloud-config\nuser: |-\n  me\n  runcmd: [reboot]\n');
  });

  test('of a person and of the form become one, comments and all', () => {
    const text = userData({ ...good, user: 'me', ownData: '#cloud-config\n# mine\npackages:\n  - vim\n' }) ?? '';
    expect(text).toMatch(/^#cloud-config\n/);
    expect(text).toContain('# mine');
    expect(parse(text)).toEqual({ packages: ['vim'], user: 'me' });
  });

  test('that is a script stands alone, word for word', () => {
    expect(userData({ ...good, ownData: '#!/bin/sh\ntrue\n' })).toBe('#!/bin/sh\ntrue\n');
  });

  test.each([
    ['#!/bin/sh\ntrue', 'begins with #cloud-config'],
    ['#cloud-config\nuser: you\n', 'This says user'],
    ['#cloud-config\n- a\n', 'key: value'],
    ['#cloud-config\na: [\n', 'Flow sequence'],
    ['#cloud-config\na: *b\n', 'Unresolved alias'],
  ])('%j beside a user is refused, because: %s', (ownData, why) => {
    expect(flawsOf({ ...good, user: 'me', ownData }).ownData).toContain(why);
  });
});

describe('the form and the YAML', () => {
  test.each([['the least', good], ['everything', everything], ['no network', { ...good, hasNetwork: false }], ['a script', { ...good, ownData: '#!/bin/sh\n' }]])('are the same for %s', (_what, machine) => {
    expect(formOf(manifestOf(machine), machine)).toEqual(machine);
  });

  test('what lets somebody in is read from the YAML too', () => {
    const { user, password, sshKey } = { user: 'me', password: 'secret', sshKey: KEY };
    expect(formOf(manifestOf({ ...good, user, password, sshKey }), good)).toEqual({ ...good, user, password, sshKey });
  });

  test('the order of keys does not matter', () => {
    const { spec, metadata, kind, apiVersion } = manifestOf(everything);
    expect(formOf({ spec, kind, metadata, apiVersion } as VirtualMachine, everything)).toEqual(everything);
  });

  test.each([
    ['another volume', (vm: VirtualMachine) => vm.spec.template?.spec.volumes?.push({ name: 'other', emptyDisk: { capacity: '1Gi' } })],
    ['a field that the form has not', (vm: VirtualMachine) => Object.assign(vm.spec.template?.spec ?? {}, { hostname: 'h' })],
    ['a warm start of another kind', (vm: VirtualMachine) => Object.assign(vm.spec.template ?? {}, { metadata: { annotations: { 'anyvirt.io/warm-start': 'Maybe' } } })],
    ['a template that is none', (vm: VirtualMachine) => Object.assign(vm.spec, { template: { spec: 7 } })],
    ['a number for a MAC address', (vm: VirtualMachine) => Object.assign(vm.spec.template?.spec.domain.devices.interfaces?.[0] ?? {}, { macAddress: 5 })],
    ['a number for an image', (vm: VirtualMachine) => Object.assign(vm.spec.template?.spec.volumes?.[0] ?? {}, { containerDisk: { image: 42 } })],
    ['user data with an alias of nothing', (vm: VirtualMachine) => vm.spec.template?.spec.volumes?.push({ name: 'cloudinit', cloudInitNoCloud: { userData: '#cloud-config\na: *b\n' } })],
    ['a run strategy that the form has not', (vm: VirtualMachine) => Object.assign(vm.spec, { runStrategy: 'Manual' })],
  ])('the form cannot say %s', (_what, change) => {
    const vm = structuredClone(manifestOf(good));
    change(vm);
    expect(formOf(vm, good)).toBeUndefined();
  });
});

describe('what a forecast is made of', () => {
  test('is what the form says, unless the YAML goes beyond it', () => {
    expect(forecastBy(good, undefined)).toEqual({ image: good.image, cores: 1, memory: '1Gi' });
    expect(forecastBy(good, manifestOf({ ...good, image: 'a/b:1', cores: 2, memory: '2Gi', disks: [{ kind: 'containerDisk', source: 'c/d:1', size: '' }] }))).toEqual({ image: 'a/b:1', cores: 2, memory: '2Gi' });
  });

  test.each([7, { volumes: 7 }, { volumes: [null] }, { volumes: [{ name: 'root', containerDisk: { image: 42 } }] }, { volumes: [{ name: 'root', emptyDisk: {} }] }])('is nothing of the form if the YAML says %j', (spec) => {
    expect(forecastBy(good, { spec: { template: { spec } } } as unknown as VirtualMachine)).toEqual({ image: '', cores: 1, memory: '' });
  });
});

test.each([
  ['metadata.name', 'name'],
  ['spec.template.spec.domain.memory.guest', 'memory'],
  ['spec.template.spec.domain.cpu', 'cores'],
  ['spec.template.spec.volumes[0].containerDisk.image', 'image'],
  ['spec.template.spec.volumes[1].cloudInitNoCloud', 'ownData'],
  ['spec.template.spec.volumes[4].hostDisk.path', 'disk-3'],
  ['spec.template.spec.domain.devices.disks[2].name', 'disk-1'],
  ['spec.template.spec.domain.devices.interfaces[0].ports[1].port', 'ports'],
  ['spec.template.spec.architecture', 'architecture'],
  ['spec.template.metadata.labels', 'labels'],
  ['spec.template.metadata.annotations', 'warmStart'],
  ['spec.runStrategy', undefined],
  ['spec.template.spec.volumes[9].name', undefined],
])('what the server says of %s stands at %s', (field, wanted) => {
  expect(fieldOf(field, manifestOf(everything))).toBe(wanted);
});

test('a password uses each letter as often as any other', () => {
  let next = 0;
  const password = passwordOf((bytes) => bytes.forEach((_, at) => { bytes[at] = next; next = (next + 1) % 256; }));
  expect(password).toBe('abcdefghjkmnopqrstuv');
  // Bytes from 240 on begin a round that is not whole.
  let turn = 0;
  expect(passwordOf((bytes) => { bytes.fill(turn === 0 ? 255 : 1); turn += 1; })).toBe('b'.repeat(20));
});

describe('room on a node', () => {
  const node = (name: string, memory: string, ready = 'True') => ({ metadata: { name }, status: { allocatable: { cpu: '4', memory }, conditions: [{ type: 'Ready', status: ready }] } });
  const guest = (nodeName: string, phase: 'Running' | 'Failed') => sampleInstance('vm', { phase, nodeName, memory: { memoryOverhead: '256Mi' } });

  test('is what guests that run or start do not take', () => {
    expect(usageOf(node('a', '4Gi'), [guest('a', 'Running'), guest('a', 'Failed'), guest('b', 'Running')])).toEqual({
      guests: 1, processors: { used: 1, all: 4 }, memory: { used: 512 * 2 ** 20, all: 4 * 2 ** 30 },
    });
  });

  test.each([
    [1, false, 'fits'],
    [3.5, false, 'tight'],
    [3, true, 'tight'],
    [4, false, 'full'],
  ])('%f GiB, emulated: %s: %s', (gibibytes, isEmulated, is) => {
    expect(fitOf(gibibytes * 2 ** 30, isEmulated, [node('a', '4Gi'), node('b', '8Gi', 'False')], [guest('a', 'Running')])).toMatchObject({ node: 'a', is });
  });

  test('is nowhere if no node takes machines', () => {
    expect(fitOf(1, false, [node('b', '8Gi', 'False')], [])).toBeUndefined();
  });
});

test('how long a start takes is known from the estimate, else from a start that was seen', () => {
  const started = (image: string, timeline: object) => {
    const instance = sampleInstance('vm', { phase: 'Running', startTimeline: { startedAt: '2026-01-01T00:00:00Z', progressPercent: 100, steps: [{ name: 'login', at: '2026-01-01T00:01:00Z' }], ...timeline } });
    instance.spec.volumes = [{ name: 'root', containerDisk: { image } }];
    return instance;
  };
  const estimated = started('a', { estimate: { lowSeconds: 30, highSeconds: 50, basis: 'from 3 earlier starts', starts: 3 } });
  expect(usualLogin('a', [started('b', {}), estimated])).toEqual({ low: 30, high: 50, basis: 'from 3 earlier starts' });
  expect(usualLogin('b', [started('b', {})])).toEqual({ low: 60, high: 60, basis: undefined });
  expect(usualLogin('c', [started('b', {}), started('c', { steps: [{ name: 'login' }] })])).toBeUndefined();
});

test('devices are held by pods of the node that have not ended', () => {
  const pod = (nodeName: string, phase: string) => ({ metadata: { name: nodeName + phase }, spec: { nodeName, containers: [{ resources: { requests: { 'devices.kubevirt.io/tun': '1', cpu: '1' }, limits: { 'devices.kubevirt.io/tun': '1' } } }] }, status: { phase } });
  expect(devicesHeld('a', [pod('a', 'Running'), pod('a', 'Pending'), pod('a', 'Failed'), pod('b', 'Running')])).toEqual({ 'devices.kubevirt.io/tun': 2 });
});

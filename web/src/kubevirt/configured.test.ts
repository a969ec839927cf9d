import { describe, expect, test } from 'vitest';

import { addedDisk, configured, type Configured, configuredOf, flawsIn, patchBetween, patchCommand } from './configured';
import type { VirtualMachine } from './machine';
import { blank, manifestOf } from './new-machine';
import { sampleVm } from './sample';

const vm: VirtualMachine = manifestOf({ ...blank('demo', 'a/b:1'), name: 'web', user: 'me', labels: 'tier=front', disks: [{ kind: 'emptyDisk', source: '', size: '1Gi' }] });
const before = configuredOf(vm);
/** What a change of the form is as a patch. */
const patch = (part: Partial<Configured>, of = vm): unknown => patchBetween(of, configured(of, configuredOf(of), { ...configuredOf(of), ...part }));
const inTemplate = (spec: object): object => ({ spec: { template: { spec } } });
const disk = (name: string, part: Partial<Configured['disks'][number]>): Configured['disks'] => before.disks.map((row) => (row.name === name ? { ...row, ...part } : row));

describe('the configuration of a machine', () => {
  test('is shown', () => {
    expect(before).toMatchObject({ cores: 1, memory: '1Gi', runStrategy: 'Always', labels: 'tier=front', instanceLabels: 'tier=front', hasScreen: true, userData: '#cloud-config\nuser: me\n' });
    expect(before.disks.map(({ name, kind, bus }) => [name, kind, bus])).toEqual([['root', 'containerDisk', 'virtio'], ['cloudinit', 'cloudInitNoCloud', 'virtio'], ['disk-1', 'emptyDisk', 'virtio']]);
    expect(before.cards).toEqual([{ name: 'default', model: '', mac: '', ports: '' }]);
  });

  test.each([
    ['nothing', {}, undefined],
    ['processors', { cores: 2 }, inTemplate({ domain: { cpu: { cores: 2 } } })],
    ['memory', { memory: '2Gi' }, inTemplate({ domain: { memory: { guest: '2Gi' } } })],
    ['the run strategy', { runStrategy: 'Manual' }, { spec: { runStrategy: 'Manual' } }],
    ['the policy', { emulationPolicy: 'Software' }, inTemplate({ emulationPolicy: 'Software' })],
    ['the machine type', { machineType: 'q35' }, inTemplate({ domain: { machine: { type: 'q35' } } })],
    ['the screen', { hasScreen: false }, inTemplate({ domain: { devices: { autoattachGraphicsDevice: false } } })],
    ['the grace period', { grace: '0' }, inTemplate({ terminationGracePeriodSeconds: 0 })],
    ['labels', { labels: '' }, { metadata: { labels: null } }],
    ['labels of instances', { instanceLabels: 'tier=back' }, { spec: { template: { metadata: { labels: { tier: 'back' } } } } }],
  ])('a change of %s touches nothing else', (_what, part, wanted) => {
    expect(patch(part)).toEqual(wanted);
  });

  test('the deprecated way to say when it runs goes', () => {
    const old = sampleVm('old', { running: true });
    delete old.spec.runStrategy;
    expect(patch({ runStrategy: 'Halted' }, old)).toEqual({ spec: { runStrategy: 'Halted', running: null } });
  });

  test('what the form does not show of a disk stays', () => {
    const cached = structuredClone(vm);
    Object.assign(cached.spec.template?.spec.domain.devices.disks?.[0] ?? {}, { cache: 'none' });
    const after = configured(cached, before, { ...before, disks: disk('root', { bus: 'sata', bootOrder: '1', source: ' a/b:2 ' }) }).spec.template?.spec;
    expect(after?.domain.devices.disks?.[0]).toEqual({ name: 'root', disk: { bus: 'sata' }, cache: 'none', bootOrder: 1 });
    expect(after?.volumes?.[0]).toEqual({ name: 'root', containerDisk: { image: 'a/b:2' } });
    expect(after?.volumes?.slice(1)).toEqual(vm.spec.template?.spec.volumes?.slice(1));
  });

  test('a disk comes and goes with its volume', () => {
    const added = addedDisk(before.disks, vm);
    expect(added.name).toBe('disk-2');
    const more = configured(vm, before, { ...before, disks: [...before.disks, added] }).spec.template?.spec;
    expect(more?.volumes?.at(-1)).toEqual({ name: 'disk-2', emptyDisk: { capacity: '1Gi' } });
    expect(more?.domain.devices.disks?.at(-1)).toEqual({ name: 'disk-2', disk: { bus: 'virtio' } });
    const less = configured(vm, before, { ...before, disks: before.disks.filter(({ name }) => name !== 'disk-1') }).spec.template?.spec;
    expect(less?.volumes?.map(({ name }) => name)).toEqual(['root', 'cloudinit']);
    expect(less?.domain.devices.disks?.map(({ name }) => name)).toEqual(['root', 'cloudinit']);
  });

  test('a disk that is added is not called as one that was taken away', () => {
    expect(addedDisk(before.disks.filter(({ name }) => name !== 'disk-1'), vm).name).toBe('disk-2');
  });

  test('a disk that becomes one of another kind has a volume of that kind only, in its place', () => {
    const after = configured(vm, before, { ...before, disks: disk('root', { kind: 'emptyDisk', source: '', size: '1Gi' }) }).spec.template?.spec;
    expect(after?.volumes?.[0]).toEqual({ name: 'root', emptyDisk: { capacity: '1Gi' } });
    expect(after?.volumes?.slice(1)).toEqual(vm.spec.template?.spec.volumes?.slice(1));
    const same = configured(vm, before, { ...before, disks: disk('disk-1', { kind: 'containerDisk', source: 'a/b:2', size: '1Gi' }) }).spec.template?.spec;
    expect(same?.volumes?.at(-1)).toEqual({ name: 'disk-1', containerDisk: { image: 'a/b:2' } });
  });

  test('a network card is changed, taken away, and added again', () => {
    expect(patch({ cards: [{ name: 'default', model: 'e1000', mac: '', ports: '22' }] })).toEqual(inTemplate({ domain: { devices: { interfaces: [{ name: 'default', masquerade: {}, model: 'e1000', ports: [{ port: 22 }] }] } } }));
    const without = configured(vm, before, { ...before, cards: [] });
    expect(patchBetween(vm, without)).toEqual(inTemplate({ networks: null, domain: { devices: { interfaces: null, autoattachPodInterface: false } } }));
    const again = configured(without, configuredOf(without), { ...configuredOf(without), cards: before.cards });
    expect(patchBetween(vm, again)).toEqual(undefined);
  });

  test('what the form does not show of a port stays', () => {
    const named = structuredClone(vm);
    Object.assign(named.spec.template?.spec.domain.devices.interfaces?.[0] ?? {}, { ports: [{ name: 'http', port: 80 }, { name: 'dns', port: 53, protocol: 'UDP' }, { name: 'ssh', port: 22, protocol: 'TCP' }] });
    const portsAs = (ports: string): unknown => configured(named, configuredOf(named), { ...configuredOf(named), cards: [{ name: 'default', model: '', mac: '', ports }] }).spec.template?.spec.domain.devices.interfaces?.[0]?.ports;
    expect(portsAs('443, 80, 53, 53/UDP, 22')).toEqual([{ port: 443 }, { name: 'http', port: 80 }, { port: 53 }, { name: 'dns', port: 53, protocol: 'UDP' }, { name: 'ssh', port: 22, protocol: 'TCP' }]);
    expect(portsAs('')).toBeUndefined();
  });

  test('that the machine is given a network card stays as it was said, unless the last goes or the first comes', () => {
    const said = structuredClone(vm);
    Object.assign(said.spec.template?.spec.domain.devices ?? {}, { autoattachPodInterface: true });
    expect(patch({ cards: [{ name: 'default', model: 'e1000', mac: '', ports: '' }] }, said)).toEqual(inTemplate({ domain: { devices: { interfaces: [{ name: 'default', masquerade: {}, model: 'e1000' }] } } }));
    expect(patch({ cards: [] }, said)).toMatchObject(inTemplate({ domain: { devices: { autoattachPodInterface: false } } }));
  });

  test('cloud-init of its own is changed', () => {
    const after = configured(vm, before, { ...before, userData: '#cloud-config\n' });
    expect(configuredOf(after).userData).toBe('#cloud-config\n');
    expect(after.spec.template?.spec.volumes?.length).toBe(3);
  });

  test.each([
    [{}, []],
    [{ memory: 'lots' }, ['memory']],
    [{ disks: disk('root', { source: '' }) }, ['disk root']],
    [{ disks: disk('disk-1', { size: '' }) }, ['disk disk-1']],
    [{ disks: disk('root', { bootOrder: '0' }) }, ['disk root']],
    [{ disks: disk('disk-1', { kind: 'hostDisk', source: '' }) }, ['disk disk-1']],
    [{ disks: disk('disk-1', { kind: 'hostDisk', source: '/d', size: 'much' }) }, ['disk disk-1']],
    [{ disks: disk('disk-1', { kind: 'hostDisk', source: '/d', size: '' }) }, []],
    [{ cores: 1.5 }, ['cores']],
    [{ cores: 0 }, ['cores']],
    [{ labels: 'a=1\na=2' }, ['labels']],
    [{ cards: [{ name: 'default', model: '', mac: '', ports: 'ssh' }] }, ['card default']],
    [{ grace: 'x', labels: 'x', instanceLabels: 'y' }, ['grace', 'labels', 'instanceLabels']],
  ])('%j has flaws in %o', (part, fields) => {
    expect(Object.keys(flawsIn({ ...before, ...part }))).toEqual(fields);
  });
});

test('the command has the patch, whatever stands in it', () => {
  const after = configured(vm, before, { ...before, userData: "it's" });
  expect(patchCommand(vm, after)).toMatch(/^kubectl -n demo patch vm web --type=merge -p '\{"spec":.*it'\\''s.*\}'$/);
});

import { describe, expect, test } from 'vitest';

import { readConsequences } from './consequences';
import { type Event, eventsAbout, eventsFound, kindsOf, machineOf, together } from './event';
import { explanationOf, headline } from './explanation';
import { accelerationOf, choicesOf, found, searchOf } from './filter';
import { imageRows, imagesInUse, keepersOf, volumesInUse } from './images';
import { instancesAlone } from './machine';
import { processorsPerCore } from './configured';
import { pendingOf, restartWords } from './pending';
import { sampleInstance, sampleMachine, sampleVm } from './sample';

const named = (name: string, part: Parameters<typeof sampleMachine> = []) => {
  const machine = sampleMachine(...part);
  machine.vm.metadata.name = name;
  return machine;
};
const names = (machines: ReturnType<typeof named>[]): string[] => machines.map(({ vm }) => vm.metadata.name);

describe('the list of machines', () => {
  const machines = [
    named('vm10', [{}, { phase: 'Running', accelerator: { type: 'TCG' }, nodeName: 'n2' }, { printableStatus: 'Running' }]),
    named('vm9', [{}, { phase: 'Running', accelerator: { type: 'KVM' }, nodeName: 'n1', interfaces: [{ ipAddress: '10.0.0.7' }] }, { printableStatus: 'Running' }]),
    named('web', [{}, undefined, { printableStatus: 'Stopped' }]),
  ];

  test.each([
    [{}, ['vm9', 'vm10', 'web']],
    [{ desc: true }, ['web', 'vm10', 'vm9']],
    [{ q: '10.0.0' }, ['vm9']],
    [{ q: 'VM n2' }, ['vm10']],
    [{ status: 'Stopped' as const }, ['web']],
    [{ accel: 'emulated' as const }, ['vm10']],
    [{ project: 'other' }, []],
    [{ sort: 'node' as const, desc: true }, ['vm10', 'vm9', 'web']],
  ])('%o shows %o', (search, wanted) => {
    expect(names(found(machines, search))).toEqual(wanted);
  });

  test('an address that says nonsense shows everything', () => {
    expect(searchOf({ status: 'Sleeping', sort: 7, accel: null, desc: 'yes', q: 12 })).toEqual({ q: '12' });
  });

  test('a stopped machine is not accelerated in any way', () => {
    expect(accelerationOf(sampleMachine())).toBe('none');
  });
});

describe('events', () => {
  const event = (kind: string, name: string, part: Partial<Event> = {}): Event => ({ metadata: { name: `${kind}-${name}`, namespace: 'demo' }, involvedObject: { kind, name }, ...part });

  test('about a machine are those of its VM, instance and launcher pod, not of its namesakes', () => {
    const all = [event('VirtualMachine', 'web'), event('VirtualMachineInstance', 'web'), event('Pod', 'virt-launcher-web-x7k2p'), event('Pod', 'virt-launcher-web-2-x7k2p'), event('VirtualMachine', 'web-2')];
    expect(eventsAbout(all, 'web').map(({ involvedObject: { name } }) => name)).toEqual(['web', 'web', 'virt-launcher-web-x7k2p']);
  });

  test('the latest come first, by whichever time is told', () => {
    const all = [event('A', '1', { lastTimestamp: '2026-01-01T00:00:00Z' }), event('A', '2', { series: { lastObservedTime: '2026-01-03T00:00:00Z' } }), event('A', '3', { eventTime: '2026-01-02T00:00:00Z' })];
    expect(eventsFound(all, {}).map(({ involvedObject: { name } }) => name)).toEqual(['2', '3', '1']);
  });

  test('are filtered by words and by kind of news', () => {
    const all = [event('VM', 'a', { type: 'Warning', reason: 'FailedScheduling' }), event('VM', 'b', { type: 'Normal', reason: 'Started' })];
    expect(eventsFound(all, { warnings: true })).toHaveLength(1);
    expect(eventsFound(all, { q: 'started' })[0]?.involvedObject.name).toBe('b');
    expect(eventsFound([event('VM', 'a'), event('Pod', 'b')], { kind: 'Pod' })).toHaveLength(1);
    expect(kindsOf([event('VM', 'a'), event('Pod', 'b'), event('VM', 'c')])).toEqual(['Pod', 'VM']);
  });

  test('that say the same of one object are one, with how often it happened', () => {
    const said = (name: string, message: string, at: string, count = 1): Event => event('VM', name, { reason: 'Failed', message, lastTimestamp: at, count });
    const told = together([said('a', 'after 2 s', '2026-01-02T00:00:00Z'), said('b', 'after 2 s', '2026-01-02T00:00:00Z'), said('a', 'after 31 s', '2026-01-03T00:00:00Z', 4), said('a', 'no disk', '2026-01-01T00:00:00Z')]);
    expect(told.map(({ involvedObject: { name }, message, count }) => [name, message, count])).toEqual([['a', 'after 31 s', 5], ['b', 'after 2 s', 1], ['a', 'no disk', 1]]);
  });

  test.each([
    [event('VirtualMachine', 'web', { type: 'Warning', involvedObject: { kind: 'VirtualMachine', namespace: 'demo', name: 'web' } }), { namespace: 'demo', name: 'web' }],
    [event('Pod', 'p', { type: 'Warning', involvedObject: { kind: 'Pod', namespace: 'demo', name: 'virt-launcher-web-2-x7k2p' } }), { namespace: 'demo', name: 'web-2' }],
    [event('Pod', 'p', { type: 'Warning', involvedObject: { kind: 'Pod', namespace: 'demo', name: 'other' } }), undefined],
    [event('VirtualMachine', 'web', { type: 'Normal', involvedObject: { kind: 'VirtualMachine', namespace: 'demo', name: 'web' } }), undefined],
  ])('of failures lead to the machine %#', (told, machine) => {
    expect(machineOf(told)).toEqual(machine);
  });
});

describe('the configuration of a machine', () => {
  test('what the running instance does not have yet is told', () => {
    const machine = sampleMachine({ template: { spec: { domain: { cpu: { cores: 4 }, memory: { guest: '256Mi' }, devices: {} } } } }, { phase: 'Running' });
    expect(pendingOf(machine)).toEqual([{ what: 'Processors', runs: '1', wanted: '4' }]);
    expect(pendingOf(sampleMachine())).toEqual([]);
  });

  test('the server may say that it must be started again', () => {
    expect(restartWords(sampleMachine({}, { phase: 'Running' }, { conditions: [{ type: 'RestartRequired', status: 'True', message: 'changed' }] }))).toBe('changed');
    expect(restartWords(sampleMachine())).toBeUndefined();
  });
});

test('images and volumes are told with who uses them', () => {
  const vm = sampleVm('vm', { template: { spec: { domain: { devices: {} }, volumes: [{ name: 'root', containerDisk: { image: 'a/b:1' } }, { name: 'data', hostDisk: { path: '/srv/d', type: 'Disk' } }] } } });
  expect(imagesInUse([{ vm, vmi: undefined }])).toEqual([{ image: 'a/b:1', purpose: 'disk', machines: [{ namespace: 'demo', name: 'vm', isRunning: false }] }]);
  const alone = sampleInstance('alone');
  alone.spec.volumes = [{ name: 'scratch', emptyDisk: { capacity: '1Gi' } }];
  expect(volumesInUse(new Map([['demo/vm', vm]]), new Map([['demo/alone', alone]])).map(({ name, kind, isKept, isOrphan }) => [name, kind, isKept, isOrphan])).toEqual([
    ['root', 'containerDisk', false, false], ['data', 'hostDisk', true, false], ['scratch', 'emptyDisk', false, true],
  ]);
});

test('images are told with the nodes that keep them, those of no machine too', () => {
  const vm = sampleVm('vm', { template: { spec: { domain: { devices: {} }, volumes: [{ name: 'root', containerDisk: { image: 'a/b:1' } }] } } });
  const node = (name: string, images: { names: string[]; sizeBytes: number }[]) => ({ metadata: { name }, status: { images } });
  const nodes = [node('n1', [{ names: ['a/b:1', 'a/b@sha256:1'], sizeBytes: 7 }]), node('n2', [{ names: ['old@sha256:2'], sizeBytes: 5 }, { names: ['a/b:1'], sizeBytes: 7 }])];
  expect(imageRows([{ vm, vmi: undefined }], nodes).map(({ image, purpose, nodes: at, machines }) => [image, purpose, at.map(({ name }) => name), machines.length])).toEqual([
    ['a/b:1', 'disk', ['n1', 'n2'], 1], ['old@sha256:2', undefined, ['n2'], 0],
  ]);
  expect(imageRows([{ vm, vmi: undefined }], [{ metadata: { name: 'silent' } }])[0]?.nodes).toEqual([]);
  expect(keepersOf('a/b:1', nodes)).toEqual(['n1', 'n2']);
});

test('an explanation is read with evidence in either form, and nothing else is one', () => {
  const read = explanationOf({ cause: 'no KVM', evidence: ['plain', { source: 'pod', text: 'words' }], cures: [] });
  expect(read?.evidence).toEqual([{ source: '', text: 'plain' }, { source: 'pod', text: 'words' }]);
  expect(explanationOf({ message: 'hello' })).toBeUndefined();
});

test('consequences are read whether they are lines or objects', () => {
  expect(readConsequences({ waiting: [{ namespace: 'demo', name: 'a', message: 'starts' }, 'b'], running: [], new: 'KVM', problems: null })).toEqual({
    waiting: ['demo/a: starts', 'b'], running: [], new: 'KVM', problems: [],
  });
});

test('an instance that nobody but itself stands for is told; one whose machine is going is not', () => {
  const orphan = sampleInstance('c');
  orphan.metadata.ownerReferences = [{ kind: 'VirtualMachine', name: 'c', uid: 'c' }];
  const instances = new Map([['demo/a', sampleInstance('a')], ['demo/b', sampleInstance('b')], ['demo/c', orphan]]);
  expect(instancesAlone(new Map([['demo/a', sampleVm('a')]]), instances).map(({ metadata }) => metadata.name)).toEqual(['b']);
});

test('a long cause has a headline, a short one is one', () => {
  expect(headline('no node is there: join one')).toEqual({ title: 'No node is there: join one', rest: '' });
  const evidence = 'x'.repeat(200);
  expect(headline(`KVM does not work: ${evidence}`)).toEqual({ title: 'KVM does not work', rest: evidence });
});

test.each([[{}, 1], [{ cores: 4 }, 1], [{ sockets: 2, cores: 3 }, 2], [{ sockets: 2, threads: 2 }, 4]])('of %j one core per socket more is %i processors more', (cpu, processors) => {
  const machine = sampleMachine({ template: { spec: { domain: { cpu, devices: {} } } } });
  expect(processorsPerCore(machine)).toBe(processors);
});

describe('what only some machines say of themselves', () => {
  const said = named('said', [{ template: { metadata: { labels: { tier: 'front' }, annotations: { 'vm.kubevirt.io/os': 'fedora' } }, spec: { domain: { devices: {} } } } }]);
  const told = named('told', [{}, { phase: 'Running', guestOSInfo: { name: 'Debian GNU/Linux', prettyName: 'Debian GNU/Linux 12' } }]);
  const silent = named('silent');
  const machines = [said, told, silent];

  test('is offered as a filter, and nothing else is', () => {
    expect(choicesOf(machines)).toEqual({ labels: ['tier=front'], systems: ['Debian GNU/Linux', 'fedora'] });
    expect(choicesOf([silent])).toEqual({ labels: [], systems: [] });
  });

  test.each([
    [{ label: 'tier=front' }, ['said']],
    [{ label: 'tier=back' }, []],
    [{ os: 'Debian GNU/Linux' }, ['told']],
    [{ q: 'tier=front fedora' }, ['said']],
  ])('%o shows %o', (search, wanted) => {
    expect(names(found(machines, search))).toEqual(wanted);
  });

  test('stands in the address, and so does the machine beside the list', () => {
    expect(searchOf({ label: 'a=b', os: 11, beside: 'demo/vm' })).toEqual({ label: 'a=b', os: '11', beside: 'demo/vm' });
    expect(searchOf({ label: '', os: '', beside: 3 })).toEqual({});
  });
});

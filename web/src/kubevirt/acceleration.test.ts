import { describe, expect, test } from 'vitest';

import { badgeOf, pillOf } from './acceleration';
import type { KubeVirt } from './configuration';
import type { AcceleratorStatus, EmulationPolicy } from './machine';
import { devicesOf, type Node } from './node';
import { sampleMachine } from './sample';

/** The article's first picture. */
const FIGURE_1 = '0/6 nodes are available: 3 Insufficient devices.kubevirt.io/vhost-net, 3 node(s) had taints.';

function withAccelerator(accelerator: AcceleratorStatus, annotations: Record<string, string> = {}): ReturnType<typeof sampleMachine> {
  const machine = sampleMachine({}, { phase: 'Running', accelerator });
  if (machine.vmi !== undefined) machine.vmi.metadata.annotations = annotations;
  return machine;
}

describe('the badge tells the fact', () => {
  test.each([
    ['KVM', withAccelerator({ type: 'KVM', policy: 'Software', message: 'works' }), 'good'],
    ['Emulated', withAccelerator({ type: 'TCG' }), 'slow'],
    ['Emulated (forced)', withAccelerator({ type: 'TCG' }, { 'anyvirt.io/accelerator': 'tcg' }), 'slow'],
    ['KVM, slower network', withAccelerator({ type: 'KVM', adjustments: ['network without vhost-net'] }), 'notice'],
  ])('%s', (label, machine, tone) => {
    expect(badgeOf(machine)).toMatchObject({ label, tone });
  });

  test('a machine that waits for a device is blocked, in the words of the scheduler', () => {
    const conditions = [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: FIGURE_1 }];
    const machine = sampleMachine({}, { phase: 'Scheduling', conditions }, { printableStatus: 'ErrorUnschedulable' });
    expect(badgeOf(machine)).toEqual({ label: 'Blocked', tone: 'bad', why: FIGURE_1 });
  });

  test('a machine that waits for memory is not blocked by acceleration', () => {
    const conditions = [{ type: 'PodScheduled', status: 'False', message: '0/1 nodes are available: 1 Insufficient memory.' }];
    expect(badgeOf(sampleMachine({}, { phase: 'Scheduling', conditions }, { printableStatus: 'ErrorUnschedulable' }))).toBeUndefined();
  });

  test('a stopped machine has none', () => {
    expect(badgeOf(sampleMachine())).toBeUndefined();
  });
});

const node = (name: string, usable: boolean, allocatable: Record<string, string> = {}): Node => ({
  metadata: { name },
  status: { allocatable, conditions: [{ type: 'HardwareVirtualization', status: usable ? 'True' : 'False', reason: usable ? 'Usable' : 'DeviceMissing', message: `${name} says` }] },
});
const kubeVirt = (policy: EmulationPolicy): KubeVirt => ({ metadata: { name: 'kubevirt' }, status: { emulation: { policy, decidedBy: 'default' } } });

describe('the pill tells what a new machine would get', () => {
  test.each<[string, EmulationPolicy, Node[], string]>([
    ['KVM', 'None', [node('a', true)], 'good'],
    ['KVM', 'Software', [node('a', true)], 'good'],
    ['No acceleration', 'None', [node('a', false)], 'bad'],
    ['No acceleration', 'Hardware', [node('a', false)], 'bad'],
    ['Emulated', 'Software', [node('a', false)], 'slow'],
    ['KVM on 1 of 2 nodes', 'None', [node('a', true), node('b', false)], 'notice'],
    ['Acceleration unknown', 'None', [], 'unknown'],
  ])('%s under policy %s', (label, policy, nodes, tone) => {
    expect(pillOf(kubeVirt(policy), nodes)).toMatchObject({ label, tone });
  });
});

test('a device that is missing says why, one that is offered does not', () => {
  const [kvm, vhost] = devicesOf(node('a', false, { 'devices.kubevirt.io/kvm': '0', 'devices.kubevirt.io/vhost-net': '1k' }));
  expect([kvm?.offered, kvm?.missing]).toEqual([false, 'DeviceMissing: a says']);
  expect([vhost?.offered, vhost?.missing]).toEqual([true, '']);
});

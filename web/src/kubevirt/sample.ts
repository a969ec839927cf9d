import type { Machine, VirtualMachine, VirtualMachineInstance } from './machine';

/** A virtual machine for tests. */
export function sampleVm(name: string, spec: Partial<VirtualMachine['spec']> = {}, status: VirtualMachine['status'] = {}): VirtualMachine {
  return {
    apiVersion: 'kubevirt.io/v1',
    kind: 'VirtualMachine',
    metadata: { name, namespace: 'demo', uid: name },
    spec: { runStrategy: 'Manual', template: { spec: { domain: { memory: { guest: '256Mi' }, devices: {} } } }, ...spec },
    status,
  };
}

/** An instance of it for tests. */
export function sampleInstance(name: string, status: VirtualMachineInstance['status'] = { phase: 'Running' }): VirtualMachineInstance {
  return { metadata: { name, namespace: 'demo', uid: `${name}-i` }, spec: { domain: { memory: { guest: '256Mi' }, devices: {} } }, status };
}

/** Both. */
export function sampleMachine(
  spec: Partial<VirtualMachine['spec']> = {},
  instance?: VirtualMachineInstance['status'],
  status: VirtualMachine['status'] = {},
): Machine {
  return { vm: sampleVm('vm', spec, status), vmi: instance === undefined ? undefined : sampleInstance('vm', instance) };
}

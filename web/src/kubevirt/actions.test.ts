import { expect, test } from 'vitest';

import { type Action, ACTIONS, permitted } from './actions';
import decided from './actions-of-server.json';
import type { Machine, RunStrategy, VirtualMachine, VirtualMachineInstance } from './machine';
import { sampleMachine, sampleVm } from './sample';

const running = { phase: 'Running' as const };
const paused = { phase: 'Running' as const, conditions: [{ type: 'Paused', status: 'True' }] };
const suspended = { conditions: [{ type: 'Suspended', status: 'True' }] };
const underWay = { stateChangeRequests: [{ action: 'Start' as const }] };

/** State, and what may be done in it; everything else may not. */
const TABLE: [string, Machine, Action[]][] = [
  ['halted', sampleMachine({ runStrategy: 'Halted' }), ['start', 'delete']],
  ['halted and stopping', sampleMachine({ runStrategy: 'Halted' }, running), ['pause', 'suspend', 'delete']],
  ['always, running', sampleMachine({ runStrategy: 'Always' }, running), ['stop', 'restart', 'pause', 'suspend', 'delete']],
  ['always, waiting for a node', sampleMachine({ runStrategy: 'Always' }, { phase: 'Scheduling' }), ['stop', 'restart', 'delete']],
  ['always, no instance yet', sampleMachine({ runStrategy: 'Always' }), ['stop', 'delete']],
  ['manual, stopped', sampleMachine(), ['start', 'delete']],
  ['manual, running', sampleMachine({}, running), ['stop', 'restart', 'pause', 'suspend', 'delete']],
  ['manual, paused', sampleMachine({}, paused), ['stop', 'restart', 'unpause', 'suspend', 'delete']],
  ['manual, ended', sampleMachine({}, { phase: 'Failed' }), ['start', 'restart', 'delete']],
  ['manual, a start under way', sampleMachine({}, undefined, underWay), ['delete']],
  ['manual, running, a restart under way', sampleMachine({}, running, underWay), ['stop', 'pause', 'suspend', 'delete']],
  ['manual, not heard of', sampleMachine({}, { phase: 'Unknown' }), ['start', 'stop', 'restart', 'delete']],
  ['rerun on failure, running', sampleMachine({ runStrategy: 'RerunOnFailure' }, running), ['stop', 'restart', 'pause', 'suspend', 'delete']],
  ['rerun on failure, running, a restart under way', sampleMachine({ runStrategy: 'RerunOnFailure' }, running, underWay), ['stop', 'pause', 'suspend', 'delete']],
  ['rerun on failure, failed', sampleMachine({ runStrategy: 'RerunOnFailure' }, { phase: 'Failed' }), ['restart', 'delete']],
  ['rerun on failure, ended well', sampleMachine({ runStrategy: 'RerunOnFailure' }, { phase: 'Succeeded' }), ['start', 'restart', 'delete']],
  ['rerun on failure, no instance', sampleMachine({ runStrategy: 'RerunOnFailure' }), ['start', 'delete']],
  ['halted, something under way', sampleMachine({ runStrategy: 'Halted' }, undefined, underWay), ['start', 'delete']],
  ['once, running', sampleMachine({ runStrategy: 'Once' }, running), ['stop', 'pause', 'suspend', 'delete']],
  ['always, suspended', sampleMachine({ runStrategy: 'Always' }, { phase: 'Succeeded' }, suspended), ['start', 'resume', 'delete']],
  ['always, being resumed', sampleMachine({ runStrategy: 'Always' }, { phase: 'Scheduling' }, suspended), ['resume', 'delete']],
  ['deprecated running: true', sampleMachine({ runStrategy: undefined as never, running: true }, running), ['stop', 'restart', 'pause', 'suspend', 'delete']],
];

test.each(TABLE)('%s', (_state, machine, wanted) => {
  expect(ACTIONS.filter((action) => permitted(action, machine).may)).toEqual(wanted);
});

test('of a machine that is being deleted nothing may be asked, and each refusal has a reason', () => {
  const machine = sampleMachine({}, running);
  machine.vm.metadata.deletionTimestamp = '2026-11-23T00:00:00Z';
  for (const action of ACTIONS) {
    const permission = permitted(action, machine);
    expect(permission.may || permission.why).toBe('The machine is being deleted.');
  }
});

test('a machine that must be recovered by hand says how', () => {
  const machine = sampleMachine({}, undefined, { conditions: [{ type: 'ManualRecoveryRequired', status: 'True', message: 'repair the disk' }] });
  expect(permitted('start', machine)).toEqual({ may: false, why: 'repair the disk' });
});

/** What is done by a change of the machine, which the server decides upon later. */
const BY_PATCH: readonly Action[] = ['delete', 'suspend', 'resume'];

/** A state, and what the server does of what it is asked in it (crates/controllers/src/subresource/tests.rs writes the file). */
interface Decided {
  runStrategy: RunStrategy;
  instance: Pick<VirtualMachineInstance, 'spec' | 'status'> | null;
  status: VirtualMachine['status'];
  may: Action[];
}

test('the server decides likewise in every state', () => {
  const states = decided as unknown as Decided[];
  expect(states.length).toBeGreaterThan(100);
  const told = states.map(({ runStrategy, instance, status, may }) => {
    const vm = sampleVm('vm', { runStrategy }, status);
    const machine: Machine = { vm, vmi: instance === null ? undefined : { metadata: { name: 'vm' }, ...instance } };
    // Deleting is no matter of states.
    const allowed = ACTIONS.filter((action) => !BY_PATCH.includes(action) && permitted(action, machine).may);
    return { runStrategy, instance, status, may, allowed };
  });
  expect(told.filter(({ may, allowed }) => may.join() !== allowed.join())).toEqual([]);
});

import { conditionOf } from '../kubernetes/object';
import { RESOURCES, type ResourceType } from '../kubernetes/resource';
import { t } from '../words/words';
import { type Machine, statusOf, strategyOf } from './machine';

/** What a person can do with a machine. */
export const ACTIONS = ['start', 'stop', 'restart', 'pause', 'unpause', 'suspend', 'resume', 'delete'] as const;

/** On a machine: its guest is to be saved with its memory, and to stand still until this is taken away. */
export const SUSPENDED = 'anyvirt.io/suspended';

/** One of {@link ACTIONS}. */
export type Action = (typeof ACTIONS)[number];

/** May it be done now, and if not, why not. */
export type Permission = { may: true } | { may: false; why: string };

const YES: Permission = { may: true };

function no(why: string): Permission {
  return { may: false, why };
}

/** Which right an action needs. */
export interface Right {
  verb: string;
  type: ResourceType;
  subresource?: string;
}

/** The right that each action needs. */
export const RIGHTS: Readonly<Record<Action, Right>> = {
  start: { verb: 'update', type: RESOURCES.virtualMachines, subresource: 'start' },
  stop: { verb: 'update', type: RESOURCES.virtualMachines, subresource: 'stop' },
  restart: { verb: 'update', type: RESOURCES.virtualMachines, subresource: 'restart' },
  pause: { verb: 'update', type: RESOURCES.virtualMachineInstances, subresource: 'pause' },
  unpause: { verb: 'update', type: RESOURCES.virtualMachineInstances, subresource: 'unpause' },
  suspend: { verb: 'patch', type: RESOURCES.virtualMachines },
  resume: { verb: 'patch', type: RESOURCES.virtualMachines },
  delete: { verb: 'delete', type: RESOURCES.virtualMachines },
};

/** The right to make a machine. */
export const CREATE_MACHINE: Right = { verb: 'create', type: RESOURCES.virtualMachines };

/**
 * The one table of what may be done in which state. The server decides in the same way
 * (crates/controllers/src/subresource/decide.rs); this tells it before anybody asks.
 */
export function permitted(action: Action, machine: Machine): Permission {
  if (statusOf(machine) === 'Terminating') return no(t('The machine is being deleted.'));
  const rests = action === 'delete' || action === 'resume' ? undefined : whileSuspended(action, machine);
  if (rests !== undefined) return rests;
  switch (action) {
    case 'start':
      return mayStart(machine);
    case 'stop':
      return mayStop(machine);
    case 'restart':
      return mayRestart(machine);
    case 'pause':
      if (!isRunning(machine)) return no(t('Only a running machine can be paused.'));
      // While the guest stands still, its probe would fail, and it would be stopped.
      if (machine.vmi?.spec.livenessProbe !== undefined) return no(t('A machine with a livenessProbe cannot be paused.'));
      return isPaused(machine) ? no(t('The machine is paused already.')) : YES;
    case 'unpause':
      return isRunning(machine) && isPaused(machine) ? YES : no(t('The machine is not paused.'));
    case 'suspend':
      return isRunning(machine) ? YES : no(t('Only a running machine can be suspended.'));
    case 'resume':
      return isSuspended(machine) ? YES : no(t('The machine is not suspended.'));
    case 'delete':
      return YES;
  }
}

/** Of a machine that is suspended only one thing is wanted; Start is another word for it. */
function whileSuspended(action: Action, machine: Machine): Permission | undefined {
  if (!isSuspended(machine)) return undefined;
  return action === 'start' && !isLive(machine) ? YES : no(t('The machine is suspended: resume it first.'));
}

/** Is its guest saved, or about to be? */
export function isSuspended({ vm }: Machine): boolean {
  return vm.metadata.annotations?.[SUSPENDED] === 'true' || conditionOf(vm.status?.conditions, 'Suspended')?.status === 'True';
}

function mayStart(machine: Machine): Permission {
  const phase = machine.vmi?.status?.phase;
  if (isLive(machine) && phase !== 'Unknown') return no(t('The machine is running or starting already.'));
  const recovery = conditionOf(machine.vm.status?.conditions, 'ManualRecoveryRequired');
  if (recovery?.status === 'True') return no(recovery.message ?? t('It must be recovered by hand first.'));
  const strategy = strategyOf(machine.vm);
  if (strategy === 'Always' || strategy === 'Once') {
    return no(t('Its run strategy {strategy} starts it by itself.', { strategy }));
  }
  if (strategy === 'RerunOnFailure' && phase === 'Failed') {
    return no(t('It has failed, and its run strategy {strategy} starts it again by itself; Restart does it at once.', { strategy }));
  }
  // A halted machine is started by its run strategy, which waits for nothing.
  return strategy === 'Halted' ? YES : askable(machine);
}

function mayStop(machine: Machine): Permission {
  const strategy = strategyOf(machine.vm);
  if (strategy === 'Always' || strategy === 'Once') return YES;
  if (!isLive(machine)) return no(t('The machine is not running.'));
  // A stop takes the place of whatever was asked before.
  return strategy === 'Halted' ? no(t('The machine is stopping already.')) : YES;
}

function mayRestart(machine: Machine): Permission {
  const strategy = strategyOf(machine.vm);
  if (strategy === 'Halted' || strategy === 'Once') {
    return no(t('Machines with the run strategy {strategy} cannot be restarted.', { strategy }));
  }
  return machine.vmi === undefined ? no(t('The machine is not running.')) : askable(machine);
}

function askable(machine: Machine): Permission {
  return isAsked(machine) ? no(t('A start or stop is under way.')) : YES;
}

function isAsked(machine: Machine): boolean {
  return (machine.vm.status?.stateChangeRequests ?? []).length > 0;
}

function isLive(machine: Machine): boolean {
  const phase = machine.vmi?.status?.phase;
  return machine.vmi !== undefined && phase !== 'Succeeded' && phase !== 'Failed';
}

function isRunning(machine: Machine): boolean {
  return machine.vmi?.status?.phase === 'Running';
}

/** Are its processors stopped? */
export function isPaused(machine: Machine): boolean {
  return conditionOf(machine.vmi?.status?.conditions, 'Paused')?.status === 'True';
}

import { Badge, DropdownItem } from '@patternfly/react-core';
import { useNavigate } from '@tanstack/react-router';
import { useMemo } from 'react';

import { keyOf } from '../kubernetes/object';
import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { type Machine, machinesOf, statusOf, type VirtualMachine, type VirtualMachineInstance } from '../kubevirt/machine';
import { isDone, latestOf, remainingOf } from '../kubevirt/timeline';
import { t } from '../words/words';
import { MastheadMenu } from './masthead-menu';
import { useNow } from './now';
import { groupOf } from './status';

/** Machines listed at most; the page of all machines shows the others. */
const MOST = 10;
/** Milliseconds after which it is looked again whether a start has taken too long to be waited for. */
const EVERY = 10_000;

/** What is going on: machines on their way from one state to another, in the masthead of every page. */
export function Activity(): React.JSX.Element {
  const vms = useWatched<VirtualMachine>(RESOURCES.virtualMachines);
  const instances = useWatched<VirtualMachineInstance>(RESOURCES.virtualMachineInstances);
  const now = useNow(EVERY);
  const moving = useMemo(() => machinesOf(vms.objects, instances.objects).filter((machine) => isMoving(machine, now)), [vms.objects, instances.objects, now]);
  const navigate = useNavigate();
  return (
    <MastheadMenu
      label={<>{t('Activity')} {moving.length > 0 && <Badge isRead={false} screenReaderText={t('machines on their way')}>{moving.length}</Badge>}</>}
    >
      {moving.length === 0 && <DropdownItem isDisabled>{t('Nothing starts or stops.')}</DropdownItem>}
      {moving.slice(0, MOST).map((machine) => {
        const { namespace = 'default', name } = machine.vm.metadata;
        return (
          <DropdownItem
            key={keyOf(machine.vm)}
            description={wordsOf(machine)}
            onClick={() => void navigate({ to: '/machines/$namespace/$name', params: { namespace, name } })}
          >
            {name}
          </DropdownItem>
        );
      })}
      {moving.length > MOST && <DropdownItem onClick={() => void navigate({ to: '/machines' })}>{t('and {n} more', { n: moving.length - MOST })}</DropdownItem>}
    </MastheadMenu>
  );
}

/** Between two states, or running and expected to be up soon: a guest that shows no login is not waited for. */
function isMoving(machine: Machine, now: number): boolean {
  const group = groupOf(statusOf(machine));
  const timeline = machine.vmi?.status?.startTimeline;
  return group === 'moving' || (group === 'running' && timeline !== undefined && (remainingOf(timeline, now)?.high ?? 0) > 0);
}

function wordsOf(machine: Machine): string {
  const timeline = machine.vmi?.status?.startTimeline;
  const step = timeline === undefined || isDone(timeline) ? undefined : latestOf(timeline)?.label;
  return step === undefined ? statusOf(machine) : `${statusOf(machine)} · ${step}`;
}

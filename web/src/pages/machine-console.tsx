import { Alert, AlertActionCloseButton, EmptyState, EmptyStateBody, Skeleton, ToggleGroup, ToggleGroupItem } from '@patternfly/react-core';
import { DesktopIcon } from '@patternfly/react-icons';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { lazy, Suspense, useState } from 'react';

import { RESOURCES } from '../kubernetes/resource';
import { badgeOf } from '../kubevirt/acceleration';
import type { Right } from '../kubevirt/actions';
import { type Machine, statusOf } from '../kubevirt/machine';
import { isDone, latestOf } from '../kubevirt/timeline';
import { rightName, useRight } from '../session/rights';
import { t } from '../words/words';
import { LogConsole } from '../consoles/log';
import type { View } from './tabs';

/** The right that each way to look at a guest needs. */
const RIGHTS: Readonly<Record<Exclude<View, 'split'>, Right>> = {
  vnc: { verb: 'get', type: RESOURCES.virtualMachineInstances, subresource: 'vnc' },
  serial: { verb: 'get', type: RESOURCES.virtualMachineInstances, subresource: 'console' },
  log: { verb: 'get', type: RESOURCES.virtualMachineInstances, subresource: 'log' },
};

const ScreenConsole = lazy(async () => ({ default: (await import('../consoles/screen')).ScreenConsole }));
const SerialConsole = lazy(async () => ({ default: (await import('../consoles/serial')).SerialConsole }));

/** The guest's screen, its serial line, and everything it has written there. */
export function MachineConsole(props: { machine: Machine }): React.JSX.Element {
  const { machine } = props;
  const { namespace = 'default', name } = machine.vm.metadata;
  const { view: wanted } = useSearch({ from: '/machines/$namespace/$name' });
  const navigate = useNavigate();
  const view = wanted ?? (hasScreen(machine) ? 'vnc' : 'serial');
  const choose = (next: View): void => void navigate({ to: '/machines/$namespace/$name', params: { namespace, name }, search: { tab: 'console', view: next }, replace: true });
  return (
    <div className="av-stack">
      <ToggleGroup aria-label={t('Ways to look at the guest')}>
        <ToggleGroupItem text={t('Screen (VNC)')} buttonId="view-vnc" isSelected={view === 'vnc'} onChange={() => choose('vnc')} />
        <ToggleGroupItem text={t('Serial')} buttonId="view-serial" isSelected={view === 'serial'} onChange={() => choose('serial')} />
        <ToggleGroupItem text={t('Log')} buttonId="view-log" isSelected={view === 'log'} onChange={() => choose('log')} />
        <ToggleGroupItem text={t('Screen and log')} buttonId="view-split" isSelected={view === 'split'} onChange={() => choose('split')} />
      </ToggleGroup>
      <EmulatedBanner machine={machine} />
      {view === 'split' ? (
        <div className="av-two">
          <Sight machine={machine} view="vnc" />
          <Sight machine={machine} view="log" />
        </div>
      ) : (
        <Sight machine={machine} view={view} />
      )}
    </div>
  );
}

/** One way to look at the guest, or why it cannot be looked at. */
function Sight(props: { machine: Machine; view: keyof typeof RIGHTS }): React.JSX.Element {
  const { machine, view } = props;
  const { namespace = 'default', name } = machine.vm.metadata;
  const may = useRight(RIGHTS[view], namespace);
  const uid = machine.vmi?.metadata.uid ?? 'none';
  if (may === undefined) return <Skeleton height="24rem" screenreaderText={t('Loading')} />;
  if (!may) {
    return (
      <EmptyState titleText={t('You may not look at this guest')} headingLevel="h2" icon={DesktopIcon}>
        <EmptyStateBody>{t('You may not: {right}', { right: rightName(RIGHTS[view]) })}</EmptyStateBody>
      </EmptyState>
    );
  }
  if (view === 'log') return <LogConsole key={uid} namespace={namespace} name={name} />;
  if (machine.vmi?.status?.phase !== 'Running') return <NotRunning machine={machine} />;
  if (view === 'vnc' && !hasScreen(machine)) {
    return (
      <EmptyState titleText={t('No screen')} headingLevel="h2" icon={DesktopIcon}>
        <EmptyStateBody>{t('This machine has no graphics device (autoattachGraphicsDevice: false). Use its serial console.')}</EmptyStateBody>
      </EmptyState>
    );
  }
  return (
    <Suspense fallback={<Skeleton height="24rem" screenreaderText={t('Loading')} />}>
      {view === 'vnc' ? <ScreenConsole key={uid} namespace={namespace} name={name} /> : <SerialConsole key={uid} namespace={namespace} name={name} />}
    </Suspense>
  );
}

function hasScreen({ vmi }: Machine): boolean {
  return vmi?.spec.domain.devices.autoattachGraphicsDevice !== false;
}

function EmulatedBanner(props: { machine: Machine }): React.JSX.Element | null {
  const [isOpen, setOpen] = useState(true);
  const badge = badgeOf(props.machine);
  const timeline = props.machine.vmi?.status?.startTimeline;
  const isStarting = timeline !== undefined && !isDone(timeline);
  if (!isOpen || badge?.tone !== 'slow') return null;
  return (
    <Alert
      variant="info"
      isInline
      isPlain
      title={isStarting ? t('Emulated: the screen may lag. Now: {step}.', { step: latestOf(timeline)?.label ?? '' }) : t('Emulated: the screen may lag.')}
      actionClose={<AlertActionCloseButton onClose={() => setOpen(false)} />}
    />
  );
}

function NotRunning(props: { machine: Machine }): React.JSX.Element {
  const timeline = props.machine.vmi?.status?.startTimeline;
  const step = timeline === undefined ? undefined : latestOf(timeline)?.label;
  return (
    <EmptyState titleText={t('The machine does not run')} headingLevel="h2" icon={DesktopIcon}>
      <EmptyStateBody>
        {t('It is {status}.', { status: statusOf(props.machine) })} {step !== undefined && t('Last step of its start: {step}.', { step })} {t('Its console opens by itself when it runs.')}
      </EmptyStateBody>
    </EmptyState>
  );
}

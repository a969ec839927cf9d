import { Badge, Breadcrumb, BreadcrumbItem, Button, Content, EmptyState, EmptyStateBody, PageSection, Skeleton, Tab, Tabs, TabTitleText } from '@patternfly/react-core';
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router';
import { lazy, Suspense, useCallback, useMemo, useState } from 'react';

import { RESOURCES } from '../kubernetes/resource';
import { useObject } from '../kubernetes/store';
import type { Action } from '../kubevirt/actions';
import { type Machine, statusOf, type VirtualMachine, type VirtualMachineInstance } from '../kubevirt/machine';
import { actionLabel, AskDialog, carryOut, type Intent, needsConsent } from '../parts/ask';
import { AccelerationBadge } from '../parts/acceleration-badge';
import { Freshness, LiveDot } from '../parts/freshness';
import { ActionsMenu, QuickAction } from '../parts/machine-actions';
import { notify } from '../parts/notices';
import { StatusLabel } from '../parts/status';
import { useTitle } from '../parts/title';
import { t } from '../words/words';
import { MachineConfiguration } from './machine-configuration';
import { badConditions, MachineDiagnostics } from './machine-diagnostics';
import { MachineEvents } from './machine-events';
import { MachineOverview } from './machine-overview';
import type { MachineTab } from './tabs';

const MachineConsole = lazy(async () => ({ default: (await import('./machine-console')).MachineConsole }));
const MachineMetrics = lazy(async () => ({ default: (await import('./machine-metrics')).MachineMetrics }));
const MachineSnapshots = lazy(async () => ({ default: (await import('./machine-snapshots')).MachineSnapshots }));
const ResourceEditor = lazy(async () => ({ default: (await import('../editor/resource-editor')).ResourceEditor }));

/** One virtual machine. */
export function MachinePage(): React.JSX.Element {
  const { namespace, name } = useParams({ from: '/machines/$namespace/$name' });
  const { tab = 'overview' } = useSearch({ from: '/machines/$namespace/$name' });
  useTitle(name);
  const { object: vm, watched } = useObject<VirtualMachine>(RESOURCES.virtualMachines, namespace, name);
  const { object: vmi } = useObject<VirtualMachineInstance>(RESOURCES.virtualMachineInstances, namespace, name);
  const machine = useMemo(() => (vm === undefined ? undefined : { vm, vmi }), [vm, vmi]);
  return (
    <PageSection isFilled aria-label={name}>
      <div className="av-stack">
        <Breadcrumb aria-label={t('Where you are')}>
          <BreadcrumbItem render={({ className }) => <Link className={className} to="/machines" search={{}}>{t('VirtualMachines')}</Link>} />
          <BreadcrumbItem render={({ className }) => <Link className={className} to="/machines" search={{ project: namespace }}>{namespace}</Link>} />
          <BreadcrumbItem isActive>{name}</BreadcrumbItem>
        </Breadcrumb>
        <Freshness what={name} watched={watched} />
        {machine === undefined ? (
          <Missing name={name} isLoading={watched.phase === 'loading'} />
        ) : (
          <Found machine={machine} tab={tab} watched={watched} />
        )}
      </div>
    </PageSection>
  );
}

function Missing(props: { name: string; isLoading: boolean }): React.JSX.Element {
  if (props.isLoading) return <Skeleton height="20rem" screenreaderText={t('Loading {name}', { name: props.name })} />;
  return (
    <EmptyState titleText={t('There is no machine {name}', { name: props.name })} headingLevel="h1">
      <EmptyStateBody>
        {t('It may have been deleted.')} <Link to="/machines" search={{}}>{t('All machines')}</Link>
      </EmptyStateBody>
    </EmptyState>
  );
}

function Found(props: { machine: Machine; tab: MachineTab; watched: Parameters<typeof LiveDot>[0]['watched'] }): React.JSX.Element {
  const { machine, tab } = props;
  const { name, namespace = 'default' } = machine.vm.metadata;
  const navigate = useNavigate();
  const [intent, setIntent] = useState<Intent>();
  const ask = useCallback((action: Action, about: Machine) => {
    const wanted = { action, machines: [about] };
    if (needsConsent(wanted)) setIntent(wanted);
    else void carryOut(wanted).then((failed) => failed.forEach(({ failure }) => notify({ tone: 'danger', title: actionLabel(action), detail: failure.message })));
  }, []);
  const open = (next: MachineTab): void => void navigate({ to: '/machines/$namespace/$name', params: { namespace, name }, search: { tab: next } });
  const bad = badConditions(machine).length;
  return (
    <>
      <div className="av-spread">
        <div className="av-row">
          <Content component="h1">{name}</Content>
          <StatusLabel status={statusOf(machine)} isLarge />
          <AccelerationBadge machine={machine} />
          <LiveDot watched={props.watched} />
        </div>
        <div className="av-row">
          <QuickAction machine={machine} onAsk={ask} />
          <Button variant="secondary" onClick={() => open('console')}>{t('Console')}</Button>
          <ActionsMenu machine={machine} onAsk={ask} />
        </div>
      </div>
      <Tabs activeKey={tab} onSelect={(_event, key) => open(key as MachineTab)} aria-label={t('Parts of the machine')} unmountOnExit mountOnEnter>
        <Tab eventKey="overview" title={<TabTitleText>{t('Overview')}</TabTitleText>}><Body><MachineOverview machine={machine} /></Body></Tab>
        <Tab eventKey="console" title={<TabTitleText>{t('Console')}</TabTitleText>}><Body><MachineConsole machine={machine} /></Body></Tab>
        <Tab eventKey="configuration" title={<TabTitleText>{t('Configuration')}</TabTitleText>}><Body><MachineConfiguration key={`${namespace}/${name}`} machine={machine} /></Body></Tab>
        <Tab eventKey="snapshots" title={<TabTitleText>{t('Snapshots')}</TabTitleText>}><Body><MachineSnapshots key={`${namespace}/${name}`} machine={machine} /></Body></Tab>
        <Tab eventKey="metrics" title={<TabTitleText>{t('Metrics')}</TabTitleText>}><Body><MachineMetrics machine={machine} /></Body></Tab>
        <Tab eventKey="events" title={<TabTitleText>{t('Events')}</TabTitleText>}><Body><MachineEvents machine={machine} /></Body></Tab>
        <Tab
          eventKey="diagnostics"
          title={<TabTitleText>{t('Diagnostics')} {bad > 0 && <Badge isRead={false} screenReaderText={t('conditions to look at')}>{bad}</Badge>}</TabTitleText>}
        >
          <Body><MachineDiagnostics machine={machine} /></Body>
        </Tab>
        <Tab eventKey="yaml" title={<TabTitleText>YAML</TabTitleText>}><Body><ResourceEditor key={`${namespace}/${name}`} type={RESOURCES.virtualMachines} namespace={namespace} name={name} /></Body></Tab>
      </Tabs>
      {intent !== undefined && (
        <AskDialog intent={intent} onClose={() => setIntent(undefined)} onDone={() => intent.action === 'delete' && void navigate({ to: '/machines', search: {} })} />
      )}
    </>
  );
}

function Body(props: { children: React.ReactNode }): React.JSX.Element {
  return <div className="av-gap"><Suspense fallback={<Skeleton height="20rem" screenreaderText={t('Loading')} />}>{props.children}</Suspense></div>;
}

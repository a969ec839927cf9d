import { Alert, Card, CardBody, CardTitle, Content, DescriptionList, EmptyState, EmptyStateActions, EmptyStateBody, EmptyStateFooter, List, ListItem, PageSection, Skeleton } from '@patternfly/react-core';
import { Link, useNavigate } from '@tanstack/react-router';
import { useMemo } from 'react';

import type { KubernetesObject } from '../kubernetes/object';
import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { isKnown, type Watched } from '../kubernetes/watch-state';
import { obstacleOf, pillOf } from '../kubevirt/acceleration';
import { CREATE_MACHINE } from '../kubevirt/actions';
import { type KubeVirt, kubeVirtOf } from '../kubevirt/configuration';
import { type Event, latestFirst } from '../kubevirt/event';
import { type Machine, machinesOf, type PrintableStatus, statusOf, type VirtualMachine, type VirtualMachineInstance } from '../kubevirt/machine';
import { devicesOf, type Node, SLOWDOWN } from '../kubevirt/node';
import { PlainBadge } from '../parts/badge';
import { BriefEvents } from '../parts/brief-events';
import { Fact } from '../parts/fact';
import { Freshness } from '../parts/freshness';
import { GuardedButton } from '../parts/guarded-button';
import { NodeUsage } from '../parts/node-usage';
import { groupOf, StatusLabel } from '../parts/status';
import { useTitle } from '../parts/title';
import { bytes, quantity } from '../words/measures';
import { t } from '../words/words';

/** The first page: how everything is, and what needs a person. */
export function OverviewPage(): React.JSX.Element {
  useTitle(t('Overview'));
  const vms = useWatched<VirtualMachine>(RESOURCES.virtualMachines);
  const instances = useWatched<VirtualMachineInstance>(RESOURCES.virtualMachineInstances);
  const machines = useMemo(() => machinesOf(vms.objects, instances.objects), [vms.objects, instances.objects]);
  return (
    <PageSection isFilled aria-label={t('Overview')}>
      <div className="av-stack">
        <Content component="h1">{t('Overview')}</Content>
        <div className="av-cards">
          <AccelerationCard />
          <MachinesCard machines={machines} watched={vms} />
          <ProblemsCard machines={machines} isKnown={isKnown(vms)} />
          <HostCard machines={machines} />
          <ActivityCard />
          <VersionsCard />
        </div>
      </div>
    </PageSection>
  );
}

function AccelerationCard(): React.JSX.Element {
  const kubeVirts = useWatched<KubeVirt>(RESOURCES.kubeVirts);
  const nodes = useWatched<Node>(RESOURCES.nodes);
  const kubeVirt = kubeVirtOf(kubeVirts.objects);
  const all = [...nodes.objects.values()];
  const badge = pillOf(kubeVirt, all);
  const [first] = all;
  return (
    <Card component="section">
      <CardTitle component="h2">{t('Acceleration')}</CardTitle>
      <CardBody className="av-stack">
        <Freshness what={t('Acceleration')} watched={kubeVirts} />
        <div><PlainBadge badge={badge} /></div>
        <DescriptionList isHorizontal isCompact>
          <Fact term={t('Policy')}>{kubeVirt?.status?.emulation?.policy ?? '–'}</Fact>
          <Fact term={t('Decided by')}>{kubeVirt?.status?.emulation?.decidedBy ?? '–'}</Fact>
          {all.length === 1 && first !== undefined && devicesOf(first).slice(0, 3).map((device) => (
            <Fact key={device.name} term={`/dev/${device.name === 'tun' ? 'net/tun' : device.name}`}>{device.offered ? t('works') : t('not usable')}</Fact>
          ))}
          {first?.metadata.annotations?.[SLOWDOWN] !== undefined && (
            <Fact term={t('Emulation')}>{t('about {n} times slower than KVM', { n: first.metadata.annotations[SLOWDOWN] ?? '' })}</Fact>
          )}
        </DescriptionList>
        {(kubeVirt?.status?.emulation?.problems ?? []).map((problem) => (
          <Alert key={problem.message} variant="warning" isInline isPlain title={problem.message} />
        ))}
        <div className="av-row">
          <Link to="/settings">{t('Change…')}</Link>
          <Link to="/nodes">{t('Evidence')}</Link>
        </div>
      </CardBody>
    </Card>
  );
}

function MachinesCard(props: { machines: readonly Machine[]; watched: Watched<KubernetesObject> }): React.JSX.Element {
  const navigate = useNavigate();
  const counts = Map.groupBy(props.machines, statusOf);
  return (
    <Card component="section">
      <CardTitle component="h2">{t('VirtualMachines')}</CardTitle>
      <CardBody className="av-stack">
        <Freshness what={t('VirtualMachines')} watched={props.watched} />
        {!isKnown(props.watched) ? (
          props.watched.phase === 'loading' && <Skeleton screenreaderText={t('Loading')} />
        ) : props.machines.length === 0 ? (
          <EmptyState titleText={t('No virtual machines')} headingLevel="h3" variant="xs">
            <EmptyStateBody>{t('Three steps: choose an image, choose a size, watch it start.')}</EmptyStateBody>
            <EmptyStateFooter>
              <EmptyStateActions>
                <GuardedButton right={CREATE_MACHINE} onClick={() => void navigate({ to: '/create' })}>{t('Create a VirtualMachine')}</GuardedButton>
              </EmptyStateActions>
            </EmptyStateFooter>
          </EmptyState>
        ) : (
          <>
            <span className="av-big av-number">{props.machines.length}</span>
            <ul className="av-stack">
              {[...counts].map(([status, machines]) => (
                <li key={status} className="av-row">
                  <Link to="/machines" search={{ status }} aria-label={t('{count} machines are {status}', { count: machines.length, status })}>
                    <span className="av-number">{machines.length}</span>
                  </Link>
                  <StatusLabel status={status} />
                </li>
              ))}
            </ul>
          </>
        )}
      </CardBody>
    </Card>
  );
}

function ProblemsCard(props: { machines: readonly Machine[]; isKnown: boolean }): React.JSX.Element {
  const failed = props.machines.filter((machine) => isProblem(statusOf(machine), machine));
  return (
    <Card component="section">
      <CardTitle component="h2">{t('Needs attention')}</CardTitle>
      <CardBody>
        {failed.length === 0 ? (
          <p className="av-subtle">{props.isKnown ? t('Nothing.') : t('Not known.')}</p>
        ) : (
          <List isPlain isBordered>
            {failed.slice(0, 8).map((machine) => {
              const { namespace = 'default', name } = machine.vm.metadata;
              return (
                <ListItem key={`${namespace}/${name}`}>
                  <div className="av-row">
                    <Link to="/machines/$namespace/$name" params={{ namespace, name }}>{name}</Link>
                    <StatusLabel status={statusOf(machine)} />
                    <Link to="/machines/$namespace/$name" params={{ namespace, name }} hash="explain-title" aria-label={t('Explain {name}', { name })}>{t('Explain')}</Link>
                  </div>
                  <p className="av-wrap av-small">{machine.vmi?.status?.startTimeline?.stuck?.message ?? obstacleOf(machine) ?? ''}</p>
                </ListItem>
              );
            })}
            {failed.length > 8 && <ListItem>{t('and {n} more', { n: failed.length - 8 })}</ListItem>}
          </List>
        )}
      </CardBody>
    </Card>
  );
}

function isProblem(status: PrintableStatus, machine: Machine): boolean {
  return groupOf(status) === 'failed' || machine.vmi?.status?.startTimeline?.stuck !== undefined || machine.vmi?.status?.startTimeline?.trouble !== undefined;
}

/** Nodes whose figures fit on the card. */
const MEASURED = 3;

function HostCard(props: { machines: readonly Machine[] }): React.JSX.Element {
  const nodes = useWatched<Node>(RESOURCES.nodes);
  const all = [...nodes.objects.values()];
  const total = (resource: string): number => all.reduce((sum, node) => sum + (quantity(node.status?.allocatable?.[resource]) ?? 0), 0);
  const live = props.machines.filter(({ vmi }) => vmi?.status?.phase === 'Running');
  const memory = live.reduce((sum, { vmi }) => sum + (quantity(vmi?.status?.memory?.guestCurrent ?? vmi?.spec.domain.memory?.guest) ?? 0), 0);
  const allMemory = total('memory');
  return (
    <Card component="section">
      <CardTitle component="h2">{t('Nodes')}</CardTitle>
      <CardBody className="av-stack">
        <DescriptionList isHorizontal isCompact>
          <Fact term={t('Nodes')}>{all.length}</Fact>
          <Fact term={t('Processors')}>{total('cpu')}</Fact>
          <Fact term={t('Memory')}>{bytes(allMemory)}</Fact>
          <Fact term={t('Running guests')}>{live.length}</Fact>
        </DescriptionList>
        {allMemory > 0 && (
          <label>
            <span className="av-small">{t('Memory of running guests: {used} of {all}', { used: bytes(memory), all: bytes(allMemory) })}</span>
            <meter className="av-meter" min={0} max={allMemory} value={memory} />
          </label>
        )}
        {all.slice(0, MEASURED).map(({ metadata }) => <NodeUsage key={metadata.name} node={metadata.name} />)}
        <Link to="/nodes">{t('All nodes and devices')}</Link>
      </CardBody>
    </Card>
  );
}

function ActivityCard(): React.JSX.Element {
  const events = useWatched<Event>(RESOURCES.events);
  const latest = useMemo(() => latestFirst(events.objects.values()).slice(0, 8), [events.objects]);
  return (
    <Card component="section">
      <CardTitle component="h2">{t('Recent activity')}</CardTitle>
      <CardBody className="av-stack">
        <Freshness what={t('Events')} watched={events} />
        <BriefEvents events={latest} watched={events} isOfMany />
        <Link to="/events">{t('All events')}</Link>
      </CardBody>
    </Card>
  );
}

function VersionsCard(): React.JSX.Element {
  const kubeVirts = useWatched<KubeVirt>(RESOURCES.kubeVirts);
  const nodes = useWatched<Node>(RESOURCES.nodes);
  const status = kubeVirtOf(kubeVirts.objects)?.status;
  const [node] = [...nodes.objects.values()];
  return (
    <Card component="section">
      <CardTitle component="h2">{t('Versions')}</CardTitle>
      <CardBody>
        <DescriptionList isHorizontal isCompact>
          <Fact term="anyvirt">{status?.operatorVersion ?? '–'}</Fact>
          <Fact term={t('State')}>{status?.phase ?? '–'}</Fact>
          <Fact term={t('Guests by default')}>{status?.defaultArchitecture ?? '–'}</Fact>
          <Fact term={t('Kernel')}>{node?.status?.nodeInfo?.kernelVersion ?? '–'}</Fact>
        </DescriptionList>
      </CardBody>
    </Card>
  );
}

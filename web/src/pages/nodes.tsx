import { Alert, Card, CardBody, CardHeader, CardTitle, Content, DescriptionList, EmptyState, EmptyStateBody, Label, PageSection, Skeleton } from '@patternfly/react-core';
import { Link } from '@tanstack/react-router';
import { useMemo } from 'react';

import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { isKnown } from '../kubernetes/watch-state';
import type { VirtualMachineInstance } from '../kubevirt/machine';
import { CAP, devicesHeld, devicesOf, isReady, type Node, type Pod, SLOWDOWN, verdictOf } from '../kubevirt/node';
import { usageOf } from '../kubevirt/usage';
import { Fact } from '../parts/fact';
import { Freshness, LiveDot } from '../parts/freshness';
import { useTitle } from '../parts/title';
import { bytes, moment, quantity } from '../words/measures';
import { plural, t } from '../words/words';

/** The machines of the cluster, what they offer to guests, and why something is missing. */
export function NodesPage(): React.JSX.Element {
  useTitle(t('Nodes'));
  const nodes = useWatched<Node>(RESOURCES.nodes);
  const instances = useWatched<VirtualMachineInstance>(RESOURCES.virtualMachineInstances);
  const all = useMemo(() => [...nodes.objects.values()], [nodes.objects]);
  const hasHardware = all.some((node) => verdictOf(node).usable);
  return (
    <PageSection isFilled aria-label={t('Nodes')}>
      <div className="av-stack">
        <div className="av-row">
          <Content component="h1">{t('Nodes')}</Content>
          <LiveDot watched={nodes} />
        </div>
        <Freshness what={t('Nodes')} watched={nodes} />
        {nodes.phase === 'loading' && <Skeleton height="20rem" screenreaderText={t('Loading')} />}
        {all.length === 0 && nodes.phase === 'live' && (
          <EmptyState titleText={t('No nodes')} headingLevel="h2">
            <EmptyStateBody>{t('No node has joined yet. On one machine, "anyvirt up" is a node itself.')}</EmptyStateBody>
          </EmptyState>
        )}
        {all.map((node) => (
          <NodeCard
            key={node.metadata.name}
            node={node}
            instances={[...instances.objects.values()].filter((one) => one.status?.nodeName === node.metadata.name)}
            hasHardwareElsewhere={hasHardware && !verdictOf(node).usable}
          />
        ))}
      </div>
    </PageSection>
  );
}

function NodeCard(props: { node: Node; instances: VirtualMachineInstance[]; hasHardwareElsewhere: boolean }): React.JSX.Element {
  const { node, instances } = props;
  const emulated = instances.filter((one) => one.status?.accelerator?.type === 'TCG');
  const verdict = verdictOf(node);
  const status = node.status;
  const usage = useMemo(() => usageOf(node, instances), [node, instances]);
  const images = status?.images ?? [];
  return (
    <Card component="section" aria-label={node.metadata.name}>
      <CardHeader>
        <CardTitle component="h2">
          <span className="av-row">
            {node.metadata.name}
            <Label isCompact status={isReady(node) ? 'success' : 'danger'} variant="outline">{isReady(node) ? t('Ready') : t('Not ready')}</Label>
            {node.spec?.unschedulable === true && <Label isCompact status="warning" variant="outline">{t('Takes no new machines')}</Label>}
            <Label isCompact color={verdict.usable ? 'green' : 'red'}>{verdict.usable ? t('KVM works') : t('KVM does not work')}</Label>
          </span>
        </CardTitle>
      </CardHeader>
      <CardBody className="av-stack">
        {props.hasHardwareElsewhere && emulated.length > 0 && (
          <Alert variant="info" isInline title={plural(emulated.length, '{count} machine is emulated here though another node has KVM', '{count} machines are emulated here though another node has KVM')}>
            {emulated.slice(0, 20).map((one) => one.metadata.name).join(', ')}{emulated.length > 20 && ` ${t('and {n} more', { n: emulated.length - 20 })}`}. {t('A restart moves them: nodes with KVM are preferred.')}
          </Alert>
        )}
        <div className="av-two">
          <DescriptionList isHorizontal isCompact>
            <Fact term={t('Processors')}>
              <Use used={usage.processors.used} all={usage.processors.all} words={t('{used} of guests, {all} of the node', { used: usage.processors.used, all: usage.processors.all })} />
            </Fact>
            <Fact term={t('Memory')}>
              <Use used={usage.memory.used} all={usage.memory.all} words={t('{used} of {all} allocatable taken by guests', { used: bytes(usage.memory.used), all: bytes(usage.memory.all) })} />
            </Fact>
            <Fact term={t('Disk')}>{bytesOf(status?.capacity?.['ephemeral-storage'])}</Fact>
            <Fact term={t('Stored images')}>
              <Link to="/images">{t('{n}, {size}', { n: images.length, size: bytes(images.reduce((sum, { sizeBytes = 0 }) => sum + sizeBytes, 0)) })}</Link>
            </Fact>
            <Fact term={t('Architecture')}>{status?.nodeInfo?.architecture ?? node.metadata.labels?.['kubernetes.io/arch'] ?? '–'}</Fact>
            <Fact term={t('Kernel')}>{status?.nodeInfo?.kernelVersion ?? '–'}</Fact>
            <Fact term={t('Machines')}>
              <span className="av-row">
                {instances.length === 0 && t('none')}
                {instances.slice(0, 20).map(({ metadata }) => (
                  <Link key={metadata.uid} to="/machines/$namespace/$name" params={{ namespace: metadata.namespace ?? 'default', name: metadata.name }}>{metadata.name}</Link>
                ))}
                {instances.length > 20 && t('and {n} more', { n: instances.length - 20 })}
              </span>
            </Fact>
          </DescriptionList>
          <DescriptionList isHorizontal isCompact>
            <Fact term={t('Verdict')}>{verdict.class === '' ? '–' : verdict.class}</Fact>
            <Fact term={t('Evidence')}>{verdict.message}</Fact>
            <Fact term={t('Looked at')}>{`${moment(verdict.at)}${verdict.took === undefined ? '' : `, ${t('took {time}', { time: verdict.took })}`}`}</Fact>
            <Fact term={t('Emulation here')}>
              {node.metadata.annotations?.[SLOWDOWN] === undefined
                ? t('not measured')
                : t('about {n} times slower than KVM', { n: node.metadata.annotations[SLOWDOWN] ?? '' })}
            </Fact>
            <Fact term={t('Cap')}>{node.metadata.labels?.[CAP] ?? t('none')}</Fact>
          </DescriptionList>
        </div>
        <Devices node={node} />
      </CardBody>
    </Card>
  );
}

/** How much of something is used, in words and as a bar; a bar that is full says no more. */
function Use(props: { used: number; all: number; words: string }): React.JSX.Element {
  const { used, all, words } = props;
  return (
    <label className="av-number">
      {words}
      {all > 0 && <meter className="av-meter" min={0} max={all} value={Math.min(used, all)} />}
    </label>
  );
}

function Devices(props: { node: Node }): React.JSX.Element {
  const pods = useWatched<Pod>(RESOURCES.pods);
  const held = useMemo(() => (isKnown(pods) ? devicesHeld(props.node.metadata.name, pods.objects.values()) : undefined), [pods, props.node.metadata.name]);
  return (
    <div className="av-scroll" role="region" aria-label={t('Devices of {name}', { name: props.node.metadata.name })} tabIndex={0}>
      <table className="av-table">
        <thead>
          <tr>
            <th scope="col">{t('Device')}</th>
            <th scope="col">{t('Offered')}</th>
            <th scope="col">{t('Used')}</th>
            <th scope="col">{t('Purpose')}</th>
            <th scope="col">{t('Missing why')}</th>
          </tr>
        </thead>
        <tbody>
          {devicesOf(props.node).map((device) => (
            <tr key={device.name}>
              <td className="av-tight"><code>{device.resource}</code></td>
              <td className="av-tight">
                <Label isCompact status={device.offered ? 'success' : 'danger'} variant="outline">{device.offered ? t('yes, {n}', { n: device.allocatable }) : t('no')}</Label>
              </td>
              <td className="av-tight av-number">{held === undefined ? '–' : (held[device.resource] ?? 0)}</td>
              <td className="av-purpose">{device.purpose}</td>
              <td className="av-wrap">{device.missing}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function bytesOf(text: string | undefined): string {
  const count = quantity(text);
  return count === undefined ? '–' : bytes(count);
}

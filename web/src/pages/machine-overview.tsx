import { Card, CardBody, CardTitle, ClipboardCopy, DescriptionList } from '@patternfly/react-core';
import { Link } from '@tanstack/react-router';

import { type Machine, memoryOf, processorsOf, strategyOf } from '../kubevirt/machine';
import { warmStartOf } from '../kubevirt/templates';
import { ExplainPanel } from '../parts/explain-panel';
import { Fact } from '../parts/fact';
import { LatestEvents } from '../parts/latest-events';
import { MachineAdvice } from '../parts/machine-advice';
import { MachineUsageCard } from '../parts/machine-usage';
import { Thumbnail } from '../parts/thumbnail';
import { TimelineCard } from '../parts/timeline';
import { bytes, moment } from '../words/measures';
import { t } from '../words/words';

/** How a machine is: why it does not run, how its start goes, what it is made of. */
export function MachineOverview(props: { machine: Machine }): React.JSX.Element {
  const { machine } = props;
  const { vm, vmi } = machine;
  const timeline = vmi?.status?.startTimeline;
  const phase = vmi?.status?.phase;
  return (
    <div className="av-stack">
      <ExplainPanel key={`${vm.metadata.namespace}/${vm.metadata.name}`} machine={machine} />
      <MachineAdvice machine={machine} />
      <div className="av-two">
        {timeline !== undefined && <TimelineCard timeline={timeline} isOver={phase === 'Failed' || phase === 'Succeeded'} />}
        <DetailsCard machine={machine} />
        <MachineUsageCard machine={machine} />
        <NetworkCard machine={machine} />
        <DisksCard machine={machine} />
        <LatestEvents machine={machine} />
      </div>
    </div>
  );
}

function DetailsCard(props: { machine: Machine }): React.JSX.Element {
  const { vm, vmi } = props.machine;
  const spec = vmi?.spec ?? vm.spec.template?.spec;
  const { namespace = 'default', name } = vm.metadata;
  const warmStart = warmStartOf(vmi);
  return (
    <Card component="section">
      <CardTitle component="h2">{t('Details')}</CardTitle>
      <CardBody className="av-stack">
        <div className="av-row">
          <Thumbnail machine={props.machine} />
          <Link to="/machines/$namespace/$name" params={{ namespace, name }} search={{ tab: 'console' }}>{t('Open the console')}</Link>
        </div>
        <DescriptionList isHorizontal isCompact>
          <Fact term={t('Guest')}>{vmi?.status?.guestOSInfo?.prettyName ?? t('not known; its agent says it')}</Fact>
          <Fact term={t('Processors')}>{processorsOf(spec)}</Fact>
          <Fact term={t('Memory')}>{vmi?.status?.memory?.guestCurrent ?? memoryOf(spec) ?? '–'}</Fact>
          <Fact term={t('Machine type')}>{vmi?.status?.machine?.type ?? spec?.domain.machine?.type ?? '–'}</Fact>
          <Fact term={t('Architecture')}>{vmi?.status?.accelerator?.architecture ?? spec?.architecture ?? '–'}</Fact>
          <Fact term={t('Node')}>{vmi?.status?.nodeName === undefined ? '–' : <Link to="/nodes">{vmi.status.nodeName}</Link>}</Fact>
          <Fact term={t('Run strategy')}>{strategyOf(vm) ?? '–'}</Fact>
          {warmStart !== undefined && <Fact term={t('Warm start')}>{warmStart.isWarm ? t('Yes: {message}', { message: warmStart.message }) : t('No: {message}', { message: warmStart.message })}</Fact>}
          <Fact term={t('Created')}>{moment(vm.metadata.creationTimestamp)}</Fact>
        </DescriptionList>
        <ClipboardCopy isReadOnly isCode hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={t('Command that opens the serial console')}>
          {`anyvirt console -n ${namespace} ${name}`}
        </ClipboardCopy>
      </CardBody>
    </Card>
  );
}

function NetworkCard(props: { machine: Machine }): React.JSX.Element {
  const told = props.machine.vmi?.status?.interfaces ?? [];
  const asked = (props.machine.vm.spec.template?.spec.domain.devices.interfaces ?? []).filter(({ name }) => told.every((one) => one.name !== name));
  return (
    <Card component="section">
      <CardTitle component="h2">{t('Network')}</CardTitle>
      <CardBody>
        {told.length + asked.length === 0 && <p className="av-subtle">{t('No network interface.')}</p>}
        <DescriptionList isHorizontal isCompact>
          {told.map((one) => (
            <Fact key={one.name ?? one.mac} term={one.name ?? one.interfaceName ?? '–'}>
              <span className="av-number">{(one.ipAddresses ?? (one.ipAddress === undefined ? [] : [one.ipAddress])).join(', ') || t('no address yet')}</span>
              <br />
              <span className="av-subtle av-small av-mono">{[one.mac, one.linkState].filter((word) => word !== undefined).join(' · ')}</span>
            </Fact>
          ))}
          {asked.map((one) => <Fact key={one.name} term={one.name}>{one.model ?? 'virtio'}</Fact>)}
        </DescriptionList>
      </CardBody>
    </Card>
  );
}

function DisksCard(props: { machine: Machine }): React.JSX.Element {
  const { vm, vmi } = props.machine;
  const volumes = (vmi?.spec ?? vm.spec.template?.spec)?.volumes ?? [];
  return (
    <Card component="section">
      <CardTitle component="h2">{t('Disks')}</CardTitle>
      <CardBody>
        {volumes.length === 0 && <p className="av-subtle">{t('No disk.')}</p>}
        <DescriptionList isHorizontal isCompact>
          {volumes.map((volume) => {
            const told = vmi?.status?.volumeStatus?.find((one) => one.name === volume.name);
            const source = volume.containerDisk?.image ?? (volume.cloudInitNoCloud === undefined ? undefined : 'cloud-init')
              ?? (volume.emptyDisk === undefined ? undefined : t('empty, {size}', { size: volume.emptyDisk.capacity })) ?? volume.hostDisk?.path ?? '–';
            return (
              <Fact key={volume.name} term={volume.name}>
                <span className="av-mono">{source}</span>
                <br />
                <span className="av-subtle av-small">
                  {[told?.target, told?.phase, told?.size === undefined ? undefined : bytes(told.size), told?.message].filter((word) => word !== undefined && word !== '').join(' · ')}
                </span>
              </Fact>
            );
          })}
        </DescriptionList>
      </CardBody>
    </Card>
  );
}

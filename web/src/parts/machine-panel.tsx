import { Alert, Content, DescriptionList, DrawerActions, DrawerCloseButton, DrawerHead, DrawerPanelBody, DrawerPanelContent, EmptyState, EmptyStateBody } from '@patternfly/react-core';
import { Link } from '@tanstack/react-router';
import { useEffect, useRef } from 'react';

import { badgeOf, obstacleOf } from '../kubevirt/acceleration';
import type { Action } from '../kubevirt/actions';
import { systemOf } from '../kubevirt/filter';
import { addressOf, type Machine, memoryOf, processorsOf, statusOf } from '../kubevirt/machine';
import { t } from '../words/words';
import { AccelerationBadge } from './acceleration-badge';
import { Fact } from './fact';
import { takesKeys } from './keys';
import { LatestEvents } from './latest-events';
import { ActionsMenu, QuickAction } from './machine-actions';
import { StatusLabel } from './status';
import { Thumbnail } from './thumbnail';
import { TimelineCard } from './timeline';

/** Where Escape means something of its own: what is open there is closed first. */
const OPEN = '.pf-v6-c-popover, .pf-v6-c-modal-box, .pf-v6-c-menu';

interface Props {
  /** `namespace/name`; the machine is undefined if there is none of that name (any more). */
  id: string;
  machine: Machine | undefined;
  /** Does the panel take the focus when it is opened? Not if it follows keys in the table, or stood in the address. */
  takesFocus: boolean;
  onAsk: (action: Action, machine: Machine) => void;
  onClose: () => void;
}

/** What is to be known of one machine beside the list of all: Escape closes it. */
export default function MachinePanel(props: Props): React.JSX.Element {
  const { id, machine, takesFocus, onClose } = props;
  const title = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (takesFocus) title.current?.focus();
  }, [takesFocus, id]);
  useEffect(() => {
    function pressed(event: KeyboardEvent): void {
      if (event.key !== 'Escape' || event.defaultPrevented || takesKeys(event.target as HTMLElement | null)) return;
      if (document.querySelector(OPEN) === null) onClose();
    }
    // Before others have closed what is open.
    window.addEventListener('keydown', pressed, true);
    return () => window.removeEventListener('keydown', pressed, true);
  }, [onClose]);
  const name = machine?.vm.metadata.name ?? id.split('/').at(-1) ?? id;
  return (
    <DrawerPanelContent widths={{ default: 'width_33', xl: 'width_33' }} aria-label={t('{name}, beside the list', { name })} role="region" data-beside={id}>
      <DrawerHead>
        <Content component="h2" ref={title} tabIndex={-1}>{name}</Content>
        <DrawerActions>
          <DrawerCloseButton onClick={onClose} aria-label={t('Close the side panel')} />
        </DrawerActions>
      </DrawerHead>
      <DrawerPanelBody>
        {machine === undefined ? (
          <EmptyState titleText={t('There is no machine {name}', { name })} headingLevel="h3" variant="sm">
            <EmptyStateBody>{t('It may have been deleted.')}</EmptyStateBody>
          </EmptyState>
        ) : (
          <Body machine={machine} onAsk={props.onAsk} />
        )}
      </DrawerPanelBody>
    </DrawerPanelContent>
  );
}

function Body(props: { machine: Machine; onAsk: Props['onAsk'] }): React.JSX.Element {
  const { machine, onAsk } = props;
  const { vm, vmi } = machine;
  const { namespace = 'default', name } = vm.metadata;
  const where = { to: '/machines/$namespace/$name', params: { namespace, name } } as const;
  const spec = vmi?.spec ?? vm.spec.template?.spec;
  const badge = badgeOf(machine);
  const timeline = vmi?.status?.startTimeline;
  const phase = vmi?.status?.phase;
  return (
    <div className="av-stack">
      <div className="av-row">
        <StatusLabel status={statusOf(machine)} isLarge />
        <AccelerationBadge machine={machine} />
      </div>
      <div className="av-row">
        <QuickAction machine={machine} onAsk={onAsk} />
        <ActionsMenu machine={machine} onAsk={onAsk} />
        <Link {...where} search={{}}>{t('Open the page')}</Link>
        <Link {...where} search={{ tab: 'console' }}>{t('Open the console')}</Link>
      </div>
      <Trouble machine={machine} />
      {badge !== undefined && badge.why !== obstacleOf(machine) && <p className="av-wrap av-small">{badge.why}</p>}
      {phase === 'Running' && <div className="av-large"><Thumbnail machine={machine} /></div>}
      <DescriptionList isHorizontal isCompact>
        <Fact term={t('Project')}>{namespace}</Fact>
        <Fact term={t('Size')}>{t('{cpus} CPU, {memory}', { cpus: processorsOf(spec), memory: memoryOf(spec) ?? '–' })}</Fact>
        <Fact term={t('Address')}>{addressOf(machine) ?? '–'}</Fact>
        <Fact term={t('Node')}>{vmi?.status?.nodeName ?? '–'}</Fact>
        {systemOf(machine) !== undefined && <Fact term={t('System')}>{systemOf(machine)}</Fact>}
      </DescriptionList>
      {timeline !== undefined && <TimelineCard timeline={timeline} isOver={phase === 'Failed' || phase === 'Succeeded'} />}
      <LatestEvents machine={machine} />
    </div>
  );
}

/** The words about why the machine does not run, and the way to what helps. */
function Trouble(props: { machine: Machine }): React.JSX.Element | null {
  const { vm, vmi } = props.machine;
  const { namespace = 'default', name } = vm.metadata;
  const obstacle = statusOf(props.machine) === 'ErrorUnschedulable' ? obstacleOf(props.machine) : undefined;
  const words = vmi?.status?.startTimeline?.trouble?.message ?? vmi?.status?.startTimeline?.stuck?.message ?? obstacle;
  if (words === undefined) return null;
  return (
    <Alert variant="danger" isInline title={t('It does not run as it should')}>
      <p className="av-wrap">{words}</p>
      <Link to="/machines/$namespace/$name" params={{ namespace, name }} search={{}}>{t('Explain, and what helps')}</Link>
    </Alert>
  );
}

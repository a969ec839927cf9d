import { badgeOf } from '../kubevirt/acceleration';
import { addressOf, type Machine, memoryOf, processorsOf, statusOf } from '../kubevirt/machine';
import { isDone, latestOf, remainingOf } from '../kubevirt/timeline';
import { Age } from '../parts/age';
import { PlainBadge } from '../parts/badge';
import { LightLink } from '../parts/light-link';
import { useNow } from '../parts/now';
import { StatusLabel } from '../parts/status';
import { Thumbnail } from '../parts/thumbnail';
import type { Column } from '../parts/virtual-table';
import { duration } from '../words/measures';
import { plural, t } from '../words/words';

/** The columns of the list of machines. */
export const MACHINE_COLUMNS: readonly Column<Machine>[] = [
  { key: 'screen', width: '5.75rem', title: t('Screen'), cell: (machine) => <Thumbnail machine={machine} /> },
  { key: 'name', width: 'auto', title: t('Name'), isSortable: true, cell: ({ vm }) => <NameCell vm={vm} /> },
  { key: 'status', width: '9.75rem', title: t('Status'), isSortable: true, cell: (machine) => <StatusLabel status={statusOf(machine)} /> },
  { key: 'accel', width: '8rem', title: t('Acceleration'), isSortable: true, cell: (machine) => <BadgeCell machine={machine} /> },
  { key: 'step', width: '7.5rem', title: t('Step'), cell: (machine) => <StepCell machine={machine} /> },
  { key: 'node', width: '7.5rem', title: t('IP, node'), isSortable: true, cell: (machine) => <Two first={addressOf(machine)} second={machine.vmi?.status?.nodeName} /> },
  { key: 'memory', width: '5.5rem', title: t('Memory'), isSortable: true, cell: ({ vm }) => <SizeCell vm={vm} /> },
  { key: 'created', width: '3.25rem', title: t('Age'), isSortable: true, cell: ({ vm }) => <Age time={vm.metadata.creationTimestamp} /> },
];

function NameCell(props: { vm: Machine['vm'] }): React.JSX.Element {
  const { name, namespace = 'default' } = props.vm.metadata;
  return (
    <>
      <LightLink to={`/machines/${namespace}/${name}`} className="av-name" title={name}>{name}</LightLink>
      <span className="av-name av-subtle av-small" title={namespace}>{namespace}</span>
    </>
  );
}

function SizeCell(props: { vm: Machine['vm'] }): React.JSX.Element {
  const spec = props.vm.spec.template?.spec;
  const processors = processorsOf(spec);
  return <Two first={memoryOf(spec)} second={plural(processors, '{count} CPU', '{count} CPUs')} />;
}

function Two(props: { first: string | undefined; second: string | undefined }): React.JSX.Element {
  return (
    <span className="av-number">
      <span className="av-name" title={props.first}>{props.first ?? '–'}</span>
      <span className="av-name av-subtle av-small" title={props.second}>{props.second}</span>
    </span>
  );
}

function BadgeCell(props: { machine: Machine }): React.JSX.Element {
  const badge = badgeOf(props.machine);
  return badge === undefined ? <span className="av-subtle">–</span> : <span title={badge.why}><PlainBadge badge={badge} /></span>;
}

/** How far a start is; nothing for a machine that is up. */
function StepCell(props: { machine: Machine }): React.JSX.Element {
  const timeline = props.machine.vmi?.status?.startTimeline;
  const phase = props.machine.vmi?.status?.phase;
  if (timeline === undefined || isDone(timeline) || phase === 'Failed' || phase === 'Succeeded') return <span className="av-subtle">–</span>;
  return <Ticking timeline={timeline} />;
}

function Ticking(props: { timeline: NonNullable<NonNullable<Machine['vmi']>['status']>['startTimeline'] & object }): React.JSX.Element {
  const now = useNow();
  const { timeline } = props;
  const step = latestOf(timeline);
  const elapsed = duration((now - Date.parse(timeline.startedAt)) / 1000);
  const rest = remainingOf(timeline, now);
  const left = rest === undefined || rest.high === 0 ? undefined : t('≤ {time} left', { time: duration(rest.high) });
  return <Two first={t('{step}, {time}', { step: step?.label ?? '–', time: elapsed })} second={left} />;
}

import { badgeOf } from '../kubevirt/acceleration';
import { addressOf, type Machine, memoryOf, processorsOf, statusOf } from '../kubevirt/machine';
import { isDone, latestOf, remainingOf } from '../kubevirt/timeline';
import { PlainBadge } from '../parts/badge';
import { LightLink } from '../parts/light-link';
import { useNow } from '../parts/now';
import { StatusLabel } from '../parts/status';
import { Thumbnail } from '../parts/thumbnail';
import type { Column } from '../parts/virtual-table';
import { age, duration } from '../words/measures';
import { t } from '../words/words';

/** The columns of the list of machines. */
export const MACHINE_COLUMNS: readonly Column<Machine>[] = [
  { key: 'screen', width: '7rem', title: t('Screen'), cell: (machine) => <Thumbnail machine={machine} /> },
  {
    key: 'name',
    width: '16rem',
    title: t('Name'),
    isSortable: true,
    cell: ({ vm }) => (
      <LightLink to={`/machines/${vm.metadata.namespace ?? 'default'}/${vm.metadata.name}`} className="av-name" title={vm.metadata.name}>
        {vm.metadata.name}
      </LightLink>
    ),
  },
  { key: 'project', width: '8rem', title: t('Project'), isSortable: true, cell: ({ vm }) => <span className="av-name">{vm.metadata.namespace}</span> },
  { key: 'status', width: '11rem', title: t('Status'), isSortable: true, cell: (machine) => <StatusLabel status={statusOf(machine)} /> },
  { key: 'accel', width: '11rem', title: t('Acceleration'), isSortable: true, cell: (machine) => <BadgeCell machine={machine} /> },
  { key: 'step', width: '10rem', title: t('Step'), cell: (machine) => <StepCell machine={machine} /> },
  { key: 'address', width: '8rem', title: t('IP'), cell: (machine) => <span className="av-number">{addressOf(machine) ?? '–'}</span> },
  { key: 'node', width: '8rem', title: t('Node'), isSortable: true, cell: ({ vmi }) => <span className="av-name">{vmi?.status?.nodeName ?? '–'}</span> },
  { key: 'cpu', width: '4rem', title: t('CPU'), isSortable: true, cell: ({ vm }) => <span className="av-number">{processorsOf(vm.spec.template?.spec)}</span> },
  { key: 'memory', width: '5.5rem', title: t('Memory'), isSortable: true, cell: ({ vm }) => <span className="av-number">{memoryOf(vm.spec.template?.spec) ?? '–'}</span> },
  { key: 'created', width: '4.5rem', title: t('Age'), isSortable: true, cell: ({ vm }) => <AgeCell time={vm.metadata.creationTimestamp} /> },
];

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
  const left = rest === undefined || rest.high === 0 ? '' : t(', at most {time} left', { time: duration(rest.high) });
  return (
    <span className="av-number av-small">
      <span className="av-nowrap">{step?.label}</span>
      <br />
      <span className="av-subtle av-nowrap">{`${elapsed}${left}`}</span>
    </span>
  );
}

function AgeCell(props: { time: string | undefined }): React.JSX.Element {
  const now = useNow(30_000);
  return <span className="av-number" title={props.time}>{age(props.time, now)}</span>;
}

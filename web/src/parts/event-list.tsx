import { Link } from '@tanstack/react-router';

import type { Event } from '../kubevirt/event';
import { happenedAt, machineOf, speakerOf, timesOf } from '../kubevirt/event';
import { t } from '../words/words';
import { Age } from './age';
import { LightLink } from './light-link';
import { type Column, VirtualTable } from './virtual-table';
import { Label } from '@patternfly/react-core';

const rowKey = (event: Event): string => `${event.metadata.namespace}/${event.metadata.name}`;

/** A link to what an event is about, if the console has a page for it. */
export function AboutLink(props: { about: Event['involvedObject'] }): React.JSX.Element {
  const { kind = '', name = '', namespace } = props.about;
  const label = `${kind} ${name}`;
  if (namespace !== undefined && (kind === 'VirtualMachine' || kind === 'VirtualMachineInstance')) {
    return <Link to="/machines/$namespace/$name" params={{ namespace, name }}>{label}</Link>;
  }
  if (kind === 'Node') return <Link to="/nodes">{label}</Link>;
  if (namespace !== undefined && kind === 'ConfigMap') {
    return <Link to="/k8s/ns/$namespace/$plural/$name" params={{ namespace, plural: 'configmaps', name }}>{label}</Link>;
  }
  return <span>{label}</span>;
}

/** The way to why a machine does not run, if the event may tell of that. */
function ExplainLink(props: { event: Event }): React.JSX.Element | null {
  const machine = machineOf(props.event);
  if (machine === undefined) return null;
  return <LightLink to={`/machines/${machine.namespace}/${machine.name}`} label={t('Explain {name}', { name: machine.name })}>{t('Explain')}</LightLink>;
}

const WHEN: Column<Event> = { key: 'when', title: t('Last seen'), isTight: true, cell: (event) => <Age time={happenedAt(event)} /> };
const TYPE: Column<Event> = {
  key: 'type',
  title: t('Type'),
  isTight: true,
  cell: (event) => (
    <Label isCompact variant="outline" status={event.type === 'Warning' ? 'warning' : 'info'}>{event.type ?? 'Normal'}</Label>
  ),
};
const REASON: Column<Event> = {
  key: 'reason',
  title: t('Reason'),
  isTight: true,
  cell: (event) => (
    <>
      {event.reason}
      {timesOf(event) > 1 && <span className="av-subtle av-number"> ×{timesOf(event)}</span>} <ExplainLink event={event} />
    </>
  ),
};
const ABOUT: Column<Event> = { key: 'about', title: t('About'), cell: (event) => <AboutLink about={event.involvedObject} /> };
const PROJECT: Column<Event> = { key: 'project', title: t('Project'), isTight: true, cell: (event) => event.metadata.namespace };
const MESSAGE: Column<Event> = {
  key: 'message',
  title: t('Message'),
  cell: (event) => (
    <>
      <span className="av-wrap">{event.message}</span> <span className="av-subtle av-small">{speakerOf(event)}</span>
    </>
  ),
};

const ALL_COLUMNS: readonly Column<Event>[] = [WHEN, TYPE, PROJECT, ABOUT, REASON, MESSAGE];
const OWN_COLUMNS: readonly Column<Event>[] = [WHEN, TYPE, REASON, ABOUT, MESSAGE];

/** A table of events; `isOfOne`: all of one project, which is not repeated. */
export function EventList(props: { events: readonly Event[]; isOfOne?: boolean; empty: React.ReactNode }): React.JSX.Element {
  return (
    <VirtualTable
      label={t('Events')}
      rows={props.events}
      keyOf={rowKey}
      columns={props.isOfOne === true ? OWN_COLUMNS : ALL_COLUMNS}
      rowHeight={53}
      empty={props.empty}
    />
  );
}

import { Card, CardBody, CardTitle, List, ListItem } from '@patternfly/react-core';
import { Link } from '@tanstack/react-router';
import { useMemo } from 'react';

import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { isKnown } from '../kubernetes/watch-state';
import { type Event, eventsAbout, happenedAt } from '../kubevirt/event';
import type { Machine } from '../kubevirt/machine';
import { t } from '../words/words';
import { Age } from './age';
import { Freshness } from './freshness';

/** Events shown beside everything else; the rest has a tab of its own. */
const LATEST = 5;

/** What was told about a machine last, and the way to the rest. */
export function LatestEvents(props: { machine: Machine }): React.JSX.Element {
  const { namespace = 'default', name } = props.machine.vm.metadata;
  const events = useWatched<Event>(RESOURCES.events, namespace);
  const latest = useMemo(() => eventsAbout(events.objects.values(), name).slice(0, LATEST), [events.objects, name]);
  return (
    <Card component="section">
      <CardTitle component="h2">{t('Latest events')}</CardTitle>
      <CardBody className="av-stack">
        <Freshness what={t('Events')} watched={events} />
        {latest.length === 0 && isKnown(events) && <p className="av-subtle">{t('Nothing in the last hour.')}</p>}
        <List isPlain isBordered>
          {latest.map((event) => (
            <ListItem key={event.metadata.uid}>
              <p className="av-small"><span className="av-subtle"><Age time={happenedAt(event)} /></span> <strong>{event.reason}</strong></p>
              <p className="av-wrap av-small">{event.message}</p>
            </ListItem>
          ))}
        </List>
        <Link to="/machines/$namespace/$name" params={{ namespace, name }} search={{ tab: 'events' }}>{t('All events')}</Link>
      </CardBody>
    </Card>
  );
}

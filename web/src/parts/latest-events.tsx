import { Card, CardBody, CardTitle } from '@patternfly/react-core';
import { Link } from '@tanstack/react-router';
import { useMemo } from 'react';

import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { type Event, eventsAbout } from '../kubevirt/event';
import type { Machine } from '../kubevirt/machine';
import { t } from '../words/words';
import { BriefEvents } from './brief-events';
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
        <BriefEvents events={latest} watched={events} />
        <Link to="/machines/$namespace/$name" params={{ namespace, name }} search={{ tab: 'events' }}>{t('All events')}</Link>
      </CardBody>
    </Card>
  );
}

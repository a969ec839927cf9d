import { EmptyState, EmptyStateBody } from '@patternfly/react-core';
import { useMemo } from 'react';

import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { isKnown } from '../kubernetes/watch-state';
import { type Event, eventsAbout } from '../kubevirt/event';
import type { Machine } from '../kubevirt/machine';
import { EventList } from '../parts/event-list';
import { Freshness } from '../parts/freshness';
import { t } from '../words/words';

/** Everything that was told about a machine, its instance and its pod. */
export function MachineEvents(props: { machine: Machine }): React.JSX.Element {
  const { namespace = 'default', name } = props.machine.vm.metadata;
  const watched = useWatched<Event>(RESOURCES.events, namespace);
  const events = useMemo(() => eventsAbout(watched.objects.values(), name), [watched.objects, name]);
  return (
    <div className="av-stack">
      <Freshness what={t('Events')} watched={watched} />
      {isKnown(watched) && (
        <EventList
          events={events}
          isOfOne
          empty={
            <EmptyState titleText={t('No events')} headingLevel="h2">
              <EmptyStateBody>{t('Nothing has happened to this machine in the last hour.')}</EmptyStateBody>
            </EmptyState>
          }
        />
      )}
    </div>
  );
}

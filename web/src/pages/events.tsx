import { Button, EmptyState, EmptyStateBody, Switch, ToolbarItem } from '@patternfly/react-core';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useMemo, useState } from 'react';

import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { type Event, type EventSearch, eventsFound } from '../kubevirt/event';
import { EventList } from '../parts/event-list';
import { FilterField, ListPage } from '../parts/list-page';
import { plural, t } from '../words/words';

/** What happened in the cluster, live. */
export function EventsPage(): React.JSX.Element {
  const search = useSearch({ from: '/events' });
  const navigate = useNavigate();
  const watched = useWatched<Event>(RESOURCES.events);
  const [held, setHeld] = useState<ReadonlyMap<string, Event>>();
  const objects = held ?? watched.objects;
  const events = useMemo(() => eventsFound(objects.values(), search), [objects, search]);
  const change = (part: Partial<EventSearch>): void => void navigate({ to: '/events', search: (before) => ({ ...before, ...part }), replace: true });
  return (
    <ListPage
      title={t('Events')}
      watched={watched}
      count={plural(events.length, '{count} event', '{count} events')}
      filters={
        <>
          <FilterField placeholder={t('Reason, object, words')} label={t('Filter by reason, object or message')} value={search.q} onChange={(q) => change({ q })} />
          <ToolbarItem alignSelf="center">
            <Switch id="warnings" label={t('Warnings only')} isChecked={search.warnings === true} onChange={(_event, on) => change({ warnings: on ? true : undefined })} />
          </ToolbarItem>
          <ToolbarItem>
            <Button variant="secondary" onClick={() => setHeld(held === undefined ? watched.objects : undefined)}>
              {held === undefined ? t('Pause') : t('Go on')}
            </Button>
          </ToolbarItem>
        </>
      }
    >
      <EventList
        events={events}
        empty={
          <EmptyState titleText={t('No events')} headingLevel="h2">
            <EmptyStateBody>{t('Nothing has happened that fits these filters. The server keeps events for an hour.')}</EmptyStateBody>
          </EmptyState>
        }
      />
    </ListPage>
  );
}

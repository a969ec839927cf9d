import { Button, EmptyState, EmptyStateBody, Switch, ToolbarItem } from '@patternfly/react-core';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useMemo, useState } from 'react';

import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { type Event, type EventSearch, eventsFound, kindsOf, together } from '../kubevirt/event';
import { Choice } from '../parts/choice';
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
  const events = useMemo(() => {
    const found = eventsFound(objects.values(), search);
    return search.each === true ? found : together(found);
  }, [objects, search]);
  const kinds = useMemo(() => kindsOf(objects.values()).map((kind) => ({ value: kind, label: kind })), [objects]);
  const change = (part: Partial<EventSearch>): void => void navigate({ to: '/events', search: (before) => ({ ...before, ...part }), replace: true });
  return (
    <ListPage
      title={t('Events')}
      watched={watched}
      count={plural(events.length, '{count} event', '{count} events')}
      filters={
        <>
          <FilterField placeholder={t('Reason, object, words')} label={t('Filter by reason, object or message')} value={search.q} onChange={(q) => change({ q })} />
          <ToolbarItem><Choice label={t('Kind')} all={t('All')} value={search.kind} options={kinds} onChange={(kind) => change({ kind })} /></ToolbarItem>
          <ToolbarItem alignSelf="center">
            <Switch id="together" label={t('Repeats together')} isChecked={search.each !== true} onChange={(_event, on) => change({ each: on ? undefined : true })} />
          </ToolbarItem>
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

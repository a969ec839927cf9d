import { Button, Content, EmptyState, EmptyStateBody, PageSection, SearchInput, Switch, Toolbar, ToolbarContent, ToolbarItem } from '@patternfly/react-core';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useMemo, useState } from 'react';

import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { type Event, type EventSearch, eventsFound } from '../kubevirt/event';
import { EventList } from '../parts/event-list';
import { Freshness, LiveDot } from '../parts/freshness';
import { ProjectChoice } from '../parts/project-choice';
import { FILTER } from '../parts/shortcuts';
import { useTitle } from '../parts/title';
import { plural, t } from '../words/words';

/** What happened in the cluster, live. */
export function EventsPage(): React.JSX.Element {
  useTitle(t('Events'));
  const search = useSearch({ from: '/events' });
  const navigate = useNavigate();
  const watched = useWatched<Event>(RESOURCES.events);
  const [held, setHeld] = useState<ReadonlyMap<string, Event>>();
  const objects = held ?? watched.objects;
  const events = useMemo(() => eventsFound(objects.values(), search), [objects, search]);
  const change = (part: Partial<EventSearch>): void => void navigate({ to: '/events', search: (before) => ({ ...before, ...part }), replace: true });
  return (
    <PageSection isFilled hasOverflowScroll={false} aria-label={t('Events')}>
      <div className="av-filling">
        <div className="av-row">
          <Content component="h1">{t('Events')}</Content>
          <LiveDot watched={watched} />
          <span className="av-subtle" role="status">{plural(events.length, '{count} event', '{count} events')}</span>
        </div>
        <Freshness what={t('Events')} watched={watched} />
        <Toolbar inset={{ default: 'insetNone' }}>
          <ToolbarContent>
            <ToolbarItem><ProjectChoice value={search.project} onChange={(project) => change({ project })} /></ToolbarItem>
            <ToolbarItem>
              <SearchInput
                {...{ [FILTER]: '' }}
                placeholder={t('Reason, object, words')}
                aria-label={t('Filter by reason, object or message')}
                value={search.q ?? ''}
                onChange={(_event, q) => change({ q: q === '' ? undefined : q })}
                onClear={() => change({ q: undefined })}
              />
            </ToolbarItem>
            <ToolbarItem alignSelf="center">
              <Switch id="warnings" label={t('Warnings only')} isChecked={search.warnings === true} onChange={(_event, on) => change({ warnings: on ? true : undefined })} />
            </ToolbarItem>
            <ToolbarItem>
              <Button variant="secondary" onClick={() => setHeld(held === undefined ? watched.objects : undefined)}>
                {held === undefined ? t('Pause') : t('Go on')}
              </Button>
            </ToolbarItem>
          </ToolbarContent>
        </Toolbar>
        <EventList
          events={events}
          empty={
            <EmptyState titleText={t('No events')} headingLevel="h2">
              <EmptyStateBody>{t('Nothing has happened that fits these filters. The server keeps events for an hour.')}</EmptyStateBody>
            </EmptyState>
          }
        />
      </div>
    </PageSection>
  );
}

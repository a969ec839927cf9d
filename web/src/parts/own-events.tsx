import { EmptyState, EmptyStateBody, Skeleton } from '@patternfly/react-core';

import { isKnown, type Watched } from '../kubernetes/watch-state';
import type { Event } from '../kubevirt/event';
import { t } from '../words/words';
import { EventList } from './event-list';
import { Freshness } from './freshness';

interface Props {
  /** The events of the project. */
  watched: Watched<Event>;
  /** Those of them that are about one object. */
  events: readonly Event[];
  /** A sentence where there are none. */
  nothing: string;
}

/** What was told about one object, and how fresh that is. */
export function OwnEvents(props: Props): React.JSX.Element {
  return (
    <div className="av-stack">
      <Freshness what={t('Events')} watched={props.watched} />
      {props.watched.phase === 'loading' && <Skeleton height="20rem" screenreaderText={t('Loading')} />}
      {isKnown(props.watched) && (
        <EventList
          events={props.events}
          isOfOne
          empty={
            <EmptyState titleText={t('No events')} headingLevel="h2">
              <EmptyStateBody>{props.nothing}</EmptyStateBody>
            </EmptyState>
          }
        />
      )}
    </div>
  );
}

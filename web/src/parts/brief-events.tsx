import { List, ListItem } from '@patternfly/react-core';

import { isKnown, type Watched } from '../kubernetes/watch-state';
import { type Event, happenedAt } from '../kubevirt/event';
import { t } from '../words/words';
import { Age } from './age';
import { AboutLink } from './event-list';

/** A few events, two lines each; `isOfMany`: with what each is about. `watched` is what they come from. */
export function BriefEvents(props: { events: readonly Event[]; watched: Watched<Event>; isOfMany?: boolean }): React.JSX.Element {
  const { events, watched, isOfMany = false } = props;
  return (
    <>
      {events.length === 0 && isKnown(watched) && <p className="av-subtle">{t('Nothing in the last hour.')}</p>}
      <List isPlain isBordered>
        {events.map((event) => (
          <ListItem key={event.metadata.uid}>
            <div className="av-row av-small">
              <span className="av-subtle"><Age time={happenedAt(event)} /></span> {isOfMany && <AboutLink about={event.involvedObject} />} <strong>{event.reason}</strong>
            </div>
            <p className="av-wrap av-small">{event.message}</p>
          </ListItem>
        ))}
      </List>
    </>
  );
}

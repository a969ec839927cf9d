import { useMemo } from 'react';

import { RESOURCES } from '../kubernetes/resource';
import { useWatched } from '../kubernetes/store';
import { type Event, eventsAbout } from '../kubevirt/event';
import type { Machine } from '../kubevirt/machine';
import { OwnEvents } from '../parts/own-events';
import { t } from '../words/words';

/** Everything that was told about a machine, its instance and its pod. */
export function MachineEvents(props: { machine: Machine }): React.JSX.Element {
  const { namespace = 'default', name } = props.machine.vm.metadata;
  const watched = useWatched<Event>(RESOURCES.events, namespace);
  const events = useMemo(() => eventsAbout(watched.objects.values(), name), [watched.objects, name]);
  return <OwnEvents watched={watched} events={events} nothing={t('Nothing has happened to this machine in the last hour.')} />;
}

import type { KubernetesObject } from '../kubernetes/object';

/** Something that happened to an object. */
export interface Event extends KubernetesObject {
  involvedObject: { kind?: string; namespace?: string; name?: string; uid?: string };
  reason?: string;
  message?: string;
  type?: string;
  count?: number;
  firstTimestamp?: string;
  lastTimestamp?: string;
  eventTime?: string;
  series?: { count?: number; lastObservedTime?: string };
  source?: { component?: string };
  reportingComponent?: string;
}

/** When it happened last. */
export function happenedAt(event: Event): string {
  return event.series?.lastObservedTime ?? event.lastTimestamp ?? event.eventTime ?? event.firstTimestamp ?? event.metadata.creationTimestamp ?? '';
}

/** How often it happened. */
export function timesOf(event: Event): number {
  return event.series?.count ?? event.count ?? 1;
}

/** Who says so. */
export function speakerOf(event: Event): string {
  return event.source?.component ?? event.reportingComponent ?? '';
}

/** Events, the latest first. */
export function latestFirst(events: Iterable<Event>): Event[] {
  return [...events].sort((a, b) => (happenedAt(a) < happenedAt(b) ? 1 : happenedAt(a) > happenedAt(b) ? -1 : 0));
}

/** Which events a page of events shows. */
export interface EventSearch {
  project?: string;
  q?: string;
  warnings?: boolean;
  /** Of which kind the object is that it is about. */
  kind?: string;
  /** Each repetition by itself; else those that say the same of one object are one. */
  each?: boolean;
}

/** The kinds that events are about. */
export function kindsOf(events: Iterable<Event>): string[] {
  return [...new Set([...events].flatMap(({ involvedObject: { kind } }) => kind ?? []))].sort();
}

/** Events that say the same of one object, numbers apart, as one: the latest, with how often all of them happened. In their order. */
export function together(events: readonly Event[]): Event[] {
  const groups = new Map<string, Event>();
  for (const event of events) {
    const { type, reason, message = '', involvedObject: { kind, namespace, name } } = event;
    const key = [type, reason, kind, namespace, name, message.replace(/\d+/g, '0')].join('|');
    const known = groups.get(key);
    groups.set(key, known === undefined ? event : joined(known, event));
  }
  return [...groups.values()];
}

function joined(one: Event, other: Event): Event {
  const latest = happenedAt(one) < happenedAt(other) ? other : one;
  const { series: _, ...rest } = latest;
  return { ...rest, count: timesOf(one) + timesOf(other), lastTimestamp: happenedAt(latest) };
}

/** The machine whose failure an event may tell of; undefined if it tells of none. */
export function machineOf({ type, involvedObject: { kind, namespace, name = '' } }: Event): { namespace: string; name: string } | undefined {
  if (type !== 'Warning' || namespace === undefined) return undefined;
  if (kind === 'VirtualMachine' || kind === 'VirtualMachineInstance') return { namespace, name };
  const [, pod] = /^virt-launcher-(.+)-[a-z0-9]+$/.exec(kind === 'Pod' ? name : '') ?? [];
  return pod === undefined ? undefined : { namespace, name: pod };
}

/** The events that the search asks for, the latest first. */
export function eventsFound(events: Iterable<Event>, search: EventSearch): Event[] {
  const words = (search.q ?? '').toLowerCase().split(/\s+/).filter((word) => word !== '');
  return latestFirst(events).filter((event) => {
    if (search.project !== undefined && event.metadata.namespace !== search.project) return false;
    if (search.warnings === true && event.type !== 'Warning') return false;
    if (search.kind !== undefined && event.involvedObject.kind !== search.kind) return false;
    const text = [event.reason, event.message, event.involvedObject.kind, event.involvedObject.name].join(' ').toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

/** Events about a machine: about its VM, its instance, or the pod that runs it. */
export function eventsAbout(events: Iterable<Event>, name: string): Event[] {
  const pod = new RegExp(`^virt-launcher-${name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}-[a-z0-9]+$`);
  return latestFirst(events).filter(({ involvedObject: about }) => {
    if (about.kind === 'VirtualMachine' || about.kind === 'VirtualMachineInstance') return about.name === name;
    return about.kind === 'Pod' && pod.test(about.name ?? '');
  });
}

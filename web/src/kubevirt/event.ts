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
}

/** The events that the search asks for, the latest first. */
export function eventsFound(events: Iterable<Event>, search: EventSearch): Event[] {
  const words = (search.q ?? '').toLowerCase().split(/\s+/).filter((word) => word !== '');
  return latestFirst(events).filter((event) => {
    if (search.project !== undefined && event.metadata.namespace !== search.project) return false;
    if (search.warnings === true && event.type !== 'Warning') return false;
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

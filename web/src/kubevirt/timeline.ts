import { t } from '../words/words';
import type { StartTimeline } from './machine';

/** How one step of a start is shown. */
export interface StepShown {
  name: string;
  /** Its name for people. */
  label: string;
  state: 'done' | 'now' | 'later' | 'silent' | 'failed';
  /** Seconds from the request, if it was reached. */
  after: number | undefined;
  /** Seconds from the step before, if both were reached. */
  took: number | undefined;
  usual: number | undefined;
  /** The words beside it. */
  note: string;
}

/** What a step is called, for people. */
export function stepLabel(name: string): string {
  const labels: Readonly<Record<string, string>> = {
    requested: t('Requested'),
    scheduled: t('Scheduled on a node'),
    image: t('Image ready'),
    queued: t('Its turn has come'),
    'boots-instead': t('Boots instead'),
    'boots-again': t('Boots again'),
    qemu: t('QEMU started'),
    firmware: t('Firmware'),
    kernel: t('Kernel'),
    'user-space': t('User space'),
    login: t('Login possible'),
    agent: t('Guest agent'),
    adopted: t('Adopted a guest that stood by'),
    restored: t('Restored from a template'),
    renewed: t('Identity renewed'),
  };
  return labels[name] ?? name;
}

/** The steps of a start in order. A step without a time before one with a time gave no signal, and has no tick. */
export function stepsOf(timeline: StartTimeline): StepShown[] {
  const { steps } = timeline;
  const start = Date.parse(timeline.startedAt);
  const latest = steps.findLastIndex((step) => step.at !== undefined);
  const done = isDone(timeline);
  let before: number | undefined;
  return steps.map((step, index) => {
    const after = step.at === undefined ? undefined : Math.max(0, (Date.parse(step.at) - start) / 1000);
    const took = after === undefined || before === undefined ? undefined : Math.max(0, after - before);
    before = after ?? before;
    const state = stateOf(timeline, index, latest, done);
    return { name: step.name, label: stepLabel(step.name), state, after, took, usual: step.usualSeconds, note: noteOf(step.name, state) };
  });
}

function stateOf(timeline: StartTimeline, index: number, latest: number, done: boolean): StepShown['state'] {
  if (timeline.steps[index]?.at !== undefined) return 'done';
  if (index < latest) return 'silent';
  if (done) return 'silent';
  if (index > latest + 1) return 'later';
  return timeline.trouble === undefined ? 'now' : 'failed';
}

function noteOf(name: string, state: StepShown['state']): string {
  if (state !== 'silent') return '';
  if (name === 'agent') return t('no answer; is it installed in the guest?');
  return t('no signal');
}

/** Can somebody log in, or does the agent answer? */
export function isDone(timeline: StartTimeline): boolean {
  const ends = ['login', 'agent', 'renewed'];
  return timeline.steps.some((step) => ends.includes(step.name) && step.at !== undefined);
}

/** The latest step that was reached. */
export function latestOf(timeline: StartTimeline): StepShown | undefined {
  return stepsOf(timeline).findLast((step) => step.state === 'done');
}

/** Seconds until the login at `now` (milliseconds): at least, at most. Undefined if no estimate is known or it is done. */
export function remainingOf(timeline: StartTimeline, now: number): { low: number; high: number } | undefined {
  if (timeline.estimate === undefined || isDone(timeline)) return undefined;
  const elapsed = (now - Date.parse(timeline.startedAt)) / 1000;
  const { lowSeconds, highSeconds } = timeline.estimate;
  return { low: Math.max(0, lowSeconds - elapsed), high: Math.max(0, highSeconds - elapsed) };
}

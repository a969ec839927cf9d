import { describe, expect, test } from 'vitest';

import type { StartTimeline } from './machine';
import { isDone, latestOf, remainingOf, stepsOf } from './timeline';

const STEPS = ['requested', 'scheduled', 'image', 'qemu', 'firmware', 'kernel', 'user-space', 'login', 'agent'];
const START = Date.parse('2026-11-23T02:00:00Z');

/** A timeline whose steps were reached after these seconds. */
function timeline(reached: Record<string, number>, part: Partial<StartTimeline> = {}): StartTimeline {
  return {
    startedAt: new Date(START).toISOString(),
    steps: STEPS.map((name) => (reached[name] === undefined ? { name } : { name, at: new Date(START + reached[name] * 1000).toISOString() })),
    progressPercent: 0,
    ...part,
  };
}

const states = (it: StartTimeline): string => stepsOf(it).map((step) => `${step.name}:${step.state}`).join(' ');

describe('the steps of a start', () => {
  test('the one after the latest is under way, the rest come later', () => {
    expect(states(timeline({ requested: 0, scheduled: 1 }))).toBe(
      'requested:done scheduled:done image:now qemu:later firmware:later kernel:later user-space:later login:later agent:later',
    );
  });

  test('a step that was passed without a sign gets no tick', () => {
    const shown = stepsOf(timeline({ requested: 0, scheduled: 0, image: 1, qemu: 2, kernel: 9 }));
    expect(shown.find(({ name }) => name === 'firmware')).toMatchObject({ state: 'silent', note: 'no signal', after: undefined });
  });

  test('after the login the agent that does not answer is no error', () => {
    const shown = stepsOf(timeline({ requested: 0, qemu: 1, login: 20 })).at(-1);
    expect(shown).toMatchObject({ name: 'agent', state: 'silent', note: 'no answer; is it installed in the guest?' });
  });

  test('each took the time since the one before that was seen', () => {
    const shown = stepsOf(timeline({ requested: 0, scheduled: 1, qemu: 3, login: 20 }));
    expect(shown.map(({ took }) => took)).toEqual([undefined, 1, undefined, 2, undefined, undefined, undefined, 17, undefined]);
  });

  test('a start that has failed says where', () => {
    const trouble = { reason: 'KernelPanic', message: 'panic', at: new Date(START).toISOString() };
    expect(states(timeline({ requested: 0, kernel: 5 }, { trouble }))).toContain('user-space:failed login:later');
  });
});

test('it is done when somebody can log in or the agent answers', () => {
  expect([isDone(timeline({ kernel: 3 })), isDone(timeline({ login: 3 })), isDone(timeline({ agent: 3 }))]).toEqual([false, true, true]);
  expect(latestOf(timeline({ requested: 0, qemu: 2 }))?.label).toBe('QEMU started');
});

describe('the time that is left', () => {
  const estimate = { lowSeconds: 20, highSeconds: 60, basis: '3 starts', starts: 3 };
  test.each([[0, { low: 20, high: 60 }], [30, { low: 0, high: 30 }], [90, { low: 0, high: 0 }]])('after %i s', (elapsed, wanted) => {
    expect(remainingOf(timeline({ requested: 0 }, { estimate }), START + elapsed * 1000)).toEqual(wanted);
  });

  test('is not told without an estimate, nor after the login', () => {
    expect(remainingOf(timeline({}), START)).toBeUndefined();
    expect(remainingOf(timeline({ login: 9 }, { estimate }), START)).toBeUndefined();
  });
});

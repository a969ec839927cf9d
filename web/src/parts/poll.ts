import { useCallback, useEffect, useState } from 'react';

import { Failure } from '../kubernetes/failure';

/** What is asked for again and again. */
export interface Polled<T> {
  /** The last answer; also after later questions failed. */
  value: T | undefined;
  /** Why the last question failed, if it did. */
  failure: Failure | undefined;
  /** Asks at once. */
  retry: () => void;
}

/** Answers that stay the same until somebody does something: asking on would only repeat them. */
const FINAL: ReadonlySet<number> = new Set([400, 403, 404]);

/**
 * Asks every `every` milliseconds, while the page is seen. Another `load` begins anew, and must therefore be the same
 * between two drawings; what it gave before is shown until it answers.
 */
export function usePolled<T>(load: (signal: AbortSignal) => Promise<T>, every: number): Polled<T> {
  const [known, setKnown] = useState<{ value?: T; failure?: Failure }>({});
  const [round, setRound] = useState(0);
  const retry = useCallback(() => setRound((last) => last + 1), []);
  useEffect(() => {
    const stop = new AbortController();
    let isAsking = false;
    let isFinal = false;
    async function look(): Promise<void> {
      if (document.hidden || isAsking || isFinal) return;
      isAsking = true;
      try {
        const value = await load(stop.signal);
        if (!stop.signal.aborted) setKnown({ value });
      } catch (thrown) {
        if (stop.signal.aborted) return;
        const failure = Failure.of(thrown);
        isFinal = FINAL.has(failure.code);
        setKnown((last) => ({ ...(isFinal ? {} : last), failure }));
      } finally {
        isAsking = false;
      }
    }
    const lookAgain = (): void => void look();
    lookAgain();
    const timer = setInterval(lookAgain, every);
    document.addEventListener('visibilitychange', lookAgain);
    return () => {
      stop.abort();
      clearInterval(timer);
      document.removeEventListener('visibilitychange', lookAgain);
    };
  }, [load, every, round]);
  return { value: known.value, failure: known.failure, retry };
}

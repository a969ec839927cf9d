import { useSyncExternalStore } from 'react';

/** One clock for everything on the page that is told again after the same time. */
class Clock {
  #now = Date.now();
  #timer: ReturnType<typeof setInterval> | undefined;
  readonly #listeners = new Set<() => void>();
  readonly #every: number;

  constructor(every: number) {
    this.#every = every;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    this.#timer ??= setInterval(() => this.#tick(), this.#every);
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    };
  };

  readonly now = (): number => {
    // A clock that nobody listened to has stood still.
    if (this.#timer === undefined && Date.now() - this.#now > this.#every) this.#now = Date.now();
    return this.#now;
  };

  #tick(): void {
    this.#now = Date.now();
    for (const listener of this.#listeners) listener();
  }
}

const clocks = new Map<number, Clock>();

/** The time in milliseconds, told again every `every` milliseconds. */
export function useNow(every = 1000): number {
  let clock = clocks.get(every);
  if (clock === undefined) {
    clock = new Clock(every);
    clocks.set(every, clock);
  }
  return useSyncExternalStore(clock.subscribe, clock.now);
}

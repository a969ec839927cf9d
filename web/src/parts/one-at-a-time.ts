/** Runs a task. `false`: it was not begun, because another one runs. What the task throws is thrown. */
export type Runner = (task: () => Promise<void>) => Promise<boolean>;

/** A runner that refuses what is asked while a task runs: a key that is held, or pressed twice, asks many times. */
export function oneAtATime(): Runner {
  let isBusy = false;
  return async (task) => {
    if (isBusy) return false;
    isBusy = true;
    try {
      await task();
    } finally {
      isBusy = false;
    }
    return true;
  };
}

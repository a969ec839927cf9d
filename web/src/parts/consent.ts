const STORED_AS = 'anyvirt.consent';

/** Does a person want to be asked before every action, also one that loses nothing? */
export function asksAlways(): boolean {
  try {
    return localStorage.getItem(STORED_AS) === 'always';
  } catch {
    return false;
  }
}

/** Keeps that choice, for this browser. Where storage is forbidden, only what may be lost is asked about. */
export function askAlways(always: boolean): void {
  try {
    if (always) localStorage.setItem(STORED_AS, 'always');
    else localStorage.removeItem(STORED_AS);
  } catch {
    // Nothing to keep it in.
  }
}

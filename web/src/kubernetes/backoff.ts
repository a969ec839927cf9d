/** The first wait, in milliseconds. */
const FIRST = 500;
/** The longest wait, in milliseconds: a person who looks should not wait longer for a server that is back. */
export const LONGEST = 15_000;

/**
 * Milliseconds to wait before the next try after `failures` in a row, the first counting as 1.
 * Doubles up to a bound; `random` in [0, 1) takes away up to half, so that many browsers do not come at once.
 */
export function waitAfter(failures: number, random: number): number {
  const whole = Math.min(LONGEST, FIRST * 2 ** Math.max(0, Math.min(failures - 1, 10)));
  return Math.round(whole * (1 - random / 2));
}

// How long what was written took until a page showed it.

/** The last value that was written to each row. */
export function lastWritten(watched) {
  const last = new Map();
  for (const one of watched) if (!(Number(last.get(one.machine)?.size) > Number(one.size))) last.set(one.machine, one);
  return [...last.values()].map(({ machine, size }) => ({ name: `default/${machine}`, size }));
}

/**
 * Milliseconds until each of the `watched` writes was in its row, the shortest first. Values grow: a write that was
 * overtaken by a later one to its row counts until that one is `shown`, since nobody saw it sooner. `unseen` are those
 * that were never followed by a value that was written. Pure.
 */
export function waits(watched, shown) {
  const key = (name, size) => `${name} ${size}`;
  const written = new Set(watched.map(({ machine, size }) => key(`default/${machine}`, size)));
  const answers = shown.filter(({ name, size }) => written.has(key(name, size)));
  const waited = [];
  const unseen = [];
  let overtaken = 0;
  for (const { machine, size, at } of watched) {
    const since = answers.filter((one) => one.name === `default/${machine}` && Number(one.size) >= Number(size));
    if (since.length === 0) unseen.push(`${machine} ${size}`);
    else waited.push(Math.min(...since.map((one) => one.at)) - at);
    if (since.length > 0 && since.every((one) => one.size !== size)) overtaken += 1;
  }
  waited.sort((a, b) => a - b);
  return { waited, overtaken, unseen };
}

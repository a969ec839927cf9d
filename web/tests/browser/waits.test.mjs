import { expect, test } from 'vitest';

import { lastWritten, waits } from './waits.mjs';

const write = (machine, size, at) => ({ machine, size: String(size), at });
const show = (machine, size, at) => ({ name: `default/${machine}`, size: String(size), at });

test('each write waits until its row shows it, the first time', () => {
  const told = waits([write('a', 1, 10), write('b', 2, 20)], [show('a', 1, 60), show('b', 2, 30), show('a', 1, 90)]);
  expect(told).toEqual({ waited: [10, 50], overtaken: 0, unseen: [] });
});

test('a write that was overtaken waits until the later one is shown: a slow page does not look faster', () => {
  const told = waits([write('a', 1, 10), write('a', 2, 1000)], [show('a', 2, 1500)]);
  expect(told).toEqual({ waited: [500, 1490], overtaken: 1, unseen: [] });
});

test('a write that no row has shown is told', () => {
  const told = waits([write('a', 1, 10), write('a', 2, 20), write('b', 3, 30)], [show('a', 1, 15)]);
  expect(told).toEqual({ waited: [5], overtaken: 0, unseen: ['a 2', 'b 3'] });
});

test('what a row showed before it was written to is no answer', () => {
  expect(waits([write('a', 1001, 10)], [show('a', 2048, 20), { name: 'default/a', at: 30 }]).unseen).toEqual(['a 1001']);
});

test('the last value of each row is waited for, in whatever order the writes were answered', () => {
  expect(lastWritten([write('a', 998, 1), write('b', 999, 2), write('a', 1001, 3), write('a', 1000, 4)])).toEqual([
    { name: 'default/a', size: '1001' },
    { name: 'default/b', size: '999' },
  ]);
});

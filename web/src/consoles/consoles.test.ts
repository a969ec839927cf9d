import { describe, expect, test } from 'vitest';

import { LAYOUTS, strokesOf } from './keymaps';
import { marksIn } from './log-text';

const PRINTABLE = Array.from({ length: 0x7e - 0x20 + 1 }, (_, at) => String.fromCharCode(0x20 + at));

describe.each(LAYOUTS)('a guest with the layout %s', (layout) => {
  test('can be typed all of ASCII, and each letter in one way only', () => {
    const ways = PRINTABLE.map((character) => JSON.stringify(strokesOf(layout, character)));
    expect(ways.filter((way) => way === undefined)).toEqual([]);
    expect(new Set(ways).size).toBe(PRINTABLE.length);
  });

  test('has keys for new lines, and none for what no key writes', () => {
    expect(strokesOf(layout, '\n')).toEqual([{ code: 'Enter', held: 'none' }]);
    expect(strokesOf(layout, '\0')).toBeUndefined();
    expect(strokesOf(layout, '語')).toBeUndefined();
  });
});

test.each([
  ['us', 'z', [{ code: 'KeyZ', held: 'none' }]],
  ['us', '"', [{ code: 'Quote', held: 'ShiftLeft' }]],
  ['de', 'z', [{ code: 'KeyY', held: 'none' }]],
  ['de', '/', [{ code: 'Digit7', held: 'ShiftLeft' }]],
  ['de', '-', [{ code: 'Slash', held: 'none' }]],
  ['de', '@', [{ code: 'KeyQ', held: 'AltRight' }]],
  ['de', '|', [{ code: 'IntlBackslash', held: 'AltRight' }]],
  ['de', '^', [{ code: 'Backquote', held: 'none' }, { code: 'Space', held: 'none' }]],
  ['fr', 'a', [{ code: 'KeyQ', held: 'none' }]],
  ['fr', '1', [{ code: 'Digit1', held: 'ShiftLeft' }]],
  ['fr', 'M', [{ code: 'Semicolon', held: 'ShiftLeft' }]],
  ['fr', '~', [{ code: 'Digit2', held: 'AltRight' }]],
  ['fr', '^', [{ code: 'Digit9', held: 'AltRight' }]],
  ['fr', '¨', [{ code: 'BracketLeft', held: 'ShiftLeft' }, { code: 'Space', held: 'none' }]],
  ['gb', '#', [{ code: 'Backslash', held: 'none' }]],
] as const)('in %s %s is written by %j', (layout, character, strokes) => {
  expect(strokesOf(layout, character)).toEqual(strokes);
});

test('a log is marked where each step is told first, at the beginning of its line', () => {
  const log = 'SeaBIOS (version 1)\nBooting from disk\n[ 0.0] Linux version 6\n[ 1.0] systemd[1]: hello\nlogin: tests\nDebian 12 web ttyS0\n\nweb login: ';
  expect(marksIn(log).map(({ step, at }) => [step, log.slice(at).split('\n')[0]])).toEqual([
    ['firmware', 'SeaBIOS (version 1)'], ['kernel', '[ 0.0] Linux version 6'], ['user-space', '[ 1.0] systemd[1]: hello'], ['login', 'login: tests'],
  ]);
  expect(marksIn('web login: ')).toEqual([{ step: 'login', at: 0 }]);
  expect(marksIn('')).toEqual([]);
});

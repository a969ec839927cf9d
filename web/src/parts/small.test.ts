import { describe, expect, test } from 'vitest';

import { streamAddress } from '../consoles/address';
import { keysymOf } from '../consoles/keysyms';
import { End, marked, withoutEscapes } from '../consoles/log-text';
import { leavesConsole } from '../consoles/leave';
import { endOf, fromWholeLine, latestPod } from '../consoles/log-source';
import { destination, keyInFragment, toldSecret } from '../session/link';
import { endCommand, shortBrowser } from '../session/sessions';
import { classesOf } from '../theme/theme';
import { age, bytes, duration, quantity } from '../words/measures';
import { plural, pseudo, speak, t } from '../words/words';
import { leftBy } from './cure-outcome';
import { confirms, meaning, takesKeys } from './keys';
import { oneAtATime } from './one-at-a-time';

describe('words', () => {
  test('placeholders are filled, unknown ones stay', () => {
    expect(t('{name} has {n} of {what}', { name: 'vm', n: 1200 })).toBe('vm has 1,200 of {what}');
  });

  test('a value is never read as a placeholder again', () => {
    expect(t('{a}', { a: '{b}', b: 'x' })).toBe('{b}');
  });

  test.each([[1, '1 machine'], [2, '2 machines'], [0, '0 machines']])('%i is told as %s', (count, wanted) => {
    expect(plural(count, '{count} machine', '{count} machines')).toBe(wanted);
  });

  test('a language says its own words, and English where it has none', () => {
    speak('de', { Start: 'Starten' });
    expect([t('Start'), t('Stop')]).toEqual(['Starten', 'Stop']);
    speak('en', {});
  });

  test('the pseudo-language keeps placeholders and is longer', () => {
    expect(pseudo('Start {name}')).toMatch(/^\[Stárt \{name\}~+\]$/);
  });
});

test.each([['512Mi', 536_870_912], ['1.5G', 1.5e9], ['250m', 0.25], ['1e3', 1000], ['2', 2], ['1Zi', undefined], ['', undefined]])('the quantity %s is %s', (text, wanted) => {
  expect(quantity(text)).toBe(wanted);
});

test.each([[512, '512 B'], [1536, '1.5 KiB'], [25_232_932_864, '23.5 GiB']])('%i bytes are %s', (count, wanted) => {
  expect(bytes(count)).toBe(wanted);
});

test.each([[0.42, '0.4 s'], [41, '41 s'], [72, '1 min 12 s'], [3600, '1 h'], [190_000, '2 d 4 h'], [-3, '0 s']])('%d seconds are %s', (seconds, wanted) => {
  expect(duration(seconds)).toBe(wanted);
});

test.each([['2026-11-23T00:00:00Z', '100s'], ['2026-11-22T00:00:00Z', '24h'], [undefined, '–'], ['2027-01-01T00:00:00Z', '0s']])('the age of %s is %s', (time, wanted) => {
  expect(age(time, Date.parse('2026-11-23T00:01:40Z'))).toBe(wanted);
});

describe('keys', () => {
  test.each([
    ['', 'g', { type: 'wait', first: 'g' }],
    ['g', 'v', { type: 'go', to: '/machines' }],
    ['g', 'z', { type: 'none' }],
    ['', '?', { type: 'help' }],
    ['', '/', { type: 'filter' }],
    ['', 'c', { type: 'create' }],
    ['', 'v', { type: 'none' }],
  ])('%s then %s', (first, key, wanted) => {
    expect(meaning(first, key)).toEqual(wanted);
  });

  test('are not shortcuts where somebody types', () => {
    const element = (tagName: string, inConsole = false) => ({ tagName, closest: () => (inConsole ? {} : null) });
    expect([takesKeys(null), takesKeys(element('A')), takesKeys(element('INPUT')), takesKeys(element('DIV', true))]).toEqual([false, false, true, true]);
  });

  test('only all four leave a console', () => {
    const all = { key: 'Escape', ctrlKey: true, altKey: true, shiftKey: true };
    expect([leavesConsole(all), leavesConsole({ ...all, shiftKey: false })]).toEqual([true, false]);
  });
});

describe('the login', () => {
  test('knows that the address before had a secret in it', () => {
    expect([toldSecret('#secret-in-address'), toldSecret('#otk=a'), toldSecret('')]).toEqual([true, false, false]);
  });

  test.each([['#otk=abc', 'abc'], ['#otk=', undefined], ['', undefined], ['#other=1', undefined]])('the key in %s is %s', (fragment, wanted) => {
    expect(keyInFragment(fragment)).toBe(wanted);
  });

  test.each([['/machines?q=a', '/machines?q=a'], ['https://evil.example', '/overview'], ['//evil.example', '/overview'], ['/\\evil.example', '/overview'], ['/login', '/overview'], [undefined, '/overview']])('%s leads to %s', (wanted, leads) => {
    expect(destination(wanted)).toBe(leads);
  });
});

describe('sessions', () => {
  test.each([
    ['Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/156.0.0.0 Safari/537.36', 'Chrome 156, Linux'],
    ['Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/155.0.0.0 Safari/537.36 Edg/155.0.0.0', 'Edge 155, Windows'],
    ['Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0', 'Firefox 145, Linux'],
    ['Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1', 'Safari 18, iOS'],
    ['Lynx/2.9 <b>', 'Lynx/2.9 <b>'],
    ['', ''],
  ])('%s is %s', (words, wanted) => {
    expect(shortBrowser(words)).toBe(wanted);
  });

  test('are ended by one command', () => {
    expect(endCommand(['ab', 'cd'])).toBe('anyvirt web --revoke ab --revoke cd');
  });
});

test('a stream has the address of the page, encrypted where the page is', () => {
  const place = { protocol: 'https:', host: '127.0.0.1:6443' };
  expect(streamAddress(place, 'demo', 'vm', 'vnc')).toBe('wss://127.0.0.1:6443/apis/subresources.kubevirt.io/v1/namespaces/demo/virtualmachineinstances/vm/vnc');
  expect(streamAddress({ ...place, protocol: 'http:' }, 'demo', 'vm', 'console')).toMatch(/^ws:.*\/console$/);
});

test.each([['a', 0x61], ['ä', 0xe4], ['€', 0x0100_20ac], ['\n', 0xff0d]])('the keysym of %s', (character, keysym) => {
  expect(keysymOf(character)).toBe(keysym);
});

describe('the log', () => {
  test('has nothing of what only a terminal understands', () => {
    expect(withoutEscapes('\u001b[1;32mok\u001b[0m\r\n\u001b]0;title\u0007a\u001b]52;c;ZXZpbA==\u001b\\b\u0000\u0008c\rd')).toBe('ok\nabc\nd');
  });

  test('marks what is searched for, whatever its case', () => {
    expect(marked('Linux linux', 'LINUX').map(({ text, isFound }) => (isFound ? `<${text}>` : text)).join('')).toBe('<Linux> <linux>');
    expect(marked('abc', '')).toEqual([{ text: 'abc', isFound: false }]);
  });
});

test.each([
  ['system', { dark: true, contrast: false }, { dark: true, contrast: false }],
  ['light', { dark: true, contrast: true }, { dark: false, contrast: false }],
  ['dark', { dark: false, contrast: false }, { dark: true, contrast: false }],
  ['high-contrast', { dark: true, contrast: false }, { dark: true, contrast: true }],
] as const)('the theme %s where the system wants %o', (theme, wants, wanted) => {
  expect(classesOf(theme, wants)).toEqual(wanted);
});

test('the log is of the pod that was made last', () => {
  const pod = (name: string, creationTimestamp: string) => ({ metadata: { name, creationTimestamp } });
  expect(latestPod([pod('old', '2026-01-01T00:00:00Z'), pod('new', '2026-01-02T00:00:00Z'), pod('older', '2025-01-01T00:00:00Z')])).toBe('new');
  expect(latestPod([])).toBeUndefined();
});

describe('a change is confirmed', () => {
  const press = { key: 'Enter', ctrlKey: true, metaKey: false, repeat: false };
  test.each([
    ['by Ctrl+Enter', press, true],
    ['by Command+Enter', { ...press, ctrlKey: false, metaKey: true }, true],
    ['not by Enter alone', { ...press, ctrlKey: false }, false],
    ['not by another key', { ...press, key: 'a' }, false],
    ['not by a key that is held since before', { ...press, repeat: true }, false],
  ])('%s', (_how, pressed, wanted) => {
    expect(confirms(pressed)).toBe(wanted);
  });
});

test('what is asked while a task runs is refused, and not done later', async () => {
  const run = oneAtATime();
  const done: string[] = [];
  let resolve = (): void => undefined;
  const first = run(async () => {
    await new Promise<void>((done) => { resolve = done; });
    done.push('first');
  });
  const task = (name: string) => (): Promise<void> => Promise.resolve(void done.push(name));
  expect(await run(task('second'))).toBe(false);
  resolve();
  expect(await first).toBe(true);
  expect(await run(task('third'))).toBe(true);
  expect(done).toEqual(['first', 'third']);
});

test('a task that fails lets the next one run', async () => {
  const run = oneAtATime();
  await expect(run(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(await run(() => Promise.resolve())).toBe(true);
});

describe('the end of a log', () => {
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
  const text = (of: Uint8Array): string => new TextDecoder().decode(of);
  test.each([
    [['ab', 'cd'], 'abcd'],
    [['abcd', 'efgh'], 'defgh'],
    [['ab', 'cdefghij'], 'fghij'],
    [['abcdefgh', ''], 'defgh'],
  ])('%j is at most five bytes: %s', (pieces, wanted) => {
    expect(text(pieces.map(bytes).reduce((end, piece) => endOf(end, piece, 5), bytes('')))).toBe(wanted);
  });

  test('begins with a whole line, or as it is where there is none', () => {
    expect([text(fromWholeLine(bytes('[1m cut\nwhole\nlogin: '))), text(fromWholeLine(bytes('one line')))]).toEqual(['whole\nlogin: ', 'one line']);
  });
});

describe('returns to the start of a line', () => {
  test.each([['a\r\nb', 'a\nb'], ['a\r\r\nb', 'a\nb'], ['a\rb', 'a\nb'], ['a\r\rb', 'a\n\nb'], ['\r', '\n']])('%j is %j', (raw, wanted) => {
    expect(withoutEscapes(raw)).toBe(wanted);
  });

  test('are many, and each is looked at once: this would not end otherwise', () => {
    const MANY = 2_000_000;
    expect(withoutEscapes('\r'.repeat(MANY)) === '\n'.repeat(MANY)).toBe(true);
    expect(withoutEscapes(`${'\r'.repeat(MANY)}\n`)).toBe('\n');
  });
});

test('of a log that goes on for ever the end is kept', () => {
  const end = new End(4);
  expect(end.text()).toBe('');
  for (const piece of ['ab', 'c', '', 'def']) end.add(piece);
  expect(end.text()).toBe('cdef');
  for (let piece = 0; piece < 1000; piece += 1) end.add('0123456789');
  end.add('x');
  expect([end.text(), end.text()]).toEqual(['789x', '789x']);
  expect(end.held).toBeLessThanOrEqual(8);
});

test.each([
  ['a trial that was refused', { code: 422 }, true, 'Nothing was changed', true],
  ['a trial without an answer', { code: 0 }, true, 'Nothing was changed', true],
  ['a change that was refused', { code: 409 }, false, 'Nothing was changed', true],
  ['a change whose answer was lost', { code: 0 }, false, 'It is not known whether this was done: close this and look again', false],
  ['a change that took too long', { code: 504 }, false, 'It is not known whether this was done: close this and look again', false],
])('%s leaves behind what is known of it', (_what, failure, isDry, title, isKnown) => {
  expect(leftBy(failure, isDry)).toEqual({ title, isKnown });
});

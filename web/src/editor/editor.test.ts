import { describe, expect, test } from 'vitest';

import { flawsIn } from './guard';
import { knownKeys, lettersApart, meant } from './known-keys';
import keysOfServer from './keys-of-server.json';
import { isNews, isSameWork, newsFor, onto } from './rebase';
import { ofYaml, toYaml } from './yaml-text';

const map = (data: string, name = 'kubevirt-config'): string => `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\n  namespace: openshift-cnv\ndata:\n${data}`;

/** The text with the first flaw's cure. */
function cured(text: string): string {
  const [flaw] = flawsIn(text);
  const fix = flaw?.fix;
  return fix === undefined ? text : text.slice(0, fix.from) + fix.insert + text.slice(fix.to);
}

describe('the guard against typos', () => {
  test('the line of the article is right', () => {
    expect(flawsIn(map('  debug.useEmulation: "true"\n'))).toEqual([]);
  });

  test('true without quotes is an error with a cure', () => {
    const text = map('  debug.useEmulation: true\n');
    expect(flawsIn(text)).toMatchObject([{ severity: 'error', message: 'Values of a ConfigMap are text: write "true".' }]);
    expect(cured(text)).toBe(map('  debug.useEmulation: "true"\n'));
  });

  test('a value that is missing is text too', () => {
    expect(flawsIn(cured(map('  debug.useEmulation:\n')))).toMatchObject([{ severity: 'warning' }]);
  });

  test.each(['debug.useEmulaton', 'debug.UseEmulation', 'useEmulation', 'debug.use-emulation'])('%s is probably the switch', (key) => {
    expect(cured(map(`  ${key}: "true"\n`))).toBe(map('  debug.useEmulation: "true"\n'));
  });

  test('a key that resembles none is left alone, and so are other ConfigMaps', () => {
    expect(flawsIn(map('  something.else: "x"\n'))).toEqual([]);
    expect(flawsIn(map('  useEmulation: "true"\n', 'mine'))).toEqual([]);
  });

  test('a value that the switch does not know is told', () => {
    expect(flawsIn(map('  debug.useEmulation: "yes"\n'))).toMatchObject([{ severity: 'warning', message: '"yes" is not understood here; write "true" / "false".' }]);
  });

  test('broken YAML and doubled keys are errors', () => {
    expect(flawsIn('a: [1').some(({ severity }) => severity === 'error')).toBe(true);
    expect(flawsIn(map('  a: "1"\n  a: "2"\n')).some(({ severity }) => severity === 'error')).toBe(true);
  });
});

test.each([['a', 'a', 0], ['useEmulation', 'useEmulaton', 1], ['', 'abc', 3], ['kitten', 'sitting', 3]])('%s and %s are %i letters apart', (a, b, apart) => {
  expect(lettersApart(a, b)).toBe(apart);
});

test('a known key is not corrected', () => {
  expect(meant('debug.useEmulation')).toBeUndefined();
});

describe('an object as YAML', () => {
  const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'm', namespace: 'n', resourceVersion: '5', managedFields: [{}] }, data: { on: 'true', port: '8080' } };

  test('has no managed fields, and text stays text', () => {
    const text = toYaml(object);
    expect(text).toBe('apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m\n  namespace: n\n  resourceVersion: "5"\ndata:\n  on: "true"\n  port: "8080"\n');
    expect(ofYaml(text)).toEqual({ object: { ...object, metadata: { name: 'm', namespace: 'n', resourceVersion: '5' } } });
  });

  test.each(['[]', 'kind: X', 'a: [', 'text', 'metadata: {name: a}\nb: *c'])('%s is none', (text) => {
    expect(ofYaml(text)).toHaveProperty('problem');
  });
});

describe('a change of an object that has gone on', () => {
  const base = { metadata: { name: 'vm', resourceVersion: '1', labels: { b: '2', a: '1' } }, status: { phase: 'Pending' } };

  test('is the same work if only status, version or order differ', () => {
    expect(isSameWork(base, { metadata: { labels: { a: '1', b: '2' }, name: 'vm', resourceVersion: '9' }, status: { phase: 'Running' } } as never)).toBe(true);
  });

  test('is another if a label differs', () => {
    expect(isSameWork(base, { metadata: { name: 'vm', labels: { a: '1' } } })).toBe(false);
  });

  test('goes onto the newer version', () => {
    expect(onto({ metadata: { name: 'vm', resourceVersion: '9' } }, base).metadata.resourceVersion).toBe('9');
  });
});

describe('what is watched is news', () => {
  const version = (resourceVersion: string, label = 'mine'): { metadata: { name: string; resourceVersion: string; labels: Record<string, string> } } => ({ metadata: { name: 'vm', resourceVersion, labels: { label } } });
  test.each([
    ['if it is newer and differs', version('10', 'theirs'), version('9'), true],
    ['not if only its version differs', version('10'), version('9'), false],
    ['not if it is older: what was applied has not come back yet', version('9', 'before'), version('10'), false],
    ['not if it is the same version', version('10', 'theirs'), version('10'), false],
    ['by number, not by letter', version('100', 'theirs'), version('99'), true],
    ['if versions are no numbers, and differ', version('b', 'theirs'), version('a'), true],
  ])('%s', (_when, object, base, wanted) => {
    expect(isNews(object, base)).toBe(wanted);
  });

  test.each([
    ['fills a form anew in which nothing would be lost', false, version('10', 'theirs'), 'take'],
    ['is only told while something would', true, version('10', 'theirs'), 'tell'],
    ['is none while only its status goes on', true, version('10'), 'none'],
    ['is none of a version that was written from here', false, version('8', 'before'), 'none'],
  ])('%s', (_what, isHeld, object, becomes) => {
    expect(newsFor(isHeld, object, version('9'))).toBe(becomes);
  });
});

test('the known keys are those that the server reads', () => {
  // crates/api/src/configuration/tests.rs writes the file.
  expect(knownKeys().map(({ key }) => key).sort()).toEqual(keysOfServer);
});

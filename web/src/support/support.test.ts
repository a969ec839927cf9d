import { afterEach, expect, test, vi } from 'vitest';

import type { Event } from '../kubevirt/event';
import type { Machine } from '../kubevirt/machine';
import { bundleOfMachine, fileNameOf } from './bundle';
import { LONGEST_TEXT, redacted, redactedText } from './redact';

afterEach(() => vi.unstubAllGlobals());

test.each([
  ['a password in a log', 'login with password: hunter2 failed', 'login with password: (redacted) failed'],
  ['a quoted one', 'db_password="two words" port=5', 'db_password=(redacted) port=5'],
  ['a field of JSON', '{"token": "abc", "port": 5}', '{"token": (redacted), "port": 5}'],
  ['a header', 'Authorization: Bearer abc.def', 'Authorization: Bearer (redacted)'],
  ['an address', 'pull https://alice:pa55@registry.example/x', 'pull https://alice:(redacted)@registry.example/x'],
  ['a key', 'a\n-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\nb', 'a\n(redacted)\nb'],
  ['a key whose end is cut off', '-----BEGIN PRIVATE KEY-----\nabc', '(redacted)'],
  ['a key whose beginning is cut off', 'abc\ndef\n-----END RSA PRIVATE KEY-----\nb', '(redacted)\nb'],
  ['a key whose beginning is cut off before a whole one', 'abc\n-----END PRIVATE KEY-----\n-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\nb', '(redacted)\n(redacted)\nb'],
  ['a name and password in a header', 'Authorization: Basic dXNlcjpwYXNz', 'Authorization: Basic (redacted)'],
  ['a header as JSON', '{"Authorization":"Basic dXNlcjpwYXNz"}', '{"Authorization":(redacted)}'],
  ['a header as Go prints it', 'Authorization:[Basic dXNlcjpwYXNz]', 'Authorization:[Basic (redacted)'],
  ['JSON within JSON', String.raw`{"m":"{\"password\":\"hunter2\"}"}`, String.raw`{"m":"{\"password\":(redacted)}"}`],
  ['JSON within JSON within JSON', String.raw`{"m":"{\"n\":\"{\\\"password\\\":\\\"hunter2 x\\\"}\"}"}`, String.raw`{"m":"{\"n\":\"{\\\"password\\\":(redacted)}\"}"}`],
  ['a hash of a password', '{"passwordHash":"$y$abc"}', '{"passwordHash":(redacted)}'],
  ['an argument of a command', 'login --password hunter2 --user alice', 'login --password (redacted) --user alice'],
  ['an argument with =', 'login --password=hunter2 --user alice', 'login --password=(redacted) --user alice'],
  ['an argument in a list', '["login", "--db-password", "hunter2", "x"]', '["login", "--db-password", (redacted), "x"]'],
  ['all of one with a quote in it', String.raw`password: "a\"b secretrest" port=5`, 'password: (redacted) port=5'],
  ['one whose closing quote is cut off', 'password: "two words', 'password: (redacted)'],
])('%s is left out', (_what, text, clean) => {
  expect(redactedText(text)).toBe(clean);
});

test.each([
  'the disk is full',
  'https://registry.example:5000/x',
  'secretName is not set',
  '-drive file=/dev/fdset/3,id=root',
  'passwordless: true',
  'login --passwordless --user alice',
  'login --password-file /run/password',
  'the password was changed, the old password is no longer valid',
  'no token was sent with the request',
  'authorization by a certificate is not set up',
  '-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----',
  String.raw`{"m":"{\"port\":\"5\"}"}`,
])('%s stays', (text) => {
  expect(redactedText(text)).toBe(text);
});

test('a long text keeps its beginning and its end, and says how much is left out', () => {
  const kept = redactedText(`the beginning${'a'.repeat(LONGEST_TEXT)}the end`);
  expect(kept.startsWith('the beginninga')).toBe(true);
  expect(kept.endsWith('athe end')).toBe(true);
  expect(kept).toContain('a\n(20 characters are left out here)\na');
  expect(kept.length).toBeLessThan(LONGEST_TEXT + 60);
});

test('what a guest is set up with, and every field that holds a secret, is left out of objects', () => {
  const object = {
    metadata: { name: 'a', managedFields: [{}], annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{"userData":"x"}', 'kubevirt.io/ignitiondata': '{}', note: 'kept' } },
    spec: {
      passwordless: 'yes',
      volumes: [{ name: 'cloudinit', cloudInitNoCloud: { userData: '#cloud-config', networkDataBase64: 'abcd', secretRef: { name: 'mine' } } }],
      containers: [{ env: [{ name: 'DB_PASSWORD', value: 'x' }, { name: 'HOME', value: '/root' }], args: ['--password', 'x', '--user', 'y'], httpHeaders: [{ name: 'Authorization', value: 'x' }] }],
      sysprep: { secret: { name: 'y' } },
    },
  };
  expect(redacted(object)).toEqual({
    metadata: { name: 'a', annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '(redacted) 16 characters', 'kubevirt.io/ignitiondata': '(redacted) 2 characters', note: 'kept' } },
    spec: {
      passwordless: 'yes',
      volumes: [{ name: 'cloudinit', cloudInitNoCloud: { userData: '(redacted) 13 characters', networkDataBase64: '(redacted) 4 characters', secretRef: { name: 'mine' } } }],
      containers: [{ env: [{ name: 'DB_PASSWORD', value: '(redacted) 1 characters' }, { name: 'HOME', value: '/root' }], args: ['--password', '(redacted) 1 characters', '--user', 'y'], httpHeaders: [{ name: 'Authorization', value: '(redacted) 1 characters' }] }],
      sysprep: { secret: { name: '(redacted) 1 characters' } },
    },
  });
});

const MACHINE: Machine = {
  vm: { metadata: { name: 'web', namespace: 'demo', uid: 'vm-uid' }, spec: {} },
  vmi: { metadata: { name: 'web', namespace: 'demo', uid: 'vmi-uid' }, spec: { domain: { devices: {} } }, status: { nodeName: 'node-1' } },
};

/** Answers by path, or to what is asked of it; everything else may not be read. */
function serve(answers: Record<string, unknown>): string[] {
  const asked: string[] = [];
  vi.stubGlobal('fetch', (address: string): Promise<Response> => {
    const { pathname, searchParams } = new URL(address, 'https://localhost');
    asked.push(pathname);
    if (!(pathname in answers)) return Promise.resolve(Response.json({ kind: 'Status', code: 403, reason: 'Forbidden', message: `you may not get ${pathname}` }, { status: 403 }));
    const known = answers[pathname];
    const answer = typeof known === 'function' ? (known as (query: URLSearchParams) => unknown)(searchParams) : known;
    return Promise.resolve(typeof answer === 'string' ? new Response(answer) : Response.json(answer));
  });
  return asked;
}

/** Events as the server serves them: by what their selector says of whom they are about, a page at a time. */
function selected(events: readonly Event[]): (query: URLSearchParams) => unknown {
  return (query) => {
    const [, field, wanted] = /^involvedObject\.(name|kind)=(.+)$/.exec(query.get('fieldSelector') ?? '') ?? [];
    const found = events.filter(({ involvedObject: about }) => field === undefined || about[field as 'name' | 'kind'] === wanted);
    const from = Number(query.get('continue') ?? 0);
    const next = from + Number(query.get('limit'));
    return { metadata: next < found.length ? { continue: String(next) } : {}, items: found.slice(from, next) };
  };
}

/** Many events about pods of other machines. */
function others(count: number): Event[] {
  return Array.from({ length: count }, (_, index) => ({ metadata: { name: `a${index}` }, involvedObject: { kind: 'Pod', name: 'virt-launcher-other-abcde', uid: 'o' } }));
}

/** A cluster in which the machine's pod is in a phase, and most else may not be read. */
function cluster(phase: string): string[] {
  const about = (kind: string, name: string, uid: string): Event => ({ metadata: { name }, involvedObject: { kind, name, uid }, message: 'password=x', lastTimestamp: name });
  return serve({
    '/version': { gitVersion: 'v1' },
    '/apis/kubevirt.io/v1/namespaces/demo/virtualmachines/web': { metadata: { name: 'web' }, spec: { userData: 'x' } },
    '/api/v1/namespaces/demo/events': selected([about('VirtualMachine', 'web', 'vm-uid'), about('Pod', 'other', 'o'), about('Pod', 'virt-launcher-web-abcde', 'p')]),
    '/api/v1/namespaces/demo/pods': { metadata: {}, items: [{ metadata: { name: 'virt-launcher-web-abcde' }, status: { phase } }] },
    '/api/v1/namespaces/demo/pods/virt-launcher-web-abcde/log': 'QEMU starts token=abc',
  });
}

test('a bundle has what may be read, names the rest with the reason, and asks for no secret', async () => {
  const asked = cluster('Running');
  const { parts, missing } = await bundleOfMachine(MACHINE, 'alice', false, new AbortController().signal);
  expect(parts['virtualMachine']).toEqual({ metadata: { name: 'web' }, spec: { userData: '(redacted) 1 characters' } });
  expect((parts['events'] as Event[]).map(({ involvedObject, message }) => `${involvedObject.name} ${message}`)).toEqual(['web password=(redacted)', 'virt-launcher-web-abcde password=(redacted)']);
  expect(parts['launcherLog']).toBe('QEMU starts token=(redacted)');
  expect(missing['node']).toBe('you may not get /api/v1/nodes/node-1');
  expect(Object.keys(parts)).not.toContain('serialLog');
  expect(asked.filter((path) => path.includes('secrets'))).toEqual([]);
});

const OWN_EVENTS: readonly Event[] = [
  { metadata: { name: 'b' }, involvedObject: { kind: 'VirtualMachineInstance', name: 'web', uid: 'vmi-uid' } },
  { metadata: { name: 'c' }, involvedObject: { kind: 'Pod', name: 'virt-launcher-web-abcde', uid: 'p' } },
];
const EVENTS = '/api/v1/namespaces/demo/events';

test('the events of a machine are found behind those of many others, also of one whose name begins alike', async () => {
  const alike: Event = { metadata: { name: 'd' }, involvedObject: { kind: 'Pod', name: 'virt-launcher-web-2-abcde', uid: 'q' } };
  serve({ [EVENTS]: selected([...others(1200), alike, ...OWN_EVENTS]) });
  const { parts, missing } = await bundleOfMachine(MACHINE, 'alice', false, new AbortController().signal);
  expect((parts['events'] as Event[]).map(({ metadata }) => metadata.name)).toEqual(['b', 'c']);
  expect(missing['events']).toBeUndefined();
});

test('a list of which a bundle has only the beginning is told as missing its rest', async () => {
  serve({ [EVENTS]: selected([...others(5001), ...OWN_EVENTS]) });
  const { parts, missing } = await bundleOfMachine(MACHINE, 'alice', false, new AbortController().signal);
  expect((parts['events'] as Event[]).map(({ metadata }) => metadata.name)).toEqual(['b']);
  expect(missing['events']).toBe('only the first 5000 events with involvedObject.kind=Pod were read: there are more');
});

const POD = { metadata: { name: 'virt-launcher-web-abcde' }, status: { phase: 'Running' } };

/** A launcher's log, as much of it as is asked for. */
function logged(log: string): (query: URLSearchParams) => string {
  return (query) => log.split('\n').slice(-Number(query.get('tailLines') ?? Infinity)).join('\n').slice(0, Number(query.get('limitBytes') ?? Infinity));
}

test.each([
  ['many lines', 'a line\n'.repeat(3000)],
  ['many bytes', `${'a'.repeat(1000)}\n`.repeat(300)],
])("QEMU's command line, with which a log begins, is there before %s, and so is the end", async (_what, between) => {
  serve({
    '/api/v1/namespaces/demo/pods': { metadata: {}, items: [POD] },
    '/api/v1/namespaces/demo/pods/virt-launcher-web-abcde/log': logged(`QEMU's command line program="qemu"\n${between}the end`),
  });
  const { parts, missing } = await bundleOfMachine(MACHINE, 'alice', false, new AbortController().signal);
  expect(parts['launcherLog']).toMatch(/^QEMU's command line program="qemu"\n[^]*the end$/);
  expect(missing['launcherLog']).toBeUndefined();
});

test("a log whose beginning the launcher let go is told as missing QEMU's command line", async () => {
  serve({
    '/api/v1/namespaces/demo/pods': { metadata: {}, items: [POD] },
    '/api/v1/namespaces/demo/pods/virt-launcher-web-abcde/log': logged(`${'a line\n'.repeat(20_000)}the end`),
  });
  const { parts, missing } = await bundleOfMachine(MACHINE, 'alice', false, new AbortController().signal);
  expect(parts['launcherLog']).toMatch(/the end$/);
  expect(missing['launcherLog']).toBe("QEMU's command line is not in it: the launcher keeps only the latest of what it logs");
});

test('a launcher that has not started is not asked for its log', async () => {
  const asked = cluster('Pending');
  const { parts } = await bundleOfMachine(MACHINE, 'alice', false, new AbortController().signal);
  expect(parts['launcherLog']).toBe('');
  expect(asked.filter((path) => path.endsWith('/log'))).toEqual([]);
});

test('a bundle is not made further when it is no longer wanted', async () => {
  const stop = new AbortController();
  vi.stubGlobal('fetch', () => {
    stop.abort();
    return Promise.reject(stop.signal.reason as Error);
  });
  await expect(bundleOfMachine(MACHINE, 'alice', false, stop.signal)).rejects.toThrow(/abort/i);
});

test('the file is named by what it is about, and when it was made', () => {
  const bundle = { kind: 'SupportBundle' as const, madeAt: '2026-11-23T08:09:10.123Z', madeBy: 'alice', parts: {}, missing: {} };
  expect(fileNameOf({ ...bundle, about: 'VirtualMachine demo/web' })).toBe('anyvirt-support-demo_web-2026-11-23-08-09-10.json');
  expect(fileNameOf({ ...bundle, about: 'cluster' })).toBe('anyvirt-support-cluster-2026-11-23-08-09-10.json');
});

// Words of guests, and of whoever may write objects, that would be code: shown as text, wherever they come out. And what
// a person sees whose link, session or address is not taken. The server's own answers are tested beside it
// (crates/anyvirt/src/console/tests/attacks.rs). The machine of ANYVIRT_MACHINE runs (after `journey`).
import assert from 'node:assert/strict';

import { ask, complaints, complaintsIn, drawn, launch, newLink, open, PATIENCE } from './browser.mjs';

const [namespace, name] = (process.env.ANYVIRT_MACHINE ?? 'default/fedora-1').split('/');
const MACHINE = `/machines/${namespace}/${name}`;
/** Would run if anything took it for HTML. */
const MARKUP = '<img src=x onerror="window.ran=1"><script>window.ran=2</script><a href="javascript:window.ran=3">here</a>';
const NAME = `attacks-${Date.now().toString(36)}`;
const VMS = '/apis/kubevirt.io/v1/namespaces/default/virtualmachines';

export async function attacks(browser, session) {
  const refused = [VMS, '/api/v1/namespaces'].map((path) => ({ path: new RegExp(path), status: 422 }));
  const visitor = await open(browser, session, { expected: refused });
  await canary(visitor);
  await names(visitor);
  await objects(visitor);
  await poisoned(visitor);
  await echoed(visitor);
  await streamed(visitor);
  assert.deepEqual(visitor.faults, []);
  await visitor.close();
  await logins(browser, session);
  await twoTabs(browser);
  await otherSites(browser, session);
  await otherName(session);
}

/** Nothing of what is shown has run, was tried, or became more than text. */
async function harmless({ page, faults }, where) {
  await drawn(page);
  const found = await page.evaluate(() => ({
    ran: window.ran,
    violations: window.violations,
    made: document.querySelectorAll('img[src="x"], a[href^="javascript:"], [onerror], body script:not([src])').length,
    title: document.title,
  }));
  assert.deepEqual({ ...found, title: '' }, { ran: undefined, violations: [], made: 0, title: '' }, where);
  assert.doesNotMatch(found.title, /stolen/, where);
  assert.deepEqual(faults, [], where);
}

/** What would be wrong is noticed: an element made of a guest's words. */
async function canary({ page, goto }) {
  await goto('/settings');
  await page.evaluate(() => {
    const made = document.createElement('a');
    made.setAttribute('href', 'javascript:window.ran=3');
    document.body.append(made);
  });
  await assert.rejects(harmless({ page, faults: [] }, 'canary'), /made: 1/);
}

/** Goes to a page, waits for words on it, and looks what became of them. */
async function shows(visitor, path, words = 'onerror="window.ran=1"') {
  await visitor.goto(path);
  await visitor.page.locator('main').getByText(words).first().waitFor();
  await harmless(visitor, path);
}

function machine(change) {
  const spec = { domain: { devices: {}, memory: { guest: '64Mi' } } };
  return { apiVersion: 'kubevirt.io/v1', kind: 'VirtualMachine', metadata: { name: NAME, namespace: 'default' }, spec: { runStrategy: 'Halted', template: { spec } }, ...change };
}

async function names({ page, goto, refusals }) {
  console.log('names and labels that are markup are refused');
  await goto('/settings');
  for (const metadata of [{ name: MARKUP }, { name: NAME, labels: { note: MARKUP } }, { name: NAME, labels: { [MARKUP]: 'a' } }]) {
    const { code, body } = await ask(page, 'POST', VMS, machine({ metadata: { namespace: 'default', ...metadata } }));
    assert.equal(code, 422, JSON.stringify(body));
  }
  assert.equal((await ask(page, 'POST', '/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: MARKUP } })).code, 422);
  assert.equal(refusals.length, 4);
}

async function objects(visitor) {
  console.log('annotations, values, messages and cloud-init that are markup are shown as text');
  const { page, goto } = visitor;
  const about = { apiVersion: 'kubevirt.io/v1', kind: 'VirtualMachine', namespace: 'default', name: NAME };
  const time = new Date().toISOString();
  const userData = `#cloud-config\n# ${MARKUP}\n`;
  const volumes = [{ name: 'init', cloudInitNoCloud: { userData } }];
  const domain = { devices: { disks: [{ name: 'init', disk: { bus: 'virtio' } }] }, memory: { guest: '64Mi' } };
  for (const [path, object] of [
    [VMS, machine({ metadata: { name: NAME, namespace: 'default', annotations: { note: MARKUP } }, spec: { runStrategy: 'Halted', template: { metadata: { annotations: { note: MARKUP } }, spec: { domain, volumes } } } })],
    ['/api/v1/namespaces/default/configmaps', { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: NAME, namespace: 'default', annotations: { note: MARKUP } }, data: { key: MARKUP } }],
    ['/api/v1/namespaces/default/events', { apiVersion: 'v1', kind: 'Event', metadata: { name: NAME, namespace: 'default' }, involvedObject: about, reason: 'Attack', message: MARKUP, type: 'Warning', source: { component: MARKUP }, firstTimestamp: time, lastTimestamp: time, count: 1 }],
  ]) {
    const { code, body } = await ask(page, 'POST', path, object);
    assert.equal(code, 201, JSON.stringify(body));
  }
  await shows(visitor, `/machines/default/${NAME}`);
  await shows(visitor, `/machines/default/${NAME}?tab=events`);
  await shows(visitor, `/machines/default/${NAME}?tab=yaml`, 'onerror=');
  await goto(`/machines/default/${NAME}?tab=configuration`);
  await page.getByLabel('Run strategy').waitFor();
  await harmless(visitor, 'configuration');
  await shows(visitor, `/k8s/ns/default/configmaps/${NAME}`);
  await shows(visitor, `/k8s/ns/default/configmaps/${NAME}?tab=yaml`, 'onerror=');
  await shows(visitor, '/events?q=Attack');
}

/** Texts that no rule of the API bounds, or that guests and nodes tell: there is no telling what is in them. */
const TEXTS = new Set(['message', 'reason', 'image', 'nodeName', 'kernelVersion', 'osImage', 'hostname', 'prettyName', 'mac', 'linkState', 'interfaceName', 'label', 'trouble', 'text', 'operatorVersion', 'launcherContainerImageVersion', 'component', 'value', 'from', 'model', 'target', 'printableStatus']);

function poison(value, key) {
  if (Array.isArray(value)) return value.map((one) => poison(one, key));
  if (typeof value === 'string') return TEXTS.has(key) ? `${value}${MARKUP}` : value;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([inner, one]) => [inner, poison(one, ['labels', 'annotations', 'data'].includes(key) && typeof one === 'string' ? 'text' : inner)]));
}

async function poisoned(visitor) {
  console.log('and so is everything that guests, nodes and the server itself tell');
  const { page, goto } = visitor;
  const lists = /\/(virtualmachines|virtualmachineinstances|nodes|events|kubevirts|configmaps)\?/;
  const answers = /\/console\/api\/explain/;
  await page.route(lists, async (route) => {
    if (new URL(route.request().url()).searchParams.has('watch')) return undefined;
    const answer = await route.fetch();
    return route.fulfill({ response: answer, json: poison(await answer.json()) });
  });
  await page.route(answers, (route) => route.fulfill({ json: { cause: MARKUP, evidence: [{ source: MARKUP, text: MARKUP }], cures: [{ title: MARKUP, effect: MARKUP, cost: MARKUP, command: MARKUP }] } }));
  const tabs = ['', '?tab=events', '?tab=snapshots', '?tab=metrics', '?tab=diagnostics', '?tab=configuration'];
  for (const path of ['/overview', '/machines', `/machines?beside=${namespace}%2F${name}`, ...tabs.map((tab) => MACHINE + tab), '/images', '/nodes', '/events', '/settings', '/k8s/ns/openshift-cnv/configmaps/kubevirt-config']) {
    await goto(path);
    await page.locator('main h1').first().waitFor();
    await page.waitForFunction(() => document.querySelector('.pf-v6-c-spinner, .pf-v6-c-skeleton') === null);
    await harmless(visitor, `${path}, poisoned`);
  }
  await page.unroute(lists);
  await page.unroute(answers);
}

const terminal = (page, words) => page.waitForFunction((wanted) => (document.querySelector('.xterm-accessibility-tree, .xterm-rows')?.textContent ?? '').replaceAll('\u00a0', ' ').includes(wanted), words);

async function echoed(visitor) {
  console.log('a guest prints markup: its serial console and its log show it');
  const { page, goto } = visitor;
  await goto(`${MACHINE}?tab=console&view=serial`);
  await page.locator('[data-console="serial"][data-state="open"]').waitFor();
  // Whatever waits for a name of a user echoes it.
  const typed = '<img src=x onerror=window.ran=4>';
  await page.locator('[data-console="serial"] textarea').focus();
  await page.keyboard.type(typed);
  await terminal(page, 'onerror=window.ran=4');
  await page.keyboard.press('Control+U');
  await harmless(visitor, 'serial');
  await shows(visitor, `${MACHINE}?tab=console&view=log`, 'onerror=window.ran=4');
}

const ESCAPE = '\u001b';
const BELL = '\u0007';
/** What terminals have been made to do by what they were to show. */
const SEQUENCES = [
  `${ESCAPE}]0;stolen title${BELL}`,
  `${ESCAPE}]2;stolen title${ESCAPE}\\`,
  `${ESCAPE}]52;c;${Buffer.from('stolen clipboard').toString('base64')}${BELL}`,
  `${ESCAPE}]8;;https://192.0.2.1/stolen${ESCAPE}\\click here${ESCAPE}]8;;${ESCAPE}\\\r\n`,
  `${ESCAPE}]8;;javascript:window.ran=5${BELL}or here${ESCAPE}]8;;${BELL}\r\n`,
  `${ESCAPE}]1337;File=inline=1:${Buffer.from(MARKUP).toString('base64')}${BELL}`,
  `${MARKUP}\r\n`,
  'https://192.0.2.1/plain\r\n',
  'the end\r\n',
];

async function streamed(visitor) {
  console.log('sequences that set titles, fill clipboards or make links do nothing');
  const { page, goto } = visitor;
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  const opened = [];
  page.context().on('page', (one) => opened.push(one.url()));
  const log = /\/virtualmachineinstances\/[^/]+\/log\?/;
  await page.route(log, (route) => route.fulfill({ contentType: 'text/plain', body: SEQUENCES.join('') }));
  await page.routeWebSocket(/\/console$/, (socket) => { for (const one of SEQUENCES) socket.send(Buffer.from(one)); });
  await goto(`${MACHINE}?tab=console&view=serial`);
  await page.evaluate(() => navigator.clipboard.writeText('untouched'));
  await page.locator('[data-console="serial"][data-state="open"]').waitFor();
  await terminal(page, 'the end');
  for (const words of ['click here', 'or here', 'https://192.0.2.1/plain']) {
    const at = await page.locator('.xterm-accessibility-tree').getByText(words).last().boundingBox();
    await page.mouse.click(at.x + 20, at.y + at.height / 2);
    await page.mouse.click(at.x + 20, at.y + at.height / 2, { modifiers: ['Control'] });
  }
  await harmless(visitor, 'sequences');
  assert.equal(await page.locator('[data-console="serial"] a').count(), 0);
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), 'untouched');
  await shows(visitor, `${MACHINE}?tab=console&view=log`, 'the end');
  assert.equal(await page.locator('[data-console="log"] *').count(), 0);
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), 'untouched');
  assert.deepEqual(opened, []);
  await page.unroute(log);
}

/** A browser that nobody is logged in with, at an address; what is wrong with the login in any theme. */
async function stranger(browser, origin, address, words) {
  const visitor = await open(browser, { origin }, { expected: [{ path: /\/console\/api\/(session|login)/, status: 401 }] });
  await visitor.page.goto(address);
  await visitor.page.getByText(words).waitFor();
  const wrong = await complaints(visitor.page);
  for (const theme of ['dark', 'high-contrast']) wrong.push(...(await complaintsIn(visitor.page, theme)));
  assert.deepEqual([...wrong, ...visitor.faults], [], words);
  return visitor;
}

async function logins(browser, { origin }) {
  console.log('who comes with a secret in the address, or a link that was used, is told what to do');
  const told = await stranger(browser, origin, `${origin}/console/machines?token=secret`, 'A token or key in the address is never accepted.');
  assert.doesNotMatch(told.page.url(), /secret=|token=/);
  await told.page.getByLabel('Or a token').fill('a guess');
  await told.page.getByRole('button', { name: 'Log in' }).click();
  await told.page.getByText('This token is not accepted.').waitFor();
  await told.close();
  const link = await newLink();
  const first = await open(browser, { origin }, { expected: [{ path: /\/console\/api\/session/, status: 401 }] });
  await first.page.goto(link);
  await first.page.waitForURL('**/console/overview');
  await first.close();
  const late = await stranger(browser, origin, link, 'This link was used already, or is too old. Type "anyvirt web" for a new one.');
  assert.doesNotMatch(late.page.url(), /otk=/);
  await late.close();
}

async function twoTabs(browser) {
  console.log('who has logged in anew in another tab is told so, and may go on');
  const wrong = { path: /\/api\/v1\/namespaces\/openshift-cnv\/configmaps\/.*/, status: 403 };
  const { origin } = new URL(await newLink());
  const visitor = await open(browser, { origin }, { expected: [wrong, { path: /\/console\/api\/session/, status: 401 }] });
  const { page, goto } = visitor;
  await page.goto(await newLink());
  await page.waitForURL('**/console/overview');
  await goto('/k8s/ns/openshift-cnv/configmaps/kubevirt-config?tab=yaml');
  const editor = page.locator('[data-editor="yaml"] .cm-content');
  await editor.getByText('metadata:', { exact: true }).first().click();
  await page.keyboard.press('End');
  await page.keyboard.insertText('\n  labels:\n    by: attacks');
  // As another tab does that has just logged out: faster than this one's streams notice it.
  const key = new URL(await newLink()).hash.replace('#otk=', '');
  const entered = await page.evaluate((link) => fetch('/console/api/login', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ link }) }).then(({ status }) => status), key);
  assert.equal(entered, 200);
  await page.getByRole('button', { name: 'Review changes' }).click();
  await page.getByText('Somebody has logged in anew in this browser').waitFor();
  await page.getByRole('button', { name: 'Review changes' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Apply' }).waitFor();
  assert.deepEqual(visitor.faults, []);
  await visitor.close();
}

/** A page of another site, and one of another server of this machine, to which the browser sends the same cookies. */
const SITES = ['https://evil.example/', 'https://127.0.0.1:44444/'];

async function otherSites(browser, session) {
  console.log("another site's page gets nothing and changes nothing");
  const context = await browser.newContext({ ignoreHTTPSErrors: true, storageState: session.state });
  for (const site of SITES) {
    const page = await context.newPage();
    await page.route(site, (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>evil</title>' }));
    await page.goto(site);
    const told = await page.evaluate(async ([origin, socket]) => {
      const read = await fetch(`${origin}/api/v1/namespaces`, { credentials: 'include' }).then(() => 'read', () => 'refused');
      const body = JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'evil' } });
      // A page never learns what became of this.
      await fetch(`${origin}/api/v1/namespaces/default/configmaps`, { method: 'POST', mode: 'no-cors', credentials: 'include', body }).catch(() => undefined);
      const stream = await new Promise((done) => {
        const opened = new WebSocket(socket, ['plain.kubevirt.io']);
        opened.onopen = () => done('opened');
        opened.onerror = () => done('refused');
      });
      return { read, stream };
    }, [session.origin, `${session.origin.replace('https', 'wss')}/apis/subresources.kubevirt.io/v1/namespaces/${namespace}/virtualmachineinstances/${name}/console`]);
    assert.deepEqual(told, { read: 'refused', stream: 'refused' }, site);
  }
  await context.close();
  const visitor = await open(browser, session);
  await visitor.goto('/settings');
  const { body } = await ask(visitor.page, 'GET', '/api/v1/namespaces/default/configmaps');
  assert.ok(body.items.length > 0 && body.items.every(({ metadata }) => metadata.name !== 'evil'));
  for (const path of [`${VMS}/${NAME}`, `/api/v1/namespaces/default/configmaps/${NAME}`, `/api/v1/namespaces/default/events/${NAME}`]) {
    assert.equal((await ask(visitor.page, 'DELETE', path)).code, 200, path);
  }
  await visitor.close();
}

/** A name that an attacker lets resolve to this machine: for a browser it is a site like any other. */
async function otherName(session) {
  console.log('under a name that is not its own the server logs nobody in, and says where to go');
  const rebound = session.origin.replace('127.0.0.1', 'rebound.example');
  const browser = await launch('--host-resolver-rules=MAP rebound.example 127.0.0.1');
  const { page, faults, close } = await open(browser, { origin: rebound }, { expected: [401, 403].map((status) => ({ path: /\/console\/api\/(session|login)/, status })) });
  const link = (await newLink()).replace('127.0.0.1', 'rebound.example');
  await page.goto(link, { timeout: PATIENCE });
  await page.getByText('is no name of this server').waitFor();
  await page.getByText('open the console under an address that `anyvirt web` prints').waitFor();
  assert.deepEqual(faults, []);
  await close();
  await browser.close();
}

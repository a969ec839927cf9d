// Every page in every state and theme: no error, nothing against the content security policy, nothing against WCAG.
import assert from 'node:assert/strict';

import { complaints, drawn, open } from './browser.mjs';

const [namespace, name] = (process.env.ANYVIRT_MACHINE ?? 'default/fedora-1').split('/');
const MACHINE = `/machines/${namespace}/${name}`;
const THEMES = ['light', 'dark', 'high-contrast'];
/** Machines of the state `many`. */
const MANY = 1000;

const main = (page) => page.locator('main');
const text = (words) => (page) => main(page).getByText(words).first();
const at = (selector) => (page) => main(page).locator(selector).first();
const heading = (title) => (page) => main(page).getByRole('heading', { name: title }).first();
/** What pages show of what cannot be had: the server's own words. */
const REFUSED = { error: at('[value*="the disk is full"], pre:has-text("the disk is full")'), forbidden: at('[value*="is forbidden"], pre:has-text("is forbidden")') };
const LIST = { ...REFUSED, loading: at('.pf-v6-c-skeleton') };
const ONE_MACHINE = { ...LIST, empty: text(`There is no machine ${name}`) };
const ONE_MAP = { ...LIST, empty: text('There is no ConfigMap kubevirt-config here') };

/** Each page's address, and the content that it waits for: `real` also where a state is not named. */
const PAGES = [
  ['/overview', { ...LIST, real: at('[data-status]'), empty: text('Three steps: choose an image'), many: text(String(MANY)) }],
  ['/machines', { ...LIST, real: at(`[data-row="${namespace}/${name}"]`), empty: text('No virtual machines'), many: at('[data-row="demo/vm-0"]') }],
  [MACHINE, { ...ONE_MACHINE, real: heading('Details') }],
  [`${MACHINE}?tab=configuration`, { ...ONE_MACHINE, real: (page) => main(page).getByLabel('Run strategy') }],
  [`${MACHINE}?tab=events`, { ...ONE_MACHINE, real: at('[data-row]') }],
  [`${MACHINE}?tab=diagnostics`, { ...ONE_MACHINE, real: heading('Conditions of the VirtualMachine') }],
  [`${MACHINE}?tab=yaml`, { ...ONE_MACHINE, real: at('[data-editor="yaml"] .cm-line:has-text("VirtualMachine")') }],
  [`${MACHINE}?tab=console&view=log`, { ...ONE_MACHINE, real: at('[data-console="log"]') }],
  ['/create', { real: (page) => main(page).getByLabel('Container disk') }],
  ['/images', { ...LIST, real: at('[data-row^="disk "]'), empty: text('No machine names an image yet.'), many: text('No machine names an image yet.') }],
  ['/k8s/all-namespaces/configmaps', { ...LIST, real: at('[data-row="openshift-cnv/kubevirt-config"]'), empty: text('No config maps in this project') }],
  ['/k8s/ns/openshift-cnv/configmaps/kubevirt-config', { ...ONE_MAP, real: heading('Data') }],
  ['/k8s/ns/openshift-cnv/configmaps/kubevirt-config?tab=yaml', { ...ONE_MAP, real: at('[data-editor="yaml"] .cm-line:has-text("ConfigMap")') }],
  ['/events', { ...LIST, real: at('[data-row]'), empty: text('No events') }],
  ['/nodes', { ...LIST, real: (page) => main(page).getByRole('region', { name: /^Devices of/ }).first(), empty: text('No nodes') }],
  ['/settings', { ...REFUSED, real: text('In force: policy'), empty: heading('Configuration in force'), loading: heading('Configuration in force') }],
  ['/no/such/page', { real: text('There is nothing at this address') }],
];

/** Lists and watches, which ask the same path, of the kinds that pages show. */
const ASKED = /\/apis?\/.*\/(virtualmachines|virtualmachineinstances|events|nodes|configmaps|kubevirts|namespaces)\?.*/;

/** What the API answers in each state; `undefined`: what the server says. */
const STATES = {
  real: undefined,
  empty: (route, { isWatch, kind }) => (isWatch ? never() : route.fulfill({ json: list(kind, []) })),
  loading: () => never(),
  error: (route) => route.fulfill({ status: 500, json: status(500, 'InternalError', 'the disk is full') }),
  forbidden: (route) => route.fulfill({ status: 403, json: status(403, 'Forbidden', 'virtualmachines.kubevirt.io is forbidden: User "guest" cannot list resource "virtualmachines"') }),
  many: (route, { isWatch, kind, isOne }) => {
    if (isOne || !kind.startsWith('virtualmachine')) return route.continue();
    if (isWatch) return never();
    return route.fulfill({ json: list(kind, kind === 'virtualmachines' ? machines() : []) });
  },
};

const never = () => new Promise(() => undefined);
const status = (code, reason, message) => ({ kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message });
const list = (kind, items) => ({ kind: `${kind}List`, metadata: { resourceVersion: '1' }, items });

function machines() {
  const words = ['Running', 'Stopped', 'ErrorUnschedulable', 'Paused'];
  return Array.from({ length: MANY }, (_, index) => ({
    apiVersion: 'kubevirt.io/v1',
    kind: 'VirtualMachine',
    // Text that would be code if it were ever taken for HTML.
    metadata: { name: `vm-${index}`, namespace: 'demo', uid: `u${index}`, resourceVersion: '1', labels: { note: '<img src=x onerror=alert(1)>' }, creationTimestamp: '2026-11-23T00:00:00Z' },
    spec: { runStrategy: 'Manual', template: { spec: { domain: { devices: {}, memory: { guest: '1Gi' } } } } },
    status: { printableStatus: words[index % words.length] },
  }));
}

export async function everyPage(browser, session) {
  await canaries(browser, session);
  const wrong = [];
  for (const [state, answer] of Object.entries(STATES)) {
    // The states differ in content, not in colours: all themes are looked at with the real answers.
    for (const theme of state === 'real' ? THEMES : ['light']) {
      const refused = { error: 500, forbidden: 403 }[state];
      const expected = refused === undefined ? [] : [{ path: ASKED, status: refused }];
      const { page, faults, goto, close } = await open(browser, session, { theme, expected });
      if (answer !== undefined) await page.route(ASKED, (route) => intercept(route, answer));
      for (const [path, content] of PAGES) {
        await goto(path);
        await settled(page, content[state] ?? content.real, state);
        wrong.push(...(await found(page, faults)).map((one) => `${state}, ${theme}, ${path}: ${one}`));
      }
      await close();
    }
    console.log(`every page, state ${state}`);
  }
  assert.deepEqual(wrong, []);
}

function intercept(route, answer) {
  const { pathname, searchParams } = new URL(route.request().url());
  return answer(route, { isWatch: searchParams.get('watch') === 'true', kind: pathname.split('/').at(-1), isOne: searchParams.has('fieldSelector') });
}

/** States in which pages wait for what does not come. */
const WAITING = ['loading', 'error'];

/** The page's own content is there, nothing more is being fetched for it, and it is drawn. */
async function settled(page, content, state) {
  await content(page).waitFor();
  const waiting = WAITING.includes(state) ? '.pf-v6-c-spinner' : '.pf-v6-c-spinner, .pf-v6-c-skeleton';
  await page.waitForFunction((selector) => document.querySelector(selector) === null, waiting);
  await drawn(page);
}

/** Everything that is wrong with the page as it is, a line each. */
async function found(page, faults) {
  return [...(await complaints(page)), ...faults.splice(0)];
}

/** Ways to break a page, and how the walk must tell of each. */
const BREAKS = {
  'an error that nobody catches': [() => new Promise((done) => { setTimeout(done); setTimeout(() => { throw new Error('canary'); }); }), /^error: canary$/],
  'an error on the console': [() => console.error('canary'), /^console: canary$/],
  'a request that is refused': [() => fetch('/api/v1/namespaces/default/configmaps/canary').then((answer) => answer.text()), /^refused: 404 \/api\/v1\/namespaces\/default\/configmaps\/canary$/],
  'a style against the policy': [() => document.querySelector('main h1').setAttribute('style', 'color: red'), /^csp: style-src/],
  'a picture from elsewhere': [() => { new Image().src = 'https://192.0.2.1/canary.png'; }, /^csp: img-src https:\/\/192\.0\.2\.1/],
  'a button without a name': [() => document.querySelector('main').append(document.createElement('button')), /^button-name: /],
  'a text that is too pale': [() => { document.querySelector('main h1').style.color = '#eeeeee'; }, /^color-contrast: /],
};

/** Breaks a page in each way that the walk looks for: what it did not notice, it would not notice elsewhere. */
async function canaries(browser, session) {
  for (const [what, [act, told]] of Object.entries(BREAKS)) {
    const { page, faults, goto, close } = await open(browser, session);
    await goto('/settings');
    await settled(page, text('In force: policy'), 'real');
    assert.deepEqual(await found(page, faults), [], `before ${what}`);
    await page.evaluate(act);
    await drawn(page);
    const after = await found(page, faults);
    assert.ok(after.some((line) => told.test(line)), `${what} was not noticed: ${JSON.stringify(after)}`);
    await close();
  }
  console.log(`${Object.keys(BREAKS).length} broken pages were noticed`);
}

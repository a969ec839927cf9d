// Every page in every state and theme: no error, nothing against the content security policy, nothing against WCAG.
import assert from 'node:assert/strict';

import { ask, complaints, complaintsIn, drawn, open, THEMES } from './browser.mjs';

const [namespace, name] = (process.env.ANYVIRT_MACHINE ?? 'default/fedora-1').split('/');
const MACHINE = `/machines/${namespace}/${name}`;
/** A Secret to look at, of its own for each run. */
const SECRET = { apiVersion: 'v1', kind: 'Secret', metadata: { name: `every-page-${Date.now().toString(36)}`, namespace: 'default' }, stringData: { key: 'kept-by-every-page' } };
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
const one = (kind, name) => ({ ...LIST, empty: text(`There is no ${kind} ${name} here`) });
const ONE_MAP = one('ConfigMap', 'kubevirt-config');
const yaml = (words) => at(`[data-editor="yaml"] .cm-line:has-text("${words}")`);

/** Each page's address, and the content that it waits for: `real` also where a state is not named. */
const PAGES = [
  ['/overview', { ...LIST, real: at('[data-status]'), empty: text('Three steps: choose an image'), many: text(String(MANY)) }],
  ['/machines', { ...LIST, real: at(`[data-row="${namespace}/${name}"]`), empty: text('No virtual machines'), many: at('[data-row="demo/vm-0"]') }],
  [`/machines?beside=${namespace}%2F${name}`, { ...LIST, real: at('[data-beside] [data-status]'), empty: at(`[data-beside] :text("There is no machine ${name}")`), many: at('[data-beside]') }],
  [MACHINE, { ...ONE_MACHINE, real: heading('Details') }],
  [`${MACHINE}?tab=configuration`, { ...ONE_MACHINE, real: (page) => main(page).getByLabel('Run strategy') }],
  [`${MACHINE}?tab=snapshots`, { ...ONE_MACHINE, real: text('No snapshots') }],
  [`${MACHINE}?tab=metrics`, { ...ONE_MACHINE, real: at('[data-figures="processor"], .pf-v6-c-empty-state') }],
  [`${MACHINE}?tab=events`, { ...ONE_MACHINE, real: at('[data-row]') }],
  [`${MACHINE}?tab=diagnostics`, { ...ONE_MACHINE, real: heading('Conditions of the VirtualMachine') }],
  [`${MACHINE}?tab=yaml`, { ...ONE_MACHINE, real: yaml('VirtualMachine') }],
  [`${MACHINE}?tab=console&view=vnc`, { ...ONE_MACHINE, real: at('[data-console="screen"][data-state="open"]') }],
  [`${MACHINE}?tab=console&view=serial`, { ...ONE_MACHINE, real: at('[data-console="serial"][data-state="open"]') }],
  [`${MACHINE}?tab=console&view=log`, { ...ONE_MACHINE, real: at('[data-console="log"]') }],
  [`${MACHINE}?tab=console&view=split`, { ...ONE_MACHINE, real: at('.av-two:has([data-console="log"]) [data-console="screen"][data-state="open"]') }],
  ['/create', { real: (page) => main(page).getByLabel('Container disk') }],
  ['/images', { ...LIST, real: at('[data-row^="disk "]'), empty: text('No machine names an image yet.'), many: heading('Volumes') }],
  ['/k8s/all-namespaces/configmaps', { ...LIST, real: at('[data-row="openshift-cnv/kubevirt-config"]'), empty: text('No config maps in this project') }],
  ['/k8s/ns/openshift-cnv/configmaps/kubevirt-config', { ...ONE_MAP, real: heading('Data') }],
  ['/k8s/ns/openshift-cnv/configmaps/kubevirt-config?tab=yaml', { ...ONE_MAP, real: yaml('ConfigMap') }],
  ['/k8s/ns/openshift-cnv/configmaps/kubevirt-config?tab=events', { ...ONE_MAP, real: text('Nothing has happened to it in the last hour.') }],
  ['/k8s/ns/openshift-cnv/configmaps/~new', { real: yaml('ConfigMap') }],
  ['/k8s/ns/kubevirt/kubevirts/kubevirt', { ...one('KubeVirt', 'kubevirt'), real: heading('Object') }],
  [`/k8s/ns/default/secrets/${SECRET.metadata.name}`, { ...one('Secret', SECRET.metadata.name), real: heading('Object') }],
  [`/k8s/ns/default/secrets/${SECRET.metadata.name}?tab=yaml`, { ...one('Secret', SECRET.metadata.name), real: yaml('Secret') }],
  ['/k8s/ns/default/deployments/none', { real: text('kubectl get deployments') }],
  ['/events', { ...LIST, real: at('[data-row]'), empty: text('No events') }],
  ['/nodes', { ...LIST, real: (page) => main(page).getByRole('region', { name: /^Devices of/ }).first(), empty: text('No nodes') }],
  ['/settings', { ...LIST, real: text('In force: policy'), empty: text('No sessions') }],
  ['/licences', { ...LIST, real: at('[data-licence="@novnc/novnc"]'), empty: heading('Licences') }],
  ['/no/such/page', { real: text('There is nothing at this address') }],
];

const press = (page, role, name) => page.getByRole(role, { name }).first().click();
const applying = async (page) => {
  const opened = page.getByRole('dialog');
  await opened.getByText('Asking the server what follows').waitFor({ state: 'detached' });
  return opened.getByRole('button', { name: 'Apply' });
};

/** What opens above a page: the page, what it waits for, and how it is opened, which gives back what is then there. */
const LAYERS = [
  ['/overview', { real: at('[data-status]') }, { name: 'keys', open: async (page) => {
    await page.keyboard.press('?');
    return page.getByRole('dialog', { name: 'Keyboard shortcuts' });
  } }],
  ['/overview', { real: at('[data-status]') }, { name: 'acceleration', open: async (page) => {
    await press(page, 'button', /^Acceleration: /);
    return page.getByRole('dialog');
  } }],
  ['/overview', { real: at('[data-status]') }, { name: 'themes', open: async (page) => {
    await press(page, 'button', 'Theme');
    return page.getByRole('menuitem', { name: 'Dark' });
  } }],
  [MACHINE, { real: heading('Details') }, { name: 'actions', open: async (page) => {
    await press(page, 'button', 'Actions');
    return page.getByRole('menuitem', { name: /^Delete/ });
  } }],
  [MACHINE, { real: heading('Details') }, { name: 'deletion', open: async (page) => {
    await press(page, 'button', 'Actions');
    await press(page, 'menuitem', /^Delete/);
    await press(page, 'button', 'Show command');
    return page.getByRole('dialog', { name: `Delete ${name}?` });
  } }],
  [`${MACHINE}?tab=console&view=vnc`, { real: at('[data-console="screen"][data-state="open"]') }, { name: 'pasting', open: async (page) => {
    await press(page, 'button', 'Paste as typing');
    return page.getByRole('dialog', { name: 'Paste as typing' });
  } }],
  ['/machines', { real: at(`[data-row="${namespace}/${name}"]`) }, { name: 'actions of a row', open: async (page) => {
    await press(page, 'button', `Actions of ${namespace}/${name}`);
    return page.getByRole('menuitem', { name: /^Delete/ });
  } }],
  ['/create', { real: (page) => main(page).getByLabel('Container disk') }, { name: 'more', open: async (page) => {
    await press(page, 'button', /^More/);
    await press(page, 'button', 'Add a disk');
    return page.getByLabel('Size of disk-1');
  } }],
  ['/images', { real: at('[data-row^="disk "]') }, { name: 'how images come', open: async (page) => {
    await press(page, 'button', 'How images come, and go');
    return page.getByText('The API has no way to upload');
  } }],
  ['/settings', { real: text('In force: policy') }, { name: 'consequences', open: async (page) => {
    await page.getByRole('radio', { checked: true }).waitFor();
    await page.getByRole('radio', { checked: false }).first().click();
    return applying(page);
  } }],
  [`${MACHINE}?tab=snapshots`, { real: text('No snapshots') }, { name: 'a snapshot', open: async (page) => {
    await press(page, 'button', 'Take snapshot');
    return page.getByRole('dialog').getByLabel('Name');
  } }],
  [`${MACHINE}?tab=yaml`, { real: yaml('VirtualMachine') }, { name: 'review', open: async (page) => {
    await page.locator('[data-editor="yaml"] .cm-content').getByText('metadata:', { exact: true }).first().click();
    await page.keyboard.press('End');
    await page.keyboard.insertText('\n  labels:\n    by: every-page');
    await page.keyboard.press('Control+Enter');
    return applying(page);
  } }],
];

/** Lists and watches, which ask the same path, of the kinds that pages show, and what else is shown of the server. */
const ASKED = /\/console\/(api\/sessions|assets\/licences\.json)|\/apis?\/.*\/(virtualmachines|virtualmachineinstances|virtualmachinesnapshots|virtualmachinerestores|events|nodes|configmaps|kubevirts|namespaces|secrets|warmstarttemplates)\?.*/;

/** What is empty in another way than lists of the API. */
const EMPTY = { sessions: { sessions: [] }, 'licences.json': [] };

/** What the API answers in each state; `undefined`: what the server says. */
const STATES = {
  real: undefined,
  empty: (route, { isWatch, kind }) => (isWatch ? never() : route.fulfill({ json: EMPTY[kind] ?? list(kind, []) })),
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

/** States that are walked through one after the other, beside those of the other lane: a screen shows itself to one page only. */
const LANES = [['real', 'many'], ['empty', 'loading', 'error', 'forbidden']];

export async function everyPage(browser, session) {
  const began = Date.now();
  await canaries(browser, session);
  await menu(browser, session);
  assert.deepEqual(LANES.flat().sort(), Object.keys(STATES).sort());
  const wrong = await Promise.all(LANES.map(async (lane) => {
    const told = [];
    for (const state of lane) {
      told.push(...(await walk(browser, session, state)));
      console.log(`every page, state ${state}, after ${Math.round((Date.now() - began) / 1000)} s`);
    }
    return told;
  }));
  assert.deepEqual(wrong.flat(), []);
}

/** What is wrong with all pages in a state, in all themes, a line each. */
async function walk(browser, session, state) {
  // Each page is loaded once and then shown in the other themes; in which it is loaded differs from state to state.
  const themes = Object.keys(THEMES);
  const [theme, ...others] = [...themes, ...themes].slice(Object.keys(STATES).indexOf(state) % themes.length).slice(0, themes.length);
  const answer = STATES[state];
  const refused = { error: 500, forbidden: 403 }[state];
  const expected = refused === undefined ? [] : [{ path: ASKED, status: refused }];
  const { page, faults, goto, close } = await open(browser, session, { theme, expected });
  const wrong = [];
  if (state === 'real') await keepSecret(page, goto);
  if (answer !== undefined) await page.route(ASKED, (route) => intercept(route, answer));
  for (const [path, content, layer] of state === 'real' ? [...PAGES, ...LAYERS] : PAGES) {
    const where = `${state}, ${path}${layer === undefined ? '' : `, ${layer.name}`}`;
    try {
      await goto(path);
      await settled(page, content[state] ?? content.real, state);
      if (layer !== undefined) await (await layer.open(page)).waitFor();
    } catch (error) {
      wrong.push(`${where}: ${error.message}`);
      continue;
    }
    wrong.push(...(await found(page, faults)).map((line) => `${where}, ${theme}: ${line}`));
    for (const other of others) wrong.push(...(await complaintsIn(page, other)).map((line) => `${where}, ${other}: ${line}`));
  }
  await close();
  return wrong;
}

async function keepSecret(page, goto) {
  await goto('/settings');
  const { code } = await ask(page, 'POST', '/api/v1/namespaces/default/secrets', SECRET);
  assert.equal(code, 201);
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

/** The console's own menu gives the document the classes with which the walk switches themes, and so does a load with that choice. */
async function menu(browser, session) {
  for (const [theme, classes] of Object.entries(THEMES)) {
    const { page, faults, goto, close } = await open(browser, session, { theme });
    const has = () => page.evaluate((names) => Object.fromEntries(names.map((name) => [name, document.documentElement.classList.contains(name)])), Object.keys(classes));
    await goto('/settings');
    assert.deepEqual(await has(), classes, `loaded in ${theme}`);
    for (const [label, chosen] of [['Light', 'light'], ['Dark', 'dark'], ['High contrast', 'high-contrast']]) {
      await page.getByRole('button', { name: 'Theme' }).click();
      await page.getByRole('menuitem', { name: label }).click();
      assert.deepEqual(await has(), THEMES[chosen], `${label} chosen`);
    }
    assert.deepEqual(faults, []);
    await close();
  }
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
  await canaryOfThemes(browser, session);
  console.log(`${Object.keys(BREAKS).length + 1} broken pages were noticed`);
}

/** A text that can be read in the light and not in the dark is noticed there, and only there. */
async function canaryOfThemes(browser, session) {
  const { page, goto, close } = await open(browser, session);
  await goto('/settings');
  await settled(page, text('In force: policy'), 'real');
  await page.evaluate(() => { document.querySelector('main h1').style.color = '#151515'; });
  assert.deepEqual(await complaintsIn(page, 'light'), []);
  const [told] = await complaintsIn(page, 'dark');
  assert.match(told ?? '', /^color-contrast: <h1/);
  await close();
}

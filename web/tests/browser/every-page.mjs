// Every page in every state and theme: no error, nothing against the content security policy, nothing against WCAG.
import assert from 'node:assert/strict';

import { complaints, open } from './browser.mjs';

const [namespace, name] = (process.env.ANYVIRT_MACHINE ?? 'default/fedora-1').split('/');
const MACHINE = `/machines/${namespace}/${name}`;
const PAGES = [
  '/overview', '/machines', MACHINE, `${MACHINE}?tab=configuration`, `${MACHINE}?tab=events`, `${MACHINE}?tab=diagnostics`, `${MACHINE}?tab=yaml`,
  `${MACHINE}?tab=console&view=log`, '/create', '/images', '/k8s/all-namespaces/configmaps', '/k8s/ns/openshift-cnv/configmaps/kubevirt-config',
  '/k8s/ns/openshift-cnv/configmaps/kubevirt-config?tab=yaml', '/events', '/nodes', '/settings', '/no/such/page',
];
const THEMES = ['light', 'dark', 'high-contrast'];
/** Machines of the state `many`. */
const MANY = 1000;

/** What the API answers in each state; `undefined`: what the server says. A list and its watch ask the same path. */
const STATES = {
  real: undefined,
  empty: (route, isWatch, kind) => (isWatch ? never() : route.fulfill({ json: list(kind, []) })),
  loading: () => never(),
  error: (route) => route.fulfill({ status: 500, json: status(500, 'InternalError', 'the disk is full') }),
  forbidden: (route) => route.fulfill({ status: 403, json: status(403, 'Forbidden', 'virtualmachines.kubevirt.io is forbidden: User "guest" cannot list resource "virtualmachines"') }),
  many: (route, isWatch, kind) => (isWatch ? never() : kind === 'virtualmachines' ? route.fulfill({ json: list(kind, machines()) }) : kind === 'virtualmachineinstances' ? route.fulfill({ json: list(kind, []) }) : route.continue()),
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
  const wrong = [];
  for (const [state, answer] of Object.entries(STATES)) {
    // The states differ in content, not in colours: all themes are looked at with the real answers.
    for (const theme of state === 'real' ? THEMES : ['light']) {
      const refused = { error: 500, forbidden: 403 }[state];
      const expected = refused === undefined ? [] : [{ path: /\/apis?\//, status: refused }];
      const { page, faults, goto, close } = await open(browser, session, { theme, expected });
      if (answer !== undefined) await page.route(/\/(api|apis)\/.*\/(virtualmachines|virtualmachineinstances|events|nodes|configmaps|kubevirts|namespaces)\?/, (route) => intercept(route, answer));
      for (const path of PAGES) {
        await goto(path);
        await settled(page);
        const found = [...(await complaints(page)), ...faults.splice(0)];
        wrong.push(...found.map((one) => `${state}, ${theme}, ${path}: ${one}`));
      }
      await close();
    }
    console.log(`every page, state ${state}`);
  }
  assert.deepEqual(wrong, []);
}

function intercept(route, answer) {
  const url = new URL(route.request().url());
  return answer(route, url.searchParams.get('watch') === 'true', url.pathname.split('/').at(-1));
}

/** The page's own heading is there, and nothing was drawn for two frames in a row. */
async function settled(page) {
  await page.locator('main h1, main h2, main [role=alert], main .pf-v6-c-skeleton').first().waitFor();
  await page.waitForFunction(() => document.querySelector('.pf-v6-c-spinner') === null);
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
}

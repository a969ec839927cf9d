// What a machine and its node use: a real guest's figures arrive by themselves, and each state tells what it is.
import assert from 'node:assert/strict';

import { complaints, open } from './browser.mjs';

/** A machine that runs. */
const [namespace, name] = (process.env.ANYVIRT_MACHINE ?? 'default/fedora-1').split('/');
const MACHINE = `/machines/${namespace}/${name}`;
const ASKED = /\/console\/api\/metrics\?.*/;
/** Milliseconds between two questions of a page. */
const EVERY = 5000;

export async function metrics(browser, session) {
  await figures(browser, session);
  await polls(browser, session);
  await states(browser, session);
}

async function figures(browser, session) {
  const { page, faults, goto, close } = await open(browser, session);
  console.log('the node has gauges on the first page, with a line each');
  await goto('/overview');
  for (const what of ['processor', 'memory', 'disk']) {
    await page.locator(`[data-usage="${what}"] meter`).waitFor();
    await page.locator(`[data-usage="${what}"] path[d^="M"]`).waitFor({ state: 'attached' });
  }
  assert.deepEqual(await complaints(page), []);

  console.log('the machine has small lines on its overview');
  await goto(MACHINE);
  await page.locator('[data-usage="processor"]').getByText(/\d of \d/).waitFor();
  await page.locator('[data-usage="memory"] path[d^="M"]').waitFor({ state: 'attached' });
  assert.deepEqual(await complaints(page), []);

  console.log('and charts, with their figures in tables');
  await page.getByRole('link', { name: 'All metrics' }).click();
  for (const what of ['processor', 'memory', 'diskRead', 'diskWritten', 'diskReads', 'diskWrites', 'networkReceived', 'networkSent']) {
    await page.locator(`[data-figures="${what}"] td`).first().getByText(/\d/).waitFor();
  }
  assert.match(await page.locator('[data-figures="memory"] td').first().innerText(), /^[\d.,]+ (MiB|GiB)$/);
  // It has read its disk to boot.
  assert.match(await page.locator('[data-figures="diskRead"] td').last().innerText(), /^[\d.,]+ (B|KiB|MiB|GiB)\/s$/);
  await page.getByRole('button', { name: '5 min', exact: true }).click();
  await page.getByText('Averages over 5 s').waitFor();
  await page.waitForFunction(() => {
    const charts = [...document.querySelectorAll('.av-chart canvas')];
    const isDrawn = (canvas) => {
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      return data.some((value) => value !== 0);
    };
    return charts.length === 5 && charts.every(isDrawn);
  });
  assert.deepEqual(await complaints(page), []);
  assert.deepEqual(faults, []);
  await close();
}

async function polls(browser, session) {
  console.log('figures are asked for every 5 s, and not while nobody sees them');
  const { page, faults, goto, close } = await open(browser, session);
  let count = 0;
  page.on('request', (request) => {
    if (ASKED.test(request.url())) count += 1;
  });
  await page.clock.install();
  await goto(`${MACHINE}?tab=metrics`);
  await page.locator('[data-figures="processor"]').waitFor();
  const next = page.waitForResponse((response) => ASKED.test(response.url()));
  await page.clock.runFor(EVERY);
  assert.equal((await next).status(), 200);
  await page.evaluate(() => Object.defineProperty(document, 'hidden', { configurable: true, get: () => true }));
  const before = count;
  await page.clock.runFor(6 * EVERY);
  assert.equal(count, before);
  const again = page.waitForResponse((response) => ASKED.test(response.url()));
  await page.evaluate(() => {
    delete document.hidden;
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await again;
  assert.deepEqual(faults, []);
  await close();
}

const status = (code, reason, message) => ({ kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message });
const NAMES = ['processor', 'memory', 'diskRead', 'diskWritten', 'diskReads', 'diskWrites', 'networkReceived', 'networkSent'];
const usage = (values, latest = null) => ({
  now: Date.now(),
  begin: Date.now() - 300_000,
  stepSeconds: 5,
  series: Object.fromEntries(NAMES.map((one) => [one, values(one)])),
  latest,
});

/** What the server answers, what the tab then shows, and whether the refusal is told on the console. */
const STATES = {
  loading: [() => new Promise(() => undefined), (main) => main.locator('.pf-v6-c-skeleton')],
  empty: [(route) => route.fulfill({ json: usage(() => []) }), (main) => main.getByText('Nothing was measured')],
  'without a network that is counted': [
    (route) => route.fulfill({ json: usage((one) => (one.startsWith('network') ? [null, null] : [1, null, 2])) }),
    (main) => main.getByText('Not counted for this machine.'),
  ],
  error: [(route) => route.fulfill({ status: 500, json: status(500, 'InternalError', 'the disk is full') }), (main) => main.locator('[value*="the disk is full"], pre:has-text("the disk is full")'), 500],
  forbidden: [(route) => route.fulfill({ status: 403, json: status(403, 'Forbidden', 'virtualmachineinstances.kubevirt.io is forbidden') }), (main) => main.locator('[value*="is forbidden"], pre:has-text("is forbidden")'), 403],
  'something else': [(route) => route.fulfill({ json: { figures: 'none' } }), (main) => main.locator('[value*="something else than figures"], pre:has-text("something else than figures")')],
};

async function states(browser, session) {
  for (const [state, [answer, shown, refused]] of Object.entries(STATES)) {
    console.log(`metrics, state ${state}`);
    const expected = refused === undefined ? [] : [{ path: ASKED, status: refused }];
    const { page, faults, goto, close } = await open(browser, session, { expected });
    await page.route((url) => ASKED.test(url.href), (route) => answer(route));
    for (const path of ['/overview', MACHINE, `${MACHINE}?tab=metrics`]) {
      await goto(path);
      if (path.endsWith('metrics')) await shown(page.locator('main')).first().waitFor();
      else await page.getByRole('heading', { name: /^(Nodes|What it uses)$/ }).waitFor();
      assert.deepEqual([...(await complaints(page)), ...faults], [], `${state} ${path}`);
    }
    await close();
  }
}

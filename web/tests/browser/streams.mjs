// Many streams at once, a watch that is too old, and ten minutes of events.
import assert from 'node:assert/strict';

import { open, PATIENCE } from './browser.mjs';

/** More than the six connections that browsers give a host which speaks only HTTP/1.1. */
const WATCHES = 20;

export async function streams(browser, session) {
  await manyWatches(browser, session);
  await expired(browser, session);
  await tenMinutes(browser, session);
}

async function manyWatches(browser, session) {
  const { page, faults, goto, close } = await open(browser, session);
  await goto('/settings');
  const opened = page.evaluate(async (count) => {
    window.watches = await Promise.all(Array.from({ length: count }, () => fetch('/api/v1/configmaps?watch=true')));
    return window.watches.map(({ status }) => status);
  }, WATCHES);
  const late = new Promise((_done, fail) => { setTimeout(() => fail(new Error(`${WATCHES} watches are not open at once`)), PATIENCE).unref(); });
  assert.deepEqual(await Promise.race([opened, late]), Array.from({ length: WATCHES }, () => 200));
  // Another tab shares the connection.
  const other = await page.context().newPage();
  await other.goto(`${session.origin}/console/k8s/ns/openshift-cnv/configmaps`);
  await other.locator('[data-row="openshift-cnv/kubevirt-config"]').waitFor({ timeout: PATIENCE });
  const protocols = await other.evaluate(() => [...new Set(performance.getEntriesByType('resource').map(({ nextHopProtocol }) => nextHopProtocol))]);
  assert.deepEqual(protocols, ['h2']);
  assert.deepEqual(faults, []);
  console.log(`${WATCHES} watches are open, and another page loads beside them`);
  await close();
}

/** Told that its watch is too old, a page lists again, and shows what it had missed. */
async function expired(browser, session) {
  const { page, faults, goto, close } = await open(browser, session);
  let lists = 0;
  let watches = 0;
  await page.route(/\/namespaces\/openshift-cnv\/configmaps\?/, async (route) => {
    if (route.request().url().includes('watch=true')) {
      watches += 1;
      if (watches > 1) return route.continue();
      const object = { kind: 'Status', status: 'Failure', code: 410, reason: 'Expired', message: 'too old resource version' };
      return route.fulfill({ body: `${JSON.stringify({ type: 'ERROR', object })}\n` });
    }
    lists += 1;
    if (lists > 1) return route.continue();
    return route.fulfill({ json: { kind: 'ConfigMapList', metadata: { resourceVersion: '1' }, items: [] } });
  });
  await goto('/k8s/ns/openshift-cnv/configmaps');
  await page.locator('[data-row="openshift-cnv/kubevirt-config"]').waitFor();
  assert.equal(lists, 2);
  assert.deepEqual(faults, []);
  console.log('a watch that is too old is begun anew with a list');
  await close();
}

const MACHINES = 1000;
/** Events in a minute at 200 each second. */
const MINUTE = 12_000;
/** Megabytes by which the heap may differ after nine more minutes: what is collected when is the browser's choice. */
const GROWTH = 8;

async function tenMinutes(browser, session) {
  const { page, faults, goto, close } = await open(browser, session);
  await page.addInitScript(answerWithEvents, MACHINES);
  await goto('/machines');
  await page.locator('[data-row="demo/vm-0000"]').waitFor();
  const debug = await page.context().newCDPSession(page);
  const heapAfter = async (events) => {
    await page.evaluate((count) => window.sendUntil(count), events);
    // Each thousandth event is of the first row.
    await page.locator('[data-row="demo/vm-0000"]').getByText(`${events}Mi`).waitFor();
    await debug.send('HeapProfiler.collectGarbage');
    return (await debug.send('Runtime.getHeapUsage')).usedSize / 1e6;
  };
  const early = await heapAfter(MINUTE);
  const late = await heapAfter(10 * MINUTE);
  console.log(`heap after a minute of events ${early.toFixed(1)} MB, after ten ${late.toFixed(1)} MB`);
  assert.ok(late - early < GROWTH, `the heap grew from ${early} to ${late} MB`);
  assert.deepEqual(faults, []);
  await close();
}

/** In the page: machines come from here, and a watch that says what `sendUntil` asks for. */
function answerWithEvents(machines) {
  const real = window.fetch;
  const machine = (index, version) => ({
    apiVersion: 'kubevirt.io/v1',
    kind: 'VirtualMachine',
    metadata: { name: `vm-${String(index).padStart(4, '0')}`, namespace: 'demo', uid: `u${index}`, resourceVersion: String(version), creationTimestamp: '2026-11-23T00:00:00Z', managedFields: [{ fieldsV1: { filler: 'x'.repeat(400) } }] },
    spec: { runStrategy: 'Manual', template: { spec: { domain: { devices: {}, memory: { guest: `${version}Mi` } } } } },
    status: { printableStatus: 'Stopped' },
  });
  let sent = 0;
  let watch;
  window.sendUntil = async (count) => {
    const encoder = new TextEncoder();
    while (sent < count) {
      let text = '';
      for (let piece = 0; piece < 400; piece += 1) {
        sent += 1;
        text += `${JSON.stringify({ type: 'MODIFIED', object: machine(sent % machines, sent) })}\n`;
      }
      watch.enqueue(encoder.encode(text));
      await new Promise((done) => setTimeout(done));
    }
  };
  window.fetch = (address, options) => {
    if (!/\/virtualmachines\?/.test(String(address))) return real(address, options);
    if (!String(address).includes('watch=true')) {
      const items = Array.from({ length: machines }, (_, index) => machine(index, 1));
      return Promise.resolve(Response.json({ kind: 'VirtualMachineList', metadata: { resourceVersion: '1' }, items }));
    }
    return Promise.resolve(new Response(new ReadableStream({ start(controller) { watch = controller; } })));
  };
}

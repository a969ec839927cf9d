// How long a list of 1,000 machines takes until its first row is there, and each frame of scrolling through it. The
// times are printed, never judged: CI is busy.
import assert from 'node:assert/strict';

import { open } from './browser.mjs';
import { frameTimes, quantile } from './frames.mjs';

const MACHINES = 1000;

export async function speed(browser, session) {
  const { page, faults, goto, close } = await open(browser, session);
  const machine = (index) => ({
    apiVersion: 'kubevirt.io/v1',
    kind: 'VirtualMachine',
    metadata: { name: `vm-${index}`, namespace: 'demo', uid: `u${index}`, resourceVersion: '1', creationTimestamp: '2026-11-23T00:00:00Z' },
    spec: { runStrategy: 'Manual', template: { spec: { domain: { devices: {}, memory: { guest: '1Gi' } } } } },
    status: { printableStatus: index % 2 === 0 ? 'Running' : 'Stopped' },
  });
  const items = Array.from({ length: MACHINES }, (_, index) => machine(index));
  await page.route(/\/virtualmachines\?/, (route) =>
    new URL(route.request().url()).searchParams.has('watch') ? new Promise(() => undefined) : route.fulfill({ json: { kind: 'VirtualMachineList', metadata: { resourceVersion: '1' }, items } }));
  const began = Date.now();
  await goto('/machines');
  await page.locator('[data-row="demo/vm-0"]').waitFor();
  const shown = Date.now() - began;
  const nodes = await page.evaluate(() => document.querySelectorAll('*').length);
  // A table that is as high as its rows draws them all.
  const drawn = await page.locator('[data-row]').count();
  assert.ok(drawn < 50, `${drawn} rows are drawn at once`);
  const frames = await frameTimes(page, { count: 60, region: '[role=region][aria-label=VirtualMachines]', pixels: 400 });
  console.log(`${MACHINES} machines: shown after ${shown} ms, ${nodes} nodes, scrolling p50 ${Math.round(quantile(frames, 0.5))} ms, p95 ${Math.round(quantile(frames, 0.95))} ms per frame`);
  assert.deepEqual(faults, []);
  await close();
}

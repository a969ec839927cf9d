// How long a list of 1,000 machines takes until its first row is there, and each frame of scrolling through it. The
// times are printed, never judged: CI is busy.
import assert from 'node:assert/strict';

import { open } from './browser.mjs';

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
  const frames = await page.evaluate(async () => {
    const region = document.querySelector('[role=region][aria-label=VirtualMachines]');
    const times = [];
    let last = performance.now();
    for (let frame = 0; frame < 60; frame += 1) {
      region.scrollTop += 400;
      await new Promise((done) => requestAnimationFrame(done));
      times.push(performance.now() - last);
      last = performance.now();
    }
    return times.sort((a, b) => a - b);
  });
  console.log(`${MACHINES} machines: shown after ${shown} ms, ${nodes} nodes, scrolling p50 ${Math.round(frames[30])} ms, p95 ${Math.round(frames[57])} ms per frame`);
  assert.deepEqual(faults, []);
  await close();
}

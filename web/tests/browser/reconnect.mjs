// The server goes and comes back under an open page. It is ended and begun again by whoever started this program: asked
// by a line `ask: kill` or `ask: up`, told to have done so by a line on standard input.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

import { open } from './browser.mjs';

/** What Chromium tells of requests that meet no server, or one that goes away. */
const GONE = ['CONNECTION_REFUSED', 'CONNECTION_RESET', 'CONNECTION_CLOSED', 'EMPTY_RESPONSE', 'HTTP2_PROTOCOL_ERROR', 'INCOMPLETE_CHUNKED_ENCODING', 'SOCKET_NOT_CONNECTED', 'HTTP2_PING_FAILED'];
const expected = GONE.map((code) => ({ told: `Failed to load resource: net::ERR_${code}` }));

export async function reconnect(browser, session) {
  const lines = createInterface({ input: process.stdin });
  async function ask(what) {
    const answered = once(lines, 'line');
    console.log(`ask: ${what}`);
    await answered;
  }
  const { page, faults, goto, close } = await open(browser, session, { expected });
  const main = page.locator('main');
  const reconnecting = main.getByText(/^Warning alert:Reconnecting; what you see is from .+ ago$|^Reconnecting; what you see is from .+ ago$/);
  const row = page.locator('[data-row="default/halted"]');
  await goto('/machines');
  await row.waitFor();
  await main.getByText('Live', { exact: true }).waitFor();
  // Gone if the page were loaded again.
  await page.evaluate(() => { window.before = true; });

  await ask('kill');
  await reconnecting.first().waitFor();
  await main.getByText('Connecting', { exact: true }).waitFor();
  await row.waitFor();
  const first = await ageTold(reconnecting.first());
  await page.waitForFunction((age) => !document.querySelector('main').textContent.includes(`is from ${age} ago`), first);
  console.log(`without its server the page tells the age of what it shows: ${first}, then ${await ageTold(reconnecting.first())}`);

  await ask('up');
  await main.getByText('Live', { exact: true }).waitFor();
  await reconnecting.first().waitFor({ state: 'detached' });
  // With the session and its token of before.
  const status = await page.evaluate(async () => {
    const { csrf } = await (await fetch('/console/api/session')).json();
    const body = JSON.stringify({ spec: { template: { spec: { domain: { memory: { guest: '321Mi' } } } } } });
    const headers = { 'content-type': 'application/merge-patch+json', 'x-csrf-token': csrf };
    return (await fetch('/apis/kubevirt.io/v1/namespaces/default/virtualmachines/halted', { method: 'PATCH', headers, body })).status;
  });
  assert.equal(status, 200);
  await row.getByText('321Mi').waitFor();
  assert.equal(await page.evaluate(() => window.before), true, 'the page was loaded again');
  assert.deepEqual(faults, []);
  await close();
  lines.close();
}

async function ageTold(banner) {
  return /is from (.+) ago/.exec(await banner.textContent())[1];
}

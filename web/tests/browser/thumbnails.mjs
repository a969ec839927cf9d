// Pictures of screens in the list: one machine's refusal is its own, and who may see none asks for none.
import assert from 'node:assert/strict';

import { drawn, open } from './browser.mjs';

/** One pixel. */
const PNG = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64');
const SCREEN = /\/apis\/subresources\.kubevirt\.io\/v1\/namespaces\/demo\/virtualmachineinstances\/([a-z]+)\/vnc\/screenshot/;

const meta = (name) => ({ name, namespace: 'demo', uid: name, resourceVersion: '1', creationTimestamp: '2026-11-23T00:00:00Z' });
const spec = { domain: { devices: {}, memory: { guest: '1Gi' } } };
const OBJECTS = {
  virtualmachines: (name) => ({ apiVersion: 'kubevirt.io/v1', kind: 'VirtualMachine', metadata: meta(name), spec: { runStrategy: 'Manual', template: { spec } }, status: { printableStatus: 'Running' } }),
  virtualmachineinstances: (name) => ({ apiVersion: 'kubevirt.io/v1', kind: 'VirtualMachineInstance', metadata: meta(name), spec, status: { phase: 'Running' } }),
};

export async function thumbnails(browser, session) {
  await oneRefused(browser, session);
  await noneAsked(browser, session);
}

/** Two machines that run, `hidden` and `shown`. */
async function machines(page) {
  await page.route(/\/(virtualmachines|virtualmachineinstances)\?/, (route) => {
    const url = new URL(route.request().url());
    if (url.searchParams.has('watch')) return undefined;
    const items = ['hidden', 'shown'].map(OBJECTS[url.pathname.split('/').at(-1)]);
    return route.fulfill({ json: { kind: 'List', metadata: { resourceVersion: '1' }, items } });
  });
}

async function oneRefused(browser, session) {
  console.log('a screen that is refused hides no other');
  const { page, faults, refusals, goto, close } = await open(browser, session, { expected: [{ path: new RegExp(SCREEN.source.replace('([a-z]+)', 'hidden')), status: 403 }] });
  await machines(page);
  await page.route(SCREEN, (route) => {
    const [, name] = SCREEN.exec(route.request().url());
    if (name === 'shown') return route.fulfill({ contentType: 'image/png', body: PNG });
    return route.fulfill({ status: 403, json: { kind: 'Status', apiVersion: 'v1', status: 'Failure', code: 403, reason: 'Forbidden', message: 'no' } });
  });
  const refused = page.waitForResponse((response) => response.status() === 403);
  await goto('/machines?q=hidden');
  await page.locator('[data-row="demo/hidden"]').waitFor();
  await (await refused).finished();
  await page.locator('[data-filter] input').fill('shown');
  const picture = page.locator('[data-row="demo/shown"] img');
  await picture.waitFor();
  assert.equal(await picture.evaluate((image) => image.decode().then(() => image.naturalWidth)), 1);
  assert.deepEqual(faults, []);
  assert.equal(refusals.length, 1);
  await close();
}

async function noneAsked(browser, session) {
  console.log('who may see no screen is asked once, and asks for none');
  const { page, faults, goto, close } = await open(browser, session);
  await machines(page);
  const reviews = [];
  await page.route(/\/selfsubjectaccessreviews$/, (route) => {
    const { resourceAttributes: asked } = route.request().postDataJSON().spec;
    if (asked.subresource !== 'vnc/screenshot') return route.continue();
    reviews.push(`${asked.verb} ${asked.group} ${asked.resource} ${asked.namespace}`);
    return route.fulfill({ json: { kind: 'SelfSubjectAccessReview', apiVersion: 'authorization.k8s.io/v1', status: { allowed: false } } });
  });
  const screens = [];
  page.on('request', (request) => SCREEN.test(request.url()) && screens.push(request.url()));
  const reviewed = page.waitForResponse((response) => response.request().postData()?.includes('vnc/screenshot') === true);
  await goto('/machines');
  await page.locator('[data-row="demo/shown"]').waitFor();
  await (await reviewed).finished();
  await drawn(page);
  assert.deepEqual(reviews, ['get subresources.kubevirt.io virtualmachineinstances demo']);
  assert.deepEqual(screens, []);
  assert.deepEqual(faults, []);
  await close();
}

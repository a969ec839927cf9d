// What helps a machine that waits, done by a button: the machine runs. Emulation is off when this begins (after
// `journey`), and off again when it ends.
import assert from 'node:assert/strict';

import { ask, complaints, open } from './browser.mjs';

const [namespace, name] = (process.env.ANYVIRT_MACHINE ?? 'default/fedora-1').split('/');
const VMS = `/apis/kubevirt.io/v1/namespaces/${namespace}/virtualmachines`;
const SWITCH = '/api/v1/namespaces/openshift-cnv/configmaps/kubevirt-config';
/** Milliseconds for QEMU to start on a busy machine; the guest need not boot. */
const START = 120_000;

export async function remedies(browser, session) {
  const visitor = await open(browser, session);
  const { page, goto } = visitor;
  await goto('/settings');
  await put(page, 'PATCH', SWITCH, { data: { 'debug.useEmulation': 'false' } });
  const { body: model } = await ask(page, 'GET', `${VMS}/${name}`);
  await cured(visitor, model, 'alone', (made) => `Permit software emulation for ${made} alone`, /"emulationPolicy": "Software"/);
  await cured(visitor, model, 'cluster', () => 'Permit software emulation in the whole cluster', /"debug.useEmulation": "true"/);
  await put(page, 'PATCH', SWITCH, { data: { 'debug.useEmulation': 'false' } });
  assert.deepEqual(visitor.faults, []);
  await visitor.close();
}

async function put(page, method, path, object) {
  const { code, body } = await ask(page, method, path, object);
  assert.ok(code === 200 || code === 201, JSON.stringify(body));
}

/** A machine like `model` waits, and one of the cures that its page offers makes it run. */
async function cured({ page, goto }, model, word, title, written) {
  const made = `remedy-${word}-${Date.now().toString(36)}`;
  console.log(`${made} waits, and says why and what helps`);
  const { spec } = structuredClone(model);
  delete spec.template.spec.emulationPolicy;
  await put(page, 'POST', VMS, { apiVersion: model.apiVersion, kind: model.kind, metadata: { name: made, namespace }, spec: { runStrategy: 'Always', template: spec.template } });
  await goto(`/machines/${namespace}/${made}`);
  await page.locator('[data-status="ErrorUnschedulable"]').first().waitFor();
  const cures = page.getByRole('region', { name: `Why ${made} does not run` }).getByRole('listitem');
  await cures.first().waitFor();
  // Each is done here, or told as a command or in words that say what it brings and costs.
  for (const cure of await cures.all()) assert.match(await cure.innerText(), /Costs: /);
  assert.deepEqual(await complaints(page), []);

  console.log('what would be written and what follows is shown before; then it runs, without a reload');
  await cures.filter({ hasText: title(made) }).getByRole('button', { name: 'Do it…' }).click();
  const dialog = page.getByRole('dialog', { name: `${title(made)}?` });
  await dialog.getByText(written).waitFor();
  await dialog.getByRole('heading', { name: 'What follows' }).waitFor();
  await dialog.getByText('Asking the server what follows').waitFor({ state: 'detached' });
  await dialog.getByText(made).first().waitFor();
  await dialog.getByRole('button', { name: 'Show command' }).click();
  assert.deepEqual(await complaints(page), []);
  await dialog.getByRole('button', { name: 'Apply' }).click();
  await page.getByText(`Done: ${title(made)}`).waitFor();
  await page.locator('[data-status="Running"]').first().waitFor({ timeout: START });
  await page.getByRole('button', { name: /Emulated/ }).first().waitFor();
  await put(page, 'DELETE', `${VMS}/${made}`);
}

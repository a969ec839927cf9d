// The support bundles, of a machine and of the cluster, as files that a browser keeps.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';

import { complaints, open } from './browser.mjs';

const [namespace, name] = (process.env.ANYVIRT_MACHINE ?? 'default/fedora-1').split('/');

export async function support(browser, session) {
  const { page, faults, goto, close } = await open(browser, session);
  await goto(`/machines/${namespace}/${name}?tab=diagnostics`);
  const machine = await bundle(page);
  assert.equal(machine.about, `VirtualMachine ${namespace}/${name}`);
  assert.deepEqual(machine.missing, {});
  const { virtualMachine, kubeVirtVersion, explanation, events } = machine.parts;
  assert.equal(virtualMachine.metadata.name, name);
  assert.match(kubeVirtVersion.gitVersion, /^v\d/);
  assert.ok(explanation.cause.length > 0);
  assert.ok(Array.isArray(events));
  const { userData } = virtualMachine.spec.template.spec.volumes.find((volume) => volume.cloudInitNoCloud !== undefined).cloudInitNoCloud;
  assert.match(userData, /^\(redacted\) \d+ characters$/);
  assert.doesNotMatch(JSON.stringify(machine), /chpasswd|managedFields/);
  assert.deepEqual(await complaints(page), []);

  await goto('/settings');
  const cluster = await bundle(page);
  assert.deepEqual(cluster.missing, {});
  assert.ok(cluster.parts.nodes.length > 0);
  const listed = cluster.parts.virtualMachines.find((one) => one.metadata.name === name);
  assert.equal(listed.spec, undefined);
  assert.equal(typeof listed.status.printableStatus, 'string');
  assert.doesNotMatch(JSON.stringify(cluster), /chpasswd|managedFields/);
  assert.deepEqual(faults, []);
  await close();
}

/** Has a bundle made, and reads it. */
async function bundle(page) {
  const card = page.locator('main section').filter({ has: page.getByRole('heading', { name: 'Support bundle' }) });
  const kept = page.waitForEvent('download');
  await card.getByRole('button', { name: 'Download' }).click();
  const file = await kept;
  assert.match(file.suggestedFilename(), /^anyvirt-support-[\w.-]+\.json$/);
  await card.getByText(/was made$/).waitFor();
  return JSON.parse(await readFile(await file.path(), 'utf8'));
}

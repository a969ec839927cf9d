// The article without a mouse, and what a screen reader needs on the way.
import assert from 'node:assert/strict';

import { drawn, open } from './browser.mjs';

const [, NAME] = (process.env.ANYVIRT_MACHINE ?? 'default/fedora-1').split('/');

export async function keyboard(browser, session) {
  const { page, faults, goto, close } = await open(browser, session);
  const press = (keys) => page.keyboard.press(keys);
  const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim() ?? '');

  console.log('the first stop of Tab leads to the content');
  await goto('/overview');
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
  await press('Tab');
  assert.equal(await focused(), 'Skip to content');

  console.log('g c goes to the config maps, / to the filter, Enter opens the row');
  await press('g');
  await press('c');
  await page.getByRole('heading', { level: 1, name: 'Config Maps' }).waitFor();
  await press('/');
  await page.keyboard.type('kubevirt-config');
  await page.locator('[data-row="openshift-cnv/kubevirt-config"]').waitFor();
  await press('Escape');
  await page.evaluate(() => document.activeElement?.blur());
  await press('j');
  await page.waitForFunction(() => document.activeElement?.textContent === 'kubevirt-config');
  await press('Enter');
  await page.getByRole('tab', { name: 'YAML' }).waitFor();

  console.log('the editor is entered with Tab, reviewed with Ctrl+Enter, and left with Escape and Tab');
  await page.getByRole('tab', { name: 'YAML' }).focus();
  await press('Enter');
  const editor = page.locator('[data-editor="yaml"] .cm-content');
  await editor.getByText('ConfigMap').waitFor();
  await editor.focus();
  await press('Control+Home');
  await page.keyboard.insertText('# a comment\n');
  // Held, as a hand that hesitates holds it: the change must wait to be read.
  const writes = [];
  page.on('request', (request) => {
    if (request.method() === 'PUT' && !request.url().includes('dryRun=All')) writes.push(request.url());
  });
  await page.keyboard.down('Control');
  await page.keyboard.down('Enter');
  const review = page.getByRole('dialog', { name: /Change kubevirt-config/ });
  await review.waitFor();
  await page.waitForFunction(() => [...document.querySelectorAll('[role=dialog] button')].some((button) => button.textContent === 'Apply' && !button.disabled));
  for (let times = 0; times < 5; times += 1) await page.keyboard.down('Enter');
  await page.keyboard.up('Enter');
  await page.keyboard.up('Control');
  await review.getByRole('heading', { name: 'What follows' }).waitFor();
  assert.deepEqual(writes, []);
  await press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await editor.focus();
  await press('Escape');
  await press('Tab');
  assert.equal(await editor.evaluate((element) => element === document.activeElement), false);

  console.log('g v goes to the machines, ? explains the keys');
  await page.getByRole('link', { name: 'Config Maps' }).first().focus();
  await press('g');
  await press('v');
  await page.getByRole('heading', { level: 1, name: 'VirtualMachines' }).waitFor();
  console.log('j, x and . reach a machine, its check box and its menu; a click opens the menu too');
  await press('j');
  await page.waitForFunction((name) => document.activeElement?.textContent === name, NAME);
  await press('x');
  await page.getByRole('button', { name: 'Delete (1)' }).waitFor();
  await press('x');
  await press('.');
  await page.getByRole('menuitem', { name: /^Delete/ }).waitFor();
  await press('Escape');
  await page.getByRole('menuitem', { name: /^Delete/ }).waitFor({ state: 'detached' });
  const toggle = page.getByRole('button', { name: /^Actions of/ }).first();
  await toggle.click();
  await page.getByRole('menuitem', { name: /^Delete/ }).waitFor();
  const [from, to] = [await toggle.boundingBox(), await page.getByRole('menuitem', { name: /^Delete/ }).boundingBox()];
  assert.ok(from !== null && to !== null && to.y > from.y && to.x > from.x - 600, `the menu stands at ${to?.x}, ${to?.y}, its button at ${from?.x}, ${from?.y}`);
  await press('Escape');
  await page.getByRole('menuitem', { name: /^Delete/ }).waitFor({ state: 'detached' });
  await page.evaluate(() => document.activeElement?.blur());
  await press('?');
  await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor();
  console.log('single keys that are switched off do nothing, in tables neither');
  await page.getByRole('checkbox', { name: 'Single keys are shortcuts' }).uncheck();
  await press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await page.evaluate(() => document.activeElement?.blur());
  for (const key of ['j', 'x', 'p', '.']) await press(key);
  await drawn(page);
  assert.equal(await page.evaluate(() => document.activeElement === document.body), true);
  assert.equal(await page.locator('[data-row] input:checked, [data-beside], [role="menuitem"]').count(), 0);
  assert.deepEqual(writes, []);
  assert.deepEqual(faults, []);
  await close();
}

// The article without a mouse, and what a screen reader needs on the way.
import assert from 'node:assert/strict';

import { open } from './browser.mjs';

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
  await press('Control+Enter');
  await page.getByRole('dialog', { name: /Change kubevirt-config/ }).waitFor();
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
  await press('?');
  await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor();
  await press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  assert.deepEqual(faults, []);
  await close();
}

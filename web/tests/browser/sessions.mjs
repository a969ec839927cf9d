// The settings of who uses the console: who is logged in, ended there, and told so in the other browser; confirmations.
import assert from 'node:assert/strict';

import { complaints, newLink, open } from './browser.mjs';

export async function sessions(browser, session) {
  const first = await open(browser, session);
  const nobody = { origin: session.origin };
  const over = [{ path: /\/.*/, status: 401 }];
  const second = await open(browser, nobody, { expected: over });

  console.log('a second browser logs in, and is listed beside this one');
  await second.page.goto(await newLink());
  await second.page.waitForURL('**/console/overview');
  await first.goto('/settings');
  const rows = first.page.locator('[data-session]');
  await rows.first().waitFor();
  assert.equal(await rows.filter({ hasText: 'this browser' }).count(), 1);
  const newest = rows.first();
  const name = await newest.getAttribute('data-session');
  assert.match(await newest.innerText(), /Chrome \d+, Linux[\s\S]*127\.0\.0\.1/);

  console.log('it is ended after a question that tells what is lost and shows the command');
  await newest.getByRole('button', { name: `End the session ${name}` }).click();
  const dialog = first.page.getByRole('dialog', { name: 'End 1 session?' });
  await dialog.getByRole('button', { name: 'Show command' }).click();
  assert.equal(await dialog.getByRole('textbox', { name: 'Command' }).inputValue(), `anyvirt web --revoke ${name}`);
  assert.deepEqual(await complaints(first.page), []);
  await dialog.getByRole('button', { name: 'End', exact: true }).click();
  await first.page.locator(`[data-session="${name}"]`).waitFor({ state: 'detached' });

  console.log('the other browser is at the login by itself, and says why');
  await second.page.getByText('Your session has ended').waitFor();
  await second.page.getByText('somebody has ended it').waitFor();
  assert.deepEqual(await complaints(second.page), []);
  console.log('also after a reload');
  await second.goto('/nodes');
  await second.page.getByText('Your session has ended').waitFor();
  assert.deepEqual(second.faults, []);
  assert.ok(second.refusals.length > 0);
  await second.close();

  console.log('all others are ended at once, this one stays');
  const third = await open(browser, nobody, { expected: over });
  await third.page.goto(await newLink());
  await third.page.waitForURL('**/console/overview');
  await first.page.getByRole('button', { name: 'Look again' }).click();
  await rows.nth(1).waitFor();
  await first.page.getByRole('button', { name: 'End all others' }).click();
  await first.page.getByRole('dialog').getByRole('button', { name: 'End', exact: true }).click();
  await first.page.getByText('There is no other session.').waitFor();
  assert.equal(await rows.count(), 1);
  await third.page.getByText('Your session has ended').waitFor();
  await third.close();
  await consent(first);
  assert.deepEqual(first.faults, []);
  assert.deepEqual(third.faults, []);
  await first.close();
}

/** Whoever wants to be asked before everything is asked before a pause too. */
async function consent({ page, goto }) {
  console.log('who wants to be asked before every action is asked');
  await goto('/settings');
  await page.getByText('Ask before every action').click();
  await goto(`/machines/${process.env.ANYVIRT_MACHINE ?? 'default/fedora-1'}`);
  await page.getByRole('button', { name: 'Actions', exact: true }).click();
  await page.getByRole('menuitem', { name: 'Pause', exact: true }).click();
  await page.getByRole('dialog', { name: /^Pause / }).getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('dialog').waitFor({ state: 'detached' });
}

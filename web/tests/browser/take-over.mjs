// Two people at one screen: the second is told, may join the first or take the screen over, and then the first is told so. The machine runs (after `journey`).
import assert from 'node:assert/strict';

import { complaints, open } from './browser.mjs';

const [namespace, name] = (process.env.ANYVIRT_MACHINE ?? 'default/fedora-1').split('/');
const SCREEN = `/machines/${namespace}/${name}?tab=console&view=vnc`;

/** The second's first try, as Chromium tells it and as noVNC does. */
const REFUSED = { path: new RegExp(`/apis/.*/${name}/vnc\\?preserveSession=true`), status: 503 };
const TOLD = { told: 'Failed when connecting: Connection closed (code: 1006)' };

export async function takeOver(browser, session) {
  const first = await open(browser, session);
  const second = await open(browser, session, { expected: [REFUSED, TOLD] });
  const shown = ({ page }) => page.locator('[data-console="screen"][data-state="open"]').waitFor();

  console.log('the second to come is refused, and told why');
  await first.goto(SCREEN);
  await shown(first);
  await second.goto(SCREEN);
  await second.page.getByText('somebody else has it open').waitFor();
  assert.deepEqual(await complaints(second.page), []);

  console.log('whoever joins sees the screen, and so does who was there');
  await second.page.getByRole('button', { name: 'Join them' }).click();
  await shown(second);
  await shown(first);
  assert.deepEqual(await complaints(second.page), []);
  // It comes again, as a person would who has thought better of it.
  await second.goto(SCREEN);
  await second.page.getByText('somebody else has it open').waitFor();

  console.log('whoever takes the screen over has it, and the other is told');
  await second.page.getByRole('button', { name: 'Take it over' }).click();
  await shown(second);
  await first.page.getByText('somebody else has taken it over').waitFor();
  assert.deepEqual(await complaints(first.page), []);
  assert.deepEqual(first.faults, []);
  assert.deepEqual(second.faults, []);
  // Each time that it came by itself.
  assert.equal(second.refusals.filter((line) => line.startsWith('refused:')).length, 2);
  await first.close();
  await second.close();
}

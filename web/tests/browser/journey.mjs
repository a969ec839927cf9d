// Figures 1 to 9 of the article in the console: a machine that cannot start, one property in a ConfigMap, the same
// machine running, its consoles, and the way back. ANYVIRT_MACHINE (NAMESPACE/NAME) waits for hardware virtualization
// that is not there, with emulation off, and asks for a login on its serial line when it has booted.
import assert from 'node:assert/strict';

import { complaints, open } from './browser.mjs';
import { picture } from './pictures.mjs';

/** Milliseconds for an emulated guest to boot on a busy machine. */
const BOOT = 300_000;
const [namespace, name] = (process.env.ANYVIRT_MACHINE ?? 'default/fedora-1').split('/');
const MACHINE = `/machines/${namespace}/${name}`;

export async function journey(browser, session) {
  const { page, faults, goto, close } = await open(browser, session);
  const clean = async (where) => assert.deepEqual(await complaints(page), [], `complaints at ${where}`);
  const status = (word) => page.locator(`[data-status="${word}"]`).first();

  console.log('figure 1: the machine cannot start, in the words of the scheduler');
  await goto(MACHINE);
  await status('ErrorUnschedulable').waitFor();
  await page.getByText(/nodes are available: .*Insufficient devices\.kubevirt\.io\/kvm/).first().waitFor();
  await page.getByRole('button', { name: /Acceleration: Blocked/ }).waitFor();
  await clean('figure 1');
  await picture(page, 'figure-1-cannot-start');

  console.log('figures 2 and 3: config maps of openshift-cnv, at the address of OpenShift');
  await page.goto(`${session.origin}/k8s/ns/openshift-cnv/configmaps`);
  await page.getByRole('link', { name: 'kubevirt-config' }).waitFor();
  assert.match(page.url(), /\/console\/k8s\/ns\/openshift-cnv\/configmaps$/);
  await clean('figure 3');
  await picture(page, 'figure-3-config-maps');

  console.log('figure 4: the ConfigMap as YAML');
  await page.getByRole('link', { name: 'kubevirt-config' }).click();
  await page.getByRole('tab', { name: 'YAML' }).click();
  const editor = page.locator('[data-editor="yaml"] .cm-content');
  await editor.getByText('ConfigMap').waitFor();
  await clean('figure 4');
  await picture(page, 'figure-4-yaml');

  console.log('figure 5: the property, first without its quotes');
  await editor.click();
  await page.keyboard.press('Control+End');
  if ((await editor.innerText()).includes('data: {}')) {
    for (let letters = 0; letters < ' {}\n'.length; letters += 1) await page.keyboard.press('Backspace');
    await page.keyboard.press('Enter');
  }
  await page.keyboard.insertText('  debug.useEmulation: true');
  await page.getByText('Values of a ConfigMap are text: write "true".').first().waitFor();
  assert.equal(await page.getByRole('button', { name: 'Review changes' }).isDisabled(), true);
  await page.getByRole('button', { name: 'Write "true"' }).first().click();
  await editor.getByText('"true"').waitFor();
  await picture(page, 'figure-5-property');

  console.log('figure 6: what would change, and what follows');
  await page.getByRole('button', { name: 'Review changes' }).click();
  const review = page.getByRole('dialog', { name: /Change kubevirt-config/ });
  // In the difference, and in what follows from it.
  await review.getByText('debug.useEmulation').first().waitFor();
  await review.getByText('Asking the server what follows').waitFor({ state: 'detached' });
  await clean('figure 6');
  await picture(page, 'figure-6-review');
  await review.getByRole('button', { name: 'Apply' }).click();
  await page.getByText('ConfigMap kubevirt-config was saved').waitFor();
  await closeNotices(page);

  console.log('figures 7 and 8: Starting, then Running, without a reload');
  await page.getByRole('link', { name: 'VirtualMachines' }).click();
  const row = page.locator(`[data-row="${namespace}/${name}"]`);
  await row.waitFor();
  await page.waitForFunction((key) => ['Starting', 'Running'].includes(document.querySelector(`[data-row="${key}"] [data-status]`)?.getAttribute('data-status') ?? ''), `${namespace}/${name}`);
  await picture(page, 'figure-7-starting');
  await row.locator('[data-status="Running"]').waitFor({ timeout: BOOT });
  await row.getByText('Emulated').waitFor();
  await clean('figure 8');
  await picture(page, 'figure-8-running');

  console.log('figure 9: the steps of the start, to the login');
  await row.getByRole('link', { name }).click();
  await page.locator('[data-step="login"][data-state="done"]').waitFor({ timeout: BOOT });
  await clean('figure 9');
  await picture(page, 'figure-9-started');

  await serial(page, goto, clean);
  await screen(page, goto, clean);
  await wayBack(page, goto, status);
  assert.deepEqual(faults, []);
  await close();
}

/** Closes what is told in the corner, which would cover half of a picture. */
async function closeNotices(page) {
  const close = page.locator('.pf-v6-c-alert-group .pf-v6-c-alert__action button');
  while ((await close.count()) > 0) await close.first().click();
}

async function serial(page, goto, clean) {
  console.log('the serial console asks for a login');
  const sent = [];
  page.on('websocket', (socket) => {
    if (socket.url().endsWith('/console')) socket.on('framesent', ({ payload }) => sent.push(payload.toString()));
  });
  await goto(`${MACHINE}?tab=console&view=serial`);
  await page.locator('[data-console="serial"][data-state="open"]').waitFor();
  await page.waitForFunction(() => /login:/.test(document.querySelector('.xterm-accessibility-tree, .xterm-rows')?.textContent ?? ''), undefined, { timeout: BOOT });
  // To look is not to type: Enter might answer a question of the guest.
  assert.deepEqual(sent, []);
  await clean('serial');
  await picture(page, 'console-serial');
  console.log('and what is typed reaches the guest');
  await page.locator('[data-console="serial"] textarea').press('Enter');
  await page.waitForFunction(() => (document.querySelector('.xterm-accessibility-tree, .xterm-rows')?.textContent ?? '').split('login:').length > 2);
  assert.deepEqual(sent, ['\r']);
}

async function screen(page, goto, clean) {
  console.log('the screen shows a picture');
  await goto(`${MACHINE}?tab=console&view=vnc`);
  await page.locator('[data-console="screen"][data-state="open"]').waitFor();
  await page.waitForFunction(() => {
    const canvas = document.querySelector('[data-console="screen"] canvas');
    if (canvas === null || canvas.width === 0) return false;
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let lit = 0;
    for (let at = 0; at < data.length; at += 4) if (data[at] + data[at + 1] + data[at + 2] > 120) lit += 1;
    return lit > 200;
  });
  await clean('screen');
  await picture(page, 'console-screen');
}

async function wayBack(page, goto, status) {
  console.log('the way back: emulation off in the settings, the running machine untouched');
  await goto('/settings');
  await page.getByRole('radio', { name: /^Off/ }).click();
  const dialog = page.getByRole('dialog', { name: /Emulation off/ });
  await dialog.getByText('+ false').waitFor();
  await picture(page, 'settings-off');
  await dialog.getByRole('button', { name: 'Apply' }).click();
  await page.getByRole('button', { name: /Acceleration: No acceleration/ }).waitFor();
  await goto(MACHINE);
  await status('Running').waitFor();
}

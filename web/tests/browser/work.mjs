// A day's work: create a machine, change it, change it while somebody else does, delete it.
import assert from 'node:assert/strict';

import { complaints, drawn, open } from './browser.mjs';

// Of its own for each run: one that was broken off leaves its machine behind.
const NAME = `made-here-${Date.now().toString(36)}`;
const MACHINE = `/machines/default/${NAME}`;
/** One that waits for hardware virtualization. */
const [, WAITING] = (process.env.ANYVIRT_MACHINE ?? 'default/fedora-1').split('/');

export async function work(browser, session) {
  const conflict = { path: new RegExp(`/apis/kubevirt\\.io/v1/namespaces/default/virtualmachines/${NAME}(\\?dryRun=All)?`), status: 409 };
  const first = await open(browser, session, { expected: [{ path: /\/apis\/kubevirt\.io\/v1\/namespaces\/default\/virtualmachines\?dryRun=All/, status: 422 }, { path: /.*\/demo\/virtualmachines\/bad\/stop/, status: 503 }] });
  const second = await open(browser, session, { expected: [conflict] });
  await explained(first);
  await create(first);
  await beside(first);
  await bulk(first);
  await configure(first);
  await late(first);
  await reviewed(first);
  await collide(first, second);
  assert.deepEqual(second.faults, []);
  assert.equal(second.refusals.length, 1);
  // Before the machine goes: whoever looks at it just then is told so by a 404.
  await second.close();
  await remove(first);
  await projects(first);
  assert.deepEqual(first.faults, []);
  assert.equal(first.refusals.length, 2);
  await first.close();
}

async function projects({ page, goto }) {
  console.log('the project chosen in the masthead goes with the navigation; one that an address names does not');
  const chosen = (name) => page.getByRole('banner').getByRole('button', { name: `Project: ${name}` });
  const nav = (name) => page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name, exact: true });
  await goto('/k8s/ns/openshift-cnv/configmaps');
  await chosen('openshift-cnv').waitFor();
  await nav('Events').click();
  await chosen('All projects').click();
  await page.getByRole('listbox').getByRole('option', { name: 'default', exact: true }).click();
  await page.waitForURL('**/console/events?project=default');
  await nav('Config Maps').click();
  await page.waitForURL('**/console/k8s/ns/default/configmaps');
  await chosen('default').click();
  await page.getByRole('listbox').getByRole('option', { name: 'kubevirt', exact: true }).click();
  await page.waitForURL('**/console/k8s/ns/kubevirt/configmaps');
  await nav('Overview').click();
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
  await page.evaluate(() => document.activeElement?.blur());
  await page.keyboard.press('c');
  await page.getByRole('combobox', { name: 'Project' }).waitFor();
  assert.equal(await page.getByRole('combobox', { name: 'Project' }).inputValue(), 'kubevirt');
  await chosen('kubevirt').click();
  await page.getByRole('listbox').getByRole('option', { name: 'default', exact: true }).click();
  await page.waitForFunction(() => document.querySelector('#namespace')?.value === 'default');
  await nav('Nodes').click();
  await page.getByRole('heading', { level: 1, name: 'Nodes' }).waitFor();
  await chosen('default').click();
  await page.getByRole('listbox').getByRole('option', { name: 'All projects' }).click();
  await nav('VirtualMachines').click();
  await page.waitForURL('**/console/machines');
}

async function explained({ page, goto }) {
  console.log('from an event the way leads to why the machine does not run');
  await goto('/events?warnings=true&kind=Pod');
  await page.getByRole('switch', { name: 'Repeats together' }).waitFor();
  await page.getByRole('link', { name: `Explain ${WAITING}` }).first().click();
  await page.getByRole('heading', { name: `Why ${WAITING} does not run` }).waitFor();
}

async function create({ page, goto }) {
  console.log('a machine is made on one page, and refused by the form before the server is asked');
  await goto('/create');
  const yaml = page.locator('[data-editor="yaml"] .cm-content');
  await page.locator('[data-fit="fits"]').waitFor();
  await page.getByRole('button', { name: 'Create', exact: true }).click();
  await page.getByText('Small letters, digits and hyphens').waitFor();
  await page.getByLabel('Container disk').fill('registry.example/machines/none:1');
  await page.getByRole('textbox', { name: 'Name' }).fill(NAME);
  await page.getByRole('textbox', { name: 'Password' }).fill('<script>alert(1)</script>');
  await page.getByText('Start it now').click();
  assert.deepEqual(await complaints(page), []);

  console.log('what is chosen stands in the YAML, and what is typed there stands in the form');
  await page.getByRole('button', { name: /^More/ }).click();
  await page.getByRole('button', { name: 'Add a disk' }).click();
  await page.getByLabel('Size of disk-1').fill('3Gi');
  await yaml.getByText('capacity: 3Gi').waitFor();
  await yaml.getByText('capacity: 3Gi').click();
  await page.keyboard.press('End');
  await page.keyboard.press('Backspace');
  await page.keyboard.press('Backspace');
  await page.keyboard.insertText('Mi');
  await page.waitForFunction(() => [...document.querySelectorAll('input')].some(({ value }) => value === '3Mi'));
  console.log('what the form cannot say is told, and the form is left alone');
  await yaml.getByText('runStrategy: Halted').click();
  await page.keyboard.press('End');
  await page.keyboard.insertText('x');
  await page.getByText('The YAML says what the form cannot').waitFor();
  assert.equal(await page.getByLabel('Container disk').isDisabled(), true);
  assert.deepEqual(await complaints(page), []);
  await page.getByRole('button', { name: 'Back to what the form says' }).click();
  await yaml.getByText('runStrategy: Halted', { exact: true }).waitFor();

  console.log('what the server refuses stands at its field');
  await page.getByLabel('MAC address').fill('01:00:00:00:00:01');
  await page.getByRole('button', { name: 'Create', exact: true }).click();
  await page.locator('.pf-v6-c-form__group:has(#new-mac)').getByText('has a multicast MAC address').waitFor();
  assert.deepEqual(await complaints(page), []);
  await page.getByLabel('MAC address').fill('');
  await page.getByRole('button', { name: 'Make one' }).click();
  const made = await page.getByLabel('The password that was made').inputValue();
  assert.match(made, /^[a-z2-9]{20}$/);
  await yaml.getByText(made).waitFor();
  await page.getByRole('button', { name: 'Create', exact: true }).click();
  await page.getByRole('heading', { level: 1, name: NAME }).waitFor();
  await page.locator('[data-status="Stopped"]').waitFor();
}

async function beside({ page, goto }) {
  console.log('a click on its row shows it beside the list, the address knows it, and Escape gives the focus back');
  await goto(`/machines?q=${NAME}`);
  const row = page.locator(`[data-row="default/${NAME}"]`);
  const panel = page.locator(`[data-beside="default/${NAME}"]`);
  await row.locator('[data-status]').click();
  await panel.getByRole('button', { name: 'Start' }).waitFor();
  await page.waitForFunction((name) => document.activeElement?.tagName === 'H2' && document.activeElement.textContent === name, NAME);
  assert.match(page.url(), /beside=/);
  assert.deepEqual(await complaints(page), []);
  await page.reload();
  await panel.getByRole('button', { name: 'Start' }).waitFor();
  await page.keyboard.press('Escape');
  await panel.waitFor({ state: 'detached' });
  const isAtRow = (name) => document.activeElement?.tagName === 'A' && document.activeElement.textContent === name;
  await page.waitForFunction(isAtRow, NAME);
  console.log('and so do the keys, while Enter opens its page');
  await page.keyboard.press('j');
  await page.waitForFunction(isAtRow, NAME);
  await page.keyboard.press('p');
  await panel.waitFor();
  await page.keyboard.press('Escape');
  await page.waitForFunction(isAtRow, NAME);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { level: 1, name: NAME }).waitFor();
}

/** Of two machines one is refused: it stays listed with the server's words, and is tried again alone. */
async function bulk({ page, goto }) {
  console.log('of two machines that are stopped one fails, and stays listed');
  const meta = (name) => ({ name, namespace: 'demo', uid: name, resourceVersion: '1' });
  const items = ['good', 'bad'].map((name) => ({ apiVersion: 'kubevirt.io/v1', kind: 'VirtualMachine', metadata: meta(name), spec: { runStrategy: 'Always', template: { spec: { domain: { devices: {} } } } }, status: { printableStatus: 'Running' } }));
  const lists = /\/virtualmachines\?/;
  const stops = /\/virtualmachines\/(good|bad)\/stop$/;
  const stopped = [];
  await page.route(lists, (route) => (route.request().url().includes('watch') ? new Promise(() => undefined) : route.fulfill({ json: { kind: 'List', metadata: { resourceVersion: '1' }, items } })));
  await page.route(stops, (route) => {
    const [, name] = stops.exec(route.request().url());
    stopped.push(name);
    return name === 'good' || stopped.length > 2 ? route.fulfill({ status: 202, body: '' }) : route.fulfill({ status: 503, json: { kind: 'Status', code: 503, message: 'the node is away' } });
  });
  await goto('/machines');
  await page.getByRole('checkbox', { name: 'Select all' }).check();
  await page.getByRole('button', { name: 'Stop (2)' }).click();
  const dialog = page.getByRole('dialog', { name: 'Stop 2 machines?' });
  await dialog.getByRole('button', { name: 'Stop', exact: true }).click();
  await dialog.getByText('the node is away').waitFor();
  await dialog.getByText('1 of 2 were asked').waitFor();
  assert.deepEqual(await complaints(page), []);
  await dialog.getByRole('button', { name: 'Try again' }).click();
  await dialog.waitFor({ state: 'detached' });
  assert.deepEqual(stopped.toSorted(), ['bad', 'bad', 'good']);
  await page.unroute(lists);
  await page.unroute(stops);
}

async function configure({ page, goto }) {
  console.log('its processors, a disk and a label are changed in the form, after a look at the difference and the command');
  await goto(`${MACHINE}?tab=configuration`);
  await page.getByRole('button', { name: 'One processor more' }).click();
  await page.getByLabel('Size of disk-1').fill('5Mi');
  await page.getByLabel('Place of root in the boot order').fill('1');
  await page.getByRole('textbox', { name: 'Of the machine' }).fill('made=here');
  assert.deepEqual(await complaints(page), []);
  await page.getByRole('button', { name: 'Review changes' }).click();
  const review = page.getByRole('dialog', { name: `Change ${NAME}?` });
  await review.getByText('made: here').waitFor();
  await review.getByRole('button', { name: 'Show command' }).click();
  assert.match(await review.getByRole('textbox', { name: 'Command that does the same' }).inputValue(), /^kubectl -n default patch vm .*"labels":\{"made":"here"\}/);
  await review.getByText('Asking the server what follows').waitFor({ state: 'detached' });
  assert.deepEqual(await complaints(page), []);
  await review.getByRole('button', { name: 'Apply' }).click();
  await page.getByText(`${NAME} was changed`).waitFor();
  await page.waitForFunction(() => [...document.querySelectorAll('textarea')].some(({ value }) => value === 'made=here'));
  console.log('the list shows it, and is filtered by its label');
  await goto('/machines?label=made%3Dhere');
  await page.locator(`[data-row="default/${NAME}"]`).getByText('2 CPUs').waitFor();
}

/** Adds a label to the YAML that a page shows, and has it reviewed. */
async function label({ page }, text) {
  const editor = page.locator('[data-editor="yaml"] .cm-content');
  await editor.getByText('VirtualMachine').first().waitFor();
  await editor.getByText('labels:', { exact: true }).first().click();
  await page.keyboard.press('End');
  await page.keyboard.insertText(`\n    by: ${text}`);
  await page.getByRole('button', { name: 'Review changes' }).click();
}

async function late({ page, goto }) {
  console.log('an answer that comes late does not replace what was typed meanwhile');
  await goto(`${MACHINE}?tab=yaml`);
  const editor = page.locator('[data-editor="yaml"] .cm-content');
  await editor.getByText('VirtualMachine').first().waitFor();
  const path = new RegExp(`/virtualmachines/${NAME}$`);
  const { asked, release } = await hold(page, path, 'GET');
  await page.getByRole('button', { name: 'Reload' }).click();
  await asked;
  await editor.getByText('metadata:', { exact: true }).first().click();
  await page.keyboard.press('End');
  await page.keyboard.insertText('\n  # typed meanwhile');
  const answered = page.waitForResponse(path);
  await release();
  await (await answered).finished();
  await drawn(page);
  assert.match(await editor.innerText(), /# typed meanwhile/);
  console.log('and is shown when it is asked for again');
  await page.getByRole('button', { name: 'Reload' }).click();
  await editor.getByText('# typed meanwhile').waitFor({ state: 'detached' });
}

async function reviewed({ page, goto }) {
  console.log('what is typed while the server says what would become of it is reviewed too');
  await goto(`${MACHINE}?tab=yaml`);
  const editor = page.locator('[data-editor="yaml"] .cm-content');
  await editor.getByText('labels:', { exact: true }).first().click();
  await page.keyboard.press('End');
  await page.keyboard.insertText('\n    by: early');
  const path = new RegExp(`/virtualmachines/${NAME}\\?dryRun=All$`);
  const { asked, release } = await hold(page, path, 'PUT');
  await page.keyboard.press('Control+Enter');
  await asked;
  await page.keyboard.insertText('-and-late');
  await release();
  const review = page.getByRole('dialog', { name: `Change ${NAME}?` });
  await review.getByText('early-and-late').first().waitFor();
  await review.getByRole('button', { name: 'Go on editing' }).click();
  await page.getByRole('button', { name: 'Discard' }).click();
  await editor.getByText('by: early').waitFor({ state: 'detached' });
}

/** Keeps back what `page` asks: `asked` is fulfilled when it has asked, `release` lets it through. */
async function hold(page, path, method) {
  const kept = [];
  let arrived;
  const asked = new Promise((done) => { arrived = done; });
  const keep = (route) => {
    if (route.request().method() !== method) return route.fallback();
    kept.push(route);
    return arrived();
  };
  await page.route(path, keep);
  const release = async () => {
    for (const route of kept) await route.continue();
    await page.unroute(path, keep);
  };
  return { asked, release };
}

async function collide(first, second) {
  console.log('two people change it: the second sees what the first has done, beside their own');
  await first.goto(`${MACHINE}?tab=yaml`);
  await second.goto(`${MACHINE}?tab=yaml`);
  await second.page.locator('[data-editor="yaml"] .cm-content').getByText('VirtualMachine').first().waitFor();
  // Begun before the first has saved: the editor keeps what is typed.
  await label(second, 'second');
  const review = second.page.getByRole('dialog', { name: `Change ${NAME}?` });
  await review.waitFor();
  await label(first, 'first');
  await first.page.getByRole('dialog', { name: `Change ${NAME}?` }).getByRole('button', { name: 'Apply' }).click();
  await first.page.getByText(`VirtualMachine ${NAME} was saved`).waitFor();
  await review.getByRole('button', { name: 'Apply' }).click();
  const conflict = second.page.getByRole('dialog', { name: `Somebody has changed ${NAME} meanwhile` });
  await conflict.waitFor();
  assert.deepEqual(await complaints(second.page), []);
  await conflict.getByRole('button', { name: 'Go on with the right side' }).click();
  await second.page.getByRole('button', { name: 'Review changes' }).click();
  await review.getByRole('button', { name: 'Apply' }).click();
  await second.page.getByText(`VirtualMachine ${NAME} was saved`).waitFor();
  console.log('and the first sees it without a reload');
  await first.page.locator('[data-editor="yaml"] .cm-content').getByText('by: second').waitFor();
}

async function remove({ page, goto }) {
  console.log('it is deleted from the list, after a question that shows the command');
  await goto(`/machines?q=${NAME}`);
  await page.getByRole('checkbox', { name: `Select default/${NAME}` }).check();
  await page.getByRole('button', { name: 'Delete (1)' }).click();
  const dialog = page.getByRole('dialog', { name: `Delete ${NAME}?` });
  await dialog.getByRole('button', { name: 'Show command' }).click();
  assert.deepEqual(await complaints(page), []);
  await dialog.getByRole('button', { name: 'Delete', exact: true }).click();
  await page.locator(`[data-row="default/${NAME}"]`).waitFor({ state: 'detached' });
}

// A person who may only look: logged in by a token, on every page. What they may not do is visible, disabled, and says
// which right is missing; nothing that is offered is refused; no secret and no guest's screen is shown.
import assert from 'node:assert/strict';

import { ask, complaints, drawn, open, token } from './browser.mjs';

const [namespace, name] = (process.env.ANYVIRT_MACHINE ?? 'default/fedora-1').split('/');
const MACHINE = `/machines/${namespace}/${name}`;
const SECRET = { apiVersion: 'v1', kind: 'Secret', metadata: { name: `viewer-${Date.now().toString(36)}`, namespace: 'default' }, stringData: { key: 'kept-from-viewers' } };

/** Pages, and what each waits for. Forms are not among them: one button sends what the others change, and that is in {@link DISABLED}. */
const PAGES = [
  ['/overview', '[data-status]'],
  ['/machines', `[data-row="${namespace}/${name}"]`],
  [MACHINE, 'h2'],
  [`${MACHINE}?tab=events`, '[data-row]'],
  [`${MACHINE}?tab=snapshots`, 'h3'],
  [`${MACHINE}?tab=metrics`, 'h2'],
  [`${MACHINE}?tab=diagnostics`, 'table'],
  [`${MACHINE}?tab=yaml`, '[data-editor="yaml"] .cm-line'],
  ['/images', '[data-row]'],
  ['/k8s/ns/openshift-cnv/configmaps', '[data-row]'],
  ['/k8s/ns/openshift-cnv/configmaps/kubevirt-config', 'h2'],
  ['/k8s/ns/openshift-cnv/configmaps/kubevirt-config?tab=yaml', '[data-editor="yaml"] .cm-line'],
  ['/k8s/ns/openshift-cnv/configmaps/~new', '[data-editor="yaml"] .cm-line'],
  ['/events', '[data-row]'],
  ['/nodes', 'table'],
  ['/settings', '[data-session]'],
  ['/licences', '[data-licence]'],
];

/** What ends this visit, leaves the page, or does nothing to the cluster by its nature. */
const LEFT_ALONE = /^(Log out|End the session|End all others|Download|Copy|Copied|Console|Reload|Discard|Look again|Go on as YAML|$)/;

/** Where what is missing is told: the page, what is done there, the button or menu item, and its right. */
const DISABLED = [
  ['/machines', undefined, 'button', 'Create', 'create virtualmachines'],
  ['/machines', (page) => page.getByRole('checkbox', { name: `Select ${namespace}/${name}` }).check(), 'button', 'Delete (1)', 'delete virtualmachines'],
  ['/machines', (page) => page.getByRole('button', { name: `Actions of ${namespace}/${name}` }).click(), 'menuitem', /^Delete/, 'delete virtualmachines'],
  [MACHINE, undefined, 'button', 'Stop', 'update virtualmachines/stop'],
  [MACHINE, (page) => page.getByRole('button', { name: 'Actions', exact: true }).click(), 'menuitem', /^Restart/, 'update virtualmachines/restart'],
  [MACHINE, (page) => page.getByRole('button', { name: 'Actions', exact: true }).click(), 'menuitem', /^Pause/, 'update virtualmachineinstances/pause'],
  [`${MACHINE}?tab=configuration`, undefined, 'button', 'Review changes', 'update virtualmachines'],
  [`${MACHINE}?tab=yaml`, undefined, 'button', 'Review changes', 'update virtualmachines'],
  ['/create', undefined, 'button', 'Create', 'create virtualmachines'],
  ['/k8s/ns/openshift-cnv/configmaps', undefined, 'button', 'Create ConfigMap', 'create configmaps'],
  ['/k8s/ns/openshift-cnv/configmaps', (page) => page.getByRole('button', { name: 'Actions of openshift-cnv/kubevirt-config' }).click(), 'menuitem', /^Delete ConfigMap/, 'delete configmaps'],
  ['/k8s/ns/openshift-cnv/configmaps/~new', undefined, 'button', 'Review changes', 'create configmaps'],
  ['/settings', async (page) => {
    // Only then it is known which are not.
    await page.getByRole('radio', { checked: true }).waitFor();
    await page.getByRole('radio', { checked: false }).first().click();
    await page.getByRole('heading', { name: 'What follows' }).waitFor();
    await page.getByText('Asking the server what follows').waitFor({ state: 'detached' });
  }, 'button', 'Apply', 'patch configmaps'],
];

export async function viewer(browser, session) {
  const keeper = await open(browser, session);
  await keeper.goto('/settings');
  assert.equal((await ask(keeper.page, 'POST', '/api/v1/namespaces/default/secrets', SECRET)).code, 201);
  const secret = { path: new RegExp(`/api/v1/namespaces/default/secrets.*`), status: 403 };
  const visitor = await open(browser, { origin: session.origin }, { expected: [secret, { path: /\/console\/api\/session/, status: 401 }] });
  const written = [];
  visitor.page.on('request', (request) => {
    const changes = request.method() !== 'GET' && !/selfsubjectaccessreviews$|\/console\/api\/(login|consequences)$/.test(request.url());
    if (changes) written.push(`${request.method()} ${request.url()}`);
  });
  console.log('a token opens the console');
  await visitor.goto('/login');
  await visitor.page.getByLabel('Or a token').fill(token('ANYVIRT_VIEWER_TOKEN'));
  await visitor.page.getByRole('button', { name: 'Log in' }).click();
  await visitor.page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
  await visitor.page.getByRole('button', { name: 'anyvirt-viewer' }).waitFor();
  await disabled(visitor);
  await pressed(visitor);
  await guests(visitor);
  await secrets(visitor);
  assert.deepEqual(written, []);
  assert.deepEqual(visitor.faults, []);
  await visitor.close();
  assert.equal((await ask(keeper.page, 'DELETE', `/api/v1/namespaces/default/secrets/${SECRET.metadata.name}`)).code, 200);
  await keeper.close();
}

async function disabled({ page, goto }) {
  console.log('each button that they may not use is disabled, and names the right');
  for (const [path, prepare, role, label, right] of DISABLED) {
    await goto(path);
    await page.locator('h1').first().waitFor();
    await prepare?.(page);
    const button = page.getByRole(role, { name: label, exact: true }).last();
    await button.waitFor();
    const words = `You may not: ${right}`;
    const where = `${path}, ${label}`;
    if (role === 'menuitem') await button.getByText(words).waitFor();
    else {
      // Until the server has said what they may do, it is as for everybody.
      await button.and(page.locator('[aria-disabled="true"]')).waitFor();
      await button.hover();
      await page.getByRole('tooltip').getByText(words).waitFor();
    }
    assert.equal(await button.getAttribute('aria-disabled'), 'true', where);
    await button.click({ force: true });
    await drawn(page);
  }
  assert.deepEqual(await complaints(page), []);
}

async function pressed({ page, goto, refusals, faults }) {
  console.log('everything else is pressed, on every page, and nothing is refused or written');
  const before = refusals.length;
  let count = 0;
  for (const [path, content] of PAGES) {
    for (let index = 0; ; index += 1) {
      // What a button has opened or led to is left, and the page loaded anew only for that.
      if (index === 0 || !page.url().endsWith(`/console${path}`) || (await page.getByRole('dialog').count()) > 0) {
        await goto(path);
        await page.locator('main').locator(content).first().waitFor();
        await drawn(page);
      }
      const buttons = page.locator('main button:enabled:not([role="tab"], [aria-disabled="true"]), main [role="radio"]:enabled');
      if (index >= (await buttons.count())) break;
      const button = buttons.nth(index);
      const label = (await button.getAttribute('aria-label')) ?? (await button.innerText());
      if (LEFT_ALONE.test(label.trim())) continue;
      await button.click({ force: true });
      await drawn(page);
      count += 1;
      for (const inner of await page.getByRole('dialog').locator('button:enabled:not([aria-disabled="true"])').all()) {
        const told = (await inner.innerText()).trim();
        if (told === '' || /^(Cancel|Close|Show command)/.test(told)) continue;
        assert.fail(`${path}, ${label}: the dialog offers ${told}`);
      }
      if ((await page.getByRole('dialog').count()) > 0) await page.keyboard.press('Escape');
      await drawn(page);
    }
    assert.deepEqual(faults, [], path);
  }
  assert.equal(refusals.length, before);
  assert.ok(count > 10, `${count} buttons were pressed`);
  console.log(`${count} buttons`);
}

async function guests({ page, goto }) {
  console.log("no guest's screen, line or log is asked for");
  const asked = [];
  page.on('request', (request) => /\/(log|vnc|console|screenshot)(\?|$)/.test(request.url()) && asked.push(request.url()));
  page.on('websocket', (socket) => asked.push(socket.url()));
  for (const [view, subresource] of [['vnc', 'vnc'], ['serial', 'console'], ['log', 'log']]) {
    await goto(`${MACHINE}?tab=console&view=${view}`);
    await page.getByText(`You may not: get virtualmachineinstances/${subresource}`).waitFor();
  }
  assert.deepEqual(await complaints(page), []);
  await goto('/machines');
  await page.locator(`[data-row="${namespace}/${name}"]`).waitFor();
  await drawn(page);
  assert.equal(await page.locator('main img').count(), 0);
  assert.deepEqual(asked, []);
}

async function secrets({ page, goto, refusals }) {
  console.log('a Secret is not shown, and whoever types its address is told what is missing');
  const before = refusals.length;
  for (const tab of ['', '?tab=yaml']) {
    await goto(`/k8s/ns/default/secrets/${SECRET.metadata.name}${tab}`);
    await page.locator('[value*="is forbidden"], pre:has-text("is forbidden")').first().waitFor();
    const shown = await page.content();
    assert.ok(!shown.includes('kept-from-viewers') && !shown.includes(Buffer.from('kept-from-viewers').toString('base64')));
  }
  assert.ok(refusals.length > before);
}

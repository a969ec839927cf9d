// Pages in a language that nobody speaks, accented and a third longer than English: every heading, button and label is
// translated, and none is cut off.
import assert from 'node:assert/strict';

import { drawn, open } from './browser.mjs';

const [namespace, name] = (process.env.ANYVIRT_MACHINE ?? 'default/fedora-1').split('/');
const MACHINE = `/machines/${namespace}/${name}`;
const PAGES = [
  '/overview', '/machines', MACHINE, `${MACHINE}?tab=configuration`, `${MACHINE}?tab=snapshots`, `${MACHINE}?tab=events`, `${MACHINE}?tab=diagnostics`, '/create', '/images',
  '/k8s/ns/openshift-cnv/configmaps', '/k8s/ns/openshift-cnv/configmaps/kubevirt-config', '/events', '/nodes', '/settings',
];

export async function languages(browser, session) {
  const { page, faults, goto, close } = await open(browser, session);
  await page.addInitScript(() => localStorage.setItem('anyvirt.language', 'en-XA'));
  const wrong = [];
  for (const path of PAGES) {
    await goto(path);
    await page.locator('main h1').first().waitFor();
    await page.waitForFunction(() => document.querySelector('.pf-v6-c-spinner, .pf-v6-c-skeleton') === null);
    await drawn(page);
    wrong.push(...(await page.evaluate(complaintsOfWords, NAMES)).map((one) => `${path}: ${one}`));
  }
  assert.deepEqual(wrong, []);
  assert.deepEqual(faults, []);
  await close();
}

/** Names of several words, the same in every language. */
const NAMES = ['CentOS Stream', 'Alpine (demo)'];

/** In the page: what of it is not translated, or cut off. */
function complaintsOfWords(names) {
  const spoken = 'h1, h2, h3, h4, button, label, legend, th, dt, nav a, [role=tab], [role=radio], .pf-v6-c-label, .pf-v6-c-empty-state__body';
  const found = [];
  for (const element of document.querySelectorAll(spoken)) {
    const box = element.getBoundingClientRect();
    // Alerts are headed by the server's own words.
    if (box.width === 0 || box.height === 0 || element.matches('.pf-v6-c-alert__title')) continue;
    const text = element.textContent.trim();
    // What is one word may be Kubernetes' own, or a name; that the console's own words are translated a test of the sources looks at.
    if (/\p{L}{2,}\s+\S*\p{L}{2,}/u.test(text) && !text.includes('[') && !names.includes(text)) found.push(`not translated: <${element.localName} class="${element.className}"> ${text.slice(0, 80)}`);
    for (const part of [element, ...element.querySelectorAll('*')]) {
      const { overflowX } = getComputedStyle(part);
      if (part.clientWidth > 0 && part.scrollWidth > part.clientWidth + 1 && overflowX !== 'visible' && part.closest('.av-scroll') === null) found.push(`cut off: <${part.localName} class="${part.className}"> ${part.textContent.trim().slice(0, 80)} (${part.scrollWidth} > ${part.clientWidth})`);
      else if (part === element && part.scrollWidth > part.clientWidth + 1 && part.clientWidth > 0) found.push(`wider than its place: <${part.localName} class="${part.className}"> ${text.slice(0, 80)} (${part.scrollWidth} > ${part.clientWidth})`);
    }
  }
  return found;
}

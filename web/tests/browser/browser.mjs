// A real Chromium, logged in to a real server, that remembers everything that went wrong on its pages.
import { readFileSync } from 'node:fs';
import { chromium, request } from 'playwright-core';

/** The one-time link of the server under test, as `anyvirt web --print` prints it. */
const LINK = process.env.ANYVIRT_CONSOLE_URL;
const PROGRAM = process.env.ANYVIRT_CHROMIUM ?? '/usr/bin/chromium';
const AXE = readFileSync(new URL('../../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
/** WCAG 2.2, levels A and AA. */
const RULES = { type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] };
/** Those of {@link RULES} that look at colours: another theme can break no other. */
const RULES_OF_COLOURS = { type: 'rule', values: ['color-contrast', 'link-in-text-block'] };

/** Classes of the document in each theme, as the console's own menu gives them. */
export const THEMES = {
  light: { 'pf-v6-theme-dark': false, 'pf-v6-theme-high-contrast': false },
  dark: { 'pf-v6-theme-dark': true, 'pf-v6-theme-high-contrast': false },
  'high-contrast': { 'pf-v6-theme-dark': false, 'pf-v6-theme-high-contrast': true },
};

/** Milliseconds for what the browser and an idle server do; guests have longer times of their own. */
export const PATIENCE = 30_000;

/** Starts Chromium, with further `words` on its command line. */
export async function launch(...words) {
  // As root Chromium refuses to start with its sandbox.
  return chromium.launch({ executablePath: PROGRAM, args: ['--no-sandbox', '--disable-gpu', ...words] });
}

/** A new one-time link, for whom the administrator's token proves. */
export async function newLink() {
  const context = await request.newContext({ baseURL: new URL(LINK).origin, ignoreHTTPSErrors: true, extraHTTPHeaders: { authorization: `Bearer ${token('ANYVIRT_TOKEN')}` } });
  const made = await context.post('/console/api/links');
  const { path } = await made.json();
  await context.dispose();
  return new URL(LINK).origin + path;
}

/** The bearer token in this variable of the environment. */
export function token(variable) {
  const secret = process.env[variable];
  if (secret === undefined) throw new Error(`${variable} must hold a bearer token of the server`);
  return secret;
}

/** Logs in with the one-time link; gives back what later contexts begin with. */
export async function logIn(browser) {
  if (LINK === undefined) throw new Error('ANYVIRT_CONSOLE_URL must hold the one-time link of a running server');
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  await page.goto(LINK, { timeout: PATIENCE });
  await page.waitForURL('**/console/overview', { timeout: PATIENCE });
  const state = await context.storageState();
  await context.close();
  return { state, origin: new URL(LINK).origin };
}

/**
 * A page of its own with the session, in a theme. `faults` fills with everything that goes wrong. Only what is
 * `expected` fills `refusals` instead: a request or a WebSocket of that `path` (with its query, as a whole) that is
 * refused with that `status`, or the very words `told` on the console.
 */
export async function open(browser, session, { theme = 'light', expected = [] } = {}) {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true,
    // Of none: a browser that nobody has logged in with.
    ...(session.state === undefined ? {} : { storageState: session.state }),
    viewport: { width: 1280, height: 800 },
    reducedMotion: 'reduce',
  });
  await context.addInitScript((chosen) => {
    localStorage.setItem('anyvirt.theme', chosen);
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => window.violations.push(`${event.effectiveDirective} ${event.blockedURI}`));
  }, theme);
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const faults = [];
  const refusals = [];
  page.on('pageerror', (error) => faults.push(`error: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() !== 'error') return;
    const told = message.text();
    // Every guest that starts on this machine brings an interface, which Chromium takes for a new network.
    if (told.includes('ERR_NETWORK_CHANGED')) return;
    const refusal = refusalIn(told, message.location().url);
    const line = refusal === undefined ? `console: ${told}` : `refused: ${refusal.status} ${refusal.path}`;
    (expected.some((one) => isSame(one, refusal, told)) ? refusals : faults).push(line);
  });
  const goto = (path) => visit(page, `${session.origin}/console${path}`);
  return { page, faults, refusals, goto, close: () => context.close() };
}

/** What was refused, if that is what Chromium tells on the console. */
function refusalIn(told, url) {
  const request = /^Failed to load resource: the server responded with a status of (\d+)/.exec(told);
  const socket = /^WebSocket connection to '([^']+)' failed: .*Unexpected response code: (\d+)/.exec(told);
  if (request === null && socket === null) return undefined;
  const { pathname, search } = new URL(socket?.[1] ?? url);
  return { path: pathname + search, status: Number(request?.[1] ?? socket[2]) };
}

function isSame(expected, refusal, told) {
  if (expected.told !== undefined) return expected.told === told;
  return refusal !== undefined && refusal.status === expected.status && new RegExp(`^(?:${expected.path.source})$`).test(refusal.path);
}

/** Goes to an address; once more if the network changed on the way. */
async function visit(page, address) {
  try {
    await page.goto(address);
  } catch (error) {
    if (!error.message.includes('ERR_NETWORK_CHANGED')) throw error;
    await page.goto(address);
  }
}

/** Waits until what has just changed is drawn: two frames. */
export async function drawn(page) {
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
}

/** Waits until nothing fades in or out: half a fade has half the contrast. What moves for ever is left out. */
async function still(page) {
  await page.evaluate(async () => {
    const ending = document.getAnimations().filter((one) => Number.isFinite(one.effect?.getComputedTiming().endTime ?? Infinity));
    await Promise.allSettled(ending.map((one) => one.finished));
  });
}

/** What axe and the content security policy say against the page, a line each. */
export async function complaints(page) {
  const found = await axe(page, RULES);
  const violations = await page.evaluate(() => window.violations ?? []);
  return [...found, ...violations.map((one) => `csp: ${one}`)];
}

/** What axe says of the page's colours when it is shown in `theme`, a line each. */
export async function complaintsIn(page, theme) {
  await page.evaluate((classes) => {
    for (const [name, has] of Object.entries(classes)) document.documentElement.classList.toggle(name, has);
  }, THEMES[theme]);
  await drawn(page);
  return axe(page, RULES_OF_COLOURS);
}

async function axe(page, runOnly) {
  await still(page);
  const isThere = await page.evaluate(() => 'axe' in window);
  const session = await page.context().newCDPSession(page);
  // Through the debugger: a script element would be against the page's own policy.
  const { result } = await session.send('Runtime.evaluate', {
    expression: `${isThere ? '' : AXE};axe.run(document,${JSON.stringify({ runOnly, resultTypes: ['violations'] })}).then(found=>JSON.stringify(found.violations.map(({id,nodes})=>id+': '+nodes.slice(0,3).map(({html})=>html.slice(0,120)).join(' | '))))`,
    awaitPromise: true,
    returnByValue: true,
  });
  await session.detach();
  return JSON.parse(result.value);
}

/** Asks the API in the name of the session that `page` has; gives back what it answers. */
export async function ask(page, method, path, body) {
  return page.evaluate(async ([method, path, body]) => {
    const session = await (await fetch('/console/api/session')).json();
    const headers = { 'x-csrf-token': session.csrf, ...(body === undefined ? {} : { 'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json' }) };
    const answer = await fetch(path, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
    return { code: answer.status, body: await answer.json() };
  }, [method, path, body]);
}

// A real Chromium, logged in to a real server, that remembers everything that went wrong on its pages.
import { readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';

/** The one-time link of the server under test, as `anyvirt web --print` prints it. */
const LINK = process.env.ANYVIRT_CONSOLE_URL;
const PROGRAM = process.env.ANYVIRT_CHROMIUM ?? '/usr/bin/chromium';
const AXE = readFileSync(new URL('../../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
/** WCAG 2.2, levels A and AA. */
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];

/** Milliseconds for what the browser and an idle server do; guests have longer times of their own. */
export const PATIENCE = 30_000;

/** Requests whose refusal belongs to a page, not to a fault: `path` is matched by regular expression. */
const EXPECTED = [
  // Asking whether there is a session, before there is one.
  { path: /\/console\/api\/session$/, status: 401 },
  // What this server may not serve yet; the page says so.
  { path: /\/(log|explain|consequences)(\?|$)/, status: 404 },
  { path: /\/vnc\/screenshot/, status: undefined },
];

/** Starts Chromium. */
export async function launch() {
  // As root Chromium refuses to start with its sandbox.
  return chromium.launch({ executablePath: PROGRAM, args: ['--no-sandbox', '--disable-gpu'] });
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

/** A page of its own with the session, in a theme. `faults` fills with everything that goes wrong. */
export async function open(browser, session, { theme = 'light', expected = [] } = {}) {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true,
    storageState: session.state,
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
  page.on('pageerror', (error) => faults.push(`error: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() !== 'error') return;
    const { url } = message.location();
    const told = message.text();
    // Every guest that starts on this machine brings an interface, which Chromium takes for a new network.
    if (told.includes('ERR_NETWORK_CHANGED')) return;
    const status = /status of (\d+)/.exec(told)?.[1];
    const isExpected = [...EXPECTED, ...expected].some((one) => one.path.test(url) && (one.status === undefined || String(one.status) === status));
    if (status === undefined || !isExpected) faults.push(`console: ${told} (${url})`);
  });
  const goto = (path) => visit(page, `${session.origin}/console${path}`);
  return { page, faults, goto, close: () => context.close() };
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

/** Waits until nothing fades in or out: half a fade has half the contrast. What moves for ever is left out. */
async function still(page) {
  await page.evaluate(async () => {
    const ending = document.getAnimations().filter((one) => Number.isFinite(one.effect?.getComputedTiming().endTime ?? Infinity));
    await Promise.allSettled(ending.map((one) => one.finished));
  });
}

/** What axe and the content security policy say against the page, a line each. */
export async function complaints(page) {
  await still(page);
  const session = await page.context().newCDPSession(page);
  // Through the debugger: a script element would be against the page's own policy.
  const { result } = await session.send('Runtime.evaluate', {
    expression: `${AXE};axe.run(document,{runOnly:${JSON.stringify(RULES)}}).then(found=>JSON.stringify(found.violations.map(({id,nodes})=>id+': '+nodes.slice(0,3).map(({html})=>html.slice(0,120)).join(' | '))))`,
    awaitPromise: true,
    returnByValue: true,
  });
  await session.detach();
  const violations = await page.evaluate(() => window.violations ?? []);
  return [...JSON.parse(result.value), ...violations.map((one) => `csp: ${one}`)];
}

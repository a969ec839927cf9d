// Measures the list of machines in Chromium, beside a bare page that shows the same list: `cargo xtask bench console`.
// Environment:
//   ANYVIRT_CONSOLE_URL  one-time link of a server that has the machines
//   ANYVIRT_MACHINES     how many it has, all in the namespace default
//   ANYVIRT_OUTPUT       `json`: one JSON object instead of a table
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

import { barePage, emptyPage } from './bare-page.mjs';
import { launch, logIn, open } from './browser.mjs';
import { frameTimes, quantile } from './frames.mjs';
import { lastWritten, waits } from './waits.mjs';
import { Writer } from './writer.mjs';

const MACHINES = Number(process.env.ANYVIRT_MACHINES);
/** Loads of each page, one after the other; figures are medians. */
const ROUNDS = 5;
/** Frames that are looked at. */
const FRAMES = 120;
const PIXELS = 400;
/** Seconds of writes, and writes each second. */
const SECONDS = 10;
const RATE = 200;
/** Of so many writes one is to a row that is on the screen: its pixels are waited for. */
const SEEN = 10;
/** Milliseconds without a long task, after which a page is at rest. */
const REST = 1000;
/** Milliseconds after which a page that is not at rest, or has not shown what was written, never will. */
const PATIENCE = 30_000;
/** Milliseconds between two looks: looking at each frame would count as the page's own work. */
const LOOKS = 100;
const REGION = '[role=region][aria-label=VirtualMachines]';
const PAGES = { console: '/machines', bare: '/bare', empty: '/empty' };

/** Remembers in the page when its first row was drawn, and what kept it from answering. */
function watchLoad() {
  window.longTasks = [];
  new PerformanceObserver((list) => window.longTasks.push(...list.getEntries().map(({ startTime, duration }) => ({ startTime, duration })))).observe({ type: 'longtask', buffered: true });
  const rows = new MutationObserver(() => {
    if (document.querySelector('[data-row]') === null) return;
    rows.disconnect();
    requestAnimationFrame(() => setTimeout(() => { window.shownAt = performance.now(); }));
  });
  rows.observe(document, { childList: true, subtree: true });
}

async function prepared(browser, session) {
  const opened = await open(browser, session);
  await opened.page.addInitScript(watchLoad);
  await opened.page.route('**/console/bare', (route) => route.fulfill({ contentType: 'text/html', body: barePage() }));
  await opened.page.route('**/console/empty', (route) => route.fulfill({ contentType: 'text/html', body: emptyPage() }));
  return opened;
}

/** Counts the processor time of the page's main thread, which depends on the machine's load much less than the clock does; in milliseconds. */
async function processorTime(page) {
  const debug = await page.context().newCDPSession(page);
  await debug.send('Performance.enable', { timeDomain: 'threadTicks' });
  return async () => {
    const { metrics } = await debug.send('Performance.getMetrics');
    return metrics.find(({ name }) => name === 'TaskDuration').value * 1000;
  };
}

/** Opens a page with nothing cached and tells of its first second. */
async function load(browser, session, name) {
  const { page, faults, goto, close } = await prepared(browser, session);
  const spent = await processorTime(page);
  await goto(PAGES[name]);
  await page.waitForFunction(() => window.shownAt !== undefined);
  // What still keeps the page busy after its first row belongs to the load.
  await page.waitForFunction(
    (rest) => performance.now() > rest + Math.max(window.shownAt, ...window.longTasks.map(({ startTime, duration }) => startTime + duration)),
    REST,
    { timeout: PATIENCE, polling: LOOKS },
  );
  const told = await page.evaluate(() => {
    const lists = performance.getEntriesByType('resource').filter(({ name: address }) => /\/virtualmachines\?(?!.*watch=true)/.test(address));
    const sum = (value) => lists.reduce((total, one) => total + value(one), 0);
    return {
      painted: performance.getEntriesByName('first-contentful-paint')[0].startTime,
      shown: window.shownAt,
      interactive: Math.max(window.shownAt, ...window.longTasks.map(({ startTime, duration }) => startTime + duration)),
      longest: Math.max(0, ...window.longTasks.map(({ duration }) => duration)),
      requests: lists.length,
      protocol: lists[0].nextHopProtocol,
      first: sum((one) => one.responseStart - one.requestStart),
      whole: sum((one) => one.responseEnd - one.requestStart),
      packed: sum((one) => one.encodedBodySize) / 1000,
      raw: sum((one) => one.decodedBodySize) / 1000,
    };
  });
  const processor = await spent();
  const size = await weight(page);
  if (faults.length > 0) throw new Error(`${name}: ${faults.join('\n')}`);
  await close();
  return { ...told, processor, ...size };
}

async function weight(page) {
  const debug = await page.context().newCDPSession(page);
  await debug.send('HeapProfiler.collectGarbage');
  const { usedSize } = await debug.send('Runtime.getHeapUsage');
  await debug.detach();
  return { heap: usedSize / 1e6, nodes: await page.evaluate(() => document.querySelectorAll('*').length) };
}

async function scroll(browser, session, name) {
  const { page, goto, close } = await prepared(browser, session);
  await goto(PAGES[name]);
  const region = name === 'empty' ? undefined : REGION;
  if (region !== undefined) await page.locator('[data-row]').first().waitFor();
  const spent = await processorTime(page);
  const before = await spent();
  const times = await frameTimes(page, { count: FRAMES, region, pixels: PIXELS });
  const processor = ((await spent()) - before) / FRAMES;
  await close();
  return { p50: quantile(times, 0.5), p95: quantile(times, 0.95), processor };
}

/** Notes in the page, after the frame that shows it, each new size of memory in a row. */
function watchRows() {
  window.shownSizes = [];
  let changed = new Set();
  new MutationObserver((records) => {
    for (const { target } of records) {
      const row = (target.nodeType === Node.ELEMENT_NODE ? target : target.parentElement)?.closest('[data-row]');
      if (row) changed.add(row);
    }
    if (changed.size === 0) return;
    const seen = [...changed].map((row) => ({ name: row.dataset.row, size: /(\d+)Mi/.exec(row.textContent)?.[1] }));
    changed = new Set();
    // A task that is posted from a frame runs after that frame.
    requestAnimationFrame(() => setTimeout(() => { const at = Date.now(); window.shownSizes.push(...seen.map((one) => ({ ...one, at }))); }));
  }).observe(document.body, { childList: true, subtree: true, characterData: true });
}

/** Milliseconds by which the page's clock is ahead of ours, as the quickest of some questions tells it. */
async function clockOffset(page) {
  const answers = [];
  for (let question = 0; question < 20; question += 1) {
    const asked = Date.now();
    const theirs = await page.evaluate(() => Date.now());
    const answered = Date.now();
    answers.push({ took: answered - asked, offset: theirs - (asked + answered) / 2 });
  }
  return answers.sort((a, b) => a.took - b.took)[0].offset;
}

async function eventToPixel(browser, session, name) {
  const { page, faults, goto, close } = await prepared(browser, session);
  await goto(PAGES[name]);
  await page.waitForFunction(() => window.shownAt !== undefined);
  const visible = await page.evaluate((region) => {
    const { top, bottom } = document.querySelector(region).getBoundingClientRect();
    const rows = [...document.querySelectorAll('[data-row]')].filter((row) => row.getBoundingClientRect().top > top && row.getBoundingClientRect().bottom < Math.min(bottom, window.innerHeight));
    return rows.map((row) => row.dataset.row.split('/')[1]);
  }, REGION);
  await page.evaluate(watchRows);
  const offset = await clockOffset(page);
  const writer = await Writer.of(session);
  const written = await writer.write({ visible, machines: MACHINES, rate: RATE, seconds: SECONDS, seen: SEEN });
  await page.waitForFunction(
    (last) => last.every(({ name: row, size }) => window.shownSizes.some((one) => one.name === row && one.size === size)),
    lastWritten(written.watched),
    { timeout: PATIENCE, polling: LOOKS },
  ).catch((error) => {
    // Which were not shown is told below.
    if (error.name !== 'TimeoutError') throw error;
  });
  const shown = (await page.evaluate(() => window.shownSizes)).map((one) => ({ ...one, at: one.at - offset }));
  const busy = await page.evaluate(() => window.longTasks.map(({ duration }) => duration));
  const { waited, overtaken, unseen } = waits(written.watched, shown);
  if (faults.length > 0) throw new Error(`${name}: ${faults.join('\n')}`);
  if (unseen.length > 0) throw new Error(`${name}: never shown: ${unseen.join(', ')}`);
  await writer.close();
  await close();
  return {
    p50: quantile(waited, 0.5), p95: quantile(waited, 0.95), longest: waited.at(-1),
    rows: waited.length, missed: overtaken, rate: written.rate, events: written.events, answer: written.answer, busy: Math.max(0, ...busy),
  };
}

const load1 = () => Number(readFileSync('/proc/loadavg', 'utf8').split(' ')[0]);
const medianOf = (values) => quantile([...values].sort((a, b) => a - b), 0.5);
const medians = (rounds) => Object.fromEntries(Object.keys(rounds[0]).map((key) => [key, typeof rounds[0][key] === 'number' ? medianOf(rounds.map((one) => one[key])) : rounds[0][key]]));

const browser = await launch();
try {
  const before = load1();
  const session = await logIn(browser);
  const loads = { console: [], bare: [] };
  for (let round = 0; round < ROUNDS; round += 1) for (const name of Object.keys(loads)) loads[name].push(await load(browser, session, name));
  const [ours, bare] = [medians(loads.console), medians(loads.bare)];
  const scrolled = { console: await scroll(browser, session, 'console'), bare: await scroll(browser, session, 'bare'), empty: await scroll(browser, session, 'empty') };
  const pixels = { console: await eventToPixel(browser, session, 'console'), bare: await eventToPixel(browser, session, 'bare') };
  const figure = (what, unit, ourValue, bareValue, goal) => ({ what, unit, console: ourValue, bare: bareValue, goal });
  const figures = [
    figure('first contentful paint', 'ms', ours.painted, bare.painted, 1000),
    figure('first row drawn', 'ms', ours.shown, bare.shown),
    figure('list interactive', 'ms', ours.interactive, bare.interactive, 1500),
    figure('longest task of the load', 'ms', ours.longest, bare.longest),
    figure('processor time of the load', 'ms', ours.processor, bare.processor),
    figure('list: to the first byte', 'ms', ours.first, bare.first, 50),
    figure('list: to the last byte', 'ms', ours.whole, bare.whole),
    figure('list: as it travels', 'kB', ours.packed, bare.packed, 150),
    figure('list: unpacked', 'kB', ours.raw, bare.raw),
    figure('heap', 'MB', ours.heap, bare.heap, 80),
    figure('DOM elements', '', ours.nodes, bare.nodes),
    figure(`frame while scrolling ${PIXELS} px, p50`, 'ms', scrolled.console.p50, scrolled.bare.p50),
    figure(`frame while scrolling ${PIXELS} px, p95`, 'ms', scrolled.console.p95, scrolled.bare.p95, 33),
    figure('processor time of such a frame', 'ms', scrolled.console.processor, scrolled.bare.processor),
    figure('write to pixel, p50', 'ms', pixels.console.p50, pixels.bare.p50),
    figure('write to pixel, p95', 'ms', pixels.console.p95, pixels.bare.p95, 250),
    figure('longest task while written', 'ms', pixels.console.busy, pixels.bare.busy),
  ];
  const told = {
    machines: MACHINES, rounds: ROUNDS, chromium: browser.version(), processors: availableParallelism(), load: [before, load1()], protocol: ours.protocol,
    requests: { console: ours.requests, bare: bare.requests }, emptyFrame: scrolled.empty, writes: pixels, figures,
  };
  console.log(process.env.ANYVIRT_OUTPUT === 'json' ? JSON.stringify(told) : table(told));
} finally {
  await browser.close();
}

function table({ machines, rounds, chromium, processors, load, protocol, requests, emptyFrame, writes, figures }) {
  const number = (value) => (value === undefined ? '' : value >= 100 ? value.toFixed(0) : value.toFixed(1));
  const line = (cells) => cells.map((cell, index) => (index === 0 ? cell.padEnd(42) : cell.padStart(9))).join('');
  const told = (name, { rate, events, answer, rows, missed, longest }) =>
    `${name}: ${rate.toFixed(0)} writes/s, ${events.toFixed(0)} events/s, answered in ${answer.toFixed(1)} ms; ${rows} rows watched, ${missed} overtaken by the next write, the last after ${longest.toFixed(0)} ms`;
  return [
    `${machines} machines, ${rounds} loads, ${processors} processors, load ${load.join(' to ')}, Chromium ${chromium}, ${protocol}; ${requests.console} requests for the list (bare: ${requests.bare})`,
    line(['', 'console', 'bare', 'ratio', 'goal']),
    ...figures.map(({ what, unit, console: ours, bare, goal }) =>
      line([unit === '' ? what : `${what}, ${unit}`, number(ours), number(bare), bare > 0 ? (ours / bare).toFixed(2) : '', goal === undefined ? '' : `<= ${goal}`])),
    `an empty page's frame takes ${emptyFrame.p50.toFixed(1)} ms, p95 ${emptyFrame.p95.toFixed(1)} ms, ${emptyFrame.processor.toFixed(1)} ms of the processor`,
    told('console', writes.console),
    told('bare', writes.bare),
  ].join('\n');
}

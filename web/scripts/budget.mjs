// Fails when the built console is heavier than it may be. `npm run build` first.
// The limits are those of the specification, in bytes as they travel.
import { readdirSync, readFileSync } from 'node:fs';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const KB = 1000;
const LIMITS = {
  'entry scripts, gzip': 190 * KB,
  'first page (scripts, styles, fonts), gzip': 400 * KB,
  'largest lazy script, gzip': 160 * KB,
  'everything embedded, brotli': 1200 * KB,
};

const dist = new URL('../dist/', import.meta.url);
const assets = new URL('assets/', dist);
const files = new Map(readdirSync(assets).map((name) => [name, readFileSync(new URL(name, assets))]));
const index = readFileSync(new URL('index.html', dist), 'utf8');

const gzip = (name) => gzipSync(files.get(name), { level: 9 }).length;
const brotli = (bytes) => brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }).length;
const sum = (names, size) => [...names].reduce((total, name) => total + size(name), 0);

/** The scripts that `roots` import without being asked, themselves included. */
function closure(roots) {
  const found = new Set();
  const waiting = [...roots];
  while (waiting.length > 0) {
    const name = waiting.pop();
    if (found.has(name) || !files.has(name)) continue;
    found.add(name);
    const text = files.get(name).toString('utf8');
    for (const [, imported] of text.matchAll(/(?:from|import)\s*["']\.\/([^"']+\.js)["']/g)) waiting.push(imported);
  }
  return found;
}

const named = [...index.matchAll(/\/console\/assets\/([^"']+)/g)].map(([, name]) => name);
const entry = closure(named.filter((name) => name.endsWith('.js')));

/** What the first page that is shown asks for: the overview, with the scripts and styles that its route names. */
function firstPage() {
  const found = new Set([...named.filter((name) => name.endsWith('.css')), ...entry]);
  for (const name of entry) {
    const text = files.get(name).toString('utf8');
    const all = [...(/m\.f=\[([^\]]*)\]/.exec(text)?.[1] ?? '').matchAll(/assets\/([^"'`]+)/g)].map(([, file]) => file);
    const route = /overview-[^"'`]+\.js[^,]*,__vite__mapDeps\(\[([\d,]*)\]\)/.exec(text);
    for (const index of route?.[1].split(',') ?? []) found.add(all[Number(index)]);
  }
  if (![...found].some((name) => name.startsWith('overview-'))) throw new Error('the route of the overview was not found in the scripts');
  return [...found];
}

const first = firstPage();
// Text and headings; the face of code is loaded where code is shown.
const fonts = [...files.keys()].filter((name) => /^RedHat(Text|Display).*\.woff2$/.test(name));
const lazy = [...files.keys()].filter((name) => name.endsWith('.js') && !entry.has(name));
const heaviest = lazy.map((name) => [gzip(name), name]).sort((a, b) => b[0] - a[0])[0] ?? [0, 'none'];

const measured = {
  'entry scripts, gzip': sum(entry, gzip),
  'first page (scripts, styles, fonts), gzip': sum(first, gzip) + sum(fonts, (name) => files.get(name).length),
  'largest lazy script, gzip': heaviest[0],
  'everything embedded, brotli': sum(files.keys(), (name) => (name.endsWith('.woff2') ? files.get(name).length : brotli(files.get(name)))),
};

let isTooHeavy = false;
for (const [what, limit] of Object.entries(LIMITS)) {
  const size = measured[what];
  const verdict = size <= limit ? 'ok' : 'TOO HEAVY';
  isTooHeavy ||= size > limit;
  console.log(`${verdict.padEnd(10)} ${what}: ${(size / KB).toFixed(1)} of ${limit / KB} kB`);
}
console.log(`           largest lazy script is ${heaviest[1]}`);
process.exit(isTooHeavy ? 1 : 0);

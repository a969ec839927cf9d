// Drives the console in Chromium against a server that runs already. Environment:
//   ANYVIRT_CONSOLE_URL  one-time link (https://127.0.0.1:PORT/console/login#otk=KEY); used once
//   ANYVIRT_MACHINE      NAMESPACE/NAME of a machine that waits for hardware virtualization (default default/fedora-1)
//   ANYVIRT_TOKEN, ANYVIRT_VIEWER_TOKEN  the tokens in the files `token` and `viewer-token` of its data directory
//   ANYVIRT_PICTURES     where pictures go (default: shots/ beside this file)
//   ANYVIRT_CHROMIUM     the program (default /usr/bin/chromium)
// Arguments: which tests (default: all but `reconnect`, which needs somebody who ends the server, in this order).
import { attacks } from './attacks.mjs';
import { launch, logIn } from './browser.mjs';
import { everyPage } from './every-page.mjs';
import { journey } from './journey.mjs';
import { keyboard } from './keyboard.mjs';
import { languages } from './languages.mjs';
import { metrics } from './metrics.mjs';
import { reconnect } from './reconnect.mjs';
import { remedies } from './remedies.mjs';
import { sessions } from './sessions.mjs';
import { speed } from './speed.mjs';
import { streams } from './streams.mjs';
import { support } from './support.mjs';
import { takeOver } from './take-over.mjs';
import { thumbnails } from './thumbnails.mjs';
import { viewer } from './viewer.mjs';
import { work } from './work.mjs';

const TESTS = { keyboard, work, journey, 'take-over': takeOver, remedies, thumbnails, metrics, attacks, viewer, sessions, 'every-page': everyPage, speed, streams, languages, support, reconnect };
const ALL = Object.keys(TESTS).filter((name) => name !== 'reconnect');

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !(name in TESTS));
if (unknown.length > 0) throw new Error(`no such tests: ${unknown.join(', ')}; there are ${Object.keys(TESTS).join(', ')}`);

/** Milliseconds for one test: what waits without a limit of its own must not keep everybody waiting. */
const LIMIT = 900_000;

/** Does `act`, and fails when its time is over. */
async function limited(act) {
  let timer;
  const over = new Promise((_done, fail) => { timer = setTimeout(() => fail(new Error(`it was not over after ${LIMIT / 60_000} minutes`)), LIMIT); });
  await Promise.race([act(), over]).finally(() => clearTimeout(timer));
}

const browser = await launch();
let isFailed = false;
try {
  const session = await logIn(browser);
  for (const name of wanted.length === 0 ? ALL : wanted) {
    console.log(`\n${name}`);
    try {
      await limited(() => TESTS[name](browser, session));
      console.log(`ok: ${name}`);
    } catch (error) {
      isFailed = true;
      console.log(`FAILED: ${name}\n${error.stack}`);
    }
  }
} finally {
  await browser.close();
}
process.exit(isFailed ? 1 : 0);

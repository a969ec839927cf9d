// Pictures of the steps that the guide tells of. Whoever changes a page puts them into docs/guide/.
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

const FOLDER = process.env.ANYVIRT_PICTURES ?? new URL('shots/', import.meta.url).pathname;
/** Bytes of one picture: the guide is read over slow lines too. */
const LIMIT = 200_000;

/** Keeps what the page shows as `name.png`. */
export async function picture(page, name) {
  mkdirSync(FOLDER, { recursive: true });
  const path = join(FOLDER, `${name}.png`);
  // Half a fade, or a cursor that is just dark, would be another picture each time.
  await page.screenshot({ path, animations: 'disabled' });
  const { size } = statSync(path);
  if (size > LIMIT) throw new Error(`${path} has ${size} bytes, more than ${LIMIT}`);
}

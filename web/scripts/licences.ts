import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Plugin } from 'vite';

import type { Licence } from '../src/pages/licences';

/** PatternFly's styles bring fonts along, which have a licence of their own that its package does not hold. */
const FONTS: Licence = {
  name: 'Red Hat Display, Red Hat Mono, Red Hat Text',
  version: '',
  licence: 'OFL-1.1',
  source: 'https://github.com/RedHatOfficial/RedHatFont',
  text: readFileSync(new URL('../licences/red-hat-fonts.txt', import.meta.url), 'utf8').trim(),
};

/**
 * Writes assets/licences.json: every package of which something is in the build, with its licence's words, which most
 * licences want to go along. A package that names no licence fails the build.
 */
export function licences(): Plugin {
  return {
    name: 'anyvirt:licences',
    apply: 'build',
    generateBundle() {
      const folders = new Set([...this.getModuleIds()].map(packageOf).filter((folder) => folder !== undefined));
      const found = [...folders].map(licenceOf).filter((one) => one !== undefined);
      const sorted = [...found, FONTS].sort((a, b) => (a.name < b.name ? -1 : 1));
      this.emitFile({ type: 'asset', fileName: 'assets/licences.json', source: JSON.stringify(sorted) });
    },
  };
}

/** The folder of the package that a module is in. */
function packageOf(id: string): string | undefined {
  return /^\0?(.*\/node_modules\/(?:@[^/]+\/)?[^/@?]+)\//.exec(id)?.[1];
}

function licenceOf(folder: string): Licence | undefined {
  const file = join(folder, 'package.json');
  // What a plugin makes up is in no package.
  if (!existsSync(file)) return undefined;
  const { name, version, license, repository, homepage } = JSON.parse(readFileSync(file, 'utf8')) as {
    name: string;
    version: string;
    license?: string;
    repository?: string | { url?: string };
    homepage?: string;
  };
  if (license === undefined) throw new Error(`${file} names no licence: it cannot be shipped`);
  const source = typeof repository === 'string' ? repository : (repository?.url ?? homepage ?? '');
  const texts = readdirSync(folder).filter((one) => /^(licen[cs]e|copying|notice)/i.test(one)).sort();
  return { name, version, licence: license, source, text: texts.map((one) => readFileSync(join(folder, one), 'utf8').trim()).join('\n\n') };
}

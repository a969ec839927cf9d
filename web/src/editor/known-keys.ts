import { t } from '../words/words';

/** A key of the ConfigMap kubevirt-config that anyvirt reads. */
export interface KnownKey {
  key: string;
  /** What it means, and where its value lives in newer releases of KubeVirt. */
  meaning: string;
  /** Values that are understood, if they can be counted. */
  values?: readonly string[];
}

/** The keys that anyvirt reads (crates/api/src/configuration/setting.rs and crates/api/src/accelerator/policy). */
export function knownKeys(): readonly KnownKey[] {
  return [
    {
      key: 'debug.useEmulation',
      meaning: t('"true": machines may be emulated in software where hardware virtualization does not work. "false": they wait for it. New home: spec.configuration.emulationPolicy of the KubeVirt object.'),
      values: ['true', 'false'],
    },
    { key: 'feature-gates', meaning: t('Features that are on, separated by commas. New home: spec.configuration.developerConfiguration.featureGates.') },
    { key: 'machine-type', meaning: t('Machine type of guests that name none, e.g. q35.') },
    { key: 'emulated-machines', meaning: t('Patterns of machine types that are allowed, separated by commas.') },
    { key: 'default-cpu-model', meaning: t('Processor model of guests that name none. New home: spec.configuration.cpuModel.') },
    { key: 'cpu-request', meaning: t('Processor request of guests that ask for none.') },
    { key: 'memory-overcommit', meaning: t('Guest memory as a percentage of the memory that is asked for.') },
    { key: 'cpu-allocation-ratio', meaning: t('Virtual processors per processor that is asked for.') },
    { key: 'node-selectors', meaning: t('Labels that every machine’s node must have.') },
    { key: 'default-network-interface', meaning: t('Binding of an interface that is attached by default.') },
  ];
}

/** The number of letters in which two words differ (Levenshtein). */
export function lettersApart(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** The most letters by which a misspelt key may differ from a known one. */
const APART = 2;

/** The known key that a misspelt one is probably meant to be. */
export function meant(key: string): string | undefined {
  const letters = (word: string): string => word.toLowerCase().replace(/[^a-z0-9]/g, '');
  const written = letters(key);
  const candidates = knownKeys().flatMap((known) => {
    // People also write the name without its first word: useEmulation.
    const names = [known.key, known.key.split('.').at(-1) ?? known.key];
    return [{ key: known.key, apart: Math.min(...names.map((name) => lettersApart(written, letters(name)))) }];
  });
  const [best] = candidates.sort((a, b) => a.apart - b.apart);
  return best !== undefined && best.apart <= APART && best.key !== key ? best.key : undefined;
}

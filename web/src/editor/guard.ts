import { isMap, isScalar, parseDocument, type Pair, type Scalar, type YAMLMap } from 'yaml';

import { t } from '../words/words';
import { knownKeys, meant } from './known-keys';

/** Something in a YAML text that is wrong, or looks like it. Positions count characters from 0. */
export interface Flaw {
  from: number;
  to: number;
  severity: 'error' | 'warning';
  message: string;
  /** What would put it right. */
  fix?: { label: string; from: number; to: number; insert: string };
}

/** What is wrong with `text`: broken YAML, values of a ConfigMap that are not text, keys that look misspelt. Pure. */
export function flawsIn(text: string): Flaw[] {
  const document = parseDocument(text, { uniqueKeys: true });
  // The first error of broken YAML is the cause; the rest follow from it.
  const flaws: Flaw[] = document.errors.slice(0, 1).map((error) => ({
    from: error.pos[0],
    to: Math.max(error.pos[0], error.pos[1]),
    severity: 'error',
    message: (error.message.split('\n')[0] ?? error.message).replace(/:$/, ''),
  }));
  const root = document.contents;
  if (!isMap(root)) return flaws;
  const value = root as YAMLMap;
  if (value.get('kind') !== 'ConfigMap') return flaws;
  const data = value.get('data', true) as unknown;
  if (!isMap(data)) return flaws;
  const isSwitchMap = document.getIn(['metadata', 'name']) === 'kubevirt-config';
  for (const pair of (data as YAMLMap).items) {
    flaws.push(...notText(text, pair as Pair));
    if (isSwitchMap) flaws.push(...misspelt(pair as Pair), ...notUnderstood(pair as Pair));
  }
  return flaws;
}

function rangeOf(node: Scalar): { from: number; to: number } | undefined {
  const range = node.range;
  return range === undefined || range === null ? undefined : { from: range[0], to: range[1] };
}

/** `debug.useEmulation: true` without quotes is no string, and the server refuses it. */
function notText(text: string, pair: Pair): Flaw[] {
  const { value } = pair;
  if (!isScalar(value) || typeof value.value === 'string') return [];
  const range = rangeOf(value);
  if (range === undefined) return [];
  const written = text.slice(range.from, range.to);
  const quoted = JSON.stringify(written);
  return [{
    ...range,
    severity: 'error',
    message: t('Values of a ConfigMap are text: write {quoted}.', { quoted }),
    fix: { label: t('Write {quoted}', { quoted }), ...range, insert: written === '' ? ' ""' : quoted },
  }];
}

function misspelt(pair: Pair): Flaw[] {
  const { key } = pair;
  if (!isScalar(key) || typeof key.value !== 'string' || knownKeys().some((known) => known.key === key.value)) return [];
  const range = rangeOf(key);
  const wanted = meant(key.value);
  if (range === undefined || wanted === undefined) return [];
  return [{
    ...range,
    severity: 'warning',
    message: t('{key} is not a key of this ConfigMap and has no effect. Did you mean {wanted}?', { key: key.value, wanted }),
    fix: { label: t('Write {quoted}', { quoted: wanted }), ...range, insert: wanted },
  }];
}

function notUnderstood(pair: Pair): Flaw[] {
  const { key, value } = pair;
  if (!isScalar(key) || !isScalar(value) || typeof value.value !== 'string') return [];
  const known = knownKeys().find((one) => one.key === key.value);
  const range = rangeOf(value);
  if (known?.values === undefined || range === undefined || known.values.includes(value.value.trim())) return [];
  return [{
    ...range,
    severity: 'warning',
    message: t('{value} is not understood here; write {values}.', { value: JSON.stringify(value.value), values: known.values.map((one) => JSON.stringify(one)).join(' / ') }),
  }];
}

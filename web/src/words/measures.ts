import { format, t } from './words';

const SUFFIXES: Readonly<Record<string, number>> = {
  '': 1, m: 1e-3, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18,
  Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50, Ei: 2 ** 60,
};

/** The number that a Kubernetes quantity stands for (`512Mi`, `250m`, `1e3`), or undefined if it is none. */
export function quantity(text: string | number | undefined): number | undefined {
  if (typeof text === 'number') return text;
  const match = /^([+-]?\d*\.?\d+(?:[eE][+-]?\d+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$/.exec(text?.trim() ?? '');
  if (match === null) return undefined;
  return Number(match[1]) * (SUFFIXES[match[2] ?? ''] ?? 1);
}

/** Bytes for people, in binary units. */
export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = value >= 100 || Number.isInteger(value) ? 0 : 1;
  const number = format(`digits ${digits}`, (language) => new Intl.NumberFormat(language, { maximumFractionDigits: digits }));
  return `${number.format(value)} ${units[unit] ?? ''}`;
}

/** A length of time for people: `0.4 s`, `41 s`, `1 min 12 s`, `3 h 5 min`, `2 d 4 h`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, seconds);
  if (whole < 10) return t('{n} s', { n: Math.round(whole * 10) / 10 });
  if (whole < 60) return t('{n} s', { n: Math.round(whole) });
  const [big, small] =
    whole < 3600 ? (['min', 60] as const) : whole < 86_400 ? (['h', 3600] as const) : (['d', 86_400] as const);
  const rest = whole < 3600 ? (['s', 1] as const) : whole < 86_400 ? (['min', 60] as const) : (['h', 3600] as const);
  const bigs = Math.floor(whole / small);
  const rests = Math.floor((whole - bigs * small) / rest[1]);
  return rests === 0 ? `${bigs} ${big}` : `${bigs} ${big} ${rests} ${rest[0]}`;
}

/** How long ago `time` (RFC 3339) was at `now` (milliseconds), as kubectl tells ages. */
export function age(time: string | undefined, now: number): string {
  const then = time === undefined ? Number.NaN : Date.parse(time);
  if (Number.isNaN(then)) return '–';
  const seconds = Math.max(0, Math.floor((now - then) / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

const inFull = (language: string): Intl.DateTimeFormat => new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'medium' });

/** A point in time, in full. */
export function moment(time: string | number | undefined): string {
  const date = new Date(time ?? Number.NaN);
  if (Number.isNaN(date.getTime())) return '–';
  return format('moment', inFull).format(date);
}

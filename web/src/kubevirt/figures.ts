import { Failure } from '../kubernetes/failure';
import { send } from '../kubernetes/request';
import { t } from '../words/words';

/** Values over time, of which `null` is not known. */
export type Column = readonly (number | null)[];

/** What something has used, as the server sampled it. */
export interface Figures {
  /** The server's time in milliseconds. */
  now: number;
  /** When the first step began, in milliseconds. */
  begin: number;
  /** The length of a step. */
  stepSeconds: number;
  /** By the server's names: processors, bytes, and bytes or operations per second. Averages over the steps. */
  series: Readonly<Record<string, Column>>;
  /** What is used now; nothing if that is not known. */
  latest: Readonly<Record<string, number | null>> | null;
  /** What a node is made of; its disk is `null` if that is not known. */
  capacity?: { processor: number; memory: number; disk: number | null };
}

/** Asks for the last minutes of a machine. Throws {@link Failure}. */
export function machineUsage(namespace: string, name: string, minutes: number, signal: AbortSignal): Promise<Figures> {
  return asked(new URLSearchParams({ namespace, name, minutes: String(minutes) }), signal);
}

/** Asks for the last minutes of a node. Throws {@link Failure}. */
export function nodeUsage(node: string, minutes: number, signal: AbortSignal): Promise<Figures> {
  return asked(new URLSearchParams({ node, minutes: String(minutes) }), signal);
}

async function asked(query: URLSearchParams, signal: AbortSignal): Promise<Figures> {
  const { body } = await send<unknown>(`/console/api/metrics?${query}`, { signal });
  const usage = figuresOf(body);
  if (usage === undefined) throw new Failure(0, 'NotUnderstood', t('The server answered something else than figures.'));
  return usage;
}

/** Reads an answer; what is none is `undefined`. */
export function figuresOf(body: unknown): Figures | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const { now, begin, stepSeconds, series } = body as Partial<Figures>;
  const isWhole = [now, begin, stepSeconds].every(Number.isFinite) && typeof series === 'object' && series !== null && Object.values(series).every(Array.isArray);
  return isWhole ? (body as Figures) : undefined;
}

/** What is known of a column. */
export interface Summary {
  least: number;
  most: number;
  average: number;
}

/** The least, the most and the average of what is known; `undefined` if nothing is. */
export function summaryOf(column: Column | undefined): Summary | undefined {
  const known = (column ?? []).filter((value) => value !== null);
  if (known.length === 0) return undefined;
  return { least: Math.min(...known), most: Math.max(...known), average: known.reduce((sum, value) => sum + value, 0) / known.length };
}

/** Is anything known of any of these? */
export function isKnownOf(usage: Figures, names: readonly string[]): boolean {
  return names.some((name) => summaryOf(usage.series[name]) !== undefined || typeof usage.latest?.[name] === 'number');
}

/** The times in the middle of the steps, in seconds, and the columns beside them. */
export function linesOf(usage: Figures, names: readonly string[]): [number[], ...(number | null)[][]] {
  const columns = names.map((name) => [...(usage.series[name] ?? [])]);
  const length = Math.max(0, ...columns.map((column) => column.length));
  const first = usage.begin / 1000 + usage.stepSeconds / 2;
  const times = Array.from({ length }, (_, index) => first + index * usage.stepSeconds);
  return [times, ...columns];
}

/** Units of a sparkline's height and width. */
export const SPARK = { width: 100, height: 24 } as const;

/**
 * An SVG path of a column, from 0 at the bottom to `top` (or the most that is known), with gaps where nothing is known.
 * A value that stands alone is a short dash.
 */
export function sparkPath(column: Column, top?: number): string {
  const most = Math.max(top ?? 0, summaryOf(column)?.most ?? 0);
  const step = SPARK.width / Math.max(1, column.length);
  const height = (value: number): string => (most === 0 ? SPARK.height : SPARK.height * (1 - value / most)).toFixed(1);
  return column
    .map((value, index) => {
      if (value === null) return '';
      const begins = index === 0 || column[index - 1] === null || column[index - 1] === undefined;
      const at = index * step;
      return begins ? `M${at.toFixed(1)} ${height(value)}H${(at + step / 2).toFixed(1)}` : `L${(at + step / 2).toFixed(1)} ${height(value)}`;
    })
    .join('');
}

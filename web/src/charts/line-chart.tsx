import 'uplot/dist/uPlot.min.css';

import { useEffect, useRef } from 'react';
import UPlot from 'uplot';

import { format } from '../words/words';

/** A line of a chart. */
export interface Line {
  label: string;
  values: readonly (number | null)[];
}

/** Pixels: as high as four of them fit in a window. */
const HEIGHT = 200;
/** Lines are told apart by their dashes too, not by colour alone. */
const DASHES: readonly number[][] = [[], [6, 4]];
const COLOURS = ['--av-line-1', '--av-line-2'] as const;

const POWERS = Array.from({ length: 50 }, (_, power) => 2 ** power);

/** Lines over time, in the theme's colours. `label` tells in words what it shows; the values are told elsewhere. */
export function LineChart(props: {
  label: string;
  /** Seconds since 1970, one for each value. */
  times: readonly number[];
  lines: readonly Line[];
  /** Seconds since 1970 from which to which time is shown. */
  range: readonly [number, number];
  /** The scale reaches at least so far. */
  top: number;
  say: (value: number) => string;
  /** Values are bytes, whose marks are powers of two. */
  areBytes: boolean;
}): React.JSX.Element {
  const host = useRef<HTMLDivElement>(null);
  const chart = useRef<UPlot | undefined>(undefined);
  const shown = useRef(props);
  shown.current = props;
  const names = props.lines.map(({ label }) => label).join('|');
  useEffect(() => {
    const element = host.current;
    if (element === null) return undefined;
    const draw = (): void => {
      chart.current?.destroy();
      chart.current = new UPlot(optionsOf(element, shown.current, () => shown.current), dataOf(shown.current), element);
    };
    draw();
    const resized = new ResizeObserver(() => chart.current?.setSize({ width: element.clientWidth, height: HEIGHT }));
    resized.observe(element);
    // A theme is a class of the document, and a canvas does not follow it.
    const themed = new MutationObserver(draw);
    themed.observe(document.documentElement, { attributeFilter: ['class'] });
    return () => {
      resized.disconnect();
      themed.disconnect();
      chart.current?.destroy();
      chart.current = undefined;
    };
  }, [names]);
  useEffect(() => chart.current?.setData(dataOf(props)), [props]);
  return <div ref={host} className="av-chart" role="img" aria-label={props.label} />;
}

type Shown = Parameters<typeof LineChart>[0];

function dataOf(shown: Shown): UPlot.AlignedData {
  return [[...shown.times], ...shown.lines.map(({ values }) => [...values])] as UPlot.AlignedData;
}

/** A time of day, as finely as its marks are apart in seconds. */
function clock(at: number, step: number): string {
  const shown: Intl.DateTimeFormatOptions = { hour: '2-digit', minute: '2-digit', ...(step < 60 ? { second: '2-digit' } : {}) };
  return format(`clock ${step < 60}`, (language) => new Intl.DateTimeFormat(language, shown)).format(at * 1000);
}

function optionsOf(element: HTMLElement, first: Shown, current: () => Shown): UPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  const font = `12px ${style.fontFamily}`;
  const axis = { stroke: colour('--av-text'), font, grid: { stroke: colour('--av-grid'), width: 1 }, ticks: { stroke: colour('--av-grid'), width: 1 } };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    select: { show: false, left: 0, top: 0, width: 0, height: 0 },
    scales: {
      x: { time: true, range: () => [...current().range] },
      y: { range: (_chart, _least, most) => [0, Math.max(current().top, (most ?? 0) * 1.1)] },
    },
    axes: [{ ...axis, space: 90, values: (_chart, splits, _axis, _space, step) => splits.map((at) => clock(at, step)) }, { ...axis, size: 90, ...(first.areBytes ? { incrs: POWERS } : {}), values: (_chart, splits) => splits.map((value) => current().say(value)) }],
    series: [
      {},
      ...first.lines.map(({ label }, index) => ({
        label,
        stroke: colour(COLOURS[index] ?? COLOURS[0]),
        dash: DASHES[index] ?? [],
        width: 2,
        points: { show: false },
        spanGaps: false,
      })),
    ],
  };
}

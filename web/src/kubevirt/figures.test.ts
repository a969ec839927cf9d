import { expect, test } from 'vitest';

import { isKnownOf, linesOf, SPARK, sparkPath, summaryOf, type Figures, figuresOf } from './figures';

const FIGURES: Figures = { now: 20_000, begin: 0, stepSeconds: 5, series: { processor: [null, 0.5, 1.5, null], networkSent: [null, null, null, null] }, latest: { processor: 0.7, networkSent: null } };

test('what is not known counts as nothing, never as zero', () => {
  expect(summaryOf(FIGURES.series.processor)).toEqual({ least: 0.5, most: 1.5, average: 1 });
  expect(summaryOf(FIGURES.series.networkSent)).toBeUndefined();
  expect(summaryOf(undefined)).toBeUndefined();
  expect(isKnownOf(FIGURES, ['networkSent', 'processor'])).toBe(true);
  expect(isKnownOf(FIGURES, ['networkSent'])).toBe(false);
  expect(isKnownOf({ ...FIGURES, latest: { networkSent: 0 } }, ['networkSent'])).toBe(true);
});

test('values stand in the middle of their steps', () => {
  expect(linesOf(FIGURES, ['processor'])).toEqual([[2.5, 7.5, 12.5, 17.5], [null, 0.5, 1.5, null]]);
  expect(linesOf({ ...FIGURES, series: {} }, ['processor'])).toEqual([[], []]);
});

test('an answer that is none is not taken for one', () => {
  expect(figuresOf(FIGURES)).toBe(FIGURES);
  for (const wrong of [null, 'text', {}, { ...FIGURES, series: null }, { ...FIGURES, series: { a: 1 } }, { ...FIGURES, begin: 'now' }]) expect(figuresOf(wrong)).toBeUndefined();
});

test('a sparkline has gaps where nothing is known, and its top is the capacity or more', () => {
  expect(sparkPath([null, 1, 2, null, 2], 4)).toBe('M20.0 18.0H30.0L50.0 12.0M80.0 12.0H90.0');
  expect(sparkPath([8], 4)).toBe('M0.0 0.0H50.0');
  expect(sparkPath([0, 0])).toBe(`M0.0 ${SPARK.height}.0H25.0L75.0 ${SPARK.height}.0`);
  expect(sparkPath([null, null])).toBe('');
});

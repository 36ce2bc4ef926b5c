import assert from 'node:assert/strict';
import { test } from 'node:test';
import { percentiles, quantile, significant, spread } from '../../src/cli/bench/statistics.js';
import { formatTable } from '../../src/cli/bench/table.js';

// Expected values: numpy.quantile's documented linear rule, worked out by hand.
test('a quantile interpolates between the nearest ranks', () => {
  assert.equal(quantile([10, 20, 30, 40], 0.5), 25);
  assert.equal(quantile([40, 10, 30, 20], 0), 10);
  assert.equal(quantile([40, 10, 30, 20], 1), 40);
  assert.equal(quantile([1, 2, 3, 4, 5], 0.25), 2);
  assert.ok(Math.abs(quantile([0, 10], 0.95) - 9.5) < 1e-12);
  assert.equal(quantile([7], 0.99), 7);
});

test('order is numeric, not alphabetic', () => {
  assert.equal(quantile([9, 10, 100], 0.5), 10);
});

test('the input is left as it was', () => {
  const values = [3, 1, 2];
  percentiles(values);
  assert.deepEqual(values, [3, 1, 2]);
});

test('percentiles of 0 … 100 are their own ranks', () => {
  const values = Array.from({ length: 101 }, (_, i) => 100 - i);
  assert.deepEqual(percentiles(values), { p50: 50, p95: 95, p99: 99 });
});

test('a spread has the middle and both ends', () => {
  assert.deepEqual(spread([5, 1, 9]), { median: 5, min: 1, max: 9 });
});

test('rounding keeps significant digits, not decimals', () => {
  assert.equal(significant(0.000123456), 0.0001235);
  assert.equal(significant(123456), 123500);
  assert.equal(significant(20.421391234, 8), 20.421391);
  assert.ok(Number.isNaN(significant(Number.NaN)));
});

test('a table is aligned to the right', () => {
  assert.equal(
    formatTable(
      ['a', 'long'],
      [
        [1, 'x'],
        [1234, 'yy'],
      ],
    ),
    '   a  long\n   1     x\n1234    yy\n',
  );
});

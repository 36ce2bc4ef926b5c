import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Dataflow, systolicCycles, systolicUtilization } from '../../src/cost/accelerators/systolic.js';

/** M, K, N, and what tools/reference/systolic_scalesim.py prints for them (SCALE-Sim 3.0.0). */
const shapes = [
  ...[[64, 64, 64] as const, [37, 50, 100] as const, [1, 576, 576] as const, [33, 200, 33] as const],
  ...[[128, 96, 32] as const, [16, 300, 48] as const, [5, 7, 9] as const, [100, 64, 200] as const],
  ...[[31, 31, 31] as const, [96, 160, 64] as const],
];
const expected: readonly (readonly [number, number, Dataflow, readonly number[]])[] = [
  [32, 32, 'output-stationary', [503, 895, 11483, 1047, 631, 723, 68, 3527, 92, 1331]],
  [32, 32, 'weight-stationary', [631, 1047, 30779, 1777, 665, 2199, 98, 2715, 124, 1899]],
  [32, 32, 'input-stationary', [631, 775, 12059, 1777, 1511, 1419, 102, 2351, 124, 2369]],
  [8, 16, 'output-stationary', [2751, 2519, 21527, 3329, 3775, 1931, 28, 14533, 423, 8735]],
  [8, 16, 'weight-stationary', [3007, 3282, 80351, 4724, 3791, 5243, 34, 13519, 487, 10079]],
  [8, 16, 'input-stationary', [3007, 2729, 43631, 4724, 5951, 2963, 38, 12879, 487, 11279]],
];

test('cycles are those that SCALE-Sim counts', () => {
  for (const [rows, columns, dataflow, cycles] of expected) {
    const own = shapes.map(([m, k, n]) => systolicCycles({ m, k, n }, { rows, columns, dataflow }));
    assert.deepEqual(own, cycles, `${rows} × ${columns}, ${dataflow}`);
  }
});

test('an array is used fully only by a stream that hides its filling', () => {
  const array = { rows: 8, columns: 8, dataflow: 'output-stationary' } as const;
  // One fold of 8 × 8 outputs: 16 of 30 cycles.
  assert.equal(systolicUtilization({ m: 8, k: 16, n: 8 }, array), 16 / 30);
  assert.ok(systolicUtilization({ m: 8, k: 1e6, n: 8 }, array) > 0.9999);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { argmax, logSumExp, ReferenceRow } from '../../src/cli/eval/divergence.js';

const logits = (...values: number[]) => Float32Array.from(values);
const klDivergence = (p: Float32Array, q: Float32Array) => new ReferenceRow(p.length).set(p).divergence(q);
const near = (got: number, expected: number, tolerance = 1e-6) =>
  assert.ok(Math.abs(got - expected) <= tolerance, `${got} for ${expected}`);

test('log-sum-exp survives large logits', () => {
  near(logSumExp(logits(1000, 1000)), 1000 + Math.log(2));
  near(logSumExp(logits(-1000, -1000, -1000)), -1000 + Math.log(3));
  near(logSumExp(logits(0, Number.NEGATIVE_INFINITY)), 0);
});

test('the divergence of p = (3/4, 1/4) from q = (1/2, 1/2) is known', () => {
  const expected = 0.75 * Math.log(1.5) + 0.25 * Math.log(0.5);
  near(klDivergence(logits(Math.log(3), 0), logits(5, 5)), expected);
  // It isn't symmetric.
  near(klDivergence(logits(5, 5), logits(Math.log(3), 0)), 0.5 * Math.log(2 / 3) + 0.5 * Math.log(2));
});

test('equal distributions have none, whatever is added to all logits', () => {
  const p = logits(1, 2, 3, -4);
  assert.equal(klDivergence(p, p), 0);
  near(
    klDivergence(
      p,
      p.map((value) => value + 100),
    ),
    0,
  );
});

test('what the reference excludes contributes nothing', () => {
  near(klDivergence(logits(0, Number.NEGATIVE_INFINITY), logits(0, 0)), Math.log(2));
});

test('ties go to the lower id', () => {
  assert.equal(argmax(logits(1, 3, 3, 2)), 1);
  assert.equal(argmax(logits(-5, -6)), 0);
  assert.equal(argmax(logits(Number.NEGATIVE_INFINITY, -1)), 1);
});

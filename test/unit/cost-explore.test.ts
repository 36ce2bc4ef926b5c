import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { joulesOf } from '../../src/cost/accelerators/index.js';
import { paretoFront, thinFront } from '../../src/cost/explore/pareto.js';
import {
  type Choice,
  canRun,
  choiceAt,
  countPoints,
  evaluateChoice,
  pairsOf,
  type Space,
  type SweepRecipe,
  sweep,
} from '../../src/cost/explore/sweep.js';

const columnsOf = (points: readonly (readonly number[])[]) =>
  [0, 1, 2].map((objective) => Float64Array.from(points, (point) => point[objective] ?? 0));

test('the front is what the definition says: all that no other point beats', () => {
  const point = fc.tuple(
    fc.integer({ min: 0, max: 6 }),
    fc.integer({ min: 0, max: 6 }),
    fc.integer({ min: 0, max: 6 }),
  );
  fc.assert(
    fc.property(fc.array(point, { maxLength: 60 }), (points) => {
      const beats = (a: readonly number[], b: readonly number[]) =>
        a.every((value, i) => value <= (b[i] ?? 0)) && a.some((value, i) => value < (b[i] ?? 0));
      const expected = new Set(points.filter((one) => !points.some((other) => beats(other, one))).map(String));
      const front = paretoFront(columnsOf(points)).map((index) => String(points[index]));
      assert.deepEqual(new Set(front), expected);
      assert.equal(front.length, expected.size, 'equal points stand there once');
    }),
  );
});

test('a thinned front is small, is of the front, and keeps the best of every objective', () => {
  const points = Array.from({ length: 500 }, (_, i) => [1 + i, 1 + (499 - i) ** 2, 1 + ((i * 7) % 500)]);
  const columns = columnsOf(points);
  const front = paretoFront(columns);
  assert.equal(front.length, 500);
  const thin = thinFront(columns, front, 40);
  assert.ok(thin.length <= 40 && thin.length > 10, `${thin.length}`);
  assert.ok(thin.every((index) => front.includes(index)));
  for (const column of columns) {
    const least = Math.min(...thin.map((index) => column[index] ?? 0));
    assert.equal(least, 1);
  }
  assert.deepEqual(thinFront(columns, front, 500), front);
});

const recipe = (changes: Partial<SweepRecipe>): SweepRecipe => ({
  ...{ name: 'w4a8', error: 0.1, weightBits: 4, storedWeightBits: 5, activationBits: 8, headBits: 8, scheme: 'groups' },
  ...changes,
});
const recipes = [recipe({}), recipe({ name: 'f16', error: 0, weightBits: 16, storedWeightBits: 16, scheme: 'float' })];
const space: Space = {
  ...{ elements: ['fp16', 'int8', 'w4a8'], rows: [4, 8], columns: [8, 16, 32], weightBufferKiB: [16, 64] },
  ...{ activationBufferKiB: [32], outputBufferKiB: [16], memoryGBs: [1, 64], clockMHz: [250, 500] },
};
const layers = [
  { m: 32, k: 64, n: 96, count: 3, operand: 'weights' as const },
  { m: 32, k: 64, n: 500, count: 1, operand: 'weights' as const },
  { m: 8, k: 16, n: 40, count: 6, operand: 'cache' as const },
];
const workload = { layers, vocab: 500 };

test('a recipe runs where its numbers fit', () => {
  const float = recipe({ scheme: 'float', weightBits: 16 });
  const channels = recipe({ scheme: 'channels' });
  const all = ['fp16', 'w4a16', 'int8', 'w4a8', 'int4', 'fused', 'tender', 'table'] as const;
  assert.deepEqual(
    all.filter((name) => canRun(name, float)),
    ['fp16'],
  );
  assert.ok(canRun('w4a16', { ...float, weightBits: 4 }));
  assert.deepEqual(
    all.filter((name) => canRun(name, channels)),
    ['tender'],
  );
  assert.deepEqual(
    all.filter((name) => canRun(name, recipe({}))),
    ['int8', 'w4a8', 'int4', 'fused', 'table'],
  );
});

test('every design of the space is swept once, and as it would be by itself', () => {
  const pairs = pairsOf(space, recipes);
  assert.deepEqual(
    pairs.map((pair) => `${pair.element} ${pair.recipe.name}`),
    ['fp16 f16', 'int8 w4a8', 'w4a8 w4a8'],
  );
  const count = countPoints(space, pairs.length);
  assert.equal(count, 3 * 2 * 3 * 2 * 2 * 2);
  const [seconds, joules, area, error] = sweep(space, pairs, workload);
  const choices = Array.from({ length: count }, (_, index) => choiceAt(space, pairs, index));
  assert.equal(new Set(choices.map((choice) => JSON.stringify(choice))).size, count);
  for (const [index, choice] of choices.entries()) {
    const of = recipes.find(({ name }) => name === choice.recipe) ?? recipe({});
    const found = evaluateChoice(choice, of, workload);
    assert.equal(found.seconds, seconds?.[index]);
    assert.equal(joulesOf(found.energy), joules?.[index]);
    assert.equal(found.areaMm2, area?.[index]);
    assert.equal(of.error, error?.[index]);
  }
  assert.throws(() => choiceAt(space, pairs, count), RangeError);
});

test('what each dimension does: more elements take more room, a slow memory more time, narrow weights less', () => {
  const base: Choice = {
    ...{ element: 'int8', recipe: 'w4a8', rows: 8, columns: 8, weightBufferKiB: 32, activationBufferKiB: 32 },
    ...{ outputBufferKiB: 32, memoryGBs: 64, clockMHz: 500 },
  };
  const at = (changes: Partial<Choice>, of = recipe({})) => evaluateChoice({ ...base, ...changes }, of, workload);
  assert.ok(at({ rows: 16 }).areaMm2 > at({}).areaMm2);
  assert.ok(at({ rows: 16 }).seconds < at({}).seconds);
  assert.ok(at({ memoryGBs: 0.01 }).seconds > 10 * at({}).seconds);
  // Bound by memory, where 5 bits of a weight take less than 9.
  const slow = { memoryGBs: 0.01 };
  assert.ok(at(slow).seconds < at(slow, recipe({ weightBits: 8, storedWeightBits: 9 })).seconds);
  assert.ok(at({ element: 'w4a8' }).areaMm2 < at({}).areaMm2, 'a narrower element is smaller');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { choose, recipeOf } from '../../src/cli/quantize-auto.js';
import { layerRecipe, parseRecipe } from '../../src/model/recipe.js';
import { layerClasses, type WeightFormatName } from '../../src/model/recipe-types.js';
import { type Choice, findFront, hullOf, type Item, sample } from '../../src/quant/auto-search.js';
import { namedRecipes } from '../../src/quant/named-recipes.js';
import { Random } from '../../src/random.js';

const formats: readonly WeightFormatName[] = ['w4g128a', 'w4g64a', 'w4g32', 'w5g32', 'w8g32'];
const choice = (index: number, bytes: number, kl: number): Choice => ({
  format: formats[index] ?? 'w8g32',
  bytes,
  ns: bytes / 2,
  kl,
});

/** Every combination, for few items. */
function combinations(items: readonly Item[]): { bytes: number; kl: number }[] {
  return items.reduce(
    (sums, { choices }) =>
      sums.flatMap((sum) => choices.map((c) => ({ bytes: sum.bytes + c.bytes, kl: sum.kl + c.kl }))),
    [{ bytes: 0, kl: 0 }],
  );
}

function randomItems(count: number, seed: number): Item[] {
  const random = new Random(seed);
  return Array.from({ length: count }, (_, layer) => ({
    layer,
    matrixClass: layerClasses[layer % layerClasses.length] ?? 'qkv',
    choices: formats.map((_name, i) => choice(i, 100 + random.below(900), random.uniform())),
  }));
}

test('choices that cost more and lose more, or lie above the line between two others, are left out', () => {
  const choices = [choice(0, 10, 9), choice(1, 20, 8.5), choice(2, 30, 1), choice(3, 40, 2), choice(4, 50, 0)];
  assert.deepEqual(
    hullOf(choices, 'bytes').map(({ bytes }) => bytes),
    [50, 30, 10],
  );
});

test('no combination is better than a point of the front, against all combinations', () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const items = randomItems(5, seed);
    const all = combinations(items);
    const front = findFront(items, 'bytes');
    assert.equal(front[0]?.kl, Math.min(...front.map(({ kl }) => kl)), 'it begins with the best quality');
    assert.equal(front.at(-1)?.bytes.toFixed(6), Math.min(...all.map(({ bytes }) => bytes)).toFixed(6));
    for (const point of front) {
      const better = all.find((sum) => sum.bytes < point.bytes - 1e-9 && sum.kl < point.kl - 1e-9);
      assert.equal(better, undefined, `seed ${seed}`);
    }
    for (const [i, point] of front.slice(1).entries()) {
      assert.ok(point.bytes < (front[i]?.bytes ?? 0) && point.kl >= (front[i]?.kl ?? 0));
      assert.equal(point.picks.filter((pick, j) => pick !== front[i]?.picks[j]).length, 1, 'one item at a time');
    }
  }
});

test('a budget takes the cheapest point that keeps it, or the best that fits', () => {
  const front = findFront(randomItems(8, 3), 'bytes');
  const besides = { bytes: 1000, kl: 0.5 };
  const middle = front[4];
  assert.ok(middle);
  assert.equal(choose(front, { kind: 'kl', most: middle.kl + 0.5 }, besides), middle);
  assert.equal(choose(front, { kind: 'bytes', most: middle.bytes + 1000 }, besides), middle);
  assert.equal(choose(front, { kind: 'ns', most: middle.ns }, besides), middle);
  assert.throws(() => choose(front, { kind: 'kl', most: 0.4 }, besides), /no choice/);
  assert.throws(() => choose(front, { kind: 'bytes', most: 1000 }, besides), /no choice/);
  const shown = sample(front, 5);
  assert.deepEqual([shown[0], shown.at(-1), shown.length], [front[0], front.at(-1), 5]);
  assert.equal(sample(front.slice(0, 1), 5).length, 1);
});

test('the recipe says of each layer what was chosen for it', () => {
  const base = namedRecipes.get('w4a8')?.recipe;
  assert.ok(base);
  const items = randomItems(24, 5);
  const [point] = findFront(items, 'bytes').slice(7);
  assert.ok(point);
  const recipe = parseRecipe(recipeOf(base, items, point));
  for (const [i, { layer, matrixClass }] of items.entries()) {
    const linear = layerRecipe(recipe, layer)[matrixClass];
    assert.deepEqual(linear, { weights: point.picks[i]?.format, activations: 'a8' });
  }
  assert.deepEqual(recipe.classes.head, base.classes.head);
});

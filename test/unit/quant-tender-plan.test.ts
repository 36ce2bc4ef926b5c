/** Tender's plan: groups, order, sizes, steps. Expected values from the paper's inequalities, worked out by hand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { permuteStatistics } from '../../src/quant/tender/layer-transform.js';
import {
  accumulatorMax,
  type ChannelRanges,
  finerBy,
  groupOf,
  planTender,
  type TenderSettings,
} from '../../src/quant/tender/plan.js';
import { channelRule, smoothRule, tenderRule, tensorRule, tokenTenderRule } from '../../src/quant/tender/schemes.js';

/** Ranges of chunks, each a list of [minimum, maximum] per channel; null: nothing seen. */
function rangesOf(chunks: readonly (readonly (readonly [number, number])[] | null)[]): ChannelRanges {
  const inputs = chunks.find((chunk) => chunk !== null)?.length ?? 0;
  const unseen = Array.from({ length: inputs }, () => [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY] as const);
  const values = chunks.flatMap((chunk) => {
    const pairs = chunk ?? unseen;
    return [...pairs.map(([low]) => low), ...pairs.map(([, high]) => high)];
  });
  return { inputs, values: Float32Array.from(values) };
}

const symmetric = (maxima: readonly number[]) => maxima.map((value) => [-value, value] as const);
const settings: TenderSettings = { groups: 3, limit: 127, unit: 1, centred: false, rounding: 'up' };
const maxima = [0.5, 16, 4, 9, 0, 8, 4.125, 1];

test('channel c is in group g if TMax/2^g < CMax ≤ TMax/2^(g−1), the last group takes what is smaller', () => {
  const plan = planTender(rangesOf([symmetric(maxima)]), settings);
  assert.deepEqual([...plan.sizes], [2, 2, 4]);
  assert.deepEqual([...plan.order], [1, 3, 5, 6, 0, 2, 4, 7]);
  assert.deepEqual([...plan.scales], [Math.fround(16 / 127)]);
  assert.deepEqual([...finerBy(plan)], [4, 1, 4, 1, 4, 2, 2, 4]);
});

test('rounded down, a channel gets the first step that its largest value is not below', () => {
  const plan = planTender(rangesOf([symmetric(maxima)]), { ...settings, rounding: 'down' });
  assert.deepEqual([...plan.order], [1, 3, 5, 0, 2, 4, 6, 7]);
  assert.deepEqual([...plan.sizes], [1, 2, 5]);
  assert.deepEqual([...plan.scales], [Math.fround(16 / 127)]);
  for (const share of [1, 0.75, 0.5, 0.3, 0.25, 0.1]) {
    assert.ok(2 ** -groupOf(share, 20, 'up') >= share);
    assert.ok(2 ** -groupOf(share, 20, 'down') <= share);
  }
});

test('groups are filled up to whole units with the largest channels of the next one', () => {
  const plan = planTender(rangesOf([symmetric(maxima)]), { ...settings, unit: 4 });
  assert.deepEqual([...plan.sizes], [4, 0, 4]);
  assert.deepEqual([...plan.order], [1, 3, 5, 6, 0, 2, 4, 7]);
});

test('one order for all chunks: the largest share in any of them; steps per chunk, as fine as clips nothing', () => {
  // Channel 0 reaches 1 in the first chunk, 1/8 in the second; channel 1 the reverse; channel 2 at most 1/8.
  const ranges = rangesOf([symmetric([64, 8, 4]), null, symmetric([2, 16, 2]), null]);
  const plan = planTender(ranges, { ...settings, groups: 4 });
  assert.deepEqual([...plan.order], [0, 1, 2]);
  assert.deepEqual([...plan.sizes], [2, 0, 0, 1]);
  // First chunk: max(64, 8, 4 · 8). The unseen one repeats it. Third: max(2, 16, 2 · 8); the last isn't there.
  assert.deepEqual(
    [...plan.scales],
    [64, 64, 16].map((value) => Math.fround(value / 127)),
  );
});

test('the bias is the middle of a channel, averaged over chunks without the first position', () => {
  const ranges = rangesOf([
    [
      [100, 100],
      [0, 1],
    ],
    [
      [2, 6],
      [-1, 1],
    ],
    [
      [0, 4],
      [-3, 1],
    ],
  ]);
  const plan = planTender(ranges, { ...settings, centred: true });
  assert.deepEqual([...plan.bias], [3, -0.5]);
});

test('a token that chooses its own steps keeps those of channels in the proportions of their groups', () => {
  const rule = tokenTenderRule(planTender(rangesOf([symmetric(maxima)]), settings), 127);
  assert.ok(rule.kind === 'ratios');
  assert.deepEqual([...rule.steps], [0.25, 1, 0.25, 1, 0.25, 0.5, 0.5, 0.25]);
});

test('what was seen is never clipped, whatever the ranges', () => {
  let state = 1;
  const random = () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
  for (let round = 0; round < 50; round += 1) {
    const pair = () => [-(10 ** (4 * random() - 2)), 10 ** (4 * random() - 2)] as const;
    const chunks = Array.from({ length: 3 }, () => Array.from({ length: 32 }, pair));
    const limit = round % 2 === 0 ? 127 : 7;
    const plan = planTender(rangesOf(chunks), {
      groups: 1 + (round % 9),
      limit,
      unit: 4,
      centred: true,
      rounding: 'up',
    });
    assert.deepEqual(
      [...plan.order].sort((a, b) => a - b),
      Array.from({ length: 32 }, (_, i) => i),
    );
    assert.equal(
      plan.sizes.reduce((sum, size) => sum + size, 0),
      32,
    );
    assert.ok(plan.sizes.every((size) => size % 4 === 0));
    const rule = tenderRule(plan, limit);
    assert.ok(rule.kind === 'fixed');
    chunks.forEach((chunk, index) => {
      chunk.forEach(([low, high], channel) => {
        const reach = (rule.steps[index * 32 + channel] ?? 0) * limit * (1 + 1e-6);
        assert.ok(Math.max(high - (plan.bias[channel] ?? 0), (plan.bias[channel] ?? 0) - low) <= reach);
      });
    });
  }
});

test('statistics in another order are those of inputs that came in it', () => {
  const tokens = [
    [1, -2, 3],
    [-4, 5, 0.5],
  ];
  const of = (seen: readonly (readonly number[])[]) => {
    const columns = [0, 1, 2].map((k) => seen.map((x) => x[k] ?? 0));
    // A chunk is a token.
    return {
      ...{ inputs: 3, tokens: 2, magnitudes: new Float64Array(64) },
      minima: Float32Array.from(seen.flat()),
      maxima: Float32Array.from(seen.flat()),
      squares: Float64Array.from(columns, (column) => column.reduce((sum, x) => sum + x * x, 0)),
      hessian: Float32Array.from(
        columns.flatMap((a) => columns.map((b) => a.reduce((sum, x, i) => sum + x * (b[i] ?? 0), 0))),
      ),
    };
  };
  const order = [2, 0, 1];
  const turned = tokens.map((x) => order.map((k) => x[k] ?? 0));
  assert.deepEqual(permuteStatistics(of(tokens), Int32Array.from(order)), of(turned));
  assert.equal(permuteStatistics({ ...of(tokens), hessian: null }, Int32Array.from(order)).hessian, null);
});

test('the bound of the accumulator is Σ n_g · q² · 2^(G − g)', () => {
  const sizes = [16, 4, 0, 100];
  const exact = sizes.reduce((sum, size, g) => sum + size * 127 * 127 * 2 ** (sizes.length - 1 - g), 0);
  assert.equal(accumulatorMax(sizes, 127, 127), exact);
  // INT8 with 14 groups holds 16 channels in the first, not 17 (docs/methods/tender.md).
  assert.ok(accumulatorMax([16, ...Array<number>(13).fill(0)], 127, 127) < 2 ** 31);
  assert.ok(accumulatorMax([17, ...Array<number>(13).fill(0)], 127, 127) >= 2 ** 31);
});

test('baselines: one step for the tensor, one per channel, and SmoothQuant between them', () => {
  const ranges = rangesOf([symmetric([4, 1]), symmetric([2, 9])]);
  const steps = (rule: ReturnType<typeof tensorRule>) => (rule.kind === 'fixed' ? [...rule.steps] : []);
  assert.deepEqual(steps(tensorRule(ranges, 3)), [3, 3]);
  assert.deepEqual(steps(channelRule(ranges, 1)), [4, 9]);
  // α = ½ and weights of 1: factors 2 and 3, so that 4/2 and 9/3 share the step 3; in effect 2 · 3 and 3 · 3.
  assert.deepEqual(steps(smoothRule(ranges, 1, Float32Array.of(1, 1))), [6, 9]);
  // Weights of 4 and 9: factors √(4/4) and √(9/9), the step of the tensor.
  assert.deepEqual(steps(smoothRule(ranges, 1, Float32Array.of(4, 9))), [9, 9]);
});

/** Factors of channels: a layer computes the same with them, and what they are for gets better. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type InputStatistics, LAYER_INPUTS } from '../../src/native/contract.js';
import { loadAddon } from '../../src/native/load.js';
import { awqFactors } from '../../src/quant/awq.js';
import { factorIndex, foldFactors, largestOfShared, perColumn } from '../../src/quant/channel-factors.js';
import { largestMagnitudes, tripFactors } from '../../src/quant/trip.js';
import { Random } from '../../src/random.js';

const shape = { heads: 4, kvHeads: 2, headDim: 16 };
const [HIDDEN, FFN] = [64, 96];
const random = new Random(7);
const uniform = () => random.below(2001) / 1000 - 1;
const values = (count: number) => Float32Array.from({ length: count }, uniform);

function layerOf(): Map<string, Float32Array> {
  const kv = shape.kvHeads * shape.headDim;
  const sizes: Readonly<Record<string, number>> = {
    ...{ 'attn_norm.weight': HIDDEN, 'attn_q.weight': HIDDEN * HIDDEN, 'attn_k.weight': kv * HIDDEN },
    ...{ 'attn_v.weight': kv * HIDDEN, 'attn_v.bias': kv, 'attn_output.weight': HIDDEN * HIDDEN },
    ...{ 'ffn_norm.weight': HIDDEN, 'ffn_gate.weight': FFN * HIDDEN, 'ffn_up.weight': FFN * HIDDEN },
    ...{ 'ffn_down.weight': HIDDEN * FFN },
  };
  return new Map(Object.entries(sizes).map(([name, size]) => [`blk.3.${name}`, values(size)]));
}

/** What a layer makes of one token, attention being the value itself, and of `x` as the norms' input. */
function run(layer: ReadonlyMap<string, Float32Array>, x: readonly number[]): readonly (readonly number[])[] {
  const get = (name: string) => layer.get(`blk.3.${name}`) ?? new Float32Array(0);
  const times = (name: string, input: readonly number[]) => {
    const w = get(name);
    return Array.from({ length: w.length / input.length }, (_, n) =>
      input.reduce((sum, value, k) => sum + value * (w[n * input.length + k] ?? 0), 0),
    );
  };
  const normed = x.map((value, i) => value * (get('attn_norm.weight')[i] ?? 0));
  const bias = get('attn_v.bias');
  const value = times('attn_v.weight', normed).map((v, i) => v + (bias[i] ?? 0));
  const group = shape.heads / shape.kvHeads;
  const heads = Array.from({ length: HIDDEN }, (_, i) => {
    const head = Math.floor(i / shape.headDim / group);
    return value[head * shape.headDim + (i % shape.headDim)] ?? 0;
  });
  const gained = x.map((v, i) => v * (get('ffn_norm.weight')[i] ?? 0));
  const gate = times('ffn_gate.weight', gained);
  const product = times('ffn_up.weight', gained).map((up, i) => up * Math.max(0, gate[i] ?? 0));
  const ends = [times('attn_output.weight', heads), times('ffn_down.weight', product)];
  return [times('attn_q.weight', normed), times('attn_k.weight', normed), ...ends];
}

const widths = { qkv: HIDDEN, output: HIDDEN, gateUp: HIDDEN, down: FFN };

test('a layer with factors folded in computes the same, with powers of two to the last bit', () => {
  const x = [...values(HIDDEN)];
  for (const input of LAYER_INPUTS) {
    const index = factorIndex(input, widths[input], shape);
    const layer = layerOf();
    const before = run(layer, x);
    const count = Math.max(...index) + 1;
    assert.equal(count, input === 'output' ? shape.kvHeads * shape.headDim : widths[input]);
    const factors = Float64Array.from({ length: count }, () => 2 ** (random.below(7) - 3));
    const copy = new Map([...layer].map(([name, tensor]) => [name, tensor.slice()]));
    foldFactors(layer, 3, input, factors, index);
    assert.deepEqual(run(layer, x), before, input);
    const changed = [...layer].filter(([name, tensor]) => tensor.some((value, i) => value !== copy.get(name)?.[i]));
    assert.ok(changed.length >= 2, 'both sides have changed');
    foldFactors(
      layer,
      3,
      input,
      factors.map((factor) => 1 / factor),
      index,
    );
    assert.deepEqual(layer, copy, 'and back');
  }
});

const statisticsOf = (rows: readonly (readonly number[])[]): InputStatistics => {
  const inputs = rows[0]?.length ?? 0;
  const channel = (i: number) => rows.map((row) => row[i] ?? 0);
  const each = (of: (x: readonly number[]) => number) =>
    Float32Array.from({ length: inputs }, (_, i) => of(channel(i)));
  const hessian = new Float32Array(inputs * inputs);
  for (const row of rows) {
    for (let at = 0; at < hessian.length; at += 1) {
      hessian[at] = (hessian[at] ?? 0) + (row[at % inputs] ?? 0) * (row[Math.floor(at / inputs)] ?? 0);
    }
  }
  return {
    ...{ inputs, tokens: rows.length, minima: each((x) => Math.min(...x)), maxima: each((x) => Math.max(...x)) },
    ...{ squares: Float64Array.from(each((x) => x.reduce((sum, v) => sum + v * v, 0))) },
    ...{ magnitudes: new Float64Array(64), hessian },
  };
};

test('TRIP: the smallest power of two that doesn’t clip, at most so many octaves, shared where V is', () => {
  const own = factorIndex('qkv', 6, shape);
  const row = [8, 4, 3.9, 0.1, 0, -7];
  assert.deepEqual([...largestMagnitudes(statisticsOf([row, row.map((x) => -x / 2)]))].map(Math.fround), [
    ...row.map((x) => Math.fround(Math.abs(x))),
  ]);
  assert.deepEqual([...tripFactors(statisticsOf([row]), own, 3)], [1, 0.5, 0.5, 0.125, 1, 1]);
  assert.deepEqual([...tripFactors(statisticsOf([row]), own, 10)], [1, 0.5, 0.5, 2 ** -6, 1, 1]);
  const index = factorIndex('output', HIDDEN, shape);
  const heads = Array.from({ length: HIDDEN }, (_, i) => (i < shape.headDim ? 1 : 4));
  const factors = tripFactors(statisticsOf([heads]), index, 4);
  assert.deepEqual([...factors], new Array(shape.kvHeads * shape.headDim).fill(1), 'the larger of two heads decides');
  assert.deepEqual(
    [...largestOfShared(heads, index)],
    [...factors].map(() => 4),
  );
});

test('AWQ: the factors found lose least of those tried, and less than none where few channels are large', async () => {
  const inputs = 64;
  const rows = Array.from({ length: 200 }, () => [...values(inputs)].map((x, i) => x * (i % 16 === 0 ? 30 : 1)));
  const statistics = statisticsOf(rows);
  const weights = values(32 * inputs);
  const index = factorIndex('qkv', inputs, shape);
  const losses: number[] = [];
  const loss = async (w: Float32Array, hessian: Float32Array) => {
    const { error } = await loadAddon().quantizeMatrix({
      ...{ weights: w, rows: 32, cols: inputs, format: 'w4g32', rounding: 'rtn', clip: 'none', actOrder: false },
      ...{ damping: 0, sweeps: 0, hessian, threads: 1 },
    });
    losses.push(error);
    return error;
  };
  const factors = await awqFactors({ weights, statistics, index, loss });
  assert.ok(factors !== null);
  const [none = 0, ...others] = losses;
  assert.ok(Math.min(...others) < 0.8 * none, `${losses}`);
  const columns = perColumn(factors, index);
  const large = Math.min(...columns.filter((_, i) => i % 16 === 0));
  assert.ok(large > Math.max(...columns.filter((_, i) => i % 16 !== 0)), 'columns of large inputs grow most');
  // Inputs that are all alike leave nothing to gain, and the search says so.
  const even = statisticsOf(Array.from({ length: 200 }, () => [...values(inputs)]));
  const alike = { ...even, squares: new Float64Array(inputs).fill(1) };
  assert.equal(await awqFactors({ weights, statistics: alike, index, loss }), null);
});

/**
 * What a step says it has done, counted by hand on a model of two layers; and that the work by which a step's energy is
 * divided is the same work.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { EnergyTable } from '../../src/cost/energy-table.js';
import { type ModelWork, type SequenceWork, workOf } from '../../src/cost/step-work.js';
import { planPruning, prunedWork, pruningSpec } from '../../src/engine/pruning.js';
import { modelWorkOf } from '../../src/metering/model-work.js';
import { readModelFile } from '../../src/model/gguf.js';
import { packedHeadBytes } from '../../src/model/packed-bytes.js';
import { readCounter, type StepCounters } from '../../src/native/contract.js';
import { NativeKit } from '../support/native-kit.js';
import { randomTokens } from '../support/native-logits.js';
import { modelFolder } from '../support/native-models.js';

/** Two heads of 32 share one of keys and values; every matrix is Q4_1 but the head, which is Q8_0. */
const shape = { layers: 2, hidden: 64, heads: 2, kvHeads: 1, headDim: 32, ffn: 96, vocab: 320, context: 1024 };
/** Weights of a layer: Q, K and V; output; gate and up; down. */
const layerWeights = 64 * (64 + 32 + 32) + 64 * 64 + 64 * 192 + 96 * 64;
const headWeights = 64 * 320;
/** 32 weights in 20 bytes: 16 of codes, a scale and a minimum of two each. Of the head 32 in 34. */
const layerBytes = (layerWeights / 32) * 20;
const headBytes = (headWeights / 32) * 34;
/**
 * What a token moves in a layer: 32 codes with their scale and sums in 64 bytes, of the inputs of Q, K and V, of the
 * output, of gate and up, and of down; and the floats that these give.
 */
const activationBytesOfLayer = ((64 + 64 + 64 + 96) / 32) * 64 + (128 + 64 + 192 + 64) * 4;
const activationBytesOfRow = (64 / 32) * 64 + 320 * 4;
/** Keys and values of 32 numbers in two bytes each. */
const kvBytesOfLayer = 2 * 32 * 2;
/** Scores and sums: a multiplication each for every number of every head. */
const macsPerPosition = 2 * 2 * 32;

const counted = ['int8Macs', 'fp32Macs', 'weightBytes', 'activationBytes', 'tableLookups'] as const;
type Counts = Readonly<Record<(typeof counted)[number], number>>;

const countsOf = (counters: StepCounters) =>
  Object.fromEntries(counted.map((name) => [name, readCounter(counters, name)]));

/** By layer: tokens that it computes, and positions that these look at, each those before it and itself. */
function byHand(layers: readonly { readonly tokens: number; readonly seen: number }[], rows: number): Counts {
  const sum = (of: (layer: (typeof layers)[number]) => number) => layers.reduce((all, layer) => all + of(layer), 0);
  return {
    int8Macs: sum(({ tokens }) => tokens * layerWeights) + rows * headWeights,
    fp32Macs: sum(({ seen }) => seen * macsPerPosition),
    weightBytes: layers.length * layerBytes + (rows > 0 ? headBytes : 0),
    activationBytes: sum(({ tokens }) => tokens * activationBytesOfLayer) + rows * activationBytesOfRow,
    tableLookups: 0,
  };
}

const unit = (name: 'memoryBytePj' | 'int8MacPj' | 'fp32MacPj'): EnergyTable => ({
  ...{ memoryBytePj: 0, int8MacPj: 0, fp32MacPj: 0, source: 'one of them' },
  [name]: 1,
});

let models: Awaited<ReturnType<typeof modelFolder>>;
let kit: NativeKit;
let model: ModelWork;
let prompt: readonly number[];
before(async () => {
  models = await modelFolder();
  const path = await models.write('counted', shape);
  const file = await readModelFile(path);
  // One thread: how attention's work is cut into pieces, each of which reads keys and values, depends on their number.
  kit = await NativeKit.open(path, { threads: 1, kvBlockCount: 160 });
  model = modelWorkOf(kit.model.info, file.architecture, 'a8', packedHeadBytes(file.tensors));
  prompt = randomTokens(600, shape.vocab, 3);
});
after(async () => {
  await kit.close();
  await models.remove();
});

/** The step's counters are those counted by hand, and the work that its energy is divided by adds up to them. */
function check(counters: StepCounters, parts: readonly SequenceWork[], expected: Counts): void {
  assert.deepEqual(countsOf(counters), expected);
  const sum = (table: EnergyTable) => workOf(parts, model, table).reduce((all, one) => all + one, 0);
  assert.equal(sum(unit('int8MacPj')), expected.int8Macs);
  assert.equal(sum(unit('fp32MacPj')), expected.fp32Macs);
}

/** Bytes of weights and of keys and values; a part reads what it sees once and writes its own. */
function checkBytes(counters: StepCounters, parts: readonly SequenceWork[], kvPositions: number): void {
  const kvBytes = 2 * kvPositions * kvBytesOfLayer;
  assert.equal(readCounter(counters, 'kvBytes'), kvBytes);
  const written = parts.reduce((all, { tokens }) => all + 2 * tokens * kvBytesOfLayer, 0);
  const sum = workOf(parts, model, unit('memoryBytePj')).reduce((all, one) => all + one, 0);
  assert.equal(sum, readCounter(counters, 'weightBytes') + kvBytes + written);
}

const same = (tokens: number, seen: number) => Array.from({ length: 2 }, () => ({ tokens, seen }));

test('prefill, decode, and both in one step', async () => {
  const first = kit.open(64);
  const prefill = await kit.step([{ sequence: first, tokens: prompt.slice(0, 8), rows: [[7, -1]] }]);
  const prefillParts = [{ tokens: 8, rows: 1, cachedTokens: 0 }];
  check(prefill.counters, prefillParts, byHand(same(8, 36), 1));
  checkBytes(prefill.counters, prefillParts, 8);

  const decode = await kit.step([{ sequence: first, tokens: [5], rows: [[0, -1]] }]);
  const decodeParts = [{ tokens: 1, rows: 1, cachedTokens: 8 }];
  check(decode.counters, decodeParts, byHand(same(1, 9), 1));
  checkBytes(decode.counters, decodeParts, 9);

  // A token behind 9, and a chunk of a prompt that wants no logits: weights are read once for both.
  const second = kit.open(64);
  const both = await kit.step([
    { sequence: first, tokens: [6], rows: [[0, -1]] },
    { sequence: second, tokens: prompt.slice(0, 6) },
  ]);
  const bothParts = [
    { tokens: 1, rows: 1, cachedTokens: 9 },
    { tokens: 6, rows: 0, cachedTokens: 0 },
  ];
  check(both.counters, bothParts, byHand(same(7, 10 + 21), 1));
  checkBytes(both.counters, bothParts, 10 + 6);

  const quiet = await kit.step([{ sequence: second, tokens: prompt.slice(6, 8) }]);
  check(quiet.counters, [{ tokens: 2, rows: 0, cachedTokens: 6 }], byHand(same(2, 7 + 8), 0));
  kit.release(first);
  kit.release(second);
});

test('a prefix hit computes what was not found, and reads the rest', async () => {
  const first = kit.open(64);
  await kit.step([{ sequence: first, tokens: prompt.slice(0, 32) }]);
  const hit = kit.open(64, {}, first.blocks.slice(0, 2));
  const step = await kit.step([{ sequence: hit, tokens: prompt.slice(32, 36), rows: [[3, -1]] }]);
  const parts = [{ tokens: 4, rows: 1, cachedTokens: 32 }];
  check(step.counters, parts, byHand(same(4, 33 + 34 + 35 + 36), 1));
  checkBytes(step.counters, parts, 36);
  kit.release(hit, 2);
  kit.release(first);
});

test('pruned tokens are work of the layers that see them', async () => {
  const plan = planPruning({ keep: 0.25, afterLayer: 0, stages: 1 }, shape.layers) ?? assert.fail('nothing is pruned');
  assert.deepEqual([[...plan.layers], [...plan.tokens]], [[1], [48]]);
  const sequence = kit.open(600, { pruning: pruningSpec(plan, 776) });
  const partOf = (first: number, tokens: number, rows: number): SequenceWork => ({
    ...{ tokens, rows, cachedTokens: first },
    pruned: prunedWork(plan, 776, first, tokens),
  });
  const seen = (cached: number, tokens: number) => tokens * cached + (tokens * (tokens + 1)) / 2;
  const run = async (first: number, tokens: number, rows: readonly (readonly [number, number])[]) =>
    (await kit.step([{ sequence, tokens: prompt.slice(first, first + tokens), rows }])).counters;
  const layersOf = (all: readonly [number, number], kept: readonly [number, number]) =>
    [all, kept].map(([cached, tokens]) => ({ tokens, seen: seen(cached, tokens) }));
  // Two windows of 256, of which the second layer sees 48 each, then 8 tokens that all layers see, then one more.
  check(await run(0, 256, []), [partOf(0, 256, 0)], byHand(layersOf([0, 256], [0, 48]), 0));
  check(await run(256, 256, []), [partOf(256, 256, 0)], byHand(layersOf([256, 256], [48, 48]), 0));
  check(await run(512, 8, [[7, -1]]), [partOf(512, 8, 1)], byHand(layersOf([512, 8], [96, 8]), 1));
  check(await run(520, 1, [[0, -1]]), [partOf(520, 1, 1)], byHand(layersOf([520, 1], [104, 1]), 1));
  kit.release(sequence);
});

test('look-ups of bit planes, up to so many tokens of a step and rows of the head', async () => {
  // Q, K and V have 2 bits, the output 2; the gate has 1, up 4; down has 3. The head isn't of planes.
  const types = { attention: 'NB_W2G64', gate: 'NB_W1G64', up: 'NB_W4G64P', down: 'NB_W3G64' } as const;
  const path = await models.write('planes', { ...shape, ffn: 128, types });
  const planes = await NativeKit.open(path, { threads: 1, lookups: { w1: 2, w2: 2, w3: 2, w4: 2 } });
  const lookups = async (tokens: number) => {
    const sequence = planes.open(64);
    const { counters } = await planes.step([{ sequence, tokens: prompt.slice(0, tokens), rows: [[0, -1]] }]);
    planes.release(sequence);
    return [readCounter(counters, 'tableLookups'), readCounter(counters, 'activationBytes')];
  };
  // A look-up for four inputs: 16 of 64 for every output and plane, 32 of 128.
  const lookupsOfLayer = 16 * (128 * 2 + 64 * 2 + 128 * 1 + 128 * 4) + 32 * 64 * 3;
  const bytesOfLayer = ((64 + 64 + 64 + 128) / 32) * 64 + (128 + 64 + 256 + 64) * 4;
  const tableBytesOfLayer = ((64 + 64 + 64 + 128) / 32) * 192;
  assert.deepEqual(await lookups(2), [
    2 * 2 * lookupsOfLayer,
    2 * 2 * (bytesOfLayer + tableBytesOfLayer) + activationBytesOfRow,
  ]);
  assert.deepEqual(await lookups(3), [0, 3 * 2 * bytesOfLayer + activationBytesOfRow]);
  await planes.close();
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  addStep,
  addTotals,
  decodeIdeals,
  describeProfile,
  noSteps,
  prefillIdeals,
  profileCells,
  profileRows,
} from '../../src/cli/bench/engine-profile.js';
import { matrixWork } from '../../src/cli/bench/roofline-model.js';
import type { ModelFile } from '../../src/model/types.js';
import { OPERATORS, type RooflineRun, type StepCounters } from '../../src/native/contract.js';
import { countersOf } from '../support/fake-native.js';

const Q4_1 = 3;
const F16 = 1;

/** Two layers, 32 wide, one head of 32, FFN 64, a vocabulary of 100, tied. */
const modelFile = {
  architecture: { layers: 2, hidden: 32, heads: 1, kvHeads: 1, headDim: 32, ffn: 64, vocab: 100 },
  tensors: [
    { name: 'token_embd.weight', shape: [32, 100], type: F16 },
    { name: 'output_norm.weight', shape: [32], type: 0 },
    ...[0, 1].flatMap((layer) => [
      ...['attn_q', 'attn_k', 'attn_v', 'attn_output'].map((name) => ({
        name: `blk.${layer}.${name}.weight`,
        shape: [32, 32],
        type: Q4_1,
      })),
      { name: `blk.${layer}.ffn_gate.weight`, shape: [32, 64], type: Q4_1 },
      { name: `blk.${layer}.ffn_up.weight`, shape: [32, 64], type: Q4_1 },
      { name: `blk.${layer}.ffn_down.weight`, shape: [64, 32], type: Q4_1 },
    ]),
  ].map((tensor) => ({ ...tensor, offset: 0 })),
} as unknown as ModelFile;

/** 8 int8 and 2 f32 multiply-accumulates, and a byte, per nanosecond. */
const limits: RooflineRun = { isa: 'avx2', threads: 1, readGBs: 1, int8GMacs: 8, fp32GMacs: 2 };

/** A step of `ns` nanoseconds in each operator. */
const counters = (ns: number): StepCounters => {
  const operators = Object.fromEntries(OPERATORS.map((operator) => [operator, ns]));
  return countersOf({ ...operators, totalNs: ns * OPERATORS.length });
};

test('matrices count under the operator that multiplies with them', () => {
  const work = Object.fromEntries(matrixWork(modelFile, 'a8').map(({ operator, ...rest }) => [operator, rest]));
  // A block of 32 weights in Q4_1 has 20 bytes.
  assert.deepEqual(work.qkv, { macs: { int8: 2 * 3 * 1024, fp32: 0 }, fileBytes: 2 * 3 * 32 * 20 });
  assert.deepEqual(work.attentionOutput, { macs: { int8: 2 * 1024, fp32: 0 }, fileBytes: 2 * 32 * 20 });
  assert.deepEqual(work.gateUp, { macs: { int8: 2 * 4096, fp32: 0 }, fileBytes: 2 * 128 * 20 });
  assert.deepEqual(work.down, { macs: { int8: 2 * 2048, fp32: 0 }, fileBytes: 2 * 64 * 20 });
  assert.deepEqual(work.head, { macs: { int8: 0, fp32: 3200 }, fileBytes: 6400 });
});

test('the ideal of a prefill is arithmetic, that of a decode step reading', () => {
  const load = { batch: 3, context: 4, prompt: 2, generate: 2 };
  const prefill = prefillIdeals(modelFile, { activations: 'a8', kv: 'f16' }, load, limits);
  assert.ok(Math.abs((prefill.down ?? 0) - (3 * 2 * 4096) / 8e9) < 1e-15);
  assert.ok(Math.abs((prefill.head ?? 0) - (3 * 3200) / 2e9) < 1e-15, 'one row of logits a sequence');
  // Two tokens behind four see 5 + 6 positions; scores and values of 32 dimensions in two layers.
  assert.ok(Math.abs((prefill.attention ?? 0) - (3 * 11 * 2 * 32 * 2) / 2e9) < 1e-15);
  const decode = decodeIdeals(modelFile, { activations: 'a8', kv: 'f16' }, load, limits);
  assert.ok(Math.abs((decode.down ?? 0) - 2560e-9) < 1e-15, 'once, however many sequences');
  // Steps see 7 and 8 positions: 7.5 in the mean, keys and values of 32 halves in two layers.
  assert.ok(Math.abs((decode.attention ?? 0) - 3 * 7.5 * 2 * 32 * 2 * 2e-9) < 1e-15);
  assert.equal(decode.norm, undefined);
});

test('rows sum to the measured time; what no step accounts for is between them', () => {
  const totals = addTotals(addStep(noSteps, counters(1000)), addStep(noSteps, counters(3000)));
  assert.deepEqual([totals.steps, totals.totalNs], [2, 4000 * OPERATORS.length]);
  const rows = profileRows(totals, 60_000e-9, 2, { down: 500e-9 });
  assert.equal(rows.length, OPERATORS.length + 1);
  const row = (name: string) => rows.find(({ operator }) => operator === name);
  assert.deepEqual(row('down'), { operator: 'down', ms: 0.002, timeShare: 0.06667, rooflineShare: 0.25 });
  assert.equal(row('norm')?.rooflineShare, null);
  assert.deepEqual(row('between'), { operator: 'between', ms: 0.006, timeShare: 0.2, rooflineShare: null });
  const whole = rows.reduce((sum, { timeShare }) => sum + timeShare, 0);
  assert.ok(Math.abs(whole - 1) < 1e-3);
});

test('a profile is of one prefill and of one step of the decode, whatever the repetitions', () => {
  const load = { batch: 1, context: 0, prompt: 8, generate: 4 };
  const decodeSteps = [1, 2, 3, 4].reduce((totals) => addStep(totals, counters(100)), noSteps);
  const seconds = (count: number, ns: number) => (count * ns * OPERATORS.length) / 1e9;
  const repetition = {
    prefill: seconds(1, 500),
    decode: seconds(4, 100),
    prefillSteps: addStep(noSteps, counters(500)),
    decodeSteps,
    limits,
  };
  const profile = describeProfile({ modelFile }, load, [repetition, repetition, repetition], {
    activations: 'a8',
    kv: 'f16',
  });
  const find = (rows: typeof profile.prefill) => rows.find(({ operator }) => operator === 'gateUp');
  assert.equal(find(profile.prefill)?.ms, 0.0005);
  assert.equal(find(profile.decode)?.ms, 0.0001);
  assert.equal(find(profile.prefill)?.rooflineShare, 16.38, '8 × 8192 / 8 / 500 = 16.384, to four digits');
  assert.equal(find(profile.decode)?.rooflineShare, 51.2);
  const cells = profileCells(profile);
  assert.deepEqual(cells.find(([operator]) => operator === 'norm')?.slice(0, 4), ['norm', 0.0005, '8.3 %', '']);
  assert.deepEqual(cells.at(-1), ['between', 0, '0.0 %', '', 0, '0.0 %', '']);
});

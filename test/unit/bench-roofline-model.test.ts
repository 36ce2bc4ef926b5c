import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kernelShare, readsInt8 } from '../../src/cli/bench/kernels.js';
import { decodeSeconds, idealSeconds, modelWork, prefillMacs } from '../../src/cli/bench/roofline-model.js';
import type { ModelFile } from '../../src/model/types.js';

const Q4_1 = 3;
const Q8_0 = 8;
const F16 = 1;
const F32 = 0;

/** One layer, 8 wide, 2 heads of 4, one KV head, FFN 16, vocabulary 10. */
function modelFile(output: boolean, type = Q4_1): ModelFile {
  const tensor = (name: string, shape: readonly number[], itsType = type) => ({
    name,
    shape,
    type: itsType,
    offset: 0,
  });
  return {
    architecture: { layers: 1, hidden: 8, heads: 2, kvHeads: 1, headDim: 4, ffn: 16, vocab: 10 },
    tensors: [
      tensor('token_embd.weight', [8, 10], Q8_0),
      ...(output ? [tensor('output.weight', [8, 10], F16)] : []),
      tensor('output_norm.weight', [8], F32),
      tensor('blk.0.attn_norm.weight', [8], F32),
      tensor('blk.0.attn_q.weight', [8, 8]),
      tensor('blk.0.attn_k.weight', [8, 4]),
      tensor('blk.0.attn_v.weight', [8, 4], F16),
      tensor('blk.0.attn_output.weight', [8, 8]),
      tensor('blk.0.attn_q.bias', [8], F32),
      tensor('blk.0.ffn_gate.weight', [8, 16]),
      tensor('blk.0.ffn_up.weight', [8, 16]),
      tensor('blk.0.ffn_down.weight', [16, 8]),
    ],
  } as unknown as ModelFile;
}

// q 64 + k 32 + output 64 + three of 128 in int8; v 32 in f32.
const int8Linear = 64 + 32 + 64 + 3 * 128;

test('matrices count once per token by the rate of their type; norms and biases do not', () => {
  const work = modelWork(modelFile(false), 'a8', 'f16');
  assert.deepEqual(work.linear, { int8: int8Linear, fp32: 32 });
  assert.deepEqual(work.head, { int8: 80, fp32: 0 }, 'a tied head is the embedding, Q8_0');
});

test('with f32 activations everything runs at the f32 rate', () => {
  const work = modelWork(modelFile(false), 'f32', 'f16');
  assert.deepEqual(work.linear, { int8: 0, fp32: int8Linear + 32 });
  assert.deepEqual(work.head, { int8: 0, fp32: 80 });
});

test('a head of its own counts by its own type', () => {
  assert.deepEqual(modelWork(modelFile(true), 'a8', 'f16').head, { int8: 0, fp32: 80 });
});

test('attention counts causally: token i sees i + 1 positions, scores and values', () => {
  const work = modelWork(modelFile(false), 'a8', 'f16');
  // Per position: 2 heads × 4 dimensions × 2.
  assert.deepEqual(work.attentionPerPosition, { int8: 0, fp32: 16 });
  // Products of codes and integers of 16 bits count as two of 8 bits.
  assert.deepEqual(modelWork(modelFile(false), 'a8', 'kv8').attentionPerPosition, { int8: 32, fp32: 0 });
  // Three tokens from scratch see 1 + 2 + 3 positions.
  assert.equal(prefillMacs(work, 0, 3).fp32, 3 * 32 + 16 * 6);
  // Two tokens behind five cached ones see 6 + 7.
  assert.equal(prefillMacs(work, 5, 2).fp32, 2 * 32 + 16 * 13);
  assert.equal(prefillMacs(work, 0, 3).int8, 3 * int8Linear + 80, 'one row of logits');
});

test('ideal seconds add up over types', () => {
  assert.equal(idealSeconds({ int8: 4e9, fp32: 3e9 }, { int8GMacs: 8, fp32GMacs: 2 }), 0.5 + 1.5);
});

test('a decode reads the fewer of the two sizes once a step and every visible key and value', () => {
  const reading = { readGBs: 1, int8GMacs: Infinity, fp32GMacs: Infinity };
  const bytes = (info: Parameters<typeof decodeSeconds>[1], decode: Parameters<typeof decodeSeconds>[2]) =>
    Math.round(decodeSeconds(work, info, decode, reading) * 1e9);
  const work = modelWork(modelFile(false), 'a8', 'f16');
  assert.equal(work.kvBytesPerToken, 2 * 4 * 2);
  const info = { weightBytesPerToken: 1000, fileBytesPerToken: 900 };
  // Two steps behind ten tokens see 11 + 12 positions, for each of three sequences.
  assert.equal(bytes(info, { batch: 3, context: 10, steps: 2 }), 2 * 900 + 3 * 16 * 23);
  const packedIsFewer = { weightBytesPerToken: 800, fileBytesPerToken: 900 };
  assert.equal(bytes(packedIsFewer, { batch: 1, context: 0, steps: 1 }), 800 + 16);
});

test('a decode of many sequences is bound by arithmetic, matrices and attention each for itself', () => {
  const work = modelWork(modelFile(false), 'a8', 'f16');
  const info = { weightBytesPerToken: 900, fileBytesPerToken: 900 };
  const load = { batch: 3, context: 10, steps: 2 };
  const seconds = (limits: Parameters<typeof decodeSeconds>[3]) => decodeSeconds(work, info, load, limits) * 1e9;
  // Six tokens, each with all matrices and a row of logits; attention is still bound by its 3 · 16 · 23 bytes.
  const matrices = 6 * (int8Linear + 80 + 32);
  assert.ok(Math.abs(seconds({ readGBs: 1, int8GMacs: 1, fp32GMacs: 1 }) - (matrices + 3 * 16 * 23)) < 1e-6);
  // 16 multiply-accumulates for the 16 bytes of a position, at half the rate.
  assert.ok(Math.abs(seconds({ readGBs: 1, int8GMacs: Infinity, fp32GMacs: 0.5 }) - (1800 + 2 * 3 * 16 * 23)) < 1e-6);
});

test('a gemm is bound by arithmetic, a gemv by what takes longer', () => {
  const run = { gMacs: 100, weightGBs: 30 } as Parameters<typeof kernelShare>[1];
  const limits = { isa: 'avx2', threads: 1, readGBs: 40, int8GMacs: 400, fp32GMacs: 125 } as const;
  assert.equal(kernelShare('gemm', run, true, limits), 0.25);
  assert.equal(kernelShare('gemm', run, false, limits), 0.8);
  assert.equal(kernelShare('gemv', run, true, limits), 0.75);
  assert.equal(kernelShare('gemv', run, false, limits), 0.8);
});

test('families name their activations', () => {
  for (const family of ['w4a8', 'w8a8-g16-affine', 'lut-w2-g128', 'ternary', 'planes-w1'])
    assert.equal(readsInt8(family), true, family);
  for (const family of ['f16', 'bf16', 'w4a16', 'w4a16-affine32', 'planes-w2a16-g128'])
    assert.equal(readsInt8(family), false, family);
});

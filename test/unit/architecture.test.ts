/** Defaults where a file is silent: those of llama.cpp, from its source. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readArchitecture, supportedArchitectures } from '../../src/model/architecture.js';
import { expectedTensors } from '../../src/model/architecture-tensors.js';
import { readTokenizerMetadata } from '../../src/model/gguf-tokenizer.js';
import type { GgufValue } from '../../src/model/gguf-types.js';

const u32 = (value: number): GgufValue => ({ type: 'u32', value });
const f32 = (value: number): GgufValue => ({ type: 'f32', value });
const text = (value: string): GgufValue => ({ type: 'string', value });

/** The keys that every file must have, and more. */
function architecture(name: string, more: Readonly<Record<string, GgufValue>> = {}) {
  const keys: Record<string, GgufValue> = {
    block_count: u32(3),
    context_length: u32(2048),
    embedding_length: u32(96),
    feed_forward_length: u32(128),
    'attention.head_count': u32(6),
    'attention.layer_norm_rms_epsilon': f32(0.25),
    ...more,
  };
  const entries = Object.entries(keys).map(([key, value]) => [`${name}.${key}`, value] as const);
  return readArchitecture(new Map([['general.architecture', text(name)], ...entries]), 50);
}

test('a silent file has as many KV heads as heads, whole-head rotation, base 10,000, no scaling', () => {
  assert.deepEqual(architecture('llama'), {
    layers: 3,
    hidden: 96,
    heads: 6,
    kvHeads: 6,
    headDim: 16,
    ffn: 128,
    vocab: 50,
    contextLength: 2048,
    rmsEps: 0.25,
    qkvBias: false,
    qkNorm: false,
    rope: { layout: 'interleaved', dimensions: 16, base: 10_000, scaling: { kind: 'none' } },
  });
});

test('the families differ in rotation layout, biases and norms', () => {
  assert.deepEqual(supportedArchitectures, ['llama', 'qwen2', 'qwen3']);
  const differences = supportedArchitectures.map((name) => {
    const { qkvBias, qkNorm, rope } = architecture(name);
    return [rope.layout, qkvBias, qkNorm];
  });
  assert.deepEqual(differences, [
    ['interleaved', false, false],
    ['halves', true, false],
    ['halves', false, true],
  ]);
});

test('rope scaling: defaults and older names', () => {
  const scaling = (more: Readonly<Record<string, GgufValue>>) => architecture('qwen2', more).rope.scaling;
  assert.deepEqual(scaling({ 'rope.scaling.factor': f32(2) }), { kind: 'linear', factor: 2 });
  assert.deepEqual(scaling({ 'rope.scale_linear': f32(4) }), { kind: 'linear', factor: 4 });
  assert.deepEqual(scaling({ 'rope.scaling.type': text('none'), 'rope.scaling.factor': f32(4) }), { kind: 'none' });
  assert.deepEqual(scaling({ 'rope.scaling.type': text('linear') }), { kind: 'none' });
  assert.deepEqual(scaling({ 'rope.scaling.type': text('yarn'), 'rope.scaling.factor': f32(4) }), {
    kind: 'yarn',
    factor: 4,
    originalContext: 2048,
    betaFast: 32,
    betaSlow: 1,
    attentionFactor: 1,
  });
  assert.deepEqual(scaling({ 'rope.scaling.type': text('llama3'), 'rope.scaling.factor': f32(8) }), {
    kind: 'llama3',
    factor: 8,
    lowFreqFactor: 1,
    highFreqFactor: 4,
    originalContext: 2048,
  });
});

test('the tensor list has the shapes of the equations: inputs first, heads × head size wide', () => {
  const spec = architecture('qwen3', { 'attention.head_count_kv': u32(2), 'attention.key_length': u32(32) });
  const expected = expectedTensors(spec);
  const shape = (name: string) => expected.get(name)?.shape;
  assert.deepEqual(shape('blk.2.attn_q.weight'), [96, 6 * 32]);
  assert.deepEqual(shape('blk.2.attn_k.weight'), [96, 2 * 32]);
  assert.deepEqual(shape('blk.2.attn_output.weight'), [6 * 32, 96]);
  assert.deepEqual(shape('blk.2.attn_q_norm.weight'), [32]);
  assert.deepEqual(shape('blk.2.ffn_down.weight'), [128, 96]);
  assert.deepEqual(shape('token_embd.weight'), [96, 50]);
  assert.equal(expected.get('output.weight')?.optional, true);
  assert.equal(expected.has('blk.3.attn_q.weight'), false);
});

const vocabulary = (model: string, tokens: readonly string[], more: Readonly<Record<string, GgufValue>> = {}) => {
  const keys: Record<string, GgufValue> = {
    model: text(model),
    tokens: { type: 'array', of: 'string', value: tokens },
    scores: { type: 'array', of: 'f32', value: tokens.map((_, id) => id / 2) },
    merges: { type: 'array', of: 'string', value: [] },
    ...more,
  };
  return readTokenizerMetadata(new Map(Object.entries(keys).map(([key, value]) => [`tokenizer.ggml.${key}`, value])));
};

test('a SentencePiece vocabulary that is silent begins with BOS and a space; a byte-level one does not', () => {
  const pieces = vocabulary('llama', ['<unk>', '<s>', '</s>', 'a']);
  assert.deepEqual(
    [pieces.unknownId, pieces.bosId, pieces.eosId, pieces.addBos, pieces.addSpacePrefix, pieces.addEos],
    [0, 1, 2, true, true, false],
  );
  assert.deepEqual([...pieces.tokenTypes], [1, 1, 1, 1]);
  assert.deepEqual([...(pieces.scores ?? [])], [0, 0.5, 1, 1.5]);
  const bytes = vocabulary('gpt2', ['a', 'b']);
  assert.deepEqual(
    [bytes.unknownId, bytes.bosId, bytes.eosId, bytes.addBos, bytes.addSpacePrefix],
    [null, null, null, false, false],
  );
  assert.equal(vocabulary('gpt2', ['a'], { pre: text('llama-bpe') }).addBos, true);
});

test('end tokens are found by key and, among control tokens only, by text', () => {
  const tokens = ['<|eot_id|>', '<|im_end|>', 'x', '<|end|>'];
  const types: GgufValue = { type: 'array', of: 'i32', value: [3, 1, 1, 3] };
  const found = vocabulary('gpt2', tokens, { token_type: types, eos_token_id: u32(3), eom_token_id: u32(2) });
  assert.equal(found.eosId, 3);
  // 1 looks like an end token but is plain text; 3 is already the end token.
  assert.deepEqual([...found.extraEndIds].sort(), [0, 2]);
});

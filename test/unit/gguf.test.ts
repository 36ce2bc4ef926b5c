import assert from 'node:assert/strict';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gguf } from '@huggingface/gguf';
import type { TensorTypeName } from '../../src/model/generated/tensor-data.js';
import { readModelFile } from '../../src/model/gguf.js';
import { readGgufHeader } from '../../src/model/gguf-reader.js';
import { GgufWriter } from '../../src/model/gguf-writer.js';
import { defaultModelPath } from '../support/default-model.js';
import { type TinyModelOptions, tinySpec, writeTinyModel } from '../support/gguf-fixtures.js';
import { fuzzHeader } from '../support/gguf-fuzz.js';

let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-gguf-'));
});
after(() => rm(folder, { recursive: true }));
const path = (name: string) => join(folder, name);

test('the default model has the shape its publisher states', async () => {
  const model = await readModelFile(await defaultModelPath());
  // From the model card and config.json of SmolLM2-135M-Instruct.
  assert.deepEqual(model.architecture, {
    layers: 30,
    hidden: 576,
    heads: 9,
    kvHeads: 3,
    headDim: 64,
    ffn: 1536,
    vocab: 49_152,
    contextLength: 8192,
    rmsEps: Math.fround(1e-5),
    qkvBias: false,
    qkNorm: false,
    rope: { layout: 'interleaved', dimensions: 64, base: 100_000, scaling: { kind: 'none' } },
  });
  assert.equal(model.id, 'SmolLM2-135M-Instruct.Q4_1');
  assert.equal(model.architectureName, 'llama');
  // 9 tensors a layer, embedding and final norm; the output matrix is the embedding.
  assert.equal(model.tensors.length, 30 * 9 + 2);
  assert.equal(model.tokenizer.tokens[2], '<|im_end|>');
  assert.equal(model.tokenizer.eosId, 2);
  assert.deepEqual(model.tokenizer.extraEndIds, [0]);
  assert.equal(model.tokenizer.addBos, false);
  assert.match(model.tokenizer.chatTemplate ?? '', /im_start/);
});

/** The other implementation's view of the same file, in our terms. */
async function readWithLibrary(file: string) {
  const { metadata, tensorInfos, tensorDataOffset } = await gguf(file, { allowLocalFile: true });
  const counts = new Set(['version', 'tensor_count', 'kv_count']);
  return {
    metadata: Object.entries(metadata).filter(([key]) => !counts.has(key)),
    tensors: tensorInfos.map(({ name, dtype, shape, offset }) => ({
      name,
      type: Number(dtype),
      shape: shape.map(Number),
      offset: Number(offset + tensorDataOffset),
    })),
  };
}

test('metadata and tensor table equal those that @huggingface/gguf reads', async () => {
  for (const file of [await defaultModelPath(), await writeTinyModel(path('same.gguf'), { architecture: 'qwen2' })]) {
    const ours = await readGgufHeader(file);
    const theirs = await readWithLibrary(file);
    assert.deepEqual(
      [...ours.metadata].map(([key, entry]) => [key, entry.value]),
      theirs.metadata,
    );
    assert.deepEqual(ours.tensors, theirs.tensors);
  }
});

test('every value type survives writing and reading', async () => {
  const writer = await GgufWriter.create(path('values.gguf'));
  const values = [
    ['u8', { type: 'u8', value: 255 }],
    ['i8', { type: 'i8', value: -128 }],
    ['u16', { type: 'u16', value: 65_535 }],
    ['i16', { type: 'i16', value: -32_768 }],
    ['u32', { type: 'u32', value: 4_294_967_295 }],
    ['i32', { type: 'i32', value: -2_147_483_648 }],
    ['f32', { type: 'f32', value: -0.15625 }],
    ['f64', { type: 'f64', value: Math.PI }],
    ['u64', { type: 'u64', value: 18_446_744_073_709_551_615n }],
    ['i64', { type: 'i64', value: -9_223_372_036_854_775_808n }],
    ['bool', { type: 'bool', value: true }],
    ['text', { type: 'string', value: 'naïve 🙂' }],
    ['empty', { type: 'string', value: '' }],
    // U+FEFF at the start of a token is a character, not a byte-order mark to be dropped.
    ['strings', { type: 'array', of: 'string', value: ['\ufeffa', '', '\u2581b'] }],
    ['floats', { type: 'array', of: 'f32', value: [0.5, -1] }],
    ['integers', { type: 'array', of: 'i32', value: [-1, 7] }],
    ['longs', { type: 'array', of: 'u64', value: [1n, 1n << 63n] }],
    ['bools', { type: 'array', of: 'bool', value: [true, false] }],
    ['none', { type: 'array', of: 'u8', value: [] }],
  ] as const;
  for (const [key, value] of values) writer.setMetadata(key, value);
  writer.declareTensor({ name: 'a', type: 0, shape: [3] });
  writer.declareTensor({ name: 'b', type: 8, shape: [32, 2] });
  await writer.writeTensor('a', new Uint8Array(12).fill(1));
  await writer.writeTensor('b', [new Uint8Array(34).fill(2), new Uint8Array(34).fill(3)]);
  await writer.finish();
  const header = await readGgufHeader(path('values.gguf'));
  assert.deepEqual(
    [...header.metadata],
    values.map(([key, value]) => [key, value]),
  );
  // 12 bytes, padded to 32.
  assert.deepEqual(
    header.tensors.map(({ offset }) => offset - header.dataOffset),
    [0, 32],
  );
  assert.equal(header.dataOffset % 32, 0);
});

test('the writer refuses wrong sizes, orders and types, and leaves no file', async () => {
  const writer = await GgufWriter.create(path('refused.gguf'));
  writer.declareTensor({ name: 'a', type: 8, shape: [64] });
  assert.throws(() => writer.declareTensor({ name: 'a', type: 0, shape: [1] }), /twice/);
  assert.throws(() => writer.declareTensor({ name: 'b', type: 8, shape: [33] }), /whole blocks/);
  assert.throws(() => writer.declareTensor({ name: 'b', type: 20, shape: [32] }), /IQ4_NL/);
  await assert.rejects(writer.writeTensor('b', new Uint8Array(4)), /expected tensor a/);
  await assert.rejects(writer.writeTensor('a', new Uint8Array(67)), /has 68 bytes, got 67/);
  await assert.rejects(writer.finish(), /not all/);
  await writer.abort();
  await assert.rejects(readGgufHeader(path('refused.gguf')), { code: 'model_file_not_found' });
  await assert.rejects(readGgufHeader(path('refused.gguf.writing')), { code: 'model_file_not_found' });
});

test('generated models of every architecture and tensor format read back as specified', async () => {
  const formats: readonly TensorTypeName[] = ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1'];
  const superFormats: readonly TensorTypeName[] = ['Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K'];
  const cases: TinyModelOptions[] = [
    ...(['llama', 'qwen2', 'qwen3'] as const).map((architecture) => ({ architecture })),
    ...formats.map((type) => ({ types: { embedding: type, attention: type, ffn: type }, tied: false, layers: 1 })),
    ...superFormats.map((type) => ({ types: { attention: type, ffn: type }, hidden: 256, ffn: 512, layers: 1 })),
    { headDim: 32, heads: 6, kvHeads: 3, qkvBias: true, vocab: 320, ropeDimensions: 16 },
    { ropeScaling: { kind: 'linear', factor: 4 }, ropeBase: 50_000 },
    { ropeScaling: { kind: 'llama3', factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalContext: 128 } },
    {
      ropeScaling: {
        kind: 'yarn',
        factor: 4,
        originalContext: 128,
        betaFast: 24,
        betaSlow: 2,
        attentionFactor: 1.25,
      },
      ropeFreqs: true,
    },
  ];
  for (const options of cases) {
    const model = await readModelFile(await writeTinyModel(path('tiny.gguf'), options));
    assert.deepEqual(model.architecture, tinySpec(options));
    assert.equal(
      model.tensors.some(({ name }) => name === 'output.weight'),
      options.tied === false,
    );
    assert.equal(
      model.tensors.some(({ name }) => name === 'rope_freqs.weight'),
      options.ropeFreqs === true,
    );
    const blockTensors =
      9 + (options.qkvBias || options.architecture === 'qwen2' ? 3 : 0) + (options.architecture === 'qwen3' ? 2 : 0);
    assert.equal(model.tensors.filter(({ name }) => name.startsWith('blk.0.')).length, blockTensors);
  }
});

test('the same seed gives the same file, another seed another', async () => {
  const { readFile } = await import('node:fs/promises');
  const read = async (seed: number) => readFile(await writeTinyModel(path('seed.gguf'), { seed }));
  assert.deepEqual(await read(7), await read(7));
  assert.notDeepEqual(await read(7), await read(8));
});

test('a header longer than the first read is read whole', async () => {
  // 40,000 tokens of 500 bytes: a header of 20 MB.
  const text = 'x'.repeat(500);
  const value = Array.from({ length: 40_000 }, (_, index) => `${index}${text}`);
  const writer = await GgufWriter.create(path('long.gguf'));
  writer.setMetadata('long', { type: 'array', of: 'string', value });
  writer.setMetadata('last', { type: 'u32', value: 5 });
  await writer.finish();
  const { metadata } = await readGgufHeader(path('long.gguf'));
  assert.deepEqual(metadata.get('long')?.value, value);
  assert.deepEqual(metadata.get('last'), { type: 'u32', value: 5 });
});

test('every truncation of a model is refused with a code', async () => {
  const file = await writeTinyModel(path('cut.gguf'), { layers: 1 });
  const { fileBytes, tensors } = await readModelFile(file);
  const dataStart = Math.min(...tensors.map(({ offset }) => offset));
  const cuts = Array.from({ length: 400 }, (_, index) => Math.floor((dataStart * index) / 400));
  for (const bytes of [fileBytes - 32, dataStart + 1, ...cuts.reverse()]) {
    await truncate(file, bytes);
    await assert.rejects(readModelFile(file), (error: { code?: string }) =>
      ['model_file_invalid', 'model_tensor_out_of_range'].includes(error.code ?? ''),
    );
  }
});

test('what is no readable file is told apart', async () => {
  await assert.rejects(readModelFile(path('nothing.gguf')), { code: 'model_file_not_found' });
  await assert.rejects(readModelFile(folder), { code: 'model_file_unreadable' });
  await assert.rejects(readModelFile('/dev/zero'), { code: 'model_file_unreadable' });
  await writeFile(path('empty.gguf'), '');
  await assert.rejects(readModelFile(path('empty.gguf')), { code: 'model_file_invalid' });
});

test('mutated headers give models or coded errors, nothing else', async () => {
  const result = await fuzzHeader({ cases: 200, seconds: 0 }, 1);
  assert.ok(Object.keys(result.codes).length >= 4, JSON.stringify(result.codes));
  assert.ok(result.memoryGrowth < 256 * 2 ** 20, `memory grew by ${result.memoryGrowth}`);
});

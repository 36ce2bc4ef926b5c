/** Generated models for benches: sizes of the shapes, and tensors that are written piece by piece. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { modelTypes, shapes } from '../../src/cli/bench/make-model.js';
import { expectedTensors } from '../../src/model/architecture-tensors.js';
import { randomTensor } from '../../src/model/generated/tensor-data.js';
import { readModelFile } from '../../src/model/gguf.js';
import { findTensorFormatByName } from '../../src/model/gguf-types.js';
import type { ArchitectureSpec } from '../../src/native/contract.js';
import { writeTinyModel } from '../support/gguf-fixtures.js';

const folder = await mkdtemp(join(tmpdir(), 'nibble-generated-'));
after(() => rm(folder, { recursive: true }));

function parameters(spec: ArchitectureSpec | undefined): number {
  assert.ok(spec);
  const needed = [...expectedTensors(spec).values()].filter(({ optional }) => !optional);
  return needed.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
}

test('shapes have the parameters that their models publish', () => {
  assert.equal(parameters(shapes['135m']), 134_515_008); // SmolLM2-135M
  assert.equal(parameters(shapes['1b']), 1_235_814_400); // Llama 3.2 1B
  assert.equal(shapes.h128?.headDim, 128);
});

test('a tensor of several pieces has the bytes of its format, and no piece twice', () => {
  const count = 5 * 2 ** 18 + 4096;
  for (const type of ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_1', 'Q5_1', 'Q4_K', 'Q6_K'] as const) {
    const pieces = [...randomTensor(type, count, 0, 0.05, 7)];
    const format = findTensorFormatByName(type);
    assert.ok(format);
    const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    assert.equal(bytes, (count / format.blockElements) * format.blockBytes, type);
    assert.ok(pieces.every((piece) => piece.length <= 2 ** 20));
    const whole = new Set(pieces.slice(0, 5).map((piece) => piece.toString('latin1')));
    assert.equal(whole.size, 5, type);
    const again = Buffer.concat([...randomTensor(type, count, 0, 0.05, 7)]);
    assert.ok(again.equals(Buffer.concat(pieces)), 'the same seed, the same bytes');
    assert.ok(!again.equals(Buffer.concat([...randomTensor(type, count, 0, 0.05, 8)])));
  }
});

test('values of later pieces have the spread of the first', () => {
  const halves = Buffer.concat([...randomTensor('F32', 3 * 2 ** 18, 0, 0.5, 3)]);
  const values = new Float32Array(halves.buffer, halves.byteOffset, halves.length / 4);
  for (const start of [0, 2 ** 18, 2 ** 19]) {
    const piece = values.subarray(start, start + 2 ** 18);
    const squares = piece.reduce((sum, value) => sum + value * value, 0) / piece.length;
    assert.ok(Math.abs(Math.sqrt(squares) - 0.5) < 0.005, `${Math.sqrt(squares)}`);
  }
});

test('a large vocabulary is filled up, and the file reads back', async () => {
  const path = await writeTinyModel(join(folder, 'wide.gguf'), { vocab: 130_000, types: modelTypes('Q4_0') });
  const { architecture, tokenizer, tensors } = await readModelFile(path);
  assert.equal(architecture.vocab, 130_000);
  assert.equal(new Set(tokenizer.tokens).size, 130_000);
  const types = Object.fromEntries(tensors.map(({ name, type }) => [name, type]));
  assert.equal(types['token_embd.weight'], 8, 'Q8_0');
  assert.equal(types['blk.0.ffn_up.weight'], 2, 'Q4_0');
  assert.deepEqual(modelTypes('F16').embedding, 'F16');
  assert.deepEqual(modelTypes('F16', 'Q8_0'), { attention: 'F16', ffn: 'F16', embedding: 'Q8_0' });
});

test('a file that could not be completed leaves nothing behind', async () => {
  const edit: Parameters<typeof writeTinyModel>[1] = {
    edit: ({ tensors }) => void tensors.push({ name: 'blk.0.ffn_up.weight', type: 0, shape: [32] }),
  };
  await assert.rejects(writeTinyModel(join(folder, 'twice.gguf'), edit), /twice/);
  assert.deepEqual(
    (await readdir(folder)).filter((name) => name.startsWith('twice')),
    [],
  );
});

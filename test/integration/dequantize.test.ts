/**
 * Values of every tensor type against the Python gguf package: its quantizer where it has one, and random blocks.
 * Equality is exact. Both sides multiply code and scale exactly and round once, so nothing is left to the order of
 * operations; only a zero's sign may differ (−0 × scale, where Nibble's w = fma(q, d, m) gives +0).
 */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TensorSpec } from '../../src/native/contract.js';
import { loadAddon } from '../../src/native/load.js';
import { runReference } from '../support/python.js';

const seed = process.env.NIBBLE_SEED ?? '20260801';
const quantized = ['F32', 'F16', 'BF16', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'TQ1_0', 'TQ2_0'];
const blocks = ['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K', 'TQ1_0'];
const names = [...quantized.map((type) => `${type}.quantized`), ...blocks.map((type) => `${type}.blocks`)];

let folder = '';
let manifest: readonly TensorSpec[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-dequantize-'));
  await runReference('dequantize_gguf.py', [folder, seed]);
  manifest = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')) as TensorSpec[];
});

after(() => rm(folder, { recursive: true, force: true }));

test('the reference file holds every case', () => {
  assert.deepEqual(manifest.map((tensor) => tensor.name).toSorted(), names.toSorted());
});

for (const name of names) {
  test(`${name}: values equal those of the gguf package`, async () => {
    const tensor = manifest.find((candidate) => candidate.name === name);
    assert.ok(tensor);
    const bytes = await readFile(join(folder, `${name}.f32`));
    const expected = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
    const actual = loadAddon().dequantize(join(folder, 'weights.gguf'), tensor);
    assert.equal(actual.length, expected.length);
    assert.ok(expected.some((value) => value !== 0));
    const different = expected.findIndex((value, i) => !(value === actual[i]));
    assert.equal(different, -1, `seed ${seed}, value ${different}: ${actual[different]}, not ${expected[different]}`);
  });
}

test('a NaN scale is refused with its code', async () => {
  const tensor = manifest.find((candidate) => candidate.name === 'Q4_1.blocks');
  assert.ok(tensor);
  const bytes = await readFile(join(folder, 'weights.gguf'));
  bytes.writeUInt16LE(0x7e00, tensor.offset + 20);
  const path = join(folder, 'not-finite.gguf');
  await writeFile(path, bytes);
  assert.throws(() => loadAddon().dequantize(path, tensor), { code: 'model_tensor_not_finite' });
});

test('a tensor beyond the end of the file is refused with its code', () => {
  const tensor = manifest.find((candidate) => candidate.name === 'Q6_K.blocks');
  assert.ok(tensor);
  const beyond = { ...tensor, offset: tensor.offset + 1_000_000 };
  assert.throws(() => loadAddon().dequantize(join(folder, 'weights.gguf'), beyond), {
    code: 'model_tensor_out_of_range',
  });
});

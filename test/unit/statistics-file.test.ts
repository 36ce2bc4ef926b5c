import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { InputStatistics } from '../../src/native/contract.js';
import type { Statistics } from '../../src/quant/calibrate.js';
import { readStatistics, writeStatistics } from '../../src/quant/statistics-file.js';
import { Random } from '../../src/random.js';

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-statistics-'));
});
after(() => rm(folder, { recursive: true, force: true }));

const random = new Random(3);
const values = (count: number) => Float32Array.from({ length: count }, () => random.below(1000) / 8);
const input = (inputs: number): InputStatistics => ({
  ...{ inputs, tokens: 99, minima: values(2 * inputs), maxima: values(2 * inputs) },
  ...{ squares: Float64Array.from(values(inputs)), magnitudes: Float64Array.from(values(64)), hessian: null },
});
const layer = () => ({ qkv: input(32), output: input(64), gateUp: input(32), down: input(96) });
const statistics: Statistics = {
  ...{ tokens: 99, chunkTokens: 50, chunks: 2, layers: [layer(), layer()], head: input(32) },
};

test('what is written is read back, infinities of unseen chunks and a missing head too', async () => {
  const path = join(folder, 'whole');
  await writeStatistics(path, statistics);
  assert.deepEqual(await readStatistics(path), statistics);
  const minima = new Float32Array(64).fill(Number.POSITIVE_INFINITY);
  const unseen = { ...statistics, head: null, layers: [{ ...layer(), qkv: { ...input(32), minima } }] };
  await writeStatistics(path, unseen);
  assert.deepEqual(await readStatistics(path), unseen);
});

test('files cut short, without a tensor, with impossible values or numbers are refused', async () => {
  const path = join(folder, 'good');
  await writeStatistics(path, statistics);
  const good = await readFile(path);
  const bad = join(folder, 'bad');
  const refuses = async (bytes: Buffer, code: string) => {
    await writeFile(bad, bytes);
    await assert.rejects(readStatistics(bad), { code });
  };
  await refuses(good.subarray(0, good.length - 400), 'model_tensor_out_of_range');
  await writeFile(bad, good);
  await truncate(bad, 100);
  await assert.rejects(readStatistics(bad), { code: 'model_file_invalid' });
  const renamed = Buffer.from(good);
  renamed.write('X', renamed.indexOf('blk.1.down.squares'));
  await refuses(renamed, 'model_file_invalid');
  const impossible = Buffer.from(good);
  impossible.writeFloatLE(Number.NaN, impossible.length - 4 * 64 - 4 * 32);
  await refuses(impossible, 'model_file_invalid');
  const key = 'nibble.statistics.chunks';
  const more = Buffer.from(good);
  more.writeUInt32LE(3, more.indexOf(key) + key.length + 4);
  await refuses(more, 'model_file_invalid');
  const version = Buffer.from(good);
  version.writeUInt32LE(9, version.indexOf('nibble.statistics.version') + 'nibble.statistics.version'.length + 4);
  await refuses(version, 'model_file_invalid');
  await assert.rejects(readStatistics(join(folder, 'none')), { code: 'model_file_not_found' });
});

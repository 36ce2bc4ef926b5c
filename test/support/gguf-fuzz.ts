/** Byte-flip fuzzing of model files: whatever the bytes, reading ends quickly, with a model or a NibbleError. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NibbleError } from '../../src/errors.js';
import { readModelFile } from '../../src/model/gguf.js';
import { Random } from '../../src/random.js';
import { writeTinyModel } from './gguf-fixtures.js';

export type FuzzResult = {
  readonly cases: number;
  /** Cases that were still a valid model. */
  readonly accepted: number;
  readonly codes: Readonly<Record<string, number>>;
  readonly slowestMs: number;
  /** Growth of the process's memory over the run, bytes. */
  readonly memoryGrowth: number;
};

/** Numbers at the borders of types and of what parsers take for granted. */
const nastyNumbers = [
  0n,
  1n,
  0x7fn,
  0xffn,
  0xffffn,
  0x7fffffffn,
  0xffffffffn,
  0x7fffffffffffffffn,
  0xffffffffffffffffn,
  1n << 32n,
  1n << 53n,
];

/** Until both are reached: a count alone is the same on every machine, a time finds more on a fast one. */
export type FuzzLength = { readonly cases: number; readonly seconds: number };

/**
 * Mutates the header of a generated model. Throws if anything but a NibbleError escapes, naming seed and
 * case so that it can be replayed.
 */
export async function fuzzHeader(length: FuzzLength, seed: number): Promise<FuzzResult> {
  const folder = await mkdtemp(join(tmpdir(), 'nibble-fuzz-'));
  try {
    const path = join(folder, 'model.gguf');
    const original = await readFile(await writeTinyModel(path, { layers: 1, qkvBias: true, ropeFreqs: true }));
    const headerBytes = (await readModelFile(path)).tensors.reduce(
      (start, tensor) => Math.min(start, tensor.offset),
      original.length,
    );
    return await fuzzFile(path, original, headerBytes, length, seed);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function fuzzFile(
  path: string,
  original: Buffer,
  headerBytes: number,
  length: FuzzLength,
  seed: number,
): Promise<FuzzResult> {
  const random = new Random(seed);
  const codes: Record<string, number> = {};
  let [cases, accepted, slowestMs] = [0, 0, 0];
  const memoryBefore = process.memoryUsage().rss;
  const end = performance.now() + length.seconds * 1000;
  while (cases < length.cases || performance.now() < end) {
    await writeFile(path, mutate(original, headerBytes, random));
    const start = performance.now();
    try {
      await readModelFile(path);
      accepted += 1;
    } catch (error) {
      if (!(error instanceof NibbleError)) throw new Error(`seed ${seed}, case ${cases}`, { cause: error });
      codes[error.code] = (codes[error.code] ?? 0) + 1;
    }
    slowestMs = Math.max(slowestMs, performance.now() - start);
    cases += 1;
  }
  return { cases, accepted, codes, slowestMs, memoryGrowth: process.memoryUsage().rss - memoryBefore };
}

/** One to four changes: a flipped bit, a random byte, a nasty number, a cut, a removed or doubled range. */
export function mutate(original: Buffer, headerBytes: number, random: Random): Buffer {
  let bytes = Buffer.from(original);
  const changes = 1 + random.below(4);
  for (let change = 0; change < changes; change += 1) {
    const at = random.below(Math.max(1, Math.min(headerBytes, bytes.length) - 8));
    const length = 1 + random.below(64);
    switch (random.below(8)) {
      case 0:
      case 1:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
        break;
      case 2:
      case 3:
        bytes[at] = random.below(256);
        break;
      case 4:
      case 5:
        if (at + 8 <= bytes.length) bytes.writeBigUInt64LE(nastyNumbers[random.below(nastyNumbers.length)] ?? 0n, at);
        break;
      case 6:
        bytes = bytes.subarray(0, random.below(2) === 0 ? at : random.below(bytes.length + 1));
        break;
      default:
        bytes = Buffer.concat([
          bytes.subarray(0, at + length),
          bytes.subarray(random.below(2) === 0 ? at : at + 2 * length),
        ]);
    }
  }
  return bytes;
}

/**
 * Child process of the fuzz test: `native-fuzz-main.ts SECONDS SEED` ruins generated models at random, loads them
 * natively and runs two steps. Prints a line before each case, so that a crash names its case, and at last a summary.
 */
import { writeSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TensorTypeName } from '../../src/model/generated/tensor-data.js';
import { readModelFile } from '../../src/model/gguf.js';
import type { LoadOptions } from '../../src/native/contract.js';
import { Random } from '../../src/random.js';
import { type TinyModelOptions, writeTinyModel } from './gguf-fixtures.js';
import { mutate } from './gguf-fuzz.js';
import { probeFile, probeLoad, probeOptions } from './native-probe.js';

const say = (line: object) => writeSync(1, `${JSON.stringify(line)}\n`);

type Sound = {
  readonly path: string;
  readonly bytes: Buffer;
  readonly headerBytes: number;
  readonly options: LoadOptions;
};

const types: readonly TensorTypeName[] = [
  ...(['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1'] as const),
  ...(['Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K'] as const),
];

async function writeSound(folder: string): Promise<readonly Sound[]> {
  const sounds: Sound[] = [];
  for (const [index, type] of types.entries()) {
    const isSuper = type.endsWith('_K');
    const shape: TinyModelOptions = isSuper ? { hidden: 256, ffn: 256 } : { hidden: 64, ffn: 96 };
    const architecture = (['llama', 'qwen2', 'qwen3'] as const)[index % 3] ?? 'llama';
    const path = await writeTinyModel(join(folder, `${type}.gguf`), {
      ...shape,
      architecture,
      layers: 1,
      tied: index % 2 === 0,
      ropeFreqs: index % 4 === 0,
      types: { attention: type, ffn: type, embedding: type, output: type },
    });
    const { tensors } = await readModelFile(path);
    const headerBytes = Math.min(...tensors.map(({ offset }) => offset));
    sounds.push({ path, bytes: await readFile(path), headerBytes, options: await probeOptions(path, 'a8') });
  }
  return sounds;
}

/** Flips bits, or fills a stretch with one byte, among the weights. */
function ruinData(sound: Sound, random: Random): Buffer {
  const bytes = Buffer.from(sound.bytes);
  for (let change = 1 + random.below(6); change > 0; change -= 1) {
    const at = sound.headerBytes + random.below(bytes.length - sound.headerBytes);
    if (random.below(3) === 0) bytes.fill(random.below(256), at, Math.min(bytes.length, at + 1 + random.below(300)));
    else bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
  }
  return bytes;
}

const nasty: readonly unknown[] = [
  ...[0, -0, 1, -1, 2, 15, 16, 17, 31, 0.5, 255, 4096, 65_535, 65_536, 2 ** 24, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53],
  ...[1e300, Number.NaN, Number.POSITIVE_INFINITY, null, undefined, '64', [], {}, true],
];
/** Sizes that may be large are cut here: what a test machine can't hold says nothing. */
const threadsMax = 16;

/** Replaces one to three values anywhere in the options: what the addon must not take on trust from JavaScript. */
function ruinOptions(options: LoadOptions, random: Random): LoadOptions {
  const copy: unknown = structuredClone(options);
  for (let change = 1 + random.below(3); change > 0; change -= 1) {
    let place = copy as Record<string, unknown>;
    for (;;) {
      const keys = Object.keys(place);
      const key = keys[random.below(keys.length)];
      if (key === undefined || key === 'path') break;
      const value = place[key];
      if (typeof value === 'object' && value !== null && random.below(12) > 0) {
        place = value as Record<string, unknown>;
        continue;
      }
      const isNear = typeof value === 'number' && random.below(2) === 0;
      place[key] = isNear ? value + [-32, -1, 1, 16, value][random.below(5)]! : nasty[random.below(nasty.length)];
      break;
    }
  }
  const ruined = copy as { threads: number };
  if (ruined.threads > threadsMax && ruined.threads <= 1024) ruined.threads = threadsMax;
  return copy as LoadOptions;
}

async function oneCase(sound: Sound, path: string, random: Random): Promise<readonly [string, string]> {
  const activations = random.below(2) === 0 ? 'a8' : 'f32';
  switch (random.below(4)) {
    case 0:
      await writeFile(path, mutate(sound.bytes, sound.headerBytes, random));
      return ['header', await probeFile(path, activations)];
    case 1:
    case 2:
      await writeFile(path, ruinData(sound, random));
      return ['data', await probeFile(path, activations)];
    default:
      return ['options', await probeLoad(ruinOptions({ ...sound.options, activations }, random))];
  }
}

async function main(seconds: number, seed: number): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'nibble-native-fuzz-'));
  try {
    const sounds = await writeSound(folder);
    for (const { path } of sounds) if ((await probeFile(path)) !== 'finite') throw new Error(`${path} is not sound`);
    const random = new Random(seed);
    const counts: Record<string, number> = {};
    const end = performance.now() + seconds * 1000;
    let cases = 0;
    for (; performance.now() < end; cases += 1) {
      const sound = sounds[random.below(sounds.length)] ?? sounds[0];
      if (sound === undefined) break;
      say({ case: cases, sound: sound.path });
      const [kind, outcome] = await oneCase(sound, join(folder, 'ruined.gguf'), random);
      counts[`${kind}: ${outcome}`] = (counts[`${kind}: ${outcome}`] ?? 0) + 1;
    }
    say({ cases, counts });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

await main(Number(process.argv[2]), Number(process.argv[3]));

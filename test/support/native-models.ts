/** Generated models for tests of the native engine: every architecture and weight format, small enough for scalar. */
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TensorTypeName } from '../../src/model/generated/tensor-data.js';
import { readModelFile } from '../../src/model/gguf.js';
import type { IsaLevel } from '../../src/native/contract.js';
import { loadAddon } from '../../src/native/load.js';
import { type TinyModelOptions, writeTinyModel } from './gguf-fixtures.js';

/** Odd shapes on purpose: rows that are no multiple of 16, groups of 1, 3 and 4 query heads, head sizes 16 to 96. */
export const architectures: Readonly<Record<string, TinyModelOptions>> = {
  llama: { hidden: 192, heads: 6, kvHeads: 2, ffn: 320, vocab: 291 },
  'llama untied, rope factors': {
    hidden: 128,
    heads: 2,
    kvHeads: 2,
    headDim: 96,
    ffn: 160,
    tied: false,
    ropeFreqs: true,
  },
  'llama, linear rope': { ropeScaling: { kind: 'linear', factor: 4 } },
  'llama, llama3 rope': {
    hidden: 128,
    heads: 2,
    kvHeads: 1,
    ropeBase: 500_000,
    ropeScaling: { kind: 'llama3', factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalContext: 64 },
  },
  'llama, half of a head rotates': { hidden: 128, heads: 4, kvHeads: 1, ropeDimensions: 16 },
  qwen2: { architecture: 'qwen2', hidden: 160, heads: 10, kvHeads: 5, ffn: 224, ropeBase: 1_000_000 },
  'qwen2, yarn': {
    architecture: 'qwen2',
    hidden: 128,
    heads: 4,
    kvHeads: 1,
    ropeScaling: { kind: 'yarn', factor: 4, originalContext: 128, betaFast: 32, betaSlow: 1, attentionFactor: 1 },
  },
  qwen3: { architecture: 'qwen3', hidden: 96, heads: 4, kvHeads: 4, headDim: 48, ffn: 256, tied: false },
};

const groupTypes: readonly TensorTypeName[] = ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1'];
const superTypes: readonly TensorTypeName[] = ['Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K'];

/** One model per tensor type, and one whose matrices of one product have different types. */
export const weightModels: Readonly<Record<string, TinyModelOptions>> = {
  ...Object.fromEntries(
    [...groupTypes, ...superTypes].map((type) => [
      type,
      {
        ...(type.endsWith('_K') ? { hidden: 256, ffn: 256, heads: 4 } : { hidden: 96, heads: 2, ffn: 160 }),
        types: allOf(type),
      },
    ]),
  ),
  mixed: {
    hidden: 96,
    heads: 2,
    ffn: 160,
    types: {
      q: 'Q4_0',
      k: 'F16',
      v: 'Q8_0',
      o: 'Q5_1',
      gate: 'Q4_1',
      up: 'BF16',
      down: 'F32',
      embedding: 'Q5_0',
      vector: 'F16',
    },
  },
};

/** Nibble's own formats, groups of 64 and of 128; other programs, such as the float64 reference, can't read them. */
export const ownModels: Readonly<Record<string, TinyModelOptions>> = {
  'groups of 64': {
    ...{ hidden: 192, heads: 6, kvHeads: 2, ffn: 320 },
    types: { attention: 'NB_W4G64A', ffn: 'NB_W4G64', embedding: 'NB_W8G64' },
  },
  'groups of 128': {
    ...{ hidden: 128, heads: 4, ffn: 384 },
    types: { attention: 'NB_W4G128', ffn: 'NB_W4G128A', down: 'NB_W8G128', embedding: 'NB_W4G64' },
  },
};

/** Bit planes, which kernels may look up. */
export const planeModels: Readonly<Record<string, TinyModelOptions>> = {
  'planes in groups of 64': {
    ...{ hidden: 192, heads: 6, kvHeads: 2, ffn: 320 },
    types: { attention: 'NB_W2G64', gate: 'NB_W1G64', up: 'NB_W4G64P', down: 'NB_W3G64', embedding: 'NB_W2G64A' },
  },
  'planes in groups of 128': {
    ...{ hidden: 128, heads: 4, ffn: 384 },
    types: { attention: 'NB_W3G128', ffn: 'NB_W1G128', down: 'NB_W2G128', embedding: 'NB_W4G64P' },
  },
};

function allOf(type: TensorTypeName): TinyModelOptions['types'] & object {
  return { attention: type, ffn: type, embedding: type };
}

/** Levels of this host, slowest first. */
export const hostLevels: readonly IsaLevel[] = loadAddon().cpuInfo().levels;

/** A folder for models, removed by the function returned with it. */
export async function modelFolder(): Promise<{
  readonly write: (name: string, options: TinyModelOptions) => Promise<string>;
  readonly remove: () => Promise<void>;
}> {
  const folder = await mkdtemp(join(tmpdir(), 'nibble-models-'));
  return {
    write: (name, options) => writeTinyModel(join(folder, `${name.replaceAll(/[^\w]+/g, '-')}.gguf`), options),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

/** Overwrites bytes of a tensor in a model file. */
export async function patchTensor(path: string, name: string, at: number, bytes: Uint8Array): Promise<void> {
  const { tensors } = await readModelFile(path);
  const offset = tensors.find((tensor) => tensor.name === name)?.offset;
  if (offset === undefined) throw new Error(`no tensor ${name}`);
  const file = await open(path, 'r+');
  try {
    await file.write(bytes, 0, bytes.length, offset + at);
  } finally {
    await file.close();
  }
}

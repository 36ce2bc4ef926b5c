/** Generated models that are each wrong in one way, with the code that loading them must end with. */
import { readFile, writeFile } from 'node:fs/promises';
import type { ErrorCode } from '../../src/errors.js';
import type { TensorTypeName } from '../../src/model/generated/tensor-data.js';
import { readModelFile } from '../../src/model/gguf.js';
import type { GgufValue } from '../../src/model/gguf-types.js';
import { type TinyModelOptions, writeTinyModel } from './gguf-fixtures.js';

export type RuinedModel = {
  readonly name: string;
  readonly code: ErrorCode;
  write(path: string): Promise<unknown>;
};

const u32 = (value: number): GgufValue => ({ type: 'u32', value });
const f32 = (value: number): GgufValue => ({ type: 'f32', value });
const text = (value: string): GgufValue => ({ type: 'string', value });

const generated = (name: string, code: ErrorCode, options: TinyModelOptions): RuinedModel => ({
  name,
  code,
  write: (path) => writeTinyModel(path, { layers: 1, ...options }),
});
const withKey = (name: string, code: ErrorCode, key: string, value: GgufValue | null): RuinedModel =>
  generated(name, code, {
    edit: ({ metadata }) => void (value === null ? metadata.delete(key) : metadata.set(key, value)),
  });
const withTensor = (name: string, code: ErrorCode, tensor: string, shape: readonly number[]): RuinedModel =>
  generated(name, code, {
    edit: ({ tensors }) => {
      const index = tensors.findIndex((candidate) => candidate.name === tensor);
      tensors[index] = { name: tensor, type: tensors[index]?.type ?? -1, shape };
    },
  });

/** A sound model whose bytes are changed. `after` gives the position behind a text. */
const patched = (
  name: string,
  code: ErrorCode,
  change: (bytes: Buffer, after: (text: string) => number) => Buffer | number | undefined,
): RuinedModel => ({
  name,
  code,
  write: async (path) => {
    const bytes = await readFile(await writeTinyModel(path, { layers: 1 }));
    const changed = change(bytes, (wanted) => {
      const at = bytes.indexOf(wanted);
      if (at < 0) throw new Error(`no ${wanted} in the file`);
      return at + wanted.length;
    });
    await writeFile(path, Buffer.isBuffer(changed) ? changed : bytes);
  },
});
const cut = (name: string, code: ErrorCode, bytesLeft: (bytes: Buffer) => number): RuinedModel =>
  patched(name, code, (bytes) => bytes.subarray(0, bytesLeft(bytes)));

/** Bytes of a block, and where in it the scale lies (ggml-common.h). */
const blocks: Readonly<Partial<Record<TensorTypeName, readonly [bytes: number, scaleAt: number]>>> = {
  Q8_0: [34, 0],
  Q4_0: [18, 0],
  Q4_1: [20, 2],
  Q5_0: [22, 0],
  Q5_1: [24, 2],
  Q2_K: [84, 80],
  Q3_K: [110, 108],
  Q4_K: [144, 2],
  Q5_K: [176, 0],
  Q6_K: [210, 208],
};

/** The last block of a matrix gets a scale (or minimum, or weight) of these f16 or bf16 bits, or this f32. */
function notFinite(type: TensorTypeName, tensor: string, value: 'NaN' | 'infinity'): RuinedModel {
  return {
    name: `${type} with ${value} in ${tensor}`,
    code: 'model_tensor_not_finite',
    write: async (path) => {
      const isVector = tensor.endsWith('norm.weight');
      const options = isVector ? { types: { vector: type } } : { types: { down: type, embedding: 'Q8_0' as const } };
      await writeTinyModel(path, { layers: 1, hidden: 256, ffn: 256, ...options });
      const bytes = await readFile(path);
      const found = (await readModelFile(path)).tensors.find(({ name }) => name === tensor);
      if (found === undefined) throw new Error(`no ${tensor}`);
      const values = found.shape.reduce((product, size) => product * size, 1);
      const [blockBytes, scaleAt] = blocks[type] ?? [type === 'F32' ? 4 : 2, 0];
      const blockValues = blocks[type] === undefined ? 1 : type.endsWith('_K') ? 256 : 32;
      const at = found.offset + (values / blockValues - 1) * blockBytes + scaleAt;
      if (type === 'F32') bytes.writeUInt32LE(value === 'NaN' ? 0x7fc00000 : 0xff800000, at);
      else if (type === 'BF16') bytes.writeUInt16LE(value === 'NaN' ? 0x7fc0 : 0x7f80, at);
      else bytes.writeUInt16LE(value === 'NaN' ? 0x7e01 : 0xfc00, at);
      await writeFile(path, bytes);
    },
  };
}

const down = 'blk.0.ffn_down.weight';
const ids = (count: number): GgufValue => ({ type: 'array', of: 'i32', value: Array(count).fill(1) });

export const ruinedModels: readonly RuinedModel[] = [
  withKey('no architecture', 'model_metadata_invalid', 'general.architecture', null),
  withKey('another architecture', 'model_architecture_unsupported', 'general.architecture', text('mamba')),
  withKey('experts', 'model_architecture_unsupported', 'llama.expert_count', u32(8)),
  withKey('a part of a split model', 'model_file_invalid', 'split.count', { type: 'u16', value: 2 }),
  withKey('no layers', 'model_metadata_invalid', 'llama.block_count', u32(0)),
  withKey('four billion layers', 'model_metadata_invalid', 'llama.block_count', u32(0xffffffff)),
  withKey('a layer too many', 'model_tensor_missing', 'llama.block_count', u32(2)),
  withKey('heads that do not divide', 'model_metadata_invalid', 'llama.attention.head_count_kv', u32(3)),
  withKey('no heads', 'model_metadata_invalid', 'llama.attention.head_count', u32(0)),
  withKey('an epsilon of infinity', 'model_metadata_invalid', 'llama.attention.layer_norm_rms_epsilon', f32(Infinity)),
  withKey('a rope base of NaN', 'model_metadata_invalid', 'llama.rope.freq_base', f32(Number.NaN)),
  withKey('an odd rotation', 'model_metadata_invalid', 'llama.rope.dimension_count', u32(5)),
  withKey('a context of 2^62', 'model_metadata_invalid', 'llama.context_length', { type: 'u64', value: 1n << 62n }),
  withKey('another vocabulary size', 'model_metadata_invalid', 'llama.vocab_size', u32(1 << 30)),
  withKey('no tokenizer', 'model_metadata_invalid', 'tokenizer.ggml.model', null),
  withKey('another tokenizer', 'tokenizer_unsupported', 'tokenizer.ggml.model', text('rwkv')),
  withKey('token types of another count', 'model_metadata_invalid', 'tokenizer.ggml.token_type', ids(3)),
  withKey('an end token of 2^31', 'model_metadata_invalid', 'tokenizer.ggml.eos_token_id', u32(2 ** 31)),
  withTensor('a transposed matrix', 'model_tensor_shape', down, [64, 96]),
  withTensor('a third dimension', 'model_tensor_shape', 'blk.0.attn_q.weight', [64, 64, 2]),
  withTensor('half an embedding', 'model_tensor_shape', 'token_embd.weight', [64, 144]),
  generated('an unknown tensor', 'model_tensor_unknown', {
    edit: ({ tensors }) => void tensors.push({ name: 'blk.0.attn_sinks.weight', type: 0, shape: [4] }),
  }),
  generated('a missing tensor', 'model_tensor_missing', { edit: ({ tensors }) => void tensors.pop() }),
  patched('2^64-1 tensors', 'model_file_invalid', (bytes) => bytes.writeBigUInt64LE((1n << 64n) - 1n, 8)),
  patched('2^63 keys', 'model_file_invalid', (bytes) => bytes.writeBigUInt64LE(1n << 63n, 16)),
  patched('2^62 tokens', 'model_file_invalid', (bytes, at) => bytes.writeBigUInt64LE(1n << 62n, at('ggml.tokens') + 8)),
  patched('a codebook format', 'model_tensor_type_unsupported', (bytes, at) => bytes.writeUInt32LE(20, at(down) + 20)),
  patched('a format of Nibble in a file of others', 'model_tensor_type_unsupported', (bytes, at) =>
    bytes.writeUInt32LE(20001, at(down) + 20),
  ),
  patched('an unaligned tensor', 'model_tensor_out_of_range', (bytes, at) =>
    bytes.writeBigUInt64LE(1n, at('output_norm.weight') + 16),
  ),
  patched('an offset of 2^64-32', 'model_tensor_out_of_range', (bytes, at) =>
    bytes.writeBigUInt64LE((1n << 64n) - 32n, at('output_norm.weight') + 16),
  ),
  patched('overlapping tensors', 'model_tensor_out_of_range', (bytes, at) => bytes.writeBigUInt64LE(0n, at(down) + 24)),
  patched('a file of 0xff', 'model_file_invalid', (bytes) => bytes.fill(0xff)),
  cut('an empty file', 'model_file_invalid', () => 0),
  cut('four bytes', 'model_file_invalid', () => 4),
  cut('half a header', 'model_file_invalid', (bytes) => bytes.indexOf('tokenizer.ggml.tokens') + 100),
  cut('no weights', 'model_tensor_out_of_range', (bytes) => bytes.length - 30_000),
  cut('all but one byte', 'model_tensor_out_of_range', (bytes) => bytes.length - 64),
  ...(Object.keys(blocks) as TensorTypeName[]).map((type) => notFinite(type, down, 'NaN')),
  notFinite('F32', down, 'NaN'),
  notFinite('F16', down, 'infinity'),
  notFinite('BF16', down, 'infinity'),
  notFinite('Q4_1', down, 'infinity'),
  notFinite('Q8_0', 'token_embd.weight', 'infinity'),
  notFinite('F32', 'blk.0.attn_norm.weight', 'infinity'),
  notFinite('F16', 'output_norm.weight', 'NaN'),
];

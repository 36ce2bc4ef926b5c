import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { ErrorCode } from '../../src/errors.js';
import { readModelFile } from '../../src/model/gguf.js';
import type { GgufValue } from '../../src/model/gguf-types.js';
import type { TensorDeclaration } from '../../src/model/gguf-writer.js';
import { type TinyModelOptions, writeTinyModel } from '../support/gguf-fixtures.js';

let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-malformed-'));
});
after(() => rm(folder, { recursive: true }));

type Model = { readonly metadata: Map<string, GgufValue>; readonly tensors: TensorDeclaration[] };

/** The file's `general.architecture` etc. are right; one thing is changed; this code and text must come out. */
async function expectRefusal(code: ErrorCode, text: RegExp, options: TinyModelOptions): Promise<void> {
  const file = await writeTinyModel(join(folder, 'malformed.gguf'), { layers: 1, ...options });
  await assert.rejects(readModelFile(file), { name: 'NibbleError', code, message: text });
}

const u32 = (value: number): GgufValue => ({ type: 'u32', value });
const f32 = (value: number): GgufValue => ({ type: 'f32', value });
const text = (value: string): GgufValue => ({ type: 'string', value });
const set = (key: string, value: GgufValue) => ({ edit: ({ metadata }: Model) => void metadata.set(key, value) });
const unset = (key: string) => ({ edit: ({ metadata }: Model) => void metadata.delete(key) });
const replaceTensor = (name: string, change: Partial<TensorDeclaration>) => ({
  edit: ({ tensors }: Model) => {
    const index = tensors.findIndex((tensor) => tensor.name === name);
    const tensor = tensors[index];
    assert.ok(tensor);
    tensors[index] = { ...tensor, ...change };
  },
});

const metadataCases: readonly (readonly [string, ErrorCode, RegExp, TinyModelOptions])[] = [
  ['no architecture', 'model_metadata_invalid', /general.architecture: is missing/, unset('general.architecture')],
  ['architecture of another type', 'model_metadata_invalid', /must be a string/, set('general.architecture', u32(1))],
  ['another architecture', 'model_architecture_unsupported', /'gemma3'/, set('general.architecture', text('gemma3'))],
  ['experts', 'model_architecture_unsupported', /8 experts/, set('llama.expert_count', u32(8))],
  [
    'bidirectional',
    'model_architecture_unsupported',
    /causal/,
    set('llama.attention.causal', { type: 'bool', value: false }),
  ],
  ['a part of a split model', 'model_file_invalid', /one of 3 parts/, set('split.count', { type: 'u16', value: 3 })],
  ['no layer count', 'model_metadata_invalid', /llama.block_count: is missing/, unset('llama.block_count')],
  ['no layers', 'model_metadata_invalid', /block_count/, set('llama.block_count', u32(0))],
  ['a billion layers', 'model_metadata_invalid', /block_count/, set('llama.block_count', u32(1_000_000_000))],
  ['more layers than tensors', 'model_tensor_missing', /blk\.1\./, set('llama.block_count', u32(2))],
  ['fewer layers than tensors', 'model_tensor_unknown', /blk\.1\./, { layers: 2, ...set('llama.block_count', u32(1)) }],
  ['width as text', 'model_metadata_invalid', /must be an integer/, set('llama.embedding_length', text('64'))],
  [
    'width per layer',
    'model_metadata_invalid',
    /an array of u32/,
    set('llama.feed_forward_length', { type: 'array', of: 'u32', value: [96] }),
  ],
  [
    'heads that do not divide',
    'model_metadata_invalid',
    /does not divide/,
    set('llama.attention.head_count_kv', u32(3)),
  ],
  ['a fractional head size', 'model_metadata_invalid', /head size/, set('llama.attention.head_count', u32(6))],
  ['an odd head size', 'model_metadata_invalid', /head size of 15/, set('llama.attention.key_length', u32(15))],
  ['values unlike keys', 'model_metadata_invalid', /differs/, set('llama.attention.value_length', u32(32))],
  ['no epsilon', 'model_metadata_invalid', /rms_epsilon: is missing/, unset('llama.attention.layer_norm_rms_epsilon')],
  [
    'epsilon not a number',
    'model_metadata_invalid',
    /rms_epsilon/,
    set('llama.attention.layer_norm_rms_epsilon', f32(Number.NaN)),
  ],
  [
    'a negative context',
    'model_metadata_invalid',
    /context_length/,
    set('llama.context_length', { type: 'i32', value: -1 }),
  ],
  [
    'a huge context',
    'model_metadata_invalid',
    /context_length/,
    set('llama.context_length', { type: 'u64', value: 1n << 60n }),
  ],
  [
    'rotation wider than a head',
    'model_metadata_invalid',
    /dimension_count/,
    set('llama.rope.dimension_count', u32(32)),
  ],
  ['an odd rotation', 'model_metadata_invalid', /odd/, set('llama.rope.dimension_count', u32(7))],
  ['a rope base of zero', 'model_metadata_invalid', /freq_base/, set('llama.rope.freq_base', f32(0))],
  ['an unknown rope scaling', 'model_metadata_invalid', /longrope/, set('llama.rope.scaling.type', text('longrope'))],
  ['a negative rope factor', 'model_metadata_invalid', /factor/, set('llama.rope.scaling.factor', f32(-2))],
  ['another vocabulary size', 'model_metadata_invalid', /288 tokens/, set('llama.vocab_size', u32(300))],
  ['no tokenizer', 'model_metadata_invalid', /tokenizer.ggml.model: is missing/, unset('tokenizer.ggml.model')],
  ['another tokenizer', 'tokenizer_unsupported', /'t5'/, set('tokenizer.ggml.model', text('t5'))],
  ['no tokens', 'model_metadata_invalid', /tokens: is missing/, unset('tokenizer.ggml.tokens')],
  [
    'an empty vocabulary',
    'model_metadata_invalid',
    /is empty/,
    set('tokenizer.ggml.tokens', { type: 'array', of: 'string', value: [] }),
  ],
  [
    'tokens that are numbers',
    'model_metadata_invalid',
    /array of strings/,
    set('tokenizer.ggml.tokens', { type: 'array', of: 'u8', value: [1] }),
  ],
  [
    'too few token types',
    'model_metadata_invalid',
    /2 entries for 288/,
    set('tokenizer.ggml.token_type', { type: 'array', of: 'i32', value: [1, 1] }),
  ],
  [
    'an unknown token type',
    'model_metadata_invalid',
    /unknown type 9/,
    set('tokenizer.ggml.token_type', { type: 'array', of: 'i32', value: Array(288).fill(9) }),
  ],
  [
    'too few scores',
    'model_metadata_invalid',
    /1 entries for 288/,
    set('tokenizer.ggml.scores', { type: 'array', of: 'f32', value: [0] }),
  ],
  [
    'no scores where needed',
    'model_metadata_invalid',
    /scores: is missing/,
    set('tokenizer.ggml.model', text('llama')),
  ],
  ['no merges', 'model_metadata_invalid', /merges: is missing/, unset('tokenizer.ggml.merges')],
  [
    'a merge of one part',
    'model_metadata_invalid',
    /entry 1/,
    set('tokenizer.ggml.merges', { type: 'array', of: 'string', value: ['a b', 'c'] }),
  ],
  [
    'an end token beyond the vocabulary',
    'model_metadata_invalid',
    /288 is not from 0 to 287/,
    set('tokenizer.ggml.eos_token_id', u32(288)),
  ],
  [
    'a begin token of -1',
    'model_metadata_invalid',
    /bos_token_id/,
    set('tokenizer.ggml.bos_token_id', { type: 'i32', value: -1 }),
  ],
  ['a flag that is a number', 'model_metadata_invalid', /must be a bool/, set('tokenizer.ggml.add_bos_token', u32(1))],
];

const tensorCases: readonly (readonly [string, ErrorCode, RegExp, TinyModelOptions])[] = [
  [
    'a missing tensor',
    'model_tensor_missing',
    /output_norm.weight/,
    { edit: ({ tensors }) => void tensors.splice(1, 1) },
  ],
  [
    'a missing bias',
    'model_tensor_missing',
    /attn_q.bias/,
    { architecture: 'qwen2', edit: ({ tensors }) => void tensors.splice(7, 1) },
  ],
  [
    'an unknown tensor',
    'model_tensor_unknown',
    /extra.weight/,
    { edit: ({ tensors }) => void tensors.push({ name: 'extra.weight', type: 0, shape: [4] }) },
  ],
  [
    'another shape',
    'model_tensor_shape',
    /\[64, 64\]; expected is \[64, 32\]/,
    replaceTensor('blk.0.attn_k.weight', { shape: [64, 64] }),
  ],
  [
    'a transposed matrix',
    'model_tensor_shape',
    /ffn_down/,
    replaceTensor('blk.0.ffn_down.weight', { shape: [64, 96] }),
  ],
  ['a third dimension', 'model_tensor_shape', /attn_q/, replaceTensor('blk.0.attn_q.weight', { shape: [64, 64, 2] })],
  [
    'fewer embeddings than tokens',
    'model_tensor_shape',
    /token_embd/,
    replaceTensor('token_embd.weight', { shape: [64, 280] }),
  ],
  [
    'a quantized norm',
    'model_tensor_type_unsupported',
    /attn_norm.weight' has the unsupported type Q8_0/,
    replaceTensor('blk.0.attn_norm.weight', { type: 8 }),
  ],
  [
    'rows that are no whole tiles',
    'model_tensor_shape',
    /multiple of 32/,
    { hidden: 48, heads: 3, kvHeads: 3, types: { embedding: 'F32', attention: 'F32', ffn: 'F32' } },
  ],
];

for (const [name, code, message, options] of [...metadataCases, ...tensorCases]) {
  test(`${name}: ${code}`, () => expectRefusal(code, message, options));
}

/** Changes to the bytes of a valid file. `find` gives the position right after a text. */
const byteCases: readonly (readonly [
  string,
  ErrorCode,
  RegExp,
  (bytes: Buffer, find: (text: string) => number) => unknown,
])[] = [
  ['another magic', 'model_file_invalid', /GGUF/, (bytes) => bytes.write('GGML')],
  ['version 1', 'model_file_invalid', /version 1/, (bytes) => bytes.writeUInt32LE(1, 4)],
  ['version 4', 'model_file_invalid', /version 4/, (bytes) => bytes.writeUInt32LE(4, 4)],
  ['big-endian', 'model_file_invalid', /big-endian/, (bytes) => bytes.writeUInt32BE(3, 4)],
  [
    'more tensors than bytes',
    'model_file_invalid',
    /number of tensors is 60000/,
    (bytes) => bytes.writeBigUInt64LE(60_000n, 8),
  ],
  [
    '2^64-1 tensors',
    'model_file_invalid',
    /18446744073709551615/,
    (bytes) => bytes.writeBigUInt64LE((1n << 64n) - 1n, 8),
  ],
  ['one tensor too many', 'model_tensor_shape', /dimension/, (bytes) => bytes.writeBigUInt64LE(12n, 8)],
  ['2^63 keys', 'model_file_invalid', /number of metadata keys/, (bytes) => bytes.writeBigUInt64LE(1n << 63n, 16)],
  [
    'a key of 2^40 bytes',
    'model_file_invalid',
    /length of metadata key 0/,
    (bytes) => bytes.writeBigUInt64LE(1n << 40n, 24),
  ],
  [
    'a key twice',
    'model_file_invalid',
    /occurs twice/,
    (bytes, find) => bytes.write('b', find('ggml.eos_token_id') - 12),
  ],
  [
    'an unknown value type',
    'model_file_invalid',
    /unknown value type 13/,
    (bytes, find) => bytes.writeUInt32LE(13, find('llama.block_count')),
  ],
  [
    'a bool of 2',
    'model_file_invalid',
    /bool with the value 2/,
    (bytes, find) => bytes.writeUInt8(2, find('add_bos_token') + 4),
  ],
  [
    'an array of arrays',
    'model_file_invalid',
    /array of arrays/,
    (bytes, find) => bytes.writeUInt32LE(9, find('ggml.merges') + 4),
  ],
  [
    'an array of 2^62 strings',
    'model_file_invalid',
    /length of tokenizer.ggml.tokens/,
    (bytes, find) => bytes.writeBigUInt64LE(1n << 62n, find('ggml.tokens') + 8),
  ],
  [
    'an array longer than the file',
    'model_file_invalid',
    /does not fit/,
    (bytes, find) => bytes.writeBigUInt64LE(1_000_000n, find('ggml.tokens') + 8),
  ],
  [
    'a string longer than the file',
    'model_file_invalid',
    /does not fit/,
    (bytes, find) => bytes.writeBigUInt64LE(60_000_000n, find('general.name') + 4),
  ],
  [
    'five dimensions',
    'model_tensor_shape',
    /5 dimensions/,
    (bytes, find) => bytes.writeUInt32LE(5, find('output_norm.weight')),
  ],
  [
    'a dimension of 0',
    'model_tensor_shape',
    /impossible size 0/,
    (bytes, find) => bytes.writeBigUInt64LE(0n, find('output_norm.weight') + 4),
  ],
  [
    'a dimension of 2^63',
    'model_tensor_shape',
    /impossible size/,
    (bytes, find) => bytes.writeBigUInt64LE(1n << 63n, find('token_embd.weight') + 12),
  ],
  [
    'a codebook format',
    'model_tensor_type_unsupported',
    /IQ4_NL/,
    (bytes, find) => bytes.writeUInt32LE(20, find('token_embd.weight') + 20),
  ],
  [
    'an unknown format',
    'model_tensor_type_unsupported',
    /number 999/,
    (bytes, find) => bytes.writeUInt32LE(999, find('token_embd.weight') + 20),
  ],
  [
    'rows that are no whole blocks',
    'model_tensor_shape',
    /multiple of 256/,
    (bytes, find) => bytes.writeUInt32LE(12, find('blk.0.attn_q.weight') + 20),
  ],
  [
    'an unaligned tensor',
    'model_tensor_out_of_range',
    /not a multiple/,
    (bytes, find) => bytes.writeBigUInt64LE(8n, find('output_norm.weight') + 16),
  ],
  [
    'an offset of 2^63',
    'model_tensor_out_of_range',
    /starts at byte/,
    (bytes, find) => bytes.writeBigUInt64LE(1n << 63n, find('output_norm.weight') + 16),
  ],
  [
    'an offset at the end',
    'model_tensor_out_of_range',
    /(starts|ends) at byte/,
    (bytes, find) =>
      void bytes.writeBigUInt64LE(BigInt(bytes.length - (bytes.length % 32)), find('output_norm.weight') + 16),
  ],
  [
    'overlapping tensors',
    'model_tensor_out_of_range',
    /overlap/,
    (bytes, find) => bytes.writeBigUInt64LE(0n, find('output_norm.weight') + 16),
  ],
  [
    'a tensor twice',
    'model_file_invalid',
    /'blk.0.attn_q.weight' occurs twice/,
    (bytes, find) => bytes.write('q', find('blk.0.attn_k.weight') - 8),
  ],
  ['a file of zeros', 'model_file_invalid', /GGUF/, (bytes) => Buffer.alloc(bytes.length)],
  ['a web page', 'model_file_invalid', /GGUF/, () => Buffer.from('<!DOCTYPE html><html></html>')],
];

for (const [name, code, message, change] of byteCases) {
  test(`${name}: ${code}`, async () => {
    const file = await writeTinyModel(join(folder, 'bytes.gguf'), { layers: 1 });
    const bytes = await readFile(file);
    const find = (wanted: string) => {
      const at = bytes.indexOf(wanted);
      assert.ok(at >= 0, wanted);
      return at + wanted.length;
    };
    const changed = change(bytes, find);
    await writeFile(file, Buffer.isBuffer(changed) ? changed : bytes);
    await assert.rejects(readModelFile(file), { name: 'NibbleError', code, message });
  });
}

for (const value of [0, 7, 24, 1 << 20]) {
  test(`an alignment of ${value}: model_file_invalid`, async () => {
    const file = await writeTinyModel(join(folder, 'alignment.gguf'), {
      layers: 1,
      ...set('general.alignmenT', u32(value)),
    });
    const bytes = await readFile(file);
    bytes.write('t', bytes.indexOf('general.alignmenT') + 16);
    await writeFile(file, bytes);
    await assert.rejects(readModelFile(file), { code: 'model_file_invalid', message: /alignment/ });
  });
}

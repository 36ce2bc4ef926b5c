/** Generated models: random weights from a seed, any supported architecture, size and tensor format. */
import { expectedTensors } from '../../src/model/architecture-tensors.js';
import { findTensorFormatByName, type GgufValue, tensorTypeName } from '../../src/model/gguf-types.js';
import { GgufWriter, type TensorDeclaration } from '../../src/model/gguf-writer.js';
import type { ArchitectureSpec, RopeSpec } from '../../src/native/contract.js';
import { encodeTensor, randomTensor, type TensorTypeName } from './gguf-encode.js';
import { hashText } from './random.js';
import { tinyTokenizer } from './tiny-tokenizer.js';

export type { TensorTypeName } from './gguf-encode.js';

/** `q` … `down` override `attention` and `ffn`. `vector`: norms and biases (a float format). */
export type TensorClass =
  | 'embedding'
  | 'output'
  | 'attention'
  | 'ffn'
  | 'vector'
  | 'q'
  | 'k'
  | 'v'
  | 'o'
  | 'gate'
  | 'up'
  | 'down';

export type TinyModelOptions = {
  readonly architecture?: 'llama' | 'qwen2' | 'qwen3';
  readonly seed?: number;
  readonly layers?: number;
  readonly hidden?: number;
  readonly heads?: number;
  readonly kvHeads?: number;
  /** Written as `attention.key_length`; default: hidden / heads, not written. */
  readonly headDim?: number;
  readonly ffn?: number;
  readonly vocab?: number;
  readonly context?: number;
  /** Whether the output matrix is the embedding (then there is no `output.weight`). Default true. */
  readonly tied?: boolean;
  /** Tensor formats; default Q4_1, with Q8_0 embedding and output, F32 vectors. */
  readonly types?: Partial<Readonly<Record<TensorClass, TensorTypeName>>>;
  readonly ropeBase?: number;
  readonly ropeDimensions?: number;
  readonly ropeScaling?: RopeSpec['scaling'];
  /** Adds `rope_freqs.weight`, as files of Llama 3.1 have it. */
  readonly ropeFreqs?: boolean;
  /** Adds Q, K, V biases where the architecture doesn't need them. */
  readonly qkvBias?: boolean;
  readonly pre?: string;
  readonly addBos?: boolean;
  /** For malformed files: changes metadata and tensor list before they are written. */
  readonly edit?: (model: { readonly metadata: Map<string, GgufValue>; readonly tensors: TensorDeclaration[] }) => void;
};

/**
 * Writes a model to `path` and returns the path. Defaults: llama, 2 layers, hidden 64, heads 4/2, ffn 96, vocab 288,
 * context 512.
 */
export async function writeTinyModel(path: string, options: TinyModelOptions = {}): Promise<string> {
  const spec = tinySpec(options);
  const architecture = options.architecture ?? 'llama';
  const metadata = new Map([
    ...architectureMetadata(architecture, spec, options),
    ...tinyTokenizer(
      spec.vocab,
      options.pre ?? (architecture === 'llama' ? 'smollm' : 'qwen2'),
      options.addBos ?? false,
    ),
  ]);
  const tensors: TensorDeclaration[] = [];
  for (const [name, { shape, optional }] of expectedTensors(spec)) {
    if (optional && !wanted(name, options)) continue;
    const typeName = tensorType(name, shape, options);
    const type = findTensorFormatByName(typeName)?.id;
    if (type === undefined) throw new Error(`no format ${typeName}`);
    tensors.push({ name, type, shape });
  }
  options.edit?.({ metadata, tensors });

  const writer = await GgufWriter.create(path);
  try {
    for (const [key, value] of metadata) writer.setMetadata(key, value);
    for (const tensor of tensors) writer.declareTensor(tensor);
    for (const tensor of tensors) await writer.writeTensor(tensor.name, tensorData(tensor, options.seed ?? 1));
    await writer.finish();
  } catch (error) {
    await writer.abort();
    throw error;
  }
  return path;
}

/** The ArchitectureSpec that reading the model must give back. */
export function tinySpec(options: TinyModelOptions = {}): ArchitectureSpec {
  const architecture = options.architecture ?? 'llama';
  const hidden = options.hidden ?? 64;
  const heads = options.heads ?? 4;
  const headDim = options.headDim ?? hidden / heads;
  return {
    layers: options.layers ?? 2,
    hidden,
    heads,
    kvHeads: options.kvHeads ?? 2,
    headDim,
    ffn: options.ffn ?? 96,
    vocab: options.vocab ?? 288,
    contextLength: options.context ?? 512,
    rmsEps: Math.fround(1e-5),
    qkvBias: architecture === 'qwen2',
    qkNorm: architecture === 'qwen3',
    rope: {
      layout: architecture === 'llama' ? 'interleaved' : 'halves',
      dimensions: options.ropeDimensions ?? headDim,
      base: options.ropeBase ?? 10_000,
      scaling: options.ropeScaling ?? { kind: 'none' },
    },
  };
}

function wanted(name: string, options: TinyModelOptions): boolean {
  if (name === 'output.weight') return options.tied === false;
  if (name === 'rope_freqs.weight') return options.ropeFreqs === true;
  return options.qkvBias === true;
}

const matrixClasses: Readonly<Record<string, readonly TensorClass[]>> = {
  token_embd: ['embedding'],
  output: ['output', 'embedding'],
  attn_q: ['q', 'attention'],
  attn_k: ['k', 'attention'],
  attn_v: ['v', 'attention'],
  attn_output: ['o', 'attention'],
  ffn_gate: ['gate', 'ffn'],
  ffn_up: ['up', 'ffn'],
  ffn_down: ['down', 'ffn'],
};

function tensorType(name: string, shape: readonly number[], { types = {} }: TinyModelOptions): TensorTypeName {
  if (name === 'rope_freqs.weight') return 'F32';
  if (shape.length === 1) return types.vector ?? 'F32';
  const classes = matrixClasses[name.split('.').at(-2) ?? ''] ?? [];
  const chosen = classes.map((key) => types[key]).find((type) => type !== undefined);
  return chosen ?? (classes.includes('embedding') ? 'Q8_0' : 'Q4_1');
}

/** Spreads keep activations near 1 and logits a few units wide: neither flat nor saturated. */
function tensorData({ name, type, shape }: TensorDeclaration, seed: number): Buffer {
  const typeName = tensorTypeName(type) as TensorTypeName;
  const count = shape.reduce((product, size) => product * size, 1);
  const tensorSeed = hashText(name) ^ Math.imul(seed, 0x9e3779b1);
  const inputs = shape[0] ?? 1;
  if (name === 'rope_freqs.weight') {
    return encodeTensor(
      'F32',
      Float32Array.from({ length: count }, (_, i) => 1 + (7 * i) / Math.max(1, count - 1)),
    );
  }
  if (shape.length > 1) {
    const isEmbedding = name === 'token_embd.weight' || name === 'output.weight';
    return randomTensor(typeName, count, 0, (isEmbedding ? 2.5 : 1.2) / Math.sqrt(inputs), tensorSeed);
  }
  return name.endsWith('.bias')
    ? randomTensor(typeName, count, 0, 0.1, tensorSeed)
    : randomTensor(typeName, count, 1, 0.1, tensorSeed);
}

function architectureMetadata(name: string, spec: ArchitectureSpec, options: TinyModelOptions): Map<string, GgufValue> {
  const u32 = (value: number): GgufValue => ({ type: 'u32', value });
  const f32 = (value: number): GgufValue => ({ type: 'f32', value });
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', { type: 'string', value: name }],
    ['general.name', { type: 'string', value: 'Generated' }],
    [`${name}.block_count`, u32(spec.layers)],
    [`${name}.context_length`, u32(spec.contextLength)],
    [`${name}.embedding_length`, u32(spec.hidden)],
    [`${name}.feed_forward_length`, u32(spec.ffn)],
    [`${name}.attention.head_count`, u32(spec.heads)],
    [`${name}.attention.head_count_kv`, u32(spec.kvHeads)],
    [`${name}.attention.layer_norm_rms_epsilon`, f32(spec.rmsEps)],
    [`${name}.rope.freq_base`, f32(spec.rope.base)],
    [`${name}.rope.dimension_count`, u32(spec.rope.dimensions)],
    [`${name}.vocab_size`, u32(spec.vocab)],
  ]);
  if (options.headDim !== undefined) {
    metadata.set(`${name}.attention.key_length`, u32(spec.headDim));
    metadata.set(`${name}.attention.value_length`, u32(spec.headDim));
  }
  const scaling = spec.rope.scaling;
  const prefix = `${name}.rope.scaling`;
  if (options.ropeScaling !== undefined) metadata.set(`${prefix}.type`, { type: 'string', value: scaling.kind });
  if (scaling.kind !== 'none') metadata.set(`${prefix}.factor`, f32(scaling.factor));
  if (scaling.kind === 'llama3' || scaling.kind === 'yarn') {
    metadata.set(`${prefix}.original_context_length`, u32(scaling.originalContext));
  }
  if (scaling.kind === 'llama3') {
    metadata.set(`${prefix}.low_freq_factor`, f32(scaling.lowFreqFactor));
    metadata.set(`${prefix}.high_freq_factor`, f32(scaling.highFreqFactor));
  }
  if (scaling.kind === 'yarn') {
    metadata.set(`${prefix}.yarn_beta_fast`, f32(scaling.betaFast));
    metadata.set(`${prefix}.yarn_beta_slow`, f32(scaling.betaSlow));
    metadata.set(`${prefix}.attn_factor`, f32(scaling.attentionFactor));
  }
  return metadata;
}

/** Generated models: random weights from a seed, for any supported architecture, size and tensor format. */
import type { ArchitectureSpec } from '../../native/contract.js';
import { hashText } from '../../random.js';
import { expectedTensors } from '../architecture-tensors.js';
import { findTensorFormatByName, type GgufValue, isOwnTensorFormat, tensorTypeName } from '../gguf-types.js';
import { GgufWriter, type TensorData, type TensorDeclaration } from '../gguf-writer.js';
import { generatedRecipe } from './recipe.js';
import { encodeTensor, randomTensor, type TensorTypeName } from './tensor-data.js';
import { generatedTokenizer } from './tokenizer.js';

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

export type GeneratedModel = {
  readonly architecture: 'llama' | 'qwen2' | 'qwen3';
  readonly spec: ArchitectureSpec;
  readonly seed: number;
  /** Whether the output matrix is the embedding (then there is no `output.weight`). Default true. */
  readonly tied?: boolean;
  /** Tensor formats; default Q4_1, with Q8_0 embedding and output, F32 vectors. */
  readonly types?: Partial<Readonly<Record<TensorClass, TensorTypeName>>>;
  /** Adds `rope_freqs.weight`, as files of Llama 3.1 have it. */
  readonly ropeFreqs?: boolean;
  /** Adds Q, K, V biases where the architecture doesn't need them. */
  readonly qkvBias?: boolean;
  readonly pre?: string;
  readonly addBos?: boolean;
  /** For malformed files: changes metadata and tensor list before they are written. */
  readonly edit?: (model: { readonly metadata: Map<string, GgufValue>; readonly tensors: TensorDeclaration[] }) => void;
};

/** Writes the model to `path`, a tensor's piece at a time, and returns the path. */
export async function writeGeneratedModel(path: string, model: GeneratedModel): Promise<string> {
  const { architecture, spec } = model;
  const pre = model.pre ?? (architecture === 'llama' ? 'smollm' : 'qwen2');
  const metadata = new Map([
    ...architectureMetadata(architecture, spec),
    ...generatedTokenizer(spec.vocab, pre, model.addBos ?? false),
  ]);
  const tensors: TensorDeclaration[] = [];
  for (const [name, { shape, optional }] of expectedTensors(spec)) {
    if (optional && !isWanted(name, model)) continue;
    const typeName = tensorType(name, shape, model);
    const type = findTensorFormatByName(typeName)?.id;
    if (type === undefined) throw new Error(`no format ${typeName}`);
    tensors.push({ name, type, shape });
  }
  if (tensors.some(({ type }) => isOwnTensorFormat(type))) {
    const of = (name: string) => tensorType(name, [1, 1], model);
    const types = {
      ...{ q: of('attn_q.weight'), o: of('attn_output.weight'), gate: of('ffn_gate.weight') },
      ...{ down: of('ffn_down.weight'), output: of('output.weight'), embedding: of('token_embd.weight') },
    };
    for (const [key, value] of generatedRecipe(types, model.seed)) metadata.set(key, value);
  }
  model.edit?.({ metadata, tensors });

  const writer = await GgufWriter.create(path);
  try {
    for (const [key, value] of metadata) writer.setMetadata(key, value);
    for (const tensor of tensors) writer.declareTensor(tensor);
    for (const tensor of tensors) await writer.writeTensor(tensor.name, tensorData(tensor, model.seed));
    await writer.finish();
  } catch (error) {
    await writer.abort();
    throw error;
  }
  return path;
}

function isWanted(name: string, options: GeneratedModel): boolean {
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

function tensorType(name: string, shape: readonly number[], { types = {} }: GeneratedModel): TensorTypeName {
  if (name === 'rope_freqs.weight') return 'F32';
  if (shape.length === 1) return types.vector ?? 'F32';
  const classes = matrixClasses[name.split('.').at(-2) ?? ''] ?? [];
  const chosen = classes.map((key) => types[key]).find((type) => type !== undefined);
  return chosen ?? (classes.includes('embedding') ? 'Q8_0' : 'Q4_1');
}

/** Spreads keep activations near 1 and logits a few units wide: neither flat nor saturated. */
function tensorData({ name, type, shape }: TensorDeclaration, seed: number): TensorData {
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

function architectureMetadata(name: string, spec: ArchitectureSpec): Map<string, GgufValue> {
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
  if (spec.headDim !== spec.hidden / spec.heads) {
    metadata.set(`${name}.attention.key_length`, u32(spec.headDim));
    metadata.set(`${name}.attention.value_length`, u32(spec.headDim));
  }
  const scaling = spec.rope.scaling;
  const prefix = `${name}.rope.scaling`;
  if (scaling.kind !== 'none') {
    metadata.set(`${prefix}.type`, { type: 'string', value: scaling.kind });
    metadata.set(`${prefix}.factor`, f32(scaling.factor));
  }
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

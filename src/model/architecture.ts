/**
 * From GGUF metadata to the shape of the transformer. Keys and defaults are those of llama.cpp (llama-arch.cpp and
 * llama-model.cpp), because that is what writes and reads these files; whatever would change the computation and isn't
 * implemented is refused rather than ignored.
 */
import { NibbleError } from '../errors.js';
import type { ArchitectureSpec, RopeSpec } from '../native/contract.js';
import {
  metadataInvalid,
  optionalBool,
  optionalFloat,
  optionalInteger,
  optionalString,
  required,
  requiredFloat,
  requiredInteger,
} from './gguf-metadata.js';
import type { GgufMetadata } from './gguf-types.js';

type Family = Pick<ArchitectureSpec, 'qkvBias' | 'qkNorm'> & { readonly ropeLayout: RopeSpec['layout'] };

/** SmolLM2 and Mistral files call themselves `llama`; their converter permutes Q and K for interleaved pairs. */
const families: ReadonlyMap<string, Family> = new Map([
  ['llama', { qkvBias: false, qkNorm: false, ropeLayout: 'interleaved' }],
  ['qwen2', { qkvBias: true, qkNorm: false, ropeLayout: 'halves' }],
  ['qwen3', { qkvBias: false, qkNorm: true, ropeLayout: 'halves' }],
]);

export const supportedArchitectures: readonly string[] = [...families.keys()];

/** Far above any known model; products of two of them stay exact in a double. */
const LAYERS_MAX = 1024;
const WIDTH_MAX = 1 << 20;
const HEADS_MAX = 1024;
const HEAD_DIM_MAX = 1024;
const CONTEXT_MAX = 1 << 24;
const FLOAT_MAX = 1e12;

/** `general.architecture`. Throws `model_architecture_unsupported` or `model_metadata_invalid`. */
export function readArchitectureName(metadata: GgufMetadata): string {
  const name = required('general.architecture', optionalString(metadata, 'general.architecture'));
  if (!families.has(name)) throw unsupported(name);
  const experts = optionalInteger(metadata, `${name}.expert_count`, { min: 0, max: WIDTH_MAX });
  if (experts !== null && experts > 0) throw unsupported(`${name} with ${experts} experts`);
  return name;
}

/** Throws `model_architecture_unsupported` and `model_metadata_invalid`. `vocab` is the number of tokens. */
export function readArchitecture(metadata: GgufMetadata, vocab: number): ArchitectureSpec {
  const name = readArchitectureName(metadata);
  const family = families.get(name);
  if (family === undefined) throw unsupported(name);
  const integer = (key: string, max: number) => requiredInteger(metadata, `${name}.${key}`, { min: 1, max });
  const layers = integer('block_count', LAYERS_MAX);
  const hidden = integer('embedding_length', WIDTH_MAX);
  const heads = integer('attention.head_count', HEADS_MAX);
  const kvHeads = optionalInteger(metadata, `${name}.attention.head_count_kv`, { min: 1, max: HEADS_MAX }) ?? heads;
  if (heads % kvHeads !== 0) {
    throw metadataInvalid(`${name}.attention.head_count_kv`, `${kvHeads} does not divide the ${heads} heads`);
  }
  const headDim = readHeadDim(metadata, name, hidden, heads);
  const declaredVocab = optionalInteger(metadata, `${name}.vocab_size`, { min: 1, max: 0xffffffff });
  if (declaredVocab !== null && declaredVocab !== vocab) {
    throw metadataInvalid(`${name}.vocab_size`, `is ${declaredVocab}, but the tokenizer has ${vocab} tokens`);
  }
  if (optionalBool(metadata, `${name}.attention.causal`) === false)
    throw unsupported(`${name} without causal attention`);
  const contextLength = integer('context_length', CONTEXT_MAX);
  return {
    layers,
    hidden,
    heads,
    kvHeads,
    headDim,
    ffn: integer('feed_forward_length', WIDTH_MAX),
    vocab,
    contextLength,
    rmsEps: requiredFloat(metadata, `${name}.attention.layer_norm_rms_epsilon`, { min: 1e-12, max: 1 }),
    qkvBias: family.qkvBias,
    qkNorm: family.qkNorm,
    rope: readRope(metadata, name, family.ropeLayout, headDim, contextLength),
  };
}

function readHeadDim(metadata: GgufMetadata, name: string, hidden: number, heads: number): number {
  const range = { min: 2, max: HEAD_DIM_MAX };
  const keyLength = optionalInteger(metadata, `${name}.attention.key_length`, range);
  const headDim = keyLength ?? hidden / heads;
  if (!Number.isInteger(headDim) || headDim % 2 !== 0 || headDim < range.min || headDim > range.max) {
    const message = `a head size of ${headDim} is not supported (even, from ${range.min} to ${range.max})`;
    throw metadataInvalid(`${name}.attention.${keyLength === null ? 'head_count' : 'key_length'}`, message);
  }
  const valueLength = optionalInteger(metadata, `${name}.attention.value_length`, range);
  if (valueLength !== null && valueLength !== headDim) {
    throw metadataInvalid(`${name}.attention.value_length`, `${valueLength} differs from the key length ${headDim}`);
  }
  return headDim;
}

function readRope(
  metadata: GgufMetadata,
  name: string,
  layout: RopeSpec['layout'],
  headDim: number,
  contextLength: number,
): RopeSpec {
  const dimensionsKey = `${name}.rope.dimension_count`;
  const dimensions = optionalInteger(metadata, dimensionsKey, { min: 2, max: headDim }) ?? headDim;
  if (dimensions % 2 !== 0) throw metadataInvalid(dimensionsKey, `${dimensions} is odd`);
  const base = optionalFloat(metadata, `${name}.rope.freq_base`, { min: 1, max: FLOAT_MAX }) ?? 10_000;
  return { layout, dimensions, base, scaling: readScaling(metadata, name, contextLength) };
}

/** llama.cpp's rules: the type defaults to linear, the factor to 1; `rope.scale_linear` is the factor's old name. */
function readScaling(metadata: GgufMetadata, name: string, contextLength: number): RopeSpec['scaling'] {
  const prefix = `${name}.rope.scaling`;
  const float = (key: string, min: number, max: number) => optionalFloat(metadata, key, { min, max });
  const stated = float(`${prefix}.factor`, 0, 1e6) ?? float(`${name}.rope.scale_linear`, 0, 1e6) ?? 0;
  const factor = stated === 0 ? 1 : stated;
  const originalContext =
    optionalInteger(metadata, `${prefix}.original_context_length`, { min: 1, max: CONTEXT_MAX }) ?? contextLength;
  const kind = optionalString(metadata, `${prefix}.type`) ?? 'linear';
  switch (kind) {
    case 'none':
      return { kind };
    case 'linear':
      return factor === 1 ? { kind: 'none' } : { kind, factor };
    case 'llama3': {
      const lowFreqFactor = float(`${prefix}.low_freq_factor`, 1e-3, 1e6) ?? 1;
      const highFreqFactor = float(`${prefix}.high_freq_factor`, 1e-3, 1e6) ?? 4;
      if (highFreqFactor <= lowFreqFactor) {
        throw metadataInvalid(`${prefix}.high_freq_factor`, 'must be above low_freq_factor');
      }
      return { kind, factor, lowFreqFactor, highFreqFactor, originalContext };
    }
    case 'yarn': {
      const betaFast = float(`${prefix}.yarn_beta_fast`, 1e-3, 1e6) ?? 32;
      const betaSlow = float(`${prefix}.yarn_beta_slow`, 1e-3, 1e6) ?? 1;
      if (betaFast < betaSlow) throw metadataInvalid(`${prefix}.yarn_beta_fast`, 'must not be below yarn_beta_slow');
      const extFactor = float(`${prefix}.yarn_ext_factor`, -1, 1e3) ?? 1;
      if (extFactor !== 1 && extFactor !== -1) {
        throw metadataInvalid(`${prefix}.yarn_ext_factor`, `only 1 is supported, not ${extFactor}`);
      }
      const attentionFactor =
        float(`${prefix}.attn_factor`, 1e-3, 1e3) ?? float(`${prefix}.yarn_attn_factor`, 1e-3, 1e3) ?? 1;
      return { kind, factor, originalContext, betaFast, betaSlow, attentionFactor };
    }
    default:
      throw metadataInvalid(`${prefix}.type`, `'${kind}' is not supported (none, linear, llama3, yarn are)`);
  }
}

function unsupported(architecture: string): NibbleError {
  const name = architecture.replace(/[^\x20-\x7e]/g, '?').slice(0, 64);
  return new NibbleError('model_architecture_unsupported', { architecture: name, supported: supportedArchitectures });
}

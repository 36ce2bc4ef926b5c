/** Small generated models for tests: what is left out gets a default. */
import { type GeneratedModel, writeGeneratedModel } from '../../src/model/generated/model.js';
import type { ArchitectureSpec, RopeSpec } from '../../src/native/contract.js';

export type TinyModelOptions = Omit<Partial<GeneratedModel>, 'spec'> & {
  readonly layers?: number;
  readonly hidden?: number;
  readonly heads?: number;
  readonly kvHeads?: number;
  /** Default: hidden / heads; written as `attention.key_length` where it differs. */
  readonly headDim?: number;
  readonly ffn?: number;
  readonly vocab?: number;
  readonly context?: number;
  readonly ropeBase?: number;
  readonly ropeDimensions?: number;
  readonly ropeScaling?: RopeSpec['scaling'];
};

/**
 * Writes a model to `path` and returns the path. Defaults: llama, 2 layers, hidden 64, heads 4/2, ffn 96, vocab 288,
 * context 512.
 */
export function writeTinyModel(path: string, options: TinyModelOptions = {}): Promise<string> {
  const { architecture = 'llama', seed = 1 } = options;
  return writeGeneratedModel(path, { ...options, architecture, seed, spec: tinySpec(options) });
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

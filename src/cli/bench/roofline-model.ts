/**
 * Ideal times of prefill and decode on measured limits. Pure.
 *
 * Prefill is bound by arithmetic: Σ over number types of multiply-accumulates ÷ that type's measured rate. Attention
 * counts causally (a token at position i has i + 1 scores and as many values): of f16 at the f32 rate, of codes, which
 * meet integers of 16 bits, at half the int8 rate. Decode is bound by reading (the weights once a step and each
 * sequence's keys and values, at the measured read bandwidth) or, with many sequences, by arithmetic, whichever takes
 * longer; matrices and attention each for itself.
 */

import { findTensorFormat, tensorBytes } from '../../model/gguf-types.js';
import { kvBytesPerToken } from '../../model/kv-bytes.js';
import { activationsFor, kvOf } from '../../model/recipe.js';
import type { ModelFile } from '../../model/types.js';
import type { ActivationFormat, KvFormat, LoadedModelInfo, Operator, RooflineRun } from '../../native/contract.js';

/** GGML type ids whose weights are floats: F32, F16, BF16. */
const floatTypes: ReadonlySet<number> = new Set([0, 1, 30]);

/** Matrices of a layer by the operator that multiplies with them. */
const layerMatrix = /^blk\.\d+\.(attn_[qkv]|attn_output|ffn_gate|ffn_up|ffn_down)\.weight$/;
const operatorOf: Readonly<Record<string, MatrixOperator>> = {
  attn_q: 'qkv',
  attn_k: 'qkv',
  attn_v: 'qkv',
  attn_output: 'attentionOutput',
  ffn_gate: 'gateUp',
  ffn_up: 'gateUp',
  ffn_down: 'down',
};

export type MatrixOperator = Extract<Operator, 'qkv' | 'attentionOutput' | 'gateUp' | 'down' | 'head'>;
const matrixOperators: readonly MatrixOperator[] = ['qkv', 'attentionOutput', 'gateUp', 'down', 'head'];

/** One operator's matrices: multiply-accumulates of one token (the head's: of one row), and bytes in the file. */
export type MatrixWork = { readonly operator: MatrixOperator; readonly macs: Macs; readonly fileBytes: number };

/** Multiply-accumulates by the rate that bounds them. */
export type Macs = { readonly int8: number; readonly fp32: number };

const add = (a: Macs, b: Macs): Macs => ({ int8: a.int8 + b.int8, fp32: a.fp32 + b.fp32 });
export const times = (a: Macs, factor: number): Macs => ({ int8: a.int8 * factor, fp32: a.fp32 * factor });

export type ModelWork = {
  /** Of one token through all layers, attention excluded. */
  readonly linear: Macs;
  /** Of one row of logits. */
  readonly head: Macs;
  /** Of one token that sees one position: scores and values of all heads and layers. */
  readonly attentionPerPosition: Macs;
  /** Keys and values of one token, bytes, all layers. */
  readonly kvBytesPerToken: number;
};

/** The matrices of all layers and the head, summed by operator. A head without a matrix uses the embedding's. */
export function matrixWork(file: ModelFile, activations: ActivationFormat | null): readonly MatrixWork[] {
  const headName = file.tensors.some(({ name }) => name === 'output.weight') ? 'output.weight' : 'token_embd.weight';
  const operatorFor = (name: string) => {
    return name === headName ? 'head' : operatorOf[layerMatrix.exec(name)?.[1] ?? ''];
  };
  return matrixOperators.map((operator) => {
    let macs: Macs = { int8: 0, fp32: 0 };
    let fileBytes = 0;
    for (const { name, type, shape } of file.tensors) {
      if (operatorFor(name) !== operator) continue;
      const count = shape.reduce((product, size) => product * size, 1);
      const isInt8 = activationsFor(file, activations, name) !== 'f32' && !floatTypes.has(type);
      macs = add(macs, isInt8 ? { int8: count, fp32: 0 } : { int8: 0, fp32: count });
      const format = findTensorFormat(type);
      fileBytes += format === null ? 0 : Number(tensorBytes(format, shape) ?? 0n);
    }
    return { operator, macs, fileBytes };
  });
}

export function modelWork(file: ModelFile, activations: ActivationFormat | null, kv: KvFormat | null): ModelWork {
  const { layers, heads, headDim } = file.architecture;
  const matrices = matrixWork(file, activations);
  const none = { int8: 0, fp32: 0 };
  const linear = matrices.filter(({ operator }) => operator !== 'head').reduce((sum, { macs }) => add(sum, macs), none);
  const head = matrices.find(({ operator }) => operator === 'head')?.macs ?? none;
  const products = 2 * heads * headDim * layers;
  const format = kvOf(file, kv);
  return {
    linear,
    head,
    attentionPerPosition: format === 'f16' ? { int8: 0, fp32: products } : { int8: 2 * products, fp32: 0 },
    kvBytesPerToken: kvBytesPerToken(file.architecture, format),
  };
}

/** Σ of (position + 1) over positions [context, context + tokens). */
export const visiblePositions = (context: number, tokens: number): number =>
  tokens * context + (tokens * (tokens + 1)) / 2;

/** Multiply-accumulates to prefill `tokens` tokens behind `context` cached ones and to get one row of logits. */
export function prefillMacs(work: ModelWork, context: number, tokens: number): Macs {
  const attention = times(work.attentionPerPosition, visiblePositions(context, tokens));
  return add(add(times(work.linear, tokens), work.head), attention);
}

/** Seconds that so much arithmetic takes at the measured rates. */
export function idealSeconds(macs: Macs, limits: Pick<RooflineRun, 'int8GMacs' | 'fp32GMacs'>): number {
  return (macs.int8 / limits.int8GMacs + macs.fp32 / limits.fp32GMacs) * 1e-9;
}

type Limits = Pick<RooflineRun, 'readGBs' | 'int8GMacs' | 'fp32GMacs'>;

/** Seconds for reading so many bytes once and doing so much arithmetic on them: they overlap, so the longer counts. */
export function boundSeconds(bytes: number, macs: Macs, limits: Limits): number {
  return Math.max(bytes / (limits.readGBs * 1e9), idealSeconds(macs, limits));
}

/**
 * Ideal seconds of a decode of `steps` steps for `batch` sequences that start with `context` cached tokens. Read are
 * the weights once a step (as packed or as in the file, whichever is fewer), keys and values of all visible positions.
 */
export function decodeSeconds(
  work: ModelWork,
  info: Pick<LoadedModelInfo, 'weightBytesPerToken' | 'fileBytesPerToken'>,
  decode: { readonly batch: number; readonly context: number; readonly steps: number },
  limits: Limits,
): number {
  const { batch, context, steps } = decode;
  const weights = Math.min(info.weightBytesPerToken, info.fileBytesPerToken) * steps;
  const positions = batch * visiblePositions(context, steps);
  const attention = times(work.attentionPerPosition, positions);
  return (
    boundSeconds(weights, times(add(work.linear, work.head), batch * steps), limits) +
    boundSeconds(work.kvBytesPerToken * positions, attention, limits)
  );
}

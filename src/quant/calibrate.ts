/**
 * Calibration: statistics of what a model's linear layers read while it computes texts on the float path. One pass for
 * all layers. Weight quantizers, channel scaling and activation formats are chosen by them.
 */
import { asNibbleError } from '../engine/as-nibble-error.js';
import { NibbleError } from '../errors.js';
import { KV_BLOCK_TOKENS, STEP_TOKENS_MAX } from '../limits.js';
import {
  type CalibrationOptions as Collected,
  type InputStatistics,
  LAYER_INPUTS,
  type LayerInput,
  type NativeModel,
  type SamplingSpec,
  type StepBatch,
} from '../native/contract.js';

export type CalibrationOptions = {
  /** Layers of the model. */
  readonly layers: number;
  /** Layers whose Σ x·xᵀ is wanted; default: none. `layers` itself stands for the head. */
  readonly hessianLayers?: readonly number[];
  /** Also of the head's input, which costs the logits of every token. */
  readonly head?: boolean;
  /** Minima and maxima per chunk of so many positions; default: one chunk for all. */
  readonly chunkTokens?: number;
  /** Called with the number of windows done. */
  readonly onWindow?: (done: number) => void;
};

/** Statistics of a whole model, Hessians apart: those are large, and taken layer by layer. */
export type Statistics = {
  /** Sum over the windows. */
  readonly tokens: number;
  readonly chunkTokens: number;
  readonly chunks: number;
  readonly layers: readonly Readonly<Record<LayerInput, InputStatistics>>[];
  /** Null if it wasn't wanted. */
  readonly head: InputStatistics | null;
};

/** Collected statistics of a model that still holds its Hessians. End it: that frees them. */
export type Calibration = {
  readonly tokens: number;
  /** Of one input; its Hessian comes with the first call only. */
  take(layer: number, input: LayerInput | 'head'): InputStatistics;
  /** Everything, the Hessians that weren't taken included. */
  takeAll(): Statistics;
  end(): void;
};

const NO_IDS = new Int32Array(0);
const greedySlot: SamplingSpec = {
  ...{ temperature: 0, topK: 0, topP: 1, minP: 0, presencePenalty: 0, frequencyPenalty: 0, repetitionPenalty: 1 },
  ...{ seed: 0n, choice: 0, biasIds: NO_IDS, biasValues: new Float32Array(0), promptIds: NO_IDS, generatedIds: NO_IDS },
};

/** A step of one prompt that begins at position `from`; with `scored`, every token's row is computed. */
function batchOf(slot: number, tokens: Int32Array, from: number, scored: boolean): StepBatch {
  const count = tokens.length;
  const blockCount = Math.ceil((from + count) / KV_BLOCK_TOKENS);
  return {
    ...{ slotCount: 1, tokenCount: count, rowCount: scored ? count : 0 },
    slots: Int32Array.of(slot),
    seqStart: Int32Array.of(0, count),
    tokens,
    positions: Int32Array.from(tokens, (_, i) => from + i),
    stages: [
      {
        cachedTokens: Int32Array.of(from),
        blockStart: Int32Array.of(0, blockCount),
        blocks: Int32Array.from({ length: blockCount }, (_, i) => i),
      },
    ],
    rows: scored ? Int32Array.from(tokens, (_, i) => i) : NO_IDS,
    targets: scored ? new Int32Array(count) : NO_IDS,
    ...{ wantLogprobs: false, topCount: 0, wantLogits: false },
  };
}

async function runWindow(model: NativeModel, tokens: Int32Array, scored: boolean): Promise<void> {
  const slot = model.openSlot(greedySlot);
  try {
    for (let at = 0; at < tokens.length; at += STEP_TOKENS_MAX) {
      const piece = tokens.slice(at, at + STEP_TOKENS_MAX);
      await model.step(batchOf(slot, piece, at, scored));
    }
  } finally {
    model.closeSlot(slot);
  }
}

const hasFiniteSums = ({ squares }: InputStatistics) => squares.every(Number.isFinite);

/**
 * Runs the windows through the model from an empty cache each and collects. The model must be loaded with `f32`
 * activations and room for the longest window, and be idle until `end`. Throws `not_finite` when statistics are taken
 * that NaN or infinity got into, `data_too_short` without a window.
 */
export async function calibrate(
  model: NativeModel,
  windows: readonly Int32Array[],
  options: CalibrationOptions,
): Promise<Calibration> {
  const longest = windows.reduce((most, { length }) => Math.max(most, length), 0);
  if (longest === 0) throw new NibbleError('data_too_short', { path: 'calibration', tokens: 0, neededTokens: 1 });
  const chunkTokens = options.chunkTokens ?? longest;
  // Position 0 is a chunk of its own.
  const chunks = options.chunkTokens === undefined ? 1 : 1 + Math.ceil(longest / chunkTokens);
  const collected: Collected = { chunkTokens, chunks, hessianLayers: Int32Array.from(options.hessianLayers ?? []) };
  const tokens = windows.reduce((sum, { length }) => sum + length, 0);
  const { layers, head = false } = options;
  try {
    model.startCalibration(collected);
    for (const [index, window] of windows.entries()) {
      await runWindow(model, window, head);
      options.onWindow?.(index + 1);
    }
  } catch (error) {
    throw asNibbleError(error);
  }
  const take: Calibration['take'] = (layer, input) => {
    const statistics = model.takeStatistics(layer, input);
    if (!hasFiniteSums(statistics)) throw new NibbleError('not_finite', {});
    return statistics;
  };
  const takeLayer = (layer: number) =>
    Object.fromEntries(LAYER_INPUTS.map((input) => [input, take(layer, input)])) as Record<LayerInput, InputStatistics>;
  return {
    tokens,
    take,
    takeAll: () => ({
      ...{ tokens, chunkTokens, chunks },
      layers: Array.from({ length: layers }, (_, layer) => takeLayer(layer)),
      head: head ? take(layers, 'head') : null,
    }),
    end: () => model.endCalibration(),
  };
}

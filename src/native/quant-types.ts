/** What calibration and quantizers exchange with the addon; part of the contract (contract.ts). */
import type { Reconstructs } from './reconstruct-types.js';

export * from './reconstruct-types.js';

/** Inputs of a layer's linear layers, named like the matrices that read them. */
export const LAYER_INPUTS = ['qkv', 'output', 'gateUp', 'down'] as const;
export type LayerInput = (typeof LAYER_INPUTS)[number];

export type CalibrationOptions = {
  /** Minima and maxima are kept apart for position 0, and the others of `[i · chunkTokens, (i + 1) · chunkTokens)`. */
  readonly chunkTokens: number;
  /** Positions behind the last chunk count for the last. */
  readonly chunks: number;
  /** Layers whose Σ x·xᵀ is collected (the number of layers: the head): 4 · K² bytes per input of width K. */
  readonly hessianLayers: Int32Array;
};

/** What was seen of one input, K wide. */
export type InputStatistics = {
  readonly inputs: number;
  readonly tokens: number;
  /** [chunks, K]; ±infinity where a chunk saw no token. */
  readonly minima: Float32Array;
  readonly maxima: Float32Array;
  /** [K] Σ x² over the tokens. */
  readonly squares: Float64Array;
  /** [64] how many tokens' largest magnitude was in [2^(i − 32), 2^(i − 31)). */
  readonly magnitudes: Float64Array;
  /** [K, K] Σ x·xᵀ over the tokens, symmetric; null if it wasn't collected. */
  readonly hessian: Float32Array | null;
};

/** Methods of a loaded model. */
export interface Calibrates {
  /**
   * From the next step on, collects statistics of what linear layers read; the head's of wanted rows only. Anew if it
   * was collecting already. Throws `native_invalid_argument` while a step is in flight, or if activations are
   * quantized.
   */
  startCalibration(options: CalibrationOptions): void;
  /**
   * Statistics so far of an input: of a layer, or 'head' of layer number `layers`. Hands the Hessian out for good: its
   * memory is freed, and it is collected no further. Throws `native_invalid_argument` while a step is in flight.
   */
  takeStatistics(layer: number, input: LayerInput | 'head'): InputStatistics;
  /** Ends collecting, frees what was collected. Throws like `startCalibration`. */
  endCalibration(): void;
}

/** Formats that `quantizeMatrix` makes: bits, group of inputs with one scale (`row`: all), `a` affine, `c` codebook. */
export type CodeFormat =
  | 'w4g32'
  | 'w4g32a'
  | 'w5g32'
  | 'w5g32a'
  | 'w8g32'
  | 'w4g64'
  | 'w4g64a'
  | 'w4g128'
  | 'w4g128a'
  | 'w8g64'
  | 'w8g128'
  | 'w8row'
  | 'w4row'
  | 'w2g64c'
  | 'w2g128c'
  | 'w1g64'
  | 'w1g128'
  | 'w2g64'
  | 'w2g64a'
  | 'w2g128'
  | 'w3g64'
  | 'w3g128'
  | 'w4g64p'
  | 't2g64';

/** Rows are independent: matrices that read the same input can be quantized as one, which factors its Hessian once. */
export type QuantizeRequest = {
  /** [rows, cols], finite and within ±65504. Copied. */
  readonly weights: Float32Array;
  readonly rows: number;
  /** A multiple of 32 and of the format's group. */
  readonly cols: number;
  readonly format: CodeFormat;
  /** To nearest, or with feedback of earlier errors through the Hessian (GPTQ). */
  readonly rounding: 'rtn' | 'gptq';
  /** Scales by the largest value, or those with the least squares of errors weighted by `importance`. */
  readonly clip: 'none' | 'mse';
  /** Codebook formats: levels are fitted each for itself, else they are evenly spaced. Absent: false. */
  readonly learnsLevels?: boolean;
  /** GPTQ takes inputs by falling diagonal of the Hessian instead of as they come. */
  readonly actOrder: boolean;
  /** Share of the Hessian's mean diagonal that is added to its diagonal. */
  readonly damping: number;
  /** Passes of descent on the outputs' error afterwards, over codes and scales (0–100); need the Hessian. */
  readonly sweeps: number;
  /** [cols, cols] Σ x·xᵀ. Copied. Without it errors are those of weights, by `importance`. */
  readonly hessian?: Float32Array;
  /** [cols] weights of the squares that `clip: 'mse'` minimises; default: the Hessian's diagonal, or all 1. */
  readonly importance?: Float32Array;
  readonly threads: number;
};

export type QuantizedMatrix = {
  /** Blocks as a GGUF file holds them, row by row. */
  readonly bytes: Uint8Array;
  /** Squared error of the outputs over their squares, by the (damped) Hessian. */
  readonly error: number;
};

/** Functions of the addon. */
export interface Quantizes extends Reconstructs {
  /**
   * Quantizes a matrix on threads of its own; the bytes depend neither on their number nor on the instruction set.
   * Rejects with `native_invalid_argument`, `model_tensor_not_finite` or `native_out_of_memory`.
   */
  quantizeMatrix(request: QuantizeRequest): Promise<QuantizedMatrix>;
  /**
   * Rows of `width` values, each multiplied by the rotation of that size, or its inverse (docs/arithmetic.md,
   * "Rotation"); `heads`: by the Hadamard matrices of a head of that size. Throws `native_invalid_argument` where there
   * is none.
   */
  rotateRows(values: Float32Array, width: number, how: 'forward' | 'inverse' | 'heads'): Float32Array;
}

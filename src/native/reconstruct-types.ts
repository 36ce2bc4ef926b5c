/** Block-wise reconstruction by the addon; part of the contract (contract.ts). */
import type { ActivationKind, ArchitectureSpec, GgmlType, KvFormat, RotationPlace } from './contract.js';
import type { LayerInput } from './quant-types.js';

/** Matrices of a block that read the same input, as one: rows of q, k and v; of gate and up. */
export type BlockMatrix = {
  /** [rows, inputs], of the float block. */
  readonly weights: Float32Array;
  /** What quantizing made of it: blocks as a GGUF file holds them, and their type. */
  readonly blocks: Uint8Array;
  readonly type: GgmlType;
  /** How its input is read: `f32`, `a8` or `a4`. */
  readonly activations: ActivationKind;
};

/** Of the norms in front of attention and feed-forward, [hidden] each. */
export type BlockGains = { readonly attention: Float32Array; readonly ffn: Float32Array };

/** Typed arrays of matrices and states are used where they are: leave them alone until the promise has settled. */
export type ReconstructRequest = {
  /** `native_invalid_argument` with norms of queries and keys, or widths that aren't multiples of 32. */
  readonly architecture: ArchitectureSpec;
  readonly ropeFactors?: Float32Array;
  readonly rotation?: RotationPlace;
  readonly kv: KvFormat;
  readonly matrices: Readonly<Record<LayerInput, BlockMatrix>>;
  readonly gains: BlockGains;
  /** Of the quantized block, where learning starts. */
  readonly learnedGains: BlockGains;
  /** Of q, k and v together. */
  readonly qkvBias?: Float32Array;
  /** A multiple of 32, at most 8192. Positions count from 0 in every window. */
  readonly windowTokens: number;
  /**
   * [windows, windowTokens, hidden] hidden states before the block, which become those behind it: of the float model,
   * and of the quantized one.
   */
  readonly floatStates: Float32Array;
  readonly states: Float32Array;
  /** Steps of gradient descent; 0: nothing is learned. */
  readonly steps: number;
  /** Windows whose gradients make a step. */
  readonly stepWindows: number;
  /** Adam's rates at the beginning: of weights and levels in steps of their group's levels, of gains as they are. */
  readonly weightRate: number;
  readonly levelRate: number;
  readonly gainRate: number;
  readonly threads: number;
};

export type ReconstructedBlock = {
  /** Of matrices in codebook formats, once something was learned. */
  readonly blocks: Partial<Readonly<Record<LayerInput, Uint8Array>>>;
  readonly gains: BlockGains;
  /**
   * Mean over tokens of ‖y − ŷ‖² / ‖y‖² in one window of sixteen, which isn't learned from; 0 if nothing is learned.
   * Where it doesn't fall, the block stays as it was.
   */
  readonly errorBefore: number;
  readonly errorAfter: number;
};

export type BlockGradients = Readonly<Record<LayerInput, Float32Array>> & {
  readonly out: Float32Array;
  readonly gains: BlockGains;
};

/** Functions of the addon. */
export interface Reconstructs {
  /**
   * Learns a block's levels, roundings and gains, on threads of its own; results depend neither on their number nor on
   * the instruction set. Rejects with `native_invalid_argument`, `model_tensor_not_finite` or `native_out_of_memory`.
   */
  reconstructBlock(request: ReconstructRequest): Promise<ReconstructedBlock>;
  /**
   * Outputs of the quantized block for the first window of `states`, and gradients of Σ gradient · outputs by all its
   * weights. For tests. Rejects like `reconstructBlock`.
   */
  blockGradients(request: ReconstructRequest, gradient: Float32Array): Promise<BlockGradients>;
}

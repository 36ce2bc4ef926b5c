/**
 * The typed contract with the native addon: the only description of what crosses the boundary.
 *
 * Conventions: indices are 0-based, ranges are `[start, end)`, sizes are bytes, times are nanoseconds, typed arrays
 * given to `step` are copied before it returns (so the caller reuses them), arrays in a result belong to the caller.
 * Every failure is a `NativeError`-shaped exception: an `Error` whose `code` is one of `NativeErrorCode`.
 */

import type { KernelRun, KernelRunRequest, LookupTokens, RooflineRun } from './bench-types.js';
import type { StudiesInputs } from './input-study.js';
import type { PruningSpec } from './pruning-spec.js';
import type { Calibrates, Quantizes } from './quant-types.js';
import type { StepCounters } from './step-counters.js';

export type { KernelRun, KernelRunRequest, LookupTokens, RooflineRun } from './bench-types.js';
export type { PruningSpec } from './pruning-spec.js';
export * from './quant-types.js';
export * from './step-counters.js';

/** Instruction-set levels, slowest first. `NIBBLE_ISA` caps the level that dispatch may choose. */
export type IsaLevel = 'scalar' | 'avx2' | 'avxvnni' | 'avx512' | 'neon';

/**
 * How all linear layers read their input: `a8` = int8 per token and group of the weights (at least 32); `f32` = as it
 * is (A16 in the tables).
 */
export type ActivationFormat = 'a8' | 'f32';

/**
 * How one linear layer reads its input: as it is (`f32`), or quantized per token and group of its weights, to codes of
 * at most 127 (`a8`; of bit planes: 126) or 7 (`a4`); `agile` (not for qkv and head) is `a4` for tokens whose weight on
 * position 0 in the layer exceeds the layer's threshold, and `a8` for the others and position 0. By Tender's groups of
 * channels, to codes of at most 127 or 7: `tender8`, `tender4`, where the file was made for them.
 */
export type ActivationKind = 'f32' | 'a8' | 'a4' | 'agile' | 'tender8' | 'tender4';

export type LinearSpec = { readonly activations: ActivationKind };

/** The linear layers of one layer, named by their inputs. */
export type LayerLinears = {
  readonly qkv: LinearSpec;
  readonly output: LinearSpec;
  readonly gateUp: LinearSpec;
  readonly down: LinearSpec;
};

/** How keys and values are cached: 16-bit floats, or 8 or 4 bits each (docs/arithmetic.md, "KV formats"). */
export type KvFormat = 'f16' | 'kv8' | 'k8v4' | 'kv4';

export type NativeErrorCode =
  | 'native_invalid_argument'
  | 'model_file_unreadable'
  | 'model_tensor_out_of_range'
  | 'model_tensor_type_unsupported'
  | 'model_tensor_shape'
  | 'model_tensor_missing'
  | 'model_tensor_not_finite'
  | 'pack_not_stored'
  | 'native_out_of_memory'
  | 'native_closed'
  | 'native_internal';

export type CpuInfo = {
  readonly brand: string;
  /** Logical CPUs this process may run on (affinity mask). */
  readonly logicalCpus: number;
  /** Physical cores among them. */
  readonly physicalCores: number;
  /** CPU quota of the cgroup (v1 or v2) in cores, or null if there is none. */
  readonly quotaCores: number | null;
  /** Size of the pool when `threads` isn't given: max(1, min(physicalCores, floor(quotaCores))). */
  readonly defaultThreads: number;
  /** Levels that this CPU and this build can run, slowest first. */
  readonly levels: readonly IsaLevel[];
  /** The level in use: the best of `levels` that NIBBLE_ISA allows. */
  readonly level: IsaLevel;
};

/** GGML tensor type ids as in the GGUF specification (0 = F32, 1 = F16, 2 = Q4_0, …, 30 = BF16). */
export type GgmlType = number;

export type TensorSpec = {
  readonly name: string;
  readonly type: GgmlType;
  /** GGUF order: the fastest dimension first, so a weight of N outputs and K inputs has `[K, N]`. */
  readonly shape: readonly number[];
  /** Absolute position in the file, bytes. */
  readonly offset: number;
};

export type RopeSpec = {
  /** `interleaved`: pairs (2i, 2i+1), architecture llama. `halves`: pairs (i, i + d/2), qwen2 and qwen3. */
  readonly layout: 'interleaved' | 'halves';
  readonly dimensions: number;
  readonly base: number;
  readonly scaling:
    | { readonly kind: 'none' }
    | { readonly kind: 'linear'; readonly factor: number }
    | {
        readonly kind: 'llama3';
        readonly factor: number;
        readonly lowFreqFactor: number;
        readonly highFreqFactor: number;
        readonly originalContext: number;
      }
    | {
        readonly kind: 'yarn';
        readonly factor: number;
        readonly originalContext: number;
        readonly betaFast: number;
        readonly betaSlow: number;
        readonly attentionFactor: number;
      };
};

/** The shape of a decoder-only transformer (llama, qwen2, qwen3 families). Tensors are found by their GGUF names. */
export type ArchitectureSpec = {
  readonly layers: number;
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly ffn: number;
  readonly vocab: number;
  readonly contextLength: number;
  readonly rmsEps: number;
  /** Whether `blk.N.attn_{q,k,v}.bias` must exist (qwen2). Optional ones are used wherever they are present. */
  readonly qkvBias: boolean;
  /** Whether `blk.N.attn_{q,k}_norm.weight` exist (qwen3). */
  readonly qkNorm: boolean;
  readonly rope: RopeSpec;
};

/** Rotated is the residual stream (`hadamard`), or what the layers' norms give (`inputs`); and the input of down. */
export type RotationPlace = 'hadamard' | 'inputs';

export type LoadOptions = {
  readonly path: string;
  readonly architecture: ArchitectureSpec;
  readonly tensors: readonly TensorSpec[];
  readonly threads: number;
  readonly activations: ActivationFormat;
  /** One entry for each layer, instead of `activations`. */
  readonly linears?: readonly LayerLinears[];
  /** Of the output matrix, instead of `activations`. */
  readonly head?: LinearSpec;
  readonly lookups?: LookupTokens; // absent: nothing is looked up
  /** `[layers]` thresholds of `agile` activations, needed where there are any. */
  readonly agile?: {
    readonly thresholds: Float32Array;
    /** For evaluations: tokens below the threshold instead, or any by chance (1 − `thresholds` are their shares). */
    readonly choice?: 'least' | 'random';
  };
  readonly kv: KvFormat;
  /** false: what has 4 bits isn't rotated, which is for evaluations alone: they show what rotation gives. */
  readonly kvRotates?: boolean;
  /** What the layers are made for (docs/arithmetic.md, "Rotation"); `model_tensor_shape` if widths have none. */
  readonly rotation?: RotationPlace;
  /** KV blocks of 16 tokens in the pool; block ids are `[0, kvBlockCount)`. */
  readonly kvBlockCount: number;
  /** Slots that can be open at once. */
  readonly slotCount: number;
  /** Upper bounds of one step: tokens, and rows whose logits are wanted. */
  readonly stepTokensMax: number;
  readonly stepRowsMax: number;
  /** Longest sequence, tokens: bounds the RoPE table. */
  readonly contextTokensMax: number;
  /** Where packed weights are looked for, and stored by `storePack`; absent: nowhere. */
  readonly packFolder?: string;
  /** Called on the event loop with the share of packed bytes in [0, 1]. */
  readonly onProgress?: (share: number) => void;
};

/** Sampling settings of one slot; see docs/arithmetic.md, "Sampling", for the order in which they act. */
export type SamplingSpec = {
  /** 0 = greedy. */
  readonly temperature: number;
  /** 0 = off. */
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  /** 1 = off; counts prompt and generated tokens. */
  readonly repetitionPenalty: number;
  /** Unsigned 64-bit seed. */
  readonly seed: bigint;
  /** Which choice of the request this is: draws of choices are independent. */
  readonly choice: number;
  readonly biasIds: Int32Array;
  readonly biasValues: Float32Array;
  /** Prompt ids (for the repetition penalty) and, after a preemption, generated ids (all penalties). */
  readonly promptIds: Int32Array;
  readonly generatedIds: Int32Array;
  /**
   * Tokens are sampled only under masks, which another thread writes here while steps run: shared memory of 4 words and
   * ⌈vocab / 32⌉ more. These say which tokens may be sampled at a position of the generated ones, in bit i % 32 of word
   * i / 32 for token i, one at least; word 0, stored when they are there, is that position (−1: none yet, −2: none will
   * come); words 1–3 aren't read. A step waits for a late mask for a while, the forward pass hides the rest.
   */
  readonly mask?: Int32Array;
  /** None of the first `minTokens` generated tokens is one of `endIds`. Both or neither. */
  readonly minTokens?: number;
  readonly endIds?: Int32Array;
  readonly pruning?: PruningSpec;
};

/** Cached length and block table per slot, of whole sequences; the addon derives those of pruned stages. */
export type StepStage = {
  /** [S] tokens of the slot already in the cache before this step. */
  readonly cachedTokens: Int32Array;
  /** [S+1] CSR offsets into `blocks`. */
  readonly blockStart: Int32Array;
  /** Block ids; a slot's list covers its cached and its new tokens. */
  readonly blocks: Int32Array;
};

/** In `StepBatch.targets`: what to do with a wanted row. Values ≥ 0 score that token id instead of sampling. */
export const ROW_SAMPLE = -1;

/** In `StepResult.failed`: the mask of a constrained slot hadn't come when the row was to be sampled. */
export const ROW_WITHOUT_MASK = 2;

/** In `StepBatch.tokens`: the token that this slot sampled in the step submitted before this one. */
export const TOKEN_FROM_PREVIOUS_STEP = -1;

/** Any mix of prefill chunks, decodes and scoring rows over the slot table. Lengths may exceed the counts (reuse). */
export type StepBatch = {
  readonly slotCount: number;
  readonly tokenCount: number;
  readonly rowCount: number;
  /** [S] slot ids, each at most once. */
  readonly slots: Int32Array;
  /** [S+1] offsets into `tokens`. */
  readonly seqStart: Int32Array;
  /** [T] token ids, or TOKEN_FROM_PREVIOUS_STEP. */
  readonly tokens: Int32Array;
  /** [T] absolute positions; those of a slot are consecutive and start at its `cachedTokens`. */
  readonly positions: Int32Array;
  readonly stages: readonly StepStage[];
  /** [R] indices into `tokens`, ascending: rows whose logits are wanted. */
  readonly rows: Int32Array;
  /**
   * [R] ROW_SAMPLE, or a token id to score. ROW_SAMPLE rows of a slot follow each other token by token (a constrained
   * slot has one at most): each samples as if the tokens before it, in this step too, were those that came. The slot
   * goes on behind the first row whose token differs from the input token behind that row, or behind the last; rows
   * further on mean nothing, and the cache holds nothing of value from that input on.
   */
  readonly targets: Int32Array;
  /** Whether log-probabilities of the sampled or scored tokens are wanted. */
  readonly wantLogprobs: boolean;
  /** How many most likely tokens are reported per row (0–20); > 0 implies log-probabilities. */
  readonly topCount: number;
  /** Also return the raw logits, [R, vocab]. For tests and evaluation; never set when serving. */
  readonly wantLogits: boolean;
  /** Also return each token's importance in each layer (docs/arithmetic.md, "Methods"). Absent: false. */
  readonly wantImportance?: boolean;
  /** Also return the residual stream behind each layer. For tests and evaluation. Absent: false. */
  readonly wantHidden?: boolean;
};

export type StepResult = {
  /** [R] sampled token id, or the target that was scored. */
  readonly tokens: Int32Array;
  /** [R] natural-log probability of `tokens` under the raw logits; NaN if not wanted. */
  readonly logprobs: Float32Array;
  /** [R·topCount] most likely tokens of the raw logits, best first, ties to the lower id. */
  readonly topIds: Int32Array;
  readonly topLogprobs: Float32Array;
  /**
   * [R] 0, or 1 if the row held NaN or infinity (the sequence must be failed), or ROW_WITHOUT_MASK: nothing was sampled
   * and the row's token has to be computed again once its mask was given; rows of a later step that already refer to
   * the missing token are marked in the same way.
   */
  readonly failed: Uint8Array;
  readonly logits: Float32Array | null;
  /** [layers, T] if wanted, else absent. */
  readonly importance?: Float32Array;
  /** [layers, T, hidden] if wanted, else absent. */
  readonly hidden?: Float32Array;
  readonly counters: StepCounters;
};

export type LoadedModelInfo = {
  readonly level: IsaLevel;
  readonly threads: number;
  readonly packedBytes: number;
  readonly kvBytes: number;
  /** Of one block in all layers. */
  readonly kvBlockBytes: number;
  /** Bytes of weights that one decoded token must read, as packed. */
  readonly weightBytesPerToken: number;
  /** The same bytes as they stand in the file. */
  readonly fileBytesPerToken: number;
  readonly linearMacsPerToken: number;
  readonly headMacsPerRow: number;
  readonly loadNs: number;
  /**
   * Where the packed weights came from: packed now (`made`); packed now, and nothing can be stored, because
   * there is no folder or the file was changed so recently that a later change couldn't be told (`unsettled`); read as
   * stored before (`stored`).
   */
  readonly pack: 'made' | 'unsettled' | 'stored';
  /**
   * What tells the model file from any other: size, inode, times, hashes of samples. Empty if it was changed just now.
   */
  readonly fileIdentity: string;
};

export interface NativeModel extends Calibrates, StudiesInputs {
  readonly info: LoadedModelInfo;
  /** Returns the slot id. Throws `native_invalid_argument` when none is free. */
  openSlot(sampling: SamplingSpec): number;
  closeSlot(slot: number): void;
  /**
   * Queues a step on the engine's own thread; up to two may be in flight. Resolves when it has run. Rejects with a
   * coded error if an argument is out of range (checked before anything runs; nothing else is affected).
   */
  step(batch: StepBatch): Promise<StepResult>;
  /**
   * The content of complete KV blocks, `[blocks][info.kvBlockBytes]`. Steps in flight may read these blocks, but not
   * write them. Means something only to the same model, architecture, KV format and build of the addon.
   */
  readKvBlocks(blocks: Int32Array): Uint8Array;
  /**
   * Puts such content into blocks. Throws `native_invalid_argument` on a wrong length or id, and while a step is in
   * flight. Any content is safe to compute with: what isn't finite fails the sequences that read it.
   */
  writeKvBlocks(blocks: Int32Array, content: Uint8Array): void;
  /**
   * Writes the packed weights into `packFolder` for the next start, beside the steps; `close` ends it early. Rejects
   * with `pack_not_stored`.
   */
  storePack(): Promise<void>;
  /** Waits for steps in flight, then frees everything. Idempotent. */
  close(): Promise<void>;
}

export interface Addon extends Quantizes {
  /** Bumped with every incompatible change of this file; `load.ts` compares. */
  readonly contractVersion: number;
  cpuInfo(): CpuInfo;
  loadModel(options: LoadOptions): Promise<NativeModel>;
  /** Gives freed memory that malloc keeps for later back to the system, where it can (glibc). Takes about 1 ms. */
  trimMemory(): void;
  /** Dequantizes one tensor of a file to f32 by the path that the packers use. For tests and evaluation. */
  dequantize(path: string, tensor: TensorSpec): Float32Array;
  roofline(isa: IsaLevel, threads: number, milliseconds: number): Promise<RooflineRun>;
  kernelFamilies(): readonly string[];
  runKernel(request: KernelRunRequest): Promise<KernelRun>;
  /** Random and edge cases of every kernel of a level against its scalar twin; returns failures as text. */
  checkKernels(
    isa: IsaLevel,
    seed: number,
  ): Promise<{ readonly cases: number; readonly calls: number; readonly failures: readonly string[] }>;
}

export const CONTRACT_VERSION = 10;

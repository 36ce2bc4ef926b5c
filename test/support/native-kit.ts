/** Drives a native model step by step: what a test puts into a batch is exactly what the model gets. */
import assert from 'node:assert/strict';
import { greedy as greedyChoice } from '../../src/engine/greedy.js';
import { loadNativeModel } from '../../src/engine/open.js';
import { KV_BLOCK_TOKENS } from '../../src/limits.js';
import { readModelFile } from '../../src/model/gguf.js';
import type {
  ActivationFormat,
  IsaLevel,
  KvFormat,
  LoadOptions,
  NativeModel,
  SamplingSpec,
  StepBatch,
  StepResult,
} from '../../src/native/contract.js';
import { Random } from '../../src/random.js';

export const greedy: SamplingSpec = {
  ...greedyChoice,
  promptIds: new Int32Array(0),
  generatedIds: new Int32Array(0),
};

export type Sequence = { readonly slot: number; readonly blocks: number[]; cachedTokens: number };

/** One sequence's share of a step; rows are indices into `tokens`, in order, each with its target (−1: sample). */
export type Part = {
  readonly sequence: Sequence;
  readonly tokens: ArrayLike<number>;
  readonly rows?: readonly (readonly [index: number, target: number])[];
};

export type Outputs = Partial<
  Pick<StepBatch, 'wantLogits' | 'wantLogprobs' | 'topCount' | 'wantImportance' | 'wantHidden'>
>;

export type KitOptions = {
  readonly threads?: number;
  /** null: by the recipe in the file. */
  readonly activations?: ActivationFormat | null;
  readonly kv?: KvFormat;
  readonly kvRotates?: boolean;
  /** Caps dispatch at this level while the model loads. */
  readonly level?: IsaLevel;
  readonly slotCount?: number;
  readonly kvBlockCount?: number;
  readonly contextTokensMax?: number;
  readonly packFolder?: string;
  /** Block tables are permuted by this seed; 0: ascending. */
  readonly scatterSeed?: number;
} & Pick<LoadOptions, 'linears' | 'head' | 'agile' | 'lookups'>;

/** Sets NIBBLE_ISA, which the addon reads while it loads a model. */
async function withLevel<T>(level: IsaLevel | undefined, work: () => Promise<T>): Promise<T> {
  const before = process.env.NIBBLE_ISA;
  if (level !== undefined) process.env.NIBBLE_ISA = level;
  try {
    return await work();
  } finally {
    if (before === undefined) delete process.env.NIBBLE_ISA;
    else process.env.NIBBLE_ISA = before;
  }
}

export class NativeKit {
  readonly model: NativeModel;
  readonly vocab: number;
  readonly #free: number[];

  private constructor(model: NativeModel, vocab: number, free: number[]) {
    this.model = model;
    this.vocab = vocab;
    this.#free = free;
  }

  /** Loads a file; asserts that the level asked for is the one that runs. */
  static async open(path: string, options: KitOptions = {}): Promise<NativeKit> {
    const file = await readModelFile(path);
    const kvBlockCount = options.kvBlockCount ?? 64;
    const model = await withLevel(options.level, () =>
      loadNativeModel(file, {
        threads: options.threads ?? 2,
        activations: options.activations === undefined ? 'a8' : options.activations,
        kv: options.kv ?? 'f16',
        contextTokensMax: options.contextTokensMax ?? Math.min(1024, file.architecture.contextLength),
        kvBlockCount,
        slotCount: options.slotCount ?? 8,
        ...(options.kvRotates === undefined ? {} : { kvRotates: options.kvRotates }),
        ...(options.packFolder === undefined ? {} : { packFolder: options.packFolder }),
        ...(options.linears === undefined ? {} : { linears: options.linears }),
        ...(options.head === undefined ? {} : { head: options.head }),
        ...(options.lookups === undefined ? {} : { lookups: options.lookups }),
        ...(options.agile === undefined ? {} : { agile: options.agile }),
      }),
    );
    assert.equal(model.info.level, options.level ?? model.info.level, 'the level asked for must run');
    assert.equal(model.info.threads, options.threads ?? 2);
    return new NativeKit(model, file.architecture.vocab, shuffled(kvBlockCount, options.scatterSeed ?? 0));
  }

  /** Opens a sequence with blocks of its own for `tokensMax` tokens, after any that it shares with another. */
  open(tokensMax: number, sampling: Partial<SamplingSpec> = {}, shared: readonly number[] = []): Sequence {
    const count = Math.ceil(tokensMax / KV_BLOCK_TOKENS) - shared.length;
    assert.ok(count <= this.#free.length, 'the pool of the test is too small');
    const blocks = [...shared, ...this.#free.splice(0, count)];
    return {
      slot: this.model.openSlot({ ...greedy, ...sampling }),
      blocks,
      cachedTokens: shared.length * KV_BLOCK_TOKENS,
    };
  }

  /** Closes the slot; the blocks (all but `keep` leading ones) go to whoever opens next. */
  release(sequence: Sequence, keep = 0): void {
    this.model.closeSlot(sequence.slot);
    this.#free.unshift(...sequence.blocks.slice(keep));
  }

  step(parts: readonly Part[], outputs: Outputs = {}): Promise<StepResult> {
    const batch = buildBatch(parts, outputs);
    for (const { sequence, tokens } of parts) sequence.cachedTokens += tokens.length;
    return this.model.step(batch);
  }

  close(): Promise<void> {
    return this.model.close();
  }
}

/** The numbers [0, count), permuted (Fisher–Yates) unless the seed is 0. */
function shuffled(count: number, seed: number): number[] {
  const list = Array.from({ length: count }, (_, i) => i);
  if (seed === 0) return list;
  const random = new Random(seed);
  for (let i = count - 1; i > 0; i -= 1) {
    const j = random.below(i + 1);
    [list[i], list[j]] = [list[j] ?? 0, list[i] ?? 0];
  }
  return list;
}

/** A step of these parts, one stage. */
export function buildBatch(parts: readonly Part[], outputs: Outputs = {}): StepBatch {
  const seqStart = [0];
  const blockStart = [0];
  const tokens: number[] = [];
  const positions: number[] = [];
  const blocks: number[] = [];
  const rows: number[] = [];
  const targets: number[] = [];
  for (const { sequence, tokens: own, rows: wanted = [] } of parts) {
    for (const [index, target] of wanted) {
      rows.push(tokens.length + index);
      targets.push(target);
    }
    for (let i = 0; i < own.length; i += 1) {
      tokens.push(own[i] ?? 0);
      positions.push(sequence.cachedTokens + i);
    }
    blocks.push(...sequence.blocks.slice(0, Math.ceil((sequence.cachedTokens + own.length) / KV_BLOCK_TOKENS)));
    seqStart.push(tokens.length);
    blockStart.push(blocks.length);
  }
  return {
    slotCount: parts.length,
    tokenCount: tokens.length,
    rowCount: rows.length,
    slots: Int32Array.from(parts, ({ sequence }) => sequence.slot),
    seqStart: Int32Array.from(seqStart),
    tokens: Int32Array.from(tokens),
    positions: Int32Array.from(positions),
    stages: [
      {
        cachedTokens: Int32Array.from(parts, ({ sequence }) => sequence.cachedTokens),
        blockStart: Int32Array.from(blockStart),
        blocks: Int32Array.from(blocks),
      },
    ],
    rows: Int32Array.from(rows),
    targets: Int32Array.from(targets),
    wantLogprobs: outputs.wantLogprobs ?? false,
    topCount: outputs.topCount ?? 0,
    wantLogits: outputs.wantLogits ?? false,
    wantImportance: outputs.wantImportance ?? false,
    wantHidden: outputs.wantHidden ?? false,
  };
}

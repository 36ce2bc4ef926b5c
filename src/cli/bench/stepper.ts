/**
 * Drives the native model without the engine: benches and evaluations decide themselves what a step holds. The engine
 * of the same model must be idle, for both would hand out the same KV blocks.
 */

import { greedy } from '../../engine/greedy.js';
import { KV_BLOCK_TOKENS } from '../../limits.js';
import {
  type NativeModel,
  type PruningSpec,
  ROW_SAMPLE,
  type SamplingSpec,
  type StepBatch,
  type StepCounters,
  type StepResult,
  TOKEN_FROM_PREVIOUS_STEP,
} from '../../native/contract.js';
import { addStep, noSteps, type StepTotals } from './engine-profile.js';

/** One open slot with the KV blocks it may use. */
export type DirectSequence = { readonly slot: number; readonly blocks: Int32Array; cachedTokens: number };

/** What one sequence contributes to a step. */
export type StepPart = {
  readonly sequence: DirectSequence;
  /** Token ids, or one TOKEN_FROM_PREVIOUS_STEP. */
  readonly tokens: ArrayLike<number>;
  /** Target of each wanted row: `targets[i]` belongs to token `rowStart + i`. ROW_SAMPLE samples. */
  readonly rowStart: number;
  readonly targets: ArrayLike<number>;
};

export type StepOutputs = {
  readonly wantLogprobs?: boolean;
  readonly wantLogits?: boolean;
  readonly topCount?: number;
  readonly wantHidden?: boolean;
};

const greedySlot: SamplingSpec = { ...greedy, promptIds: new Int32Array(0), generatedIds: new Int32Array(0) };

const sampleRow: ArrayLike<number> = [ROW_SAMPLE];
const previousToken: ArrayLike<number> = [TOKEN_FROM_PREVIOUS_STEP];
const noTargets: ArrayLike<number> = [];

export class Stepper {
  readonly #model: NativeModel;
  #nextBlock = 0;
  #returned: StepCounters[] = [];

  constructor(model: NativeModel) {
    this.#model = model;
  }

  /** Opens a greedy sequence with room for `tokensMax` tokens. */
  open(tokensMax: number, pruning?: PruningSpec): DirectSequence {
    const slot = this.#model.openSlot(pruning === undefined ? greedySlot : { ...greedySlot, pruning });
    const first = this.#nextBlock;
    const blocks = Int32Array.from({ length: Math.ceil(tokensMax / KV_BLOCK_TOKENS) }, (_, i) => first + i);
    this.#nextBlock += blocks.length;
    return { slot, blocks, cachedTokens: 0 };
  }

  /** Closes all of these, which must be every open sequence: their blocks are handed out anew. */
  closeAll(sequences: readonly DirectSequence[]): void {
    for (const { slot } of sequences) this.#model.closeSlot(slot);
    this.#nextBlock = 0;
  }

  /** Queues one step; the sequences count its tokens as cached at once. */
  step(parts: readonly StepPart[], outputs: StepOutputs = {}): Promise<StepResult> {
    const batch = buildBatch(parts, outputs);
    for (const { sequence, tokens } of parts) sequence.cachedTokens += tokens.length;
    return this.#count(this.#model.step(batch));
  }

  /** Counters of the steps that have returned since the last call. */
  takeTotals(): StepTotals {
    const totals = this.#returned.reduce(addStep, noSteps);
    this.#returned = [];
    return totals;
  }

  async #count(running: Promise<StepResult>): Promise<StepResult> {
    const result = await running;
    this.#returned.push(result.counters);
    return result;
  }

  /** Feeds `tokens` in steps of at most `chunk`; returns the token sampled after the last, or −1 if not wanted. */
  async prefill(sequence: DirectSequence, tokens: Int32Array, chunk: number, wantSample: boolean): Promise<number> {
    let last: StepResult | undefined;
    for (let at = 0; at < tokens.length; at += chunk) {
      const piece = tokens.subarray(at, at + chunk);
      const isLast = at + chunk >= tokens.length && wantSample;
      last = await this.step([
        { sequence, tokens: piece, rowStart: piece.length - 1, targets: isLast ? sampleRow : noTargets },
      ]);
    }
    return last?.tokens[0] ?? -1;
  }

  /**
   * Decodes `steps` tokens of every sequence greedily, from the given first tokens. Two steps are kept in flight, as
   * the engine does, so that the native thread never waits for JavaScript. Returns the tokens of each step.
   */
  async decode(sequences: readonly DirectSequence[], first: readonly number[], steps: number): Promise<Int32Array[]> {
    const sampled: Int32Array[] = [];
    let inFlight: Promise<StepResult> | undefined;
    for (let step = 0; step < steps; ++step) {
      const parts = sequences.map((sequence, i) => {
        const tokens = step === 0 ? [first[i] ?? 0] : previousToken;
        return { sequence, tokens, rowStart: 0, targets: sampleRow };
      });
      const submitted = this.step(parts);
      if (inFlight !== undefined) sampled.push((await inFlight).tokens);
      inFlight = submitted;
    }
    if (inFlight !== undefined) sampled.push((await inFlight).tokens);
    return sampled;
  }
}

/** The arrays of a step (one stage: no pruning). */
function buildBatch(parts: readonly StepPart[], outputs: StepOutputs): StepBatch {
  const tokenCount = parts.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const rowCount = parts.reduce((sum, { targets }) => sum + targets.length, 0);
  const blockCounts = parts.map(({ sequence, tokens }) => {
    return Math.ceil((sequence.cachedTokens + tokens.length) / KV_BLOCK_TOKENS);
  });
  const slots = new Int32Array(parts.length);
  const seqStart = new Int32Array(parts.length + 1);
  const tokens = new Int32Array(tokenCount);
  const positions = new Int32Array(tokenCount);
  const cachedTokens = new Int32Array(parts.length);
  const blockStart = new Int32Array(parts.length + 1);
  const blocks = new Int32Array(blockCounts.reduce((sum, count) => sum + count, 0));
  const rows = new Int32Array(rowCount);
  const targets = new Int32Array(rowCount);
  let token = 0;
  let row = 0;
  let block = 0;
  for (const [i, part] of parts.entries()) {
    const { sequence } = part;
    slots[i] = sequence.slot;
    cachedTokens[i] = sequence.cachedTokens;
    for (let r = 0; r < part.targets.length; ++r, ++row) {
      rows[row] = token + part.rowStart + r;
      targets[row] = part.targets[r] ?? ROW_SAMPLE;
    }
    for (let t = 0; t < part.tokens.length; ++t, ++token) {
      tokens[token] = part.tokens[t] ?? 0;
      positions[token] = sequence.cachedTokens + t;
    }
    const used = sequence.blocks.subarray(0, blockCounts[i]);
    blocks.set(used, block);
    block += used.length;
    seqStart[i + 1] = token;
    blockStart[i + 1] = block;
  }
  return {
    slotCount: parts.length,
    tokenCount,
    rowCount,
    slots,
    seqStart,
    tokens,
    positions,
    stages: [{ cachedTokens, blockStart, blocks }],
    rows,
    targets,
    wantLogprobs: outputs.wantLogprobs ?? false,
    topCount: outputs.topCount ?? 0,
    wantLogits: outputs.wantLogits ?? false,
    wantHidden: outputs.wantHidden ?? false,
  };
}

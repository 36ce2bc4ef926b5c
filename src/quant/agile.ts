/**
 * Agile-Quant's choice between 4 and 8 bits by token (arXiv 2312.05693): by how much a token attends to the first one.
 * The paper ranks the tokens of a sequence and gives 4 bits to those that attend to it least. Here a row is judged
 * alone, against a threshold of its layer that a calibration text gives, so that no result depends on the batch; and 4
 * bits go to those that attend to it most: heads that rest on the first token have nothing to say about the others, and
 * their rows bear rounding better (docs/methods/agile-quant.md has figures of both). The first token keeps 8 bits.
 */
import { greedy } from '../engine/greedy.js';
import { KV_BLOCK_TOKENS, STEP_TOKENS_MAX } from '../limits.js';
import type { NativeModel, SamplingSpec, StepBatch } from '../native/contract.js';

const sampling: SamplingSpec = { ...greedy, promptIds: new Int32Array(0), generatedIds: new Int32Array(0) };
const none = new Int32Array(0);

/** One sequence's next tokens, nothing sampled, with their importance. Block ids are those from 0 on. */
function importanceBatch(slot: number, tokens: Int32Array, cachedTokens: number): StepBatch {
  const positions = Int32Array.from(tokens, (_, i) => cachedTokens + i);
  const blocks = Int32Array.from({ length: Math.ceil((cachedTokens + tokens.length) / KV_BLOCK_TOKENS) }, (_, i) => i);
  const stage = { cachedTokens: Int32Array.of(cachedTokens), blockStart: Int32Array.of(0, blocks.length), blocks };
  return {
    ...{ slotCount: 1, tokenCount: tokens.length, rowCount: 0 },
    ...{ slots: Int32Array.of(slot), seqStart: Int32Array.of(0, tokens.length), tokens, positions },
    ...{ stages: [stage], rows: none, targets: none },
    ...{ wantLogprobs: false, topCount: 0, wantLogits: false, wantImportance: true },
  };
}

/**
 * The importance of every token of the windows in each layer: `[layers]` arrays of as many values as there are tokens.
 * The model must be idle and have KV blocks for one window.
 */
export async function collectImportance(
  model: NativeModel,
  layers: number,
  windows: readonly Int32Array[],
): Promise<readonly Float32Array[]> {
  const total = windows.reduce((sum, { length }) => sum + length, 0);
  const found = Array.from({ length: layers }, () => new Float32Array(total));
  let done = 0;
  for (const window of windows) {
    const slot = model.openSlot(sampling);
    try {
      for (let at = 0; at < window.length; at += STEP_TOKENS_MAX) {
        const tokens = window.slice(at, at + STEP_TOKENS_MAX);
        const { importance } = await model.step(importanceBatch(slot, tokens, at));
        if (importance === undefined) throw new Error('the step gave no importance');
        for (const [layer, values] of found.entries()) {
          values.set(importance.subarray(layer * tokens.length, (layer + 1) * tokens.length), done + at);
        }
      }
    } finally {
      model.closeSlot(slot);
    }
    done += window.length;
  }
  return found;
}

/** What no importance exceeds, as a number that JSON has. */
const NEVER = 2 ** 127;

/**
 * For each layer the threshold above which lies `share` of the importances: ⌊share · n⌋ of n, fewer where values are
 * equal.
 */
export function agileThresholds(importance: readonly Float32Array[], share: number): Float32Array {
  return Float32Array.from(importance, (values) => {
    const count = Math.floor(share * values.length);
    if (count === 0) return NEVER;
    return count >= values.length ? 0 : (Float32Array.from(values).sort()[values.length - 1 - count] ?? NEVER);
  });
}

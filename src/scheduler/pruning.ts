/**
 * Token pruning as the scheduler sees it. Tokens of a prompt are dropped by whole windows, so steps must cut the prompt
 * there, and what the cache holds of it can be shared by whole windows only. A sequence needs as many blocks as one
 * that isn't pruned: its later stages use some of the same blocks.
 */
export type SequencePruning = {
  /** Tokens of a window, a multiple of those of a block. */
  readonly windowTokens: number;
  /** How many at the prompt's start lose tokens; at least one token is behind them. */
  readonly windows: number;
  /** Sequences with the same number are pruned alike; at least 0. */
  readonly policy: number;
};

/** Parent of a sequence's first block in the prefix index: a pruned beginning is never taken for a whole one. */
export const wholeRoot = -1;

export function prunedRoot(policy: number): number {
  return wholeRoot - 1 - policy;
}

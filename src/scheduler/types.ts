import type { Drafter } from './drafter.js';
import type { SequencePruning } from './pruning.js';

/** What the scheduler is told, and what it answers. Counts are tokens unless named otherwise. */

declare const brand: unique symbol;

export type SeqId = number & { readonly [brand]: 'SeqId' };

export type SchedulerLimits = {
  /** Longest sequence, prompt and continuation together. */
  readonly contextTokens: number;
  readonly blockTokens: number;
  readonly blockCount: number;
  /** Sequences that hold a slot; at most `stepTokensMax` and `stepRowsMax`, so that every decode fits every step. */
  readonly sequencesMax: number;
  readonly waitingMax: number;
  /** Prompt tokens of all sequences that wait. */
  readonly waitingTokensMax: number;
  readonly stepTokensMax: number;
  readonly stepRowsMax: number;
  /** What a step may take while somebody waits for its next token, ms: prompts are cut into chunks that fit. */
  readonly itlTargetMs: number;
  /** A step is planned behind one still in flight only if that one has at most this many tokens; 0: never. */
  readonly lookAheadTokensMax: number;
};

export type SequenceSpec<T> = {
  /** What the caller hangs on the sequence; the scheduler never looks at it. */
  readonly owner: T;
  /** Not copied before admission, so it must not change; never empty. */
  readonly promptIds: Int32Array;
  /** At least 0; Infinity is fine: the context caps it. */
  readonly maxTokens: number;
  readonly scorePrompt: boolean;
  /** −1: no log-probabilities; otherwise how many alternatives a row reports. */
  readonly topCount: number;
  /** Guesses its tokens, for several to be computed in a step; absent: one a step. */
  readonly drafter?: Drafter | undefined;
  /** Whole windows of its prompt are thinned out on their way through the model; absent: none. */
  readonly pruning?: SequencePruning | undefined;
  /** Lower goes first. */
  readonly priority: number;
  /** For whom it runs: tenants of a priority share the machine evenly. */
  readonly tenant: string;
  /** Sequences share cached blocks with those of the same number; 0, or absent: with all that have none. */
  readonly cacheScope?: number | undefined;
  /** When it gives up waiting for its first turn, on the caller's clock, ms; Infinity: never. */
  readonly deadlineMs: number;
};

/** Why a request was not queued: an expected answer, not an exception. */
export type Refusal =
  | { readonly kind: 'prompt_too_long'; readonly promptTokens: number; readonly limitTokens: number }
  | { readonly kind: 'never_fits'; readonly neededTokens: number; readonly capacityTokens: number }
  | { readonly kind: 'queue_full'; readonly waiting: number };

/**
 * `waiting`: queued, holds nothing. `running`: admitted, holds a slot and blocks. `preempted`: has given its blocks
 * back and waits again as soon as the steps in flight have returned. `ended`: takes part in no further step, but one in
 * flight still uses its slot. `released`: holds nothing any more.
 */
export type SequenceState = 'waiting' | 'running' | 'preempted' | 'ended' | 'released';

import type { SeqId, SequenceSpec, SequenceState } from './types.js';

const noIds = new Int32Array(0);

/**
 * One prompt and its continuation, as a count that catches up with another: `planned` tokens have been given to steps
 * and must reach the tokens there are, `known` ones plus the `pending` one that a step in flight will sample. Prefill
 * and decode are the same thing with a larger or smaller distance. Only the scheduler changes a sequence.
 */
export class Sequence<T> {
  readonly id: SeqId;
  readonly owner: T;
  readonly promptIds: Int32Array;
  readonly promptTokens: number;
  /** Prompt plus the most tokens that may be sampled: max_tokens, capped by the context. */
  readonly tokenLimit: number;
  /** Tokens that a step must compute in all. The last sampled one is never an input. */
  readonly computeLimit: number;
  readonly blocksNeeded: number;
  readonly scorePrompt: boolean;
  readonly topCount: number;

  state: SequenceState = 'waiting';
  /** The addon's slot, set by the caller after admission; −1 before. */
  slot = -1;
  /** Prompt and sampled ids, from admission to release. Its size is bounded by the blocks reserved. */
  tokens: Int32Array = noIds;
  blocks: Int32Array = noIds;
  known: number;
  pending = 0;
  planned = 0;
  cachedTokens = 0;
  /** Tokens of steps that have returned. */
  computed = 0;
  /** Steps in flight that contain the sequence. */
  inFlight = 0;

  constructor(id: SeqId, spec: SequenceSpec<T>, contextTokens: number, blockTokens: number) {
    const promptTokens = spec.promptIds.length;
    const sampledMax = sampledTokensMax(promptTokens, spec.maxTokens, contextTokens);
    this.id = id;
    this.owner = spec.owner;
    this.promptIds = spec.promptIds;
    this.promptTokens = promptTokens;
    this.tokenLimit = promptTokens + sampledMax;
    this.computeLimit = sampledMax > 0 || spec.scorePrompt ? this.tokenLimit - 1 : 0;
    this.blocksNeeded = Math.ceil(this.tokenLimit / blockTokens);
    this.scorePrompt = spec.scorePrompt;
    this.topCount = spec.topCount;
    this.known = promptTokens;
  }

  /** All of the prompt has been given to steps: what follows is decoding, one token a step. */
  get isDecoding(): boolean {
    return this.planned >= this.promptTokens;
  }

  /** Tokens that the next step could take. */
  get plannable(): number {
    return Math.min(this.known + this.pending, this.computeLimit) - this.planned;
  }

  get sampledTokens(): number {
    return this.known - this.promptTokens;
  }

  /** Everything that was asked for has been computed and sampled. */
  get isComplete(): boolean {
    return this.computed >= this.computeLimit && (this.known >= this.tokenLimit || this.computeLimit === 0);
  }

  /** Starts it with the blocks reserved, the first `cachedTokens` of which hold prompt tokens computed already. */
  admit(blocks: Int32Array, cachedTokens: number): void {
    this.state = 'running';
    this.cachedTokens = cachedTokens;
    this.planned = cachedTokens;
    this.computed = cachedTokens;
    this.blocks = blocks;
    this.tokens = new Int32Array(this.tokenLimit);
    this.tokens.set(this.promptIds);
  }

  /** Drops what it held; the blocks themselves are given back by the caller. */
  release(): void {
    this.state = 'released';
    this.blocks = noIds;
    this.tokens = noIds;
  }
}

/** How many tokens may be sampled: a request past the context isn't refused, it ends early with `length`. */
export function sampledTokensMax(promptTokens: number, maxTokens: number, contextTokens: number): number {
  return Math.max(0, Math.min(maxTokens, contextTokens - promptTokens));
}

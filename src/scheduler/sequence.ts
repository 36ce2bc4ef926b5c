import type { Drafter } from './drafter.js';
import type { Account } from './fair-share.js';
import { prunedRoot, wholeRoot } from './pruning.js';
import type { SchedulerLimits, SeqId, SequenceSpec, SequenceState } from './types.js';

const noIds = new Int32Array(0);

/**
 * One prompt and its continuation, as a count that catches up with another: `planned` tokens have been given to steps
 * and must reach the tokens there are, `known` ones plus the `pending` one that a step in flight will sample. Prefill
 * and decode are the same thing with a larger or smaller distance, and so is starting again after a preemption. A step
 * may contain guesses at tokens to come; when it returns, those that were wrong count as never planned. Only the
 * scheduler changes a sequence.
 */
export class Sequence<T> {
  readonly id: SeqId;
  readonly owner: T;
  readonly priority: number;
  readonly deadlineMs: number;
  readonly account: Account;
  readonly promptIds: Int32Array;
  readonly promptTokens: number;
  /** Prompt plus the most tokens that may be sampled: max_tokens, capped by the context. */
  readonly tokenLimit: number;
  /** Tokens that a step must compute in all. The last sampled one is never an input. */
  readonly computeLimit: number;
  readonly scorePrompt: boolean;
  readonly topCount: number;
  /** Tokens that only come together, in steps and from the cache, as long as they begin before `windowsEnd`. */
  readonly windowTokens: number;
  /** Where the last whole window of a pruned prompt ends; 0: nothing is pruned. */
  readonly windowsEnd: number;
  /** Parent of its first block in the prefix index. */
  readonly root: number;
  /** Whose blocks it shares. */
  readonly scope: number;
  /** Until it is released. */
  drafter: Drafter | null;

  state: SequenceState = 'waiting';
  /** The addon's slot, set by the caller after admission; −1 while it has none. */
  slot = -1;
  /** Prompt and sampled ids, `known` of them. Grows as needed; empty before the first admission. */
  tokens: Int32Array = noIds;
  known: number;
  pending = 0;
  /** Guesses among the tokens of the step in flight. */
  drafted = 0;
  planned = 0;
  /** Tokens of steps that have returned, or found in the prefix cache. */
  computed = 0;
  /** Steps in flight that contain the sequence. */
  inFlight = 0;
  /** Where prefill ends: the tokens known at admission. */
  prefillTokens: number;
  /** Prompt tokens found in the prefix cache, what it computed itself before a preemption left out. */
  cachedTokens = 0;
  /** Prompt positions whose scores have been returned. A preemption doesn't ask for them again. */
  scored = 0;
  preemptions = 0;
  /** Its next token can't be sampled yet: the mask of what may follow isn't known. */
  isBlocked = false;
  /** The last known token has been computed but nothing was sampled behind it: it is to be computed once more. */
  isRepeating = false;

  /** The block table: `blockCount` entries count. The first `indexedBlocks` are in the prefix index. */
  blocks: Int32Array = noIds;
  blockCount = 0;
  indexedBlocks = 0;
  /** Of these, blocks whose content is ready. */
  readyBlocks = 0;

  constructor(id: SeqId, spec: SequenceSpec<T>, account: Account, limits: SchedulerLimits) {
    const promptTokens = spec.promptIds.length;
    const sampledMax = sampledTokensMax(promptTokens, spec.maxTokens, limits.contextTokens);
    this.id = id;
    this.owner = spec.owner;
    this.priority = spec.priority;
    this.deadlineMs = spec.deadlineMs;
    this.account = account;
    this.promptIds = spec.promptIds;
    this.promptTokens = promptTokens;
    this.tokenLimit = promptTokens + sampledMax;
    this.computeLimit = sampledMax > 0 || spec.scorePrompt ? this.tokenLimit - 1 : 0;
    this.scorePrompt = spec.scorePrompt;
    this.topCount = spec.topCount;
    const { windowTokens, windows, policy } = spec.pruning ?? {
      windowTokens: limits.blockTokens,
      windows: 0,
      policy: 0,
    };
    this.windowsEnd = windows * windowTokens;
    this.windowTokens = this.windowsEnd > 0 ? windowTokens : limits.blockTokens;
    this.root = this.windowsEnd > 0 ? prunedRoot(policy) : wholeRoot;
    this.scope = spec.cacheScope ?? 0;
    this.drafter = spec.drafter ?? null;
    this.known = promptTokens;
    this.prefillTokens = promptTokens;
  }

  /** All that was known at admission has been given to steps: what follows is decoding, one token a step. */
  get isDecoding(): boolean {
    return this.planned >= this.prefillTokens;
  }

  /** Tokens that the next step could take. */
  get plannable(): number {
    if (this.isBlocked || this.drafted > 0) return 0;
    return Math.min(this.known + this.pending, this.computeLimit) - this.planned;
  }

  /** Nothing is left to plan: it ends with the steps in flight. */
  get isFinishing(): boolean {
    return this.planned >= this.computeLimit;
  }

  get sampledTokens(): number {
    return this.known - this.promptTokens;
  }

  /** Everything that was asked for has been computed and sampled. */
  get isComplete(): boolean {
    return this.tokenLimit > this.promptTokens ? this.known >= this.tokenLimit : this.computed >= this.computeLimit;
  }

  /**
   * Tokens that may come from the prefix cache: the last known one has to be computed, for its logits, and so has every
   * prompt token that is to be scored.
   */
  get cacheableTokens(): number {
    const computable = this.scorePrompt ? Math.min(this.scored, this.known - 1) : this.known - 1;
    return Math.min(computable, this.indexableTokens);
  }

  /** Tokens whose blocks others may share: behind pruned windows a block's content depends on where they ended. */
  get indexableTokens(): number {
    return this.windowsEnd > 0 ? this.windowsEnd : Number.POSITIVE_INFINITY;
  }

  /** Of `count` tokens from `planned` on, as many as a step may end with: it never cuts a window. */
  wholeTokens(count: number): number {
    if (this.planned + count >= this.windowsEnd) return count;
    return Math.floor(count / this.windowTokens) * this.windowTokens;
  }

  /** The fewest tokens that the next step could take. */
  get fewestTokens(): number {
    return this.planned < this.windowsEnd ? this.windowTokens : 1;
  }

  /** Where the last known token has to be computed from, once more. */
  get repeatFrom(): number {
    return this.known > this.windowsEnd ? this.known - 1 : this.known - this.windowTokens;
  }

  /** Where its tokens are: the prompt as it came in until the first admission copies it. */
  get ids(): Int32Array {
    return this.tokens.length > 0 ? this.tokens : this.promptIds;
  }

  admit(): void {
    if (this.tokens.length === 0) {
      this.tokens = new Int32Array(Math.min(this.tokenLimit, this.promptTokens + 256));
      this.tokens.set(this.promptIds);
    }
    this.state = 'running';
    this.prefillTokens = this.known;
  }

  append(token: number): void {
    if (this.known === this.tokens.length) {
      const larger = new Int32Array(Math.min(this.tokenLimit, 2 * this.known));
      larger.set(this.tokens);
      this.tokens = larger;
    }
    this.tokens[this.known++] = token;
  }

  addBlock(id: number): void {
    if (this.blockCount === this.blocks.length) {
      const larger = new Int32Array(Math.max(8, 2 * this.blockCount));
      larger.set(this.blocks);
      this.blocks = larger;
    }
    this.blocks[this.blockCount++] = id;
  }

  /** Waits again: what it had computed is gone, what it has sampled stays. The caller has taken its blocks. */
  restart(): void {
    this.scored = Math.max(this.scored, Math.min(this.computed, this.promptTokens - 1));
    this.state = 'waiting';
    this.slot = -1;
    this.planned = 0;
    this.computed = 0;
    this.isBlocked = false;
    this.isRepeating = false;
  }

  /** Drops what it held; the caller has taken its blocks. */
  release(): void {
    this.state = 'released';
    this.blocks = noIds;
    this.tokens = noIds;
    this.drafter = null;
  }
}

/** How many tokens may be sampled: a request past the context isn't refused, it ends early with `length`. */
export function sampledTokensMax(promptTokens: number, maxTokens: number, contextTokens: number): number {
  return Math.max(0, Math.min(maxTokens, contextTokens - promptTokens));
}

import type { CostAccount } from '../cost/attribution.js';
import type { Constraint } from '../grammar/types.js';
import type { StepWork } from '../metering/energy-monitor.js';
import type { SamplingSpec, StepCounters } from '../native/contract.js';
import type { PruningPlan } from './pruning.js';

/** Sampling as requested; ids of prompt and history are added by the engine. */
export type SamplingRequest = Omit<
  SamplingSpec,
  'promptIds' | 'generatedIds' | 'constrained' | 'minTokens' | 'endIds' | 'pruning'
>;

/** One sequence: one prompt, one continuation. `n` choices are `n` requests. */
export type GenerationRequest = {
  readonly promptIds: Int32Array;
  /** 0 is allowed (scoring of the prompt only). */
  readonly maxTokens: number;
  readonly sampling: SamplingRequest;
  /** Stop strings: the text ends before the first occurrence. */
  readonly stop: readonly string[];
  /** null: none; 0–20: the sampled token's log-probability and this many alternatives. */
  readonly logprobs: number | null;
  /** Report log-probabilities of the prompt tokens too (needs `logprobs`). */
  readonly scorePrompt: boolean;
  readonly ignoreEos: boolean;
  /** Further tokens that end the sequence; `ignoreEos` doesn't concern them. */
  readonly stopIds?: ReadonlySet<number>;
  /** End tokens, stop tokens and stop strings don't end the sequence before this many tokens. */
  readonly minTokens?: number;
  /** The stop string, or the text of the stop token, stays in the text. */
  readonly includeStop?: boolean;
  /** Special (control) tokens have their text in the output. */
  readonly keepSpecial?: boolean;
  /** What the text must be; `checkConstraint` has accepted it. Ends the sequence once it is complete. */
  readonly constraint?: Constraint;
  /** Tokens of its prompt that don't go through all layers; not together with `scorePrompt`. */
  readonly pruning?: PruningPlan;
  /** Lower goes first; 0 if left out. */
  readonly priority?: number;
  /** For whom it runs: tenants share the machine evenly. All that leave it out are one tenant. */
  readonly tenant?: string;
  /** Sequences share cached prompts with those of the same number, pinned ones with all; left out: 0, everybody's. */
  readonly cacheScope?: number;
  /** Where its energy is entered; the sequences of a request share them. */
  readonly accounts?: readonly CostAccount[];
  /** Told once how the sequence went, with its generated tokens. Must not throw. */
  readonly onEnd?: (summary: SequenceSummary, generatedIds: readonly number[]) => void;
  /** Told once, behind its end, when no step computes for it any more: its accounts are complete. Must not throw. */
  readonly onReleased?: (summary: SequenceSummary) => void;
};

/** How a sequence went. */
export type SequenceSummary = {
  readonly reason: FinishReason | 'error';
  readonly promptTokens: number;
  /** Prompt tokens that the last layers didn't see; absent: none. */
  readonly prunedTokens?: number;
  /** Prompt tokens that were found in the prefix cache. */
  readonly cachedTokens: number;
  readonly completionTokens: number;
  /** Seconds: from submission to admission, to the first token, to the end. */
  readonly queueSeconds: number;
  readonly firstTokenSeconds: number | null;
  readonly totalSeconds: number;
};

export type TokenLogprob = {
  readonly tokenId: number;
  /** null for the first prompt token. */
  readonly logprob: number | null;
  readonly top: readonly { readonly tokenId: number; readonly logprob: number }[];
};

export type FinishReason = 'stop' | 'length' | 'abort';

export type GenerationEvent =
  /** Once, before any text, when `scorePrompt`: one entry per prompt token. */
  | { readonly kind: 'prompt'; readonly logprobs: readonly TokenLogprob[] }
  /**
   * New text, never ending within a UTF-8 character nor within a possible stop string; may be empty when only tokens
   * or log-probabilities arrived. `tokenIds` and `logprobs` belong to the tokens whose text is complete with this
   * piece; the end token, which has no text, comes with the last.
   */
  | {
      readonly kind: 'text';
      readonly text: string;
      readonly tokenIds: readonly number[];
      readonly logprobs: readonly TokenLogprob[];
    }
  | {
      readonly kind: 'end';
      readonly reason: FinishReason;
      readonly completionTokens: number;
      readonly cachedTokens: number;
      /** Prompt tokens that the last layers didn't see; absent: none. */
      readonly prunedTokens?: number;
    };

/** Iterated once. Throws a NibbleError from the iterator when the sequence fails. */
export type Generation = AsyncIterable<GenerationEvent>;

export type EngineGauges = {
  readonly running: number;
  readonly waiting: number;
  readonly kvBlocksTotal: number;
  /** Held by sequences. */
  readonly kvBlocksUsed: number;
  /** Held by nobody, but still to be found by the prefix cache. */
  readonly kvBlocksCached: number;
  /** Estimate of how long those that wait now will wait, the last of them. */
  readonly queueSeconds: number;
  /** Sequences that had to give their blocks back and start again, since the start. */
  readonly preemptions: number;
  /** What steps cost as learned so far, ms per step, token, row, position of a prompt, position of a decode. */
  readonly stepCostMs: readonly number[];
  /** Since the start: times that tokens were guessed, how many, and how many of them were right. */
  readonly speculation: { readonly drafts: number; readonly draftTokens: number; readonly acceptedTokens: number };
};

/** What the engine reports to whoever watches (metrics, cost): called on the event loop, must be cheap. */
export type EngineObserver = {
  onStep?(step: {
    readonly prefillTokens: number;
    readonly decodeTokens: number;
    readonly counters: StepCounters;
    readonly parts: readonly StepWork[];
  }): void;
  onFinished?(sequence: SequenceSummary): void;
  onToken?(sequence: { readonly interTokenSeconds: number | null }): void;
  /** A KV block can be found by prompts now: the block before it (negative at the start of a text), its token ids. */
  onBlockStored?(block: number, parent: number, ids: Int32Array): void;
  onBlockRemoved?(block: number): void;
};

export interface Engine {
  readonly contextTokensMax: number;
  /**
   * Queues sequences that belong to one HTTP request, all or none. Throws NibbleError `context_length_exceeded`,
   * `kv_capacity_exceeded`, `queue_full`, `draining`. Aborting the signal ends them (`reason: 'abort'`) before
   * the next step.
   */
  submit(requests: readonly GenerationRequest[], signal: AbortSignal): readonly Generation[];
  /**
   * Resolves when a request may have this constraint. Rejects with `constraint_invalid`, `constraint_too_complex`,
   * `queue_full`, `draining`. Compiling it is what takes time, so this comes before `submit`.
   */
  checkConstraint(constraint: Constraint): Promise<void>;
  gauges(): EngineGauges;
  /** Refuses new work and resolves when every sequence has ended. */
  drain(): Promise<void>;
  /** Aborts everything and frees the model. */
  close(): Promise<void>;
}

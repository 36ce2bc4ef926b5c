import type { Matcher } from '../grammar/grammar-engine.js';
import type { Tokenizer } from '../model/types.js';
import type { SamplingSpec } from '../native/contract.js';
import type { Sequence } from '../scheduler/sequence.js';
import { EventChannel } from './event-channel.js';
import { prunedTokens } from './pruning.js';
import { StopMatcher } from './stop-matcher.js';
import { TextOutput } from './text-output.js';
import type { EngineObserver, FinishReason, GenerationRequest, SequenceSummary, TokenLogprob } from './types.js';

/** The sequences of one request share its signal: one listener for all, gone with the last of them. */
export class RequestGroup {
  readonly members: LiveSequence[] = [];
  private readonly signal: AbortSignal;
  private readonly onAbort: () => void;
  private openCount = 0;

  constructor(signal: AbortSignal, onAbort: () => void) {
    this.signal = signal;
    this.onAbort = onAbort;
  }

  open(): void {
    this.openCount = this.members.length;
    if (this.openCount > 0) this.signal.addEventListener('abort', this.onAbort, { once: true });
  }

  memberEnded(): void {
    this.openCount--;
    if (this.openCount === 0) this.signal.removeEventListener('abort', this.onAbort);
  }
}

/** What the engine keeps of a sequence beside the scheduler's books: its request, its reader, its times (ms). */
export class LiveSequence {
  readonly request: GenerationRequest;
  readonly group: RequestGroup;
  readonly channel: EventChannel;
  /** Set as soon as the scheduler has accepted it. */
  sequence: Sequence<LiveSequence> | null = null;
  /** From admission on. */
  output: TextOutput | null = null;
  /** From the first admission on, if its request has a constraint. */
  matcher: Matcher | null = null;
  readonly topCount: number;
  /** Sampled tokens that were delivered, the end token and those of a stop string included. */
  completionTokens = 0;
  /** Kept for `onEnd` only. */
  private readonly generatedIds: number[] = [];
  private readonly scores: TokenLogprob[] | null;
  private scoresSent = false;
  private readonly submittedMs: number;
  private admittedMs: number | null = null;
  private firstTokenMs: number | null = null;
  private lastTokenMs = 0;
  private summary: SequenceSummary | null = null;
  private isReleased = false;

  constructor(request: GenerationRequest, group: RequestGroup, nowMs: number, cancel: (live: LiveSequence) => void) {
    this.request = request;
    this.group = group;
    this.submittedMs = nowMs;
    this.topCount = request.logprobs ?? (request.scorePrompt ? 0 : -1);
    this.scores = request.scorePrompt ? [{ tokenId: request.promptIds[0] as number, logprob: null, top: [] }] : null;
    this.channel = new EventChannel(() => cancel(this));
  }

  /** At admission. One that was preempted goes on where it was. */
  start(tokenizer: Tokenizer, nowMs: number): void {
    if (this.output !== null) return;
    const { stop, includeStop = false, keepSpecial = false, minTokens = 0 } = this.request;
    this.admittedMs = nowMs;
    this.output = new TextOutput(
      tokenizer.createDetokenizer(keepSpecial),
      stop.length > 0 ? new StopMatcher(stop) : null,
      this.channel,
      { includeStop, minTokens },
    );
  }

  /** Tokens that would end the sequence, where `minTokens` forbids them. */
  earliestEnd(endIds: ReadonlySet<number>): Pick<SamplingSpec, 'minTokens' | 'endIds'> {
    const { minTokens = 0, ignoreEos, stopIds, constraint } = this.request;
    // What a constraint allows may be nothing but end tokens: its masks and the delivery take care.
    if (minTokens === 0 || constraint !== undefined) return {};
    return { minTokens, endIds: Int32Array.from(new Set([...(ignoreEos ? [] : endIds), ...(stopIds ?? [])])) };
  }

  /** Whether tokens may be sampled behind guesses: not where the mask of each is known only after the one before. */
  get canSpeculate(): boolean {
    return !this.request.scorePrompt && this.request.constraint === undefined;
  }

  addScore(score: TokenLogprob): void {
    this.scores?.push(score);
  }

  /** Sends the prompt's scores once they are all there. */
  sendScores(): void {
    if (this.scores === null || this.scoresSent || this.scores.length < this.request.promptIds.length) return;
    this.scoresSent = true;
    this.channel.pushPrompt(this.scores);
  }

  /** Counts a sampled token; returns the seconds since the one before, null for the first. */
  countToken(token: number, nowMs: number): number | null {
    if (this.request.onEnd !== undefined) this.generatedIds.push(token);
    const interTokenSeconds = this.completionTokens === 0 ? null : (nowMs - this.lastTokenMs) / 1000;
    if (this.completionTokens === 0) this.firstTokenMs = nowMs;
    this.completionTokens++;
    this.lastTokenMs = nowMs;
    return interTokenSeconds;
  }

  /** Sends what is left and the end. A stop string that the rest completes makes `length` a `stop`. */
  close(reason: FinishReason): FinishReason {
    this.sendScores();
    const stopped = this.output?.finish() === true;
    const final = stopped && reason === 'length' ? 'stop' : reason;
    const cachedTokens = this.sequence?.cachedTokens ?? 0;
    const { completionTokens } = this;
    this.channel.pushEnd({ kind: 'end', reason: final, completionTokens, cachedTokens, ...this.pruned });
    return final;
  }

  /** What an end says of pruning: nothing where no token was pruned. */
  private get pruned(): { readonly prunedTokens?: number } {
    const { pruning, promptIds } = this.request;
    const tokens = pruning === undefined ? 0 : prunedTokens(pruning, promptIds.length);
    return tokens === 0 ? {} : { prunedTokens: tokens };
  }

  report(observer: EngineObserver, reason: FinishReason | 'error', nowMs: number): void {
    const summary: SequenceSummary = {
      reason,
      promptTokens: this.request.promptIds.length,
      cachedTokens: this.sequence?.cachedTokens ?? 0,
      ...this.pruned,
      completionTokens: this.completionTokens,
      queueSeconds: ((this.admittedMs ?? nowMs) - this.submittedMs) / 1000,
      firstTokenSeconds: this.firstTokenMs === null ? null : (this.firstTokenMs - this.submittedMs) / 1000,
      totalSeconds: (nowMs - this.submittedMs) / 1000,
    };
    observer.onFinished?.(summary);
    this.request.onEnd?.(summary, this.generatedIds);
    this.summary = summary;
    this.tellReleased();
  }

  /** Tells once that the sequence has ended and that its last step has returned, whichever comes last. */
  tellReleased(): void {
    if (this.isReleased || this.summary === null || this.sequence?.state !== 'released') return;
    this.isReleased = true;
    this.request.onReleased?.(this.summary);
  }
}

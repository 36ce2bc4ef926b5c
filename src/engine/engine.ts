import { NibbleError } from '../errors.js';
import type { ConstraintEngine, Matcher } from '../grammar/grammar-engine.js';
import type { Constraint } from '../grammar/types.js';
import {
  ITL_TARGET_MS,
  KV_BLOCK_TOKENS,
  LOOK_AHEAD_TOKENS_MAX,
  PRUNING_WINDOW_TOKENS,
  QUEUE_SECONDS,
  SEQUENCES_MAX,
  STEP_ROWS_MAX,
  STEP_TOKENS_MAX,
  WAITING_MAX,
  WAITING_TOKENS_MAX,
} from '../limits.js';
import type { Tokenizer } from '../model/types.js';
import { type NativeModel, readCounter, type StepResult } from '../native/contract.js';
import { assertInvariants } from '../scheduler/invariants.js';
import { NgramDrafter } from '../scheduler/ngram-drafter.js';
import type { PinnedPrefixes } from '../scheduler/pinned-prefixes.js';
import type { SequencePruning } from '../scheduler/pruning.js';
import { QueueEstimate } from '../scheduler/queue-estimate.js';
import { Scheduler } from '../scheduler/scheduler.js';
import type { Sequence } from '../scheduler/sequence.js';
import type { StepPlan } from '../scheduler/step-plan.js';
import { asNibbleError } from './as-nibble-error.js';
import { checkRequests, refusalError, retrySeconds } from './check-request.js';
import { deliver } from './delivery.js';
import { LiveSequence, RequestGroup } from './live-sequence.js';
import { type PruningPlan, prunedWindows, pruningSpec } from './pruning.js';
import { StepLoop } from './step-loop.js';
import { stepParts } from './step-parts.js';
import type { Engine, EngineGauges, EngineObserver, FinishReason, Generation, GenerationRequest } from './types.js';

/** The bounds must be those that the model was loaded with (`LoadOptions`); what is left out is as in limits.ts. */
export type EngineConfig = {
  /** The smaller of the model's own context and what the operator allows, tokens. */
  readonly contextTokensMax: number;
  readonly kvBlockCount: number;
  readonly sequencesMax?: number;
  readonly waitingMax?: number;
  readonly waitingTokensMax?: number;
  /** Longest wait for a first turn. */
  readonly queueMsMax?: number;
  readonly itlTargetMs?: number;
  /** Guess tokens of text that repeats itself; results don't depend on it. */
  readonly speculates?: boolean;
  readonly stepTokensMax?: number;
  readonly stepRowsMax?: number;
  readonly lookAheadTokensMax?: number;
  /** Check the scheduler's books after every step (debugging and tests). */
  readonly checkInvariants?: boolean;
};

export type EngineOptions = {
  readonly model: NativeModel;
  readonly tokenizer: Tokenizer;
  readonly config: EngineConfig;
  /** Without it requests with a constraint fail. */
  readonly constraints?: ConstraintEngine;
  /** Must not throw. */
  readonly observer?: EngineObserver;
  /** Milliseconds of a monotonic clock. */
  readonly now?: () => number;
};

/** An engine, and the beginnings that it keeps in its cache for good. */
export type PinningEngine = Engine & { readonly pinned: PinnedPrefixes };

/** Joins the scheduler with a loaded model, which the engine then owns: `close` frees it. */
export function createEngine(options: EngineOptions): PinningEngine {
  return new StepEngine(options);
}

class StepEngine implements PinningEngine {
  readonly contextTokensMax: number;
  private readonly model: NativeModel;
  private readonly tokenizer: Tokenizer;
  private readonly constraints: ConstraintEngine | null;
  private readonly observer: EngineObserver;
  private readonly now: () => number;
  private readonly speculates: boolean;
  private readonly checksInvariants: boolean;
  private readonly scheduler: Scheduler<LiveSequence>;
  private readonly loop: StepLoop<LiveSequence>;
  private readonly queue = new QueueEstimate();
  private readonly queueMsMax: number;
  /** When the last step came back. */
  private returnedMs = 0;
  private isDraining = false;
  private idleWaiters: (() => void)[] = [];
  private closing: Promise<void> | null = null;

  constructor(options: EngineOptions) {
    const { model, config } = options;
    this.model = model;
    this.tokenizer = options.tokenizer;
    this.constraints = options.constraints ?? null;
    this.observer = options.observer ?? {};
    this.now = options.now ?? (() => performance.now());
    this.contextTokensMax = config.contextTokensMax;
    this.queueMsMax = config.queueMsMax ?? QUEUE_SECONDS * 1000;
    this.speculates = config.speculates ?? false;
    this.checksInvariants = config.checkInvariants ?? false;
    this.scheduler = new Scheduler<LiveSequence>(
      {
        contextTokens: config.contextTokensMax,
        blockTokens: KV_BLOCK_TOKENS,
        blockCount: config.kvBlockCount,
        sequencesMax: config.sequencesMax ?? SEQUENCES_MAX,
        waitingMax: config.waitingMax ?? WAITING_MAX,
        waitingTokensMax: config.waitingTokensMax ?? WAITING_TOKENS_MAX,
        itlTargetMs: config.itlTargetMs ?? ITL_TARGET_MS,
        stepTokensMax: config.stepTokensMax ?? STEP_TOKENS_MAX,
        stepRowsMax: config.stepRowsMax ?? STEP_ROWS_MAX,
        lookAheadTokensMax: config.lookAheadTokensMax ?? LOOK_AHEAD_TOKENS_MAX,
      },
      (sequence) => {
        if (sequence.slot >= 0) model.closeSlot(sequence.slot);
        sequence.owner.tellReleased();
        this.notifyIfIdle();
      },
    );
    const { onBlockStored, onBlockRemoved } = this.observer;
    if (onBlockStored !== undefined && onBlockRemoved !== undefined) {
      this.scheduler.kv.index.watcher = { stored: onBlockStored, removed: onBlockRemoved };
    }
    this.loop = new StepLoop(model, this.scheduler, {
      admit: () => this.admit(),
      returned: (plan, result, error) => this.stepReturned(plan, result, error),
    });
  }

  get pinned(): PinnedPrefixes {
    return this.scheduler.kv.pinned;
  }

  submit(requests: readonly GenerationRequest[], signal: AbortSignal): readonly Generation[] {
    if (this.isDraining) throw new NibbleError('draining', {});
    checkRequests(requests, this.tokenizer.vocabSize);
    const nowMs = this.now();
    const group = new RequestGroup(signal, () => this.abortAll(group.members));
    for (const request of requests) group.members.push(new LiveSequence(request, group, nowMs, this.abortOne));
    const submission = this.scheduler.submit(
      group.members.map((live) => ({
        owner: live,
        promptIds: live.request.promptIds,
        maxTokens: live.request.maxTokens,
        scorePrompt: live.request.scorePrompt,
        topCount: live.topCount,
        pruning: schedulerPruning(live.request.pruning, live.request.promptIds.length),
        drafter: this.speculates && live.canSpeculate ? new NgramDrafter() : undefined,
        priority: live.request.priority ?? 0,
        tenant: live.request.tenant ?? '',
        cacheScope: live.request.cacheScope,
        deadlineMs: nowMs + this.queueMsMax,
      })),
    );
    if (submission.kind === 'refused') {
      throw refusalError(submission.refusal, this.queue.waitMs(requests.length, nowMs));
    }
    group.open();
    for (const sequence of submission.sequences) {
      sequence.owner.sequence = sequence;
      if (sequence.state === 'released') this.conclude(sequence.owner, 'length');
    }
    if (signal.aborted) this.abortAll(group.members);
    this.admit();
    this.loop.kick();
    return group.members.map((live) => live.channel);
  }

  async checkConstraint(constraint: Constraint): Promise<void> {
    await (this.constraints ?? noConstraints()).compile(constraint);
  }

  gauges(): EngineGauges {
    const { running, waiting, kv, preemptions, speculation, cost } = this.scheduler;
    return {
      running: running.length,
      waiting: waiting.length,
      kvBlocksTotal: kv.pool.blockCount,
      kvBlocksUsed: kv.pool.usedCount,
      kvBlocksCached: kv.pool.cachedCount,
      preemptions,
      speculation: { ...speculation },
      stepCostMs: [...cost.parameters],
      queueSeconds: this.queue.waitMs(waiting.length, this.now()) / 1000,
    };
  }

  drain(): Promise<void> {
    this.isDraining = true;
    return this.whenIdle();
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  private async shutDown(): Promise<void> {
    this.isDraining = true;
    const { running, waiting } = this.scheduler;
    this.abortAll([...running, ...waiting].map((sequence) => sequence.owner));
    await this.whenIdle();
    await this.model.close();
  }

  private whenIdle(): Promise<void> {
    if (this.scheduler.isIdle) return Promise.resolve();
    return new Promise((resolve) => this.idleWaiters.push(resolve));
  }

  private notifyIfIdle(): void {
    if (this.idleWaiters.length === 0 || !this.scheduler.isIdle) return;
    for (const resolve of this.idleWaiters.splice(0)) resolve();
  }

  private admit(): void {
    const nowMs = this.now();
    for (const late of this.scheduler.overdue(nowMs)) this.fail(late, this.queueTimeout(nowMs));
    let admitted = 0;
    for (let sequence = this.scheduler.admitNext(); sequence !== null; sequence = this.scheduler.admitNext()) {
      admitted++;
      this.start(sequence, nowMs);
    }
    this.queue.moved(admitted, this.scheduler.waiting.length, nowMs);
  }

  private start(sequence: Sequence<LiveSequence>, nowMs: number): void {
    const live = sequence.owner;
    const { sampling, promptIds, constraint, pruning } = live.request;
    live.start(this.tokenizer, nowMs);
    try {
      if (constraint !== undefined) live.matcher ??= this.constrain(sequence, constraint);
      const generatedIds = sequence.tokens.subarray(sequence.promptTokens, sequence.known);
      const earliestEnd = live.earliestEnd(this.tokenizer.endIds);
      const masked = live.matcher === null ? {} : { mask: live.matcher.mask };
      const ids = { promptIds, generatedIds };
      const pruned = pruning === undefined ? {} : { pruning: pruningSpec(pruning, promptIds.length) };
      sequence.slot = this.model.openSlot({ ...sampling, ...earliestEnd, ...ids, ...pruned, ...masked });
    } catch (error) {
      this.fail(sequence, asNibbleError(error));
    }
  }

  private queueTimeout(nowMs: number): NibbleError {
    const retryAfterSeconds = retrySeconds(this.queue.waitMs(this.scheduler.waiting.length, nowMs));
    return new NibbleError('queue_timeout', { waitedSeconds: this.queueMsMax / 1000 }, { retryAfterSeconds });
  }

  /** Follows its text from now on; a preemption changes nothing, the text goes on where it was. */
  private constrain(sequence: Sequence<LiveSequence>, constraint: Constraint): Matcher {
    const { ignoreEos, minTokens = 0 } = sequence.owner.request;
    return (this.constraints ?? noConstraints()).open(constraint, ignoreEos ? Number.POSITIVE_INFINITY : minTokens, {
      onMask: () => {
        if (sequence.isBlocked && this.scheduler.unblock(sequence)) this.loop.kick();
      },
      onFinished: () => {
        this.end(sequence, 'stop');
        this.loop.kick();
      },
      onError: (error) => {
        this.fail(sequence, error);
        this.loop.kick();
      },
    });
  }

  private stepReturned(plan: StepPlan<LiveSequence>, result: StepResult | null, error: unknown): void {
    if (result === null) {
      const failure = asNibbleError(error);
      for (const sequence of this.scheduler.fail(plan)) this.concludeFailed(sequence.owner, failure);
    } else {
      const nowMs = this.now();
      const stepMs = readCounter(result.counters, 'totalNs') / 1e6;
      this.scheduler.cost.learn(plan.shape, stepMs);
      if (plan.hasWaited) this.scheduler.cost.learnTurn(nowMs - this.returnedMs - stepMs);
      this.returnedMs = nowMs;
      this.scheduler.complete(plan, result.tokens, result.failed);
      for (let i = 0; i < plan.slotCount; i++) this.deliverTo(plan, i, result, nowMs);
      const { prefillTokens, decodeTokens } = plan;
      const { counters } = result;
      this.observer.onStep?.({ prefillTokens, decodeTokens, counters, parts: stepParts(plan) });
    }
    if (this.checksInvariants) assertInvariants(this.scheduler);
  }

  private deliverTo(plan: StepPlan<LiveSequence>, index: number, result: StepResult, nowMs: number): void {
    const sequence = plan.sequences[index] as Sequence<LiveSequence>;
    if (sequence.state === 'ended' || sequence.state === 'released') return;
    try {
      const verdict = deliver(plan, index, result, this.tokenizer.endIds, this.observer, nowMs);
      if (verdict === 'continue') {
        if (sequence.isBlocked) sequence.owner.matcher?.ask();
        return;
      }
      if (verdict === 'not_finite') this.fail(sequence, new NibbleError('not_finite', {}));
      else this.end(sequence, verdict);
    } catch (cause) {
      this.fail(sequence, new NibbleError('internal', {}, { cause }));
    }
  }

  private readonly abortOne = (live: LiveSequence): void => this.abortAll([live]);

  private abortAll(members: readonly LiveSequence[]): void {
    for (const { sequence } of members) if (sequence !== null) this.end(sequence, 'abort');
    // What was given back, or whom it held up, may let others start before the step in flight returns.
    this.loop.kick();
  }

  private end(sequence: Sequence<LiveSequence>, reason: FinishReason): void {
    if (this.scheduler.end(sequence)) this.conclude(sequence.owner, reason);
  }

  private fail(sequence: Sequence<LiveSequence>, error: NibbleError): void {
    if (this.scheduler.end(sequence)) this.concludeFailed(sequence.owner, error);
  }

  private conclude(live: LiveSequence, reason: FinishReason): void {
    let final: FinishReason;
    try {
      final = live.close(reason);
    } catch (cause) {
      this.concludeFailed(live, new NibbleError('internal', {}, { cause }));
      return;
    }
    this.concluded(live, final);
  }

  private concludeFailed(live: LiveSequence, error: NibbleError): void {
    live.channel.pushError(error);
    this.concluded(live, 'error');
  }

  private concluded(live: LiveSequence, reason: FinishReason | 'error'): void {
    live.matcher?.close();
    live.group.memberEnded();
    live.report(this.observer, reason, this.now());
    this.notifyIfIdle();
  }
}

function schedulerPruning(plan: PruningPlan | undefined, promptTokens: number): SequencePruning | undefined {
  if (plan === undefined) return undefined;
  const windows = prunedWindows(plan, promptTokens);
  return { windowTokens: PRUNING_WINDOW_TOKENS, windows, policy: plan.policy };
}

function noConstraints(): never {
  throw new NibbleError('engine_failed', { message: 'constraints are not available' });
}

import { LogHistogram } from './log-histogram.js';
import { Scheduler } from './scheduler.js';
import type { Sequence } from './sequence.js';
import type { StepCost } from './step-cost.js';
import type { StepPlan } from './step-plan.js';
import type { SchedulerLimits } from './types.js';

export type Arrival = {
  readonly atMs: number;
  readonly promptIds: Int32Array;
  /** The answer's length; the model's end token is not simulated otherwise. At least 1. */
  readonly outputTokens: number;
  readonly tenant: string;
  readonly priority: number;
};

/** Where requests come from, in order of time. */
export type ArrivalSource = {
  /** When the next one arrives; Infinity if none will, as far as is known now. */
  readonly nextMs: number;
  take(): Arrival;
  /** A request has ended or was refused: a client that waits for it may send another. */
  ended(nowMs: number, served: Served): void;
};

/** What became of a request; times are ms. */
export type Served = {
  readonly outcome: 'completed' | 'refused' | 'timedOut';
  readonly tenant: string;
  readonly arrivedMs: number;
  /** Of the first and the last token; NaN without one. */
  readonly firstMs: number;
  readonly lastMs: number;
  readonly tokens: number;
};

export type SimulationOptions = {
  readonly limits: SchedulerLimits;
  readonly cost: StepCost;
  readonly queueMsMax: number;
  /** What a step costs beside the native part, ms, where it isn't hidden by a step in flight. */
  readonly turnMs: number;
  /** A request is good if its first token comes within this, and the others, on average, within the second. */
  readonly goodTtftMs: number;
  readonly goodItlMs: number;
};

export type SimulationResult = {
  readonly requests: number;
  readonly completed: number;
  readonly refused: number;
  readonly timedOut: number;
  readonly good: number;
  readonly seconds: number;
  readonly steps: number;
  readonly outputTokens: number;
  readonly prefillTokens: number;
  readonly cachedTokens: number;
  readonly preemptions: number;
  readonly ttftMs: LogHistogram;
  readonly itlMs: LogHistogram;
};

type Client = { readonly tenant: string; readonly arrivedMs: number; firstMs: number; lastMs: number; tokens: number };
type Flight = { readonly plan: StepPlan<Client>; readonly stepMs: number; readonly endMs: number };

/** The scheduler as it serves, on a clock that a model of the machine moves instead of the machine. */
export class Simulation {
  private readonly options: SimulationOptions;
  private readonly source: ArrivalSource;
  private readonly scheduler: Scheduler<Client>;
  private readonly freeSlots: number[];
  private readonly sampled: Int32Array;
  private readonly flights: Flight[] = [];
  private readonly ttftMs = new LogHistogram();
  private readonly itlMs = new LogHistogram();
  private readonly counts = { requests: 0, completed: 0, refused: 0, timedOut: 0, good: 0, steps: 0 };
  private readonly tokens = { outputTokens: 0, prefillTokens: 0, cachedTokens: 0 };
  private nowMs = 0;

  constructor(source: ArrivalSource, options: SimulationOptions) {
    this.options = options;
    this.source = source;
    const { limits } = options;
    this.freeSlots = Array.from({ length: limits.sequencesMax }, (_, i) => i);
    this.scheduler = new Scheduler<Client>(limits, (sequence) => this.freeSlots.push(sequence.slot));
    this.sampled = new Int32Array(limits.stepRowsMax);
  }

  /** Runs until nothing is left to arrive or to do. */
  run(): SimulationResult {
    for (;;) {
      this.launch();
      const [oldest] = this.flights;
      const { nextMs } = this.source;
      if (oldest === undefined && nextMs === Number.POSITIVE_INFINITY) break;
      if (oldest === undefined || nextMs <= oldest.endMs) {
        this.nowMs = Math.max(this.nowMs, nextMs);
        this.arrive();
      } else {
        this.nowMs = oldest.endMs;
        this.flights.shift();
        // As in the engine: chunks are cut by what steps so far have taught, not by what the simulation knows.
        this.scheduler.cost.learn(oldest.plan.shape, oldest.stepMs);
        this.complete(oldest.plan);
      }
    }
    const { preemptions } = this.scheduler;
    const { ttftMs, itlMs } = this;
    return { ...this.counts, ...this.tokens, seconds: this.nowMs / 1000, preemptions, ttftMs, itlMs };
  }

  private arrive(): void {
    const { atMs, promptIds, outputTokens, tenant, priority } = this.source.take();
    this.counts.requests++;
    const owner: Client = { tenant, arrivedMs: atMs, firstMs: Number.NaN, lastMs: Number.NaN, tokens: 0 };
    const deadlineMs = this.nowMs + this.options.queueMsMax;
    const spec = { owner, promptIds, maxTokens: outputTokens, tenant, priority, deadlineMs };
    const submission = this.scheduler.submit([{ ...spec, scorePrompt: false, topCount: -1 }]);
    if (submission.kind === 'accepted') return;
    this.tell(owner, 'refused');
  }

  /** As many steps as may be in flight. */
  private launch(): void {
    const { scheduler, flights } = this;
    while (scheduler.canPlan) {
      for (const late of scheduler.overdue(this.nowMs)) this.end(late, 'timedOut');
      for (let sequence = scheduler.admitNext(); sequence !== null; sequence = scheduler.admitNext()) {
        sequence.slot = this.freeSlots.pop() as number;
      }
      const plan = scheduler.plan();
      if (plan === null) return;
      const behind = flights[flights.length - 1];
      // Behind another step the turn through JavaScript is hidden.
      const startMs = behind === undefined ? this.nowMs + this.options.turnMs : behind.endMs;
      const stepMs = this.options.cost.predictMs(plan.shape);
      flights.push({ plan, stepMs, endMs: startMs + stepMs });
      this.counts.steps++;
      this.tokens.prefillTokens += plan.prefillTokens;
    }
  }

  private complete(plan: StepPlan<Client>): void {
    this.scheduler.complete(plan, this.sampled);
    for (let i = 0; i < plan.slotCount; i++) {
      const sequence = plan.sequences[i] as Sequence<Client>;
      if ((plan.sampleRow[i] as number) < 0 || sequence.state === 'ended' || sequence.state === 'released') continue;
      this.deliver(sequence.owner);
      if (sequence.isComplete) this.end(sequence, 'completed');
    }
  }

  private deliver(client: Client): void {
    if (client.tokens === 0) {
      client.firstMs = this.nowMs;
      this.ttftMs.add(this.nowMs - client.arrivedMs);
    } else {
      this.itlMs.add(this.nowMs - client.lastMs);
    }
    client.lastMs = this.nowMs;
    client.tokens++;
    this.tokens.outputTokens++;
  }

  private end(sequence: Sequence<Client>, outcome: Served['outcome']): void {
    const { owner } = sequence;
    this.tokens.cachedTokens += sequence.cachedTokens;
    if (outcome === 'completed' && this.isGood(owner)) this.counts.good++;
    this.scheduler.end(sequence);
    this.tell(owner, outcome);
  }

  private isGood({ arrivedMs, firstMs, lastMs, tokens }: Client): boolean {
    const { goodTtftMs, goodItlMs } = this.options;
    return firstMs - arrivedMs <= goodTtftMs && lastMs - firstMs <= goodItlMs * (tokens - 1);
  }

  private tell(client: Client, outcome: Served['outcome']): void {
    this.counts[outcome]++;
    this.source.ended(this.nowMs, { outcome, ...client });
  }
}

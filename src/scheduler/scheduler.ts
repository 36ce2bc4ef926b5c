import { refuseSpec, WaitingLine } from './admission.js';
import { BlockPool } from './block-pool.js';
import { fillStep } from './policy.js';
import { Sequence } from './sequence.js';
import { StepPlan } from './step-plan.js';
import type { Refusal, SchedulerLimits, SeqId, SequenceSpec } from './types.js';

export type Submission<T> =
  | { readonly kind: 'accepted'; readonly sequences: readonly Sequence<T>[] }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/**
 * Decides what each step computes; knows nothing of time, text or the addon. Life of a sequence: `submit` → `admitNext`
 * → any number of `plan` / `complete` → `end`. At most two steps are in flight and they return in the order in which
 * they were planned; the second may refer to the token that the first one samples.
 */
export class Scheduler<T> {
  readonly limits: SchedulerLimits;
  readonly pool: BlockPool;
  readonly waiting: WaitingLine<T>;
  /** Sequences that hold a slot, in order of admission; ended ones stay until their last step has returned. */
  readonly running: Sequence<T>[] = [];
  private readonly plans: readonly [StepPlan<T>, StepPlan<T>];
  private readonly onRelease: (sequence: Sequence<T>) => void;
  private plannedSteps = 0;
  private returnedSteps = 0;
  private nextId = 0;

  /** `onRelease` is called once per admitted sequence, when no step uses its slot and blocks any more. */
  constructor(limits: SchedulerLimits, onRelease: (sequence: Sequence<T>) => void) {
    checkLimits(limits);
    this.limits = limits;
    this.onRelease = onRelease;
    this.pool = new BlockPool(limits.blockCount);
    this.waiting = new WaitingLine(limits);
    this.plans = [new StepPlan(limits), new StepPlan(limits)];
  }

  get stepsInFlight(): number {
    return this.plannedSteps - this.returnedSteps;
  }

  /** No sequence waits or holds anything. */
  get isIdle(): boolean {
    return this.running.length === 0 && this.waiting.length === 0;
  }

  /**
   * Queues all sequences of a request, or none. One with nothing to compute (no token wanted, no score) comes back
   * `released`. Prompts must not be empty.
   */
  submit(specs: readonly SequenceSpec<T>[]): Submission<T> {
    for (const spec of specs) {
      const refusal = refuseSpec(spec, this.limits);
      if (refusal !== null) return { kind: 'refused', refusal };
    }
    const { contextTokens, blockTokens, sequencesMax } = this.limits;
    const sequences = specs.map((spec) => new Sequence(this.nextId++ as SeqId, spec, contextTokens, blockTokens));
    const arrivals = sequences.filter((sequence) => sequence.computeLimit > 0);
    if (!this.waiting.hasRoomFor(arrivals, sequencesMax - this.running.length, this.pool.freeCount)) {
      return { kind: 'refused', refusal: { kind: 'queue_full', waiting: this.waiting.length } };
    }
    for (const sequence of sequences) if (sequence.computeLimit === 0) sequence.release();
    this.waiting.join(arrivals);
    return { kind: 'accepted', sequences };
  }

  /** Starts the first in line if it fits; the caller must set its `slot` before the next `plan`. */
  admitNext(): Sequence<T> | null {
    const sequence = this.waiting.admitHead(this.limits.sequencesMax - this.running.length, this.pool);
    if (sequence !== null) this.running.push(sequence);
    return sequence;
  }

  /** Whether another step may be put behind those in flight; says nothing about there being work. */
  get canPlan(): boolean {
    const inFlight = this.stepsInFlight;
    if (inFlight === 0) return true;
    return inFlight === 1 && this.planAt(this.plannedSteps - 1).tokenCount <= this.limits.lookAheadTokensMax;
  }

  /** The next step, to be submitted at once and before any other; null if there is nothing to do or no room for it. */
  plan(): StepPlan<T> | null {
    if (!this.canPlan) return null;
    const plan = this.planAt(this.plannedSteps);
    plan.clear();
    fillStep(plan, this.running, this.limits);
    if (plan.slotCount === 0) return null;
    this.plannedSteps++;
    return plan;
  }

  /**
   * The oldest step in flight has returned; `sampled` is `StepResult.tokens`. What it computed for sequences that have
   * ended meanwhile is dropped, and they are released if this was their last step.
   */
  complete(plan: StepPlan<T>, sampled: Int32Array): void {
    this.takeReturned(plan);
    for (let i = 0; i < plan.slotCount; i++) {
      const sequence = this.takeBack(plan, i);
      const row = plan.sampleRow[i] as number;
      if (sequence.state === 'running') {
        if (row >= 0) sequence.tokens[sequence.known++] = sampled[row] as number;
      } else if (sequence.inFlight === 0) {
        this.release(sequence);
      }
    }
  }

  /** The oldest step in flight failed: ends the sequences in it and returns those that this ended. */
  fail(plan: StepPlan<T>): readonly Sequence<T>[] {
    this.takeReturned(plan);
    const ended: Sequence<T>[] = [];
    for (let i = 0; i < plan.slotCount; i++) {
      const sequence = this.takeBack(plan, i);
      if (this.end(sequence)) ended.push(sequence);
      else if (sequence.inFlight === 0) this.release(sequence);
    }
    return ended;
  }

  /** Ends a sequence in any state; false if it had ended before. What steps in flight use is kept till they return. */
  end(sequence: Sequence<T>): boolean {
    switch (sequence.state) {
      case 'waiting':
        this.waiting.leave(sequence);
        sequence.release();
        return true;
      case 'running':
        if (sequence.inFlight === 0) this.release(sequence);
        else sequence.state = 'ended';
        return true;
      case 'ended':
      case 'released':
        return false;
      default:
        return sequence.state satisfies never;
    }
  }

  /** Steps in flight, oldest first. For checks. */
  plansInFlight(): readonly StepPlan<T>[] {
    const plans: StepPlan<T>[] = [];
    for (let step = this.returnedSteps; step < this.plannedSteps; step++) plans.push(this.planAt(step));
    return plans;
  }

  private planAt(step: number): StepPlan<T> {
    return this.plans[step % 2 === 0 ? 0 : 1];
  }

  private takeReturned(plan: StepPlan<T>): void {
    if (this.stepsInFlight === 0 || plan !== this.planAt(this.returnedSteps)) {
      throw new Error('a step was completed that is not the oldest in flight');
    }
    this.returnedSteps++;
  }

  private takeBack(plan: StepPlan<T>, index: number): Sequence<T> {
    const sequence = plan.sequences[index] as Sequence<T>;
    sequence.inFlight--;
    sequence.computed += (plan.seqStart[index + 1] as number) - (plan.seqStart[index] as number);
    if ((plan.sampleRow[index] as number) >= 0) sequence.pending--;
    return sequence;
  }

  private release(sequence: Sequence<T>): void {
    this.running.splice(this.running.indexOf(sequence), 1);
    this.pool.release(sequence.blocks);
    sequence.release();
    this.onRelease(sequence);
  }
}

function checkLimits(limits: SchedulerLimits): void {
  const { sequencesMax, stepTokensMax, stepRowsMax } = limits;
  if (sequencesMax < 1 || sequencesMax > stepTokensMax || sequencesMax > stepRowsMax) {
    throw new RangeError(
      `sequencesMax ${sequencesMax} must be at least 1 and at most the step's ${stepTokensMax} tokens and ${stepRowsMax} rows`,
    );
  }
}

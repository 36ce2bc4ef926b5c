import type { ROW_WITHOUT_MASK as WithoutMask } from '../native/contract.js';
import { Room, refuseSpec } from './admission.js';
import { FairShare, sampledTokenWeight } from './fair-share.js';
import { KvBlocks } from './kv-blocks.js';
import { fillStep, type PolicyState } from './policy.js';
import { Sequence } from './sequence.js';
import { waitsForTokens } from './speculation.js';
import { StepCost } from './step-cost.js';
import { StepPlan } from './step-plan.js';
import type { Refusal, SchedulerLimits, SeqId, SequenceSpec } from './types.js';
import { WaitingLine } from './waiting-line.js';

// The literal type makes the compiler compare it with the contract, without importing a value from it.
const rowWithoutMask: typeof WithoutMask = 2;

export type Submission<T> =
  | { readonly kind: 'accepted'; readonly sequences: readonly Sequence<T>[] }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/**
 * Decides what each step computes; knows nothing of text or the addon, and of time only what it is told. Life of a
 * sequence: `submit` → `admitNext` → any number of `plan` / `complete` → `end`; a preemption leads back to the waiting
 * line. At most two steps are in flight and they return in the order in which they were planned; the second may refer
 * to the token that the first one samples.
 */
export class Scheduler<T> {
  readonly limits: SchedulerLimits;
  readonly kv: KvBlocks<T>;
  readonly waiting = new WaitingLine<T>();
  /** Learns from the steps that the caller measures. */
  readonly cost = new StepCost();
  /** Sequences that hold a slot, in order of rank; ended and preempted ones stay until their last step has returned. */
  readonly running: Sequence<T>[] = [];
  /** Sequences that had to give their blocks back, so far. */
  preemptions = 0;
  /** Guessed tokens that steps have computed, how many of them were right, and how many times there were any. */
  readonly speculation = { drafts: 0, draftTokens: 0, acceptedTokens: 0 };
  private readonly shares = new FairShare();
  private readonly plans: readonly [StepPlan<T>, StepPlan<T>];
  private readonly policyState: PolicyState<T>;
  private readonly onSlotFree: (sequence: Sequence<T>) => void;
  private plannedSteps = 0;
  private returnedSteps = 0;
  private nextId = 0;
  /** A step could have been planned behind the one in flight, but for the tokens that it samples. */
  private hasWaited = false;

  /** `onSlotFree` is called when no step uses the slot of an ended or preempted sequence any more. */
  constructor(limits: SchedulerLimits, onSlotFree: (sequence: Sequence<T>) => void) {
    checkLimits(limits);
    this.limits = limits;
    this.onSlotFree = onSlotFree;
    this.kv = new KvBlocks(limits);
    this.plans = [new StepPlan(limits), new StepPlan(limits)];
    const { running, kv, cost } = this;
    this.policyState = { running, limits, kv, cost, preempt: (victim) => this.preempt(victim) };
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
      const refusal = refuseSpec(spec, this.limits, this.kv.pinned);
      if (refusal !== null) return { kind: 'refused', refusal };
    }
    const sequences = specs.map(
      (spec) => new Sequence(this.nextId++ as SeqId, spec, this.shares.open(spec.tenant), this.limits),
    );
    const arrivals = sequences.filter((sequence) => sequence.computeLimit > 0);
    if (!this.hasRoomFor(arrivals)) {
      for (const sequence of sequences) this.shares.close(sequence.account);
      return { kind: 'refused', refusal: { kind: 'queue_full', waiting: this.waiting.length } };
    }
    for (const sequence of sequences) {
      if (sequence.computeLimit > 0) this.waiting.join(sequence);
      else this.forget(sequence);
    }
    return { kind: 'accepted', sequences };
  }

  /** Starts the first in line if it fits; the caller must set its `slot` before the next `plan`. */
  admitNext(): Sequence<T> | null {
    const sequence = this.waiting.first();
    if (sequence === null || !new Room(this.running, this.kv, this.limits).take(sequence)) return null;
    this.waiting.leave(sequence);
    sequence.admit();
    this.insertByRank(sequence);
    this.kv.share(sequence);
    // What is computed twice is the machine's doing, not the tenant's.
    const tokens = sequence.preemptions === 0 ? sequence.promptTokens - sequence.planned : 0;
    this.shares.admit(sequence.account, tokens);
    return sequence;
  }

  /** Sequences that have waited past their deadline; the caller ends them. */
  overdue(nowMs: number): readonly Sequence<T>[] {
    return this.waiting.length === 0 ? [] : this.waiting.overdue(nowMs);
  }

  /** Whether another step may be put behind those in flight; says nothing about there being work. */
  get canPlan(): boolean {
    const inFlight = this.stepsInFlight;
    if (inFlight === 0) return true;
    return inFlight === 1 && this.planAt(this.plannedSteps - 1).tokenCount <= this.limits.lookAheadTokensMax;
  }

  /**
   * The next step, to be submitted at once and before any other; null if there is nothing to do, no room for it, or
   * what the step in flight samples has to be known first.
   */
  plan(): StepPlan<T> | null {
    if (!this.canPlan) return null;
    if (this.stepsInFlight > 0 && waitsForTokens(this.running, this.cost)) {
      this.hasWaited = true;
      return null;
    }
    const plan = this.planAt(this.plannedSteps);
    plan.clear(this.hasWaited);
    this.hasWaited = false;
    fillStep(plan, this.policyState);
    if (plan.slotCount === 0) return null;
    this.plannedSteps++;
    return plan;
  }

  /**
   * The oldest step in flight has returned; `sampled` is `StepResult.tokens`. What it computed for sequences that have
   * ended meanwhile is dropped. Those that gave their blocks back meanwhile keep the token that it sampled. Where
   * nothing was sampled for want of a mask (`failed` is ROW_WITHOUT_MASK) the sequence is blocked until `unblock`, and
   * then computes its last token again (which writes the same bits to the same place, be it in a shared block); what a
   * step behind it computed, on a token that there isn't, is dropped.
   */
  complete(plan: StepPlan<T>, sampled: Int32Array, failed: Uint8Array | null = null): void {
    this.takeReturned(plan);
    for (let i = 0; i < plan.slotCount; i++) {
      const sequence = this.takeBack(plan, i, plan.settle(i, sampled));
      const row = plan.sampleRow[i] as number;
      if (row >= 0 && failed?.[row] === rowWithoutMask) {
        sequence.isBlocked = true;
        sequence.isRepeating = true;
        if (sequence.inFlight === 0) sequence.planned = sequence.repeatFrom;
      } else if (row >= 0 && (sequence.state === 'running' || sequence.state === 'preempted')) {
        sequence.isRepeating = false;
        this.takeSampled(sequence, plan, i, sampled);
      }
      if (sequence.state === 'running') this.kv.publish(sequence);
      else if (sequence.inFlight === 0) this.freeSlot(sequence);
    }
  }

  /** The next token can be sampled now. Returns false while steps in flight still refer to the one that is missing. */
  unblock(sequence: Sequence<T>): boolean {
    if (sequence.inFlight > 0) return false;
    sequence.isBlocked = false;
    return true;
  }

  /** The oldest step in flight failed: ends the sequences in it and returns those that this ended. */
  fail(plan: StepPlan<T>): readonly Sequence<T>[] {
    this.takeReturned(plan);
    const ended: Sequence<T>[] = [];
    for (let i = 0; i < plan.slotCount; i++) {
      const sequence = this.takeBack(plan, i, 0);
      if (this.end(sequence)) ended.push(sequence);
      else if (sequence.inFlight === 0) this.freeSlot(sequence);
    }
    return ended;
  }

  /** Ends a sequence in any state; false if it had ended before. Its slot is kept till steps in flight return. */
  end(sequence: Sequence<T>): boolean {
    switch (sequence.state) {
      case 'waiting':
        this.waiting.leave(sequence);
        this.forget(sequence);
        return true;
      case 'running':
      case 'preempted':
        this.kv.free(sequence);
        sequence.state = 'ended';
        if (sequence.inFlight === 0) this.freeSlot(sequence);
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

  /** Whether arrivals may join the line; those that start at once don't wait, but nobody starts before the line. */
  private hasRoomFor(arrivals: readonly Sequence<T>[]): boolean {
    let starting = 0;
    let tokens = this.waiting.tokens;
    if (this.waiting.length === 0) {
      const room = new Room(this.running, this.kv, this.limits);
      while (starting < arrivals.length && room.take(arrivals[starting] as Sequence<T>)) starting++;
    }
    for (let i = starting; i < arrivals.length; i++) tokens += (arrivals[i] as Sequence<T>).promptTokens;
    if (starting === arrivals.length) return true;
    const { waitingMax, waitingTokensMax } = this.limits;
    return this.waiting.length + arrivals.length - starting <= waitingMax && tokens <= waitingTokensMax;
  }

  private preempt(sequence: Sequence<T>): void {
    this.preemptions++;
    sequence.preemptions++;
    this.kv.free(sequence);
    sequence.state = 'preempted';
    if (sequence.inFlight === 0) this.freeSlot(sequence);
  }

  /** The last step of an ended or preempted sequence has returned. */
  private freeSlot(sequence: Sequence<T>): void {
    this.running.splice(this.running.indexOf(sequence), 1);
    const resumes = sequence.state === 'preempted';
    if (!resumes) this.forget(sequence);
    this.onSlotFree(sequence);
    if (!resumes) return;
    sequence.restart();
    this.waiting.join(sequence);
  }

  private forget(sequence: Sequence<T>): void {
    sequence.release();
    this.shares.close(sequence.account);
  }

  private insertByRank(sequence: Sequence<T>): void {
    let at = this.running.length;
    while (at > 0 && ranksBefore(sequence, this.running[at - 1] as Sequence<T>)) at--;
    this.running.splice(at, 0, sequence);
  }

  private takeSampled(sequence: Sequence<T>, plan: StepPlan<T>, index: number, sampled: Int32Array): void {
    const first = plan.sampleRow[index] as number;
    const count = plan.sampleCount[index] as number;
    for (let row = first; row < first + count; row++) sequence.append(sampled[row] as number);
    sequence.account.served += count * sampledTokenWeight;
    sequence.drafter?.update(sequence.tokens, sequence.known);
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

  /** The last `wrong` of its tokens in the step were guessed and turned out differently. */
  private takeBack(plan: StepPlan<T>, index: number, wrong: number): Sequence<T> {
    const sequence = plan.sequences[index] as Sequence<T>;
    sequence.inFlight--;
    const count = (plan.seqStart[index + 1] as number) - (plan.seqStart[index] as number);
    if (!sequence.isRepeating) sequence.computed += count - wrong;
    sequence.planned -= wrong;
    if (sequence.drafted > 0) {
      this.speculation.drafts++;
      this.speculation.draftTokens += sequence.drafted;
      this.speculation.acceptedTokens += sequence.drafted - wrong;
      sequence.drafted = 0;
    }
    if ((plan.sampleRow[index] as number) >= 0) sequence.pending--;
    return sequence;
  }
}

function ranksBefore<T>(a: Sequence<T>, b: Sequence<T>): boolean {
  return a.priority === b.priority ? a.id < b.id : a.priority < b.priority;
}

function checkLimits(limits: SchedulerLimits): void {
  const { sequencesMax, stepTokensMax, stepRowsMax } = limits;
  if (sequencesMax < 1 || sequencesMax > stepTokensMax || sequencesMax > stepRowsMax) {
    throw new RangeError(
      `sequencesMax ${sequencesMax} must be at least 1 and at most the step's ${stepTokensMax} tokens and ${stepRowsMax} rows`,
    );
  }
}

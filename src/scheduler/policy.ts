import type { KvBlocks } from './kv-blocks.js';
import type { Sequence } from './sequence.js';
import { draftCount, tokenWorthMs } from './speculation.js';
import type { StepCost } from './step-cost.js';
import type { StepPlan } from './step-plan.js';
import type { SchedulerLimits } from './types.js';

/** What the policy works on. `running` is in order of rank: priority, then arrival. */
export type PolicyState<T> = {
  readonly running: readonly Sequence<T>[];
  readonly limits: SchedulerLimits;
  readonly kv: KvBlocks<T>;
  readonly cost: StepCost;
  /** Takes blocks and turn from a sequence, which may leave `running` by that. */
  readonly preempt: (victim: Sequence<T>) => void;
};

/**
 * Fills an empty plan: first one token for every sequence that decodes, so that a long prompt never holds up a running
 * answer, and what it is worth guessing behind it; then prompts in order of rank, each as much as fits, in chunks.
 *
 * Nobody starves: a decode always fits, since `sequencesMax` is at most the token and the row budget and guesses take
 * only what is beyond it; for the same reason at least one token and one row are left for the first prompt. When blocks
 * run out, a sequence takes them from the last in rank behind itself, or else pauses for this step and keeps what it
 * has. So the first in rank always goes on, and ends.
 */
export function fillStep<T>(plan: StepPlan<T>, state: PolicyState<T>): void {
  const { running, limits } = state;
  const worthMs = tokenWorthMs(running, state.cost);
  let spare = Math.min(limits.stepTokensMax, limits.stepRowsMax) - limits.sequencesMax - windowTokensAhead(running);
  let prefilling = 0;
  for (let i = 0; i < running.length; i++) {
    const sequence = running[i] as Sequence<T>;
    if (sequence.state !== 'running') continue;
    if (!sequence.isDecoding) prefilling++;
    else if (sequence.plannable > 0 && reserveFewest(plan, i, state)) {
      const drafts = worthMs === 0 ? 0 : draftedTokens(sequence, worthMs, spare, state);
      plan.add(sequence, 1 + drafts, drafts);
      spare -= drafts;
    }
  }
  for (let i = 0; i < running.length && prefilling > 0; i++) {
    const sequence = running[i] as Sequence<T>;
    if (sequence.state !== 'running' || sequence.isDecoding) continue;
    prefilling--;
    // What another sequence is just computing is worth the wait of a step.
    if (state.kv.share(sequence) === 'pending') continue;
    const count = prefillCount(plan, i, state);
    if (count === 0) continue;
    plan.add(sequence, count);
    state.kv.announce(sequence);
  }
}

/** Tokens that a pruned prompt must find room for in a step, or it would never go on; 0 if there is none. */
function windowTokensAhead<T>(running: readonly Sequence<T>[]): number {
  let tokens = 0;
  for (const { state, planned, windowsEnd, windowTokens } of running) {
    if (state === 'running' && planned < windowsEnd) tokens = Math.max(tokens, windowTokens);
  }
  return tokens;
}

/** How many guesses go with a token that decodes; they take what blocks there are, and nobody's. */
function draftedTokens<T>(sequence: Sequence<T>, worthMs: number, spare: number, { cost, kv, limits }: PolicyState<T>) {
  if (sequence.pending > 0) return 0;
  const count = draftCount(sequence, worthMs, cost, spare);
  if (count === 0 || kv.reserve(sequence, sequence.planned + 1 + count)) return count;
  return sequence.blockCount * limits.blockTokens - sequence.planned - 1;
}

/** Prompt tokens that a step takes however long it gets: less would cost more in weights read than it gives in time. */
const chunkTokensMin = 16;

/** How many tokens of a prompt may join without holding up those that decode beyond the target. */
function timelyTokens<T>(plan: StepPlan<T>, sequence: Sequence<T>, { limits, cost }: PolicyState<T>): number {
  if (plan.decodeTokens === 0 || limits.itlTargetMs === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
  const timely = cost.tokensWithin(limits.itlTargetMs, plan.shape, sequence.planned);
  return Math.max(timely, Math.max(chunkTokensMin, sequence.fewestTokens) - plan.prefillTokens);
}

/** How many prompt tokens fit: scoring needs a row for each, anything else one row at the prompt's end only. */
function prefillCount<T>(plan: StepPlan<T>, at: number, state: PolicyState<T>): number {
  const { limits, kv } = state;
  const sequence = state.running[at] as Sequence<T>;
  const rowsLeft = limits.stepRowsMax - plan.rowCount;
  const budget = Math.min(limits.stepTokensMax - plan.tokenCount, timelyTokens(plan, sequence, state));
  let count = Math.min(sequence.plannable, budget);
  if (sequence.scorePrompt) count = Math.min(count, rowsLeft);
  else if (rowsLeft === 0 && sequence.planned + count >= sequence.prefillTokens) count--;
  count = sequence.wholeTokens(Math.max(0, count));
  if (count === 0 || kv.reserve(sequence, sequence.planned + count)) return count;
  const held = sequence.wholeTokens(sequence.blockCount * limits.blockTokens - sequence.planned);
  if (held > 0) return Math.min(count, held);
  return reserveFewest(plan, at, state) ? sequence.fewestTokens : 0;
}

/** Blocks for the next tokens of the sequence in place `at`, if need be from others; false if there are none. */
function reserveFewest<T>(plan: StepPlan<T>, at: number, { running, kv, preempt }: PolicyState<T>): boolean {
  const sequence = running[at] as Sequence<T>;
  while (!kv.reserve(sequence, sequence.planned + sequence.fewestTokens)) {
    let victim: Sequence<T> | null = null;
    for (let i = running.length - 1; i > at && victim === null; i--) {
      const other = running[i] as Sequence<T>;
      const canGive = other.state === 'running' && other.blockCount > 0 && !other.isFinishing;
      if (canGive && !plan.sequences.includes(other)) victim = other;
    }
    if (victim === null) return false;
    preempt(victim);
  }
  return true;
}

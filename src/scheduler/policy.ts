import type { Sequence } from './sequence.js';
import type { StepPlan } from './step-plan.js';
import type { SchedulerLimits } from './types.js';

/**
 * Fills an empty plan: first one token for every sequence that decodes, so that a long prompt never holds up a running
 * answer; then prompts in order of admission, each as much as fits, in chunks.
 *
 * Nobody starves: a decode always fits, since `sequencesMax` is at most the token and the row budget; for the same
 * reason at least one token and one row are left for the oldest prompt, which therefore advances in every step.
 */
export function fillStep<T>(plan: StepPlan<T>, running: readonly Sequence<T>[], limits: SchedulerLimits): void {
  let prefilling = 0;
  for (let i = 0; i < running.length; i++) {
    const sequence = running[i] as Sequence<T>;
    if (sequence.state !== 'running') continue;
    if (!sequence.isDecoding) prefilling++;
    else if (sequence.plannable > 0) plan.add(sequence, 1);
  }
  for (let i = 0; i < running.length && prefilling > 0; i++) {
    const sequence = running[i] as Sequence<T>;
    if (sequence.state !== 'running' || sequence.isDecoding) continue;
    prefilling--;
    const count = prefillCount(sequence, limits.stepTokensMax - plan.tokenCount, limits.stepRowsMax - plan.rowCount);
    if (count > 0) plan.add(sequence, count);
  }
}

/** How many prompt tokens fit: scoring needs a row for each, anything else one row at the prompt's end only. */
function prefillCount<T>(sequence: Sequence<T>, tokensLeft: number, rowsLeft: number): number {
  const count = Math.min(sequence.plannable, tokensLeft);
  if (sequence.scorePrompt) return Math.min(count, rowsLeft);
  const reachesEnd = sequence.planned + count >= sequence.promptTokens;
  return reachesEnd && rowsLeft === 0 ? count - 1 : count;
}

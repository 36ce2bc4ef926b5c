import type { Sequence } from './sequence.js';
import type { StepCost } from './step-cost.js';

/** With the token before them, as many columns as the matrix kernels take at once. */
const draftsMax = 7;

/**
 * What one sampled token is worth: its share of a step in which every sequence decodes one. 0 if no guess pays: all
 * that are computed together must be worth the turn for which the step after them has to wait.
 */
export function tokenWorthMs<T>(running: readonly Sequence<T>[], cost: StepCost): number {
  let tokens = 0;
  let positions = 0;
  let isGuessing = false;
  for (const { state, isDecoding, known, drafter } of running) {
    if (state !== 'running' || !isDecoding) continue;
    tokens++;
    positions += known;
    isGuessing ||= drafter !== null && drafter.likelihood(0) > 0;
  }
  if (!isGuessing) return 0;
  const shape = { tokens, rows: tokens, prefillPositions: 0, decodePositions: positions };
  const worthMs = cost.predictMs(shape) / tokens;
  let gainMs = 0;
  for (const sequence of running) {
    if (sequence.state === 'running' && sequence.isDecoding) gainMs += draftGainMs(sequence, worthMs, cost);
  }
  return gainMs > cost.turnMs ? worthMs : 0;
}

/**
 * How many guesses to compute with the next token of a sequence, `spare` at most: as long as what a right one is worth
 * is more than computing it costs, by what its chance is.
 */
export function draftCount<T>(sequence: Sequence<T>, worthMs: number, cost: StepCost, spare: number): number {
  const { drafter, known, pending, computeLimit } = sequence;
  if (drafter === null || worthMs === 0) return 0;
  const limit = Math.min(draftsMax, spare, computeLimit - known - pending);
  const costMs = cost.decodeMs(known);
  let count = 0;
  // A token that a step in flight is to sample has to be as guessed, too.
  while (count < limit && drafter.likelihood(pending + count) * worthMs > costMs) count++;
  return count;
}

/** What the guesses of `draftCount` gain on average. */
function draftGainMs<T>(sequence: Sequence<T>, worthMs: number, cost: StepCost): number {
  const { drafter, known, pending } = sequence;
  const count = draftCount(sequence, worthMs, cost, draftsMax);
  let gainMs = -count * cost.decodeMs(known);
  for (let i = 0; i < count && drafter !== null; i++) gainMs += drafter.likelihood(pending + i) * worthMs;
  return gainMs;
}

/**
 * Whether the next step has to wait for the one in flight: for how many of its guesses were right, or because guesses
 * behind the token that it samples are worth more than an early start.
 */
export function waitsForTokens<T>(running: readonly Sequence<T>[], cost: StepCost): boolean {
  const worthMs = tokenWorthMs(running, cost);
  for (const sequence of running) {
    if (sequence.drafted > 0) return true;
    if (sequence.pending > 0 && sequence.state === 'running' && draftCount(sequence, worthMs, cost, draftsMax) > 0) {
      return true;
    }
  }
  return false;
}

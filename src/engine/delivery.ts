import { ROW_WITHOUT_MASK, type StepResult } from '../native/contract.js';
import type { Sequence } from '../scheduler/sequence.js';
import type { StepPlan } from '../scheduler/step-plan.js';
import type { LiveSequence } from './live-sequence.js';
import type { EngineObserver, TokenLogprob } from './types.js';

export type Verdict = 'continue' | 'stop' | 'length' | 'not_finite';

/** Takes what a returned step holds for the sequence in place `index`, and says whether this ends it. */
export function deliver(
  plan: StepPlan<LiveSequence>,
  index: number,
  result: StepResult,
  endIds: ReadonlySet<number>,
  observer: EngineObserver,
  nowMs: number,
): Verdict {
  const sequence = plan.sequences[index] as Sequence<LiveSequence>;
  const live = sequence.owner;
  const sampleCount = plan.sampleCount[index] as number;
  const sampleRow = sampleCount > 0 ? (plan.sampleRow[index] as number) : (plan.rowStart[index + 1] as number);
  for (let row = plan.rowStart[index] as number; row < sampleRow; row++) {
    if (result.failed[row] !== 0) return 'not_finite';
    live.addScore(readLogprob(result, row, plan.topCount, live.topCount));
  }
  live.sendScores();
  for (let row = sampleRow; row < sampleRow + sampleCount; row++) {
    if (result.failed[row] === ROW_WITHOUT_MASK) return 'continue';
    if (result.failed[row] !== 0) return 'not_finite';
    const token = result.tokens[row] as number;
    const interTokenSeconds = live.countToken(token, nowMs);
    observer.onToken?.({ interTokenSeconds });
    const logprob = live.request.logprobs === null ? null : readLogprob(result, row, plan.topCount, live.topCount);
    if (deliverToken(live, token, logprob, endIds)) return 'stop';
    if (!sequence.isComplete) live.matcher?.accept(token);
  }
  return sequence.isComplete ? 'length' : 'continue';
}

/** Returns whether the token ends the sequence. */
function deliverToken(
  live: LiveSequence,
  token: number,
  logprob: TokenLogprob | null,
  endIds: ReadonlySet<number>,
): boolean {
  const { ignoreEos, stopIds, includeStop, minTokens = 0 } = live.request;
  const isStop = stopIds?.has(token) === true && live.completionTokens > minTokens;
  if (!isStop && (ignoreEos || !endIds.has(token))) return live.output?.push(token, logprob) === true;
  // It counts as a completion token, so it has its entry among the log-probabilities; evaluation harnesses rely on it.
  if (isStop && includeStop === true) live.output?.push(token, logprob);
  else live.output?.pushEnd(token, logprob);
  return true;
}

/** `stepTop` alternatives a row are in the result; this sequence asked for the first `topCount` of them. */
function readLogprob(result: StepResult, row: number, stepTop: number, topCount: number): TokenLogprob {
  const top: { readonly tokenId: number; readonly logprob: number }[] = [];
  for (let i = row * stepTop; i < row * stepTop + topCount; i++) {
    top.push({ tokenId: result.topIds[i] as number, logprob: result.topLogprobs[i] as number });
  }
  return { tokenId: result.tokens[row] as number, logprob: result.logprobs[row] as number, top };
}

import type { CostAccount } from '../cost/attribution.js';
import type { StepWork } from '../metering/energy-monitor.js';
import type { StepPlan } from '../scheduler/step-plan.js';
import type { LiveSequence } from './live-sequence.js';
import { prunedWork } from './pruning.js';

const noAccounts: readonly CostAccount[] = [];

/** What each sequence had a step compute. A token of the prompt is prefill, one behind it is decode. */
export function stepParts(plan: StepPlan<LiveSequence>): readonly StepWork[] {
  const [stage] = plan.stages;
  const between = (offsets: Int32Array, i: number) => (offsets[i + 1] ?? 0) - (offsets[i] ?? 0);
  return plan.sequences.slice(0, plan.slotCount).map((sequence, i) => {
    const cachedTokens = stage.cachedTokens[i] ?? 0;
    const tokens = between(plan.seqStart, i);
    const { accounts = noAccounts, pruning } = sequence.owner.request;
    return {
      accounts,
      phase: cachedTokens < sequence.promptTokens ? 'prefill' : 'decode',
      tokens,
      rows: between(plan.rowStart, i),
      cachedTokens,
      ...(pruning === undefined ? {} : { pruned: prunedWork(pruning, sequence.promptTokens, cachedTokens, tokens) }),
    };
  });
}

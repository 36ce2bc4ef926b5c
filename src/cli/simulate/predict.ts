/** One simulated run, and its figures as they are printed. */
import type { LogHistogram } from '../../scheduler/log-histogram.js';
import { type ArrivalSource, Simulation, type SimulationResult } from '../../scheduler/simulation.js';
import { type CostParameters, StepCost } from '../../scheduler/step-cost.js';
import { significant } from '../bench/statistics.js';
import { limitsOf, type Policy } from './policy.js';

/** Measured with the default model: from a step's return to the next step's start, if none was in flight. */
const turnMs = 0.3;

export type Conditions = { readonly cost: CostParameters; readonly contextTokens: number; readonly goodTtftMs: number };

/** What requests of `source` would get. A request is good if its first token is timely and its others keep the pace. */
export function predict(source: ArrivalSource, policy: Policy, conditions: Conditions): SimulationResult {
  const { cost, contextTokens, goodTtftMs } = conditions;
  return new Simulation(source, {
    limits: limitsOf(policy, contextTokens),
    cost: new StepCost(cost),
    queueMsMax: policy.queueSeconds * 1000,
    turnMs,
    goodTtftMs,
    goodItlMs: policy.itlTarget,
  }).run();
}

export type Ranks = { readonly mean: number; readonly p50: number; readonly p95: number; readonly p99: number };

/** NaN, null in JSON, where nothing was counted. */
function ranks(histogram: LogHistogram): Ranks {
  const at = (q: number) => significant(histogram.quantile(q), 3);
  return { mean: significant(histogram.mean, 3), p50: at(0.5), p95: at(0.95), p99: at(0.99) };
}

/** Counts, rates per second and ranks, rounded. */
export function summarize({ ttftMs, itlMs, seconds, ...counts }: SimulationResult) {
  const outputTokensPerS = significant(counts.outputTokens / seconds);
  const goodPerS = significant(counts.good / seconds);
  const times = { ttftMs: ranks(ttftMs), itlMs: ranks(itlMs) };
  return { ...counts, seconds: significant(seconds), outputTokensPerS, goodPerS, ...times };
}

/** What a plan says once: costs, break-even, what they depend on, and what chance may do. Pure and repeatable. */
import { Random } from '../../random.js';
import { breakEvenMonth, evaluate, type Outcome } from './costs.js';
import type { Scenario } from './scenario.js';
import { settle, settleLikely, triangular, type Uncertainty, uncertaintiesOf } from './uncertain.js';

/** What a choice saves a month, if one figure alone is at its low or high end. */
export type Swing = Uncertainty & { readonly atLow: number; readonly atHigh: number };

/** What came out of draws of all ranges at once. */
export type Chances = {
  /** 5th, 50th and 95th percentile of the cost of a month. */
  readonly perMonth: readonly [number, number, number];
  /** Shares of the draws: it meets the targets; it is the cheapest of those that do; it saves; it pays off in time. */
  readonly meets: number;
  readonly cheapest: number;
  readonly saves: number;
  readonly breaksEven: number;
  /** Savings a month, draws within each of equal steps from the least to the most. */
  readonly savings: { readonly from: number; readonly to: number; readonly counts: readonly number[] };
};

export type Analyzed = Outcome & {
  readonly isBaseline: boolean;
  /** Against the baseline; negative: it costs more. */
  readonly savesPerMonth: number;
  readonly breakEvenMonth: number | null;
  readonly swings: readonly Swing[];
  readonly chances: Chances;
};

export type Analysis = {
  readonly outcomes: readonly Analyzed[];
  /** Of those that meet the targets the one with the least cost; null if none does. */
  readonly best: string | null;
  readonly draws: number;
  readonly seed: number;
};

const BINS = 24;

const cheapestOf = (outcomes: readonly Outcome[]): Outcome | null =>
  outcomes
    .filter(({ misses }) => misses.length === 0)
    .reduce<Outcome | null>((best, one) => (best === null || one.perMonth < best.perMonth ? one : best), null);

function savingsOf(outcomes: readonly Outcome[], baseline: string): number[] {
  const cost = outcomes.find(({ name }) => name === baseline)?.perMonth ?? Number.NaN;
  return outcomes.map(({ perMonth }) => cost - perMonth);
}

/** For each choice the figures that move its saving, the strongest first. */
function swingsOf(scenario: Scenario, choices: number): Swing[][] {
  const swings: Swing[][] = Array.from({ length: choices }, () => []);
  for (const { path, range } of uncertaintiesOf(scenario)) {
    const savings = (end: 'low' | 'high') => {
      const one = settle(scenario, (each, at) => (at === path ? each[end] : each.likely));
      return savingsOf(evaluate(one), scenario.baseline);
    };
    const [low, high] = [savings('low'), savings('high')];
    for (const [i, list] of swings.entries()) {
      const [atLow = 0, atHigh = 0] = [low[i], high[i]];
      if (atLow !== atHigh) list.push({ path, range, atLow, atHigh });
    }
  }
  const strength = ({ atLow, atHigh }: Swing) => Math.abs(atHigh - atLow);
  return swings.map((list) => list.sort((a, b) => strength(b) - strength(a)));
}

/** Between two ranks in proportion, as the field does (Hyndman and Fan's type 7). */
function quantile(sorted: Float64Array, q: number): number {
  const at = q * (sorted.length - 1);
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  return low + ((sorted[Math.ceil(at)] ?? Number.NaN) - low) * (at - Math.floor(at));
}

function histogram(values: Float64Array): Chances['savings'] {
  const sorted = values.slice().sort();
  const [from, to] = [sorted[0] ?? 0, sorted.at(-1) ?? 0];
  const counts = new Array<number>(BINS).fill(0);
  for (const value of values) {
    const bin = to > from ? Math.min(BINS - 1, Math.floor(((value - from) / (to - from)) * BINS)) : 0;
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  return { from, to, counts };
}

/** Counts over the draws, of one choice. */
class Tally {
  readonly costs: Float64Array;
  readonly savings: Float64Array;
  meets = 0;
  cheapest = 0;
  saves = 0;
  breaksEven = 0;

  constructor(draws: number) {
    this.costs = new Float64Array(draws);
    this.savings = new Float64Array(draws);
  }

  chances(): Chances {
    const { length } = this.costs;
    const sorted = this.costs.slice().sort();
    return {
      perMonth: [quantile(sorted, 0.05), quantile(sorted, 0.5), quantile(sorted, 0.95)],
      meets: this.meets / length,
      cheapest: this.cheapest / length,
      saves: this.saves / length,
      breaksEven: this.breaksEven / length,
      savings: histogram(this.savings),
    };
  }
}

/** Ranges are independent of each other; all choices see the same draws. */
function chancesOf(scenario: Scenario, choices: number, draws: number, seed: number): Chances[] {
  const random = new Random(seed);
  const tallies = Array.from({ length: choices }, () => new Tally(draws));
  for (let draw = 0; draw < draws; ++draw) {
    const outcomes = evaluate(settle(scenario, (range) => triangular(range, random.uniform())));
    const baseline = outcomes.find(({ name }) => name === scenario.baseline);
    const savings = savingsOf(outcomes, scenario.baseline);
    const cheapest = cheapestOf(outcomes);
    for (const [i, outcome] of outcomes.entries()) {
      const tally = tallies[i];
      if (tally === undefined) continue;
      const saving = savings[i] ?? Number.NaN;
      tally.costs[draw] = outcome.perMonth;
      tally.savings[draw] = saving;
      if (outcome.misses.length === 0) tally.meets += 1;
      if (outcome === cheapest) tally.cheapest += 1;
      if (saving > 0) tally.saves += 1;
      if (outcome !== baseline && breakEvenMonth(outcome.paid, baseline?.paid ?? []) !== null) tally.breaksEven += 1;
    }
  }
  return tallies.map((tally) => tally.chances());
}

/** The whole plan. `scenario.baseline` must name one of its choices. */
export function analyze(scenario: Scenario, draws: number, seed: number): Analysis {
  const outcomes = evaluate(settleLikely(scenario));
  const baseline = outcomes.find(({ name }) => name === scenario.baseline);
  const savings = savingsOf(outcomes, scenario.baseline);
  const swings = swingsOf(scenario, outcomes.length);
  const chances = chancesOf(scenario, outcomes.length, draws, seed);
  const analyzed = outcomes.flatMap((outcome, i): Analyzed[] => {
    const own = chances[i];
    if (own === undefined) return [];
    const isBaseline = outcome === baseline;
    const month = isBaseline ? null : breakEvenMonth(outcome.paid, baseline?.paid ?? []);
    const savesPerMonth = savings[i] ?? Number.NaN;
    return [{ ...outcome, isBaseline, savesPerMonth, breakEvenMonth: month, swings: swings[i] ?? [], chances: own }];
  });
  return { outcomes: analyzed, best: cheapestOf(outcomes)?.name ?? null, draws, seed };
}

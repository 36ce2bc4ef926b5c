/** A plan as a table for people and as JSON. */
import type { Analysis, Analyzed } from '../../cost/tco/analysis.js';
import type { Scenario } from '../../cost/tco/scenario.js';
import { significant } from '../bench/statistics.js';
import { formatTable, percent } from '../bench/table.js';

export type Plan = { readonly scenario: Scenario; readonly analysis: Analysis };

/** No more digits than the figure has: cents below a hundred, else whole. */
export function money(value: number): string {
  const digits = Math.abs(value) < 100 ? 2 : 0;
  // Rounding must not leave "-0.00".
  const rounded = Number(value.toFixed(digits)) + 0;
  return rounded.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

const missWords = {
  ttft: 'first token too late',
  itl: 'tokens too slow',
  capacity: 'too many requests',
} as const;

export const targetText = ({ misses }: Analyzed): string =>
  misses.length === 0 ? 'met' : misses.map((miss) => missWords[miss]).join(', ');

function breakEvenText({ isBaseline, breakEvenMonth }: Analyzed): string {
  if (isBaseline) return '–';
  return breakEvenMonth === null ? 'never' : String(breakEvenMonth);
}

export const planHeads = (currency: string): readonly string[] => [
  ...['option', 'figures', `${currency}/month`, '5 % … 95 %', `${currency}/1,000 requests`, 'saves/month'],
  ...['break-even, month', 'boxes', 'TTFT 95 %, ms', 'targets', 'cheapest in', 'kg CO₂/month'],
];

export function planRows({ outcomes }: Analysis): string[][] {
  return outcomes.map((outcome) => {
    const { perMonth, cheapest } = outcome.chances;
    return [
      ...[outcome.name, outcome.source, money(outcome.perMonth), `${money(perMonth[0])} … ${money(perMonth[2])}`],
      ...[money(outcome.perThousandRequests), outcome.isBaseline ? '–' : money(outcome.savesPerMonth)],
      ...[breakEvenText(outcome), outcome.kind === 'box' ? String(outcome.boxes) : '–'],
      ...[outcome.ttftMs.toFixed(0), targetText(outcome), percent(cheapest), outcome.carbonKgPerMonth.toFixed(1)],
    ];
  });
}

export function describePlan({ scenario, analysis }: Plan): string {
  const { best, draws, seed } = analysis;
  const verdict = best === null ? 'no option meets the targets' : `least cost of those that meet the targets: ${best}`;
  return (
    `${scenario.name}\n${scenario.months} months, compared with ${scenario.baseline}\n` +
    formatTable(planHeads(scenario.currency), planRows(analysis)) +
    `${verdict} (${draws} draws, seed ${seed})\n`
  );
}

const cents = (value: number): number => Number(value.toFixed(4)) + 0;

function describeOutcome(outcome: Analyzed) {
  const { parts, chances, swings } = outcome;
  const { perMonth, savings } = chances;
  return {
    ...{ name: outcome.name, kind: outcome.kind, source: outcome.source, isBaseline: outcome.isBaseline },
    perMonth: cents(outcome.perMonth),
    parts: Object.fromEntries(Object.entries(parts).map(([part, cost]) => [part, cents(cost)])),
    perThousandRequests: cents(outcome.perThousandRequests),
    savesPerMonth: cents(outcome.savesPerMonth),
    breakEvenMonth: outcome.breakEvenMonth,
    paid: outcome.paid.map(cents),
    residual: cents(outcome.residual),
    carbonKgPerMonth: significant(outcome.carbonKgPerMonth),
    ...{ boxes: outcome.boxes, utilization: significant(outcome.utilization) },
    ...{ ttftMs: significant(outcome.ttftMs), itlMs: significant(outcome.itlMs), misses: outcome.misses },
    swings: swings.map(({ path, range, atLow, atHigh }) => {
      return { path, ...range, savesAtLow: cents(atLow), savesAtHigh: cents(atHigh) };
    }),
    chances: {
      perMonth: { p5: cents(perMonth[0]), p50: cents(perMonth[1]), p95: cents(perMonth[2]) },
      ...{ meets: chances.meets, cheapest: chances.cheapest, saves: chances.saves, breaksEven: chances.breaksEven },
      savings: { from: cents(savings.from), to: cents(savings.to), counts: savings.counts },
    },
  };
}

/** The fields of docs/schemas/tco.json, but for those of every result. */
export function describePlanJson({ scenario, analysis }: Plan) {
  const { best, draws, seed } = analysis;
  return {
    ...{ scenario: scenario.name, currency: scenario.currency, months: scenario.months, baseline: scenario.baseline },
    ...{ best, draws, seed, options: analysis.outcomes.map(describeOutcome) },
  };
}

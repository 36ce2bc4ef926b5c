/** What each choice of a settled scenario costs, month by month. Pure. */
import { boxesNeeded, SERVERS_MAX } from './queue.js';
import { type Box, type Choice, type Cloud, choicesOf, type Effort, type Scenario } from './scenario.js';

const DAYS_PER_MONTH = 365.25 / 12;
const JOULES_PER_KWH = 3.6e6;
const SECONDS_PER_MONTH = DAYS_PER_MONTH * 86_400;

/** Parts of a month's cost; hardware is spread over its life, migration over the plan. */
export const costParts = ['hardware', 'energy', 'labour', 'fees', 'updates', 'migration'] as const;
export type CostPart = (typeof costParts)[number];
export type Parts = Readonly<Record<CostPart, number>>;

/** Why a choice doesn't do what the workload asks for. */
export type Miss = 'ttft' | 'itl' | 'capacity';

export type Outcome = {
  readonly name: string;
  readonly kind: Choice['kind'];
  readonly source: 'measured' | 'simulated' | 'stated';
  /** Mean month of the plan. */
  readonly parts: Parts;
  readonly perMonth: number;
  readonly perThousandRequests: number;
  readonly carbonKgPerMonth: number;
  /** [months + 1] money paid so far; the first is before the first month. */
  readonly paid: readonly number[];
  /** What boxes are still worth at the end, of `paid`: their price for the part of their life that is left. */
  readonly residual: number;
  /** In the last month, all sites together; 0 for a cloud. */
  readonly boxes: number;
  /** At the busiest time of the worst month. */
  readonly ttftMs: number;
  readonly itlMs: number;
  readonly utilization: number;
  readonly misses: readonly Miss[];
};

/** What a month takes of one choice. */
type Month = {
  readonly boxes: number;
  readonly kwh: number;
  readonly fees: number;
  readonly hours: number;
  readonly carbonGrams: number;
  readonly ttftMs: number;
  readonly itlMs: number;
  readonly utilization: number;
  readonly hasCapacity: boolean;
};

type Work = Scenario<number>['workload'];
type Settled = Scenario<number>;

/** Requests of month m = 1, 2, … */
const requestsOf = ({ requestsPerMonth, growthPerMonth }: Work, month: number): number =>
  requestsPerMonth * (1 + growthPerMonth) ** (month - 1);

/** A box answers `streams` requests at once, each then taking as much longer. */
function boxMonth(
  { workload, site }: Settled,
  { box, recipe }: Choice<number> & { kind: 'box' },
  requests: number,
  owned: number,
): Month {
  const { promptTokens, outputTokens, activeHoursPerDay, peakFactor, sites, ttftMs } = workload;
  const promptS = promptTokens / recipe.prefillTokensPerS;
  const machineS = promptS + outputTokens / recipe.decodeTokensPerS;
  const activeS = activeHoursPerDay * DAYS_PER_MONTH * 3600;
  const perS = ((requests / activeS) * peakFactor) / sites;
  const arrivals = { perS, serviceS: machineS * recipe.streams, streams: recipe.streams };
  // A target that no number of boxes meets asks for no more of them than have the work done.
  const budgetS = ttftMs / 1000 - promptS;
  const sizing = boxesNeeded(arrivals, budgetS > 0 ? budgetS : Number.POSITIVE_INFINITY);
  const perSite = Math.max(sizing?.boxes ?? Math.floor(SERVERS_MAX / recipe.streams), owned / sites);
  const boxes = perSite * sites;
  const joules = promptTokens * recipe.joulesPerPromptToken + outputTokens * recipe.joulesPerOutputToken;
  // A busy box never draws less than an idle one.
  const extra = Math.max(0, joules - box.idleWatts * machineS);
  const kwh = ((box.idleWatts * SECONDS_PER_MONTH * boxes + extra * requests) * site.pue) / JOULES_PER_KWH;
  return {
    ...{ boxes, kwh, fees: 0, hours: box.hoursPerMonth + box.hoursPerBoxMonth * boxes },
    carbonGrams: kwh * site.carbonGramsPerKwh,
    ttftMs: 1000 * (promptS + (sizing?.waitS ?? 0)),
    itlMs: (1000 * recipe.streams) / recipe.decodeTokensPerS,
    utilization: (perS * machineS) / perSite,
    hasCapacity: sizing !== null,
  };
}

function cloudMonth({ workload }: Settled, cloud: Cloud<number>, requests: number, month: number): Month {
  const { promptTokens, outputTokens } = workload;
  const { promptPricePerMillion, outputPricePerMillion, priceChangePerYear } = cloud;
  const perRequest = (promptTokens * promptPricePerMillion + outputTokens * outputPricePerMillion) / 1e6;
  const priceFactor = (1 + priceChangePerYear) ** ((month - 1) / 12);
  return {
    ...{ boxes: 0, kwh: 0, hours: cloud.hoursPerMonth, utilization: 0, hasCapacity: true },
    fees: cloud.basePerMonth + requests * perRequest * priceFactor,
    carbonGrams: (requests * (promptTokens + outputTokens) * cloud.carbonGramsPerMillionTokens) / 1e6,
    ttftMs: cloud.ttftMs,
    itlMs: cloud.itlMs,
  };
}

function monthsOf(scenario: Settled, choice: Choice<number>): Month[] {
  const months: Month[] = [];
  for (let month = 1; month <= scenario.months; ++month) {
    const requests = requestsOf(scenario.workload, month);
    // A box that was bought stays when there is less to do.
    const owned = months.at(-1)?.boxes ?? 0;
    months.push(
      choice.kind === 'box'
        ? boxMonth(scenario, choice, requests, owned)
        : cloudMonth(scenario, choice.cloud, requests, month),
    );
  }
  return months;
}

/** [months + 1] boxes that are paid for at the end of a month: new ones before they are needed, and replacements. */
export function purchases(boxes: readonly number[], lifeMonths: number): number[] {
  const bought: number[] = boxes.map(() => 0).concat(0);
  let owned = 0;
  for (const [index, needed] of boxes.entries()) {
    // What was bought `lifeMonths` ago has served its last month.
    const worn = index >= lifeMonths ? (bought[index - lifeMonths] ?? 0) : 0;
    bought[index] = needed - owned + worn;
    owned = needed;
  }
  return bought;
}

/** Of boxes bought at the end of month `at`, that serve the months after it: price for the months left at the end. */
function residualOf(bought: readonly number[], { price, lifeMonths }: Box<number>, months: number): number {
  return bought.reduce((sum, count, at) => {
    return sum + count * price * Math.max(0, (at + lifeMonths - months) / lifeMonths);
  }, 0);
}

const costOf = ({ hours, price }: Effort<number>, labourPerHour: number): number => hours * labourPerHour + price;

function missesOf({ ttftMs, itlMs }: Work, months: readonly Month[]): Miss[] {
  const misses: Miss[] = [];
  if (months.some((month) => !month.hasCapacity)) misses.push('capacity');
  if (months.some((month) => month.ttftMs > ttftMs)) misses.push('ttft');
  if (months.some((month) => month.itlMs > itlMs)) misses.push('itl');
  return misses;
}

/** Everything that one choice costs and does. */
function evaluateChoice(scenario: Settled, choice: Choice<number>): Outcome {
  const { site, workload } = scenario;
  const option = choice.kind === 'box' ? choice.box : choice.cloud;
  const months = monthsOf(scenario, choice);
  const boxes = months.map((month) => month.boxes);
  const bought = choice.kind === 'box' ? purchases(boxes, choice.box.lifeMonths) : boxes.map(() => 0).concat(0);
  const price = choice.kind === 'box' ? choice.box.price : 0;
  const migration = costOf(option.migration, site.labourPerHour);
  const updates = (workload.modelUpdatesPerYear / 12) * costOf(option.update, site.labourPerHour);
  const mean = (read: (month: Month) => number) => months.reduce((sum, month) => sum + read(month), 0) / months.length;
  const worst = (read: (month: Month) => number) => Math.max(...months.map(read));
  const parts = {
    hardware: choice.kind === 'box' ? (mean((month) => month.boxes) * price) / choice.box.lifeMonths : 0,
    energy: mean(({ kwh }) => kwh) * site.tariffPerKwh,
    labour: mean(({ hours }) => hours) * site.labourPerHour,
    fees: mean(({ fees }) => fees),
    ...{ updates, migration: migration / months.length },
  };
  const perMonth = costParts.reduce((sum, part) => sum + parts[part], 0);
  let sum = migration + (bought[0] ?? 0) * price;
  const paid = [sum];
  for (const [index, { kwh, hours, fees }] of months.entries()) {
    sum += kwh * site.tariffPerKwh + hours * site.labourPerHour + fees + updates + (bought[index + 1] ?? 0) * price;
    paid.push(sum);
  }
  const requests = months.reduce((total, _, index) => total + requestsOf(workload, index + 1), 0);
  return {
    ...{ name: choice.name, kind: choice.kind, parts, perMonth, paid },
    source: choice.kind === 'box' ? choice.recipe.source : 'stated',
    perThousandRequests: requests > 0 ? (perMonth * months.length * 1000) / requests : 0,
    carbonKgPerMonth: mean(({ carbonGrams }) => carbonGrams) / 1000,
    residual: choice.kind === 'box' ? residualOf(bought, choice.box, months.length) : 0,
    boxes: boxes.at(-1) ?? 0,
    ttftMs: worst((month) => month.ttftMs),
    itlMs: worst((month) => month.itlMs),
    utilization: worst((month) => month.utilization),
    misses: missesOf(workload, months),
  };
}

export function evaluate(scenario: Settled): Outcome[] {
  return choicesOf(scenario).map((choice) => evaluateChoice(scenario, choice));
}

/**
 * The first month from which on less is paid than for the other, until the plan ends; 0: from the start, null: not
 * within the plan.
 */
export function breakEvenMonth(paid: readonly number[], other: readonly number[]): number | null {
  let month: number | null = null;
  for (let at = paid.length - 1; at >= 0 && (paid[at] ?? 0) <= (other[at] ?? 0); --at) month = at;
  return month;
}

// The cost plan against sums by hand, closed formulas of queues, and what must hold of any scenario.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { analyze } from '../../src/cost/tco/analysis.js';
import { breakEvenMonth, evaluate, purchases } from '../../src/cost/tco/costs.js';
import { boxesNeeded } from '../../src/cost/tco/queue.js';
import type { Box, Cloud, RecipeFigures, Scenario } from '../../src/cost/tco/scenario.js';
import { settleLikely, triangular } from '../../src/cost/tco/uncertain.js';

const recipe: RecipeFigures<number> = {
  ...{ name: 'w4a8', source: 'measured', streams: 1, prefillTokensPerS: 200, decodeTokensPerS: 50 },
  ...{ joulesPerPromptToken: 0.5, joulesPerOutputToken: 2 },
};
const box: Box<number> = {
  ...{ kind: 'box', name: 'box', price: 480, lifeMonths: 48, idleWatts: 10, hoursPerMonth: 1, hoursPerBoxMonth: 0.5 },
  ...{ migration: { hours: 10, price: 100 }, update: { hours: 2, price: 5 }, isThisBox: true, recipes: [recipe] },
};
const cloud: Cloud<number> = {
  ...{ kind: 'cloud', name: 'cloud', promptPricePerMillion: 1, outputPricePerMillion: 4, priceChangePerYear: 0 },
  ...{ basePerMonth: 20, hoursPerMonth: 1, carbonGramsPerMillionTokens: 500, ttftMs: 500, itlMs: 40 },
  ...{ migration: { hours: 0, price: 0 }, update: { hours: 1, price: 0 } },
};
const scenario: Scenario<number> = {
  ...{ name: 'test', currency: 'EUR', months: 24, baseline: 'cloud', options: [cloud, box] },
  workload: {
    ...{ requestsPerMonth: 100_000, growthPerMonth: 0, promptTokens: 400, outputTokens: 100, activeHoursPerDay: 24 },
    ...{ peakFactor: 1, sites: 1, modelUpdatesPerYear: 3, ttftMs: 60_000, itlMs: 100 },
  },
  site: { tariffPerKwh: 0.3, carbonGramsPerKwh: 400, pue: 1.2, labourPerHour: 40 },
};
const withWork = (changes: Partial<Scenario<number>['workload']>): Scenario<number> => {
  return { ...scenario, workload: { ...scenario.workload, ...changes } };
};
/** At 70 a month for the hardware alone it costs more than the cloud. */
const dear: Box<number> = { ...box, price: 48 * 70 };
const near = (got: number | undefined, wanted: number) => {
  assert.ok(
    got !== undefined && Math.abs(got - wanted) <= 1e-9 * Math.max(1, Math.abs(wanted)),
    `${got}, not ${wanted}`,
  );
};

test('a cloud: fees by tokens, labour, updates', () => {
  const [outcome] = evaluate(scenario);
  // 100,000 requests of 400 tokens at 1 and 100 tokens at 4 per million: 40 + 40, and 20 for the contract.
  near(outcome?.parts.fees, 100);
  near(outcome?.parts.labour, 40);
  // Three updates a year of one hour.
  near(outcome?.parts.updates, 10);
  near(outcome?.perMonth, 150);
  near(outcome?.perThousandRequests, 1.5);
  near(outcome?.paid.at(-1), 24 * 150);
  // 50 million tokens at 500 g a million.
  near(outcome?.carbonKgPerMonth, 25);
});

test('a box: hardware over its life, energy idle and busy, labour, updates, migration', () => {
  const outcome = evaluate(scenario)[1];
  assert.equal(outcome?.boxes, 1);
  near(outcome?.parts.hardware, 480 / 48);
  // 10 W all month; a request holds the box for 2 + 2 s and takes 200 + 200 J, of which 40 J it would draw anyway.
  const joules = 10 * 30.4375 * 86_400 + 100_000 * (400 - 40);
  near(outcome?.parts.energy, (1.2 * joules * 0.3) / 3.6e6);
  near(outcome?.carbonKgPerMonth, (1.2 * joules * 400) / 3.6e9);
  near(outcome?.parts.labour, 40 * (1 + 0.5));
  near(outcome?.parts.updates, (3 / 12) * (2 * 40 + 5));
  near(outcome?.parts.migration, (10 * 40 + 100) / 24);
  // Paid before the start: migration and the box; half of the box's life is left at the end.
  near(outcome?.paid[0], 500 + 480);
  near(outcome?.residual, 240);
  near(outcome?.itlMs, 20);
});

test('a busy box draws no less than an idle one', () => {
  const frugal = { ...recipe, joulesPerPromptToken: 0, joulesPerOutputToken: 0 };
  const outcome = evaluate({ ...scenario, options: [cloud, { ...box, recipes: [frugal] }] })[1];
  near(outcome?.parts.energy, (1.2 * 10 * 30.4375 * 86_400 * 0.3) / 3.6e6);
});

test('prices that fall and volumes that grow, month by month', () => {
  const falling = {
    ...cloud,
    basePerMonth: 0,
    hoursPerMonth: 0,
    priceChangePerYear: -0.19,
    update: { hours: 0, price: 0 },
  };
  const [outcome] = evaluate({ ...withWork({ growthPerMonth: 0.1 }), months: 3, options: [falling] });
  const factor = 0.81 ** (1 / 12);
  near(outcome?.paid[3], 80 * (1 + 1.1 * factor + 1.21 * factor ** 2));
});

test('boxes are bought before they are needed, replaced when they are worn, and kept', () => {
  assert.deepEqual(purchases([1, 1, 3, 3, 3, 3], 4), [1, 0, 2, 0, 1, 0, 0]);
  assert.deepEqual(purchases([2, 2], 1), [2, 2, 0]);
});

test('a queue of one server: the wait that closed formulas give', () => {
  // P(W > t) = ρ e^(−(μ − λ) t) for M/M/1: ρ = 0.5, μ = 1.
  const sizing = boxesNeeded({ perS: 0.5, serviceS: 1, streams: 1 }, 10);
  assert.equal(sizing?.boxes, 1);
  near(sizing?.waitS, Math.log(0.5 / 0.05) / 0.5);
  // Shorter than that wait: two servers, of which C(2, 0.5) = 0.1 of the requests have to wait.
  const two = boxesNeeded({ perS: 0.5, serviceS: 1, streams: 1 }, 4);
  assert.equal(two?.boxes, 2);
  near(two?.waitS, Math.log(0.1 / 0.05) / 1.5);
});

test('a queue of several servers: Erlang C of three servers and two erlangs is 4/9', () => {
  const sizing = boxesNeeded({ perS: 2, serviceS: 1, streams: 3 }, 10);
  assert.equal(sizing?.boxes, 1);
  near(sizing?.waitS, Math.log(4 / 9 / 0.05) / 1);
  assert.equal(boxesNeeded({ perS: 1e6, serviceS: 1, streams: 1 }, 10), null);
});

test('what a box cannot do is said', () => {
  const misses = (changes: Partial<Scenario<number>['workload']>) => evaluate(withWork(changes))[1]?.misses;
  assert.deepEqual(misses({}), []);
  // 400 prompt tokens take two seconds, an output token 20 ms.
  assert.deepEqual(misses({ ttftMs: 1999 }), ['ttft']);
  assert.deepEqual(misses({ itlMs: 19 }), ['itl']);
  assert.deepEqual(misses({ requestsPerMonth: 1e11 }), ['capacity']);
});

test('each site has its own boxes', () => {
  assert.equal(evaluate(withWork({ sites: 7 }))[1]?.boxes, 7);
});

test('break-even: from which month on less is paid, for good', () => {
  const other = [0, 10, 20, 30, 40];
  assert.equal(breakEvenMonth([25, 26, 27, 28, 29], other), 3);
  assert.equal(breakEvenMonth([0, 10, 20, 30, 40], other), 0);
  // It falls behind again when it has to be replaced.
  assert.equal(breakEvenMonth([5, 6, 7, 45, 46], other), null);
});

const volume = fc.double({ min: 1, max: 3e6, noNaN: true });
const anyWork = fc.record({
  requestsPerMonth: volume,
  growthPerMonth: fc.double({ min: -0.05, max: 0.05, noNaN: true }),
  promptTokens: fc.integer({ min: 1, max: 2000 }),
  outputTokens: fc.integer({ min: 1, max: 500 }),
  peakFactor: fc.double({ min: 1, max: 10, noNaN: true }),
  ttftMs: fc.integer({ min: 100, max: 20_000 }),
  sites: fc.integer({ min: 1, max: 20 }),
});
const anyRecipe = fc.record({
  streams: fc.integer({ min: 1, max: 8 }),
  prefillTokensPerS: fc.double({ min: 50, max: 5000, noNaN: true }),
  decodeTokensPerS: fc.double({ min: 5, max: 500, noNaN: true }),
  joulesPerOutputToken: fc.double({ min: 0, max: 10, noNaN: true }),
});
const anyScenario = fc.record({ work: anyWork, figures: anyRecipe, life: fc.integer({ min: 1, max: 30 }) });
const scenarioOf = ({ work, figures, life }: typeof anyScenario extends fc.Arbitrary<infer T> ? T : never) => {
  const own = { ...box, lifeMonths: life, recipes: [{ ...recipe, ...figures }] };
  return { ...withWork(work), options: [cloud, own] };
};

test('more requests never cost less', () => {
  const property = fc.property(anyScenario, fc.double({ min: 1, max: 3, noNaN: true }), (given, factor) => {
    const less = scenarioOf(given);
    const { requestsPerMonth } = less.workload;
    const more = { ...less, workload: { ...less.workload, requestsPerMonth: requestsPerMonth * factor } };
    const costs = evaluate(less).map(({ perMonth }) => perMonth);
    for (const [i, { perMonth }] of evaluate(more).entries()) assert.ok(perMonth >= (costs[i] ?? 0) * (1 - 1e-12));
  });
  fc.assert(property, { numRuns: 200 });
});

test('what is spread over months is what is paid, less what the boxes are still worth', () => {
  const property = fc.property(anyScenario, (given) => {
    for (const { perMonth, paid, residual } of evaluate(scenarioOf(given))) {
      near((paid.at(-1) ?? 0) - residual, perMonth * scenario.months);
    }
  });
  fc.assert(property, { numRuns: 200 });
});

test('a choice breaks even if less has been paid for it in the end, and the month before it has not', () => {
  const property = fc.property(anyScenario, (given) => {
    const [other, one] = evaluate(scenarioOf(given));
    assert.ok(other !== undefined && one !== undefined);
    const month = breakEvenMonth(one.paid, other.paid);
    assert.equal(month !== null, (one.paid.at(-1) ?? 0) <= (other.paid.at(-1) ?? 0));
    if (month !== null && month > 0) assert.ok((one.paid[month - 1] ?? 0) > (other.paid[month - 1] ?? 0));
  });
  fc.assert(property, { numRuns: 200 });
});

test('the triangular distribution has its bounds, its mean and its median', () => {
  const range = { low: 2, likely: 3, high: 8 };
  const at = (u: number) => triangular(range, u);
  assert.deepEqual([at(0), triangular({ low: 4, likely: 4, high: 4 }, 0.7)], [2, 4]);
  near(at((3 - 2) / (8 - 2)), 3);
  // Of a triangle that falls from 3 to 8 the part above x is (8 − x)² ÷ 30.
  near(at(0.5), 8 - Math.sqrt(15));
  const draws = Array.from({ length: 10_000 }, (_, i) => at((i + 0.5) / 10_000));
  const mean = draws.reduce((sum, x) => sum + x, 0) / draws.length;
  assert.ok(Math.abs(mean - (2 + 3 + 8) / 3) < 1e-3);
});

const uncertain: Scenario = {
  ...scenario,
  site: { ...scenario.site, labourPerHour: { low: 20, likely: 40, high: 80 } },
  options: [{ ...cloud, basePerMonth: { low: 0, likely: 20, high: 120 } }, box],
};

test('a tornado: what each figure alone does, the strongest first', () => {
  const { outcomes } = analyze(uncertain, 10, 1);
  const [likely] = evaluate(settleLikely(uncertain));
  near(likely?.perMonth, 150);
  const own = outcomes[1];
  assert.ok(own !== undefined);
  assert.deepEqual(
    own.swings.map(({ path }) => path),
    ['cloud › basePerMonth', 'site › labourPerHour'],
  );
  const [base, labour] = own.swings;
  near(base?.atLow, own.savesPerMonth - 20);
  near(base?.atHigh, own.savesPerMonth + 100);
  // The cloud: an hour a month and three a year; the box: one and a half, six a year, ten once.
  const hours = 1 + 3 / 12 - (1.5 + 6 / 12 + 10 / 24);
  near(labour?.atLow, own.savesPerMonth + hours * (20 - 40));
  near(labour?.atHigh, own.savesPerMonth + hours * (80 - 40));
  assert.deepEqual(outcomes[0]?.swings, []);
});

test('draws: repeatable by their seed, certain where nothing is uncertain, and all accounted for', () => {
  const { outcomes } = analyze(uncertain, 500, 7);
  assert.deepEqual(analyze(uncertain, 500, 7).outcomes, outcomes);
  assert.notDeepEqual(analyze(uncertain, 500, 8).outcomes, outcomes);
  near(
    outcomes.reduce((sum, { chances }) => sum + chances.cheapest, 0),
    1,
  );
  for (const { chances } of outcomes) {
    assert.equal(
      chances.savings.counts.reduce((sum, count) => sum + count, 0),
      500,
    );
    const [low, middle, high] = chances.perMonth;
    assert.ok(low < middle && middle < high);
  }
  const certain = analyze(scenario, 20, 1);
  for (const { perMonth, chances } of certain.outcomes) {
    for (const cost of chances.perMonth) near(cost, perMonth);
    assert.ok([0, 1].includes(chances.cheapest));
  }
});

test('the share of draws that save is that of the distribution', () => {
  // Saving = base fee − c, c a constant: it is positive with the probability that the fee is above c.
  const [fee] = uncertain.options;
  assert.ok(fee !== undefined);
  const only = { ...uncertain, site: scenario.site, options: [fee, dear] };
  const { outcomes } = analyze(only, 4000, 3);
  const constant = 20 - (outcomes[1]?.savesPerMonth ?? 0);
  // Upper side of a triangle from 0 over 20 to 120.
  const wanted = (120 - constant) ** 2 / (120 * (120 - 20));
  assert.ok(constant > 20 && constant < 120, String(constant));
  // Four standard errors of a share of 4000 draws.
  assert.ok(Math.abs((outcomes[1]?.chances.saves ?? 0) - wanted) < 4 * Math.sqrt((wanted * (1 - wanted)) / 4000));
});

test('the best is the cheapest of those that meet the targets', () => {
  const bestOf = (options: Scenario['options'], ttftMs = 60_000) =>
    analyze({ ...withWork({ ttftMs }), options }, 1, 1).best;
  assert.equal(bestOf([cloud, dear]), 'cloud');
  assert.equal(bestOf([{ ...cloud, basePerMonth: 1000 }, dear]), 'box / w4a8');
  // The box needs 2 s for a prompt, the cloud 0.5 s.
  assert.equal(bestOf([{ ...cloud, basePerMonth: 1000 }, dear], 1000), 'cloud');
  assert.equal(bestOf([cloud, dear], 400), null);
});

/**
 * Scenarios to start from. Their figures are assumptions of a plausible size, not measurements and nobody's prices: the
 * recipes of `isThisBox` boxes give way to what `nibble poc` measures.
 */
import type { ScenarioFile } from '../../cost/tco/accelerated.js';
import type { Box, Cloud, RecipeFigures, Scenario } from '../../cost/tco/scenario.js';

const around = (likely: number, share: number) => ({
  low: Number((likely * (1 - share)).toPrecision(3)),
  likely,
  high: Number((likely * (1 + share)).toPrecision(3)),
});

const site = {
  tariffPerKwh: { low: 0.22, likely: 0.3, high: 0.45 },
  carbonGramsPerKwh: 350,
  pue: 1.1,
  labourPerHour: { low: 50, likely: 70, high: 95 },
} as const;

const cloudApi: Cloud = {
  kind: 'cloud',
  name: 'Cloud API',
  promptPricePerMillion: { low: 0.1, likely: 0.4, high: 0.8 },
  outputPricePerMillion: { low: 0.4, likely: 1.6, high: 3.2 },
  priceChangePerYear: { low: -0.5, likely: -0.2, high: 0 },
  basePerMonth: 0,
  hoursPerMonth: 1,
  carbonGramsPerMillionTokens: { low: 100, likely: 300, high: 900 },
  ...{ ttftMs: 700, itlMs: 30 },
  migration: { hours: 0, price: 0 },
  update: { hours: 4, price: 0 },
};

/** Speed in tokens per second of all streams; joules as a box of some 30 W has them. */
function stated(name: string, streams: number, prefill: number, decode: number, watts: number): RecipeFigures {
  return {
    ...{ name, source: 'stated', streams },
    prefillTokensPerS: around(prefill, 0.15),
    decodeTokensPerS: around(decode, 0.15),
    joulesPerPromptToken: Number((watts / prefill).toPrecision(3)),
    joulesPerOutputToken: Number((watts / decode).toPrecision(3)),
  };
}

const miniPc: Box = {
  kind: 'box',
  name: 'Mini PC',
  price: { low: 450, likely: 600, high: 800 },
  lifeMonths: 48,
  idleWatts: 7,
  hoursPerMonth: { low: 0.5, likely: 1, high: 3 },
  hoursPerBoxMonth: 0.1,
  migration: { hours: { low: 16, likely: 32, high: 80 }, price: 0 },
  update: { hours: { low: 2, likely: 4, high: 12 }, price: 0 },
  isThisBox: true,
  recipes: [stated('f16', 4, 150, 30, 28), stated('w4a8', 4, 420, 75, 28)],
};

const smallFactory: Scenario = {
  ...{ name: 'Small factory: shift reports and fault descriptions, one site', currency: 'EUR', months: 36 },
  workload: {
    requestsPerMonth: { low: 15_000, likely: 30_000, high: 60_000 },
    growthPerMonth: 0.01,
    ...{ promptTokens: around(600, 0.3), outputTokens: around(120, 0.3) },
    ...{ activeHoursPerDay: 16, peakFactor: 3, sites: 1, modelUpdatesPerYear: 2, ttftMs: 5000, itlMs: 150 },
  },
  site,
  baseline: 'Cloud API',
  options: [cloudApi, miniPc],
};

/** Models of a billion weights; the accelerator's figures are simulated for just such a shape. */
const callCentre: ScenarioFile = {
  ...{ name: 'Call centre: a summary of each call, hints while it lasts', currency: 'EUR', months: 48 },
  workload: {
    requestsPerMonth: { low: 600_000, likely: 900_000, high: 1_400_000 },
    growthPerMonth: { low: 0, likely: 0.01, high: 0.03 },
    ...{ promptTokens: around(1200, 0.3), outputTokens: around(180, 0.3) },
    ...{ activeHoursPerDay: 12, peakFactor: { low: 1.5, likely: 2, high: 3 }, sites: 1, modelUpdatesPerYear: 4 },
    ...{ ttftMs: 4000, itlMs: 120 },
  },
  site: { ...site, pue: 1.4 },
  baseline: 'Cloud API',
  options: [
    { ...cloudApi, hoursPerMonth: 4 },
    {
      ...miniPc,
      name: '16-core server',
      price: { low: 1800, likely: 2400, high: 3200 },
      ...{ lifeMonths: 60, idleWatts: 40, hoursPerMonth: 6, hoursPerBoxMonth: 0.5 },
      migration: { hours: { low: 80, likely: 160, high: 320 }, price: 0 },
      recipes: [stated('f16', 8, 600, 130, 150), stated('w4a8', 8, 1700, 320, 150)],
    },
    {
      ...{ kind: 'accelerator', name: 'Server with a low-bit accelerator' },
      price: { low: 4000, likely: 6000, high: 9000 },
      ...{ lifeMonths: 60, idleWatts: 40, hoursPerMonth: 8, hoursPerBoxMonth: 0.5 },
      migration: { hours: { low: 160, likely: 300, high: 600 }, price: 0 },
      update: { hours: { low: 8, likely: 16, high: 40 }, price: 0 },
      ...{ designs: ['mixpe-w4a8', 'tender'], arrays: 8, streams: 64 },
      model: {
        ...{ layers: 16, hidden: 2048, heads: 32, kvHeads: 8, headDim: 64 },
        ...{ ffn: 8192, ffnMatrices: 3, vocab: 128_256 },
      },
    },
  ],
};

const kioskFleet: Scenario = {
  ...{ name: 'Kiosk fleet: questions at 40 machines, each with its own box', currency: 'EUR', months: 48 },
  workload: {
    requestsPerMonth: { low: 60_000, likely: 120_000, high: 240_000 },
    growthPerMonth: 0.005,
    ...{ promptTokens: around(350, 0.3), outputTokens: around(60, 0.3) },
    ...{ activeHoursPerDay: 14, peakFactor: 4, sites: 40, modelUpdatesPerYear: 3, ttftMs: 1500, itlMs: 150 },
  },
  site: { ...site, pue: 1 },
  baseline: 'Cloud API over mobile data',
  options: [
    {
      ...cloudApi,
      name: 'Cloud API over mobile data',
      basePerMonth: { low: 200, likely: 400, high: 600 },
      ...{ hoursPerMonth: 4, ttftMs: 1200 },
    },
    {
      ...miniPc,
      name: 'Small board',
      price: { low: 110, likely: 150, high: 200 },
      ...{ lifeMonths: 60, idleWatts: 3, hoursPerMonth: 3, hoursPerBoxMonth: 0.05 },
      migration: { hours: { low: 60, likely: 100, high: 200 }, price: 0 },
      recipes: [stated('f16', 1, 180, 18, 8), stated('w4a8', 1, 480, 42, 8)],
    },
  ],
};

/** As a file would hold them. */
export const examples: Readonly<Record<string, ScenarioFile>> = {
  'small-factory': smallFactory,
  'call-centre': callCentre,
  'kiosk-fleet': kioskFleet,
};

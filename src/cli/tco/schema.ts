/** What a scenario file may hold, and bounds. Figures are plain numbers: ranges are settled before. */
import Type, { type TSchema } from 'typebox';
import { designNames, modelNames } from '../../cost/tco/accelerated.js';

const exact = <T extends Record<string, TSchema>>(fields: T) => Type.Object(fields, { additionalProperties: false });
const from = (minimum: number, maximum: number) => Type.Number({ minimum, maximum });
/** A number that things are divided by. */
const above = (maximum: number) => Type.Number({ exclusiveMinimum: 0, maximum });

const name = Type.String({ minLength: 1, maxLength: 80 });
const money = from(0, 1e12);
const hours = from(0, 1e6);
const milliseconds = above(3.6e6);
const effort = exact({ hours, price: money });

export const recipeSchema = exact({
  name,
  source: Type.Union([Type.Literal('measured'), Type.Literal('simulated'), Type.Literal('stated')]),
  streams: Type.Integer({ minimum: 1, maximum: 1024 }),
  prefillTokensPerS: above(1e9),
  decodeTokensPerS: above(1e9),
  joulesPerPromptToken: from(0, 1e6),
  joulesPerOutputToken: from(0, 1e6),
});

/** What boxes of any kind have. */
const host = {
  name,
  price: money,
  lifeMonths: Type.Integer({ minimum: 1, maximum: 600 }),
  idleWatts: from(0, 1e6),
  hoursPerMonth: hours,
  hoursPerBoxMonth: hours,
  migration: effort,
  update: effort,
};

const box = exact({
  kind: Type.Literal('box'),
  ...host,
  isThisBox: Type.Boolean(),
  recipes: Type.Array(recipeSchema, { minItems: 1, maxItems: 32 }),
});

const extent = (maximum: number) => Type.Integer({ minimum: 1, maximum });

const shape = exact({
  layers: extent(1000),
  hidden: extent(1e6),
  heads: extent(10_000),
  kvHeads: extent(10_000),
  headDim: extent(10_000),
  ffn: extent(1e6),
  ffnMatrices: Type.Union([Type.Literal(2), Type.Literal(3)]),
  vocab: extent(1e7),
});

const accelerator = exact({
  kind: Type.Literal('accelerator'),
  ...host,
  designs: Type.Array(Type.Enum([...designNames]), { minItems: 1, maxItems: 32 }),
  arrays: extent(1024),
  streams: extent(1024),
  model: Type.Union([Type.Enum([...modelNames]), shape]),
});

const cloud = exact({
  kind: Type.Literal('cloud'),
  name,
  promptPricePerMillion: money,
  outputPricePerMillion: money,
  priceChangePerYear: from(-0.99, 10),
  basePerMonth: money,
  hoursPerMonth: hours,
  carbonGramsPerMillionTokens: from(0, 1e9),
  ttftMs: milliseconds,
  itlMs: milliseconds,
  migration: effort,
  update: effort,
});

export const optionSchemas: Readonly<Record<string, TSchema>> = { box, cloud, accelerator };

/** All but what is in the options: theirs depends on their kind. */
export const scenarioSchema = exact({
  name,
  currency: Type.String({ pattern: '^[A-Z]{3}$' }),
  months: Type.Integer({ minimum: 1, maximum: 120 }),
  workload: exact({
    requestsPerMonth: from(0, 1e11),
    growthPerMonth: from(-0.5, 0.5),
    promptTokens: from(1, 1e6),
    outputTokens: from(1, 1e6),
    activeHoursPerDay: Type.Number({ minimum: 0.1, maximum: 24 }),
    peakFactor: from(1, 1000),
    sites: Type.Integer({ minimum: 1, maximum: 1e6 }),
    modelUpdatesPerYear: from(0, 365),
    ttftMs: milliseconds,
    itlMs: milliseconds,
  }),
  site: exact({
    tariffPerKwh: from(0, 1e6),
    carbonGramsPerKwh: from(0, 1e5),
    pue: from(1, 10),
    labourPerHour: from(0, 1e9),
  }),
  baseline: Type.String({ minLength: 1, maxLength: 200 }),
  options: Type.Array(Type.Unknown(), { minItems: 1, maxItems: 32 }),
});

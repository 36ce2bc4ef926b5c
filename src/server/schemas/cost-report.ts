import Type, { type Static } from 'typebox';

const closed = { additionalProperties: false } as const;
const time = (what: string) =>
  Type.Optional(
    Type.String({
      maxLength: 40,
      description: what,
      expected: 'a time as 2026-01-31T12:00:00Z, a date, or Unix seconds',
    }),
  );

export const CostQuery = Type.Object(
  {
    from: time('First moment; 24 hours before `to` if left out.'),
    to: time('End, not included; now if left out.'),
    group_by: Type.Optional(
      Type.String({
        pattern: '^(key|model|recipe)(,(key|model|recipe)){0,2}$',
        description: 'What lines are apart by, with commas between; one line for all if left out.',
        expected: 'some of key, model and recipe, with commas between',
      }),
    ),
    limit: Type.Optional(
      Type.String({
        pattern: '^[1-9][0-9]{0,3}$',
        description: 'Lines of a page, up to 1000; 100 if left out.',
        expected: 'an integer from 1 to 1000',
      }),
    ),
    after: Type.Optional(
      Type.String({
        pattern: '^[A-Za-z0-9_-]{1,2048}$',
        description: '`next` of the page before.',
        expected: "'next' of a page that was asked for with the same 'group_by'",
      }),
    ),
  },
  closed,
);
export type CostQuery = Static<typeof CostQuery>;

const sums = {
  joules: Type.Number(),
  prefill_joules: Type.Number(),
  decode_joules: Type.Number(),
  idle_joules: Type.Number(),
  /** The part of the joules that was estimated from CPU time; a sensor measured the rest. */
  tdp_joules: Type.Number(),
  machine_seconds: Type.Number(),
  /** null: no prices were known. */
  cost: Type.Union([
    Type.Object(
      {
        currency: Type.String(),
        energy: Type.Number(),
        hardware: Type.Number(),
        total: Type.Number(),
        carbon_grams: Type.Number(),
      },
      closed,
    ),
    Type.Null(),
  ]),
};
const name = Type.Optional(Type.Union([Type.String(), Type.Null()]));

export const CostLine = Type.Object(
  {
    /** Those that the lines are grouped by; null where a request had none. */
    key: name,
    model: name,
    recipe: name,
    requests: Type.Integer(),
    prompt_tokens: Type.Integer(),
    cached_tokens: Type.Integer(),
    completion_tokens: Type.Integer(),
    ...sums,
  },
  closed,
);
export type CostLine = Static<typeof CostLine>;

const Remainder = Type.Object(sums, closed);
export type CostSums = Static<typeof Remainder>;

/** GET /v1/cost. */
export const CostReport = Type.Object(
  {
    object: Type.Literal('cost_report'),
    from: Type.String(),
    to: Type.String(),
    group_by: Type.Array(Type.String()),
    data: Type.Array(CostLine),
    /** With an admin key only: what was no request's, by currency. */
    idle: Type.Optional(Type.Array(Remainder)),
    own: Type.Optional(Type.Array(Remainder)),
    /** Every set of prices that the figures were worked out with, as in its file. */
    prices: Type.Array(Type.Unknown()),
    has_more: Type.Boolean(),
    /** For `after`; null on the last page. */
    next: Type.Union([Type.String(), Type.Null()]),
  },
  closed,
);
export type CostReport = Static<typeof CostReport>;

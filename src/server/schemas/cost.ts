import Type, { type Static } from 'typebox';

const closed = { additionalProperties: false } as const;

/** `usage.nibble_cost`: what a request has caused until its answer was complete. */
export const CostBody = Type.Object(
  {
    /** Of the machine: both phases together. */
    joules: Type.Number(),
    prefill_joules: Type.Number(),
    decode_joules: Type.Number(),
    /** The share of the machine's time. */
    machine_seconds: Type.Number(),
    /** `measured` by a sensor, `modelled` from its work, or `tdp`: estimated from CPU time. */
    source: Type.Enum(['measured', 'modelled', 'tdp']),
    meter: Type.String(),
    /** With the setting `prices` only: what that is worth, and the prices it was worked out with. */
    price: Type.Optional(
      Type.Object(
        {
          currency: Type.String(),
          energy: Type.Number(),
          hardware: Type.Number(),
          total: Type.Number(),
          carbon_grams: Type.Number(),
          tariff_per_kwh: Type.Number(),
          carbon_grams_per_kwh: Type.Number(),
          pue: Type.Number(),
          hardware_per_hour: Type.Number(),
        },
        closed,
      ),
    ),
  },
  closed,
);
export type CostBody = Static<typeof CostBody>;

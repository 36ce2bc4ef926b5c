/** What an answer has cost, in its headers; in its trailers where the head is out before that is known. */
import type { FastifyRequest } from 'fastify';
import type { CostBody } from '../schemas/cost.js';

/** Asks for it, and is among the answers. */
const COST = 'x-nibble-cost';

export const COST_HEADERS = [
  'x-nibble-energy-joules',
  'x-nibble-energy-source',
  COST,
  'x-nibble-carbon-grams',
] as const;

/** The header `x-nibble-cost: true` (or 1) asks for the same as the field `cost` of a body. */
export function asksForCost({ headers }: Pick<FastifyRequest, 'headers'>): boolean {
  const value = headers[COST];
  return value === 'true' || value === '1';
}

/** As few digits as say it exactly enough, without an exponent. */
const amount = (value: number): string => value.toFixed(12).replace(/\.?0+$/, '');

/** Money only where prices are known: `0.000012 EUR`. */
export function costHeaders({ joules, source, price }: CostBody): Readonly<Record<string, string>> {
  return {
    'x-nibble-energy-joules': amount(joules),
    'x-nibble-energy-source': source,
    ...(price === undefined
      ? {}
      : { [COST]: `${amount(price.total)} ${price.currency}`, 'x-nibble-carbon-grams': amount(price.carbon_grams) }),
  };
}

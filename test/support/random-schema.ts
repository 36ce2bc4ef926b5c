/** Random JSON Schemas of all keywords that are enforced; every one of them has values. */
import type { Random } from '../../src/random.js';

type Schema = { readonly [key: string]: unknown } | boolean;
type Make = (random: Random, depth: number) => Schema;

const pick = <T>(random: Random, list: readonly T[]): T => list[random.below(list.length)] as T;
const names = ['a', 'ab', 'name', 'total price', 'é', 'quo"te', 'back\\slash', 'x'] as const;
const patterns = [
  '^[a-f]{2,5}$',
  '^\\d{3}-\\d{2}$',
  '^(?:yes|no|may be)$',
  'x',
  '^\\w+@\\w+$',
  '^[^"\\\\]{1,4}$',
  '^a|b$',
];
const formats = ['date', 'time', 'date-time', 'uuid', 'ipv4', 'email', 'unheard of'];

function bounds(random: Random, low: string, high: string, most: number): { readonly [key: string]: number } {
  const min = random.below(most);
  const max = min + random.below(most - min + 1);
  return { ...(random.below(2) === 0 ? { [low]: min } : {}), ...(random.below(4) > 0 ? { [high]: max } : {}) };
}

const string: Make = (random) => {
  switch (random.below(4)) {
    case 0:
      return { type: 'string', pattern: pick(random, patterns) };
    case 1:
      return { type: 'string', format: pick(random, formats) };
    default:
      return { type: 'string', ...bounds(random, 'minLength', 'maxLength', 12) };
  }
};

const number: Make = (random) => {
  const type = pick(random, ['number', 'integer']);
  const low = Math.round(random.normal() * 10 ** random.below(6) * 100) / (type === 'integer' ? 1 : 100);
  const high = low + random.below(10 ** random.below(7)) + 2;
  return {
    type,
    ...[{}, { minimum: low }, { exclusiveMinimum: low }][random.below(3)],
    ...[{}, { maximum: high }, { exclusiveMaximum: high }][random.below(3)],
  };
};

const listed: Make = (random) => {
  const values = [1, -2.5, 'one', 'tw"o', '', null, true, [1, 'x'], { k: [] }, 'ünï'];
  const chosen = Array.from({ length: 1 + random.below(4) }, () => pick(random, values));
  return random.below(3) === 0 ? { const: chosen[0] } : { enum: [...new Set(chosen)] };
};

const object: Make = (random, depth) => {
  const own = [...new Set(Array.from({ length: random.below(5) }, () => pick(random, names)))];
  const properties = Object.fromEntries(own.map((name) => [name, randomSchema(random, depth - 1)]));
  const required = own.filter(() => random.below(2) === 0);
  const others = [{}, {}, { additionalProperties: false }, { additionalProperties: randomSchema(random, 0) }];
  return { type: 'object', properties, required, ...pick(random, others) };
};

const array: Make = (random, depth) => {
  const limits = bounds(random, 'minItems', 'maxItems', 4);
  if (random.below(4) > 0) return { type: 'array', items: randomSchema(random, depth - 1), ...limits };
  const prefixItems = [randomSchema(random, depth - 1), randomSchema(random, 0)];
  return { type: 'array', prefixItems, items: randomSchema(random, 0), ...limits };
};

const union: Make = (random, depth) => {
  const options = Array.from({ length: 2 + random.below(2) }, () => randomSchema(random, depth - 1));
  if (random.below(2) === 0) return { anyOf: options };
  // Told apart by a constant, as tagged unions are.
  return {
    oneOf: options.map((value, i) => ({
      type: 'object',
      properties: { kind: { const: `k${i}` }, value },
      required: ['kind', 'value'],
    })),
  };
};

/** At most `depth` levels of objects, arrays and unions. */
export const randomSchema: Make = (random, depth) => {
  const leaves: readonly Make[] = [string, string, number, number, listed, () => ({ type: 'boolean' })];
  const inner: readonly Make[] = [object, object, array, union];
  const make = depth > 0 && random.below(5) > 0 ? pick(random, inner) : pick(random, leaves);
  return make(random, depth);
};

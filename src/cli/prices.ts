/** The file of the setting `prices`: what energy, carbon and this machine are reckoned at. */
import Type from 'typebox';
import { Value } from 'typebox/value';
import { hourOfDay, type Prices } from '../cost/price.js';
import { configInvalid } from '../errors.js';
import { readSettingJson } from '../setting-file.js';

const closed = { additionalProperties: false } as const;
const amount = Type.Number({ minimum: 0, maximum: 1e9 });
const grams = Type.Number({ minimum: 0, maximum: 1e5 });
const hour = Type.Number({ minimum: 0, maximum: 24 });
const byHours = { maxItems: 24, default: [] };

const PriceFile = Type.Object(
  {
    currency: Type.String({ pattern: '^[A-Z]{3}$' }),
    tariffPerKwh: amount,
    tariffHours: Type.Array(Type.Object({ from: hour, to: hour, perKwh: amount }, closed), byHours),
    carbonGramsPerKwh: Type.Number({ minimum: 0, maximum: 1e5, default: 0 }),
    carbonHours: Type.Array(Type.Object({ from: hour, to: hour, gramsPerKwh: grams }, closed), byHours),
    pue: Type.Number({ minimum: 1, maximum: 10, default: 1 }),
    hardwarePrice: Type.Number({ minimum: 0, maximum: 1e9, default: 0 }),
    hardwareYears: Type.Number({ minimum: 0.1, maximum: 100, default: 4 }),
    timeZone: Type.Union([Type.String({ maxLength: 64 }), Type.Null()], { default: null }),
  },
  closed,
);

/** Reads the file of the setting `prices`. Throws `config_invalid`. */
export function readPrices(path: string): Prices {
  const fail = (message: string, cause?: unknown) => configInvalid('prices', `${path}: ${message}`, cause);
  const prices = Value.Default(PriceFile, readSettingJson('prices', path));
  if (!Value.Check(PriceFile, prices)) {
    const [first] = Value.Errors(PriceFile, prices);
    throw fail(`${first?.instancePath.slice(1).replaceAll('/', '.') || 'the file'} ${first?.message ?? 'is wrong'}`);
  }
  try {
    hourOfDay(0, prices.timeZone);
  } catch (cause) {
    throw fail('timeZone is not the name of a time zone', cause);
  }
  return prices;
}

/** What `serve` knows of energy and money. */
import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import Type from 'typebox';
import { Value } from 'typebox/value';
import type { Config } from '../config.js';
import { CostAccount } from '../cost/attribution.js';
import { hardwarePerHour, type Prices, priceOf, tariffAt } from '../cost/price.js';
import { NibbleError } from '../errors.js';
import { EnergyMonitor } from '../metering/energy-monitor.js';
import { openMeter } from '../metering/open-meter.js';
import type { CostDesk } from '../server/generation/usage.js';
import type { CostBody } from '../server/schemas/cost.js';

const amount = Type.Number({ minimum: 0, maximum: 1e9 });
const hour = Type.Number({ minimum: 0, maximum: 24 });
const priceFields = {
  currency: Type.String({ pattern: '^[A-Z]{3}$' }),
  tariffPerKwh: amount,
  tariffHours: Type.Array(Type.Object({ from: hour, to: hour, perKwh: amount }, { additionalProperties: false }), {
    maxItems: 24,
    default: [],
  }),
  carbonGramsPerKwh: Type.Number({ minimum: 0, maximum: 1e5, default: 0 }),
  pue: Type.Number({ minimum: 1, maximum: 10, default: 1 }),
  hardwarePrice: Type.Number({ minimum: 0, maximum: 1e9, default: 0 }),
  hardwareYears: Type.Number({ minimum: 0.1, maximum: 100, default: 4 }),
};
const PriceFile = Type.Object(priceFields, { additionalProperties: false });

/** Reads the file of the setting `prices`. Throws `config_invalid`. */
export function readPrices(path: string): Prices {
  const fail = (message: string, cause?: unknown) =>
    new NibbleError('config_invalid', { key: 'prices', message: `${message} (${path})` }, { param: 'prices', cause });
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw fail(cause instanceof SyntaxError ? 'the file is not valid JSON' : 'the file could not be read', cause);
  }
  const prices = Value.Default(PriceFile, content);
  if (Value.Check(PriceFile, prices)) return prices;
  const [first] = Value.Errors(PriceFile, prices);
  throw fail(`${first?.instancePath.slice(1) || 'the file'} ${first?.message ?? 'is wrong'}`);
}

/** The meter, what requests have used of it, and what that is worth. */
export class Energy implements CostDesk {
  readonly monitor: EnergyMonitor;
  readonly #prices: Prices | null;

  constructor(monitor: EnergyMonitor, prices: Prices | null) {
    this.monitor = monitor;
    this.#prices = prices;
  }

  open(): CostAccount {
    // What was before isn't part of it.
    this.monitor.settle();
    return new CostAccount();
  }

  bill(account: CostAccount): CostBody {
    this.monitor.settle();
    const { joules, prefillJoules, decodeJoules, machineSeconds } = account;
    return {
      joules,
      prefill_joules: prefillJoules,
      decode_joules: decodeJoules,
      machine_seconds: machineSeconds,
      source: this.monitor.source,
      meter: this.monitor.description,
      ...(this.#prices === null ? {} : { price: priceBody(account, this.#prices, new Date()) }),
    };
  }
}

function priceBody({ joules, machineSeconds }: CostAccount, prices: Prices, now: Date): NonNullable<CostBody['price']> {
  const hourOfDay = now.getHours() + now.getMinutes() / 60;
  const { energy, hardware, total, carbonGrams } = priceOf(joules, machineSeconds, hourOfDay, prices);
  return {
    ...{ currency: prices.currency, energy, hardware, total, carbon_grams: carbonGrams },
    tariff_per_kwh: tariffAt(prices, hourOfDay),
    carbon_grams_per_kwh: prices.carbonGramsPerKwh,
    pue: prices.pue,
    hardware_per_hour: hardwarePerHour(prices),
  };
}

/** Begins to measure; null if the settings say no. Throws `config_invalid` if what they name isn't there. */
export function startEnergy(config: Config, logger: Logger): Energy | null {
  const prices = config.prices === null ? null : readPrices(config.prices);
  if (config.energyMeter === 'off') return null;
  const { meter, skipped } = openMeter({
    setting: config.energyMeter,
    wattsPerCore: config.coreWatts,
    onLost: (description) => logger.warn({ meter: description }, 'the energy meter was lost; energy is estimated now'),
  });
  logger.info({ meter: meter.description, source: meter.source, skipped }, 'energy');
  return new Energy(new EnergyMonitor(meter), prices);
}

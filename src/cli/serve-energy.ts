/** What `serve` knows of energy and money. */
import type { Logger } from 'pino';
import type { Config } from '../config.js';
import { CostAccount } from '../cost/attribution.js';
import { hourOfDay, type Prices, priceOf, ratesAt } from '../cost/price.js';
import { EnergyMonitor } from '../metering/energy-monitor.js';
import { openMeter } from '../metering/open-meter.js';
import type { CostDesk } from '../server/generation/usage.js';
import type { CostBody } from '../server/schemas/cost.js';
import { readPrices } from './prices.js';

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
      ...(this.#prices === null ? {} : { price: priceBody(account, this.#prices, Date.now()) }),
    };
  }
}

function priceBody(
  { joules, machineSeconds }: CostAccount,
  prices: Prices,
  ms: number,
): NonNullable<CostBody['price']> {
  const rates = ratesAt(prices, hourOfDay(ms, prices.timeZone));
  const { energy, hardware, total, carbonGrams } = priceOf(joules, machineSeconds, rates);
  return {
    ...{ currency: prices.currency, energy, hardware, total, carbon_grams: carbonGrams },
    tariff_per_kwh: rates.perKwh,
    carbon_grams_per_kwh: rates.gramsPerKwh,
    pue: rates.pue,
    hardware_per_hour: rates.hardwarePerHour,
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

/** What `serve` knows of energy and money. */
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Logger } from 'pino';
import type { Config } from '../config.js';
import { CostAccount } from '../cost/attribution.js';
import type { Prices, Rates } from '../cost/price.js';
import { configInvalid, NibbleError } from '../errors.js';
import { CostBook, type CostEntry, type Payer } from '../metering/cost-book.js';
import { EnergyMonitor } from '../metering/energy-monitor.js';
import { Ledger } from '../metering/ledger/ledger.js';
import type { Report, ReportQuery } from '../metering/ledger/types.js';
import { openMeter } from '../metering/open-meter.js';
import type { Tally } from '../metering/tally.js';
import type { CostDesk } from '../server/generation/usage.js';
import type { CostBody } from '../server/schemas/cost.js';
import { readPrices } from './prices.js';

/** The meter, what requests have used of it, and what that is worth. */
export class Energy implements CostDesk {
  readonly monitor: EnergyMonitor;
  readonly book: CostBook;
  readonly ledger: Ledger | null;

  constructor(monitor: EnergyMonitor, prices: Prices | null, ledger: Ledger | null = null) {
    this.monitor = monitor;
    this.ledger = ledger;
    this.book = new CostBook({ monitor, prices, ...(ledger === null ? {} : { write: (rows) => ledger.write(rows) }) });
  }

  open(): CostAccount {
    // What was before isn't part of it.
    this.monitor.settle();
    return new CostAccount();
  }

  begin(payer: Payer, account: CostAccount = this.open()): CostEntry {
    return this.book.begin(payer, account);
  }

  bill(account: CostAccount): CostBody {
    this.monitor.settle();
    const { joules, prefillJoules, decodeJoules, machineSeconds } = account;
    const [sums, rates, prices] = [this.book.sumsOf(account), this.book.rates(), this.book.prices];
    return {
      joules,
      prefill_joules: prefillJoules,
      decode_joules: decodeJoules,
      machine_seconds: machineSeconds,
      source: this.monitor.source,
      meter: this.monitor.description,
      ...(sums === null || rates === null || prices === null ? {} : { price: priceBody(sums, prices.currency, rates) }),
    };
  }

  /** From the ledger, up to now. Rejects with `ledger_off`, `queue_full` or `ledger_unavailable`. */
  async report(query: ReportQuery): Promise<Report> {
    if (this.ledger === null) throw new NibbleError('ledger_off', {});
    this.book.tick();
    return this.ledger.report(query);
  }

  /** The last rows are written. */
  async close(): Promise<void> {
    this.book.close();
    this.monitor.close();
    await this.ledger?.close();
  }
}

function priceBody(sums: Tally, currency: string, rates: Rates): NonNullable<CostBody['price']> {
  const { energyCost, hardwareCost, cost, carbonGrams } = sums;
  return {
    ...{ currency, energy: energyCost, hardware: hardwareCost, total: cost, carbon_grams: carbonGrams },
    tariff_per_kwh: rates.perKwh,
    carbon_grams_per_kwh: rates.gramsPerKwh,
    pue: rates.pue,
    hardware_per_hour: rates.hardwarePerHour,
  };
}

/** Tells one start of a server from any other: microseconds since 1970, the last digits by chance. */
const runNumber = (): number => Date.now() * 1000 + Math.floor(Math.random() * 1000);

function openLedger(config: Config, prices: Prices | null, logger: Logger): Ledger | null {
  if (config.ledger === null) return null;
  const fail = (message: string) => configInvalid('ledger', message);
  if (config.energyMeter === 'off') throw fail('needs energyMeter');
  const path = resolve(config.ledger);
  if (!existsSync(dirname(path))) throw fail(`there is no folder ${dirname(path)}`);
  return new Ledger({
    data: {
      path,
      run: runNumber(),
      prices: prices === null ? null : { currency: prices.currency, content: JSON.stringify(prices) },
      keptDays: config.ledgerDays,
    },
    events: {
      onTrouble: (message) => logger.error({ ledger: path, message }, "the ledger can't be written; rows wait"),
      onRecovered: () => logger.info({ ledger: path }, 'the ledger is written again'),
      onSetAside: (aside) => logger.error({ ledger: path, aside }, 'the ledger was damaged; a new one was begun'),
    },
  });
}

/** Begins to measure; null if the settings say no. Throws `config_invalid` if what they name isn't there. */
export function startEnergy(config: Config, logger: Logger): Energy | null {
  const prices = config.prices === null ? null : readPrices(config.prices);
  const ledger = openLedger(config, prices, logger);
  if (config.energyMeter === 'off') return null;
  const { meter, skipped } = openMeter({
    setting: config.energyMeter,
    wattsPerCore: config.coreWatts,
    hearsOfSteps: true,
    onLost: (description) => logger.warn({ meter: description }, 'the energy meter was lost; energy is estimated now'),
  });
  logger.info({ meter: meter.description, source: meter.source, skipped }, 'energy');
  return new Energy(new EnergyMonitor(meter), prices, ledger);
}

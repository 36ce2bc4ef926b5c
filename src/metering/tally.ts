import { priceOf, type Rates } from '../cost/price.js';
import type { EnergySource } from './types.js';

/** Energy, time and money of something. Money is 0 where no prices are known. */
export type Sums = {
  readonly prefillJoules: number;
  readonly decodeJoules: number;
  readonly idleJoules: number;
  /** Of these, joules that no sensor measured: estimated from CPU time, or modelled. */
  readonly tdpJoules: number;
  /** The share of the machine's time. */
  readonly machineSeconds: number;
  readonly energyCost: number;
  readonly hardwareCost: number;
  readonly carbonGrams: number;
};

/** What accounts were like at some time. */
export type Reading = Pick<Sums, 'prefillJoules' | 'decodeJoules' | 'idleJoules' | 'machineSeconds'>;

export const nothing: Reading = { prefillJoules: 0, decodeJoules: 0, idleJoules: 0, machineSeconds: 0 };

export const joulesOf = (sums: Reading): number => sums.prefillJoules + sums.decodeJoules + sums.idleJoules;

/** Sums that grow: each growth at the prices of its own time. */
export class Tally implements Sums {
  prefillJoules = 0;
  decodeJoules = 0;
  idleJoules = 0;
  tdpJoules = 0;
  machineSeconds = 0;
  energyCost = 0;
  hardwareCost = 0;
  carbonGrams = 0;

  add(growth: Reading, source: EnergySource, rates: Rates | null): void {
    const joules = joulesOf(growth);
    this.prefillJoules += growth.prefillJoules;
    this.decodeJoules += growth.decodeJoules;
    this.idleJoules += growth.idleJoules;
    if (source !== 'measured') this.tdpJoules += joules;
    this.machineSeconds += growth.machineSeconds;
    if (rates === null) return;
    const { energy, hardware, carbonGrams } = priceOf(joules, growth.machineSeconds, rates);
    this.energyCost += energy;
    this.hardwareCost += hardware;
    this.carbonGrams += carbonGrams;
  }

  get cost(): number {
    return this.energyCost + this.hardwareCost;
  }

  copy(): Sums {
    const { prefillJoules, decodeJoules, idleJoules, tdpJoules, machineSeconds } = this;
    const { energyCost, hardwareCost, carbonGrams } = this;
    return {
      ...{ prefillJoules, decodeJoules, idleJoules, tdpJoules, machineSeconds },
      ...{ energyCost, hardwareCost, carbonGrams },
    };
  }
}

/** By how much a reading has grown since an earlier one. */
export function growthOf(now: Reading, before: Reading): Reading {
  return {
    prefillJoules: now.prefillJoules - before.prefillJoules,
    decodeJoules: now.decodeJoules - before.decodeJoules,
    idleJoules: now.idleJoules - before.idleJoules,
    machineSeconds: now.machineSeconds - before.machineSeconds,
  };
}

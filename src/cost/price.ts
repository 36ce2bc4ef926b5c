/** What energy and machine time are worth in money and CO₂. Pure: the time of day is an argument. */

export type Prices = {
  readonly currency: string;
  /** Per kWh; from the first entry whose hours hold, else `tariffPerKwh`. Hours of local time, [from, to). */
  readonly tariffPerKwh: number;
  readonly tariffHours: readonly { readonly from: number; readonly to: number; readonly perKwh: number }[];
  /** Grams of CO₂ equivalents per kWh. */
  readonly carbonGramsPerKwh: number;
  /** Power usage effectiveness: what the site draws for each joule of the machine, ≥ 1. */
  readonly pue: number;
  /** Price of the machine, and the years over which it is paid off. */
  readonly hardwarePrice: number;
  readonly hardwareYears: number;
};

export type Price = {
  readonly energy: number;
  /** The machine's share for the time that it was held. */
  readonly hardware: number;
  readonly total: number;
  readonly carbonGrams: number;
};

const joulesPerKwh = 3.6e6;
const hoursPerYear = 365.25 * 24;

/** @param hour of local time, [0, 24) */
export function tariffAt({ tariffHours, tariffPerKwh }: Prices, hour: number): number {
  const holds = ({ from, to }: { readonly from: number; readonly to: number }) =>
    from <= to ? hour >= from && hour < to : hour >= from || hour < to;
  return tariffHours.find(holds)?.perKwh ?? tariffPerKwh;
}

/** The machine's price over its life. */
export function hardwarePerHour({ hardwarePrice, hardwareYears }: Prices): number {
  return hardwarePrice / (hardwareYears * hoursPerYear);
}

/** @param joules of the machine. @param machineSeconds for which it was held */
export function priceOf(joules: number, machineSeconds: number, hour: number, prices: Prices): Price {
  const kwh = (joules * prices.pue) / joulesPerKwh;
  const energy = kwh * tariffAt(prices, hour);
  const hardware = (machineSeconds / 3600) * hardwarePerHour(prices);
  return { energy, hardware, total: energy + hardware, carbonGrams: kwh * prices.carbonGramsPerKwh };
}

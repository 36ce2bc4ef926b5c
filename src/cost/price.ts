/** What energy and machine time are worth in money and CO₂. Pure: the time of day is an argument. */

/** Hours of local time, [from, to); over midnight if `from` is the later. */
type Hours = { readonly from: number; readonly to: number };

export type Prices = {
  readonly currency: string;
  /** Per kWh; from the first entry whose hours hold, else `tariffPerKwh`. */
  readonly tariffPerKwh: number;
  readonly tariffHours: readonly (Hours & { readonly perKwh: number })[];
  /** Grams of CO₂ equivalents per kWh, by hours in the same way. */
  readonly carbonGramsPerKwh: number;
  readonly carbonHours: readonly (Hours & { readonly gramsPerKwh: number })[];
  /** Power usage effectiveness: what the site draws for each joule of the machine, ≥ 1. */
  readonly pue: number;
  /** Price of the machine, and the years over which it is paid off. */
  readonly hardwarePrice: number;
  readonly hardwareYears: number;
  /** Whose hours these are, as IANA names them; null: those of this machine. */
  readonly timeZone: string | null;
};

/** Prices in force at some time. */
export type Rates = {
  readonly perKwh: number;
  readonly gramsPerKwh: number;
  readonly pue: number;
  readonly hardwarePerHour: number;
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

function at<T extends Hours>(hours: readonly T[], hour: number): T | undefined {
  return hours.find(({ from, to }) => (from <= to ? hour >= from && hour < to : hour >= from || hour < to));
}

/** @param hour of local time, [0, 24) */
export function tariffAt({ tariffHours, tariffPerKwh }: Prices, hour: number): number {
  return at(tariffHours, hour)?.perKwh ?? tariffPerKwh;
}

/** The machine's price over its life. */
function hardwarePerHour({ hardwarePrice, hardwareYears }: Prices): number {
  return hardwarePrice / (hardwareYears * hoursPerYear);
}

/** @param hour of local time, [0, 24) */
export function ratesAt(prices: Prices, hour: number): Rates {
  return {
    perKwh: tariffAt(prices, hour),
    gramsPerKwh: at(prices.carbonHours, hour)?.gramsPerKwh ?? prices.carbonGramsPerKwh,
    pue: prices.pue,
    hardwarePerHour: hardwarePerHour(prices),
  };
}

/** @param joules of the machine. @param machineSeconds for which it was held */
export function priceOf(joules: number, machineSeconds: number, rates: Rates): Price {
  const kwh = (joules * rates.pue) / joulesPerKwh;
  const energy = kwh * rates.perKwh;
  const hardware = (machineSeconds / 3600) * rates.hardwarePerHour;
  return { energy, hardware, total: energy + hardware, carbonGrams: kwh * rates.gramsPerKwh };
}

/**
 * The time of day by which prices hold, [0, 24).
 * @param ms since 1970. @param timeZone as IANA names it; null: this machine's. Throws a RangeError for an unknown one
 */
export function hourOfDay(ms: number, timeZone: string | null): number {
  const zone = timeZone === null ? {} : { timeZone };
  const format = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', hourCycle: 'h23', ...zone });
  const [hour = '0', minute = '0'] = format.format(ms).split(':');
  return Number(hour) + Number(minute) / 60;
}

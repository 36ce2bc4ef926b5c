/** Order statistics of measurements. Empty input is a programming error and gives NaN. */

function sorted(values: readonly number[]): Float64Array {
  return Float64Array.from(values).sort();
}

/**
 * The q-quantile, q in [0, 1], with linear interpolation between the two nearest ranks (NumPy's default, Hyndman and
 * Fan's type 7).
 */
export function quantile(values: readonly number[] | Float64Array, q: number): number {
  const ordered = values instanceof Float64Array ? values.slice().sort() : sorted(values);
  const at = q * (ordered.length - 1);
  const low = ordered[Math.floor(at)] ?? Number.NaN;
  const high = ordered[Math.ceil(at)] ?? Number.NaN;
  return low + (high - low) * (at - Math.floor(at));
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

export type Percentiles = { readonly p50: number; readonly p95: number; readonly p99: number };

export function percentiles(values: readonly number[]): Percentiles {
  return { p50: quantile(values, 0.5), p95: quantile(values, 0.95), p99: quantile(values, 0.99) };
}

/** The middle and the extremes of repeated measurements. */
export type Spread = { readonly median: number; readonly min: number; readonly max: number };

export function spread(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/** Rounds to `digits` significant digits: measurements don't have sixteen. */
export function significant(value: number, digits = 4): number {
  return Number.isFinite(value) ? Number(value.toPrecision(digits)) : value;
}

export const rounded = ({ median, min, max }: Spread, digits = 4): Spread => ({
  median: significant(median, digits),
  min: significant(min, digits),
  max: significant(max, digits),
});

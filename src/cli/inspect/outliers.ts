/** Where the outliers are: how the largest magnitudes of an input's channels compare with each other. Pure. */
import type { InputStatistics } from '../../native/contract.js';

export type Outliers = {
  /** Largest magnitude, and that of the middle channel. */
  readonly max: number;
  readonly median: number;
  /** Channels above `OUTLIER_FACTOR` times the median. */
  readonly outliers: number;
  /** The largest channels, largest first. */
  readonly top: readonly number[];
  /** [BARS] largest magnitudes of the channels from the largest to the smallest, √2-fold steps per level, 0 to 7. */
  readonly profile: readonly number[];
};

/** A channel so many times above the median makes per-token quantization lose as many levels. */
export const OUTLIER_FACTOR = 8;
const BARS = 24;
const TOP = 3;

/** [K] largest magnitude of each channel over all chunks. */
export function channelMaxima({ inputs, minima, maxima }: InputStatistics): Float64Array {
  const peaks = new Float64Array(inputs);
  for (let i = 0; i < maxima.length; i += 1) {
    const [low = 0, high = 0] = [minima[i], maxima[i]];
    // A chunk that saw no token has its infinities the wrong way round.
    if (low > high) continue;
    peaks[i % inputs] = Math.max(peaks[i % inputs] ?? 0, Math.abs(low), Math.abs(high));
  }
  return peaks;
}

export function findOutliers(statistics: InputStatistics): Outliers {
  const peaks = channelMaxima(statistics);
  const byPeak = Array.from(peaks, (_, channel) => channel).sort((a, b) => (peaks[b] ?? 0) - (peaks[a] ?? 0) || a - b);
  const at = (place: number): number => peaks[byPeak[Math.min(byPeak.length - 1, place)] ?? 0] ?? 0;
  const [max, median] = [at(0), at(Math.floor(peaks.length / 2))];
  const limit = OUTLIER_FACTOR * median;
  const profile = Array.from({ length: BARS }, (_, bar) => {
    // Finer where it matters: bars are spread over the ranks by their square.
    const value = at(Math.round((bar / (BARS - 1)) ** 2 * (peaks.length - 1)));
    const octaves = max === 0 || value === 0 ? 0 : 7 + Math.log2(value / max);
    return Math.max(0, Math.min(7, Math.round(octaves)));
  });
  return { max, median, outliers: peaks.filter((peak) => peak > limit).length, top: byPeak.slice(0, TOP), profile };
}

/** One character per bar. */
export const bars = (profile: readonly number[]): string => profile.map((level) => '▁▂▃▄▅▆▇█'[level] ?? ' ').join('');

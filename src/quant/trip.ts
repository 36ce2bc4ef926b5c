/**
 * TRIP (Agile-Quant, section "token-wise and channel-wise quantization"): the scale of channel c is s₁ · 2^α_c with
 * s₁ = s_max / 2^K and α_c in {0 … K}, and 2^α_c is folded into the weights, so that one scale serves all channels.
 *
 * The paper chooses α_c for the least squared error of the channel. Statistics know a channel's largest magnitude and
 * mean square: with step s the error is taken as s²/12 of rounding, where the channel doesn't exceed the range. So ours
 * is the smallest α_c that doesn't clip, which is the least of these errors.
 */
import type { InputStatistics } from '../native/contract.js';
import { largestOfShared } from './channel-factors.js';

/** Largest |x| of each column over everything that was seen; 0 where nothing was. */
export function largestMagnitudes({ inputs, minima, maxima }: InputStatistics): Float64Array {
  const largest = new Float64Array(inputs);
  for (let i = 0; i < minima.length; i += 1) {
    const [low = 0, high = 0] = [minima[i], maxima[i]];
    if (low <= high) largest[i % inputs] = Math.max(largest[i % inputs] ?? 0, -low, high);
  }
  return largest;
}

/**
 * Factors 2^(α_c − K), one per factor of `index`, the widest channel's being 1: divided by them, every channel's range
 * lies within a factor of two below the widest, as far as `levels` (K) octaves reach.
 */
export function tripFactors(statistics: InputStatistics, index: Int32Array, levels: number): Float64Array {
  const magnitudes = largestOfShared(largestMagnitudes(statistics), index);
  const widest = magnitudes.reduce((most, value) => Math.max(most, value), 0);
  return magnitudes.map((magnitude) => {
    // A channel that was never anything but 0 is left alone: what it does elsewhere isn't known.
    if (magnitude === 0 || widest === 0) return 1;
    let octaves = 0;
    while (octaves < levels && magnitude * 2 ** (octaves + 1) <= widest) octaves += 1;
    return 2 ** -octaves;
  });
}

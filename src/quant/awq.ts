/**
 * Activation-aware scaling (Lin et al., 2023, "AWQ"): columns of weights that read large inputs are multiplied before
 * rounding, by the channel's mean magnitude to a power that is searched on a grid for the least error of the outputs.
 * The paper takes the mean of |x|; statistics have the root of the mean square.
 */
import type { InputStatistics } from '../native/contract.js';
import { largestOfShared, perColumn } from './channel-factors.js';

export type AwqSearch = {
  /** [rows, cols] of all matrices that read the input. */
  readonly weights: Float32Array;
  readonly statistics: InputStatistics;
  /** `factorIndex` of the input. */
  readonly index: Int32Array;
  /** Relative squared error of the outputs when these weights are rounded, with inputs of this Σ x·xᵀ. */
  readonly loss: (weights: Float32Array, hessian: Float32Array) => Promise<number>;
  /** Powers tried besides 0. */
  readonly powers?: readonly number[];
};

const tried = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/** Root mean squares to a power, divided by the geometric mean of their extremes so that weights keep their size. */
function factorsOf(sizes: Float64Array, power: number): Float64Array {
  const raw = sizes.map((size) => Math.max(size, 1e-4) ** power);
  const [low, high] = raw.reduce(([l, h], value) => [Math.min(l, value), Math.max(h, value)] as const, [
    Number.POSITIVE_INFINITY,
    0,
  ] as readonly [number, number]);
  return raw.map((value) => value / Math.sqrt(low * high));
}

/** The factors with the least loss, null if none is better than no factors. Needs the input's Hessian. */
export async function awqFactors(search: AwqSearch): Promise<Float64Array | null> {
  const { weights, statistics, index, loss, powers = tried } = search;
  const { hessian, squares, tokens, inputs } = statistics;
  if (hessian === null) throw new Error('the search needs the Hessian of the input');
  const sizes = largestOfShared(
    squares.map((sum) => Math.sqrt(sum / Math.max(tokens, 1))),
    index,
  );
  let least = await loss(weights, hessian);
  let best: Float64Array | null = null;
  for (const power of powers) {
    const factors = factorsOf(sizes, power);
    const columns = perColumn(factors, index);
    const scaled = weights.map((value, i) => value * (columns[i % inputs] ?? 1));
    const seen = hessian.map((value, i) => {
      return value / ((columns[i % inputs] ?? 1) * (columns[Math.floor(i / inputs)] ?? 1));
    });
    const lost = await loss(scaled, seen);
    if (!(lost < least)) continue;
    least = lost;
    best = factors;
  }
  return best;
}

/** A layer in floats, while it is changed and quantized. */
import type { LayerClass, LayerRecipe, Recipe } from '../model/recipe-types.js';
import type { InputStatistics } from '../native/contract.js';
import type { PartTensor } from './part-store.js';

export type LayerFloats = {
  readonly layer: number;
  readonly recipe: Recipe;
  /** Of this layer. */
  readonly formats: LayerRecipe;
  /** Values by the GGUF name of the tensor; matrices [outputs, inputs]. Transforms change them in place. */
  readonly tensors: ReadonlyMap<string, Float32Array>;
  /** What its inputs were like; as they are after the transforms so far. */
  readonly inputs: Record<LayerClass, InputStatistics> | null;
};

/**
 * Changes the tensors of a layer together: the layer computes the same, but is easier to quantize, or gets data for the
 * kernels, which are returned as tensors of their own.
 */
export type LayerTransform = (layer: LayerFloats) => readonly PartTensor[] | Promise<readonly PartTensor[]>;

/** Statistics of x[k] / factors[k], for those of x; factors are positive. */
export function divideInput(statistics: InputStatistics, factors: Float32Array): InputStatistics {
  const width = statistics.inputs;
  const inverse = Float64Array.from(factors, (factor) => 1 / factor);
  const each = (values: Float32Array) => values.map((value, i) => value * (inverse[i % width] ?? 1));
  const { hessian } = statistics;
  return {
    ...statistics,
    minima: each(statistics.minima),
    maxima: each(statistics.maxima),
    squares: statistics.squares.map((value, i) => value * (inverse[i] ?? 1) ** 2),
    hessian:
      hessian === null
        ? null
        : hessian.map((value, i) => value * (inverse[i % width] ?? 1) * (inverse[Math.floor(i / width)] ?? 1)),
  };
}

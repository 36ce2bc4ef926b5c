/** Scaling of channels as transforms of a layer: the factors of each method, folded into weights and statistics. */
import { availableParallelism } from 'node:os';
import { weightFormat } from '../model/recipe.js';
import { type LayerClass, layerClasses, type Recipe } from '../model/recipe-types.js';
import type { CodeFormat, InputStatistics } from '../native/contract.js';
import { loadAddon } from '../native/load.js';
import { awqFactors } from './awq.js';
import { factorIndex, foldFactors, type HeadShape, largestOfShared, perColumn, readersOf } from './channel-factors.js';
import { divideInput, type LayerFloats, type LayerTransform } from './layer.js';
import { largestMagnitudes, tripFactors } from './trip.js';

/** Octaves that TRIP's factors may span: channels sixteen times below the widest come to its range. */
const TRIP_OCTAVES = 4;
/** SmoothQuant's exponent (arXiv 2211.10438, section 4.1): half of the difficulty moves to the weights. */
const SMOOTH_ALPHA = 0.5;

/** All matrices that read an input, stacked. */
function weightsOf({ layer, tensors }: LayerFloats, input: LayerClass): Float32Array {
  const matrices = readersOf(layer, input).flatMap((name) => tensors.get(name) ?? []);
  const all = new Float32Array(matrices.reduce((sum, { length }) => sum + length, 0));
  let filled = 0;
  for (const matrix of matrices) {
    all.set(matrix, filled);
    filled += matrix.length;
  }
  return all;
}

type FindFactors = (
  layer: LayerFloats,
  input: LayerClass,
  statistics: InputStatistics,
  index: Int32Array,
) => Promise<ArrayLike<number> | null>;

const trip: FindFactors = async (_layer, _input, statistics, index) => tripFactors(statistics, index, TRIP_OCTAVES);

/** Channel c is divided by max|x_c|^α / max|w_c|^(1 − α). */
const smooth: FindFactors = async (layer, input, statistics, index) => {
  const width = statistics.inputs;
  const columns = new Float64Array(width);
  for (const [i, value] of weightsOf(layer, input).entries()) {
    columns[i % width] = Math.max(columns[i % width] ?? 0, Math.abs(value));
  }
  const [inputs, weights] = [largestOfShared(largestMagnitudes(statistics), index), largestOfShared(columns, index)];
  return inputs.map((peak, i) => {
    const factor = peak ** SMOOTH_ALPHA / (weights[i] ?? 0) ** (1 - SMOOTH_ALPHA);
    return factor > 0 && Number.isFinite(factor) ? factor : 1;
  });
};

const awq: FindFactors = async ({ recipe, formats, ...layer }, input, statistics, index) => {
  const format = formats[input].weights;
  if (weightFormat(format).bits >= 16) return null;
  const cols = statistics.inputs;
  const loss = async (weights: Float32Array, hessian: Float32Array): Promise<number> => {
    const { error } = await loadAddon().quantizeMatrix({
      ...{ weights, rows: weights.length / cols, cols, format: format as CodeFormat, hessian },
      ...{ rounding: 'rtn', clip: recipe.clip, actOrder: false, damping: recipe.damping ?? 0.01, sweeps: 0 },
      threads: availableParallelism(),
    });
    return error;
  };
  const weights = weightsOf({ recipe, formats, ...layer }, input);
  return awqFactors({ weights, statistics, index, loss });
};

const methods = { awq, trip, smooth } as const;

/** Folds the factors of a method into every input of a layer. The statistics become those of the scaled inputs. */
export function scalingTransform(method: Exclude<Recipe['scaling'], 'none'>, shape: HeadShape): LayerTransform {
  return async (layer) => {
    for (const input of layerClasses) {
      const statistics = layer.inputs?.[input];
      if (layer.inputs === null || statistics === undefined) throw new Error('scaling needs statistics');
      const index = factorIndex(input, statistics.inputs, shape);
      const factors = await methods[method](layer, input, statistics, index);
      if (factors === null) continue;
      foldFactors(layer.tensors, layer.layer, input, factors, index);
      layer.inputs[input] = divideInput(statistics, perColumn(factors, index));
    }
    return [];
  };
}

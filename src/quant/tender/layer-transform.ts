/** Tender as a step of quantization: plans from what calibration saw, and the weights in their order. */
import type { LayerClass, Recipe } from '../../model/recipe-types.js';
import { layerClasses } from '../../model/recipe-types.js';
import type { InputStatistics } from '../../native/contract.js';
import type { LayerFloats, LayerTransform } from '../layer.js';
import { type ChannelRanges, planTender } from './plan.js';
import { isCentred } from './study.js';
import { applyTender, type TenderFileTensor } from './transform.js';
import { matricesOf } from './weight-peaks.js';

type Tender = NonNullable<Recipe['tender']>;

/** An integer dot product takes so many channels at once. */
const UNIT = 4;

/** Minima and maxima chunk by chunk, side by side. */
function rangesOf({ inputs, minima, maxima }: InputStatistics): ChannelRanges {
  const values = new Float32Array(2 * minima.length);
  for (let start = 0; start < minima.length; start += inputs) {
    values.set(minima.subarray(start, start + inputs), 2 * start);
    values.set(maxima.subarray(start, start + inputs), 2 * start + inputs);
  }
  return { inputs, values };
}

/** Statistics of x[order[i]]: what GPTQ and clipping see behind the permutation. The bias only moves the middle. */
export function permuteStatistics(statistics: InputStatistics, order: Int32Array): InputStatistics {
  const width = order.length;
  const each = <T extends Float32Array | Float64Array>(values: T): T =>
    values.map((_, i) => values[i - (i % width) + (order[i % width] ?? 0)] ?? 0) as T;
  const { hessian } = statistics;
  return {
    ...statistics,
    minima: each(statistics.minima),
    maxima: each(statistics.maxima),
    squares: each(statistics.squares),
    hessian:
      hessian === null
        ? null
        : hessian.map((_, i) => {
            const [row, column] = [order[Math.floor(i / width)] ?? 0, order[i % width] ?? 0];
            return hessian[row * width + column] ?? 0;
          }),
  };
}

function transformInput(layer: LayerFloats, name: LayerClass, { groups, steps }: Tender): readonly TenderFileTensor[] {
  const { activations } = layer.formats[name];
  if (activations !== 'tender8' && activations !== 'tender4') return [];
  const statistics = layer.inputs?.[name];
  const matrices = matricesOf[name].map((part) => layer.tensors.get(`blk.${layer.layer}.${part}.weight`));
  if (layer.inputs === null || statistics === undefined) throw new Error('Tender needs statistics');
  const planned = planTender(rangesOf(statistics), {
    ...{ groups, unit: UNIT, rounding: 'up' },
    limit: activations === 'tender8' ? 127 : 7,
    centred: isCentred(name),
  });
  const plan = steps === 'token' ? { ...planned, scales: new Float32Array(0) } : planned;
  const found = matrices.filter((matrix) => matrix !== undefined);
  if (found.length !== matrices.length) throw new Error(`a matrix of ${name} isn't there as floats`);
  const tensors = applyTender(layer.layer, name, plan, found);
  layer.inputs[name] = permuteStatistics(statistics, plan.order);
  return tensors;
}

/** Of a recipe with `tender`: for every input whose activations are `tender8` or `tender4`. */
export function tenderTransform({ tender }: Recipe): LayerTransform {
  return (layer) => (tender === undefined ? [] : layerClasses.flatMap((name) => transformInput(layer, name, tender)));
}

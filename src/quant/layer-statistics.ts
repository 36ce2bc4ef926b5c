/** Statistics of one layer after the other, with no more of the large ones in memory than fit. */

import { layerClasses } from '../model/recipe-types.js';
import type { ArchitectureSpec, NativeModel } from '../native/contract.js';
import { type Calibration, calibrate } from './calibrate.js';
import type { LayerStatistics } from './pipeline.js';
import { inputsOf } from './plan.js';

/** All Σ x·xᵀ of a model of 1.2 billion weights; a larger model is calibrated in several passes. */
const HESSIAN_BYTES_MAX = 6e9;

/** Bytes of the Σ x·xᵀ of a layer. */
function hessianBytes(architecture: ArchitectureSpec): number {
  const widths = inputsOf(architecture);
  return layerClasses.reduce((sum, name) => sum + 4 * widths[name] ** 2, 0);
}

export type StatisticsOptions = {
  readonly architecture: ArchitectureSpec;
  readonly windows: readonly Int32Array[];
  readonly hessians: boolean;
  /** Positions that share minima and maxima; absent: all. */
  readonly chunkTokens?: number;
  /** Called in every pass, from 1 on. */
  readonly onWindow?: (done: number) => void;
};

/** The model must be loaded with f32 activations, and idle until `end`. */
export function layerStatistics(
  model: NativeModel,
  { architecture, windows, hessians, chunkTokens, onWindow }: StatisticsOptions,
): { readonly of: LayerStatistics; end(): void } {
  const { layers } = architecture;
  const atOnce = hessians ? Math.max(1, Math.floor(HESSIAN_BYTES_MAX / hessianBytes(architecture))) : layers;
  let current: Calibration | null = null;
  let end = 0;
  const pass = async (from: number): Promise<Calibration> => {
    current?.end();
    end = Math.min(layers, from + atOnce);
    const hessianLayers = hessians ? Array.from({ length: end - from }, (_, i) => from + i) : [];
    current = await calibrate(model, windows, {
      ...{ layers, hessianLayers },
      ...(chunkTokens === undefined ? {} : { chunkTokens }),
      ...(onWindow === undefined ? {} : { onWindow }),
    });
    return current;
  };
  return {
    of: async (layer) => {
      const calibration = current === null || layer >= end ? await pass(layer) : current;
      const [qkv, output] = [calibration.take(layer, 'qkv'), calibration.take(layer, 'output')];
      return { qkv, output, gateUp: calibration.take(layer, 'gateUp'), down: calibration.take(layer, 'down') };
    },
    end: () => current?.end(),
  };
}

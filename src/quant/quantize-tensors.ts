/** Matrices to the blocks of a file: those of a layer by their inputs' statistics, large ones piece by piece. */
import { availableParallelism } from 'node:os';
import { NibbleError } from '../errors.js';
import { encodeFloats } from '../model/float-types.js';
import type { TensorDeclaration } from '../model/gguf-writer.js';
import { weightFormat } from '../model/recipe.js';
import type { Recipe, WeightFormatName } from '../model/recipe-types.js';
import type { CodeFormat, InputStatistics, TensorSpec } from '../native/contract.js';
import { loadAddon } from '../native/load.js';
import { rowsOf, type Source } from './source.js';

/** Values of a matrix that are floats at the same time where rows are quantized each for itself: 64 MB. */
const PIECE_VALUES = 16 * 1024 * 1024;

type Settings = Pick<Recipe, 'rounding' | 'actOrder' | 'damping' | 'sweeps' | 'clip' | 'levels'>;

/** As a file holds it. */
export type QuantizedTensor = TensorDeclaration & { readonly data: Uint8Array };

export type Matrix = { readonly name: string; readonly shape: readonly number[]; readonly values: Float32Array };

const isFloat = (format: WeightFormatName): format is 'f32' | 'f16' | 'bf16' => weightFormat(format).bits >= 16;
const floatTypes = { f32: 'F32', f16: 'F16', bf16: 'BF16' } as const;

type Encoded = { readonly bytes: Uint8Array; readonly error: number };

async function encode(
  values: Float32Array,
  cols: number,
  format: WeightFormatName,
  settings: Settings,
  statistics: InputStatistics | null,
): Promise<Encoded> {
  if (isFloat(format)) return { bytes: encodeFloats(floatTypes[format], values), error: 0 };
  const hessian = settings.rounding === 'gptq' ? (statistics?.hessian ?? null) : null;
  const squares = statistics === null ? null : Float32Array.from(statistics.squares);
  try {
    return await loadAddon().quantizeMatrix({
      weights: values,
      rows: values.length / cols,
      cols,
      format: format satisfies CodeFormat,
      rounding: hessian === null ? 'rtn' : 'gptq',
      clip: settings.clip,
      learnsLevels: settings.levels === 'learned',
      actOrder: settings.actOrder ?? false,
      damping: settings.damping ?? 0.01,
      sweeps: hessian === null ? 0 : (settings.sweeps ?? 0),
      ...(hessian === null ? {} : { hessian }),
      ...(squares === null ? {} : { importance: squares }),
      threads: availableParallelism(),
    });
  } catch (cause) {
    if (!(cause instanceof Error) || cause instanceof NibbleError) throw cause;
    const isNotFinite = 'code' in cause && cause.code === 'model_tensor_not_finite';
    throw new NibbleError(
      isNotFinite ? 'model_tensor_not_finite' : 'engine_failed',
      { message: cause.message },
      { cause },
    );
  }
}

/**
 * Matrices that read the same input, quantized as one: its Hessian is factored once, and rows are independent. `error`:
 * share of the outputs' squares, as `QuantizedMatrix` has it.
 */
export async function quantizeTogether(
  matrices: readonly Matrix[],
  format: WeightFormatName,
  settings: Settings,
  statistics: InputStatistics | null,
): Promise<{ readonly tensors: readonly QuantizedTensor[]; readonly error: number }> {
  const cols = matrices[0]?.shape[0] ?? 1;
  const all = new Float32Array(matrices.reduce((sum, { values }) => sum + values.length, 0));
  let filled = 0;
  for (const { values } of matrices) {
    all.set(values, filled);
    filled += values.length;
  }
  const { bytes, error } = await encode(all, cols, format, settings, statistics);
  // Whole by rows: of a format with a scale per row, the share of one value has no exact quotient.
  const rowBytes = bytes.length / (all.length / cols);
  let start = 0;
  const tensors = matrices.map(({ name, shape, values }) => {
    const data = bytes.subarray(start, start + (values.length / cols) * rowBytes);
    start += data.length;
    return { name, type: weightFormat(format).tensorType, shape, data };
  });
  return { tensors, error };
}

/** A matrix that needs nothing but its own rows, in pieces. */
export async function* quantizeRows(
  source: Source,
  tensor: TensorSpec,
  format: WeightFormatName,
  settings: Settings,
): AsyncGenerator<Uint8Array> {
  const [cols = 1] = tensor.shape;
  const rows = rowsOf(tensor);
  const step = Math.max(1, Math.floor(PIECE_VALUES / cols));
  for (let first = 0; first < rows; first += step) {
    const values = source.floats(tensor, first, Math.min(step, rows - first));
    yield (await encode(values, cols, format, { ...settings, rounding: 'rtn' }, null)).bytes;
  }
}

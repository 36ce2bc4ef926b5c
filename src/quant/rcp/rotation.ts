/**
 * Rotation: the model with its channels mixed by orthogonal matrices, computing the same (inspired by QuaRot, Ashkboos
 * et al. 2024, and SpinQuant, Liu et al. 2024, whose names R1, R2 and R4 are used here; RCP rotates likewise).
 *   R1  the residual stream, n = hidden: gains of the norms go into the matrices behind them, whose rows are rotated;
 *       matrices that write to the stream have their outputs rotated. The engine turns the stream behind the embedding,
 *       and back before the last norm: so a head that is the embedding stays that.
 *   R2  the values of each head, and the inputs of the attention output.
 *   R4  the input of down, n = ffn: the engine rotates it in front of the multiplication.
 * Or, in place of R1, the engine rotates what the norms give: then their gains can balance the channels before they are
 * mixed, which a rotated stream doesn't allow, and what one matrix hardly reads doesn't spoil what it needs.
 * (R3, of queries and keys, belongs to the format of the KV cache.)
 */
import { NibbleError } from '../../errors.js';
import type { Recipe } from '../../model/recipe-types.js';
import type { ArchitectureSpec, InputStatistics, RotationPlace } from '../../native/contract.js';
import { loadAddon } from '../../native/load.js';
import type { HeadShape } from '../channel-factors.js';
import type { LayerFloats, LayerTransform } from '../layer.js';

/** How rows are rotated: by the matrix of their size, or head by head. */
type How = { readonly width: number; readonly how: 'forward' | 'heads' };

const rotateRows = (values: Float32Array, { width, how }: How): Float32Array =>
  loadAddon().rotateRows(values, width, how);

/** Throws `recipe_invalid` if the recipe rotates and a width of the model has no rotation. */
export function checkRotation({ rotation }: Recipe, { hidden, ffn, headDim }: ArchitectureSpec): void {
  if (rotation === undefined) return;
  const widths: readonly How[] = [
    { width: hidden, how: 'forward' },
    { width: ffn, how: 'forward' },
    { width: headDim, how: 'heads' },
  ];
  for (const each of widths) {
    try {
      rotateRows(new Float32Array(each.width), each);
    } catch (cause) {
      const message = `rotation: there is no Hadamard matrix for ${each.width} values, which the model has side by side`;
      throw new NibbleError('recipe_invalid', { message }, { param: 'recipe', cause });
    }
  }
}

/** [rows, columns] → [columns, rows]. */
function transposed(values: Float32Array, columns: number): Float32Array {
  const rows = values.length / columns;
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      out[column * rows + row] = values[row * columns + column] ?? 0;
    }
  }
  return out;
}

/** R · W in place, for a matrix [outputs, inputs]. */
function rotateOutputs(matrix: Float32Array, inputs: number, rotation: How): void {
  matrix.set(transposed(rotateRows(transposed(matrix, inputs), rotation), matrix.length / inputs));
}

/** W · diag(gain) in place. */
function takeGain(matrix: Float32Array, gain: Float32Array): void {
  for (let i = 0; i < matrix.length; i += 1) matrix[i] = (matrix[i] ?? 0) * (gain[i % gain.length] ?? 0);
}

/** R·H·Rᵀ. */
function rotateHessian(hessian: Float32Array, inputs: number, rotation: How): Float32Array {
  return rotateRows(transposed(rotateRows(hessian, rotation), inputs), rotation);
}

/**
 * Statistics of R·(x / gain), for those of x. What a channel with a gain of 0 was like isn't known: 0. Minima and
 * maxima aren't those of the rotated input, and aren't used where there is a rotation.
 */
function rotateStatistics(statistics: InputStatistics, rotation: How, gain: Float32Array | null): InputStatistics {
  const { inputs, hessian } = statistics;
  const inverse = Float64Array.from({ length: inputs }, (_, i) => {
    const factor = gain === null ? 1 : (gain[i] ?? 0);
    return factor === 0 ? 0 : 1 / factor;
  });
  if (hessian === null) {
    const sum = statistics.squares.reduce((all, value, i) => all + value * (inverse[i] ?? 0) ** 2, 0);
    return { ...statistics, squares: new Float64Array(inputs).fill(sum / inputs) };
  }
  const plain = hessian.map((value, i) => value * (inverse[i % inputs] ?? 0) * (inverse[Math.floor(i / inputs)] ?? 0));
  const rotated = rotateHessian(plain, inputs, rotation);
  const squares = Float64Array.from({ length: inputs }, (_, i) => Math.max(0, rotated[i * inputs + i] ?? 0));
  return { ...statistics, hessian: rotated, squares };
}

function tensorOf({ layer, tensors }: LayerFloats, part: string): Float32Array {
  const values = tensors.get(`blk.${layer}.${part}`);
  if (values === undefined) throw new Error(`${part} isn't there as floats`);
  return values;
}

/** Root mean squares of the channels behind a norm; without statistics as if all were alike before its gains. */
function sizesOf(statistics: InputStatistics | undefined, gain: Float32Array): Float64Array {
  if (statistics === undefined) return Float64Array.from(gain, Math.abs);
  return statistics.squares.map((sum) => Math.sqrt(sum / Math.max(1, statistics.tokens)));
}

/**
 * What goes from the channels into the matrices that read them, before both are rotated: least noise of the outputs if
 * rounding spreads its noise evenly over the rotated channels. With x the channels' root mean squares, w the lengths of
 * their columns and f what is taken, that is Σ(x/f)²·Σ(w·f)², least for f² = x/w (Cauchy and Schwarz).
 */
function balance(sizes: Float64Array, matrices: readonly Float32Array[]): Float32Array {
  const width = sizes.length;
  const columns = new Float64Array(width);
  for (const matrix of matrices) {
    for (let i = 0; i < matrix.length; i += 1) columns[i % width] = (columns[i % width] ?? 0) + (matrix[i] ?? 0) ** 2;
  }
  const lengths = columns.map(Math.sqrt);
  const [least, smallest] = [Math.max(...lengths) * 1e-4, Math.max(...sizes) * 1e-4];
  if (least === 0 || smallest === 0) return new Float32Array(width).fill(1);
  return Float32Array.from(lengths, (w, i) => Math.sqrt(Math.max(sizes[i] ?? 0, smallest) / Math.max(w, least)));
}

/** Of a model with such heads; throws `native_invalid_argument` where a width has no rotation. */
export function rotationTransform(
  { headDim }: Pick<HeadShape, 'headDim'>,
  place: RotationPlace = 'hadamard',
): LayerTransform {
  return (layer) => {
    const [attentionGain, ffnGain] = [tensorOf(layer, 'attn_norm.weight'), tensorOf(layer, 'ffn_norm.weight')];
    const down = tensorOf(layer, 'ffn_down.weight');
    const hidden = attentionGain.length;
    const ffn = down.length / hidden;
    const inStream = place === 'hadamard';
    const stream: How = { width: hidden, how: 'forward' };
    const heads: How = { width: headDim, how: 'heads' };
    const gated: How = { width: ffn, how: 'forward' };
    const readers = [
      { input: 'qkv', gain: attentionGain, names: ['attn_q', 'attn_k', 'attn_v'] },
      { input: 'gateUp', gain: ffnGain, names: ['ffn_gate', 'ffn_up'] },
    ] as const;
    for (const { input, gain, names } of readers) {
      const matrices = names.map((name) => tensorOf(layer, `${name}.weight`));
      const statistics = layer.inputs?.[input];
      const taken = inStream ? gain.slice() : balance(sizesOf(statistics, gain), matrices);
      for (const matrix of matrices) {
        takeGain(matrix, taken);
        matrix.set(rotateRows(matrix, stream));
      }
      gain.forEach((value, i) => {
        gain[i] = taken[i] === 0 ? 1 : value / (taken[i] ?? 1);
      });
      if (layer.inputs !== null && statistics !== undefined) {
        layer.inputs[input] = rotateStatistics(statistics, stream, taken);
      }
    }
    rotateOutputs(tensorOf(layer, 'attn_v.weight'), hidden, heads);
    const bias = layer.tensors.get(`blk.${layer.layer}.attn_v.bias`);
    bias?.set(rotateRows(bias, heads));
    const output = tensorOf(layer, 'attn_output.weight');
    output.set(rotateRows(output, heads));
    if (inStream) rotateOutputs(output, output.length / hidden, stream);
    down.set(rotateRows(down, gated));
    if (inStream) rotateOutputs(down, ffn, stream);
    const { inputs } = layer;
    if (inputs !== null) {
      inputs.output = rotateStatistics(inputs.output, heads, null);
      inputs.down = rotateStatistics(inputs.down, gated, null);
    }
    return [];
  };
}

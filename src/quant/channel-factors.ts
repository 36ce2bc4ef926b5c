/**
 * Factors of an input's channels: whatever makes the input is divided by them, the columns that read it are multiplied,
 * so that the layer computes the same but is quantized differently.
 *
 * The makers: the gain of a norm for qkv and gateUp; the rows of V for the attention output, which all query heads of a
 * KV head share; the rows of `up` for down (its product with silu(gate) is linear in `up`).
 */
import type { ArchitectureSpec, LayerInput } from '../native/contract.js';

/** What a factor stands for must be the same for all columns that are made by the same row. */
export type HeadShape = Pick<ArchitectureSpec, 'heads' | 'kvHeads' | 'headDim'>;

/** Tensors that read an input, and what makes it: `weight` vectors and matrices by rows, and the bias of such rows. */
const roles: Readonly<Record<LayerInput, { readonly readers: readonly string[]; readonly makers: readonly string[] }>> =
  {
    qkv: { readers: ['attn_q.weight', 'attn_k.weight', 'attn_v.weight'], makers: ['attn_norm.weight'] },
    output: { readers: ['attn_output.weight'], makers: ['attn_v.weight', 'attn_v.bias'] },
    gateUp: { readers: ['ffn_gate.weight', 'ffn_up.weight'], makers: ['ffn_norm.weight'] },
    down: { readers: ['ffn_down.weight'], makers: ['ffn_up.weight', 'ffn_up.bias'] },
  };

/** Which factor each column of an input has: its own, but for columns that one row of V makes. */
export function factorIndex(input: LayerInput, columns: number, { heads, kvHeads, headDim }: HeadShape): Int32Array {
  if (input !== 'output') return Int32Array.from({ length: columns }, (_, column) => column);
  const group = heads / kvHeads;
  return Int32Array.from({ length: columns }, (_, column) => {
    const kvHead = Math.floor(Math.floor(column / headDim) / group);
    return kvHead * headDim + (column % headDim);
  });
}

/** A value per column → per factor: the largest of the columns that share it. */
export function largestOfShared(values: ArrayLike<number>, index: Int32Array): Float64Array {
  const largest = new Float64Array(index.reduce((most, at) => Math.max(most, at + 1), 0));
  for (const [column, at] of index.entries()) largest[at] = Math.max(largest[at] ?? 0, values[column] ?? 0);
  return largest;
}

/** A value per factor → per column. */
export const perColumn = (factors: ArrayLike<number>, index: Int32Array): Float32Array =>
  Float32Array.from(index, (at) => factors[at] ?? 1);

/** Names of the tensors that read an input of a layer. */
export const readersOf = (layer: number, input: LayerInput): readonly string[] =>
  roles[input].readers.map((name) => `blk.${layer}.${name}`);

/**
 * Folds positive factors, one per factor of `index`, into the tensors of a layer, in place. Powers of two change no
 * value beyond its exponent.
 */
export function foldFactors(
  tensors: ReadonlyMap<string, Float32Array>,
  layer: number,
  input: LayerInput,
  factors: ArrayLike<number>,
  index: Int32Array,
): void {
  const columns = perColumn(factors, index);
  for (const name of readersOf(layer, input)) {
    const matrix = tensors.get(name);
    if (matrix === undefined) throw new Error(`the layer has no ${name}`);
    for (let i = 0; i < matrix.length; i += 1) matrix[i] = (matrix[i] ?? 0) * (columns[i % columns.length] ?? 1);
  }
  for (const name of roles[input].makers) {
    const maker = tensors.get(`blk.${layer}.${name}`);
    if (maker === undefined) continue; // not every model has biases
    const width = maker.length / factors.length; // 1 for a vector
    for (let i = 0; i < maker.length; i += 1) maker[i] = (maker[i] ?? 0) / (factors[Math.floor(i / width)] ?? 1);
  }
}

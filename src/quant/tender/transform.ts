/** Puts the weights of one layer into Tender's order, and says what a file keeps beside them. */

import { I32_TYPE } from '../../model/gguf-types.js';
import type { LayerClass } from '../../model/recipe-types.js';
import { type TenderPart, tenderName } from '../../model/tender-tensors.js';
import type { TenderPlan } from './plan.js';

export type TenderFileTensor = {
  readonly name: string;
  readonly type: number;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
};

const F32_TYPE = 0;

/** w[n][order[i]] at [n][i], in place. */
function permuteColumns(matrix: Float32Array, order: Int32Array): void {
  const width = order.length;
  const row = new Float32Array(width);
  for (let start = 0; start < matrix.length; start += width) {
    row.set(matrix.subarray(start, start + width));
    for (let i = 0; i < width; i += 1) matrix[start + i] = row[order[i] ?? 0] ?? 0;
  }
}

/** Σ_k w[n][k] · bias[k] per row, columns not permuted yet: what the outputs lack once the bias is taken away. */
function biasOutputs(matrices: readonly Float32Array[], bias: Float32Array): Float32Array {
  const width = bias.length;
  const rows = matrices.reduce((sum, { length }) => sum + length / width, 0);
  const outputs = new Float32Array(rows);
  let row = 0;
  for (const matrix of matrices) {
    for (let start = 0; start < matrix.length; start += width, row += 1) {
      let sum = 0;
      for (let k = 0; k < width; k += 1) sum += (matrix[start + k] ?? 0) * (bias[k] ?? 0);
      outputs[row] = sum;
    }
  }
  return outputs;
}

const bytesOf = (values: Int32Array | Float32Array) =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/**
 * Permutes the columns of all matrices that read an input, in the file's order of matrices, and returns the tensors
 * that go with them.
 */
export function applyTender(
  layer: number,
  input: LayerClass,
  plan: TenderPlan,
  matrices: readonly Float32Array[],
): readonly TenderFileTensor[] {
  const tensor = (part: TenderPart, values: Int32Array | Float32Array): TenderFileTensor => ({
    name: tenderName(layer, input, part),
    type: values instanceof Int32Array ? I32_TYPE : F32_TYPE,
    shape: [values.length],
    data: bytesOf(values),
  });
  const isCentred = plan.bias.some((value) => value !== 0);
  const offset = isCentred ? biasOutputs(matrices, plan.bias) : null;
  for (const matrix of matrices) permuteColumns(matrix, plan.order);
  return [
    tensor('order', plan.order),
    tensor('sizes', plan.sizes),
    ...(plan.scales.length === 0 ? [] : [tensor('scales', plan.scales)]),
    ...(offset === null ? [] : [tensor('bias', plan.bias), tensor('offset', offset)]),
  ];
}

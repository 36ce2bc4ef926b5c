/** What a model file is made of, as rows: by class of matrices and format. */
import { expectedTensors } from '../../model/architecture-tensors.js';
import { findTensorFormat, tensorBytes, tensorTypeName } from '../../model/gguf-types.js';
import { kernelFamily } from '../../model/kernel-family.js';
import { activationsFor, layerMatrix } from '../../model/recipe.js';
import type { MatrixClass } from '../../model/recipe-types.js';
import type { ModelFile } from '../../model/types.js';
import type { TensorSpec } from '../../native/contract.js';

/** Matrices of one class, in one format, computed in one way. */
export type FormatRow = {
  readonly matrixClass: MatrixClass | 'vectors' | 'method';
  /** Layers that have them, such as `0-5, 7`; empty: no layer's. */
  readonly layers: string;
  readonly tensors: number;
  readonly type: string;
  readonly activations: string;
  readonly kernels: string;
  readonly bytes: number;
  readonly bitsPerWeight: number;
};

type Seen = Omit<FormatRow, 'layers' | 'bitsPerWeight' | 'tensors' | 'bytes'>;

/** `0-2, 5` of 0, 1, 2, 5. */
export function ranges(numbers: readonly number[]): string {
  const sorted = [...new Set(numbers)].sort((a, b) => a - b);
  const runs: [number, number][] = [];
  for (const number of sorted) {
    const last = runs.at(-1);
    if (last !== undefined && last[1] === number - 1) last[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([from, to]) => (from === to ? String(from) : `${from}-${to}`)).join(', ');
}

const bytesOf = ({ type, shape }: TensorSpec): number => {
  const format = findTensorFormat(type);
  return format === null ? 0 : Number(tensorBytes(format, shape) ?? 0n);
};

function seen(file: ModelFile, { name, type, shape }: TensorSpec, isExpected: boolean): Seen {
  const typeName = tensorTypeName(type);
  const matrix = layerMatrix(name);
  const none = { type: typeName, activations: '', kernels: '' };
  if (!isExpected) return { matrixClass: 'method', ...none };
  if (shape.length === 1) return { matrixClass: 'vectors', ...none };
  const isTied = name === 'token_embd.weight' && !file.tensors.some((tensor) => tensor.name === 'output.weight');
  if (name === 'token_embd.weight' && !isTied) return { matrixClass: 'embedding', ...none };
  const isFloat = ['F32', 'F16', 'BF16'].includes(typeName);
  const activations = isFloat ? 'f32' : activationsFor(file, null, name);
  const kernels = kernelFamily(typeName, activations) ?? activations;
  return { matrixClass: matrix?.matrixClass ?? 'head', type: typeName, activations, kernels };
}

const order: readonly FormatRow['matrixClass'][] = [
  ...(['qkv', 'output', 'gateUp', 'down', 'head', 'embedding', 'vectors', 'method'] as const),
];

/** Classes in their order, the largest first within one. */
export function formatRows(file: ModelFile): FormatRow[] {
  const expected = expectedTensors(file.architecture);
  const groups = new Map<string, { readonly what: Seen; readonly tensors: TensorSpec[] }>();
  for (const tensor of file.tensors) {
    const what = seen(file, tensor, expected.has(tensor.name));
    const key = JSON.stringify(what);
    const group = groups.get(key) ?? { what, tensors: [] };
    group.tensors.push(tensor);
    groups.set(key, group);
  }
  const rows = [...groups.values()].map(({ what, tensors }): FormatRow => {
    const layers = tensors.flatMap(({ name }) => /^blk\.(\d+)\./.exec(name)?.[1] ?? []).map(Number);
    const bytes = tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0);
    const values = tensors.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
    return { ...what, layers: ranges(layers), tensors: tensors.length, bytes, bitsPerWeight: (8 * bytes) / values };
  });
  const place = (row: FormatRow) => order.indexOf(row.matrixClass);
  return rows.sort((a, b) => place(a) - place(b) || b.bytes - a.bytes);
}

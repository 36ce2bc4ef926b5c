/** Which tensors an architecture has, and the check that a file holds exactly these with the right shapes and bytes. */
import { NibbleError } from '../errors.js';
import type { ArchitectureSpec, TensorSpec } from '../native/contract.js';
import type { GgufHeader, GgufTensor } from './gguf-reader.js';
import {
  FORMAT_VERSION_KEY,
  findTensorFormat,
  I32_TYPE,
  isOwnTensorFormat,
  tensorBytes,
  tensorTypeName,
} from './gguf-types.js';
import { type TenderTensor, tenderTensor } from './tender-tensors.js';

/** Inputs per tile of packed weights: the width of every matrix must be whole tiles. */
const TILE_INPUTS = 32;

type Expected = { readonly shape: readonly number[]; readonly optional: boolean };
/** Every tensor the architecture can have; shapes in GGUF order, `[inputs, outputs]` or `[size]`. */
export function expectedTensors(spec: ArchitectureSpec): ReadonlyMap<string, Expected> {
  const { hidden, ffn, vocab, headDim } = spec;
  const queryWidth = spec.heads * headDim;
  const keyWidth = spec.kvHeads * headDim;
  const expected = new Map<string, Expected>();
  const add = (name: string, shape: readonly number[], optional = false) => expected.set(name, { shape, optional });
  add('token_embd.weight', [hidden, vocab]);
  add('output_norm.weight', [hidden]);
  add('output.weight', [hidden, vocab], true);
  add('rope_freqs.weight', [spec.rope.dimensions / 2], true);
  for (let layer = 0; layer < spec.layers; layer += 1) {
    const block = `blk.${layer}`;
    add(`${block}.attn_norm.weight`, [hidden]);
    add(`${block}.attn_q.weight`, [hidden, queryWidth]);
    add(`${block}.attn_k.weight`, [hidden, keyWidth]);
    add(`${block}.attn_v.weight`, [hidden, keyWidth]);
    add(`${block}.attn_output.weight`, [queryWidth, hidden]);
    add(`${block}.attn_q.bias`, [queryWidth], !spec.qkvBias);
    add(`${block}.attn_k.bias`, [keyWidth], !spec.qkvBias);
    add(`${block}.attn_v.bias`, [keyWidth], !spec.qkvBias);
    if (spec.qkNorm) {
      add(`${block}.attn_q_norm.weight`, [headDim]);
      add(`${block}.attn_k_norm.weight`, [headDim]);
    }
    add(`${block}.ffn_norm.weight`, [hidden]);
    add(`${block}.ffn_gate.weight`, [hidden, ffn]);
    add(`${block}.ffn_up.weight`, [hidden, ffn]);
    add(`${block}.ffn_down.weight`, [ffn, hidden]);
  }
  return expected;
}

/**
 * Checks names, shapes, types and byte ranges.
 * Throws `model_tensor_missing`, `model_tensor_unknown`, `model_tensor_shape`, `model_tensor_type_unsupported`,
 * `model_tensor_out_of_range`, and `model_file_invalid` for a name that occurs twice.
 */
export function checkTensors(
  header: GgufHeader,
  architectureName: string,
  spec: ArchitectureSpec,
): readonly TensorSpec[] {
  const expected = expectedTensors(spec);
  const seen = new Set<string>();
  for (const { name } of header.tensors) {
    if (seen.has(name)) {
      throw new NibbleError('model_file_invalid', { path: header.path, message: `tensor '${name}' occurs twice` });
    }
    seen.add(name);
  }
  for (const [name, { optional }] of expected) {
    if (!optional && !seen.has(name)) {
      throw new NibbleError('model_tensor_missing', { message: `The model file has no tensor '${name}'.` });
    }
  }
  const isOwnFile = header.metadata.has(FORMAT_VERSION_KEY);
  const ends = header.tensors.map((tensor) => {
    const rule = expected.get(tensor.name) ?? (isOwnFile ? tenderTensor(tensor.name, spec) : undefined);
    // Ignoring a tensor would compute something else than its author meant.
    if (rule === undefined) {
      throw new NibbleError('model_tensor_unknown', { tensor: tensor.name, architecture: architectureName });
    }
    if (isOwnTensorFormat(tensor.type) && !isOwnFile) {
      throw new NibbleError('model_tensor_type_unsupported', {
        tensor: tensor.name,
        type: `${tensorTypeName(tensor.type)} in a file without ${FORMAT_VERSION_KEY}`,
      });
    }
    return checkTensor(tensor, rule, header.fileBytes);
  });
  checkOverlap(header.tensors, ends);
  return header.tensors;
}

/** Returns where the tensor ends in the file. */
function checkTensor(tensor: GgufTensor, rule: Expected | TenderTensor, fileBytes: number): number {
  const { name, type, shape, offset } = tensor;
  const format = findTensorFormat(type);
  // Vectors (norms, biases) are used as they are, never packed.
  const isMatrix = rule.shape !== null && rule.shape.length > 1;
  const isInteger = 'integers' in rule && rule.integers;
  if (format === null || (!isMatrix && format.blockElements > 1) || isInteger !== (type === I32_TYPE)) {
    throw new NibbleError('model_tensor_type_unsupported', { tensor: name, type: tensorTypeName(type) });
  }
  const wanted = rule.shape ?? [Math.min(Math.max(1, shape[0] ?? 0), rule.most)];
  if (shape.length !== wanted.length || shape.some((size, dimension) => size !== wanted[dimension])) {
    const message = `Tensor '${name}' has the shape [${shape.join(', ')}]; expected is [${wanted.join(', ')}].`;
    throw new NibbleError('model_tensor_shape', { message });
  }
  const bytes = tensorBytes(format, shape);
  if (bytes === null || (isMatrix && (shape[0] ?? 0) % TILE_INPUTS !== 0)) {
    const multiple = Math.max(TILE_INPUTS, format.blockElements);
    const rows = `rows of ${shape[0]} inputs; they must be a multiple of ${multiple}`;
    const message = `Tensor '${name}' (${format.name}) has ${rows}.`;
    throw new NibbleError('model_tensor_shape', { message });
  }
  const end = BigInt(offset) + bytes;
  if (end > BigInt(fileBytes)) {
    const message = `Tensor '${name}' ends at byte ${end}; the file has ${fileBytes}.`;
    throw new NibbleError('model_tensor_out_of_range', { message });
  }
  return Number(end);
}

function checkOverlap(tensors: readonly GgufTensor[], ends: readonly number[]): void {
  const ranges = tensors.map((tensor, index) => ({ name: tensor.name, start: tensor.offset, end: ends[index] ?? 0 }));
  ranges.sort((left, right) => left.start - right.start);
  ranges.reduce((before, after) => {
    if (after.start < before.end) {
      const message = `Tensors '${before.name}' and '${after.name}' overlap.`;
      throw new NibbleError('model_tensor_out_of_range', { message });
    }
    return after;
  });
}

import type { TensorSpec } from '../native/contract.js';
import { tensorTypeName } from './gguf-types.js';

/**
 * Bits that a weight of a matrix takes once it is packed, by the name of its type in the file: tiles of
 * native/formats/weight_format.h, scales and minima included. Types with fewer bits than four, or with groups of 16,
 * grow.
 */
const packedBits: Readonly<Record<string, number>> = {
  F32: 32,
  F16: 16,
  BF16: 16,
  Q4_0: 4.5,
  Q4_1: 5,
  Q4_K: 6,
  Q8_0: 8.5,
  Q5_0: 8.5,
  Q5_1: 9,
  Q5_K: 10,
  Q3_K: 10,
  Q6_K: 10,
  Q2_K: 12,
  NB_W4G64: 4.25,
  NB_W4G64A: 4.5,
  NB_W4G128: 4.125,
  NB_W4G128A: 4.25,
  NB_W8G64: 8.25,
  NB_W8G128: 8.125,
  NB_W8ROW: 8,
  NB_W4ROW: 4,
  NB_W2G64C: 2.75,
  NB_W2G128C: 2.375,
  NB_W1G64: 1.25,
  NB_W1G128: 1.125,
  NB_W2G64: 2.25,
  NB_W2G64A: 2.5,
  NB_W2G128: 2.125,
  NB_W3G64: 3.25,
  NB_W3G128: 3.125,
  NB_W4G64P: 4.25,
  NB_T2G64: 2.5,
  TQ1_0: 2.5,
  TQ2_0: 2.5,
};

/** About what the weights take in memory once they are packed, bytes. */
export function packedBytes(tensors: readonly TensorSpec[]): number {
  const bitsOf = ({ type, shape: [k = 1, n = 1] }: TensorSpec): number =>
    // Vectors are kept as floats; rows come in tiles of 16.
    n === 1 ? k * 32 : k * Math.ceil(n / 16) * 16 * (packedBits[tensorTypeName(type)] ?? 32);
  return tensors.reduce((sum, tensor) => sum + bitsOf(tensor) / 8, 0);
}

/** The same of the matrix that gives the logits: the embedding, where there is no other. */
export function packedHeadBytes(tensors: readonly TensorSpec[]): number {
  const named = (wanted: string) => tensors.filter(({ name }) => name === wanted);
  const own = named('output.weight');
  return packedBytes(own.length > 0 ? own : named('token_embd.weight'));
}

/**
 * Tensor data for generated models. The simple formats are encoded from values as ggml's reference does
 * (ggml-quants.c); K-quants and Nibble's own formats get random but valid blocks of the wanted spread.
 */
import { Random } from '../../random.js';
import { encodeFloats, type FloatType, toHalf } from '../float-types.js';
import { findTensorFormatByName } from '../gguf-types.js';

type BlockEncoder = (values: Float32Array, from: number, out: Buffer, at: number) => void;
type GroupFormat = 'Q8_0' | 'Q4_0' | 'Q4_1' | 'Q5_0' | 'Q5_1';
type SuperFormat = 'Q2_K' | 'Q3_K' | 'Q4_K' | 'Q5_K' | 'Q6_K';
type OwnFormat = 'NB_W4G64' | 'NB_W4G64A' | 'NB_W4G128' | 'NB_W4G128A' | 'NB_W8G64' | 'NB_W8G128';
type PlaneFormat =
  | 'NB_W1G64'
  | 'NB_W1G128'
  | 'NB_W2G64'
  | 'NB_W2G64A'
  | 'NB_W2G128'
  | 'NB_W3G64'
  | 'NB_W3G128'
  | 'NB_W4G64P';
type RandomFormat = SuperFormat | OwnFormat | PlaneFormat;
export type TensorTypeName = FloatType | GroupFormat | RandomFormat;

const GROUP = 32;
const value = (values: Float32Array, index: number) => values[index] ?? 0;

/** Signed value of largest magnitude. */
function extreme(values: Float32Array, from: number): number {
  let found = 0;
  for (let i = 0; i < GROUP; i += 1)
    if (Math.abs(value(values, from + i)) > Math.abs(found)) found = value(values, from + i);
  return found;
}

const inverse = (scale: number) => (scale === 0 ? 0 : Math.fround(1 / scale));

function encodeQ8(values: Float32Array, from: number, out: Buffer, at: number): void {
  const scale = Math.fround(Math.abs(extreme(values, from)) / 127);
  out.writeUInt16LE(toHalf(scale), at);
  for (let i = 0; i < GROUP; i += 1) {
    const scaled = value(values, from + i) * inverse(scale);
    out.writeInt8(Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5), at + 2 + i);
  }
}

/** Symmetric 4 and 5 bits: the value of largest magnitude becomes the lowest code. */
const symmetric = (bits: 4 | 5): BlockEncoder => {
  const half = 2 ** (bits - 1);
  return (values, from, out, at) => {
    const scale = Math.fround(extreme(values, from) / -half);
    out.writeUInt16LE(toHalf(scale), at);
    const code = (i: number) =>
      Math.min(2 * half - 1, Math.trunc(value(values, from + i) * inverse(scale) + half + 0.5));
    packCodes(code, bits, out, at + 2);
  };
};

const affine = (bits: 4 | 5): BlockEncoder => {
  const top = 2 ** bits - 1;
  return (values, from, out, at) => {
    const group = values.subarray(from, from + GROUP);
    const minimum = Math.min(...group);
    const scale = Math.fround((Math.max(...group) - minimum) / top);
    out.writeUInt16LE(toHalf(scale), at);
    out.writeUInt16LE(toHalf(minimum), at + 2);
    const code = (i: number) => Math.min(top, Math.trunc((value(group, i) - minimum) * inverse(scale) + 0.5));
    packCodes(code, bits, out, at + 4);
  };
};

/** Low nibbles hold inputs 0–15, high ones 16–31; fifth bits come first as one u32. */
function packCodes(code: (i: number) => number, bits: 4 | 5, out: Buffer, at: number): void {
  const nibbles = bits === 5 ? at + 4 : at;
  let fifth = 0;
  for (let i = 0; i < GROUP; i += 1) if (code(i) & 16) fifth += 2 ** i;
  if (bits === 5) out.writeUInt32LE(fifth, at);
  for (let i = 0; i < 16; i += 1) out.writeUInt8((code(i) & 15) | ((code(i + 16) & 15) << 4), nibbles + i);
}

const groupFormats: Readonly<Record<GroupFormat, { readonly bytes: number; readonly encode: BlockEncoder }>> = {
  Q8_0: { bytes: 34, encode: encodeQ8 },
  Q4_0: { bytes: 18, encode: symmetric(4) },
  Q4_1: { bytes: 20, encode: affine(4) },
  Q5_0: { bytes: 22, encode: symmetric(5) },
  Q5_1: { bytes: 24, encode: affine(5) },
};

/** Where a block keeps its f16 scale (and minimum), and its spread per unit of scale if all else is random. */
const randomFormats: Readonly<
  Record<
    RandomFormat,
    {
      readonly bytes: number;
      readonly scaleAt: number;
      readonly minAt: number;
      readonly spread: number;
      readonly minRatio: number;
    }
  >
> = {
  Q2_K: { bytes: 84, scaleAt: 80, minAt: 82, spread: 16, minRatio: 1.5 },
  Q3_K: { bytes: 110, scaleAt: 108, minAt: -1, spread: 42, minRatio: 0 },
  Q4_K: { bytes: 144, scaleAt: 0, minAt: 2, spread: 300, minRatio: 7.5 },
  Q5_K: { bytes: 176, scaleAt: 0, minAt: 2, spread: 620, minRatio: 15.5 },
  Q6_K: { bytes: 210, scaleAt: 208, minAt: -1, spread: 1366, minRatio: 0 },
  NB_W4G64: { bytes: 34, scaleAt: 0, minAt: -1, spread: 4.6, minRatio: 0 },
  NB_W4G64A: { bytes: 36, scaleAt: 0, minAt: 2, spread: 4.6, minRatio: -7.5 },
  NB_W4G128: { bytes: 66, scaleAt: 0, minAt: -1, spread: 4.6, minRatio: 0 },
  NB_W4G128A: { bytes: 68, scaleAt: 0, minAt: 2, spread: 4.6, minRatio: -7.5 },
  NB_W8G64: { bytes: 66, scaleAt: 0, minAt: -1, spread: 74, minRatio: 0 },
  NB_W8G128: { bytes: 130, scaleAt: 0, minAt: -1, spread: 74, minRatio: 0 },
  NB_W1G64: { bytes: 10, scaleAt: 0, minAt: -1, spread: 0.5, minRatio: 0 },
  NB_W1G128: { bytes: 18, scaleAt: 0, minAt: -1, spread: 0.5, minRatio: 0 },
  NB_W2G64: { bytes: 18, scaleAt: 0, minAt: -1, spread: 1.12, minRatio: 0 },
  NB_W2G64A: { bytes: 20, scaleAt: 0, minAt: 2, spread: 1.12, minRatio: -1.5 },
  NB_W2G128: { bytes: 34, scaleAt: 0, minAt: -1, spread: 1.12, minRatio: 0 },
  NB_W3G64: { bytes: 26, scaleAt: 0, minAt: -1, spread: 2.3, minRatio: 0 },
  NB_W3G128: { bytes: 50, scaleAt: 0, minAt: -1, spread: 2.3, minRatio: 0 },
  NB_W4G64P: { bytes: 34, scaleAt: 0, minAt: -1, spread: 4.6, minRatio: 0 },
};

/** Every format that can be generated. */
export const tensorTypeNames: readonly TensorTypeName[] = [
  ...(['F32', 'F16', 'BF16'] as const),
  ...(Object.keys(groupFormats) as GroupFormat[]),
  ...(Object.keys(randomFormats) as RandomFormat[]),
];

/** Elements that are drawn afresh at a time, whole super-blocks: a piece is at most 1 MiB. */
const PIECE_ELEMENTS = 1 << 18;

/**
 * Bytes of `count` values of the given standard deviation around `mean`, in the format, in pieces. What exceeds the
 * first piece repeats it from another block on: speed doesn't depend on values, and drawing billions takes minutes.
 */
export function* randomTensor(
  type: TensorTypeName,
  count: number,
  mean: number,
  deviation: number,
  seed: number,
): Generator<Buffer> {
  const random = new Random(seed);
  const first = randomPiece(type, Math.min(count, PIECE_ELEMENTS), mean, deviation, random);
  yield first;
  const blockBytes = findTensorFormatByName(type)?.blockBytes ?? first.length;
  const bytesPerElement = first.length / Math.min(count, PIECE_ELEMENTS);
  for (let done = PIECE_ELEMENTS; done < count; done += PIECE_ELEMENTS) {
    const bytes = Math.min(count - done, PIECE_ELEMENTS) * bytesPerElement;
    const start = random.below(first.length / blockBytes) * blockBytes;
    yield Buffer.concat([first.subarray(start), first.subarray(0, start)], first.length).subarray(0, bytes);
  }
}

function randomPiece(type: TensorTypeName, count: number, mean: number, deviation: number, random: Random): Buffer {
  if (type in randomFormats) return randomBlocks(type as RandomFormat, count, deviation, random);
  return encodeTensor(
    type as FloatType | GroupFormat,
    Float32Array.from({ length: count }, () => mean + deviation * random.normal()),
  );
}

/** Encodes values; their count must be whole blocks. */
export function encodeTensor(type: FloatType | GroupFormat, values: Float32Array): Buffer {
  if (type === 'F32' || type === 'F16' || type === 'BF16') return encodeFloats(type, values);
  const { bytes, encode } = groupFormats[type];
  const out = Buffer.alloc((values.length / GROUP) * bytes);
  for (let block = 0; block * GROUP < values.length; block += 1) encode(values, block * GROUP, out, block * bytes);
  return out;
}

function randomBlocks(type: RandomFormat, count: number, deviation: number, random: Random): Buffer {
  const { bytes, scaleAt, minAt, spread, minRatio } = randomFormats[type];
  const out = Buffer.alloc((count / (findTensorFormatByName(type)?.blockElements ?? 256)) * bytes);
  for (let at = 0; at < out.length; at += 1) out[at] = random.u32() & 0xff;
  for (let block = 0; block < out.length; block += bytes) {
    const scale = (deviation / spread) * (0.75 + random.uniform() / 2);
    out.writeUInt16LE(toHalf(scale), block + scaleAt);
    if (minAt >= 0) out.writeUInt16LE(toHalf(scale * minRatio), block + minAt);
  }
  return out;
}

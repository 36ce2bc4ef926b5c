/**
 * The GGUF container's vocabulary: value types of the metadata and block formats of the tensors.
 * Source: the GGUF specification (ggml, docs/gguf.md) and ggml-common.h for the block sizes.
 */

export type GgufIntegerType = 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32';
export type GgufNumberType = GgufIntegerType | 'f32' | 'f64';
export type GgufScalarType = GgufNumberType | 'u64' | 'i64' | 'bool' | 'string';

/** A metadata value with its type, so that a file can be copied without changing a byte of its meaning. */
export type GgufValue =
  | { readonly type: GgufNumberType; readonly value: number }
  | { readonly type: 'u64' | 'i64'; readonly value: bigint }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'array'; readonly of: GgufNumberType; readonly value: ArrayLike<number> }
  | { readonly type: 'array'; readonly of: 'u64' | 'i64'; readonly value: readonly bigint[] }
  | { readonly type: 'array'; readonly of: 'bool'; readonly value: readonly boolean[] }
  | { readonly type: 'array'; readonly of: 'string'; readonly value: readonly string[] };

/** Keys in file order. */
export type GgufMetadata = ReadonlyMap<string, GgufValue>;

export const GGUF_MAGIC = 0x46554747;
export const GGUF_VERSION = 3;
export const GGUF_ARRAY_TYPE = 9;
export const GGUF_ALIGNMENT_DEFAULT = 32;

/** Index = the type's number in the file; 9 is the array type. */
export const ggufValueTypes: readonly (GgufScalarType | 'array')[] = [
  'u8',
  'i8',
  'u16',
  'i16',
  'u32',
  'i32',
  'f32',
  'bool',
  'string',
  'array',
  'u64',
  'i64',
  'f64',
];

/** Bytes of one value; a string is at least its length field. */
export const ggufScalarBytes: Readonly<Record<GgufScalarType, number>> = {
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  bool: 1,
  string: 8,
  u64: 8,
  i64: 8,
  f64: 8,
};

export type TensorFormat = {
  readonly id: number;
  readonly name: string;
  /** A row is stored in blocks of so many elements, each of so many bytes. */
  readonly blockElements: number;
  readonly blockBytes: number;
  /** Before the first block of each row. */
  readonly rowBytes: number;
};

const format = (id: number, name: string, blockElements: number, blockBytes: number, rowBytes = 0): TensorFormat => ({
  id,
  name,
  blockElements,
  blockBytes,
  rowBytes,
});

/** Whole numbers: orders and sizes, never weights. */
export const I32_TYPE = 26;

/** The common tensor formats that Nibble computes with. */
const tensorFormats: readonly TensorFormat[] = [
  format(0, 'F32', 1, 4),
  format(1, 'F16', 1, 2),
  format(30, 'BF16', 1, 2),
  format(2, 'Q4_0', 32, 18),
  format(3, 'Q4_1', 32, 20),
  format(6, 'Q5_0', 32, 22),
  format(7, 'Q5_1', 32, 24),
  format(8, 'Q8_0', 32, 34),
  format(10, 'Q2_K', 256, 84),
  format(11, 'Q3_K', 256, 110),
  format(12, 'Q4_K', 256, 144),
  format(13, 'Q5_K', 256, 176),
  format(14, 'Q6_K', 256, 210),
  format(34, 'TQ1_0', 256, 54),
  format(35, 'TQ2_0', 256, 66),
];

/**
 * Nibble's own tensor formats: groups of 64 and 128 inputs, 4 bits symmetric (w = d·(q − 8)) or affine (w = d·q + m),
 * or 8 bits; rows with one scale; 2 bits that choose among four levels of the group; bit planes of 1 to 4 bits
 * (w = d·(q − (2^bits − 1)/2)). Layouts: native/formats/pack.h. Only files that name a `nibble.format_version` may hold
 * them, and integers.
 */
const ownTensorFormats: readonly TensorFormat[] = [
  format(20001, 'NB_W4G64', 64, 34),
  format(20002, 'NB_W4G64A', 64, 36),
  format(20003, 'NB_W4G128', 128, 66),
  format(20004, 'NB_W4G128A', 128, 68),
  format(20005, 'NB_W8G64', 64, 66),
  format(20006, 'NB_W8G128', 128, 130),
  format(20010, 'NB_W8ROW', 32, 32, 4),
  format(20011, 'NB_W4ROW', 32, 16, 4),
  format(20030, 'NB_W2G64C', 64, 22),
  format(20031, 'NB_W2G128C', 128, 38),
  format(20020, 'NB_W1G64', 64, 10),
  format(20021, 'NB_W1G128', 128, 18),
  format(20022, 'NB_W2G64', 64, 18),
  format(20023, 'NB_W2G64A', 64, 20),
  format(20024, 'NB_W2G128', 128, 34),
  format(20025, 'NB_W3G64', 64, 26),
  format(20026, 'NB_W3G128', 128, 50),
  format(20027, 'NB_W4G64P', 64, 34),
  format(20028, 'NB_T2G64', 64, 18),
  format(I32_TYPE, 'I32', 1, 4),
];

/** Says that a file was written by Nibble and may hold its own tensor formats. */
export const FORMAT_VERSION_KEY = 'nibble.format_version';

/** Names of formats that exist but aren't supported, for a useful refusal. */
const otherFormats: Readonly<Record<number, string>> = {
  9: 'Q8_1',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  20: 'IQ4_NL',
  21: 'IQ3_S',
  22: 'IQ2_S',
  23: 'IQ4_XS',
  24: 'I8',
  25: 'I16',
  27: 'I64',
  28: 'F64',
  29: 'IQ1_M',
  39: 'MXFP4',
};

const known = [...tensorFormats, ...ownTensorFormats];
const formatById = new Map(known.map((entry) => [entry.id, entry]));
const formatByName = new Map(known.map((entry) => [entry.name, entry]));
const ownIds = new Set(ownTensorFormats.map(({ id }) => id));

/** Whether only Nibble's own files may hold tensors of this type. */
export const isOwnTensorFormat = (id: number): boolean => ownIds.has(id);

/** The supported format with this GGML type id, or null. */
export function findTensorFormat(id: number): TensorFormat | null {
  return formatById.get(id) ?? null;
}

/** The supported format of this name (`Q4_1`), or null. */
export function findTensorFormatByName(name: string): TensorFormat | null {
  return formatByName.get(name) ?? null;
}

/** A printable name for any type id. */
export function tensorTypeName(id: number): string {
  return formatById.get(id)?.name ?? otherFormats[id] ?? `number ${id}`;
}

/** Bytes of a tensor of `shape` (GGUF order: the row length first); null if rows aren't whole blocks. */
export function tensorBytes(tensorFormat: TensorFormat, shape: readonly number[]): bigint | null {
  const [rowElements = 1, ...rest] = shape;
  if (rowElements % tensorFormat.blockElements !== 0) return null;
  const blocks = BigInt(rowElements / tensorFormat.blockElements);
  const rowBytes = blocks * BigInt(tensorFormat.blockBytes) + BigInt(tensorFormat.rowBytes);
  return rest.reduce((bytes, count) => bytes * BigInt(count), rowBytes);
}

/**
 * Reads the header of a GGUF file (version 2 or 3, little-endian): metadata and tensor descriptions, no weights.
 *
 * Every length is checked against the file before it is believed, and the work is bounded by the bytes that are really
 * there. Why not a library: @huggingface/gguf (0.4.6) takes bytes past the end of a file for zeros, drops U+FEFF at the
 * start of a token, cuts the last string of an array that lies across its 2 MB read border, and re-parses an array for
 * each such border; the walk that would have to guard it reads the same bytes. Tests compare the two where both work.
 */
import { type FileHandle, open, stat } from 'node:fs/promises';
import { NibbleError, reasonOf } from '../errors.js';
import {
  GGUF_ALIGNMENT_DEFAULT,
  GGUF_MAGIC,
  type GgufMetadata,
  type GgufScalarType,
  type GgufValue,
  ggufScalarBytes,
  ggufValueTypes,
} from './gguf-types.js';

/** Enough for the header of a 50k-token vocabulary; the next read, four times as much, for one of 128k tokens. */
const FIRST_READ_BYTES = 2 * 1024 * 1024;
/** The largest vocabularies (260k tokens, 500k merges) need about 16 MB. */
const HEADER_BYTES_MAX = 64 * 1024 * 1024;
/** Known files have about 50 keys; large ones some 1000 tensors a hundred layers. */
const KEYS_MAX = 65_536;
const TENSORS_MAX = 65_536;
/** All array elements of a header together: bounds the memory that one-byte elements could take when decoded. */
const ELEMENTS_MAX = 4_000_000;
/** ggml allows 64 bytes; keys may have 65,535. */
const NAME_BYTES_MAX = 256;
const KEY_BYTES_MAX = 65_535;
const DIMENSIONS_MAX = 4;

/** A tensor as described by the header; types and sizes are not judged yet. */
export type GgufTensor = {
  readonly name: string;
  readonly type: number;
  readonly shape: readonly number[];
  /** Absolute position in the file, bytes. */
  readonly offset: number;
};

export type GgufHeader = {
  readonly path: string;
  readonly fileBytes: number;
  readonly version: number;
  readonly metadata: GgufMetadata;
  /** Where the value of a key (its type first) stands in the file, `[start, end)`, for copying it unchanged. */
  readonly valueRanges: ReadonlyMap<string, readonly [number, number]>;
  readonly tensors: readonly GgufTensor[];
  readonly alignment: number;
  /** Where tensor data starts, bytes. */
  readonly dataOffset: number;
};

class BufferTooShort extends Error {}

const invalid = (path: string, message: string) => new NibbleError('model_file_invalid', { path, message });

/** Walks the header; knows the file's size although only its first bytes are in memory. */
class Cursor {
  offset = 0;
  elements = 0;
  constructor(
    readonly path: string,
    private readonly bytes: Buffer,
    readonly fileBytes: number,
  ) {}

  /** Claims `count` bytes and returns where they start. */
  take(count: number, what: string): number {
    const start = this.offset;
    if (count > this.fileBytes - start) {
      throw invalid(this.path, `it ends within ${what} (at byte ${this.fileBytes}; ${start + count} are needed)`);
    }
    if (start + count > this.bytes.length) throw new BufferTooShort();
    this.offset = start + count;
    return start;
  }

  u32(what: string): number {
    return this.bytes.readUInt32LE(this.take(4, what));
  }

  u64(what: string): bigint {
    return this.bytes.readBigUInt64LE(this.take(8, what));
  }

  /** A count of things that take at least `bytesEach`: more than fit into the rest of the file is refused. */
  count(what: string, max: number, bytesEach: number): number {
    const value = this.u64(what);
    if (value > BigInt(max)) throw invalid(this.path, `${what} is ${value}; at most ${max} are allowed`);
    const count = Number(value);
    if (count * bytesEach > this.fileBytes - this.offset) {
      throw invalid(this.path, `${what} is ${count}, which does not fit into the file`);
    }
    return count;
  }

  string(what: string, bytesMax: number): string {
    // A header has 100,000 strings and more: what is short and wholly in memory takes no checks one by one, no bigints.
    const { bytes, offset } = this;
    if (offset + 8 <= bytes.length && bytes.readUInt32LE(offset + 4) === 0) {
      const end = offset + 8 + bytes.readUInt32LE(offset);
      if (end <= bytes.length && end - offset - 8 <= bytesMax) {
        this.offset = end;
        return bytes.toString('utf8', offset + 8, end);
      }
    }
    const length = this.count(`the length of ${what}`, bytesMax, 1);
    const start = this.take(length, what);
    return this.bytes.toString('utf8', start, start + length);
  }

  integer(type: 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'f32' | 'f64', what: string): number {
    const start = this.take(ggufScalarBytes[type], what);
    switch (type) {
      case 'u8':
        return this.bytes.readUInt8(start);
      case 'i8':
        return this.bytes.readInt8(start);
      case 'u16':
        return this.bytes.readUInt16LE(start);
      case 'i16':
        return this.bytes.readInt16LE(start);
      case 'u32':
        return this.bytes.readUInt32LE(start);
      case 'i32':
        return this.bytes.readInt32LE(start);
      case 'f32':
        return this.bytes.readFloatLE(start);
      case 'f64':
        return this.bytes.readDoubleLE(start);
    }
  }

  bigint(type: 'u64' | 'i64', what: string): bigint {
    const start = this.take(8, what);
    return type === 'u64' ? this.bytes.readBigUInt64LE(start) : this.bytes.readBigInt64LE(start);
  }

  bool(what: string): boolean {
    const byte = this.bytes.readUInt8(this.take(1, what));
    if (byte > 1) throw invalid(this.path, `${what} is a bool with the value ${byte}`);
    return byte === 1;
  }
}

/**
 * Reads and checks the header of `path`.
 * Throws NibbleError `model_file_not_found`, `model_file_unreadable`, `model_file_invalid`, `model_tensor_shape`,
 * `model_tensor_out_of_range`.
 */
export async function readGgufHeader(path: string): Promise<GgufHeader> {
  let file: FileHandle | null = null;
  try {
    // Asked before opening: opening a pipe would wait for its writer.
    const status = await stat(path);
    if (!status.isFile()) throw new NibbleError('model_file_unreadable', { path, message: 'it is not a regular file' });
    file = await open(path, 'r');
    return await readFrom(file, path, (await file.stat()).size);
  } catch (error) {
    if (error instanceof NibbleError) throw error;
    const cause = error as NodeJS.ErrnoException;
    if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') {
      throw new NibbleError('model_file_not_found', { path }, { cause });
    }
    throw new NibbleError('model_file_unreadable', { path, message: reasonOf(cause) }, { cause });
  } finally {
    await file?.close();
  }
}

async function readFrom(file: FileHandle, path: string, fileBytes: number): Promise<GgufHeader> {
  const readMax = Math.min(fileBytes, HEADER_BYTES_MAX);
  for (let readBytes = Math.min(readMax, FIRST_READ_BYTES); ; readBytes = Math.min(readMax, readBytes * 4)) {
    const buffer = Buffer.allocUnsafe(readBytes);
    let filled = 0;
    while (filled < readBytes) {
      const { bytesRead } = await file.read(buffer, filled, readBytes - filled, filled);
      if (bytesRead === 0) throw invalid(path, 'it became shorter while being read');
      filled += bytesRead;
    }
    try {
      return parseGgufHeader(path, buffer, fileBytes);
    } catch (error) {
      if (!(error instanceof BufferTooShort)) throw error;
      if (readBytes === readMax) throw invalid(path, `its header is larger than ${HEADER_BYTES_MAX} bytes`);
    }
  }
}

/** The header of a file of `fileBytes`, of which `bytes` are the first. Throws as `readGgufHeader` does, or BufferTooShort. */
export function parseGgufHeader(path: string, bytes: Buffer, fileBytes: number): GgufHeader {
  const cursor = new Cursor(path, bytes, fileBytes);
  if (cursor.u32('the magic number') !== GGUF_MAGIC) throw invalid(path, 'it does not start with "GGUF"');
  const version = cursor.u32('the version');
  if (version !== 0 && (version & 0xffff) === 0) throw invalid(path, 'big-endian files are not supported');
  if (version !== 2 && version !== 3) throw invalid(path, `version ${version} is not supported (2 and 3 are)`);
  const tensorCount = cursor.count('the number of tensors', TENSORS_MAX, 32);
  const keyCount = cursor.count('the number of metadata keys', KEYS_MAX, 13);

  const metadata = new Map<string, GgufValue>();
  const valueRanges = new Map<string, readonly [number, number]>();
  for (let index = 0; index < keyCount; index += 1) {
    const key = cursor.string(`metadata key ${index}`, KEY_BYTES_MAX);
    if (metadata.has(key)) throw invalid(path, `the metadata key ${printable(key)} occurs twice`);
    const start = cursor.offset;
    metadata.set(key, readValue(cursor, printable(key)));
    valueRanges.set(key, [start, cursor.offset]);
  }
  const alignment = readAlignment(path, metadata);
  const infos = Array.from({ length: tensorCount }, (_, index) => readTensorInfo(cursor, index));
  const dataOffset = Math.ceil(cursor.offset / alignment) * alignment;
  const tensors = infos.map(({ offset, ...info }) => {
    const absolute = offset + BigInt(dataOffset);
    if (offset % BigInt(alignment) !== 0n) {
      const message = `Tensor '${info.name}' starts at ${offset}, not a multiple of the alignment ${alignment}.`;
      throw new NibbleError('model_tensor_out_of_range', { message });
    }
    if (absolute > BigInt(fileBytes)) {
      const message = `Tensor '${info.name}' starts at byte ${absolute}; the file has ${fileBytes}.`;
      throw new NibbleError('model_tensor_out_of_range', { message });
    }
    return { ...info, offset: Number(absolute) };
  });
  return { path, fileBytes, version, metadata, valueRanges, tensors, alignment, dataOffset };
}

function readTensorInfo(cursor: Cursor, index: number) {
  const name = printable(cursor.string(`the name of tensor ${index}`, NAME_BYTES_MAX));
  const dimensionCount = cursor.u32(`tensor '${name}'`);
  if (dimensionCount < 1 || dimensionCount > DIMENSIONS_MAX) {
    throw new NibbleError('model_tensor_shape', { message: `Tensor '${name}' has ${dimensionCount} dimensions.` });
  }
  const shape: number[] = [];
  for (let dimension = 0; dimension < dimensionCount; dimension += 1) {
    const size = cursor.u64(`tensor '${name}'`);
    // One row or column can't have more elements than the file has bits.
    if (size === 0n || size > BigInt(cursor.fileBytes) * 8n) {
      const message = `Tensor '${name}' has the impossible size ${size} in dimension ${dimension}.`;
      throw new NibbleError('model_tensor_shape', { message });
    }
    shape.push(Number(size));
  }
  const type = cursor.u32(`tensor '${name}'`);
  return { name, type, shape, offset: cursor.u64(`tensor '${name}'`) };
}

function readValue(cursor: Cursor, key: string): GgufValue {
  const type = readType(cursor, key);
  if (type !== 'array') return readScalar(cursor, type, key);
  const of = readType(cursor, key);
  if (of === 'array') throw invalid(cursor.path, `${key} is an array of arrays`);
  const length = cursor.count(`the length of ${key}`, ELEMENTS_MAX - cursor.elements, ggufScalarBytes[of]);
  cursor.elements += length;
  switch (of) {
    case 'string':
      return { type, of, value: fill(length, () => cursor.string(key, HEADER_BYTES_MAX)) };
    case 'bool':
      return { type, of, value: fill(length, () => cursor.bool(key)) };
    case 'u64':
    case 'i64':
      return { type, of, value: fill(length, () => cursor.bigint(of, key)) };
    default:
      return { type, of, value: fill(length, () => cursor.integer(of, key)) };
  }
}

function fill<T>(length: number, read: () => T): T[] {
  const values: T[] = [];
  for (let index = 0; index < length; index += 1) values.push(read());
  return values;
}

function readType(cursor: Cursor, key: string): GgufScalarType | 'array' {
  const id = cursor.u32(`the type of ${key}`);
  const type = ggufValueTypes[id];
  if (type === undefined) throw invalid(cursor.path, `${key} has the unknown value type ${id}`);
  return type;
}

function readScalar(cursor: Cursor, type: GgufScalarType, key: string): GgufValue {
  switch (type) {
    case 'string':
      return { type, value: cursor.string(key, HEADER_BYTES_MAX) };
    case 'bool':
      return { type, value: cursor.bool(key) };
    case 'u64':
    case 'i64':
      return { type, value: cursor.bigint(type, key) };
    default:
      return { type, value: cursor.integer(type, key) };
  }
}

function readAlignment(path: string, metadata: GgufMetadata): number {
  const entry = metadata.get('general.alignment');
  if (entry === undefined) return GGUF_ALIGNMENT_DEFAULT;
  const alignment = entry.type === 'u32' ? entry.value : 0;
  if (alignment < 8 || alignment > 65_536 || (alignment & (alignment - 1)) !== 0) {
    throw invalid(path, 'general.alignment must be a u32, a power of two from 8 to 65536');
  }
  return alignment;
}

/** Names come from the file: control characters could garble a log or a terminal. */
function printable(name: string): string {
  return /^[\x20-\x7e]{1,256}$/.test(name) ? name : JSON.stringify(name.slice(0, 64)).replace(/[^\x20-\x7e]/g, '?');
}

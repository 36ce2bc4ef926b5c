/**
 * Writes GGUF (version 3, alignment 32): declare metadata and tensors, then stream the tensors' bytes in that order.
 * The file appears under its name only when complete; until then it is `<path>.writing`.
 */
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import {
  findTensorFormat,
  GGUF_ALIGNMENT_DEFAULT,
  GGUF_ARRAY_TYPE,
  GGUF_MAGIC,
  GGUF_VERSION,
  type GgufScalarType,
  type GgufValue,
  ggufScalarBytes,
  ggufValueTypes,
  tensorBytes,
  tensorTypeName,
} from './gguf-types.js';

export type TensorDeclaration = {
  readonly name: string;
  /** GGML type id; one that Nibble reads. */
  readonly type: number;
  /** GGUF order: the row length (inputs) first. */
  readonly shape: readonly number[];
};

/** Bytes of one tensor, whole or in pieces. */
export type TensorData = Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

type Declared = TensorDeclaration & { readonly bytes: number; readonly offset: number };

/** Wrong use (unknown type, wrong order, wrong number of bytes) throws a plain Error: it is a bug of the caller. */
export class GgufWriter {
  private readonly metadata = new Map<string, Buffer>();
  private readonly tensors: Declared[] = [];
  private dataBytes = 0;
  private nextTensor = 0;
  private headerWritten = false;

  private constructor(
    readonly path: string,
    private readonly file: FileHandle,
  ) {}

  static async create(path: string): Promise<GgufWriter> {
    return new GgufWriter(path, await open(`${path}.writing`, 'w'));
  }

  /** Adds or replaces a key. `general.alignment` is the writer's own business and refused. */
  setMetadata(key: string, value: GgufValue): void {
    if (this.headerWritten) throw new Error('metadata must be set before the first tensor is written');
    if (key === 'general.alignment') throw new Error('general.alignment is fixed at 32');
    this.metadata.set(key, Buffer.concat(encodeValue(value)));
  }

  /** The same with the bytes of a value, its type first, as another file has them (`GgufHeader.valueRanges`). */
  copyMetadata(key: string, value: Buffer): void {
    if (this.headerWritten) throw new Error('metadata must be set before the first tensor is written');
    this.metadata.set(key, value);
  }

  declareTensor(tensor: TensorDeclaration): void {
    if (this.headerWritten) throw new Error('tensors must be declared before the first one is written');
    if (this.tensors.some((other) => other.name === tensor.name)) throw new Error(`tensor ${tensor.name} twice`);
    const format = findTensorFormat(tensor.type);
    if (format === null) throw new Error(`tensor ${tensor.name} has the type ${tensorTypeName(tensor.type)}`);
    const bytes = tensorBytes(format, tensor.shape);
    if (bytes === null || bytes <= 0n) throw new Error(`tensor ${tensor.name}: rows must be whole blocks`);
    this.tensors.push({ ...tensor, bytes: Number(bytes), offset: this.dataBytes });
    this.dataBytes += padded(Number(bytes));
  }

  /** Writes the next declared tensor; the name guards against a wrong order. */
  async writeTensor(name: string, data: TensorData): Promise<void> {
    if (!this.headerWritten) await this.writeHeader();
    const tensor = this.tensors[this.nextTensor];
    if (tensor?.name !== name) throw new Error(`expected tensor ${tensor?.name ?? '(none)'}, got ${name}`);
    let written = 0;
    for await (const piece of data instanceof Uint8Array ? [data] : data) {
      written += piece.length;
      if (written > tensor.bytes) break;
      await this.file.writeFile(piece);
    }
    if (written !== tensor.bytes) throw new Error(`tensor ${name} has ${tensor.bytes} bytes, got ${written}`);
    await this.file.writeFile(Buffer.alloc(padded(written) - written));
    this.nextTensor += 1;
  }

  /** Completes the file and gives it its name. All declared tensors must have been written. */
  async finish(): Promise<void> {
    if (!this.headerWritten) await this.writeHeader();
    if (this.nextTensor !== this.tensors.length) throw new Error('not all declared tensors were written');
    await this.file.sync();
    await this.file.close();
    await rename(`${this.path}.writing`, this.path);
  }

  /** Gives up: closes and removes the unfinished file. */
  async abort(): Promise<void> {
    await this.file.close().catch(() => undefined);
    await rm(`${this.path}.writing`, { force: true });
  }

  private async writeHeader(): Promise<void> {
    this.headerWritten = true;
    const parts: Buffer[] = [u32(GGUF_MAGIC), u32(GGUF_VERSION), u64(this.tensors.length), u64(this.metadata.size)];
    for (const [key, value] of this.metadata) parts.push(encodeString(key), value);
    for (const { name, shape, type, offset } of this.tensors) {
      parts.push(encodeString(name), u32(shape.length), ...shape.map(u64), u32(type), u64(offset));
    }
    const header = Buffer.concat(parts);
    await this.file.writeFile(header);
    await this.file.writeFile(Buffer.alloc(padded(header.length) - header.length));
  }
}

const padded = (bytes: number) => Math.ceil(bytes / GGUF_ALIGNMENT_DEFAULT) * GGUF_ALIGNMENT_DEFAULT;

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function encodeString(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  return Buffer.concat([u64(bytes.length), bytes]);
}

/** The type number, then the value. */
function encodeValue(entry: GgufValue): Buffer[] {
  if (entry.type !== 'array')
    return [u32(ggufValueTypes.indexOf(entry.type)), ...encodeScalars(entry.type, [entry.value])];
  const values = entry.value as ArrayLike<number | bigint | boolean | string>;
  const head = [u32(GGUF_ARRAY_TYPE), u32(ggufValueTypes.indexOf(entry.of)), u64(values.length)];
  return [...head, ...encodeScalars(entry.of, values)];
}

function encodeScalars(type: GgufScalarType, values: ArrayLike<number | bigint | boolean | string>): Buffer[] {
  if (type === 'string') return Array.from(values, (value) => encodeString(String(value)));
  const size = ggufScalarBytes[type];
  const bytes = Buffer.alloc(values.length * size);
  for (let index = 0; index < values.length; index += 1) writeScalar(bytes, index * size, type, values[index] ?? 0);
  return [bytes];
}

/** Buffer's writers throw a RangeError for a number that doesn't fit its type. */
function writeScalar(bytes: Buffer, at: number, type: GgufScalarType, value: number | bigint | boolean | string): void {
  const number = Number(value);
  switch (type) {
    case 'u8':
    case 'bool':
      bytes.writeUInt8(number, at);
      break;
    case 'i8':
      bytes.writeInt8(number, at);
      break;
    case 'u16':
      bytes.writeUInt16LE(number, at);
      break;
    case 'i16':
      bytes.writeInt16LE(number, at);
      break;
    case 'u32':
      bytes.writeUInt32LE(number, at);
      break;
    case 'i32':
      bytes.writeInt32LE(number, at);
      break;
    case 'f32':
      bytes.writeFloatLE(number, at);
      break;
    case 'f64':
      bytes.writeDoubleLE(number, at);
      break;
    case 'u64':
      bytes.writeBigUInt64LE(BigInt(value), at);
      break;
    case 'i64':
      bytes.writeBigInt64LE(BigInt(value), at);
      break;
    case 'string':
      throw new Error('strings are encoded by encodeString');
  }
}

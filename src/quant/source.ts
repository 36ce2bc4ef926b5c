/** A model file that is to be quantized: its header, and its tensors as floats or as they stand. */
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { NibbleError } from '../errors.js';
import { readModelFile } from '../model/gguf.js';
import { type GgufHeader, readGgufHeader } from '../model/gguf-reader.js';
import { findTensorFormat, type GgufValue, tensorBytes } from '../model/gguf-types.js';
import type { ModelFile } from '../model/types.js';
import type { TensorSpec } from '../native/contract.js';
import { loadAddon } from '../native/load.js';

/** Bytes read at a time when a tensor is copied. */
const PIECE_BYTES = 4 * 1024 * 1024;

export const bytesOf = ({ type, shape }: TensorSpec): number => {
  const format = findTensorFormat(type);
  const bytes = format === null ? null : tensorBytes(format, shape);
  if (bytes === null) throw new Error(`a tensor of type ${type} was not checked`);
  return Number(bytes);
};

/** The bytes of a tensor of a file, in pieces. */
export async function* tensorPieces(path: string, tensor: TensorSpec): AsyncGenerator<Uint8Array> {
  const [start, end] = [tensor.offset, tensor.offset + bytesOf(tensor) - 1];
  yield* createReadStream(path, { start, end, highWaterMark: PIECE_BYTES });
}

export class Source {
  private constructor(
    readonly file: ModelFile,
    readonly header: GgufHeader,
  ) {}

  /** Rejects with what `readModelFile` rejects with, and `invalid_request` for a file that can't be taken apart. */
  static async open(path: string): Promise<Source> {
    const file = await readModelFile(path);
    const recipe = file.nibble?.recipe;
    const { tender, rotation, scaling = 'none' } = recipe ?? {};
    if (recipe !== undefined && (tender !== undefined || rotation !== undefined || scaling !== 'none')) {
      const message = `${path} was quantized with '${recipe.name}', which changes channels: quantize its source instead`;
      throw new NibbleError('invalid_request', { message }, { param: 'model' });
    }
    return new Source(file, await readGgufHeader(path));
  }

  /** Of a tensor that has such rows: `rows` rows from `first` on, as floats. */
  floats(tensor: TensorSpec, first = 0, rows: number = rowsOf(tensor)): Float32Array {
    const [width = 1] = tensor.shape;
    const rowBytes = bytesOf({ ...tensor, shape: [width] });
    const part = { ...tensor, shape: [width, rows], offset: tensor.offset + first * rowBytes };
    return loadAddon().dequantize(this.file.path, part);
  }

  /** The bytes of a tensor, in pieces. */
  bytes(tensor: TensorSpec): AsyncIterable<Uint8Array> {
    return tensorPieces(this.file.path, tensor);
  }

  /** The metadata values as they stand in the file, without those that `drop` names. */
  async metadata(drop: (key: string, value: GgufValue) => boolean): Promise<ReadonlyMap<string, Buffer>> {
    const kept = new Map<string, Buffer>();
    const file = await open(this.file.path);
    try {
      for (const [key, [start, end]] of this.header.valueRanges) {
        const value = this.header.metadata.get(key);
        if (value === undefined || drop(key, value)) continue;
        const bytes = Buffer.alloc(end - start);
        await file.read(bytes, 0, bytes.length, start);
        kept.set(key, bytes);
      }
    } finally {
      await file.close();
    }
    return kept;
  }
}

export const rowsOf = ({ shape }: TensorSpec): number => shape.slice(1).reduce((product, size) => product * size, 1);

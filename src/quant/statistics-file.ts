/**
 * Calibration statistics as a file: GGUF with `nibble.statistics.*` keys and, per input, the tensors
 * `blk.<layer>.<input>.minima|maxima` [K, chunks], `.squares` [K] and `.magnitudes` [64], all F32; the head's are
 * `head.*`. Hessians aren't kept: they are larger than the model.
 */
import { open } from 'node:fs/promises';
import { NibbleError } from '../errors.js';
import { requiredInteger } from '../model/gguf-metadata.js';
import { type GgufHeader, type GgufTensor, readGgufHeader } from '../model/gguf-reader.js';
import { GgufWriter } from '../model/gguf-writer.js';
import { type InputStatistics, LAYER_INPUTS, type LayerInput } from '../native/contract.js';
import type { Statistics } from './calibrate.js';

const VERSION = 1;
const F32 = 0;
const MAGNITUDE_BINS = 64;
/** Bounds of what is believed in a file: more than any known model. */
const LAYERS_MAX = 1024;
const CHUNKS_MAX = 4096;
const WIDTH_MAX = 2 ** 20;

type Part = { readonly name: string; readonly shape: readonly number[]; readonly values: Float32Array };

function partsOf(prefix: string, statistics: InputStatistics, chunks: number): Part[] {
  const { inputs, minima, maxima, squares, magnitudes } = statistics;
  return [
    { name: `${prefix}.minima`, shape: [inputs, chunks], values: minima },
    { name: `${prefix}.maxima`, shape: [inputs, chunks], values: maxima },
    { name: `${prefix}.squares`, shape: [inputs], values: Float32Array.from(squares) },
    { name: `${prefix}.magnitudes`, shape: [MAGNITUDE_BINS], values: Float32Array.from(magnitudes) },
  ];
}

/** Writes statistics; the file appears when it is complete. */
export async function writeStatistics(path: string, statistics: Statistics): Promise<void> {
  const { chunks, layers, head } = statistics;
  const parts = layers.flatMap((layer, index) =>
    LAYER_INPUTS.flatMap((input) => partsOf(`blk.${index}.${input}`, layer[input], chunks)),
  );
  if (head !== null) parts.push(...partsOf('head', head, chunks));
  const writer = await GgufWriter.create(path);
  try {
    const numbers = { version: VERSION, tokens: statistics.tokens, chunk_tokens: statistics.chunkTokens };
    for (const [key, value] of Object.entries({ ...numbers, chunks, layers: layers.length })) {
      writer.setMetadata(`nibble.statistics.${key}`, { type: 'u32', value });
    }
    for (const { name, shape } of parts) writer.declareTensor({ name, type: F32, shape });
    for (const { name, values } of parts) {
      await writer.writeTensor(name, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    }
    await writer.finish();
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

class StatisticsReader {
  readonly #header: GgufHeader;
  readonly #tensors: ReadonlyMap<string, GgufTensor>;
  readonly #read: (tensor: GgufTensor, bytes: Uint8Array) => Promise<number>;

  constructor(header: GgufHeader, read: (tensor: GgufTensor, bytes: Uint8Array) => Promise<number>) {
    this.#header = header;
    this.#tensors = new Map(header.tensors.map((tensor) => [tensor.name, tensor]));
    this.#read = read;
  }

  invalid(message: string): NibbleError {
    return new NibbleError('model_file_invalid', { path: this.#header.path, message });
  }

  /** A key of the file, in [1, max]. */
  count(key: string, max: number): number {
    return requiredInteger(this.#header.metadata, `nibble.statistics.${key}`, { min: 1, max });
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** The values of a tensor; `shape` but for its first size, which is free if it is null. */
  async values(name: string, shape: readonly (number | null)[]): Promise<Float32Array> {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) throw this.invalid(`it has no tensor '${name}'`);
    const fits = tensor.shape.length === shape.length && shape.every((n, i) => n === null || n === tensor.shape[i]);
    const [width = 0] = tensor.shape;
    if (!fits || tensor.type !== F32 || width < 1 || width > WIDTH_MAX) {
      throw this.invalid(`tensor '${name}' has the wrong shape or type`);
    }
    const length = tensor.shape.reduce((product, n) => product * n, 1);
    const outside = this.invalid(`tensor '${name}' lies outside the file`);
    if (tensor.offset + 4 * length > this.#header.fileBytes) throw outside; // before memory is taken for it
    const values = new Float32Array(length);
    if ((await this.#read(tensor, new Uint8Array(values.buffer))) < 4 * length) throw outside;
    return values;
  }

  async input(prefix: string, tokens: number, chunks: number): Promise<InputStatistics> {
    const minima = await this.values(`${prefix}.minima`, [null, chunks]);
    const inputs = minima.length / chunks;
    const maxima = await this.values(`${prefix}.maxima`, [inputs, chunks]);
    const squares = Float64Array.from(await this.values(`${prefix}.squares`, [inputs]));
    const magnitudes = Float64Array.from(await this.values(`${prefix}.magnitudes`, [MAGNITUDE_BINS]));
    const isCount = (value: number) => value >= 0 && Number.isFinite(value);
    if (
      !squares.every(isCount) ||
      !magnitudes.every(isCount) ||
      minima.some(Number.isNaN) ||
      maxima.some(Number.isNaN)
    ) {
      throw this.invalid(`the statistics of '${prefix}' hold values that can't be`);
    }
    return { inputs, tokens, minima, maxima, squares, magnitudes, hessian: null };
  }
}

/** Reads what `writeStatistics` wrote. Throws what `readGgufHeader` throws, and `model_file_invalid`. */
export async function readStatistics(path: string): Promise<Statistics> {
  const header = await readGgufHeader(path);
  const file = await open(path);
  try {
    const reader = new StatisticsReader(header, async ({ offset }, bytes) => {
      return (await file.read(bytes, 0, bytes.length, offset)).bytesRead;
    });
    if (reader.count('version', 2 ** 31) !== VERSION) throw reader.invalid('its statistics are of another version');
    const tokens = reader.count('tokens', 2 ** 31);
    const chunkTokens = reader.count('chunk_tokens', 2 ** 24);
    const chunks = reader.count('chunks', CHUNKS_MAX);
    const layers: Record<LayerInput, InputStatistics>[] = [];
    for (let layer = 0, count = reader.count('layers', LAYERS_MAX); layer < count; layer += 1) {
      const of = (input: LayerInput) => reader.input(`blk.${layer}.${input}`, tokens, chunks);
      const [qkv, output] = [await of('qkv'), await of('output')];
      layers.push({ qkv, output, gateUp: await of('gateUp'), down: await of('down') });
    }
    const head = reader.has('head.minima') ? await reader.input('head', tokens, chunks) : null;
    return { tokens, chunkTokens, chunks, layers, head };
  } finally {
    await file.close();
  }
}

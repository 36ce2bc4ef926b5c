/**
 * How much a model suffers when one class of one layer is quantized: measured once, as the KL divergence that 4-bit
 * codes in symmetric groups of 32 cause there alone. For other formats it is scaled by their share of lost squares: for
 * small disturbances the divergence is proportional to them.
 */
import { randomUUID } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import Type, { type Static } from 'typebox';
import { Value } from 'typebox/value';
import { NibbleError } from '../errors.js';
import { GgufWriter } from '../model/gguf-writer.js';
import { layerMatrix, weightFormat } from '../model/recipe.js';
import { type LayerClass, layerClasses, type WeightFormatName } from '../model/recipe-types.js';
import type { InputStatistics, TensorSpec } from '../native/contract.js';
import type { PartTensor } from './part-store.js';
import { inputsOf } from './plan.js';
import { quantizeTogether } from './quantize-tensors.js';
import type { Source } from './source.js';

/** The format that is measured. */
const MEASURED = 'w4g32';
/** What a search may choose from: each is the best at its size on some matrices. */
export const autoFormats = ['w4g128a', 'w4g64a', 'w4g32', 'w4g32a', 'w5g32', 'w5g32a', 'w8g32'] as const;

const Entry = Type.Object({
  layer: Type.Integer({ minimum: 0 }),
  matrixClass: Type.Enum([...layerClasses]),
  /** Mean divergence, nats. */
  kl: Type.Number({ minimum: 0 }),
  /** Share of the outputs' squares that each format loses, rounded to nearest. */
  errors: Type.Record(Type.String(), Type.Number({ minimum: 0 })),
});
const SensitivityFile = Type.Object({ key: Type.String(), entries: Type.Array(Entry, { maxItems: 65_536 }) });
export type SensitivityEntry = Static<typeof Entry>;

/** The divergences of model files from the source, in their order. */
export type MeasureKl = (paths: readonly string[]) => Promise<readonly number[]>;

export type SensitivityOptions = {
  readonly source: Source;
  readonly statistics: (layer: number) => Readonly<Record<LayerClass, InputStatistics>>;
  readonly measure: MeasureKl;
  /** What was measured before for this key isn't measured again; written as it grows. */
  readonly file: string;
  readonly key: string;
  /** Where model files of a moment go, beside the output. */
  readonly scratch: string;
  readonly onEntry: (done: number, total: number) => void;
  readonly signal: AbortSignal;
};

/** Models measured at once: they share the reference's pass. */
const AT_ONCE = layerClasses.length;

async function readEntries(file: string, key: string): Promise<SensitivityEntry[]> {
  const text = await readFile(file, 'utf8').catch(() => null);
  if (text === null) return [];
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = null;
  }
  if (!Value.Check(SensitivityFile, value)) throw new NibbleError('output_exists', { path: file });
  return value.key === key ? value.entries : [];
}

async function writeEntries(file: string, key: string, entries: readonly SensitivityEntry[]): Promise<void> {
  const draft = `${file}.${randomUUID()}`;
  await writeFile(draft, JSON.stringify({ key, entries }));
  await rename(draft, file);
}

function matricesOf(source: Source, layer: number, matrixClass: LayerClass): TensorSpec[] {
  return source.file.tensors.filter(({ name }) => {
    const found = layerMatrix(name);
    return found?.layer === layer && found.matrixClass === matrixClass;
  });
}

/** The source with some of its matrices quantized. */
async function writeVariant(source: Source, path: string, changed: readonly PartTensor[]): Promise<void> {
  const byName = new Map(changed.map((tensor) => [tensor.name, tensor]));
  const writer = await GgufWriter.create(path);
  try {
    for (const [key, value] of await source.metadata((name) => name === 'general.alignment'))
      writer.copyMetadata(key, value);
    for (const tensor of source.file.tensors) writer.declareTensor(byName.get(tensor.name) ?? tensor);
    for (const tensor of source.file.tensors) {
      await writer.writeTensor(tensor.name, byName.get(tensor.name)?.data ?? source.bytes(tensor));
    }
    await writer.finish();
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

export type AutoFormat = (typeof autoFormats)[number];

/** The formats whose groups divide the width of a class. */
export const formatsFor = (inputs: number, formats: readonly AutoFormat[] = autoFormats): readonly WeightFormatName[] =>
  formats.filter((name) => inputs % (weightFormat(name).group ?? 1) === 0);

async function measureLayer(options: SensitivityOptions, layer: number): Promise<SensitivityEntry[]> {
  const { source, statistics, measure, scratch } = options;
  const widths = inputsOf(source.file.architecture);
  const nearest = { rounding: 'rtn', clip: 'none' } as const;
  const paths: string[] = [];
  const errors: Record<string, number>[] = [];
  try {
    for (const name of layerClasses) {
      const matrices = matricesOf(source, layer, name).map((tensor) => ({ ...tensor, values: source.floats(tensor) }));
      const lost: Record<string, number> = {};
      for (const format of formatsFor(widths[name])) {
        const quantized = await quantizeTogether(matrices, format, nearest, statistics(layer)[name]);
        lost[format] = quantized.error;
        if (format !== MEASURED) continue;
        const path = `${scratch}.${name}.gguf`;
        paths.push(path);
        await writeVariant(source, path, quantized.tensors);
      }
      errors.push(lost);
    }
    const divergences = await measure(paths);
    return layerClasses.map((matrixClass, i) => {
      return { layer, matrixClass, kl: divergences[i] ?? 0, errors: errors[i] ?? {} };
    });
  } finally {
    for (const path of paths) await rm(path, { force: true });
  }
}

/** Every class of every layer. Rejects with `interrupted`; what was measured until then stays in the file. */
export async function measureSensitivity(options: SensitivityOptions): Promise<readonly SensitivityEntry[]> {
  const { source, file, key, onEntry, signal } = options;
  const entries = await readEntries(file, key);
  const { layers } = source.file.architecture;
  for (let layer = 0; layer < layers; layer += 1) {
    if (signal.aborted) throw new NibbleError('interrupted', {});
    if (entries.filter((entry) => entry.layer === layer).length < AT_ONCE) {
      entries.push(...(await measureLayer(options, layer)));
      await writeEntries(file, key, entries);
    }
    onEntry(layer + 1, layers);
  }
  return entries;
}

/** What a format is expected to add to the divergence. */
export function expectedKl({ kl, errors }: SensitivityEntry, format: WeightFormatName): number {
  const measured = errors[MEASURED] ?? 0;
  return measured === 0 ? 0 : (kl * (errors[format] ?? measured)) / measured;
}

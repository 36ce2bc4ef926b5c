/**
 * Quantizes a model layer by layer: floats of one layer → transforms → blocks → a file of the layer, and in the end one
 * file of all. In memory are one layer in floats and what calibration holds. The same source, recipe, calibration text
 * and version give the same bytes.
 */
import { NibbleError } from '../errors.js';
import type { GgufValue } from '../model/gguf-types.js';
import { GgufWriter } from '../model/gguf-writer.js';
import { isNibbleKey, nibbleMetadata, type Provenance } from '../model/nibble-metadata.js';
import { layerRecipe, weightFormat } from '../model/recipe.js';
import { type LayerClass, layerClasses } from '../model/recipe-types.js';
import type { InputStatistics, TensorSpec } from '../native/contract.js';
import type { LayerFloats, LayerTransform } from './layer.js';
import type { PartStore, PartTensor } from './part-store.js';
import type { Plan, PlannedPart, PlannedTensor } from './plan.js';
import { type QuantizedTensor, quantizeRows, quantizeTogether } from './quantize-tensors.js';
import type { Reconstruction } from './rcp/reconstruction.js';
import { type Source, tensorPieces } from './source.js';

/** Statistics of a layer's inputs, asked for once per layer, in ascending order. */
export type LayerStatistics = (layer: number) => Promise<Record<LayerClass, InputStatistics>>;

export type PipelineOptions = {
  readonly source: Source;
  readonly plan: Plan;
  readonly store: PartStore;
  readonly out: string;
  /** null: the plan needs none. */
  readonly statistics: LayerStatistics | null;
  readonly transforms: readonly LayerTransform[];
  /** null: matrices stay as they were quantized each for itself. */
  readonly reconstruction: Reconstruction | null;
  readonly provenance: Provenance;
  /** Called when a part is done, or was found done. */
  readonly onPart?: (done: number, part: PlannedPart, errors: LayerErrors) => void;
  /** Between two parts: what is done stays for the next time. */
  readonly signal?: AbortSignal;
};

/** Share of the squares of the outputs that quantization loses, by class; and of a reconstructed block's. */
export type LayerErrors = Partial<Readonly<Record<LayerClass | 'blockBefore' | 'blockAfter', number>>>;

const F32 = 0;
const floatBytes = (values: Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
const isMatrix = ({ source }: PlannedTensor) => source.shape.length > 1;

const copied = (source: Source, { source: tensor }: PlannedTensor): PartTensor => ({
  name: tensor.name,
  type: tensor.type,
  shape: tensor.shape,
  data: source.bytes(tensor),
});

type LayerPart = PlannedPart & { readonly layer: number };

/** Tensors of a layer that don't stay as they are: matrices with a format, and vectors that transforms change. */
function changedTensors({ transforms }: PipelineOptions, { tensors }: PlannedPart): readonly PlannedTensor[] {
  return tensors.filter(({ format, source: { shape } }) => {
    return format !== null || (transforms.length > 0 && shape.length === 1);
  });
}

function floatLayer(options: PipelineOptions, part: LayerPart, inputs: LayerFloats['inputs']): LayerFloats {
  const { source, plan } = options;
  const changed = changedTensors(options, part);
  return {
    layer: part.layer,
    recipe: plan.recipe,
    formats: layerRecipe(plan.recipe, part.layer),
    tensors: new Map(changed.map(({ source: tensor }) => [tensor.name, source.floats(tensor)])),
    inputs,
  };
}

async function quantizeLayer(
  options: PipelineOptions,
  part: LayerPart,
): Promise<{ readonly tensors: readonly PartTensor[]; readonly errors: LayerErrors }> {
  const { source, plan, transforms, statistics, reconstruction } = options;
  const changed = changedTensors(options, part);
  const layer = floatLayer(options, part, statistics === null ? null : await statistics(part.layer));
  const added: PartTensor[] = [];
  for (const transform of transforms) added.push(...(await transform(layer)));
  const valuesOf = ({ name }: TensorSpec): Float32Array => layer.tensors.get(name) ?? new Float32Array(0);
  const made = new Map<string, QuantizedTensor>();
  const errors: Partial<Record<keyof LayerErrors, number>> = {};
  for (const name of layerClasses) {
    const matrices = changed.filter((tensor) => tensor.matrixClass === name && tensor.format !== null);
    const [format] = matrices.map((tensor) => tensor.format);
    if (!format) continue;
    const inputs = matrices.map(({ source: tensor }) => ({ ...tensor, values: valuesOf(tensor) }));
    const { tensors, error } = await quantizeTogether(inputs, format, plan.recipe, layer.inputs?.[name] ?? null);
    for (const tensor of tensors) made.set(tensor.name, tensor);
    if (weightFormat(format).bits < 16) errors[name] = error;
  }
  if (reconstruction !== null) {
    const { errorBefore, errorAfter } = await reconstruction.learn(layer, made);
    Object.assign(errors, { blockBefore: errorBefore, blockAfter: errorAfter });
  }
  const whole = part.tensors.map((tensor): PartTensor => {
    const { name, shape } = tensor.source;
    const quantized = made.get(name);
    if (quantized !== undefined) return quantized;
    if (isMatrix(tensor) || !layer.tensors.has(name)) return copied(source, tensor);
    return { name, type: F32, shape, data: floatBytes(valuesOf(tensor.source)) };
  });
  return { tensors: [...whole, ...added], errors };
}

/** What reconstruction needs of a layer that is there already. */
async function passLayer(options: PipelineOptions, part: LayerPart, reconstruction: Reconstruction): Promise<void> {
  const { statistics } = options;
  const layer = floatLayer(options, part, statistics === null ? null : await statistics(part.layer));
  for (const transform of options.transforms) await transform(layer);
  const { path, tensors } = await options.store.read(part.name);
  await reconstruction.pass(layer, path, tensors);
}

/** Embedding, head, the last norm: each row for itself. */
function quantizeRest({ source, plan }: PipelineOptions, part: PlannedPart): readonly PartTensor[] {
  return part.tensors.map((tensor): PartTensor => {
    const { format, source: spec } = tensor;
    if (format === null) return copied(source, tensor);
    const data = quantizeRows(source, spec, format, plan.recipe);
    return { name: spec.name, type: weightFormat(format).tensorType, shape: spec.shape, data };
  });
}

/** Keys that speak of the tensors' formats: written anew, so that other tools aren't told wrong things. */
function isReplaced(key: string, _value: GgufValue): boolean {
  return isNibbleKey(key) || ['general.alignment', 'general.file_type', 'general.quantization_version'].includes(key);
}

/** One file of all parts, tensors in the order of the source and what was added behind them. */
async function assemble({ source, plan, store, out, provenance }: PipelineOptions): Promise<void> {
  const found = new Map<string, { readonly path: string; readonly tensor: TensorSpec }>();
  for (const { name } of plan.parts) {
    const { path, tensors } = await store.read(name);
    for (const tensor of tensors) found.set(tensor.name, { path, tensor });
  }
  const order = [...new Set([...source.file.tensors.map(({ name }) => name), ...found.keys()])];
  const writer = await GgufWriter.create(out);
  try {
    for (const [key, value] of await source.metadata(isReplaced)) writer.copyMetadata(key, value);
    writer.setMetadata('general.quantization_version', { type: 'u32', value: 2 });
    for (const [key, value] of nibbleMetadata(plan.recipe, provenance)) writer.setMetadata(key, value);
    const all = order.map((name) => {
      const entry = found.get(name);
      if (entry === undefined) throw new Error(`no part has the tensor ${name}`);
      return entry;
    });
    for (const { tensor } of all) writer.declareTensor(tensor);
    for (const { path, tensor } of all) await writer.writeTensor(tensor.name, tensorPieces(path, tensor));
    await writer.finish();
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

/**
 * Makes the parts that aren't there yet, then the output, and removes the parts. Rejects with `interrupted` between two
 * parts once the signal is aborted.
 */
export async function quantizeModel(options: PipelineOptions): Promise<void> {
  const { plan, store, signal, onPart, reconstruction } = options;
  const isThere = await Promise.all(plan.parts.map(({ name }) => store.has(name)));
  const last = plan.parts.findLastIndex(({ layer }, index) => layer !== null && isThere[index] !== true);
  for (const [index, part] of plan.parts.entries()) {
    if (signal?.aborted === true) throw new NibbleError('interrupted', {});
    let errors: LayerErrors = {};
    const { layer } = part;
    if (isThere[index] === true) {
      if (layer !== null && reconstruction !== null && index < last) {
        await passLayer(options, { ...part, layer }, reconstruction);
      }
    } else if (layer === null) {
      await store.write(part.name, quantizeRest(options, part));
    } else {
      const done = await quantizeLayer(options, { ...part, layer });
      await store.write(part.name, done.tensors);
      errors = done.errors;
    }
    onPart?.(index + 1, part, errors);
  }
  await assemble(options);
  await store.remove();
}

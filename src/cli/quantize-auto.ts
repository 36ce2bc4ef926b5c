/**
 * `nibble quantize --auto`: measures how much each class of each layer suffers and how long its kernels take here,
 * chooses formats within a budget, quantizes, and checks what came out.
 */
import { createHash } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import type { OpenedModel } from '../engine/open-types.js';
import { NibbleError } from '../errors.js';
import { findTensorFormat, tensorBytes, tensorTypeName } from '../model/gguf-types.js';
import { kernelFamily } from '../model/kernel-family.js';
import { weightFormat } from '../model/recipe.js';
import { type LayerClass, layerClasses, type Recipe, type WeightFormatName } from '../model/recipe-types.js';
import { fileSha256 } from '../model/sources/cache.js';
import type { ArchitectureSpec } from '../native/contract.js';
import { loadAddon } from '../native/load.js';
import { type Choice, type Cost, findFront, type Item, type Point, sample } from '../quant/auto-search.js';
import { calibrate } from '../quant/calibrate.js';
import { inputsOf, makePlan } from '../quant/plan.js';
import { prepareText, type Quantized, type QuantizeOptions, quantize, refuseExisting } from '../quant/quantize.js';
import {
  type AutoFormat,
  expectedKl,
  formatsFor,
  measureSensitivity,
  type SensitivityEntry,
} from '../quant/sensitivity.js';
import { Source } from '../quant/source.js';
import { nativeCall } from './bench/native-call.js';
import { formatTable } from './bench/table.js';
import { measureAgreement } from './eval/scorer.js';

/** What may be spent: divergence (nats), size of the file (bytes), or time of a token in the layers' kernels (ns). */
export type Budget =
  | { readonly kind: 'kl'; readonly most: number }
  | { readonly kind: 'bytes'; readonly most: number }
  | { readonly kind: 'ns'; readonly most: number };

export type AutoOptions = QuantizeOptions & {
  readonly budget: Budget;
  /** What may be chosen. */
  readonly formats: readonly AutoFormat[];
  /** File of what was measured. */
  readonly sensitivity: string;
  /** Gets the tables for people. */
  readonly print: (text: string) => Promise<void>;
};

/** Windows that divergences are measured on, second halves scored: enough to tell layers apart. */
const KL_WINDOWS = 4;
const KERNEL_MS = 30;
/** Weights of all layers that stay in the caches of usual machines. */
const CACHED_VALUES = 16_000_000;
const POINTS_SHOWN = 12;
/** Predictions are corrected by what was measured, and tried again, so often. */
const TRIES = 3;

/** Rows of a class of a layer: all matrices that read its input. */
const rowsOf = ({ heads, kvHeads, headDim, hidden, ffn }: ArchitectureSpec): Readonly<Record<LayerClass, number>> => ({
  qkv: (heads + 2 * kvHeads) * headDim,
  output: hidden,
  gateUp: 2 * ffn,
  down: hidden,
});

/** Nanoseconds of one token through a class's matrices, by format, measured on this machine. */
async function measureKernels(options: AutoOptions, architecture: ArchitectureSpec) {
  const addon = loadAddon();
  const { level, defaultThreads: threads } = addon.cpuInfo();
  const [inputs, rows] = [inputsOf(architecture), rowsOf(architecture)];
  const values = layerClasses.reduce((sum, name) => sum + inputs[name] * rows[name] * architecture.layers, 0);
  // A model that caches hold is read from there; otherwise from memory, which is what a gemv is measured with.
  const op = values < CACHED_VALUES ? 'gemm' : 'gemv';
  const times = new Map<string, number>();
  for (const [done, name] of layerClasses.entries()) {
    for (const format of formatsFor(inputs[name], options.formats)) {
      const { activations } = options.recipe.classes[name];
      const family = kernelFamily(tensorTypeName(weightFormat(format).tensorType), activations);
      if (family === null) throw new NibbleError('recipe_invalid', { message: `--auto can't time ${activations}` });
      const shape = { m: 1, n: rows[name], k: inputs[name], threads, seed: 1, milliseconds: KERNEL_MS };
      if (options.signal.aborted) throw new NibbleError('interrupted', {});
      const run = await nativeCall(() => addon.runKernel({ isa: level, op, family, ...shape }));
      times.set(`${name} ${format}`, run.macs / run.gMacs);
    }
    options.onProgress('kernels', done + 1, layerClasses.length);
  }
  return (name: LayerClass, format: WeightFormatName): number => times.get(`${name} ${format}`) ?? 0;
}

/** Divergence of model files from the reference, one after the other opened, all measured in one pass. */
async function divergences(
  { open, recipe }: AutoOptions,
  reference: OpenedModel,
  windows: readonly Int32Array[],
  paths: readonly string[],
  activations: 'f32' | null,
): Promise<number[]> {
  const candidates: OpenedModel[] = [];
  try {
    const room = { sequences: 1, tokens: recipe.calibration.window };
    for (const model of paths) candidates.push(await open({ ...room, activations, model }));
    const found = await measureAgreement(reference, candidates, windows, 'second-half');
    return found.map(({ klMean }) => klMean);
  } finally {
    for (const candidate of candidates) await candidate.close();
  }
}

function itemsOf(
  entries: readonly SensitivityEntry[],
  { architecture, formats }: { readonly architecture: ArchitectureSpec; readonly formats: readonly AutoFormat[] },
  ns: (name: LayerClass, format: WeightFormatName) => number,
  correction: number,
): Item[] {
  const [inputs, rows] = [inputsOf(architecture), rowsOf(architecture)];
  return entries.map((entry): Item => {
    const name = entry.matrixClass;
    const choices = formatsFor(inputs[name], formats).map((format): Choice => {
      const type = findTensorFormat(weightFormat(format).tensorType);
      const bytes = type === null ? 0 : Number(tensorBytes(type, [inputs[name], rows[name]]) ?? 0n);
      return { format, bytes, ns: ns(name, format), kl: correction * expectedKl(entry, format) };
    });
    return { layer: entry.layer, matrixClass: name, choices };
  });
}

/** The cheapest point within the budget, or for budgets of size and time the best. */
export function choose(
  front: readonly Point[],
  budget: Budget,
  besides: { readonly bytes: number; readonly kl: number },
): Point {
  const fits = (point: Point): boolean => {
    if (budget.kind === 'kl') return point.kl + besides.kl <= budget.most;
    return budget.kind === 'bytes' ? point.bytes + besides.bytes <= budget.most : point.ns <= budget.most;
  };
  const found = budget.kind === 'kl' ? front.findLast(fits) : front.find(fits);
  if (found !== undefined) return found;
  const [best, cheapest] = [front[0], front.at(-1)];
  const nearest = budget.kind === 'kl' ? best : cheapest;
  const can = {
    kl: (nearest?.kl ?? 0) + besides.kl,
    bytes: (nearest?.bytes ?? 0) + besides.bytes,
    ns: nearest?.ns ?? 0,
  };
  const message = `no choice of formats stays within the budget; the nearest has ${can[budget.kind].toPrecision(3)} ${budget.kind}`;
  throw new NibbleError('invalid_request', { message }, { param: 'auto' });
}

/** The recipe with these formats: what most layers have stands in the class, the others are overrides. */
export function recipeOf(base: Recipe, items: readonly Item[], { picks }: Point): Recipe {
  const layers: Record<
    string,
    Record<string, { weights: WeightFormatName; activations: Recipe['classes']['qkv']['activations'] }>
  > = {};
  const classes = { ...base.classes };
  for (const name of layerClasses) {
    const chosen = items.flatMap((item, i) =>
      item.matrixClass === name ? [{ layer: item.layer, pick: picks[i] }] : [],
    );
    const counts = new Map<WeightFormatName, number>();
    for (const { pick } of chosen) if (pick) counts.set(pick.format, (counts.get(pick.format) ?? 0) + 1);
    const [common] = [...counts].sort((a, b) => b[1] - a[1]).map(([format]) => format);
    if (common === undefined) continue;
    classes[name] = { ...classes[name], weights: common };
    for (const { layer, pick } of chosen) {
      if (pick === undefined || pick.format === common) continue;
      layers[layer] = { ...layers[layer], [name]: { ...classes[name], weights: pick.format } };
    }
  }
  return { ...base, name: `${base.name}-auto`, classes, ...(Object.keys(layers).length === 0 ? {} : { layers }) };
}

function frontTable(front: readonly Point[], chosen: Point, otherBytes: number, otherKl: number): string {
  const points = [...new Set([...sample(front, POINTS_SHOWN), chosen])].sort((a, b) => b.bytes - a.bytes);
  const rows = points.map((point) => {
    const counts = new Map<string, number>();
    for (const { format } of point.picks) counts.set(format, (counts.get(format) ?? 0) + 1);
    const mix = [...counts].sort((a, b) => b[1] - a[1]).map(([format, count]) => `${format} ×${count}`);
    const mark = point === chosen ? '→' : '';
    const megabytes = ((point.bytes + otherBytes) / 1e6).toFixed(1);
    return [mark, megabytes, (point.ns / 1e6).toFixed(3), (point.kl + otherKl).toFixed(4), mix.join(', ')];
  });
  return formatTable(['', 'MB', 'ms/token in kernels', 'expected KL', 'layers × classes'], rows);
}

type Measured = {
  readonly source: Source;
  readonly reference: OpenedModel;
  readonly windows: readonly Int32Array[];
  readonly entries: readonly SensitivityEntry[];
  readonly ns: (name: LayerClass, format: WeightFormatName) => number;
  /** Of the recipe's activations alone. */
  readonly activationKl: number;
  /** Bytes that no choice changes. */
  readonly otherBytes: number;
};

async function measureAll(
  options: AutoOptions,
  source: Source,
  reference: OpenedModel,
  text: readonly Int32Array[],
): Promise<Measured> {
  const { onProgress, signal, sensitivity, out } = options;
  const { architecture } = source.file;
  const windows = text.slice(0, KL_WINDOWS);
  const calibration = await calibrate(reference.nativeModel, text, {
    layers: architecture.layers,
    onWindow: (done) => onProgress('calibrating', done, text.length),
  });
  const { layers } = calibration.takeAll();
  calibration.end();
  const hash = createHash('sha256').update(await fileSha256(options.model));
  for (const ids of windows) hash.update(new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength));
  const entries = await measureSensitivity({
    ...{ source, signal, file: sensitivity, key: hash.digest('hex'), scratch: `${out}.variant` },
    statistics: (layer) => {
      const found = layers[layer];
      if (found === undefined) throw new Error(`no statistics of layer ${layer}`);
      return found;
    },
    measure: (paths) => divergences(options, reference, windows, paths, 'f32'),
    onEntry: (done, total) => onProgress('sensitivity', done, total),
  });
  const ns = await measureKernels(options, architecture);
  // Activations of the source as the recipe has them, with the source's own weights.
  const isFloat = layerClasses.every((name) => options.recipe.classes[name].activations === 'f32');
  const [activationKl = 0] = isFloat ? [0] : await divergences(options, reference, windows, [options.model], null);
  const otherBytes = makePlan(options.recipe, source.file)
    .parts.flatMap(({ tensors }) => tensors)
    .filter(({ matrixClass }) => matrixClass === null)
    .reduce((sum, { source: { type, shape }, format }) => {
      const info = findTensorFormat(format === null ? type : weightFormat(format).tensorType);
      return info === null ? sum : sum + Number(tensorBytes(info, shape) ?? 0n);
    }, 0);
  return { source, reference, windows, entries, ns, activationKl, otherBytes };
}

/** Quantizes by a choice, measures it, and chooses again with what was learned, until the budget is met and used. */
async function tryChoices(
  options: AutoOptions,
  measured: Measured,
): Promise<{ quantized: Quantized; kl: number; recipe: Recipe }> {
  const { budget, formats, out, onProgress } = options;
  const { source, reference, windows, entries, ns, activationKl, otherBytes } = measured;
  const cost: Cost = budget.kind === 'ns' ? 'ns' : 'bytes';
  let correction = 1;
  for (let attempt = 1; ; attempt += 1) {
    const items = itemsOf(entries, { architecture: source.file.architecture, formats }, ns, correction);
    const front = findFront(items, cost);
    const point = choose(front, budget, { bytes: otherBytes, kl: activationKl });
    await options.print(frontTable(front, point, otherBytes, activationKl));
    const recipe = recipeOf(options.recipe, items, point);
    const quantized = await quantize({ ...options, recipe });
    onProgress('checking', 0, 1);
    const [kl = Number.NaN] = await divergences(options, reference, windows, [out], null);
    onProgress('checking', 1, 1);
    await options.print(`expected KL ${(point.kl + activationKl).toFixed(4)}, measured ${kl.toFixed(4)}\n`);
    const isMet = budget.kind !== 'kl' || kl <= budget.most;
    const isUsed = budget.kind !== 'kl' || kl >= 0.8 * budget.most || point === front.at(-1);
    if (isMet && (isUsed || attempt >= TRIES)) return { quantized, kl, recipe };
    if (attempt > TRIES) {
      const message = `${out} has a KL divergence of ${kl.toFixed(4)}, above ${budget.most}; allow more, or another --recipe`;
      throw new NibbleError('invalid_request', { message }, { param: 'maxKl' });
    }
    await rm(out);
    correction *= Math.max(1e-3, (kl - activationKl) / Math.max(point.kl, 1e-9));
  }
}

function checkFormats(formats: readonly AutoFormat[], architecture: ArchitectureSpec): void {
  const inputs = inputsOf(architecture);
  const without = layerClasses.find((name) => formatsFor(inputs[name], formats).length === 0);
  if (without === undefined) return;
  const message = `no format of ${formats.join(', ')} has groups that divide the ${inputs[without]} inputs of ${without}`;
  throw new NibbleError('invalid_request', { message }, { param: 'formats' });
}

/** Measures, chooses, quantizes; leaves the recipe beside the output as `<out>.recipe.json`. */
export async function quantizeAuto(options: AutoOptions): Promise<Quantized> {
  const { out, open, recipe } = options;
  await refuseExisting(out);
  const source = await Source.open(options.model);
  checkFormats(options.formats, source.file.architecture);
  const text = await prepareText(options, recipe);
  const reference = await open({ activations: 'f32', sequences: 1, tokens: recipe.calibration.window });
  try {
    const measured = await measureAll(options, source, reference, text.windows);
    const done = await tryChoices(options, measured);
    await writeFile(`${out}.recipe.json`, `${JSON.stringify(done.recipe, null, 2)}\n`);
    return done.quantized;
  } finally {
    await reference.close();
  }
}

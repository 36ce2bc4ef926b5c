/** The whole way from a model file and a recipe to a quantized file. */
import { access, stat } from 'node:fs/promises';
import type { OpenedModel } from '../engine/open-types.js';
import { NibbleError, reasonOf } from '../errors.js';
import type { Recipe } from '../model/recipe-types.js';
import { fileSha256 } from '../model/sources/cache.js';
import type { ActivationFormat } from '../native/contract.js';
import { agileThresholds, collectImportance } from './agile.js';
import { type CalibrationText, selfWindows, textWindows } from './calibration-text.js';
import { layerStatistics } from './layer-statistics.js';
import { PartStore } from './part-store.js';
import { type LayerErrors, quantizeModel } from './pipeline.js';
import { makePlan, type Plan } from './plan.js';
import { Reconstruction } from './rcp/reconstruction.js';
import { Source } from './source.js';
import { transformsOf } from './transforms.js';

/** Sequences that the model writes at once. */
const WRITERS = 16;

/** Opens the source with room for `sequences` of `tokens` each. */
export type OpenSource = (room: {
  /** null: by the recipe of the file. */
  readonly activations: ActivationFormat | null;
  readonly sequences: number;
  readonly tokens: number;
  /** Another file than the source. */
  readonly model?: string;
}) => Promise<OpenedModel>;

/** What a long run is at: `done` of `total`. */
export type Phase = 'writing text' | 'calibrating' | 'sensitivity' | 'kernels' | 'quantizing' | 'checking';
export type OnProgress = (phase: Phase, done: number, total: number, note?: string) => void;

export type QuantizeOptions = {
  readonly model: string;
  readonly recipe: Recipe;
  readonly out: string;
  /** Text file; null: the model writes its own text where one is needed. */
  readonly calibration: string | null;
  readonly resume: boolean;
  readonly open: OpenSource;
  readonly toolVersion: string;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
};

export type Quantized = {
  readonly plan: Plan;
  readonly sourceBytes: number;
  readonly bytes: number;
  readonly sourceSha256: string;
  readonly calibrationSha256: string | null;
  /** By layer; empty for those that were there already. */
  readonly errors: readonly LayerErrors[];
};

export async function refuseExisting(out: string): Promise<void> {
  const exists = await access(out).then(
    () => true,
    () => false,
  );
  if (exists) throw new NibbleError('output_exists', { path: out }, { param: 'out' });
}

/** The text as windows. A model that writes has to be opened for that alone: with all its speed. */
export async function prepareText(
  options: Pick<QuantizeOptions, 'calibration' | 'open' | 'onProgress' | 'signal'>,
  recipe: Recipe,
): Promise<CalibrationText> {
  const { calibration, open, onProgress, signal } = options;
  const settings = recipe.calibration;
  const tokens = settings.window;
  const sequences = calibration === null ? WRITERS : 1;
  const opened = await open({ activations: 'a8', sequences, tokens });
  try {
    if (calibration !== null) return await textWindows(calibration, opened.tokenizer, settings);
    const total = Math.max(1, Math.floor(settings.tokens / tokens));
    onProgress('writing text', 0, total);
    return await selfWindows(opened, settings, (done) => onProgress('writing text', done, total), signal);
  } finally {
    await opened.close();
  }
}

/** Names what a calibration was, before it is read: parts made with another one are not gone on with. */
async function calibrationKey({ calibration }: QuantizeOptions, plan: Plan): Promise<string> {
  if (!plan.needs.statistics) return 'none';
  if (calibration === null) return 'self';
  const sha256 = await fileSha256(calibration).catch((cause: Error) => {
    throw new NibbleError(
      'data_unreadable',
      { path: calibration, message: reasonOf(cause) },
      { param: 'calibration', cause },
    );
  });
  return `text ${sha256}`;
}

function checkRoom(recipe: Recipe, contextLength: number): void {
  const { window } = recipe.calibration;
  if (window > contextLength) {
    const message = `calibration.window ${window}: the model reads at most ${contextLength} tokens`;
    throw new NibbleError('recipe_invalid', { message });
  }
}

/** What `agile` needs to know of the model: from which importance on a token of a layer gets 4 bits. */
async function withThresholds(recipe: Recipe, opened: OpenedModel, { windows }: CalibrationText): Promise<Recipe> {
  if (recipe.agile === undefined) return recipe;
  const { layers } = opened.modelFile.architecture;
  const importance = await collectImportance(opened.nativeModel, layers, windows);
  const thresholds = [...agileThresholds(importance, recipe.agile.share)];
  return { ...recipe, agile: { ...recipe.agile, thresholds } };
}

/** Runs the parts that are left, with statistics if they are needed. */
async function runParts(
  options: QuantizeOptions,
  source: Source,
  plan: Plan,
  store: PartStore,
  sourceSha256: string,
): Promise<Pick<Quantized, 'calibrationSha256' | 'errors'>> {
  const { onProgress, signal, toolVersion } = options;
  const errors: LayerErrors[] = [];
  const text = plan.needs.statistics ? await prepareText(options, plan.recipe) : null;
  const seed = BigInt(plan.recipe.calibration.seed);
  const provenance = { sourceSha256, calibrationSha256: text?.sha256 ?? null, toolVersion, seed };
  const opened =
    text === null
      ? null
      : await options.open({ activations: 'f32', sequences: 1, tokens: plan.recipe.calibration.window });
  try {
    const { architecture } = source.file;
    const statistics =
      text === null || opened === null
        ? null
        : layerStatistics(opened.nativeModel, {
            ...{ architecture, windows: text.windows, hessians: plan.needs.hessians },
            ...(plan.recipe.tender === undefined ? {} : { chunkTokens: plan.recipe.tender.chunkTokens }),
            onWindow: (done) => onProgress('calibrating', done, text.windows.length),
          });
    const recipe = text === null || opened === null ? plan.recipe : await withThresholds(plan.recipe, opened, text);
    await quantizeModel({
      ...{ source, plan: { ...plan, recipe }, store, out: options.out, provenance, signal },
      statistics: statistics?.of ?? null,
      transforms: transformsOf(plan.recipe, architecture),
      reconstruction:
        text === null || recipe.reconstruction === undefined ? null : new Reconstruction(source, recipe, text.windows),
      onPart: (done, part, lost) => {
        if (part.layer !== null) errors[part.layer] = lost;
        const { blockBefore = 0, blockAfter = 0 } = lost;
        const percent = (share: number) => `${(100 * share).toPrecision(3)} %`;
        const gained = blockBefore === 0 ? '' : `, error ${percent(blockBefore)} → ${percent(blockAfter)}`;
        onProgress('quantizing', done, plan.parts.length, `${part.name}${gained}`);
      },
    });
    statistics?.end();
  } finally {
    await opened?.close();
  }
  return { calibrationSha256: provenance.calibrationSha256, errors };
}

/**
 * Quantizes `model` and writes `out`, which must not exist. What is finished stays in `<out>.parts` until the end;
 * with `resume` a later run goes on from there. Rejects with NibbleErrors: `output_exists`, `output_unwritable`,
 * `recipe_invalid`, `interrupted`, and those of reading models and texts.
 */
export async function quantize(options: QuantizeOptions): Promise<Quantized> {
  const { model, out, resume } = options;
  await refuseExisting(out);
  const source = await Source.open(model);
  const calibration = {
    ...options.recipe.calibration,
    source: options.calibration === null ? 'self' : 'text',
  } as const;
  const plan = makePlan({ ...options.recipe, calibration }, source.file);
  checkRoom(plan.recipe, source.file.architecture.contextLength);
  const sourceSha256 = await fileSha256(model);
  const key = {
    source: sourceSha256,
    recipe: JSON.stringify(plan.recipe),
    calibration: await calibrationKey(options, plan),
    tool: options.toolVersion,
  };
  try {
    const store = await PartStore.open(`${out}.parts`, key, resume);
    const done = await runParts(options, source, plan, store, sourceSha256);
    const { size } = await stat(out);
    return { plan, sourceBytes: source.file.fileBytes, bytes: size, sourceSha256, ...done };
  } catch (cause) {
    if (cause instanceof NibbleError || !(cause instanceof Error) || !('syscall' in cause)) throw cause;
    throw new NibbleError('output_unwritable', { path: out, message: reasonOf(cause) }, { param: 'out', cause });
  }
}

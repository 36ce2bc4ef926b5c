/**
 * What recipes lose on the model itself: each is made (rounded to nearest, which takes seconds), run by the native
 * engine, and compared with the model in float. Files and figures are kept in Nibble's own folder: a second exploration
 * measures nothing.
 */
import { createHash, randomUUID } from 'node:crypto';
import { access, mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import Type, { type Static } from 'typebox';
import { Value } from 'typebox/value';
import type { Config } from '../../config.js';
import type { OpenedModel } from '../../engine/open-types.js';
import { fileSha256, modelsFolder } from '../../model/sources/cache.js';
import { type OpenSource, prepareText, quantize } from '../../quant/quantize.js';
import type { Progress } from '../bench/progress.js';
import { measureAgreement } from '../eval/scorer.js';
import { packageVersion } from '../output.js';
import { sourceOpener } from '../quantize.js';
import { type Candidate, quickRecipe } from './recipes.js';

/** Text that is compared on: 8 windows, the second half of each scored. */
const TOKENS = 2048;
const WINDOW = 256;

const Measured = Type.Object({
  /** KL(float‖recipe), nats per token, with its standard error. */
  klMean: Type.Number({ minimum: 0 }),
  klError: Type.Number({ minimum: 0 }),
  /** Perplexity ÷ that of the float model. */
  ratio: Type.Number({ minimum: 0 }),
  fileBytes: Type.Number({ minimum: 0 }),
});
const FidelityFile = Type.Record(Type.String(), Measured);
export type Measured = Static<typeof Measured>;
export type Fidelity = Measured & { readonly path: string };

export type FidelityTask = {
  readonly config: Config;
  /** Path of the model file. */
  readonly model: string;
  readonly candidates: readonly Candidate[];
  /** Text to compare on; null: the model writes its own. */
  readonly data: string | null;
  readonly signal: AbortSignal;
};

const hashOf = (value: unknown): string =>
  createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);

async function readMeasured(file: string): Promise<Record<string, Measured>> {
  const text = await readFile(file, 'utf8').catch(() => '{}');
  try {
    const value: unknown = JSON.parse(text);
    return Value.Check(FidelityFile, value) ? value : {};
  } catch {
    return {};
  }
}

async function writeMeasured(file: string, measured: Readonly<Record<string, Measured>>): Promise<void> {
  const draft = `${file}.${randomUUID()}`;
  await writeFile(draft, JSON.stringify(measured));
  await rename(draft, file);
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** The quantized file of a recipe, made if it isn't there. */
async function makeFile(task: FidelityTask, open: OpenSource, candidate: Candidate, path: string): Promise<void> {
  if (candidate.file !== null || (await exists(path))) return;
  await quantize({
    ...{
      model: task.model,
      recipe: quickRecipe(candidate.recipe),
      out: path,
      calibration: task.data,
      resume: false,
      open,
    },
    ...{ toolVersion: packageVersion(), onProgress: () => {}, signal: task.signal },
  });
}

async function compare(
  task: FidelityTask,
  open: OpenSource,
  paths: readonly string[],
  progress: Progress,
): Promise<readonly Omit<Measured, 'fileBytes'>[]> {
  // Another seed than that of calibration: errors are measured on text that no file has seen.
  const calibration = { source: 'self', tokens: TOKENS, window: WINDOW, seed: 2 } as const;
  const quick = task.candidates.map(({ recipe }) => quickRecipe(recipe))[0];
  if (quick === undefined) return [];
  const options = { calibration: task.data, open, onProgress: () => {}, signal: task.signal };
  const { windows } = await prepareText(options, { ...quick, calibration });
  const models: OpenedModel[] = [];
  try {
    const room = { sequences: 1, tokens: WINDOW };
    models.push(await open({ ...room, activations: 'f32' }));
    for (const path of paths) models.push(await open({ ...room, activations: null, model: path }));
    const [reference, ...candidates] = models;
    if (reference === undefined) return [];
    progress.start('comparing', windows.length);
    return await measureAgreement(reference, candidates, windows, 'second-half', (done) => progress.update(done));
  } finally {
    for (const model of models) await model.close();
  }
}

/** Every recipe's losses, by name. */
export async function measureFidelity(task: FidelityTask, progress: Progress): Promise<ReadonlyMap<string, Fidelity>> {
  const { config, model, candidates, data } = task;
  const folder = join(dirname(modelsFolder(config.home, process.env)), 'explore');
  await mkdir(folder, { recursive: true });
  const source = await fileSha256(model, task.signal);
  const text = data === null ? 'self' : await fileSha256(data, task.signal);
  const tool = packageVersion();
  const pathOf = ({ recipe, file: own }: Candidate) =>
    own ?? join(folder, `${recipe.name}-${hashOf([source, text, tool, quickRecipe(recipe)])}.gguf`);
  const file = join(folder, `fidelity-${hashOf([source, text, tool, TOKENS, WINDOW])}.json`);
  const known = await readMeasured(file);
  const contents = await Promise.all(
    candidates.map(({ file: own }) => (own === null ? null : fileSha256(own, task.signal))),
  );
  const keys = new Map(candidates.map((one, i) => [one, hashOf(contents[i] ?? quickRecipe(one.recipe))]));
  const keyOf = (candidate: Candidate): string => keys.get(candidate) ?? '';
  const missing = candidates.filter((candidate) => known[keyOf(candidate)] === undefined);
  const open = sourceOpener(config, model);
  progress.start('quantizing', candidates.length);
  // Files are made even where figures are known: the CPU's speed is measured on them.
  for (const [done, candidate] of candidates.entries()) {
    await makeFile(task, open, candidate, pathOf(candidate));
    progress.update(done + 1, candidate.name);
  }
  if (missing.length > 0) {
    const found = await compare(task, open, missing.map(pathOf), progress);
    for (const [i, candidate] of missing.entries()) {
      const one = found[i];
      if (one === undefined) continue;
      const { klMean, klError, ratio } = one;
      known[keyOf(candidate)] = { klMean, klError, ratio, fileBytes: (await stat(pathOf(candidate))).size };
    }
    await writeMeasured(file, known);
  }
  return new Map(
    candidates.flatMap((candidate) => {
      const measured = known[keyOf(candidate)];
      return measured === undefined ? [] : [[candidate.name, { ...measured, path: pathOf(candidate) }] as const];
    }),
  );
}

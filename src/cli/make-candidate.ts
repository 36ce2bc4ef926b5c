/** Makes of what the command line names model files: recipes are quantized once and kept. */
import { createHash } from 'node:crypto';
import { access, mkdir, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Config } from '../config.js';
import type { Recipe } from '../model/recipe-types.js';
import { fileSha256, modelsFolder } from '../model/sources/cache.js';
import { namedRecipes } from '../quant/named-recipes.js';
import { quantize } from '../quant/quantize.js';
import { resolveRecipe } from '../quant/recipe.js';
import { type Contender, readContender } from './eval/compare/candidates.js';
import { packageVersion } from './output.js';
import { phaseProgress, sourceOpener } from './quantize.js';

/** What is asked for: a file as it is, or a recipe to quantize the model by. */
export type Asked = Contender & { readonly recipe: string | null };

/** `w4a8`, `own-recipe.json`, `file.gguf`; settings behind `#` as `nibble eval compare` has them. */
function readAsked(text: string): Asked {
  const contender = readContender(text);
  const { model } = contender.changes;
  return { ...contender, recipe: namedRecipes.has(model) || /\.json$/i.test(model) ? model : null };
}

/** Separated by commas, each once. */
export const readAskedList = (text: string): readonly Asked[] =>
  [...new Set(text.split(',').map((part) => part.trim()))].map(readAsked);

export type MakeOptions = {
  readonly config: Config;
  /** The file that recipes are applied to. */
  readonly source: string;
  /** Text file; null: the model writes its own. */
  readonly calibration: string | null;
  /** `key=value` as `nibble quantize --set` has them, for all recipes; default: none. */
  readonly settings?: readonly string[];
  readonly signal: AbortSignal;
};

/** Where a quantized file is kept: named by all that it depends on. */
async function keptPath({ config, source, calibration }: MakeOptions, recipe: Recipe): Promise<string> {
  const text = calibration === null ? 'self' : await fileSha256(calibration);
  const parts = [packageVersion(), await fileSha256(source), JSON.stringify(recipe), text];
  const key = createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 16);
  const name = `${basename(source).replace(/\.gguf$/i, '')}-${recipe.name}-${key}.gguf`;
  return join(dirname(modelsFolder(config.home, process.env)), 'quantized', name.replace(/[^\w.-]/g, '_'));
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

async function makeFile(options: MakeOptions, recipe: Recipe): Promise<string> {
  const { config, source, calibration, signal } = options;
  const path = await keptPath(options, recipe);
  if (await exists(path)) return path;
  await mkdir(dirname(path), { recursive: true });
  // A file of that name is always a whole one; parts of a run that was interrupted are gone on with.
  const out = `${path}.making`;
  const progress = phaseProgress();
  try {
    const work = { model: source, recipe, out, calibration, resume: true, open: sourceOpener(config, source) };
    await quantize({ ...work, toolVersion: packageVersion(), onProgress: progress.update, signal });
  } finally {
    progress.stop();
  }
  await rename(out, path);
  return path;
}

/** The contender with a file that exists. */
export async function makeCandidate(options: MakeOptions, { recipe, ...contender }: Asked): Promise<Contender> {
  if (recipe !== null) {
    const model = await makeFile(options, await resolveRecipe(recipe, options.settings));
    return { ...contender, changes: { ...contender.changes, model } };
  }
  const { resolveModel } = await import('../model/sources/resolve.js');
  const { offline, home } = options.config;
  const model = await resolveModel(contender.changes.model, { offline, home });
  return { ...contender, changes: { ...contender.changes, model } };
}

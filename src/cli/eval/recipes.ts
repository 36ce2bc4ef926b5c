/** `nibble eval recipes`: every recipe applied to one model and compared with it, in one table. */
import type { Command } from 'commander';
import { type Config, loadConfig } from '../../config.js';
import { resolveModel } from '../../model/sources/resolve.js';
import { namedRecipes } from '../../quant/named-recipes.js';
import { benchSettings } from '../bench/engine.js';
import { type Asked, makeCandidate, readAskedList } from '../make-candidate.js';
import { checkWritable } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { addComparisonOptions, type ComparisonFlags } from './compare/index.js';
import { printComparison } from './compare/print.js';
import type { Comparison } from './compare/result.js';
import { type CompareTask, compareModels } from './compare/run.js';

export type RecipeTableTask = Omit<CompareTask, 'config' | 'reference' | 'candidates'> & {
  /** Its model is what the recipes are applied to, and the reference. */
  readonly config: Config;
  /** Recipes and files; default: every named recipe. */
  readonly recipes?: readonly Asked[];
  /** Text that the recipes are calibrated on; null: the model writes its own. */
  readonly calibration: string | null;
  /** `key=value` for all recipes, such as `calibration.tokens=2048`. */
  readonly settings?: readonly string[];
  readonly signal: AbortSignal;
};

/**
 * Quantizes the model by each recipe, compares all in one run. Files are kept in Nibble's folder, so that another run
 * with the same model, text and version makes none anew. Rejects with the NibbleErrors of both steps.
 */
async function recipeTable({ recipes, calibration, settings, signal, ...task }: RecipeTableTask): Promise<Comparison> {
  const { offline, home, model } = task.config;
  const source = await resolveModel(model, { offline, home });
  const options = { config: task.config, source, calibration, settings: settings ?? [], signal };
  const candidates = [];
  for (const asked of recipes ?? readAskedList([...namedRecipes.keys()].join(','))) {
    candidates.push(await makeCandidate(options, asked));
  }
  return compareModels({ ...task, reference: { name: 'source', changes: { model: source } }, candidates });
}

type RecipesFlags = ComparisonFlags & {
  readonly recipes?: readonly Asked[];
  readonly calibration?: string;
  readonly set: readonly string[];
};

async function run(flags: RecipesFlags): Promise<void> {
  const config = loadConfig(flags, process.env);
  if (flags.out !== undefined) await checkWritable(flags.out);
  const abort = new AbortController();
  const stop = () => abort.abort();
  process.once('SIGINT', stop).once('SIGTERM', stop);
  try {
    const { recipes, calibration = null, data, window, windows, protocol } = flags;
    const task = { config, data, window, protocol, rounds: flags.speed ? flags.rounds : 0, signal: abort.signal };
    const wanted = { ...(recipes === undefined ? {} : { recipes }), ...(windows === undefined ? {} : { windows }) };
    await printComparison(await recipeTable({ ...task, ...wanted, calibration, settings: flags.set }), flags);
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

export function registerRecipes(parent: Command): void {
  const command = parent
    .command('recipes')
    .description('Quantize a model by every recipe and compare all with it, as `eval compare` does.')
    .option('--recipes <list>', 'names or files, separated by commas (default: every named recipe)', readAskedList)
    .option('--calibration <file>', 'text to measure the model on (default: the model writes its own)')
    .option('--set <key=value>', 'changes all recipes, such as calibration.tokens=2048; may be repeated', collect, []);
  const settings = benchSettings.filter((key) => key !== 'activations');
  addSettingOptions(addComparisonOptions(command), [...settings, 'energyMeter', 'coreWatts']).action(run);
}

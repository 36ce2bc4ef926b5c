/** `nibble explore`: which accelerator and recipe for a model and a workload; simulated hardware, measured errors. */
import { type Command, InvalidArgumentError } from 'commander';
import { type Config, loadConfig, type SettingKey } from '../../config.js';
import {
  accelerators,
  type GemmShape,
  publishedModels,
  requestGemms,
  type TransformerShape,
} from '../../cost/accelerators/index.js';
import { paretoFront, thinFront } from '../../cost/explore/pareto.js';
import { choiceAt, countPoints, evaluateChoice, pairsOf, type SweepRecipe, sweep } from '../../cost/explore/sweep.js';
import { NibbleError } from '../../errors.js';
import { readModelFile } from '../../model/gguf.js';
import { resolveModel } from '../../model/sources/resolve.js';
import type { ModelFile } from '../../model/types.js';
import { loadAddon } from '../../native/load.js';
import { createProgress, type Progress } from '../bench/progress.js';
import { checkWritable, machineOf, printJsonResult, sourceCommit, writeReport, writeStdout } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { measureCpu, measureLimits, rooflineSeconds } from './cpu.js';
import { type Fidelity, measureFidelity } from './fidelity.js';
import { checkPoints, readSpace, readWorkload, type SpaceFile, type WorkloadFile } from './files.js';
import { describeCsv, describeJson, describeText } from './present.js';
import { readCandidate, sweepRecipe } from './recipes.js';
import type { Exploration, ExploredRecipe, KnownDesign } from './result.js';

const settings: readonly SettingKey[] = ['model', 'threads', 'offline', 'home', 'energyMeter', 'coreWatts'];

type Flags = Readonly<Record<string, unknown>> & {
  readonly workload?: string;
  readonly space?: string;
  readonly data?: string;
  readonly shape?: TransformerShape;
  readonly out?: string;
  /** False with --no-cpu. */
  readonly cpu: boolean;
  readonly validate?: boolean;
  readonly json?: boolean;
  readonly csv?: boolean;
};

/** A front of more points than this is thinned out: nobody reads more, and each is drawn four times. */
const FRONT_SHOWN_MAX = 250;

const shapeOf = ({ id, architecture }: ModelFile): TransformerShape => {
  const { layers, hidden, heads, kvHeads, headDim, ffn, vocab } = architecture;
  return { name: id, layers, hidden, heads, kvHeads, headDim, ffn, ffnMatrices: 3, vocab };
};

function readShape(text: string): TransformerShape {
  const found = publishedModels.find(({ name }) => name === text);
  if (found !== undefined) return found;
  throw new InvalidArgumentError(`must be one of: ${publishedModels.map(({ name }) => name).join(', ')}.`);
}

type Found = Pick<Exploration, 'points' | 'pointsPerMinute' | 'frontPoints' | 'front'> & {
  /** Designs of the whole front, by recipe. */
  readonly counts: ReadonlyMap<string, number>;
  readonly layers: readonly GemmShape[];
};

function search(space: SpaceFile, recipes: readonly SweepRecipe[], shape: TransformerShape, work: WorkloadFile): Found {
  const layers = requestGemms(shape, work);
  const workload = { layers, vocab: shape.vocab };
  const pairs = pairsOf(space, recipes);
  const start = performance.now();
  const columns = sweep(space, pairs, workload);
  const whole = paretoFront(columns);
  const minutes = (performance.now() - start) / 60_000;
  const counts = new Map<string, number>();
  for (const index of whole) {
    const { recipe } = choiceAt(space, pairs, index);
    counts.set(recipe, (counts.get(recipe) ?? 0) + 1);
  }
  const front = thinFront(columns, whole, FRONT_SHOWN_MAX).flatMap((index, i) => {
    const choice = choiceAt(space, pairs, index);
    const recipe = recipes.find(({ name }) => name === choice.recipe);
    if (recipe === undefined) return [];
    return [{ id: `d${i + 1}`, choice, evaluation: evaluateChoice(choice, recipe, workload) }];
  });
  const points = countPoints(space, pairs.length);
  return { points, pointsPerMinute: points / minutes, frontPoints: whole.length, front, counts, layers };
}

const knownDesigns = (layers: readonly GemmShape[]): readonly KnownDesign[] =>
  accelerators.map(({ name, about, weightBits, activationBits, evaluate }) => {
    return { name, about, weightBits, activationBits, evaluation: evaluate(layers) };
  });

type Measured = { readonly recipe: SweepRecipe; readonly fidelity: Fidelity };

/** The CPU's figures of recipes that the front has; none without a progress to show. */
async function measureRecipes(
  config: Config,
  { counts, layers }: Found,
  measured: readonly Measured[],
  work: WorkloadFile,
  progress: Progress | null,
): Promise<readonly ExploredRecipe[]> {
  progress?.start('on this CPU', measured.length);
  const limits = progress === null ? null : await measureLimits(config);
  const explored: ExploredRecipe[] = [];
  for (const [done, { recipe, fidelity }] of measured.entries()) {
    const frontPoints = counts.get(recipe.name) ?? 0;
    const isMeasured = limits !== null && frontPoints > 0;
    const cpu = isMeasured ? await measureCpu(config, fidelity.path, work) : null;
    const bound = isMeasured ? rooflineSeconds(limits, recipe, layers) : null;
    explored.push({ recipe, fidelity, frontPoints, cpu, rooflineSeconds: bound });
    progress?.update(done + 1, recipe.name);
  }
  return explored;
}

async function runExploration(flags: Flags, progress: Progress, signal: AbortSignal): Promise<Exploration> {
  const config = loadConfig(flags, process.env);
  const [workload, space] = [await readWorkload(flags.workload), await readSpace(flags.space)];
  const candidates = await Promise.all(space.recipes.map(readCandidate));
  checkPoints(
    flags.space,
    countPoints(
      space,
      pairsOf(
        space,
        candidates.map((candidate) => sweepRecipe(candidate, 0)),
      ).length,
    ),
  );
  const path = await resolveModel(config.model, { offline: config.offline, home: config.home });
  const modelFile = await readModelFile(path);
  const data = flags.data ?? null;
  const fidelities = await measureFidelity({ config, model: path, candidates, data, signal }, progress);
  const measured = candidates.flatMap((candidate) => {
    const fidelity = fidelities.get(candidate.name);
    return fidelity === undefined ? [] : [{ recipe: sweepRecipe(candidate, fidelity.klMean), fidelity }];
  });
  progress.stop();
  const found = search(
    space,
    measured.map(({ recipe }) => recipe),
    flags.shape ?? shapeOf(modelFile),
    workload,
  );
  // Of another model's layers this machine can say nothing.
  const isMeasured = flags.cpu && flags.shape === undefined;
  const explored = await measureRecipes(config, found, measured, workload, isMeasured ? progress : null);
  progress.stop();
  const { points, pointsPerMinute, frontPoints, front } = found;
  return {
    ...{ points, pointsPerMinute, frontPoints, front, recipes: explored, workload, space, data },
    known: knownDesigns(found.layers),
    machine: machineOf(loadAddon().cpuInfo(), config.threads === null ? {} : { threads: config.threads }),
    ...{
      model: modelFile.id,
      shape: flags.shape?.name ?? modelFile.id,
      commit: await sourceCommit(),
      date: new Date().toISOString(),
    },
    command: ['nibble', ...process.argv.slice(2)].join(' '),
  };
}

async function validate(flags: Flags): Promise<void> {
  const { describeChecks, describeValidation } = await import('./validate.js');
  if (flags.json !== true) return writeStdout(describeChecks());
  return printJsonResult({ machine: machineOf(loadAddon().cpuInfo()), model: null }, describeValidation());
}

async function explore(flags: Flags): Promise<void> {
  if (flags.validate === true) return validate(flags);
  if (flags.json === true && flags.csv === true) throw new InvalidArgumentError('--json or --csv, not both.');
  if (flags.out !== undefined) await checkWritable(flags.out);
  const progress = createProgress();
  const abort = new AbortController();
  const stop = () => abort.abort();
  process.once('SIGINT', stop).once('SIGTERM', stop);
  try {
    const exploration = await runExploration(flags, progress, abort.signal);
    if (flags.out !== undefined) {
      const { renderExploration } = await import('./report.js');
      await writeReport(flags.out, renderExploration(exploration));
    }
    const { machine, model } = exploration;
    if (flags.json === true) return await printJsonResult({ machine, model }, describeJson(exploration));
    await writeStdout(flags.csv === true ? describeCsv(exploration) : describeText(exploration));
  } catch (error) {
    if (abort.signal.aborted) throw new NibbleError('interrupted', {}, { cause: error });
    throw error;
  } finally {
    progress.stop();
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

/** Adds `nibble explore`. */
export function registerExplore(program: Command): void {
  const command = program
    .command('explore')
    .description('Sweep simulated accelerators and recipes for a model and a workload (docs/hardware-models.md).')
    .option('--workload <file>', 'JSON: batch, promptTokens, outputTokens (default: 4, 512, 128)')
    .option('--space <file>', 'JSON: elements, recipes, and values of each dimension')
    .option('--data <file>', 'text to measure errors on (default: the model writes its own)')
    .option('--shape <model>', 'layers of a published model instead, such as llama-2-7b', readShape)
    .option('--out <file>', 'write a report as one HTML file')
    .option('--no-cpu', "don't measure the recipes' speed on this machine")
    .option('--validate', 'instead: published figures of accelerators beside those of the models')
    .option('--json', 'print one JSON object')
    .option('--csv', 'print the front as CSV');
  addSettingOptions(command, settings).action(explore);
}

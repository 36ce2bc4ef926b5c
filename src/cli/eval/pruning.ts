/** `nibble eval pruning`: what long contexts are still good for when tokens are dropped from their later layers. */
import { type Command, InvalidArgumentError } from 'commander';
import { loadConfig } from '../../config.js';
import type { OpenedModel } from '../../engine/open-types.js';
import { configInvalid } from '../../errors.js';
import { PRUNING_STAGES_MAX, PRUNING_WINDOW_TOKENS } from '../../limits.js';
import { loadAddon } from '../../native/load.js';
import { integerIn } from '../bench/arguments.js';
import { benchSettings } from '../bench/engine.js';
import { createProgress } from '../bench/progress.js';
import { significant } from '../bench/statistics.js';
import { formatTable } from '../bench/table.js';
import { machineOf, printJsonResult, writeStdout } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { readTokens } from './data.js';
import {
  makeQuestion,
  type Places,
  pairedExcess,
  recall,
  type Selection,
  suffixPerplexity,
  waysOf,
} from './pruning-runs.js';
import { openForEval } from './session.js';
import { windowsOf } from './windows.js';

type PruningFlags = Readonly<Record<string, unknown>> & {
  readonly data: string;
  readonly keeps: readonly number[];
  readonly afterLayer?: number;
  readonly stages: number;
  readonly window: number;
  readonly suffix: number;
  readonly windows?: number;
  readonly questions: number;
  readonly json?: boolean;
};

type Run = {
  readonly selection: Selection;
  readonly keep: number;
  readonly perplexity: number;
  readonly standardError: number;
  readonly windowLosses: readonly number[];
  /** Share of the questions answered rightly; null if there are none. */
  readonly recall: number | null;
};

function parseKeeps(text: string): readonly number[] {
  const keeps = text.split(',').map(Number);
  if (keeps.some((keep) => !(keep > 0 && keep <= 1)))
    throw new InvalidArgumentError('must be shares above 0, up to 1.');
  return keeps;
}

async function pruning(flags: PruningFlags): Promise<void> {
  const config = loadConfig(flags, process.env);
  const context = flags.window - flags.suffix;
  if (context < PRUNING_WINDOW_TOKENS || context % PRUNING_WINDOW_TOKENS !== 0) {
    const message = `window less suffix must be a multiple of ${PRUNING_WINDOW_TOKENS}`;
    throw configInvalid('suffix', message);
  }
  const opened = await openForEval(config, flags.window);
  const progress = createProgress();
  try {
    const { layers, vocab } = opened.modelFile.architecture;
    const tokens = await readTokens(flags.data, opened.tokenizer, flags.window);
    const all = windowsOf(tokens, flags.window);
    const windows = all.slice(0, flags.windows);
    const questions = Array.from({ length: flags.questions }, (_, i) =>
      makeQuestion(opened.tokenizer, all[i % all.length] ?? tokens, flags.window, i),
    );
    const places: Places = { layers, afterLayer: flags.afterLayer ?? Math.floor(layers / 4), stages: flags.stages };
    const ways = waysOf(flags.keeps);
    progress.start('pruning', ways.length);
    const runs: Run[] = [];
    for (const way of ways) {
      const { tokens: _, ...loss } = await suffixPerplexity(opened.nativeModel, windows, context, way, places);
      const found = flags.questions > 0 ? await recall(opened.nativeModel, questions, vocab, way, places) : null;
      runs.push({ ...way, ...loss, recall: found });
      progress.update(runs.length, `${way.selection} ${way.keep}: ${loss.perplexity.toFixed(4)}`);
    }
    progress.stop();
    await report(flags, opened, windows.length, places, runs);
  } finally {
    progress.stop();
    await opened.close();
  }
}

async function report(
  flags: PruningFlags,
  { modelFile, nativeModel }: OpenedModel,
  windows: number,
  { afterLayer, stages }: Places,
  runs: readonly Run[],
): Promise<void> {
  const { level, threads } = nativeModel.info;
  if (flags.json === true) {
    const { window: windowTokens, suffix: suffixTokens, questions } = flags;
    const rounded = runs.map((run) => ({
      ...run,
      perplexity: significant(run.perplexity, 8),
      standardError: significant(run.standardError),
      windowLosses: run.windowLosses.map((loss) => significant(loss, 6)),
    }));
    return printJsonResult(
      { machine: machineOf(loadAddon().cpuInfo(), { isa: level, threads }), model: modelFile.id },
      { runs: rounded, windows, windowTokens, suffixTokens, questions, afterLayer, stages },
    );
  }
  const against = (run: Run, other: Run | undefined) => {
    const { excess, error } = pairedExcess(run.windowLosses, other?.windowLosses ?? []);
    return `${(100 * excess).toFixed(2)} ± ${(100 * error).toFixed(2)} %`;
  };
  const rows = runs.map((run) => [
    run.selection,
    String(run.keep),
    `${run.perplexity.toFixed(4)} ± ${run.standardError.toFixed(4)}`,
    against(run, runs[0]),
    against(run, runs.find(({ selection, keep }) => selection === 'importance' && keep === run.keep) ?? run),
    run.recall === null ? '' : `${(100 * run.recall).toFixed(1)} %`,
  ]);
  await writeStdout(
    formatTable(['tokens by', 'keep', 'perplexity of the suffix', 'loss over all', 'over importance', 'recall'], rows),
  );
}

export function registerPruning(parent: Command): void {
  const command = parent
    .command('pruning')
    .description('Perplexity of a fixed suffix, and recall of facts, by the share of the context that is kept.')
    .requiredOption('--data <file>', 'text file')
    .option('--keeps <list>', 'shares of the context that stay', parseKeeps, [0.75, 0.5, 0.25])
    .option('--after-layer <layer>', 'the first layer that drops tokens', integerIn(0, 10_000))
    .option('--stages <count>', 'in how many stages', integerIn(1, PRUNING_STAGES_MAX), 1)
    .option('--window <tokens>', 'tokens of a window; a last short one is dropped', integerIn(512, 1_000_000), 2048)
    .option('--suffix <tokens>', 'tokens at its end that are scored', integerIn(2, 1_000_000), 256)
    .option('--windows <count>', 'only the first so many windows', integerIn(1, 1_000_000_000))
    .option('--questions <count>', 'facts to be recalled from the first quarter', integerIn(0, 100_000), 0)
    .option('--json', 'print one JSON object');
  addSettingOptions(command, benchSettings).action(pruning);
}

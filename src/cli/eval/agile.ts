/** `nibble eval agile`: perplexity against the share of rows that get 4 bits, by which tokens get them. */
import { type Command, InvalidArgumentError } from 'commander';
import { type Config, loadConfig } from '../../config.js';
import type { OpenedModel } from '../../engine/open-types.js';
import { type LayerLinears, type LoadOptions, readCounter } from '../../native/contract.js';
import { loadAddon } from '../../native/load.js';
import { agileThresholds, collectImportance } from '../../quant/agile.js';
import { integerIn } from '../bench/arguments.js';
import { benchSettings } from '../bench/engine.js';
import { createProgress } from '../bench/progress.js';
import { significant } from '../bench/statistics.js';
import { formatTable } from '../bench/table.js';
import { machineOf, printJsonResult, writeStdout } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { readTokens } from './data.js';
import { parseProtocol } from './perplexity.js';
import { openForEval, scoreSequence } from './session.js';
import { firstScoredRow, LossMeter, type Perplexity, type Protocol, windowsOf } from './windows.js';

type AgileFlags = Readonly<Record<string, unknown>> & {
  readonly data: string;
  readonly calibration: string;
  readonly shares: readonly number[];
  readonly window: number;
  readonly windows?: number;
  readonly protocol: Protocol;
  readonly json?: boolean;
};

/** Tokens of 4 bits: none, those that attend most or least to the first one, any. */
type Selection = 'f32' | 'a8' | 'most' | 'least' | 'random';
type Run = {
  readonly selection: Selection;
  /** Of tokens, asked for. */
  readonly share: number;
  /** Of rows (a token's input of a linear layer, four a layer), as counted. */
  readonly rowShare: number;
  readonly perplexity: number;
  readonly standardError: number;
};

const CALIBRATION_WINDOWS = 32;

const a8 = { activations: 'a8' } as const;
const agile = { activations: 'agile' } as const;
const agileLayer: LayerLinears = { qkv: a8, output: agile, gateUp: agile, down: agile };

function parseShares(text: string): readonly number[] {
  const shares = text.split(',').map(Number);
  if (shares.some((share) => !(share >= 0 && share <= 1)))
    throw new InvalidArgumentError('must be shares from 0 to 1.');
  return shares;
}

async function score(
  opened: OpenedModel,
  windows: readonly Int32Array[],
  protocol: Protocol,
): Promise<Perplexity & { readonly rowShare: number }> {
  const meter = new LossMeter();
  let shortRows = 0;
  let tokenCount = 0;
  for (const tokens of windows) {
    const first = firstScoredRow(tokens.length, protocol);
    for await (const { rowStart, rows, result } of scoreSequence(opened.nativeModel, tokens, 0, {
      wantLogprobs: true,
    })) {
      for (let row = Math.max(0, first - rowStart); row < rows; ++row) meter.add(-(result.logprobs[row] ?? Number.NaN));
      shortRows += readCounter(result.counters, 'shortRows');
      tokenCount += rows;
    }
  }
  const rowShare = shortRows / (tokenCount * 4 * opened.modelFile.architecture.layers);
  return { ...meter.result(), rowShare };
}

/** What the curves need of the model: its tokens, and how important each token is in each layer. */
async function prepare(flags: AgileFlags, config: Config) {
  const opened = await openForEval(config, flags.window);
  try {
    const tokensOf = async (path: string) =>
      windowsOf(await readTokens(path, opened.tokenizer, flags.window), flags.window);
    const windows = (await tokensOf(flags.data)).slice(0, flags.windows);
    const calibration = (await tokensOf(flags.calibration)).slice(0, CALIBRATION_WINDOWS);
    const { layers } = opened.modelFile.architecture;
    const importance = await collectImportance(opened.nativeModel, layers, calibration);
    return { windows, importance, layers, model: opened.modelFile.id, info: opened.nativeModel.info };
  } finally {
    await opened.close();
  }
}

async function curves(flags: AgileFlags): Promise<void> {
  const config = loadConfig(flags, process.env);
  const progress = createProgress();
  const runs: Run[] = [];
  try {
    const { windows, importance, layers, model, info } = await prepare(flags, config);
    const shares = flags.shares.filter((share) => share > 0);
    progress.start('agile', 2 + 3 * shares.length);
    const run = async (selection: Selection, share: number, changes: Parameters<typeof openForEval>[2]) => {
      const opened = await openForEval(config, flags.window, changes);
      try {
        const { perplexity, standardError, rowShare } = await score(opened, windows, flags.protocol);
        runs.push({ selection, share, rowShare, perplexity, standardError });
        progress.update(runs.length, `${selection} ${share}: ${perplexity.toFixed(4)}`);
      } finally {
        await opened.close();
      }
    };
    await run('f32', 0, { activations: 'f32' });
    await run('a8', 0, { activations: 'a8' });
    const linears = Array.from({ length: layers }, () => agileLayer);
    for (const share of shares) {
      const choices: Readonly<Record<'most' | 'least' | 'random', LoadOptions['agile']>> = {
        most: { thresholds: agileThresholds(importance, share) },
        least: { thresholds: agileThresholds(importance, 1 - share), choice: 'least' },
        random: { thresholds: new Float32Array(layers).fill(1 - share), choice: 'random' },
      };
      for (const [selection, choice] of Object.entries(choices)) {
        await run(selection as keyof typeof choices, share, { activations: 'a8', linears, agile: choice });
      }
    }
    progress.stop();
    await report(flags, model, info, runs);
  } finally {
    progress.stop();
  }
}

async function report(
  flags: AgileFlags,
  model: string,
  { level, threads }: OpenedModel['nativeModel']['info'],
  runs: readonly Run[],
): Promise<void> {
  const base = runs[0]?.perplexity ?? Number.NaN;
  if (flags.json === true) {
    const machine = machineOf(loadAddon().cpuInfo(), { isa: level, threads });
    const rounded = runs.map((run) => ({
      ...run,
      rowShare: significant(run.rowShare),
      perplexity: significant(run.perplexity, 8),
      standardError: significant(run.standardError),
    }));
    return printJsonResult({ machine, model }, { runs: rounded, windowTokens: flags.window, protocol: flags.protocol });
  }
  const percent = (value: number) => `${(100 * value).toFixed(2)} %`;
  const rows = runs.map(({ selection, share, rowShare, perplexity, standardError }) => [
    selection,
    percent(share),
    percent(rowShare),
    `${perplexity.toFixed(4)} ± ${standardError.toFixed(4)}`,
    percent(perplexity / base - 1),
  ]);
  await writeStdout(formatTable(['attending', 'tokens', 'rows of 4 bits', 'perplexity', 'over f32'], rows));
}

export function registerAgile(parent: Command): void {
  const command = parent
    .command('agile')
    .description(
      'Perplexity against the share of tokens whose rows get 4 bits: those that attend most or least to the first, or any.',
    )
    .requiredOption('--data <file>', 'text file')
    .requiredOption('--calibration <file>', 'text file that the thresholds are taken from')
    .option('--shares <list>', 'shares of tokens', parseShares, [0.1, 0.2, 0.3, 0.4, 0.5])
    .option('--window <tokens>', 'tokens of a window; a last short one is dropped', integerIn(4, 1_000_000), 512)
    .option('--windows <count>', 'only the first so many windows', integerIn(1, 1_000_000_000))
    .option('--protocol <name>', 'full, or second-half as llama.cpp scores', parseProtocol, 'full')
    .option('--json', 'print one JSON object');
  addSettingOptions(command, benchSettings).action(curves);
}

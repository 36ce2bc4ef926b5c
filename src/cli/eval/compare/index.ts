/** `nibble eval compare`: quality, size and speed of several models beside a reference, in one run. */
import type { Command } from 'commander';
import { loadConfig } from '../../../config.js';
import { integerIn } from '../../bench/arguments.js';
import { benchSettings } from '../../bench/engine.js';
import { checkWritable } from '../../output.js';
import { addSettingOptions } from '../../settings.js';
import { parseProtocol } from '../perplexity.js';
import type { Protocol } from '../windows.js';
import { type Contender, readContender, readContenders } from './candidates.js';
import { printComparison } from './print.js';
import { compareModels } from './run.js';

/** Flags that every comparison has. */
export type ComparisonFlags = Readonly<Record<string, unknown>> & {
  readonly data: string;
  readonly window: number;
  readonly windows?: number;
  readonly protocol: Protocol;
  readonly rounds: number;
  /** False with --no-speed. */
  readonly speed: boolean;
  readonly out?: string;
  readonly json?: boolean;
};

type CompareFlags = ComparisonFlags & {
  readonly reference: Contender;
  readonly candidates: readonly Contender[];
};

async function compare(flags: CompareFlags): Promise<void> {
  const config = loadConfig(flags, process.env);
  if (flags.out !== undefined) await checkWritable(flags.out);
  const { reference, candidates, data, window, windows, protocol } = flags;
  const rounds = flags.speed ? flags.rounds : 0;
  const count = windows === undefined ? {} : { windows };
  const comparison = await compareModels({ config, reference, candidates, data, window, ...count, protocol, rounds });
  await printComparison(comparison, flags);
}

/** The options of `ComparisonFlags`. */
export function addComparisonOptions(command: Command): Command {
  return command
    .requiredOption('--data <file>', 'text file')
    .option('--window <tokens>', 'tokens of a window; a last short one is dropped', integerIn(64, 1_000_000), 512)
    .option('--windows <count>', 'only the first so many windows', integerIn(1, 1_000_000_000))
    .option('--protocol <name>', 'full, or second-half as llama.cpp scores', parseProtocol, 'full')
    .option('--rounds <count>', 'turns of every model when speed is measured', integerIn(1, 100), 3)
    .option('--no-speed', "don't measure speed")
    .option('--out <file>', 'write a report as one HTML file')
    .option('--json', 'print one JSON object');
}

export function registerCompare(parent: Command): void {
  const command = parent
    .command('compare')
    .description('Compare models with a reference: perplexity, divergence, size and speed, as a table and a report.')
    .requiredOption('--reference <file>', 'model file; computed with f32 activations', readContender)
    .requiredOption('--candidates <files>', 'FILE or FILE#activations=f32&kv=kv8, separated by commas', readContenders);
  const settings = benchSettings.filter((key) => key !== 'model');
  addSettingOptions(addComparisonOptions(command), [...settings, 'energyMeter', 'coreWatts']).action(compare);
}

/** `nibble eval compare`: quality, size and speed of several models beside a reference, in one run. */
import { createHash } from 'node:crypto';
import { stat, writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { type Config, loadConfig } from '../../../config.js';
import { NibbleError } from '../../../errors.js';
import { openMeter } from '../../../metering/open-meter.js';
import type { Meter } from '../../../metering/types.js';
import { loadAddon } from '../../../native/load.js';
import { integerIn } from '../../bench/arguments.js';
import { benchSettings } from '../../bench/engine.js';
import { createProgress } from '../../bench/progress.js';
import { machineOf, printJsonResult, sourceCommit, writeStdout } from '../../output.js';
import { addSettingOptions } from '../../settings.js';
import { readText, tokensOf } from '../data.js';
import { parseProtocol } from '../perplexity.js';
import { type Protocol, windowsOf } from '../windows.js';
import { type Contender, readContender, readContenders } from './candidates.js';
import { describeComparison, describeTable } from './present.js';
import { measureQuality } from './quality.js';
import type { ComparedModel, Comparison } from './result.js';
import { measureSpeeds } from './speed.js';

type CompareFlags = Readonly<Record<string, unknown>> & {
  readonly reference: Contender;
  readonly candidates: readonly Contender[];
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

/** What a model's header says, without loading it. */
type Header = { readonly bytes: number; readonly contextTokens: number };

/** Finds a contender's file and reads its header; the contender comes back with the path instead of a model's name. */
async function locate(config: Config, contender: Contender): Promise<{ contender: Contender; header: Header }> {
  const { resolveModel } = await import('../../../model/sources/resolve.js');
  const { readModelFile } = await import('../../../model/gguf.js');
  const path = await resolveModel(contender.changes.model, { offline: config.offline, home: config.home });
  const { architecture } = await readModelFile(path);
  const header = { bytes: (await stat(path)).size, contextTokens: architecture.contextLength };
  return { contender: { ...contender, changes: { ...contender.changes, model: path } }, header };
}

/** Tokens of the data by the reference's tokenizer, whole windows. */
async function readWindows(flags: CompareFlags, reference: Contender) {
  const { readModelFile } = await import('../../../model/gguf.js');
  const { createTokenizer } = await import('../../../model/tokenizer/index.js');
  const text = await readText(flags.data);
  const tokenizer = createTokenizer((await readModelFile(reference.changes.model)).tokenizer);
  const tokens = tokensOf(text, flags.data, tokenizer, flags.window);
  const windows = windowsOf(tokens, flags.window).slice(0, flags.windows);
  return { windows, sha256: createHash('sha256').update(text).digest('hex') };
}

function openEnergyMeter({ energyMeter, coreWatts }: Config): Meter | null {
  return energyMeter === 'off' ? null : openMeter({ setting: energyMeter, wattsPerCore: coreWatts }).meter;
}

/** Fails before the work is done rather than after: an unwritable report would lose it. */
async function checkWritable(path: string): Promise<void> {
  await writeFile(path, '').catch((cause: Error) => {
    throw new NibbleError('invalid_request', { message: `${path} can't be written: ${cause.message}` }, { cause });
  });
}

async function compare(flags: CompareFlags): Promise<void> {
  const config = loadConfig(flags, process.env);
  if (flags.out !== undefined) await checkWritable(flags.out);
  // The reference is a float model, whatever the settings say of the candidates.
  const asFloat = { ...flags.reference, changes: { activations: 'f32' as const, ...flags.reference.changes } };
  const reference = await locate(config, asFloat);
  const candidates = await Promise.all(flags.candidates.map((candidate) => locate(config, candidate)));
  const contenders = candidates.map(({ contender }) => contender);
  const { windows, sha256 } = await readWindows(flags, reference.contender);
  const meter = flags.speed ? openEnergyMeter(config) : null;
  const progress = createProgress();
  try {
    const task = {
      config,
      reference: reference.contender,
      candidates: contenders,
      windows,
      windowTokens: flags.window,
    };
    const qualities = await measureQuality({ ...task, protocol: flags.protocol }, progress);
    const all = [reference, ...candidates];
    const contextTokens = Math.min(...all.map(({ header }) => header.contextTokens));
    const models = [reference.contender, ...contenders];
    const speedTask = { config, contextTokens, meter };
    const speeds = flags.speed ? await measureSpeeds(speedTask, models, flags.rounds, progress) : [];
    progress.stop();
    const found = all.map(({ contender, header }, i): ComparedModel => {
      const quality = qualities[i - 1] ?? null;
      return { name: contender.name, fileBytes: header.bytes, quality, speed: speeds[i] ?? null };
    });
    const energy = meter === null ? null : { source: meter.source, meter: meter.description };
    await report(flags, { config, found, sha256, windows: windows.length, energy });
  } finally {
    progress.stop();
    meter?.close();
  }
}

type Found = {
  readonly config: Config;
  readonly found: readonly ComparedModel[];
  readonly sha256: string;
  readonly windows: number;
  readonly energy: Comparison['energy'];
};

async function report(flags: CompareFlags, { config, found, sha256, windows, energy }: Found): Promise<void> {
  const [first, ...others] = found;
  const candidates = others.flatMap((model) => (model.quality === null ? [] : [{ ...model, quality: model.quality }]));
  const scored = candidates[0]?.quality.agreement.reference;
  if (first === undefined || scored === undefined)
    throw new NibbleError('engine_failed', { message: 'nothing scored' });
  const comparison: Comparison = {
    machine: machineOf(loadAddon().cpuInfo(), config.threads === null ? {} : { threads: config.threads }),
    commit: await sourceCommit(),
    date: new Date().toISOString(),
    command: ['nibble', ...process.argv.slice(2)].join(' '),
    data: { path: flags.data, sha256 },
    ...{
      windowTokens: flags.window,
      windows,
      protocol: flags.protocol,
      rounds: flags.speed ? flags.rounds : 0,
      energy,
    },
    reference: { ...first, perplexity: scored.perplexity, standardError: scored.standardError },
    candidates,
  };
  if (flags.out !== undefined) {
    const { renderReport } = await import('./report.js');
    await writeFile(flags.out, renderReport(comparison));
  }
  if (flags.json === true) {
    const { machine, reference } = comparison;
    return printJsonResult({ machine, model: reference.name }, describeComparison(comparison));
  }
  await writeStdout(describeTable(comparison));
}

export function registerCompare(parent: Command): void {
  const command = parent
    .command('compare')
    .description('Compare models with a reference: perplexity, divergence, size and speed, as a table and a report.')
    .requiredOption('--reference <file>', 'model file; computed with f32 activations', readContender)
    .requiredOption('--candidates <files>', 'FILE or FILE#activations=f32&kv=kv8, separated by commas', readContenders)
    .requiredOption('--data <file>', 'text file')
    .option('--window <tokens>', 'tokens of a window; a last short one is dropped', integerIn(64, 1_000_000), 512)
    .option('--windows <count>', 'only the first so many windows', integerIn(1, 1_000_000_000))
    .option('--protocol <name>', 'full, or second-half as llama.cpp scores', parseProtocol, 'full')
    .option('--rounds <count>', 'turns of every model when speed is measured', integerIn(1, 100), 3)
    .option('--no-speed', "don't measure speed")
    .option('--out <file>', 'write a report as one HTML file')
    .option('--json', 'print one JSON object');
  const settings = benchSettings.filter((key) => key !== 'model');
  addSettingOptions(command, [...settings, 'energyMeter', 'coreWatts']).action(compare);
}

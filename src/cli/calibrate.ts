/** `nibble calibrate`: statistics of what a model's linear layers read, as a file to look at. */
import { access } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { loadConfig, type SettingKey } from '../config.js';
import { NibbleError } from '../errors.js';
import { resolveModel } from '../model/sources/resolve.js';
import { calibrate } from '../quant/calibrate.js';
import { textWindows } from '../quant/calibration-text.js';
import { writeStatistics } from '../quant/statistics-file.js';
import { integerIn } from './bench/arguments.js';
import { createProgress } from './bench/progress.js';
import { writeStdout } from './output.js';
import { sourceOpener } from './quantize.js';
import { addSettingOptions } from './settings.js';

const settings: readonly SettingKey[] = ['model', 'threads', 'offline', 'home'];

type CalibrateFlags = Readonly<Record<string, unknown>> & {
  readonly data: string;
  readonly out: string;
  readonly tokens: number;
  readonly window: number;
};

async function run(flags: CalibrateFlags): Promise<void> {
  const config = loadConfig(flags, process.env);
  const out = resolve(flags.out);
  const exists = await access(out).then(
    () => true,
    () => false,
  );
  if (exists) throw new NibbleError('output_exists', { path: out }, { param: 'out' });
  const model = await resolveModel(config.model, { offline: config.offline, home: config.home });
  const { tokens, window } = flags;
  const opened = await sourceOpener(config, model)({ activations: 'f32', sequences: 1, tokens: window });
  const progress = createProgress();
  try {
    const text = await textWindows(flags.data, opened.tokenizer, { source: 'text', tokens, window, seed: 0 });
    progress.start('calibrating', text.windows.length);
    const start = performance.now();
    const { layers } = opened.modelFile.architecture;
    const onWindow = (done: number) => progress.update(done);
    const calibration = await calibrate(opened.nativeModel, text.windows, { layers, onWindow });
    const speed = (calibration.tokens * 1e3) / (performance.now() - start);
    await writeStatistics(out, calibration.takeAll());
    calibration.end();
    progress.stop();
    await writeStdout(`${out}: ${calibration.tokens} tokens, ${speed.toFixed(0)} tokens/s\n`);
  } finally {
    progress.stop();
    await opened.close();
  }
}

/** Adds `nibble calibrate`. */
export function registerCalibrate(program: Command): void {
  const command = program
    .command('calibrate')
    .description('Measure what the linear layers of a model read, for `nibble inspect --statistics`.')
    .requiredOption('--data <file>', 'text file')
    .requiredOption('--out <file>', 'file for the statistics; it must not exist')
    .option('--tokens <count>', 'tokens in all', integerIn(16, 16_777_216), 16_384)
    .option('--window <tokens>', 'tokens of one sequence', integerIn(16, 131_072), 512);
  addSettingOptions(command, settings).action(run);
}

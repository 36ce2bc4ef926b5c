/** `nibble bench all`: every measurement in one run, as one page and as JSON. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { loadConfig } from '../../../config.js';
import { NibbleError } from '../../../errors.js';
import { loadAddon } from '../../../native/load.js';
import { machineOf, sourceCommit, writeStdout } from '../../output.js';
import { addSettingOptions } from '../../settings.js';
import { createProgress } from '../progress.js';
import { benchmarksPage } from './document.js';
import { runSection, shellWords } from './run.js';
import { sectionsOf } from './sections.js';
import type { Outcome, Section } from './types.js';

type AllFlags = Readonly<Record<string, unknown>> & {
  readonly out: string;
  readonly data?: string;
  readonly quick?: boolean;
  readonly sections?: string;
};

/** The sections named, or all. Throws `invalid_request` for a name that isn't one. */
function chooseSections(all: readonly Section[], names: string | undefined): readonly Section[] {
  if (names === undefined) return all;
  return names.split(',').map((name) => {
    const found = all.find((section) => section.name === name);
    const known = all.map((section) => section.name).join(', ');
    if (found === undefined) throw new NibbleError('invalid_request', { message: `no section "${name}": ${known}` });
    return found;
  });
}

/** The settings that were given, as flags of other commands. */
function settingsOf(flags: AllFlags): readonly string[] {
  const { model, threads, offline, home } = loadConfig(flags, process.env);
  const given = { '--model': model, '--threads': threads, '--home': home };
  const pairs = Object.entries(given).flatMap(([flag, value]) => (value === null ? [] : [flag, String(value)]));
  return [...pairs, ...(offline ? ['--offline'] : [])];
}

async function all(flags: AllFlags): Promise<void> {
  const cpu = loadAddon().cpuInfo();
  const otherIsa = cpu.level !== 'avx2' && cpu.levels.includes('avx2') ? 'avx2' : null;
  const isQuick = flags.quick === true;
  const amount = { data: flags.data ?? null, isQuick, otherIsa };
  const sections = chooseSections(sectionsOf(amount), flags.sections);
  const settings = settingsOf(flags);
  await mkdir(flags.out, { recursive: true }); // now, not when an hour has been measured
  const begin = performance.now();
  const outcomes: Outcome[] = [];
  const progress = createProgress();
  progress.start('bench all', sections.length);
  for (const section of sections) {
    progress.update(outcomes.length, section.title);
    outcomes.push(await runSection(section, settings));
  }
  progress.stop();
  const commit = await sourceCommit();
  const minutes = Math.max(1, Math.round((performance.now() - begin) / 60_000));
  const command = shellWords(process.argv.slice(2));
  const date = new Date().toISOString().slice(0, 10);
  const results = Object.fromEntries(
    outcomes.map(({ section, seconds, result, failure }) => [section.name, { seconds, failure, result }]),
  );
  const whole = { machine: machineOf(cpu), commit, date, minutes, sections: results };
  await writeFile(join(flags.out, 'benchmarks.json'), `${JSON.stringify(whole, null, 1)}\n`);
  await writeFile(
    join(flags.out, 'benchmarks.md'),
    benchmarksPage({ commit, date, minutes, isQuick, command, outcomes }),
  );
  await writeStdout(`${join(flags.out, 'benchmarks.md')}\n`);
  const failed = outcomes.filter(({ failure }) => failure !== null).map(({ section }) => section.name);
  if (failed.length > 0) throw new NibbleError('bench_failed', { message: `not measured: ${failed.join(', ')}` });
}

export function registerAll(bench: Command): void {
  const command = bench
    .command('all')
    .description('Measure everything, one after the other (up to an hour); writes benchmarks.md and benchmarks.json.')
    .requiredOption('--out <folder>', 'where both are written')
    .option('--data <file>', 'text that the quality of recipes is judged by; without it quality is left out')
    .option('--sections <names>', 'only these')
    .option('--quick', 'small loads and few rounds: shows that everything works, not how fast');
  addSettingOptions(command, ['model', 'threads', 'offline', 'home']).action(all);
}

/** `nibble bench roofline`: the machine's own limits, which every share of the other benches refers to. */
import type { Command } from 'commander';
import type { Addon, IsaLevel, RooflineRun } from '../../native/contract.js';
import { loadAddon } from '../../native/load.js';
import { machineOf, printJsonResult, writeStdout } from '../output.js';
import { chooseLevels, integerIn, integersIn, readLevels } from './arguments.js';
import { nativeCall } from './native-call.js';
import { createProgress } from './progress.js';
import { significant } from './statistics.js';
import { formatTable } from './table.js';

type RooflineFlags = {
  readonly threads?: readonly number[];
  readonly isa?: readonly IsaLevel[];
  readonly ms: number;
  readonly json?: boolean;
};

/**
 * Two measurements of the same limits as one. Neighbours on the machine can only lower a rate, so the higher is nearer
 * to the limit; and a limit taken too low would flatter every share.
 */
export function bestOf(a: RooflineRun, b: RooflineRun): RooflineRun {
  return {
    ...a,
    readGBs: Math.max(a.readGBs, b.readGBs),
    int8GMacs: Math.max(a.int8GMacs, b.int8GMacs),
    fp32GMacs: Math.max(a.fp32GMacs, b.fp32GMacs),
  };
}

/** Rates of one level with so many threads; each is measured for about `ms` milliseconds. */
export function measureRoofline(addon: Addon, isa: IsaLevel, threads: number, ms: number): Promise<RooflineRun> {
  return nativeCall(() => addon.roofline(isa, threads, ms));
}

async function roofline(flags: RooflineFlags): Promise<void> {
  const addon = loadAddon();
  const cpu = addon.cpuInfo();
  const levels = chooseLevels(flags.isa, cpu);
  const threadCounts = flags.threads ?? [...new Set([1, cpu.defaultThreads])];
  const progress = createProgress();
  progress.start('roofline', levels.length * threadCounts.length);
  const runs: RooflineRun[] = [];
  try {
    for (const isa of levels) {
      for (const threads of threadCounts) {
        const run = await measureRoofline(addon, isa, threads, flags.ms);
        const { readGBs, int8GMacs, fp32GMacs } = run;
        runs.push({
          isa: run.isa,
          threads: run.threads,
          readGBs: significant(readGBs),
          int8GMacs: significant(int8GMacs),
          fp32GMacs: significant(fp32GMacs),
        });
        progress.update(runs.length, `${isa}, ${threads} threads`);
      }
    }
  } finally {
    progress.stop();
  }
  if (flags.json === true) {
    const threads = Math.max(...runs.map((run) => run.threads));
    const ran = levels.length === 1 && levels[0] !== undefined ? { isa: levels[0], threads } : { threads };
    return printJsonResult({ machine: machineOf(cpu, ran), model: null }, { runs });
  }
  const rows = runs.map((run) => [run.isa, run.threads, run.readGBs, run.int8GMacs, run.fp32GMacs]);
  await writeStdout(formatTable(['isa', 'threads', 'read GB/s', 'int8 GMAC/s', 'fp32 GMAC/s'], rows));
}

export function registerRoofline(bench: Command): void {
  bench
    .command('roofline')
    .description("Measure the machine's limits: read bandwidth, int8 and fp32 multiply-accumulates per second.")
    .option('--threads <counts>', 'thread counts, such as 1,2 (default: one, and all)', integersIn(1, 256))
    .option('--isa <levels>', 'instruction-set levels, or "all" (default: the level in use)', readLevels)
    .option('--ms <time>', 'time to measure each limit for, ms', integerIn(1, 60_000), 500)
    .option('--json', 'print one JSON object')
    .action(roofline);
}

/** `nibble tune`: measures which kernels of bit planes this machine should take, and keeps that for all models. */
import type { Command } from 'commander';
import { tuningFile, writeTuning } from '../engine/lookups.js';
import { LOOKUP_TOKENS_MAX } from '../limits.js';
import type { Addon, LookupTokens } from '../native/contract.js';
import { loadAddon } from '../native/load.js';
import { integerIn } from './bench/arguments.js';
import { nativeCall } from './bench/native-call.js';
import { createProgress } from './bench/progress.js';
import { significant } from './bench/statistics.js';
import { formatTable } from './bench/table.js';
import { machineOf, printJsonResult, writeStdout } from './output.js';

type TuneFlags = {
  readonly threads?: number;
  readonly ms: number;
  readonly home?: string;
  readonly json?: boolean;
};

/** One count of tokens: 10^9 multiply-accumulates/s of both kernels. */
export type TuneRow = {
  readonly bits: keyof LookupTokens;
  readonly tokens: number;
  readonly lookup: number;
  readonly multiply: number;
};

const bitsOf: readonly (keyof LookupTokens)[] = ['w1', 'w2', 'w3', 'w4'];
const tokenCounts = [1, 2, 4, 8, LOOKUP_TOKENS_MAX] as const;
/** Of a layer of a model with 10^9 weights; its planes stay in the caches, where kernels differ most. */
const SHAPE = { n: 2048, k: 2048 } as const;

/** The largest count up to which looking up is never slower; 0 if it is for one token. */
export function lookupTokens(rows: readonly TuneRow[]): number {
  let best = 0;
  for (const { tokens, lookup, multiply } of rows.toSorted((a, b) => a.tokens - b.tokens)) {
    if (lookup < multiply) break;
    best = tokens;
  }
  return best;
}

async function measure(addon: Addon, flags: TuneFlags, report: (done: number) => void): Promise<TuneRow[]> {
  const { level, defaultThreads } = addon.cpuInfo();
  const threads = flags.threads ?? defaultThreads;
  const rate = async (family: string, m: number) => {
    const request = { isa: level, op: 'gemm', family, m, ...SHAPE, threads, seed: 1, milliseconds: flags.ms } as const;
    return significant((await nativeCall(() => addon.runKernel(request))).gMacs);
  };
  const rows: TuneRow[] = [];
  for (const bits of bitsOf) {
    for (const tokens of tokenCounts) {
      const lookup = await rate(`lut-${bits}`, tokens);
      rows.push({ bits, tokens, lookup, multiply: await rate(`planes-${bits}`, tokens) });
      report(rows.length);
    }
  }
  return rows;
}

async function tune(flags: TuneFlags): Promise<void> {
  const addon = loadAddon();
  const cpu = addon.cpuInfo();
  const progress = createProgress();
  progress.start('tune', bitsOf.length * tokenCounts.length);
  const rows = await measure(addon, flags, (done) => progress.update(done, '')).finally(() => progress.stop());
  const best = (bits: keyof LookupTokens) => lookupTokens(rows.filter((row) => row.bits === bits));
  const lookups: LookupTokens = { w1: best('w1'), w2: best('w2'), w3: best('w3'), w4: best('w4') };
  const home = flags.home ?? null;
  await writeTuning(home, cpu, lookups);
  if (flags.json === true) {
    const ran = { isa: cpu.level, threads: flags.threads ?? cpu.defaultThreads };
    return printJsonResult({ machine: machineOf(cpu, ran), model: null }, { lookups, runs: rows });
  }
  const heads = ['bits', 'tokens', 'looked up, GMAC/s', 'multiplied, GMAC/s'];
  await writeStdout(
    formatTable(
      heads,
      rows.map(({ bits, tokens, lookup, multiply }) => [bits, tokens, lookup, multiply]),
    ),
  );
  const chosen = bitsOf.map((bits) => `${bits} ${lookups[bits]}`).join(', ');
  await writeStdout(`looked up for at most so many tokens: ${chosen}\nkept in ${tuningFile(home)}\n`);
}

export function registerTune(program: Command): void {
  program
    .command('tune')
    .description(
      'Measure which kernels of bit planes pay on this machine, for all models (docs/methods/lut-tensor-core.md).',
    )
    .option('--threads <count>', 'threads (default: all)', integerIn(1, 256))
    .option('--ms <time>', 'time to measure each kernel for, ms', integerIn(1, 60_000), 100)
    .option('--home <folder>', "folder of Nibble's own files (default: a folder in the user's cache)")
    .option('--json', 'print one JSON object')
    .action(tune);
}

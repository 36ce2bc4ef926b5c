/** `nibble bench kernels`: every matrix kernel, checked against its scalar twin, then measured against the roofline. */
import { type Command, InvalidArgumentError } from 'commander';
import { NibbleError } from '../../errors.js';
import type { Addon, IsaLevel, KernelRun, RooflineRun } from '../../native/contract.js';
import { loadAddon } from '../../native/load.js';
import { machineOf, printJsonResult, writeStdout } from '../output.js';
import { chooseLevels, integerIn, namesOf, readLevels, readShape, type Shape } from './arguments.js';
import { nativeCall } from './native-call.js';
import { createProgress } from './progress.js';
import { measureRoofline } from './roofline.js';
import { significant } from './statistics.js';
import { formatTable, percent } from './table.js';

const ops = ['gemv', 'gemm'] as const;
type Op = (typeof ops)[number];

type KernelFlags = {
  readonly family?: string;
  readonly op: readonly Op[];
  readonly isa?: readonly IsaLevel[];
  readonly threads?: number;
  readonly shape: Shape;
  readonly ms: number;
  readonly seed: number;
  readonly json?: boolean;
};

type Row = {
  readonly isa: IsaLevel;
  readonly op: Op;
  readonly family: string;
  readonly shape: string;
  readonly gMacs: number;
  readonly weightGBs: number;
  readonly rooflineShare: number;
  /** Of a gemv. */
  readonly tokensPerS?: number;
};

/**
 * Ideal time ÷ measured time. A gemm is bound by arithmetic; a gemv by whichever takes longer, reading its weights from
 * memory or multiplying.
 */
export function kernelShare(op: Op, run: KernelRun, isInt8: boolean, limits: RooflineRun): number {
  const arithmetic = run.gMacs / (isInt8 ? limits.int8GMacs : limits.fp32GMacs);
  return op === 'gemm' ? arithmetic : Math.max(arithmetic, run.weightGBs / limits.readGBs);
}

/**
 * Multiplications of the linear layers of one token, without the head, of a model with 1.0e9 such weights: 16 layers,
 * 2048 wide, 32 query and 8 key heads of 64, feed-forward 8192. A gemv's rate over them makes families comparable.
 */
const TOKEN_MACS = 16 * 2048 * (2048 + 2 * 512 + 2048 + 3 * 8192);

/** Families name their activations: `…a8…` reads int8, all others f32. */
export const readsInt8 = (family: string): boolean =>
  /^(w\d+a8|rcp-w2a4|lut-w\d|ternary|planes-(w\d|ternary))(-|$)/.test(family);

function chooseFamilies(addon: Addon, wanted: string | undefined): readonly string[] {
  const known = addon.kernelFamilies();
  if (wanted === undefined) return known;
  try {
    return namesOf(known)(wanted);
  } catch (cause) {
    if (!(cause instanceof InvalidArgumentError)) throw cause;
    throw new NibbleError('invalid_request', { message: `--family ${cause.message}` }, { param: 'family', cause });
  }
}

async function runOne(addon: Addon, flags: KernelFlags, row: Pick<Row, 'isa' | 'op' | 'family'>, limits: RooflineRun) {
  const shape = row.op === 'gemv' ? { ...flags.shape, m: 1 } : flags.shape;
  const { threads } = limits;
  const run = await nativeCall(() =>
    addon.runKernel({ ...row, ...shape, threads, seed: flags.seed, milliseconds: flags.ms }),
  );
  if (!run.equal || run.isa !== row.isa) {
    const why = run.equal ? `ran on the level ${run.isa}` : 'differs from the scalar reference';
    throw new NibbleError('engine_failed', { message: `the ${row.op} kernel of ${row.family} on ${row.isa} ${why}` });
  }
  const result: Row = {
    ...row,
    shape: `${shape.m}x${shape.n}x${shape.k}`,
    gMacs: significant(run.gMacs),
    weightGBs: significant(run.weightGBs),
    ...(row.op === 'gemv' ? { tokensPerS: significant((run.gMacs * 1e9) / TOKEN_MACS) } : {}),
    rooflineShare: significant(kernelShare(row.op, run, readsInt8(row.family), limits)),
  };
  return result;
}

async function kernels(flags: KernelFlags): Promise<void> {
  const addon = loadAddon();
  const cpu = addon.cpuInfo();
  const families = chooseFamilies(addon, flags.family);
  const levels = chooseLevels(flags.isa, cpu);
  const progress = createProgress();
  progress.start('kernels', levels.length * (1 + families.length * flags.op.length));
  const runs: Row[] = [];
  let threads = flags.threads ?? cpu.defaultThreads;
  let done = 0;
  try {
    for (const isa of levels) {
      const limits = await measureRoofline(addon, isa, threads, Math.max(200, flags.ms));
      threads = limits.threads;
      progress.update(++done, `${isa}: roofline`);
      for (const family of families) {
        for (const op of flags.op) {
          runs.push(await runOne(addon, flags, { isa, op, family }, limits));
          progress.update(++done, `${isa}: ${family} ${op}`);
        }
      }
    }
  } finally {
    progress.stop();
  }
  const [isa] = levels;
  if (flags.json === true) {
    const ran = levels.length === 1 && isa !== undefined ? { isa, threads } : { threads };
    return printJsonResult({ machine: machineOf(cpu, ran), model: null }, { runs });
  }
  const rows = runs.map((run) => {
    return [
      run.isa,
      run.op,
      run.family,
      run.shape,
      run.gMacs,
      run.weightGBs,
      percent(run.rooflineShare),
      run.tokensPerS ?? '',
    ];
  });
  await writeStdout(
    formatTable(['isa', 'op', 'family', 'shape', 'GMAC/s', 'weight GB/s', 'of roofline', '1B tokens/s'], rows),
  );
}

export function registerKernels(bench: Command): void {
  bench
    .command('kernels')
    .description('Check and measure the matrix kernels, one by one.')
    .option('--family <names>', 'kernel families, such as w4a8,w8a8 (default: all)')
    .option('--op <names>', 'gemv (one token, weights from memory), gemm, or "all"', namesOf(ops), ops)
    .option('--isa <levels>', 'instruction-set levels, or "all" (default: the level in use)', readLevels)
    .option('--threads <count>', 'threads (default: all)', integerIn(1, 256))
    .option('--shape <shape>', 'tokens x outputs x inputs of the gemm', readShape, { m: 512, n: 576, k: 1536 })
    .option('--ms <time>', 'time to measure each kernel for, ms', integerIn(1, 60_000), 200)
    .option('--seed <integer>', 'of the random weights', integerIn(0, 2 ** 31), 1)
    .option('--json', 'print one JSON object')
    .action(kernels);
}

/** `nibble bench engine`: prefill and decode speed of a model, and their shares of the machine's roofline. */
import type { Command } from 'commander';
import { type Config, loadConfig, type SettingKey } from '../../config.js';
import type { OpenedModel } from '../../engine/open-types.js';
import { NibbleError } from '../../errors.js';
import { KV_BLOCK_TOKENS, SEQUENCES_MAX, STEP_TOKENS_MAX } from '../../limits.js';
import type { RooflineRun } from '../../native/contract.js';
import { loadAddon } from '../../native/load.js';
import { openOptions } from '../open-options.js';
import { machineOf, printJsonResult, writeStdout } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { integerIn, integersIn } from './arguments.js';
import { describeProfile, type Profile, profileCells, type StepTotals } from './engine-profile.js';
import { nativeCall } from './native-call.js';
import { createProgress, type Progress } from './progress.js';
import { randomTokens } from './random-tokens.js';
import { bestOf, measureRoofline } from './roofline.js';
import { decodeSeconds, idealSeconds, modelWork, prefillMacs } from './roofline-model.js';
import { median, significant } from './statistics.js';
import { Stepper } from './stepper.js';
import { formatTable, percent } from './table.js';

export const benchSettings: readonly SettingKey[] = ['model', 'threads', 'activations', 'kv', 'offline', 'home'];

type EngineFlags = Readonly<Record<string, unknown>> & {
  readonly prompt: number;
  readonly generate: number;
  readonly batch: readonly number[];
  readonly context: readonly number[];
  readonly reps: number;
  readonly ms: number;
  readonly profile?: boolean;
  readonly json?: boolean;
};

/** What one run measures: `batch` sequences of `context` cached tokens, then a prompt, then generated tokens. */
type Load = { readonly batch: number; readonly context: number; readonly prompt: number; readonly generate: number };
/** Seconds of the timed parts of one repetition, and what their steps counted. */
type Times = {
  readonly prefill: number;
  readonly decode: number;
  /** Energy of the decode, by the meter given. */
  readonly decodeJoules: number;
  readonly prefillSteps: StepTotals;
  readonly decodeSteps: StepTotals;
};

/** KV tokens that a run needs, whole blocks per sequence. */
const kvTokens = ({ batch, context, prompt, generate }: Load): number =>
  batch * Math.ceil((context + prompt + generate) / KV_BLOCK_TOKENS) * KV_BLOCK_TOKENS;

/** One repetition. A prefill step holds one sequence's chunk; a decode step all sequences. */
export async function runOnce(
  opened: Pick<OpenedModel, 'nativeModel' | 'tokenizer'>,
  load: Load,
  joules: () => number = () => 0,
): Promise<Times> {
  const stepper = new Stepper(opened.nativeModel);
  const sequences = Array.from({ length: load.batch }, () => stepper.open(load.context + load.prompt + load.generate));
  try {
    const vocab = opened.tokenizer.vocabSize;
    const tokens = sequences.map((_, i) => randomTokens(load.context + load.prompt, vocab, i + 1));
    for (const [i, sequence] of sequences.entries()) {
      const context = tokens[i]?.subarray(0, load.context) ?? new Int32Array(0);
      await stepper.prefill(sequence, context, STEP_TOKENS_MAX, false);
    }
    stepper.takeTotals();
    const start = performance.now();
    const first: number[] = [];
    for (const [i, sequence] of sequences.entries()) {
      const prompt = tokens[i]?.subarray(load.context) ?? new Int32Array(0);
      first.push(await stepper.prefill(sequence, prompt, STEP_TOKENS_MAX, true));
    }
    const middle = performance.now();
    const prefillSteps = stepper.takeTotals();
    const joulesBefore = joules();
    await stepper.decode(sequences, first, load.generate);
    const decode = (performance.now() - middle) / 1e3;
    const decodeJoules = joules() - joulesBefore;
    return { prefill: (middle - start) / 1e3, decode, decodeJoules, prefillSteps, decodeSteps: stepper.takeTotals() };
  } finally {
    stepper.closeAll(sequences);
  }
}

/** A repetition, and the machine's limits at that time. */
type Repetition = Times & { readonly limits: RooflineRun };

/**
 * `reps` repetitions after one that warms up. The limits are measured before and after each, because those of a virtual
 * machine change from one minute to the next: memory may be half as fast.
 */
async function measure(
  opened: OpenedModel,
  load: Load,
  { reps, ms }: EngineFlags,
  progress: Progress,
): Promise<Repetition[]> {
  const { level, threads } = opened.nativeModel.info;
  const limitsNow = () => measureRoofline(loadAddon(), level, threads, ms);
  progress.start(`batch ${load.batch}, context ${load.context}`, reps + 1);
  await runOnce(opened, load);
  progress.update(1);
  const repetitions: Repetition[] = [];
  let before = await limitsNow();
  while (repetitions.length < reps) {
    const times = await runOnce(opened, load);
    const after = await limitsNow();
    repetitions.push({ ...times, limits: bestOf(before, after) });
    before = after;
    progress.update(repetitions.length + 1);
  }
  return repetitions;
}

/** One line of the result. A share is the median of those of the repetitions, each by its own limits. */
function describeRun(
  opened: Pick<OpenedModel, 'modelFile' | 'nativeModel'>,
  load: Load,
  repetitions: readonly Repetition[],
  config: Pick<Config, 'activations' | 'kv'>,
) {
  const middle = (read: (repetition: Repetition) => number) => median(repetitions.map(read));
  const work = modelWork(opened.modelFile, config.activations, config.kv);
  const macs = prefillMacs(work, load.context, load.prompt);
  const steps = { batch: load.batch, context: load.context + load.prompt, steps: load.generate };
  const { info } = opened.nativeModel;
  return {
    batch: load.batch,
    context: load.context,
    prefillTokensPerS: significant((load.batch * load.prompt) / middle((r) => r.prefill)),
    decodeTokensPerS: significant((load.batch * load.generate) / middle((r) => r.decode)),
    prefillRooflineShare: significant(middle((r) => (idealSeconds(macs, r.limits) * load.batch) / r.prefill)),
    decodeRooflineShare: significant(middle((r) => decodeSeconds(work, info, steps, r.limits) / r.decode)),
  };
}

async function engine(flags: EngineFlags): Promise<void> {
  const config = loadConfig(flags, process.env);
  const loads = flags.batch.flatMap((batch) =>
    flags.context.map((context) => ({ batch, context, prompt: flags.prompt, generate: flags.generate })),
  );
  const longest = Math.max(...loads.map(({ context }) => context)) + flags.prompt + flags.generate;
  const { openModel } = await import('../../engine/open.js');
  const opened = await openModel({
    ...openOptions(config),
    contextTokens: longest,
    kvTokens: Math.max(...loads.map(kvTokens)),
    maxSequences: Math.max(...flags.batch),
  });
  const progress = createProgress();
  try {
    const limit = opened.modelFile.architecture.contextLength;
    if (longest > limit)
      throw new NibbleError('context_length_exceeded', { promptTokens: longest, limitTokens: limit });
    const runs: Run[] = [];
    const limits: RooflineRun[] = [];
    for (const load of loads) {
      const repetitions = await nativeCall(() => measure(opened, load, flags, progress));
      limits.push(...repetitions.map((repetition) => repetition.limits));
      const profile = flags.profile === true ? describeProfile(opened, load, repetitions, config) : null;
      runs.push({ ...describeRun(opened, load, repetitions, config), profile });
    }
    progress.stop();
    await report(flags, opened, limits.reduce(bestOf), runs);
  } finally {
    progress.stop();
    await opened.close();
  }
}

type Run = ReturnType<typeof describeRun> & { readonly profile: Profile | null };

async function report(
  flags: EngineFlags,
  opened: OpenedModel,
  limits: RooflineRun,
  runs: readonly Run[],
): Promise<void> {
  const { level, threads } = opened.nativeModel.info;
  if (flags.json === true) {
    const machine = machineOf(loadAddon().cpuInfo(), { isa: level, threads });
    const roofline = {
      readGBs: significant(limits.readGBs),
      int8GMacs: significant(limits.int8GMacs),
      fp32GMacs: significant(limits.fp32GMacs),
    };
    const { prompt: promptTokens, generate: generatedTokens } = flags;
    return printJsonResult({ machine, model: opened.modelFile.id }, { promptTokens, generatedTokens, roofline, runs });
  }
  const rows = runs.map((run) => [
    run.batch,
    run.context,
    run.prefillTokensPerS,
    percent(run.prefillRooflineShare),
    run.decodeTokensPerS,
    percent(run.decodeRooflineShare),
  ]);
  await writeStdout(
    formatTable(['batch', 'context', 'prefill tokens/s', 'of roofline', 'decode tokens/s', 'of roofline'], rows),
  );
  for (const { batch, context, profile } of runs) {
    if (profile === null) continue;
    const heads = ['operator', 'prefill ms', 'of time', 'of roofline', 'decode ms', 'of time', 'of roofline'];
    const table = formatTable(heads, profileCells(profile));
    await writeStdout(
      `\nbatch ${batch}, context ${context}; a prefill of all sequences, a step of the decode\n${table}`,
    );
  }
}

export function registerEngine(bench: Command): void {
  const command = bench
    .command('engine')
    .description('Measure prefill and decode of a model, without the HTTP server.')
    .option('-p, --prompt <tokens>', 'prompt tokens of each sequence', integerIn(1, 1_000_000), 512)
    .option('-n, --generate <tokens>', 'tokens to generate', integerIn(1, 1_000_000), 128)
    .option('--batch <sizes>', 'sequences at once, such as 1,4,16', integersIn(1, SEQUENCES_MAX), [1])
    .option('--context <tokens>', 'tokens that are cached beforehand, such as 0,4096', integersIn(0, 1_000_000), [0])
    .option('--reps <count>', 'repetitions; medians are reported', integerIn(3, 100), 5)
    .option('--ms <time>', 'time to measure each limit of the roofline for, ms', integerIn(1, 60_000), 150)
    .option('--profile', 'also show where the time goes, operator by operator')
    .option('--json', 'print one JSON object');
  addSettingOptions(command, benchSettings).action(engine);
}

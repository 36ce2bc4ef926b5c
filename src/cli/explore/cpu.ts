/** What the workload takes on this machine, for recipes that the server runs. */
import type { Config } from '../../config.js';
import { type CpuLimits, evaluateCpu, type GemmShape } from '../../cost/accelerators/index.js';
import type { SweepRecipe } from '../../cost/explore/sweep.js';
import { openMeter } from '../../metering/open-meter.js';
import { loadAddon } from '../../native/load.js';
import { runOnce } from '../bench/engine.js';
import { nativeCall } from '../bench/native-call.js';
import { measureRoofline } from '../bench/roofline.js';
import { median } from '../bench/statistics.js';
import { openForEval } from '../eval/session.js';
import type { WorkloadFile } from './files.js';

/** Longer prompts and texts are extrapolated from these: an exploration has to end. */
const PROMPT_TOKENS_MAX = 512;
const OUTPUT_TOKENS_MAX = 32;
const BATCH_MAX = 16;
const ROUNDS = 3;

export type CpuFigures = {
  readonly prefillTokensPerS: number;
  /** Of all sequences together. */
  readonly decodeTokensPerS: number;
  /** Of the whole workload, at these rates. */
  readonly seconds: number;
  /** Of the whole workload, by the meter; null without one. */
  readonly joules: number | null;
  readonly source: string;
};

/** Bits of keys and values, as the pool is opened. */
const CACHE_BITS = 16;
const ROOFLINE_MS = 50;

/** What the machine can do at most, measured now. */
export async function measureLimits(config: Config): Promise<CpuLimits> {
  const addon = loadAddon();
  const { level, defaultThreads } = addon.cpuInfo();
  const threads = config.threads ?? defaultThreads;
  const { readGBs, int8GMacs, fp32GMacs } = await measureRoofline(addon, level, threads, ROOFLINE_MS);
  const rates = { readBytesPerS: readGBs * 1e9, int8MacsPerS: int8GMacs * 1e9, fp32MacsPerS: fp32GMacs * 1e9 };
  return { ...rates, watts: config.coreWatts * threads };
}

/** Seconds of the workload that the limits allow. */
export function rooflineSeconds(limits: CpuLimits, recipe: SweepRecipe, layers: readonly GemmShape[]): number {
  const { storedWeightBits, scheme } = recipe;
  return evaluateCpu(limits, { storedWeightBits, cacheBits: CACHE_BITS, isFloat: scheme === 'float' }, layers).seconds;
}

/** Medians of three rounds behind one that warms up. */
export async function measureCpu(config: Config, model: string, workload: WorkloadFile): Promise<CpuFigures> {
  const batch = Math.min(workload.batch, BATCH_MAX);
  const prompt = Math.min(workload.promptTokens, PROMPT_TOKENS_MAX);
  const generate = Math.max(1, Math.min(workload.outputTokens, OUTPUT_TOKENS_MAX));
  const sequenceTokens = prompt + generate;
  const sizes = { kvTokens: batch * (sequenceTokens + 16), maxSequences: batch };
  const meter =
    config.energyMeter === 'off'
      ? null
      : openMeter({ setting: config.energyMeter, wattsPerCore: config.coreWatts }).meter;
  const opened = await openForEval(config, sequenceTokens, { model }, sizes);
  try {
    const run = async (round: { readonly prompt: number; readonly generate: number }) => {
      const before = meter?.joules() ?? 0;
      const times = await nativeCall(() =>
        runOnce(opened, { batch, context: 0, ...round }, () => meter?.joules() ?? 0),
      );
      return { ...times, joules: (meter?.joules() ?? 0) - before };
    };
    await run({ prompt: Math.min(prompt, 64), generate: 1 });
    const rounds = [];
    for (let round = 0; round < ROUNDS; ++round) rounds.push(await run({ prompt, generate }));
    const prefill = (batch * prompt) / median(rounds.map((round) => round.prefill));
    const decode = (batch * generate) / median(rounds.map((round) => round.decode));
    const decodeJoules = median(rounds.map((round) => round.decodeJoules)) / (batch * generate);
    const prefillJoules = median(rounds.map(({ joules, decodeJoules: of }) => joules - of)) / (batch * prompt);
    const [prompts, outputs] = [workload.batch * workload.promptTokens, workload.batch * workload.outputTokens];
    return {
      ...{ prefillTokensPerS: prefill, decodeTokensPerS: decode, seconds: prompts / prefill + outputs / decode },
      joules: meter === null ? null : prompts * prefillJoules + outputs * decodeJoules,
      source: meter === null ? 'none' : `${meter.source}: ${meter.description}`,
    };
  } finally {
    await opened.close();
    meter?.close();
  }
}

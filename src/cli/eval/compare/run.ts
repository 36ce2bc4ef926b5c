/** A comparison of several models with a reference, in one run: the work behind `nibble eval compare` and `recipes`. */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import type { Config } from '../../../config.js';
import { NibbleError } from '../../../errors.js';
import { openMeter } from '../../../metering/open-meter.js';
import type { Meter } from '../../../metering/types.js';
import { loadAddon } from '../../../native/load.js';
import { createProgress } from '../../bench/progress.js';
import { machineOf, sourceCommit } from '../../output.js';
import { readText, tokensOf } from '../data.js';
import { type Protocol, windowsOf } from '../windows.js';
import type { Contender } from './candidates.js';
import { measureQuality } from './quality.js';
import type { ComparedModel, Comparison } from './result.js';
import { measureSpeeds } from './speed.js';

/** What is compared, and how. */
export type CompareTask = {
  readonly config: Config;
  /** Computed with f32 activations unless it says otherwise. */
  readonly reference: Contender;
  readonly candidates: readonly Contender[];
  /** Text file. */
  readonly data: string;
  /** Tokens of a window; only the first `windows` of the text. */
  readonly window: number;
  readonly windows?: number;
  readonly protocol: Protocol;
  /** Turns of every model when speed is measured; 0: it isn't. */
  readonly rounds: number;
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
async function readWindows({ data, window, windows: count }: CompareTask, reference: Contender) {
  const { readModelFile } = await import('../../../model/gguf.js');
  const { createTokenizer } = await import('../../../model/tokenizer/index.js');
  const text = await readText(data);
  const tokenizer = createTokenizer((await readModelFile(reference.changes.model)).tokenizer);
  const tokens = tokensOf(text, data, tokenizer, window);
  const windows = windowsOf(tokens, window).slice(0, count);
  return { windows, sha256: createHash('sha256').update(text).digest('hex') };
}

function openEnergyMeter({ energyMeter, coreWatts }: Config): Meter | null {
  return energyMeter === 'off' ? null : openMeter({ setting: energyMeter, wattsPerCore: coreWatts }).meter;
}

/** Measures every model. Rejects with the NibbleErrors of reading models and texts. */
export async function compareModels(task: CompareTask): Promise<Comparison> {
  const { config, rounds } = task;
  // The reference is a float model, whatever the settings say of the candidates.
  const asFloat = { ...task.reference, changes: { activations: 'f32' as const, ...task.reference.changes } };
  const reference = await locate(config, asFloat);
  const candidates = await Promise.all(task.candidates.map((candidate) => locate(config, candidate)));
  const contenders = candidates.map(({ contender }) => contender);
  const { windows, sha256 } = await readWindows(task, reference.contender);
  const meter = rounds > 0 ? openEnergyMeter(config) : null;
  const progress = createProgress();
  try {
    const { protocol, window: windowTokens } = task;
    const qualityTask = { config, reference: reference.contender, candidates: contenders, windows };
    const qualities = await measureQuality({ ...qualityTask, windowTokens, protocol }, progress);
    const all = [reference, ...candidates];
    const contextTokens = Math.min(...all.map(({ header }) => header.contextTokens));
    const models = [reference.contender, ...contenders];
    const speedTask = { config, contextTokens, meter };
    const speeds = rounds > 0 ? await measureSpeeds(speedTask, models, rounds, progress) : [];
    const found = all.map(({ contender, header }, i): ComparedModel => {
      const quality = qualities[i - 1] ?? null;
      return { name: contender.name, fileBytes: header.bytes, quality, speed: speeds[i] ?? null };
    });
    const energy = meter === null ? null : { source: meter.source, meter: meter.description };
    return await summarize(task, { found, sha256, windows: windows.length, energy });
  } finally {
    progress.stop();
    meter?.close();
  }
}

type Found = {
  readonly found: readonly ComparedModel[];
  readonly sha256: string;
  readonly windows: number;
  readonly energy: Comparison['energy'];
};

async function summarize(task: CompareTask, { found, sha256, windows, energy }: Found): Promise<Comparison> {
  const { config, data, window: windowTokens, protocol, rounds } = task;
  const [first, ...others] = found;
  const candidates = others.flatMap((model) => (model.quality === null ? [] : [{ ...model, quality: model.quality }]));
  const scored = candidates[0]?.quality.agreement.reference;
  if (first === undefined || scored === undefined)
    throw new NibbleError('engine_failed', { message: 'nothing scored' });
  return {
    machine: machineOf(loadAddon().cpuInfo(), config.threads === null ? {} : { threads: config.threads }),
    commit: await sourceCommit(),
    date: new Date().toISOString(),
    command: ['nibble', ...process.argv.slice(2)].join(' '),
    data: { path: data, sha256 },
    ...{ windowTokens, windows, protocol, rounds, energy },
    reference: { ...first, perplexity: scored.perplexity, standardError: scored.standardError },
    candidates,
  };
}

/**
 * What serving adds to a decode step: the wall time per step of a server that streams over HTTP, against the time that
 * the same steps take in the addon alone, in this process while the server sleeps. That contains everything: time in
 * which no step runs, and what JavaScript takes from the engine's threads where there are no more cores than these. The
 * clients rest between reads, since they are elsewhere in earnest.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { loadNativeModel } from '../../../engine/open.js';
import { NibbleError } from '../../../errors.js';
import { KV_BLOCK_TOKENS } from '../../../limits.js';
import { readModelFile } from '../../../model/gguf.js';
import type { NativeModel } from '../../../native/contract.js';
import { createProgress } from '../progress.js';
import { randomTokens } from '../random-tokens.js';
import { type Scrape, scrape } from '../server-metrics.js';
import type { ServerProcess } from '../server-process.js';
import { median, rounded, significant, spread } from '../statistics.js';
import { Stepper } from '../stepper.js';
import { formatTable, percent } from '../table.js';
import { runStreams } from './streams.js';
import type { Workload, WorkloadHost } from './types.js';

const promptDefault = 64;
const secondsDefault = 1;
const roundsDefault = 9;
/** Streams run for a moment before the clock starts. */
const settleMs = 300;

type Window = {
  readonly steps: number;
  /** Wall time and time inside the addon, ms per step. */
  readonly wallMs: number;
  readonly nativeMs: number;
  /** Tokens of each sequence before the window. */
  readonly contextTokens: number;
};

/** One window over a server that decodes `batch` streams without a pause. */
async function serverWindow(
  server: ServerProcess,
  host: WorkloadHost,
  batch: number,
  prompt: number,
  ms: number,
): Promise<Window> {
  const { vocab, contextTokens } = host.model;
  const outputTokens = contextTokens - prompt;
  const streams = await runStreams(server.url, { count: batch, rests: true }, { tokens: prompt, vocab, outputTokens });
  const readings: Scrape[] = [];
  try {
    await sleep(settleMs);
    readings.push(await scrape(server.url));
    await sleep(ms);
    readings.push(await scrape(server.url));
  } finally {
    await streams.stop();
  }
  const [before, after] = readings as [Scrape, Scrape];
  const delta = (name: string) => after.sum(name) - before.sum(name);
  const steps = delta('nibble_steps_total');
  const tokens = delta('nibble_step_tokens_total');
  if (steps === 0 || tokens !== steps * batch) {
    throw new NibbleError('bench_failed', { message: `${tokens} tokens in ${steps} steps: not ${batch} in each` });
  }
  const wallMs = (after.atMs - before.atMs) / steps;
  const nativeMs = (delta('nibble_step_seconds_total') * 1e3) / steps;
  return { steps, wallMs, nativeMs, contextTokens: prompt + Math.round(settleMs / wallMs) };
}

/** The same steps without a server, two in flight: ms per step. */
async function aloneMs(model: NativeModel, vocab: number, batch: number, { steps, contextTokens }: Window) {
  const stepper = new Stepper(model);
  const sequences = Array.from({ length: batch }, () => stepper.open(contextTokens + steps));
  try {
    const first: number[] = [];
    for (const [i, sequence] of sequences.entries()) {
      first.push(await stepper.prefill(sequence, randomTokens(contextTokens, vocab, i + 1), 512, true));
    }
    const start = performance.now();
    await stepper.decode(sequences, first, steps);
    return (performance.now() - start) / steps;
  } finally {
    stepper.closeAll(sequences);
  }
}

/** A window of the server between two of the addon alone, ms per step: what drifts slowly is the same on both sides. */
type Round = { readonly window: Window; readonly aloneMs: number };

function describe(batch: number, rounds: readonly Round[]) {
  const of = (read: (round: Round) => number) => median(rounds.map(read));
  return {
    batch,
    aloneMs: significant(of((round) => round.aloneMs)),
    nativeMs: significant(of(({ window }) => window.nativeMs)),
    wallMs: significant(of(({ window }) => window.wallMs)),
    /** Between steps: in which no step ran. */
    gapShare: significant(
      of(({ window }) => window.wallMs / window.nativeMs - 1),
      3,
    ),
    /** Against the addon alone, within each round. */
    overheadShare: rounded(spread(rounds.map(({ window, aloneMs }) => window.wallMs / aloneMs - 1)), 3),
  };
}

/** The model of a host, without an engine. */
async function loadAlone({ model, threads, config }: WorkloadHost, slotCount: number): Promise<NativeModel> {
  const kvBlockCount = Math.ceil((8 * model.contextTokens) / KV_BLOCK_TOKENS);
  const sizes = { contextTokensMax: model.contextTokens, kvBlockCount, slotCount };
  const { activations, kv } = config;
  return loadNativeModel(await readModelFile(model.path), { threads, activations, kv, ...sizes });
}

export const overhead: Workload = async (host, flags) => {
  const { rounds = roundsDefault, concurrency: batches = [1, 32], prompt = promptDefault } = flags;
  const ms = (flags.seconds ?? secondsDefault) * 1e3;
  const progress = createProgress();
  const server = await host.start(['--max-sequences', String(Math.max(...batches))]);
  const model = await loadAlone(host, Math.max(...batches));
  try {
    const runs = [];
    for (const batch of batches) {
      progress.start(`${batch} streams`, rounds + 1);
      const measured: Round[] = [];
      // The first one warms up.
      const first = await serverWindow(server, host, batch, prompt, ms);
      let before = await aloneMs(model, host.model.vocab, batch, first);
      for (let round = 0; round < rounds; round++) {
        progress.update(round + 1);
        const window = await serverWindow(server, host, batch, prompt, ms);
        const after = await aloneMs(model, host.model.vocab, batch, window);
        measured.push({ window, aloneMs: (before + after) / 2 });
        before = after;
      }
      progress.update(rounds + 1);
      runs.push(describe(batch, measured));
    }
    return { text: tableOf(runs), result: { promptTokens: prompt, rounds, runs } };
  } finally {
    progress.stop();
    await model.close();
    await server.stop();
  }
};

function tableOf(runs: readonly ReturnType<typeof describe>[]): string {
  const rows = runs.map(({ overheadShare: { median: middle, min, max }, ...run }) => [
    ...[run.batch, run.aloneMs, run.nativeMs, run.wallMs],
    ...[percent(run.gapShare), percent(middle), `${percent(min)} to ${percent(max)}`],
  ]);
  const heads = ['streams', 'addon alone ms', 'addon serving ms', 'wall ms', 'between steps', 'serving adds', 'range'];
  return formatTable(heads, rows);
}

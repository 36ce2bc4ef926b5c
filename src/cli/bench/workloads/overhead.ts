/**
 * What serving adds to a decode step: the wall time per step of a server that streams over HTTP, against the time that
 * the same steps take in the addon alone, in this process. The two take turns of less than a second, the other one
 * stopped, for memory isn't equally fast from one second to the next. What is added contains everything: time in which
 * no step runs, and what JavaScript takes from the engine's threads where there are no more cores than these. The
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
import { fetchScrape, readScrape, scrape } from '../server-metrics.js';
import type { ServerProcess } from '../server-process.js';
import { median, rounded, significant, spread } from '../statistics.js';
import { type DirectSequence, Stepper } from '../stepper.js';
import { formatTable, percent } from '../table.js';
import { completionBody, type RunningStreams, runStreams } from './streams.js';
import type { Workload, WorkloadHost } from './types.js';

const promptDefault = 64;
const roundsDefault = 11;
const turnMsDefault = 900;
const settleMs = 50;
/** The server's KV pool is small, so that a few prompts have used all of it: tokens for each stream, and at least. */
const streamTokens = 768;
const poolTokensMin = 16_384;
/** Behind a longer text a step takes longer, and what is added weighs less: streams begin anew at this length. */
const streamTokensMax = 4096;
/** Steps that tell how long a turn may be. */
const trialSteps = 16;

/** A server that decodes streams whenever it isn't stopped. */
class Serving {
  readonly #server: ServerProcess;
  readonly #streams: RunningStreams;
  readonly #batch: number;
  /** Steps that the server had done before. */
  readonly #stepsBefore: number;

  private constructor(server: ServerProcess, streams: RunningStreams, batch: number, stepsBefore: number) {
    this.#server = server;
    this.#streams = streams;
    this.#batch = batch;
    this.#stepsBefore = stepsBefore;
  }

  /** Starts the streams, and stops the server when something of each has come. */
  static async begin(server: ServerProcess, { batch, prompt, vocab, room }: Load): Promise<Serving> {
    const prompts = { tokens: prompt, vocab, outputTokens: room - prompt };
    const before = await scrape(server.url);
    const streams = await runStreams(server.url, { count: batch, rests: true }, prompts);
    process.kill(server.pid, 'SIGSTOP');
    return new Serving(server, streams, batch, before.sum('nibble_steps_total'));
  }

  /** Lets the server run for a while, and says how long no step runs. */
  async watch(ms: number): Promise<Watched> {
    process.kill(this.#server.pid, 'SIGCONT');
    await sleep(Math.min(settleMs, ms)); // the step in which it was stopped counts that time as its own
    const before = await scrape(this.#server.url);
    await sleep(ms);
    const after = await scrape(this.#server.url);
    process.kill(this.#server.pid, 'SIGSTOP');
    const delta = (name: string) => after.sum(name) - before.sum(name);
    const [steps, tokens] = [delta('nibble_steps_total'), delta('nibble_step_tokens_total')];
    if (steps === 0 || tokens !== steps * this.#batch) {
      throw new NibbleError('bench_failed', {
        message: `${tokens} tokens in ${steps} steps: not ${this.#batch} in each`,
      });
    }
    const seconds = delta('nibble_step_seconds_total');
    const wallMs = (after.atMs - before.atMs) / steps;
    const nativeMs = (seconds * 1e3) / steps;
    return { nativeMs, wallMs, gapShare: wallMs / nativeMs - 1 };
  }

  /**
   * Lets the server run for a while. `stepsBefore`: steps of these streams right after it was let go; what it did in
   * the turn is told by the next one, as a scrape then meets the same moment.
   */
  async turn(ms: number): Promise<{ readonly stepsBefore: number; readonly ms: number }> {
    const asked = fetchScrape(this.#server.url);
    await sleep(1); // the request is there before the server runs
    const start = performance.now();
    process.kill(this.#server.pid, 'SIGCONT');
    const [raw] = await Promise.all([asked, sleep(ms)]);
    process.kill(this.#server.pid, 'SIGSTOP');
    const time = performance.now() - start;
    return { stepsBefore: readScrape(raw).sum('nibble_steps_total') - this.#stepsBefore, ms: time };
  }

  async end(): Promise<void> {
    process.kill(this.#server.pid, 'SIGCONT');
    await this.#streams.stop();
  }
}

/** The same steps without a server, two in flight. */
class Alone {
  readonly #stepper: Stepper;
  #sequences: readonly DirectSequence[] = [];
  #last: readonly number[] = [];
  #room = 0;

  constructor(model: NativeModel) {
    this.#stepper = new Stepper(model);
  }

  async begin({ batch, prompt, vocab, room }: Load): Promise<void> {
    this.#sequences = Array.from({ length: batch }, () => this.#stepper.open(room));
    this.#room = room;
    const last: number[] = [];
    for (const [i, sequence] of this.#sequences.entries()) {
      last.push(await this.#stepper.prefill(sequence, randomTokens(prompt, vocab, i + 1), 512, true));
    }
    this.#last = last;
  }

  /** Goes on for so many steps, as far as there is room; ms per step. */
  async steps(wanted: number): Promise<number> {
    const count = Math.min(wanted, this.#room - (this.#sequences[0]?.cachedTokens ?? 0));
    if (count <= 0) return 0;
    const start = performance.now();
    const sampled = await this.#stepper.decode(this.#sequences, this.#last, count);
    const ms = (performance.now() - start) / count;
    this.#last = [...(sampled.at(-1) ?? this.#last)];
    return ms;
  }

  /** Goes on until its sequences are as long as those of the server, if they aren't longer. */
  async catchUp(tokens: number): Promise<void> {
    await this.steps(tokens - (this.#sequences[0]?.cachedTokens ?? 0));
  }

  end(): void {
    this.#stepper.closeAll(this.#sequences);
    this.#sequences = [];
  }
}

type Watched = { readonly nativeMs: number; readonly wallMs: number; readonly gapShare: number };
/** A turn of the server and one of the addon alone, on texts of the same length; ms per step. */
type Round = { readonly wallMs: number; readonly aloneMs: number };

type Load = {
  readonly batch: number;
  readonly prompt: number;
  readonly vocab: number;
  /** Tokens that each stream has room for, and at how many it is cut. */
  readonly room: number;
  readonly capacity: number;
  readonly turnMs: number;
};

/** Turns until there are as many as wanted, or the streams are as long as they may be. */
async function takeTurns(server: ServerProcess, alone: Alone, load: Load, wanted: number) {
  const rounds: Round[] = [];
  const serving = await Serving.begin(server, load);
  try {
    await alone.begin(load);
    const trialMs = await alone.steps(trialSteps);
    const turnMs = Math.min(load.turnMs, (load.capacity / 10) * trialMs);
    const watched = await serving.watch(turnMs);
    let steps = Math.round(turnMs / watched.nativeMs); // of a turn, more or less
    let turn = await serving.turn(turnMs);
    while (rounds.length < wanted && load.prompt + turn.stepsBefore + 3 * steps < load.capacity) {
      await alone.catchUp(load.prompt + turn.stepsBefore);
      const aloneMs = await alone.steps(steps);
      const next = await serving.turn(turnMs);
      steps = next.stepsBefore - turn.stepsBefore;
      if (steps <= 0) throw new NibbleError('bench_failed', { message: 'the server did nothing' });
      rounds.push({ wallMs: turn.ms / steps, aloneMs });
      turn = next;
    }
    // A model of microseconds has no time for turns.
    if (rounds.length === 0) rounds.push({ wallMs: watched.wallMs, aloneMs: trialMs });
    return { watched, rounds };
  } finally {
    alone.end();
    await serving.end();
  }
}

function describe(batch: number, watched: readonly Watched[], rounds: readonly Round[]) {
  const of = (read: (round: Round) => number) => median(rounds.map(read));
  return {
    batch,
    aloneMs: significant(of((round) => round.aloneMs)),
    nativeMs: significant(median(watched.map(({ nativeMs }) => nativeMs))),
    wallMs: significant(of((round) => round.wallMs)),
    /** Between steps: in which no step ran. */
    gapShare: significant(median(watched.map(({ gapShare }) => gapShare)), 3),
    /** Against the addon alone, within each round. */
    overheadShare: rounded(spread(rounds.map(({ wallMs, aloneMs }) => wallMs / aloneMs - 1)), 3),
  };
}

/** The model of a host, without an engine. */
async function loadAlone(host: WorkloadHost, slotCount: number, poolTokens: number): Promise<NativeModel> {
  const { model, threads, config } = host;
  const sizes = { contextTokensMax: model.contextTokens, kvBlockCount: poolTokens / KV_BLOCK_TOKENS, slotCount };
  const { activations, kv } = config;
  return loadNativeModel(await readModelFile(model.path), { threads, activations, kv, ...sizes });
}

/** Memory that was never touched costs the step that writes it more than all of JavaScript: prompts fill the pool. */
async function touchPool(server: ServerProcess, vocab: number, tokens: number): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  for (let at = 0; at < tokens; at += streamTokens - 2) {
    const body = JSON.stringify(completionBody(randomTokens(streamTokens - 2, vocab, 1000 + at), 1));
    const response = await fetch(`${server.url}/v1/completions`, { method: 'POST', headers, body });
    await response.text();
    if (!response.ok) throw new NibbleError('bench_failed', { message: `a prompt got status ${response.status}` });
  }
}

export const overhead: Workload = async (host, flags) => {
  const { rounds = roundsDefault, concurrency: batches = [1, 32], prompt = promptDefault } = flags;
  const turnMs = flags.seconds === undefined ? turnMsDefault : flags.seconds * 1e3;
  const most = Math.max(...batches);
  const { vocab, contextTokens } = host.model;
  const pool = Math.max(most * streamTokens, poolTokensMin);
  const progress = createProgress();
  const server = await host.start(['--max-sequences', String(most), '--kv-tokens', String(pool)]);
  const model = await loadAlone(host, most, pool);
  try {
    progress.start('memory', 1);
    await touchPool(server, vocab, pool);
    const alone = new Alone(model);
    const runs = [];
    for (const batch of batches) {
      progress.start(`${batch} streams`, rounds + 1);
      const room = Math.min(contextTokens, Math.floor(pool / batch));
      const capacity = Math.min(room, streamTokensMax);
      const load = { batch, prompt, vocab, room, capacity, turnMs };
      await takeTurns(server, alone, load, 1); // warms up
      const watched: Watched[] = [];
      const measured: Round[] = [];
      while (measured.length < rounds) {
        progress.update(measured.length + 1);
        const more = await takeTurns(server, alone, load, rounds - measured.length);
        watched.push(more.watched);
        measured.push(...more.rounds);
      }
      runs.push(describe(batch, watched, measured));
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

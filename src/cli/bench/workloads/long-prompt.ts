/** How evenly running answers go on while a long prompt arrives: with chunks cut to `--itl-target`, and without. */
import { Agent } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { randomTokens } from '../random-tokens.js';
import type { ServerProcess } from '../server-process.js';
import { quantile, significant } from '../statistics.js';
import { streamOnce } from '../stream-client.js';
import { formatTable } from '../table.js';
import { completionBody, runStreams } from './streams.js';
import type { Workload, WorkloadHost } from './types.js';

const streamsDefault = 8;
const promptDefault = 8000;
/** The running answers' own prompts. */
const shortPrompt = 64;
/** Answers run alone for a moment before the long prompt arrives, and the scheduler has learned from another one. */
const quietMs = 1500;
const longOutput = 8;
/** As if there was no target: steps as long as the step's tokens allow. */
const noTargetMs = 60_000;

type Times = { readonly p50: number; readonly p99: number; readonly max: number };

function timesOf(values: readonly number[]): Times {
  const at = (q: number) => significant(quantile(values, q));
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

/** Gaps between chunks that end within [start, end], of all streams. */
function gapsWithin(chunkMs: readonly (readonly number[])[], start: number, end: number): number[] {
  return chunkMs.flatMap((times) =>
    times.flatMap((time, i) => {
      const before = times[i - 1];
      return before !== undefined && time > start && time <= end ? [time - before] : [];
    }),
  );
}

async function measure(server: ServerProcess, { model }: WorkloadHost, streams: number, prompt: number) {
  const agent = new Agent({ maxSockets: 1 });
  const send = (seed: number) =>
    streamOnce(server.url, completionBody(randomTokens(prompt, model.vocab, seed), longOutput), agent);
  // Not measured: a server that has just started knows nothing of its steps.
  await send(1000);
  const outputTokens = model.contextTokens - shortPrompt;
  const clients = { count: streams, rests: false };
  const running = await runStreams(server.url, clients, { tokens: shortPrompt, vocab: model.vocab, outputTokens });
  let start = 0;
  let ttftMs = 0;
  let chunkMs: readonly (readonly number[])[] = [];
  try {
    await sleep(quietMs);
    start = performance.timeOrigin + performance.now();
    ttftMs = (await send(1001)).ttftMs;
  } finally {
    chunkMs = await running.stop();
    agent.destroy();
  }
  const quietItlMs = timesOf(gapsWithin(chunkMs, start - quietMs / 2, start));
  return { quietItlMs, itlMs: timesOf(gapsWithin(chunkMs, start, start + ttftMs)), ttftMs: significant(ttftMs) };
}

export const longPrompt: Workload = async (host, flags) => {
  const streams = flags.concurrency?.[0] ?? streamsDefault;
  const prompt = Math.min(flags.prompt ?? promptDefault, host.model.contextTokens - longOutput);
  const runs = [];
  for (const itlTargetMs of [host.config.itlTarget, noTargetMs]) {
    const server = await host.start(['--itl-target', String(itlTargetMs)]);
    try {
      runs.push({ itlTargetMs, ...(await measure(server, host, streams, prompt)) });
    } finally {
      await server.stop();
    }
  }
  const heads = ['ITL target ms', 'ITL p50 before', 'p99', 'ITL p50 during', 'p99', 'max', 'long TTFT ms'];
  const rows = runs.map(({ itlTargetMs, quietItlMs, itlMs, ttftMs }) => [
    ...[itlTargetMs === noTargetMs ? 'none' : itlTargetMs, quietItlMs.p50, quietItlMs.p99],
    ...[itlMs.p50, itlMs.p99, itlMs.max, ttftMs],
  ]);
  return { text: formatTable(heads, rows), result: { streams, promptTokens: prompt, runs } };
};

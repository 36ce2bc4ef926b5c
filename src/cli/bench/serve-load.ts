/** The two loads of `bench serve` on a running server: whole responses for throughput, streams for latency. */
import { Agent } from 'node:http';
import autocannon from 'autocannon';
import { randomTokens } from './random-tokens.js';
import { type Percentiles, percentiles, significant } from './statistics.js';
import { type StreamTimes, streamOnce } from './stream-client.js';

export type ServeLoad = {
  readonly url: string;
  readonly concurrency: number;
  /** Tokens that all prompts begin with, and those behind them that differ. */
  readonly prefixTokens: number;
  readonly promptTokens: number;
  readonly outputTokens: number;
  /** Ids in [0, vocab) are valid prompts. */
  readonly vocab: number;
  /** How long each of the two loads lasts: seconds, or (throughput only) a number of requests. */
  readonly seconds: number;
  readonly requests?: number;
};

const PREFIX_SEED = 0;

/** A completion of exactly `outputTokens` tokens; prompts differ behind the prefix: no cache answers for the model. */
function requestBody(load: ServeLoad, index: number): object {
  return {
    model: 'default',
    prompt: [
      ...randomTokens(load.prefixTokens, load.vocab, PREFIX_SEED),
      ...randomTokens(load.promptTokens, load.vocab, index + 1),
    ],
    max_tokens: load.outputTokens,
    ignore_eos: true,
    temperature: 0,
  };
}

/** Whether a response is a completion of the length that was asked for. */
export function isWholeCompletion(text: string, outputTokens: number): boolean {
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body !== 'object' || body === null || !('usage' in body) || !('choices' in body)) return false;
    const usage = body.usage as { readonly completion_tokens?: unknown } | null;
    return usage?.completion_tokens === outputTokens && Array.isArray(body.choices) && body.choices.length === 1;
  } catch {
    return false;
  }
}

export type Throughput = { readonly outputTokensPerS: number; readonly errors: number };

/** A closed loop of `concurrency` clients; each body is verified, and only verified ones count. */
export async function measureThroughput(load: ServeLoad, firstPrompt = 0): Promise<Throughput> {
  let index = firstPrompt;
  let good = 0;
  const start = performance.now();
  let lastMs = start;
  const result = await autocannon({
    url: `${load.url}/v1/completions`,
    connections: load.concurrency,
    ...(load.requests === undefined ? { duration: load.seconds } : { amount: load.requests }),
    timeout: 300,
    verifyBody: (body) => {
      const isGood = isWholeCompletion(String(body), load.outputTokens);
      if (isGood) {
        ++good;
        lastMs = performance.now();
      }
      return isGood;
    },
    requests: [
      {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        setupRequest: (request) => ({ ...request, body: JSON.stringify(requestBody(load, index++)) }),
      },
    ],
  });
  // To the last response, not to the end of the time: what was still running at the end isn't counted either.
  const seconds = (lastMs - start) / 1e3;
  return {
    outputTokensPerS: seconds > 0 ? significant((good * load.outputTokens) / seconds) : 0,
    errors: result.errors + result.timeouts + result.non2xx + result.mismatches,
  };
}

export type Latency = { readonly ttftMs: Percentiles; readonly itlMs: Percentiles; readonly errors: number };

const roundedPercentiles = (values: readonly number[]): Percentiles => {
  const { p50, p95, p99 } = percentiles(values);
  return { p50: significant(p50), p95: significant(p95), p99: significant(p99) };
};

/** `concurrency` streaming clients, each with one request after another until the time is over. */
export async function measureLatency(load: ServeLoad): Promise<Latency> {
  const agent = new Agent({ keepAlive: true, maxSockets: load.concurrency });
  const end = performance.now() + load.seconds * 1e3;
  const streams: StreamTimes[] = [];
  let errors = 0;
  let index = 1_000_000; // other prompts than those of the throughput
  const client = async () => {
    do {
      try {
        const times = await streamOnce(load.url, requestBody(load, index++), agent);
        if (times.completionTokens === load.outputTokens) streams.push(times);
        else ++errors;
      } catch {
        if (++errors > 100) return; // a server that fails at once must not be hammered until the time is over
      }
    } while (performance.now() < end);
  };
  try {
    await Promise.all(Array.from({ length: load.concurrency }, client));
  } finally {
    agent.destroy();
  }
  return {
    ttftMs: roundedPercentiles(streams.map(({ ttftMs }) => ttftMs)),
    itlMs: roundedPercentiles(streams.flatMap(({ itlMs }) => itlMs)),
    errors,
  };
}

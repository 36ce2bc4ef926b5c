/** A trace of requests sent to a server as it says, and the same trace simulated: how far the prediction is off. */
import { Agent } from 'node:http';
import { NibbleError } from '../../../errors.js';
import type { Arrival, ArrivalSource } from '../../../scheduler/simulation.js';
import type { CostParameters } from '../../../scheduler/step-cost.js';
import { serverCost } from '../../simulate/cost.js';
import { settledPolicy } from '../../simulate/policy.js';
import { predict, type Ranks, summarize } from '../../simulate/predict.js';
import { openTrace } from '../../simulate/trace.js';
import { percentiles, significant } from '../statistics.js';
import { streamOnce } from '../stream-client.js';
import { formatTable, percent } from '../table.js';
import { completionBody } from './streams.js';
import type { Workload, WorkloadHost } from './types.js';

const traceDefault = 'poisson:rate=6,requests=120,prompt=200,output=60,spread=0.7';
/** A server that has just started knows nothing of its steps. */
const warmUpTrace = 'closed:clients=6,requests=90,prompt=150,output=32,spread=1,seed=99';
/** Sockets of clients; more at once wait for one. */
const socketsMax = 512;

type Figures = { readonly outputTokensPerS: number; readonly ttftMs: Ranks; readonly itlMs: Ranks };

/** Real tokens for the ids of a trace, which only say who shares what. Traces of other salts share nothing. */
function realPrompt({ promptIds }: Arrival, vocab: number, salt: number): Int32Array {
  return promptIds.map((id, position) => {
    let mixed = Math.imul(id + salt * 0x9e3779b9, 0x85ebca6b) ^ Math.imul(position + 1, 0xc2b2ae35);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x2c1b3c6d);
    return ((mixed ^ (mixed >>> 13)) >>> 0) % vocab;
  });
}

/** The same requests, none with a longer prompt. */
function within(source: ArrivalSource, promptTokensMax: number): ArrivalSource {
  return {
    get nextMs() {
      return source.nextMs;
    },
    take() {
      const arrival = source.take();
      return { ...arrival, promptIds: arrival.promptIds.subarray(0, promptTokensMax) };
    },
    ended: (nowMs, served) => source.ended(nowMs, served),
  };
}

/** Sends every request at its time, over streams of its own. */
async function replay(source: ArrivalSource, url: string, vocab: number, salt: number): Promise<Figures> {
  const agent = new Agent({ keepAlive: true, maxSockets: socketsMax });
  const start = performance.now();
  const ttfts: number[] = [];
  const itls: number[] = [];
  let outputTokens = 0;
  let open = 0;
  let failed = 0;
  await new Promise<void>((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    const send = async (arrival: Arrival): Promise<void> => {
      open++;
      const arrivedMs = performance.now() - start;
      try {
        const body = completionBody(realPrompt(arrival, vocab, salt), arrival.outputTokens);
        const { ttftMs, itlMs, completionTokens } = await streamOnce(url, body, agent);
        ttfts.push(ttftMs);
        // Tokens that end within a character come with the next: what is between chunks is shared among their tokens.
        const perChunk = (completionTokens - 1) / Math.max(1, itlMs.length);
        itls.push(...itlMs.map((ms) => ms / perChunk));
        outputTokens += completionTokens;
      } catch {
        failed++;
      }
      open--;
      const nowMs = performance.now() - start;
      const { tenant } = arrival;
      const unknown = { firstMs: Number.NaN, lastMs: Number.NaN, tokens: 0 };
      source.ended(nowMs, { outcome: 'completed', tenant, arrivedMs, ...unknown });
      pump();
    };
    const pump = () => {
      clearTimeout(timer);
      while (source.nextMs <= performance.now() - start) void send(source.take());
      if (source.nextMs < Number.POSITIVE_INFINITY)
        timer = setTimeout(pump, source.nextMs - (performance.now() - start));
      else if (open === 0) resolve();
    };
    pump();
  });
  agent.destroy();
  if (failed > 0) throw new NibbleError('bench_failed', { message: `${failed} requests of the trace failed` });
  const seconds = (performance.now() - start) / 1e3;
  const rate = significant(outputTokens / seconds);
  return { outputTokensPerS: rate, ttftMs: ranksOf(ttfts), itlMs: ranksOf(itls) };
}

function ranksOf(values: readonly number[]): Ranks {
  const { p50, p95, p99 } = percentiles(values);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return { mean: significant(mean), p50: significant(p50), p95: significant(p95), p99: significant(p99) };
}

/**
 * What the steps of a whole run cost, the mean of what the server has learned at each moment: it forgets within some
 * hundred steps, and the speed of a virtual machine changes from minute to minute.
 */
class CostSamples {
  private readonly samples: CostParameters[] = [];
  private readonly timer: NodeJS.Timeout;
  private reading: Promise<void> = Promise.resolve();

  constructor(private readonly url: string) {
    this.timer = setInterval(() => {
      this.reading = this.reading.then(() => this.read());
    }, 500);
  }

  private async read(): Promise<void> {
    this.samples.push(await serverCost(this.url));
  }

  /** Ends the sampling. */
  async mean(): Promise<CostParameters> {
    clearInterval(this.timer);
    await this.reading;
    await this.read();
    const of = (at: number) => this.samples.reduce((sum, cost) => sum + (cost[at] ?? 0), 0) / this.samples.length;
    return [of(0), of(1), of(2), of(3), of(4)];
  }
}

/** Pairs of measured and simulated figures. */
function compare(measured: Figures, simulated: Figures) {
  const pair = (name: string, real: number, predicted: number) => ({
    name,
    measured: real,
    simulated: predicted,
    errorShare: significant(predicted / real - 1, 3),
  });
  const ranks = (name: string, key: 'ttftMs' | 'itlMs') =>
    (['mean', 'p50', 'p95', 'p99'] as const).map((q) => pair(`${name} ${q} ms`, measured[key][q], simulated[key][q]));
  return [
    pair('output tokens/s', measured.outputTokensPerS, simulated.outputTokensPerS),
    ...ranks('TTFT', 'ttftMs'),
    ...ranks('ITL', 'itlMs'),
  ];
}

export const trace: Workload = async (host: WorkloadHost, flags) => {
  const text = flags.trace ?? traceDefault;
  const open = await openTrace(text);
  const { vocab, contextTokens } = host.model;
  const policy = settledPolicy(host.config, contextTokens);
  // How often guesses are right depends on the text, which isn't simulated.
  const server = await host.start(['--kv-tokens', String(policy.kvTokens), '--speculate', 'off']);
  try {
    await replay(within((await openTrace(warmUpTrace))(), contextTokens >> 1), server.url, vocab, 1);
    const costs = new CostSamples(server.url);
    // Prompts of its own: what the warm-up left in the cache must not help.
    const measured = await replay(open(), server.url, vocab, 2);
    const cost = await costs.mean();
    const simulated = summarize(predict(open(), policy, { cost, contextTokens, goodTtftMs: 2000 }));
    const runs = compare(measured, simulated);
    const rows = runs.map((run) => [run.name, run.measured, run.simulated, percent(run.errorShare)]);
    const table = formatTable(['', 'measured', 'simulated', 'off by'], rows);
    return {
      text: `${text}\n${table}step costs: ${cost.map((ms) => significant(ms)).join(',')}\n`,
      result: { trace: text, costs: cost, runs },
    };
  } finally {
    await server.stop();
  }
};

/**
 * The default model inside cgroups of one CPU and of two, 512 MiB each: tokens per second of clients that wait for
 * whole answers. Both servers are there all the time and take turns at short loads, so that a machine that becomes
 * faster or slower does so for both. The clients compute outside, on what the machine has beside.
 * Usage: node --import tsx bench/quota.ts [--clients 1,8] [--prompts 64,256] [--seconds 3] [--rounds 5] [--model FILE]
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { measureThroughput } from '../src/cli/bench/serve-load.js';
import { median } from '../src/cli/bench/statistics.js';
import { formatTable } from '../src/cli/bench/table.js';
import { makeQuotaGroup, type QuotaGroup } from '../test/support/cpu-quota.js';
import { type MemoryGroup, makeMemoryGroup } from '../test/support/memory-limit.js';
import { RealServer } from '../test/support/real-server.js';

const MEMORY_BYTES = 512 * 2 ** 20;
/** Ids below it are ordinary tokens of every model that is worth measuring. */
const VOCAB = 30_000;
const OUTPUT_TOKENS = 64;

const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '1,8' },
    prompts: { type: 'string', default: '64,256' },
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '5' },
    model: { type: 'string' },
  },
});
const numbers = (text: string) => text.split(',').map(Number);
const loads = numbers(values.prompts).flatMap((promptTokens) =>
  numbers(values.clients).map((concurrency) => ({ promptTokens, concurrency })),
);

/** What a load found: tokens a second, and how many CPUs the server used meanwhile. */
type Found = { readonly tokensPerS: number; readonly cpus: number };

class LimitedServer {
  readonly #server: RealServer;
  readonly #quota: QuotaGroup;
  readonly #memory: MemoryGroup;
  #nextPrompt = 0;

  private constructor(server: RealServer, quota: QuotaGroup, memory: MemoryGroup) {
    this.#server = server;
    this.#quota = quota;
    this.#memory = memory;
  }

  static async start(cpus: number): Promise<LimitedServer> {
    const quota = makeQuotaGroup(cpus);
    const memory = makeMemoryGroup(MEMORY_BYTES);
    if (typeof quota === 'string' || typeof memory === 'string') throw new Error(`no cgroup: ${quota} ${memory}`);
    const model = values.model === undefined ? {} : { model: values.model };
    const server = await RealServer.start({ ...model, launcher: [...quota.launcher, ...memory.launcher] });
    const limited = new LimitedServer(server, quota, memory);
    await limited.#fillCache();
    return limited;
  }

  /** The system zeroes memory when it is touched first, in the middle of a step; each KV block has that behind it. */
  async #fillCache(): Promise<void> {
    const tokens = Number(/KV pool (\d+) tokens/.exec(this.#server.readyLine)?.[1]);
    await this.#load({ promptTokens: 256, concurrency: 4, requests: Math.ceil(tokens / 256), seconds: 0 });
  }

  async #load(load: { promptTokens: number; concurrency: number; seconds: number; requests?: number }) {
    this.#nextPrompt += 10_000;
    const all = { ...load, url: this.#server.url, prefixTokens: 0, outputTokens: OUTPUT_TOKENS, vocab: VOCAB };
    const { outputTokensPerS, errors } = await measureThroughput(all, this.#nextPrompt);
    if (errors > 0) throw new Error(`${errors} requests failed`);
    return outputTokensPerS;
  }

  /** CPU time of all its threads, ms. */
  #cpuMs(): number {
    const fields = readFileSync(`/proc/${this.#server.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return 10 * (Number(fields[11]) + Number(fields[12]));
  }

  async measure(load: (typeof loads)[number]): Promise<Found> {
    const [cpuMs, start] = [this.#cpuMs(), performance.now()];
    const tokensPerS = await this.#load({ ...load, seconds: Number(values.seconds) });
    return { tokensPerS, cpus: (this.#cpuMs() - cpuMs) / (performance.now() - start) };
  }

  describe(): string {
    return `${this.#server.threads} threads, stopped by the quota ${this.#quota.throttledCount()} times`;
  }

  async stop(): Promise<void> {
    await this.#server.stop();
    this.#quota.remove();
    this.#memory.remove();
  }
}

const servers: LimitedServer[] = [];
try {
  for (const cpus of [1, 2]) servers.push(await LimitedServer.start(cpus));
  const rows: (string | number)[][] = [];
  for (const load of loads) {
    const rounds: Found[][] = [];
    for (let round = 0; round < Number(values.rounds); round += 1) {
      const found: Found[] = [];
      for (const server of servers) found.push(await server.measure(load));
      rounds.push(found);
    }
    const of = (pick: (found: Found[]) => number | undefined) => median(rounds.map((found) => pick(found) ?? 0));
    const times = of(([one, two]) => (two?.tokensPerS ?? 0) / (one?.tokensPerS ?? 1));
    const speeds = [of(([one]) => one?.tokensPerS), of(([, two]) => two?.tokensPerS)].map(Math.round);
    const cpus = [of(([one]) => one?.cpus), of(([, two]) => two?.cpus)].map((used) => used.toFixed(2));
    rows.push([load.concurrency, load.promptTokens, ...speeds, ...cpus, times.toFixed(2)]);
  }
  const head = ['clients', 'prompt', '1 CPU, tokens/s', '2 CPUs, tokens/s', 'CPUs used', 'of two', 'times'];
  console.log(formatTable(head, rows));
  servers.forEach((server, i) => {
    console.log(`${i + 1} CPU${i === 0 ? '' : 's'}: ${server.describe()}`);
  });
} finally {
  for (const server of servers) await server.stop();
}

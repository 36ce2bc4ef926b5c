/**
 * The default model inside cgroups of one CPU and of two, 512 MiB each: tokens per second of clients that wait for
 * whole answers. The clients compute outside, on what the machine has beside; threads are what the server takes.
 * Usage: node --import tsx bench/quota.ts [--clients 1,8] [--seconds 8] [--rounds 2] [--model FILE]
 */
import { parseArgs } from 'node:util';
import { measureThroughput } from '../src/cli/bench/serve-load.js';
import { median } from '../src/cli/bench/statistics.js';
import { formatTable } from '../src/cli/bench/table.js';
import { makeQuotaGroup } from '../test/support/cpu-quota.js';
import { makeMemoryGroup } from '../test/support/memory-limit.js';
import { RealServer } from '../test/support/real-server.js';

const MEMORY_BYTES = 512 * 2 ** 20;
/** Ids below it are ordinary tokens of every model that is worth measuring. */
const VOCAB = 30_000;

const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '1,8' },
    seconds: { type: 'string', default: '8' },
    rounds: { type: 'string', default: '2' },
    model: { type: 'string' },
  },
});
const clients = values.clients.split(',').map(Number);

type Run = { readonly threads: number; readonly throttled: number; readonly tokensPerS: readonly number[] };

async function measure(cpus: number): Promise<Run> {
  const quota = makeQuotaGroup(cpus);
  const memory = makeMemoryGroup(MEMORY_BYTES);
  if (typeof quota === 'string' || typeof memory === 'string') throw new Error(`no cgroup: ${quota} ${memory}`);
  const model = values.model === undefined ? {} : { model: values.model };
  const server = await RealServer.start({ ...model, launcher: [...quota.launcher, ...memory.launcher] });
  try {
    const load = { url: server.url, prefixTokens: 0, promptTokens: 64, outputTokens: 64, vocab: VOCAB };
    await measureThroughput({ ...load, concurrency: 1, seconds: 0, requests: 2 });
    const tokensPerS: number[] = [];
    for (const [i, concurrency] of clients.entries()) {
      const run = { ...load, concurrency, seconds: Number(values.seconds) };
      const { outputTokensPerS, errors } = await measureThroughput(run, 1000 * (i + 1));
      if (errors > 0) throw new Error(`${errors} requests failed`);
      tokensPerS.push(outputTokensPerS);
    }
    return { threads: server.threads, throttled: quota.throttledCount(), tokensPerS };
  } finally {
    await server.stop();
    quota.remove();
    memory.remove();
  }
}

const runs: { readonly one: Run; readonly two: Run }[] = [];
for (let round = 0; round < Number(values.rounds); round += 1)
  runs.push({ one: await measure(1), two: await measure(2) });
const rows = clients.map((count, i) => {
  const of = (pick: (run: (typeof runs)[number]) => Run) => median(runs.map((run) => pick(run).tokensPerS[i] ?? 0));
  const [one, two] = [of((run) => run.one), of((run) => run.two)];
  return [count, one, two, (two / one).toFixed(2)];
});
console.log(formatTable(['clients', '1 CPU, tokens/s', '2 CPUs, tokens/s', 'times'], rows));
for (const name of ['one', 'two'] as const) {
  const [run] = runs.map((round) => round[name]);
  console.log(
    `${name === 'one' ? '1 CPU' : '2 CPUs'}: ${run?.threads} threads, stopped by the quota ${run?.throttled} times`,
  );
}

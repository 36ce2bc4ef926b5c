/**
 * Three replicas behind routers that know of prompts and routers that don't: clients ask about documents, and each
 * replica's cache holds a part of them. How many prompt tokens are found in caches, and how soon the first token comes.
 * Usage: node --import tsx bench/fleet-routing.ts [--documents 12] [--words 500] [--requests 120] [--clients 3]
 *        [--kv-tokens 4096] [--model FILE]
 */
import { parseArgs } from 'node:util';
import { scrape } from '../src/cli/bench/server-metrics.js';
import { percentiles } from '../src/cli/bench/statistics.js';
import { formatTable } from '../src/cli/bench/table.js';
import { defaultModelPath } from '../test/support/default-model.js';
import { askOnce, type Replica, startReplicas } from '../test/support/fleet.js';
import { type Router, startHaproxy, startVllmRouter } from '../test/support/routers.js';

const { values } = parseArgs({
  options: {
    documents: { type: 'string', default: '12' },
    words: { type: 'string', default: '500' },
    requests: { type: 'string', default: '120' },
    clients: { type: 'string', default: '3' },
    'kv-tokens': { type: 'string', default: '4096' },
    model: { type: 'string' },
  },
});

/** Whole numbers below `below`, always the same ones (the generator of "Numerical Recipes"). */
function randomNumbers(seed: number, below: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const vocabulary = 'river stone light paper garden winter music market silver engine letter bridge cloud forest'.split(
  ' ',
);

function documentText(index: number): string {
  const next = randomNumbers(index, vocabulary.length);
  return `Document ${index}: ${Array.from({ length: Number(values.words) }, () => vocabulary[next()]).join(' ')}.`;
}

async function ask(url: string): Promise<readonly number[]> {
  const documents = Array.from({ length: Number(values.documents) }, (_, i) => documentText(i));
  const nextDocument = randomNumbers(7, documents.length);
  const firstMs: number[] = [];
  let asked = 0;
  const client = async () => {
    while (asked < Number(values.requests)) {
      asked += 1;
      const prompt = `${documents[nextDocument()]}\nQuestion ${asked}: what is said about the river?\nAnswer:`;
      const outcome = await askOnce(url, { prompt }, true);
      if (outcome.kind !== 'whole') throw new Error(JSON.stringify(outcome));
      firstMs.push(outcome.firstMs);
    }
  };
  await Promise.all(Array.from({ length: Number(values.clients) }, client));
  return firstMs;
}

/** One way of routing, on replicas that remember nothing yet. */
async function measure(name: string, startRouter: (replicas: readonly Replica[]) => Promise<Router>) {
  const flags = ['--kv-tokens', values['kv-tokens'], '--speculate', 'off'];
  const replicas = await startReplicas(3, values.model ?? (await defaultModelPath()), flags);
  let router: Router | null = null;
  try {
    router = await startRouter(replicas);
    const start = performance.now();
    const { p50, p95 } = percentiles(await ask(router.url));
    const seconds = (performance.now() - start) / 1000;
    const scrapes = await Promise.all(replicas.map(({ url }) => scrape(url)));
    const total = (metric: string) => scrapes.reduce((sum, one) => sum + one.sum(metric), 0);
    const found = total('vllm:prefix_cache_hits_total') / total('vllm:prefix_cache_queries_total');
    return [name, `${(100 * found).toFixed(1)} %`, Math.round(p50), Math.round(p95), Number(seconds.toFixed(1))];
  } finally {
    router?.end();
    await Promise.all(replicas.map((replica) => replica.end('SIGKILL')));
  }
}

const rows = [
  await measure('vllm-router, round_robin', (replicas) => startVllmRouter(replicas, 'round_robin')),
  await measure('vllm-router, cache_aware', (replicas) => startVllmRouter(replicas, 'cache_aware')),
  await measure('HAProxy, leastconn', startHaproxy),
];
console.log(formatTable(['routing', 'prompt tokens found', 'TTFT p50 ms', 'p95', 'seconds in all'], rows));

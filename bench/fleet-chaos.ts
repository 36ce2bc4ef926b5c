/**
 * Three replicas behind a router under load: one is killed every so often and started again, then each is stopped in
 * turn and replaced. What got lost, how long first tokens were late, and whether the replicas' counters still add up.
 * Usage: node --import tsx bench/fleet-chaos.ts [--router haproxy|vllm-router] [--policy round_robin|cache_aware]
 *        [--seconds 60] [--kill-every 20] [--clients 3] [--streams 3] [--model FILE]
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import autocannon, { type Instance, type Options, type Result } from 'autocannon';
import { isWholeCompletion } from '../src/cli/bench/serve-load.js';
import { scrape } from '../src/cli/bench/server-metrics.js';
import { percentiles, quantile } from '../src/cli/bench/statistics.js';
import { defaultModelPath } from '../test/support/default-model.js';
import { askOnce, type Outcome, outputTokens, type Replica, startCrowd, startReplicas } from '../test/support/fleet.js';
import { type Router, startHaproxy, startVllmRouter } from '../test/support/routers.js';

/** First tokens are as before once their 99th percentile is no more than so many times that before the first kill. */
const RECOVERED = 2;
const DOWN_MS = 2000;
/** Left out of the time before the first kill. */
const WARM_MS = 2000;
const LAST_REQUESTS = 30;

const { values } = parseArgs({
  options: {
    router: { type: 'string', default: 'haproxy' },
    policy: { type: 'string', default: 'round_robin' },
    seconds: { type: 'string', default: '60' },
    'kill-every': { type: 'string', default: '20' },
    clients: { type: 'string', default: '3' },
    streams: { type: 'string', default: '3' },
    model: { type: 'string' },
  },
});

/** Unstreamed requests by autocannon until `stop`: how many were whole, and how many were not. */
function startCannon(url: string, connections: number) {
  let whole = 0;
  let seed = 0;
  const options: Options = {
    url: `${url}/v1/completions`,
    connections,
    duration: 3600,
    timeout: 300,
    verifyBody: (body) => {
      const isWhole = isWholeCompletion(String(body), outputTokens);
      if (isWhole) whole += 1;
      return isWhole;
    },
    requests: [
      {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        setupRequest: (request) => {
          seed += 1;
          const body = { model: 'default', prompt: `Story ${seed}:`, max_tokens: outputTokens, ignore_eos: true, seed };
          return { ...request, body: JSON.stringify(body) };
        },
      },
    ],
  };
  let instance: Instance | null = null;
  const result = new Promise<Result>((resolve, reject) => {
    instance = autocannon(options, (error, done) => (error === null ? resolve(done) : reject(error)));
  });
  return {
    async stop() {
      instance?.stop();
      const { errors, timeouts, non2xx, mismatches } = await result;
      return { whole, broken: errors + timeouts, refused: non2xx, notWhole: Math.max(0, mismatches - non2xx) };
    },
  };
}

type Whole = Extract<Outcome, { readonly kind: 'whole' }>;
const isWhole = (outcome: Outcome): outcome is Whole => outcome.kind === 'whole';

/** Seconds after a kill from which on first tokens, up to the next kill, are as they were before the first one. */
function recoverySeconds(streams: readonly Whole[], killedMs: number, untilMs: number, limitMs: number): number {
  const after = streams.filter(({ startMs }) => startMs >= killedMs && startMs < untilMs);
  for (let s = 0; s < (untilMs - killedMs) / 1000; s += 0.25) {
    const later = after.filter(({ startMs }) => startMs >= killedMs + 1000 * s).map(({ firstMs }) => firstMs);
    if (later.length > 0 && quantile(later, 0.99) <= limitMs) return s;
  }
  return Number.POSITIVE_INFINITY;
}

function describe(
  name: string,
  plain: Awaited<ReturnType<ReturnType<typeof startCannon>['stop']>>,
  streams: readonly Outcome[],
) {
  const count = (kind: Outcome['kind']) => streams.filter((outcome) => outcome.kind === kind).length;
  console.log(`${name}, unstreamed: ${JSON.stringify(plain)}`);
  const [whole, broken, silent, failed] = (['whole', 'broken', 'silent', 'failed'] as const).map(count);
  console.log(`${name}, streams: ${JSON.stringify({ whole, broken, silent, failed })}`);
  const reasons = streams.flatMap((outcome) => (outcome.kind === 'failed' ? [outcome.why.slice(0, 160)] : []));
  if (reasons.length > 0) console.log(`  ${[...new Set(reasons)].join('\n  ')}`);
}

async function killPhase(url: string, replicas: readonly Replica[]): Promise<void> {
  const everyMs = 1000 * Number(values['kill-every']);
  const cannon = startCannon(url, Number(values.clients));
  const crowd = startCrowd(url, Number(values.streams), 1);
  const start = performance.now();
  const kills: number[] = [];
  for (let round = 0; everyMs * (round + 2) <= 1000 * Number(values.seconds); round += 1) {
    await sleep(start + everyMs * (round + 1) - performance.now());
    const replica = replicas[round % replicas.length];
    kills.push(performance.now());
    await replica?.end('SIGKILL');
    await sleep(DOWN_MS);
    await replica?.start();
    const killed = kills.at(-1) ?? 0;
    const [at, back] = [killed - start, performance.now() - killed].map((ms) => (ms / 1000).toFixed(1));
    console.log(`killed at ${at} s, back ${back} s later`);
  }
  await sleep(start + 1000 * Number(values.seconds) - performance.now());
  const end = performance.now();
  const [plain, { streams }] = await Promise.all([cannon.stop(), crowd.stop()]);
  describe('kills', plain, streams);
  const whole = streams.filter(isWhole);
  const calm = whole
    .filter(({ startMs }) => startMs > start + WARM_MS && startMs < (kills[0] ?? end))
    .map(({ firstMs }) => firstMs);
  const limit = RECOVERED * percentiles(calm).p99;
  console.log(
    `first token before: p50 ${percentiles(calm).p50.toFixed(0)} ms, p99 ${percentiles(calm).p99.toFixed(0)} ms`,
  );
  kills.forEach((killed, i) => {
    const until = kills[i + 1] ?? end;
    const during = whole.filter(({ startMs }) => startMs >= killed && startMs < until).map(({ firstMs }) => firstMs);
    const seconds = recoverySeconds(whole, killed, until, limit);
    console.log(`kill ${i + 1}: p99 after it ${percentiles(during).p99.toFixed(0)} ms, as before after ${seconds} s`);
  });
}

async function rollingPhase(url: string, replicas: readonly Replica[]): Promise<void> {
  const cannon = startCannon(url, Number(values.clients));
  const crowd = startCrowd(url, Number(values.streams), 1);
  for (const replica of replicas) {
    await sleep(DOWN_MS);
    const code = await replica.end('SIGTERM');
    if (code !== 0) console.log(`a replica ended with ${code}`);
    await replica.start();
    await sleep(DOWN_MS);
  }
  const [plain, { streams }] = await Promise.all([cannon.stop(), crowd.stop()]);
  describe('rolling restart', plain, streams);
}

/** Whether idle replicas hold nothing, and count exactly what they are asked. */
async function checkBooks(url: string, replicas: readonly Replica[]): Promise<void> {
  await sleep(1000);
  const total = async (name: string) => {
    const scrapes = await Promise.all(replicas.map((replica) => scrape(replica.url)));
    return scrapes.reduce((sum, one) => sum + one.sum(name), 0);
  };
  const held = ['vllm:num_requests_running', 'vllm:num_requests_waiting', 'nibble_kv_blocks_used'];
  for (const name of held) console.log(`${name} ${await total(name)}`);
  const before = await total('vllm:generation_tokens_total');
  for (let i = 0; i < LAST_REQUESTS; i += 1) await askOnce(url, { prompt: `Last ${i}` }, i % 2 === 0);
  const grown = (await total('vllm:generation_tokens_total')) - before;
  console.log(`generated tokens: counted ${grown} of ${LAST_REQUESTS * outputTokens}`);
}

const replicas = await startReplicas(3, values.model ?? (await defaultModelPath()), ['--kv-tokens', '4096']);
const policy = values.policy === 'cache_aware' ? 'cache_aware' : 'round_robin';
let router: Router | null = null;
try {
  router = await (values.router === 'haproxy' ? startHaproxy(replicas) : startVllmRouter(replicas, policy));
  console.log(`${values.router}${values.router === 'haproxy' ? '' : ` ${policy}`}`);
  await killPhase(router.url, replicas);
  await rollingPhase(router.url, replicas);
  await checkBooks(router.url, replicas);
} finally {
  router?.end();
  await Promise.all(replicas.map((replica) => replica.end('SIGKILL')));
}

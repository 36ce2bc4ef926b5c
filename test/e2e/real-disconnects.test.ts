/** Clients that go away at any moment leave nothing behind. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../../src/model/generated/random.js';
import { RealServer } from '../support/real-server.js';

const KV_TOKENS = 1024;
const VISITORS = 200;
const AT_ONCE = 20;
const seed = Number(process.env.NIBBLE_SEED ?? 1);

let server: RealServer;
before(async () => {
  server = await RealServer.start({ flags: ['--kv-tokens', String(KV_TOKENS), '--max-sequences', '8'] });
});
after(() => server.stop());

const gauge = async (name: string) => (await server.metrics()).get(name) ?? 0;

/** Where a visitor left, as far as it can know. */
type Seen = { halfSent: number; beforeAnswer: number; whileDecoding: number; finished: number };

/** How a visitor behaves, drawn before it starts so that the seed repeats all of them. */
type Visit = {
  readonly body: string;
  /** Share of the body that is sent; below 1 the visitor leaves in the middle of it. */
  readonly sentShare: number;
  /** Leaves after this many pieces of the answer … */
  readonly pieces: number;
  /** … or after this time, ms. */
  readonly patienceMs: number;
  /** Whether it resets the connection instead of closing it. */
  readonly isRude: boolean;
};

function drawVisit(random: Random): Visit {
  const isLong = random.below(6) === 0;
  const prompt = Array.from({ length: 1 + random.below(isLong ? 800 : 60) }, () => 5 + random.below(40_000));
  const body = {
    model: 'default',
    prompt,
    max_tokens: 1 + random.below(200),
    stream: random.below(3) > 0,
    n: 1 + random.below(2),
    ignore_eos: true,
    echo: random.below(4) === 0,
    logprobs: random.below(3) === 0 ? 2 : null,
  };
  return {
    body: JSON.stringify(body),
    sentShare: random.below(6) === 0 ? random.uniform() : 1,
    pieces: 1 + random.below(12),
    patienceMs: random.below(2) === 0 ? random.below(50) : random.below(1500),
    isRude: random.below(2) === 0,
  };
}

/** One visit, from connecting to leaving. */
async function pay(visit: Visit, seen: Seen): Promise<void> {
  const { hostname, port } = new URL(server.url);
  const socket: Socket = connect(Number(port), hostname);
  socket.on('error', () => {});
  let pieces = 0;
  let isComplete = false;
  const leaving = new Promise<void>((resolve) => {
    socket.on('data', (data) => {
      pieces += 1;
      isComplete ||= /\r\n0\r\n\r\n$|"usage":\{[^}]*\}?[^}]*\}\}$/.test(String(data));
      if (pieces >= visit.pieces || isComplete) resolve();
    });
    socket.on('close', () => resolve());
    setTimeout(resolve, visit.patienceMs);
  });
  const lines = [
    'POST /v1/completions HTTP/1.1',
    'host: x',
    'content-type: application/json',
    `content-length: ${visit.body.length}`,
  ];
  const isHalf = visit.sentShare < 1;
  const sent = isHalf ? visit.body.slice(0, Math.floor(visit.body.length * visit.sentShare)) : visit.body;
  socket.write(`${lines.join('\r\n')}\r\n\r\n${sent}`);
  await leaving;
  if (isHalf) seen.halfSent += 1;
  else if (isComplete) seen.finished += 1;
  else if (pieces === 0) seen.beforeAnswer += 1;
  else seen.whileDecoding += 1;
  if (!socket.destroyed) {
    const closed = once(socket, 'close');
    if (visit.isRude) socket.resetAndDestroy();
    else socket.destroy();
    await closed;
  }
}

test(`${VISITORS} visitors who leave at random moments (seed ${seed})`, async () => {
  const question = { prompt: 'The capital of France is', max_tokens: 8, temperature: 0, logprobs: 2 };
  const expected = await server.choice(question);
  const random = new Random(seed);
  const visits = Array.from({ length: VISITORS }, () => drawVisit(random));
  const seen: Seen = { halfSent: 0, beforeAnswer: 0, whileDecoding: 0, finished: 0 };
  let [waitingMax, open] = [0, AT_ONCE];
  const queue = visits.values();
  const visitor = async () => {
    for (const visit of queue) await pay(visit, seen);
    open -= 1;
  };
  /** Someone who stays must not notice the coming and going. */
  const patient = async () => {
    while (open > 0) assert.deepEqual(await server.choice(question), expected);
  };
  const watcher = async () => {
    while (open > 0) {
      waitingMax = Math.max(waitingMax, await gauge('nibble_sequences_waiting'));
      await sleep(20);
    }
  };
  await Promise.all([patient(), watcher(), ...Array.from({ length: AT_ONCE }, visitor)]);

  assert.equal(
    Object.values(seen).reduce((sum, count) => sum + count, 0),
    VISITORS,
  );
  for (const state of ['halfSent', 'beforeAnswer', 'whileDecoding'] as const) assert.ok(seen[state] > 5, state);
  assert.ok(waitingMax > 0, 'nobody ever had to wait');
  await server.becomeIdle();
  const metrics = await server.metrics();
  assert.equal(metrics.get('vllm:kv_cache_usage_perc'), 0);
  assert.equal(metrics.get('nibble_sequences_failed_total') ?? 0, 0);

  const promptTokens = KV_TOKENS - 32;
  const whole = await server.complete({ prompt: Array(promptTokens).fill(7), max_tokens: 32, ignore_eos: true });
  assert.equal(whole.usage.total_tokens, KV_TOKENS, 'the whole pool is free again');
  assert.deepEqual(await server.choice(question), expected);
});

test('a client that leaves during a long prefill is forgotten before its end', async () => {
  const leaving = new AbortController();
  const prompt = Array.from({ length: 1000 }, (_, i) => 5 + ((i * 7919) % 40_000));
  const before = await gauge('nibble_step_tokens_total');
  const request = server.post({ prompt, max_tokens: 1 }, leaving.signal).catch(() => 'left');
  while ((await gauge('nibble_sequences_running')) === 0) await sleep(2);
  leaving.abort();
  assert.equal(await request, 'left');
  await server.becomeIdle();
  const computed = (await gauge('nibble_step_tokens_total')) - before;
  assert.ok(computed < prompt.length, `${computed} tokens were computed for nobody`);
});

test('clients that leave while they wait cost no step', async () => {
  const before = await gauge('nibble_step_tokens_total');
  const [promptTokens, tokens] = [KV_TOKENS - 256, 256];
  const holder = server.complete({ prompt: Array(promptTokens).fill(8), max_tokens: tokens, ignore_eos: true });
  while ((await gauge('nibble_sequences_running')) === 0) await sleep(2);
  const leaving = new AbortController();
  const waiting = Array.from({ length: 12 }, () =>
    server.post({ prompt: Array(300).fill(9), max_tokens: 10 }, leaving.signal).catch(() => 'left'),
  );
  while ((await gauge('nibble_sequences_waiting')) < 12) await sleep(2);
  leaving.abort();
  assert.deepEqual(await Promise.all(waiting), Array(12).fill('left'));
  while ((await gauge('nibble_sequences_waiting')) > 0) await sleep(2);
  assert.equal(await gauge('nibble_sequences_running'), 1, 'the one that they waited for is still there');
  assert.equal((await holder).usage.completion_tokens, tokens);
  await server.becomeIdle();
  const computed = (await gauge('nibble_step_tokens_total')) - before;
  assert.ok(computed < KV_TOKENS + 300, `${computed} tokens were computed`);
});

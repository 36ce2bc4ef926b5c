/**
 * Clients that send nonsense, and clients that go away, read slowly or leave connections half open, all at once: nobody
 * else notices, and nothing is left behind. `NIBBLE_FUZZ_SECONDS` sets how long (60), `NIBBLE_SEED` what they do.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../../src/random.js';
import { fuzzRequest } from '../support/fuzz-bodies.js';
import { drawVisit, nothingSeen, pay } from '../support/fuzz-visitors.js';
import { RealServer } from '../support/real-server.js';

const KV_TOKENS = 1024;
const VISITORS_AT_ONCE = 16;
const SENDERS_AT_ONCE = 4;
const seconds = Number(process.env.NIBBLE_FUZZ_SECONDS ?? 60);
const seed = Number(process.env.NIBBLE_SEED ?? 1);

let server: RealServer;
before(async () => {
  server = await RealServer.start({ flags: ['--kv-tokens', String(KV_TOKENS), '--max-sequences', '8'] });
});
after(() => server.stop());

const gauge = async (name: string) => (await server.metrics()).get(name) ?? 0;

/** Statuses that a request may be answered with; an overloaded server refuses some. */
const allowed: ReadonlySet<number> = new Set([200, 400, 404, 413, 429, 503]);

/** Sends one request of chance and checks the form of the answer. */
async function sendNonsense(random: Random, statuses: Map<number, number>): Promise<void> {
  const { path, body } = fuzzRequest(random);
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${server.url}${path}`, { method: 'POST', headers, body: new Uint8Array(body) });
  const text = await response.text();
  const said = `${path} ${JSON.stringify(body.toString('latin1').slice(0, 2000))}: ${response.status} ${text.slice(0, 500)}`;
  assert.ok(allowed.has(response.status), said);
  statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
  if (response.headers.get('content-type')?.startsWith('text/event-stream') === true) {
    assert.match(text, /data: \[DONE\]\n\n$/, said);
    assert.doesNotMatch(text, /"code":"(internal|engine_failed|not_finite)"/, said);
    return;
  }
  const answer = JSON.parse(text);
  if (response.status === 200) return;
  assert.deepEqual(Object.keys(answer.error).sort(), ['code', 'message', 'param', 'type'], said);
}

test(`${seconds} seconds of nonsense and of clients that leave (seed ${seed})`, async () => {
  const question = { prompt: 'The capital of France is', max_tokens: 8, temperature: 0, logprobs: 2 };
  const expected = await server.choice(question);
  const end = performance.now() + seconds * 1000;
  const isOver = () => performance.now() > end;
  const seen = nothingSeen();
  const statuses = new Map<number, number>();
  const visits = new Random(seed);
  const bodies = new Random(seed + 1);
  let [waitingMax, served] = [0, 0];
  const visitor = async () => {
    while (!isOver()) await pay(server.url, drawVisit(visits), seen);
  };
  const sender = async () => {
    while (!isOver()) await sendNonsense(bodies, statuses);
  };
  /** Someone who stays must not notice the coming and going. */
  const patient = async () => {
    for (; !isOver(); served += 1) assert.deepEqual(await server.choice(question), expected);
  };
  const watcher = async () => {
    while (!isOver()) {
      waitingMax = Math.max(waitingMax, await gauge('nibble_sequences_waiting'));
      await sleep(50);
    }
  };
  await Promise.all([
    ...[patient(), watcher()],
    ...Array.from({ length: VISITORS_AT_ONCE }, visitor),
    ...Array.from({ length: SENDERS_AT_ONCE }, sender),
  ]);

  for (const state of ['halfSent', 'beforeAnswer', 'whileDecoding'] as const) assert.ok(seen[state] > 5, state);
  for (const status of [200, 400]) assert.ok((statuses.get(status) ?? 0) > 5, `${status}`);
  assert.ok(served > 0 && waitingMax > 0, 'nobody ever had to wait');
  await server.becomeIdle();
  const metrics = await server.metrics();
  assert.equal(metrics.get('vllm:kv_cache_usage_perc'), 0);
  assert.equal(metrics.get('nibble_sequences_failed_total') ?? 0, 0);

  const promptTokens = KV_TOKENS - 32;
  const whole = await server.complete({ prompt: Array(promptTokens).fill(7), max_tokens: 32, ignore_eos: true });
  assert.equal(whole.usage.total_tokens, KV_TOKENS, 'the whole pool is free again');
  assert.deepEqual(await server.choice(question), expected);
});

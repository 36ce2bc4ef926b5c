/** Clients that go away at a known moment leave nothing behind; `real-fuzz` has those that leave at any. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RealServer } from '../support/real-server.js';

const KV_TOKENS = 1024;

let server: RealServer;
before(async () => {
  server = await RealServer.start({ flags: ['--kv-tokens', String(KV_TOKENS), '--max-sequences', '8'] });
});
after(() => server.stop());

const gauge = async (name: string) => (await server.metrics()).get(name) ?? 0;

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

/** Pruned prompts of several windows through HTTP: the same answer alone, in a crowd and from the cache. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RealServer } from '../support/real-server.js';

const windowTokens = 256;
/** Two windows and a short one; the same tokens in every call, others for another `seed`. */
const promptTokens = 2 * windowTokens + 88;
const promptOf = (seed: number) =>
  Array.from({ length: promptTokens }, (_, i) => 100 + ((i * i * 31 + i * seed) % 40_000));

const common = { prompt: promptOf(7), max_tokens: 12, temperature: 0, logprobs: 5, ignore_eos: true };
const whole = common;
const pruned = { ...common, token_pruning: { keep: 0.25, after_layer: 5, stages: 2 } };
/** Of all windows but the last and the short one 3 of 16 blocks stay: three quarters of a quarter. */
const prunedTokens = windowTokens - 3 * 16;

async function ask(server: RealServer, body: object) {
  const { choices, usage } = await server.complete(body);
  const { cached_tokens: cached = 0, pruned_tokens: dropped = 0 } = usage?.prompt_tokens_details ?? {};
  return { choices, cached, dropped };
}

async function withServer<T>(flags: readonly string[], run: (server: RealServer) => Promise<T>): Promise<T> {
  const server = await RealServer.start({ flags });
  try {
    return await run(server);
  } finally {
    await server.stop();
  }
}

test('pruned windows: counted, repeatable, and never taken for whole ones', async () => {
  const alone = await withServer(['--threads', '2'], async (server) => {
    const first = await ask(server, pruned);
    const again = await ask(server, pruned);
    const unpruned = await ask(server, whole);
    return { first, again, unpruned };
  });
  assert.deepEqual([alone.first.dropped, alone.first.cached], [prunedTokens, 0]);
  // The window that lost tokens is found again.
  assert.deepEqual([alone.again.dropped, alone.again.cached], [prunedTokens, windowTokens]);
  assert.deepEqual(alone.again.choices, alone.first.choices);
  // The same tokens were cached twice by then, but pruned.
  assert.deepEqual([alone.unpruned.dropped, alone.unpruned.cached], [0, 0]);
  assert.notDeepEqual(alone.unpruned.choices, alone.first.choices);
  // The other way round, on one thread, beside other prompts that are pruned, whole, and pruned in another way.
  const crowd = await withServer(['--threads', '1'], async (server) => {
    const unpruned = await ask(server, whole);
    const others = [
      { ...whole, prompt: promptOf(11) },
      { ...pruned, prompt: promptOf(13) },
      { ...pruned, token_pruning: { keep: 0.5 } },
    ];
    const [first] = await Promise.all([pruned, ...others].map((body) => ask(server, body)));
    return { first, unpruned };
  });
  assert.deepEqual([crowd.first?.dropped, crowd.first?.cached], [prunedTokens, 0]);
  assert.deepEqual(crowd.first?.choices, alone.first.choices);
  assert.deepEqual(crowd.unpruned.choices, alone.unpruned.choices);
});

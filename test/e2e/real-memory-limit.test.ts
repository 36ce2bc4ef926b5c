/** The default model in a container's 512 MiB: it serves, stays inside, and refuses what doesn't fit. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeMemoryGroup } from '../support/memory-limit.js';
import { RealServer } from '../support/real-server.js';

const limitBytes = 512 * 2 ** 20;
/** Eight run, eight wait, the others are refused. */
const requests = 40;

test('512 MiB: the cache fits what is left, a crowd gets answers or 429, and nothing runs out of memory', async (t) => {
  const group = makeMemoryGroup(limitBytes);
  if (typeof group === 'string') {
    // Not a skip: how the pool's size follows from free memory is shown by test/unit/config.test.ts.
    t.diagnostic(`NO LIMIT TESTED: this machine lets us make no cgroup with a memory limit (${group})`);
    return;
  }
  const flags = ['--threads', '1', '--max-sequences', '8', '--max-waiting', '8'];
  const server = await RealServer.start({ flags, launcher: group.launcher });
  try {
    const poolMiB = Number(/KV pool \d+ tokens \((\d+) MiB\)/.exec(server.readyLine)?.[1]);
    assert.ok(poolMiB > 50 && poolMiB <= 256, `half of what the weights leave of 512 MiB at most: ${poolMiB}`);
    const poolTokens = Number(/KV pool (\d+) tokens/.exec(server.readyLine)?.[1]);
    const prompt = (seed: number, length: number) => Array.from({ length }, (_, i) => 1000 + ((seed * 7 + i) % 4000));
    const statuses = await Promise.all(
      Array.from({ length: requests }, async (_, seed) => {
        const response = await server.post({ prompt: prompt(seed, 300), max_tokens: 4, ignore_eos: true });
        await response.text();
        return response.status;
      }),
    );
    const count = (status: number) => statuses.filter((one) => one === status).length;
    assert.ok(count(200) >= 16, `${statuses}`);
    assert.equal(count(200) + count(429), requests, `${statuses}`);
    // What can never fit is refused for good, whether the context or the cache is too small for it.
    const tooLong = await server.post({ prompt: prompt(0, poolTokens + 16), max_tokens: 4 });
    assert.equal(tooLong.status, 400);
    await tooLong.text();
    const tooBig = await server.post(`{"model":"default","prompt":"${'x'.repeat(5 * 2 ** 20)}"}`);
    assert.equal(tooBig.status, 413);
    await tooBig.text();
    await server.becomeIdle();
    assert.equal(group.failures(), 0);
    assert.ok(group.maxBytes() < limitBytes, `${group.maxBytes()}`);
    t.diagnostic(`at most ${Math.round(group.maxBytes() / 2 ** 20)} MiB`);
  } finally {
    await server.stop();
    group.remove();
  }
});

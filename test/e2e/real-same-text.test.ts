/** One request has one answer, to the last bit of log-probabilities: alone, in company, on any threads and level. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { loadAddon } from '../../src/native/load.js';
import { Random } from '../../src/random.js';
import { type Choice, RealServer } from '../support/real-server.js';

/** A prompt of several groups, so that attention, tails and splits take part. */
const probe = {
  prompt: `${'The quick brown fox jumps over the lazy dog. '.repeat(30)}Question: What is the capital of Italy? Answer:`,
  max_tokens: 24,
  temperature: 0,
  logprobs: 5,
} as const;
/** The scalar reference computes some ten tokens a second. */
const shortProbe = { prompt: 'The capital of France is', max_tokens: 6, temperature: 0, logprobs: 5 } as const;

let server: RealServer;
let alone: Choice;
let shortAlone: Choice;
before(async () => {
  server = await RealServer.start({ flags: ['--threads', '2', '--kv-tokens', '16384'] });
  alone = await server.choice(probe);
  shortAlone = await server.choice(shortProbe);
  assert.match(alone.text, /Rome/);
});
after(() => server.stop());

test('alone again', async () => {
  assert.deepEqual(await server.choice(probe), alone);
});

test('among fifteen others that come and go', async () => {
  assert.equal(server.threads, 2);
  const random = new Random(7);
  const others = Array.from({ length: 15 }, (_, i) =>
    server.complete({
      prompt: Array.from({ length: 1 + random.below(i % 5 === 0 ? 700 : 60) }, () => 5 + random.below(40_000)),
      max_tokens: 4 + random.below(40),
      temperature: random.uniform() * 2,
      top_p: 0.5 + random.uniform() / 2,
      repetition_penalty: 1 + random.uniform(),
      logprobs: i % 6,
      stream: false,
    }),
  );
  const probes = await Promise.all([server.choice(probe), server.choice(probe)]);
  await Promise.all(others);
  assert.deepEqual(probes, [alone, alone]);
  const metrics = await server.metrics();
  const [tokens = 0, steps = 0] = [metrics.get('nibble_step_tokens_total'), metrics.get('nibble_steps_total')];
  assert.ok(tokens / steps > 2, 'nothing was batched, so nothing was shown');
});

test('beside its own prompt in pieces', async () => {
  const words = probe.prompt.split(' ');
  const others = [3, 40, 111].map((count) =>
    server.complete({ ...probe, prompt: words.slice(0, count).join(' '), max_tokens: 30 }),
  );
  assert.deepEqual(await server.choice(probe), alone);
  await Promise.all(others);
});

test('with one thread', async () => {
  const other = await RealServer.start({ flags: ['--threads', '1', '--kv-tokens', '1024'] });
  try {
    assert.equal(other.threads, 1);
    assert.deepEqual(await other.choice(probe), alone);
  } finally {
    await other.stop();
  }
});

const { levels } = loadAddon().cpuInfo();
for (const level of levels.slice(0, -1)) {
  test(`with the instructions of ${level} instead of the best of this machine`, async () => {
    const body = level === 'scalar' ? shortProbe : probe;
    const other = await RealServer.start({ flags: ['--kv-tokens', '1024'], env: { NIBBLE_ISA: level } });
    try {
      assert.deepEqual([other.level, server.level], [level, levels.at(-1)]);
      assert.deepEqual(await other.choice(body), level === 'scalar' ? shortAlone : alone);
    } finally {
      await other.stop();
    }
  });
}

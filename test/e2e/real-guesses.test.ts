/** Guessed tokens on the real model: answers and log-probabilities to the last bit as without. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Choice, RealServer } from '../support/real-server.js';

const list = Array.from({ length: 14 }, (_, i) => `${i + 1}. The ${'abcdefghijklmn'[i]} team sold ${i * 37} lamps.`);
const shared = `${list.join('\n')}\n\nThe same list again, word for word:\n`;
const samplings = [
  { temperature: 0 },
  { temperature: 0.4, seed: 11 },
  { temperature: 0, frequency_penalty: 0.2, presence_penalty: 0.1 },
  { temperature: 0.7, seed: 5, repetition_penalty: 1.02, top_p: 0.95 },
  { temperature: 0, min_tokens: 60, stop: ['9. The'] },
];
/** Most begin alike and find each other's blocks in the cache. */
const bodies = Array.from({ length: 15 }, (_, i) => ({
  prompt: i % 3 === 2 ? `Copy number ${i}.\n${shared}` : shared,
  max_tokens: 70 + i,
  logprobs: i % 4,
  ...samplings[i % samplings.length],
}));

let expected: Choice[];
let guessing: RealServer;
before(async () => {
  const plain = await RealServer.start({ flags: ['--speculate', 'off', '--max-sequences', '1'] });
  try {
    expected = [];
    for (const body of bodies) expected.push(await plain.choice(body));
    assert.equal((await plain.metrics()).get('vllm:spec_decode_num_draft_tokens_total'), 0);
  } finally {
    await plain.stop();
  }
  // Too few blocks for all: some are preempted.
  guessing = await RealServer.start({ flags: ['--kv-tokens', '2048', '--max-sequences', '12'] });
});
after(() => guessing.stop());

test('one by one', async () => {
  for (const [i, body] of bodies.slice(0, 5).entries()) assert.deepEqual(await guessing.choice(body), expected[i]);
});

test('all at once, with preemptions and prefix hits', async () => {
  assert.deepEqual(await Promise.all(bodies.map((body) => guessing.choice(body))), expected);
  const metrics = await guessing.metrics();
  const count = (name: string): number => metrics.get(name) ?? 0;
  const [guessed, right] = ['draft', 'accepted'].map((kind) => count(`vllm:spec_decode_num_${kind}_tokens_total`));
  assert.ok(right !== undefined && guessed !== undefined && right > 0 && right < guessed, `${right} of ${guessed}`);
  assert.ok(count('vllm:num_preemptions_total') > 0, 'nobody was preempted');
});

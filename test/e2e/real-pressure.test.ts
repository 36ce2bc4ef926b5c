/** Sharing beginnings and running out of KV blocks change no bit of an answer, only who computes what and when. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RealServer } from '../support/real-server.js';

const system = 'You are a patient teacher who explains everything with examples from the kitchen. '.repeat(6);
const bodies = ['heat', 'gravity', 'money', 'time'].map((topic, i) => ({
  prompt: `${system}\nQuestion: What is ${topic}?\nAnswer:`,
  max_tokens: 100,
  temperature: i % 2,
  seed: i,
  repetition_penalty: 1 + i / 10,
  ignore_eos: true,
  logprobs: 1,
}));

let server: RealServer;
before(async () => {
  // 22 blocks: one sequence needs up to 14, of which the first 6 are the same for all.
  server = await RealServer.start({ flags: ['--kv-tokens', '352'] });
});
after(() => server.stop());

test('a second request finds the first one’s prompt, and is answered alike', async () => {
  const [body] = bodies;
  const first = await server.complete(body ?? {});
  const second = await server.complete(body ?? {});
  assert.deepEqual(second.choices, first.choices);
  assert.equal(first.usage?.prompt_tokens_details.cached_tokens, 0);
  const { prompt_tokens = 0, prompt_tokens_details } = second.usage ?? {};
  assert.equal(prompt_tokens_details?.cached_tokens, 16 * Math.floor((prompt_tokens - 1) / 16));
  const metrics = await server.metrics();
  assert.equal(metrics.get('vllm:prefix_cache_hits'), prompt_tokens_details?.cached_tokens);
  assert.equal(metrics.get('vllm:prefix_cache_queries'), 2 * prompt_tokens);
});

test('requests together in a pool that is too small for them get what each gets alone', async () => {
  const alone = [];
  for (const body of bodies) alone.push((await server.complete(body)).choices);
  assert.equal((await server.metrics()).get('vllm:num_preemptions_total'), 0);
  const together = await Promise.all(bodies.map((body) => server.complete(body)));
  assert.deepEqual(
    together.map(({ choices }) => choices),
    alone,
  );
  const preemptions = (await server.metrics()).get('vllm:num_preemptions_total') ?? 0;
  assert.ok(preemptions > 0, 'nobody was preempted, so nothing was shown');
  await server.becomeIdle();
});

test('the choices of a prompt compute it once', async () => {
  const computed = async () => (await server.metrics()).get('nibble_step_tokens_total') ?? 0;
  const before = await computed();
  const prompt = Array.from({ length: 100 }, (_, i) => 1000 + i);
  const { choices } = await server.complete({ prompt, n: 4, max_tokens: 1, seed: 1 });
  assert.equal(choices.length, 4);
  // Six blocks are shared; the last four tokens are each choice's own.
  assert.equal((await computed()) - before, 100 + 3 * 4);
});

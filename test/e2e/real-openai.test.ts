/** The official client against the real model. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import OpenAI, { BadRequestError } from 'openai';
import { RealServer } from '../support/real-server.js';

let server: RealServer;
let client: OpenAI;
before(async () => {
  server = await RealServer.start({ flags: ['--kv-tokens', '4096'] });
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'unused', maxRetries: 0 });
});
after(() => server.stop());

const france = { model: 'default', prompt: 'The capital of France is', max_tokens: 12, temperature: 0 } as const;

test('a completion', async () => {
  const { choices, usage } = await client.completions.create({ ...france, logprobs: 2 });
  assert.match(choices[0]?.text ?? '', /^ Paris\b/);
  assert.equal(choices[0]?.logprobs?.tokens?.length, usage?.completion_tokens);
});

test('a stream', async () => {
  const whole = await client.completions.create(france);
  const options = { stream: true, stream_options: { include_usage: true } } as const;
  let text = '';
  let usage: OpenAI.CompletionUsage | null | undefined;
  for await (const chunk of await client.completions.create({ ...france, ...options })) {
    text += chunk.choices[0]?.text ?? '';
    usage = chunk.usage;
  }
  assert.equal(text, whole.choices[0]?.text);
  assert.equal(usage?.total_tokens, whole.usage?.total_tokens);
});

test('a stream that is left costs nothing any more', async () => {
  const body = { ...france, max_tokens: 2000, stream: true, ignore_eos: true } as const;
  for await (const chunk of await client.completions.create(body)) {
    assert.equal(chunk.choices[0]?.text, ' Paris');
    break;
  }
  await server.becomeIdle();
  const generated = (await server.metrics()).get('vllm:generation_tokens_total') ?? 0;
  assert.ok(generated < 1000, `${generated} tokens were generated`);
});

test('a conversation, whole and streamed', async () => {
  const body = {
    model: 'default',
    messages: [{ role: 'user' as const, content: 'What is the capital of France? Answer in one sentence.' }],
    max_completion_tokens: 24,
    temperature: 0,
  };
  const whole = await client.chat.completions.create({ ...body, logprobs: true, top_logprobs: 2 });
  const [choice] = whole.choices;
  assert.match(choice?.message.content ?? '', /Paris/);
  const tokens = choice?.logprobs?.content ?? [];
  assert.equal(tokens.length, whole.usage?.completion_tokens);
  // The end token, if it came, has a name but no text.
  const bytes = tokens.flatMap((token) => token.bytes ?? []);
  assert.ok(
    Buffer.from(bytes)
      .toString()
      .startsWith(choice?.message.content ?? 'nothing'),
  );
  let text = '';
  for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) {
    text += chunk.choices[0]?.delta.content ?? '';
  }
  assert.equal(text, choice?.message.content);
});

test('an error', async () => {
  const tooLong = client.completions.create({ ...france, prompt: Array(9000).fill(1) });
  await assert.rejects(tooLong, (error: unknown) => {
    assert.ok(error instanceof BadRequestError);
    assert.deepEqual([error.code, error.param], ['context_length_exceeded', 'prompt']);
    return true;
  });
});

test('the model is listed', async () => {
  const models = (await client.models.list()).data;
  assert.equal(models.length, 1);
  assert.equal((await client.completions.create({ ...france, model: models[0]?.id ?? '' })).model, models[0]?.id);
});

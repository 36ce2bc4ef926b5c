import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import OpenAI, { APIError, BadRequestError, NotFoundError, RateLimitError } from 'openai';
import { NibbleError } from '../../src/errors.js';
import { createFakeServer, listen } from '../support/fake-server.js';

let refusal: Error | null = null;
const server = createFakeServer({ refuse: () => refusal });
let client: OpenAI;
before(async () => {
  client = new OpenAI({ baseURL: `${await listen(server.app)}/v1`, apiKey: 'unused', maxRetries: 0 });
});
after(() => server.app.close());

const base = { model: 'default', prompt: 'hi', max_tokens: 3 } as const;

test('the OpenAI client reads a completion', async () => {
  const completion = await client.completions.create({ ...base, prompt: ['a', 'b'], logprobs: 1 });
  assert.deepEqual(
    completion.choices.map(({ index, text, finish_reason: reason }) => [index, text, reason]),
    [
      [0, 'abc', 'length'],
      [1, 'abc', 'length'],
    ],
  );
  assert.deepEqual(completion.choices[0]?.logprobs?.tokens, ['a', 'b', 'c']);
  assert.equal(completion.usage?.total_tokens, 8);
});

test('the OpenAI client reads a stream to its end', async () => {
  const options = { stream: true, stream_options: { include_usage: true } } as const;
  const texts: string[] = [];
  let usage: OpenAI.CompletionUsage | null | undefined;
  for await (const chunk of await client.completions.create({ ...base, ...options })) {
    texts.push(chunk.choices[0]?.text ?? '');
    usage = chunk.usage;
  }
  assert.equal(texts.join(''), 'abc');
  assert.equal(usage?.completion_tokens, 3);
});

test('a stream that the OpenAI client leaves is aborted', async () => {
  const stream = await client.completions.create({ ...base, max_tokens: 500, stream: true });
  for await (const chunk of stream) {
    assert.equal(chunk.choices[0]?.text, 'a');
    server.engine.hold();
    break;
  }
  const signal = server.engine.signals.at(-1);
  assert.ok(signal);
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve));
  server.engine.release();
});

test('errors become the classes that the OpenAI client has for them', async () => {
  await assert.rejects(client.completions.create({ ...base, model: 'gpt-4' }), (error: unknown) => {
    assert.ok(error instanceof NotFoundError);
    assert.equal(error.code, 'model_not_found');
    return true;
  });
  await assert.rejects(client.completions.create({ ...base, temperature: 3 }), (error: unknown) => {
    assert.ok(error instanceof BadRequestError);
    assert.deepEqual([error.param, error.type], ['temperature', 'invalid_request_error']);
    return true;
  });
  refusal = new NibbleError('queue_full', { waiting: 1 }, { retryAfterSeconds: 2 });
  await assert.rejects(client.completions.create(base), (error: unknown) => {
    assert.ok(error instanceof RateLimitError);
    assert.equal(error.headers.get('retry-after'), '2');
    return true;
  });
  refusal = null;
});

test('the OpenAI client lists and finds models', async () => {
  const ids: string[] = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.deepEqual(ids, ['fake-model']);
  assert.equal((await client.models.retrieve('fake-model')).owned_by, 'nibble');
  await assert.rejects(
    client.models.retrieve('none'),
    (error: unknown) => error instanceof APIError && error.status === 404,
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Value } from 'typebox/value';
import { NibbleError } from '../../src/errors.js';
import { CompletionChunk } from '../../src/server/schemas/completion-response.js';
import { complete, createFakeServer, listen, sseData } from '../support/fake-server.js';

const base = { model: 'fake-model', prompt: 'hi', stream: true };

/** The JSON chunks of a stream that must end with [DONE]. */
function chunksOf(text: string): CompletionChunk[] {
  const data = sseData(text);
  assert.equal(data.at(-1), '[DONE]');
  return data.slice(0, -1).map((item) => {
    const chunk: unknown = JSON.parse(item);
    assert.ok(Value.Check(CompletionChunk, chunk), item);
    return chunk;
  });
}

const textOf = (chunks: readonly CompletionChunk[], index: number): string =>
  chunks
    .flatMap((chunk) => chunk.choices)
    .filter((choice) => choice.index === index)
    .map((choice) => choice.text)
    .join('');

test('a stream is framed as server-sent events and ends with [DONE]', async () => {
  const response = await complete(createFakeServer(), { ...base, max_tokens: 2 });
  assert.equal(response.status, 200);
  assert.match(String(response.headers['content-type']), /^text\/event-stream/);
  assert.match(String(response.headers['cache-control']), /no-cache/);
  const chunks = chunksOf(response.text);
  const [first] = chunks;
  assert.ok(first);
  const { id, created } = first;
  const head = { id, object: 'text_completion', created, model: 'fake-model', system_fingerprint: 'fp_fake' };
  const choice = (text: string, reason: string | null) => ({ text, index: 0, logprobs: null, finish_reason: reason });
  assert.deepEqual(chunks, [
    { ...head, choices: [choice('a', null)] },
    { ...head, choices: [choice('b', null)] },
    { ...head, choices: [choice('', 'length')] },
  ]);
  // Each event is one data line and one empty line.
  assert.match(response.text, /^(data: [^\n]+\n\n)+$/);
});

test('the pieces of a stream make the text of the whole response', async () => {
  const body = { ...base, prompt: ['a', 'b'], n: 2, max_tokens: 20, echo: true, stop: 'p' };
  const whole = await complete(createFakeServer(), { ...body, stream: false });
  const stream = await complete(createFakeServer(), body);
  const chunks = chunksOf(stream.text);
  for (const { index, text, finish_reason: reason } of whole.json().choices) {
    assert.equal(textOf(chunks, index), text);
    const reasons = chunks.flatMap((chunk) => chunk.choices).filter((choice) => choice.index === index);
    assert.equal(reasons.at(-1)?.finish_reason, reason);
    assert.equal(reasons.filter((choice) => choice.finish_reason !== null).length, 1);
  }
});

test('log-probabilities of the pieces make those of the whole response', async () => {
  const body = { ...base, max_tokens: 5, echo: true, logprobs: 2 };
  const whole = await complete(createFakeServer(), { ...body, stream: false });
  const chunks = chunksOf((await complete(createFakeServer(), body)).text);
  const pieces = chunks.flatMap((chunk) => chunk.choices).flatMap((choice) => choice.logprobs ?? []);
  assert.ok(pieces.length > 1);
  assert.deepEqual(
    {
      text_offset: pieces.flatMap((piece) => piece.text_offset),
      token_logprobs: pieces.flatMap((piece) => piece.token_logprobs),
      tokens: pieces.flatMap((piece) => piece.tokens),
      top_logprobs: pieces.flatMap((piece) => piece.top_logprobs),
    },
    whole.json().choices[0].logprobs,
  );
});

test('include_usage adds null to every chunk and one last chunk with the totals', async () => {
  const options = { stream_options: { include_usage: true }, max_tokens: 3, n: 2 };
  const chunks = chunksOf((await complete(createFakeServer(), { ...base, ...options })).text);
  for (const chunk of chunks.slice(0, -1)) assert.equal(chunk.usage, null);
  assert.deepEqual(chunks.at(-1)?.choices, []);
  assert.deepEqual(chunks.at(-1)?.usage, {
    prompt_tokens: 2,
    completion_tokens: 6,
    total_tokens: 8,
    prompt_tokens_details: { cached_tokens: 0 },
  });
});

test('a failure in mid-stream is sent as an error, then [DONE]; the other choices end', async () => {
  const failAfter = { choice: 1, tokens: 2, error: new NibbleError('not_finite', {}) };
  const server = createFakeServer({ failAfter });
  const response = await complete(server, { ...base, n: 3, max_tokens: 400 });
  assert.equal(response.status, 200);
  const data = sseData(response.text);
  assert.equal(data.at(-1), '[DONE]');
  const { error } = JSON.parse(data.at(-2) ?? '');
  assert.deepEqual(error, {
    message: new NibbleError('not_finite', {}).message,
    type: 'server_error',
    param: null,
    code: 'not_finite',
  });
  assert.equal(server.engine.signals[0]?.aborted, true);
});

test('an unexpected failure in mid-stream does not show its details', async () => {
  const server = createFakeServer({ failAfter: { choice: 0, tokens: 1, error: new Error('secret detail') } });
  const response = await complete(server, base);
  assert.ok(!response.text.includes('secret'));
  assert.match(response.text, /"code":"internal"/);
});

test('during a long prefill comments are sent, and no empty chunks', async () => {
  const server = createFakeServer({ pingMs: 5 });
  server.engine.hold();
  const url = await listen(server.app);
  const body = JSON.stringify({ ...base, max_tokens: 1 });
  const headers = { 'content-type': 'application/json', 'x-request-id': 'abc-1' };
  const response = await fetch(`${url}/v1/completions`, { method: 'POST', headers, body });
  assert.equal(response.headers.get('x-request-id'), 'abc-1');
  assert.ok(response.body);
  let text = '';
  const decoder = new TextDecoder();
  for await (const bytes of response.body) {
    text += decoder.decode(bytes, { stream: true });
    if (text.split(': ping\n\n').length > 3) server.engine.release();
  }
  assert.match(text, /^(: ping\n\n){3,}data: /);
  assert.equal(sseData(text.replaceAll(': ping\n\n', '')).length, 3);
  await server.app.close();
});

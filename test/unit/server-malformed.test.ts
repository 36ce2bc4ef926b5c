import assert from 'node:assert/strict';
import { test } from 'node:test';
import { JSON_DEPTH_MAX } from '../../src/limits.js';
import { complete, createFakeServer, post } from '../support/fake-server.js';

const base = { model: 'fake-model', prompt: 'hi' };
const with_ = (extra: object): object => ({ ...base, ...extra });

/** [what is wrong, body, status, code, param] */
type Case = readonly [string, unknown, number, string, string | null];
const bad = (name: string, extra: object, param: string): Case => [name, with_(extra), 400, 'invalid_request', param];

const cases: readonly Case[] = [
  ['no body', '', 400, 'invalid_request', null],
  ['cut JSON', '{"model": "fake-model", "prompt": "h', 400, 'invalid_request', null],
  ['not JSON', 'model=fake-model', 400, 'invalid_request', null],
  ['text after the JSON', '{} {}', 400, 'invalid_request', null],
  ['NaN', '{"model":"fake-model","prompt":"x","temperature":NaN}', 400, 'invalid_request', null],
  ['prototype poisoning', '{"__proto__":{"x":1},"model":"fake-model","prompt":"x"}', 400, 'invalid_request', null],
  ['deep nesting', `${'['.repeat(100_000)}${']'.repeat(100_000)}`, 400, 'invalid_request', null],
  ['an array', '[]', 400, 'invalid_request', null],
  ['a string', '"prompt"', 400, 'invalid_request', null],
  ['null', 'null', 400, 'invalid_request', null],
  ['no model', { prompt: 'x' }, 400, 'invalid_request', 'model'],
  ['no prompt', { model: 'fake-model' }, 400, 'invalid_request', 'prompt'],
  bad('model of the wrong type', { model: 7 }, 'model'),
  bad('model null', { model: null }, 'model'),
  ['another model', with_({ model: 'gpt-4' }), 404, 'model_not_found', 'model'],
  ['an endless model name', with_({ model: 'x'.repeat(1_000_000) }), 404, 'model_not_found', 'model'],
  bad('prompt null', { prompt: null }, 'prompt'),
  bad('prompt a number', { prompt: 5 }, 'prompt'),
  bad('prompt an object', { prompt: { text: 'x' } }, 'prompt'),
  bad('prompt an empty array', { prompt: [] }, 'prompt'),
  bad('prompt with an empty id list', { prompt: [[]] }, 'prompt'),
  bad('prompt of mixed kinds', { prompt: ['a', 1] }, 'prompt'),
  bad('prompt of mixed depth', { prompt: [1, [2]] }, 'prompt'),
  bad('prompt nested too deep', { prompt: [[[1]]] }, 'prompt'),
  bad('token id negative', { prompt: [-1] }, 'prompt'),
  bad('token id a fraction', { prompt: [1.5] }, 'prompt'),
  bad('token id outside the vocabulary', { prompt: [258] }, 'prompt'),
  bad('token id outside 32 bits', { prompt: [[4294967297]] }, 'prompt'),
  bad('too many prompts', { prompt: Array(129).fill('x') }, 'prompt'),
  bad('prompts times n too many', { prompt: ['a', 'b'], n: 65 }, 'n'),
  bad('temperature a string', { temperature: '1' }, 'temperature'),
  bad('temperature negative', { temperature: -0.1 }, 'temperature'),
  bad('temperature too high', { temperature: 2.1 }, 'temperature'),
  [
    'temperature infinite',
    '{"model":"fake-model","prompt":"x","temperature":1e999}',
    400,
    'invalid_request',
    'temperature',
  ],
  bad('top_p above 1', { top_p: 1.01 }, 'top_p'),
  bad('top_p an array', { top_p: [1] }, 'top_p'),
  bad('n zero', { n: 0 }, 'n'),
  bad('n a fraction', { n: 1.5 }, 'n'),
  bad('n too high', { n: 129 }, 'n'),
  bad('max_tokens negative', { max_tokens: -1 }, 'max_tokens'),
  bad('max_tokens a string', { max_tokens: '16' }, 'max_tokens'),
  bad('max_tokens a boolean', { max_tokens: true }, 'max_tokens'),
  bad('logprobs above 5', { logprobs: 6 }, 'logprobs'),
  bad('logprobs a boolean', { logprobs: true }, 'logprobs'),
  bad('echo a string', { echo: 'yes' }, 'echo'),
  bad('stream a number', { stream: 1 }, 'stream'),
  bad('stream_options without stream', { stream_options: { include_usage: true } }, 'stream_options'),
  bad('stream_options a string', { stream: true, stream_options: 'x' }, 'stream_options'),
  bad(
    'include_usage a string',
    { stream: true, stream_options: { include_usage: 'yes' } },
    'stream_options.include_usage',
  ),
  bad('too many stops', { stop: ['a', 'b', 'c', 'd', 'e'] }, 'stop'),
  bad('an empty stop', { stop: '' }, 'stop'),
  bad('a stop too long', { stop: ['x'.repeat(257)] }, 'stop'),
  bad('a stop of the wrong type', { stop: [1] }, 'stop'),
  bad('presence_penalty out of range', { presence_penalty: 2.5 }, 'presence_penalty'),
  bad('frequency_penalty out of range', { frequency_penalty: -3 }, 'frequency_penalty'),
  bad('repetition_penalty zero', { repetition_penalty: 0 }, 'repetition_penalty'),
  bad('min_p negative', { min_p: -1 }, 'min_p'),
  bad('top_k a fraction', { top_k: 0.5 }, 'top_k'),
  bad('ignore_eos a string', { ignore_eos: 'true' }, 'ignore_eos'),
  bad('seed a fraction', { seed: 0.5 }, 'seed'),
  bad('seed beyond 64 bits', { seed: 1e20 }, 'seed'),
  bad('seed a string', { seed: '1' }, 'seed'),
  bad('user a number', { user: 1 }, 'user'),
  bad('logit_bias an array', { logit_bias: [1] }, 'logit_bias'),
  bad('logit_bias out of range', { logit_bias: { 5: 101 } }, 'logit_bias'),
  bad('logit_bias not a number', { logit_bias: { 5: '1' } }, 'logit_bias'),
  bad('logit_bias key not an id', { logit_bias: { the: 1 } }, 'logit_bias'),
  bad('logit_bias key with a line break', { logit_bias: { 'a\n1': 1e9 } }, 'logit_bias'),
  bad('logit_bias key outside the vocabulary', { logit_bias: { 258: 1 } }, 'logit_bias'),
  bad(
    'logit_bias too long',
    { logit_bias: Object.fromEntries(Array.from({ length: 1025 }, (_, id) => [id, 1])) },
    'logit_bias',
  ),
  ['suffix', with_({ suffix: 'end' }), 400, 'unsupported_parameter', 'suffix'],
  bad('best_of above n in a stream', { best_of: 2, stream: true }, 'best_of'),
  bad('prompts times best_of too many', { prompt: Array(10).fill('x'), best_of: 13 }, 'best_of'),
  bad('suffix with echo', { suffix: 'end', echo: true }, 'echo'),
  bad('stop_token_ids outside the vocabulary', { stop_token_ids: [258] }, 'stop_token_ids'),
  bad('stop_token_ids of strings', { stop_token_ids: ['1'] }, 'stop_token_ids'),
  bad('min_tokens above max_tokens', { min_tokens: 17 }, 'min_tokens'),
  bad('too many stop_token_ids', { stop_token_ids: Array(129).fill(1) }, 'stop_token_ids'),
  bad('skip_special_tokens a string', { skip_special_tokens: 'no' }, 'skip_special_tokens'),
  bad('best_of below n', { n: 3, best_of: 2 }, 'best_of'),
  bad('best_of above 20', { best_of: 21 }, 'best_of'),
  bad('best_of negative', { best_of: -1 }, 'best_of'),
];

const server = createFakeServer();

for (const [name, body, status, code, param] of cases) {
  test(`refused: ${name}`, async () => {
    const response = await complete(server, body);
    assert.equal(response.status, status, response.text);
    const { error } = response.json();
    assert.deepEqual(Object.keys(error).sort(), ['code', 'message', 'param', 'type']);
    assert.deepEqual([error.code, error.param], [code, param]);
    assert.ok(error.message.length > 0 && error.message.length < 400, error.message);
    assert.equal(server.engine.submitted.length, 0);
  });
}

const nested = (levels: number): string => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`;

test('nesting has a bound, wherever it is', async () => {
  const conversation = '"messages":[{"role":"user","content":"hi"}]';
  const tool = (levels: number) => `[{"type":"function","function":{"name":"f","parameters":${nested(levels)}}}]`;
  for (const [url, fields, param] of [
    ['/v1/completions', (levels: number) => `"prompt":"x","unknown":${nested(levels)}`, 'unknown'],
    ['/v1/chat/completions', (levels: number) => `${conversation},"tools":${tool(levels - 3)}`, 'tools'],
    ['/v1/responses', (levels: number) => `"input":"x","metadata":${nested(levels)}`, 'metadata'],
    [
      '/tokenize',
      (levels: number) => `${conversation},"chat_template_kwargs":${nested(levels)}`,
      'chat_template_kwargs',
    ],
  ] as const) {
    const spacious = createFakeServer({ contextTokensMax: 100_000 });
    const send = (levels: number) => post(spacious, url, `{"model":"default",${fields(levels)}}`);
    assert.equal((await send(JSON_DEPTH_MAX)).status, 200, url);
    for (const levels of [JSON_DEPTH_MAX + 1, 10_000, 200_000]) {
      const response = await send(levels);
      assert.deepEqual([response.status, response.json().error.param], [400, param], `${url} ${levels}`);
    }
  }
});

test('arguments of a call that are nested deeper than that stay text', async () => {
  const spacious = createFakeServer({ contextTokensMax: 1_000_000 });
  for (const [levels, kind] of [
    [JSON_DEPTH_MAX, 'object'],
    [50_000, 'string'],
  ] as const) {
    const called = { id: 'call_1', function: { name: 'f', arguments: nested(levels) } };
    const messages = [{ role: 'assistant', tool_calls: [called] }];
    const response = await post(spacious, '/v1/chat/completions', { model: 'default', messages, max_tokens: 1 });
    assert.equal(response.status, 200);
    const prompt = JSON.parse(spacious.model.tokenizer.decode(spacious.engine.submitted.at(-1)?.promptIds ?? []));
    assert.equal(typeof prompt.messages[0].tool_calls[0].function.arguments, kind);
  }
});

test('after all that the server still answers', async () => {
  assert.equal((await complete(server, base)).status, 200);
});

test('other media types get 415', async () => {
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/xml', 'nonsense']) {
    const response = await complete(server, JSON.stringify(base), { 'content-type': type });
    assert.equal(response.status, 415);
    assert.equal(response.json().error.code, 'unsupported_media_type');
  }
});

test('a media type may carry parameters', async () => {
  const headers = { 'content-type': 'application/json; charset=utf-8' };
  assert.equal((await complete(server, JSON.stringify(base), headers)).status, 200);
});

test('a body over 4 MiB gets 413', async () => {
  const response = await complete(server, { ...base, prompt: 'x'.repeat(4 * 1024 * 1024) });
  assert.equal(response.status, 413);
  assert.equal(response.json().error.code, 'body_too_large');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Value } from 'typebox/value';
import { NibbleError } from '../../src/errors.js';
import { ResponseBody } from '../../src/server/schemas/responses-response.js';
import { createFakeServer, type FakeServer, post } from '../support/fake-server.js';

const base = { model: 'fake-model', input: 'hi', max_output_tokens: 3 };
const respond = (server: FakeServer, body: object) => post(server, '/v1/responses', body);

function rendered(server: FakeServer) {
  const ids = server.engine.submitted.at(-1)?.promptIds ?? assert.fail('nothing was submitted');
  return JSON.parse(Buffer.from(ids).toString());
}

const weather = { type: 'function', name: 'get_weather', parameters: { type: 'object' } } as const;
const callText = 'Hm.<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo"}}</tool_call>';

type Event = { readonly type: string; readonly sequence_number: number } & Record<string, unknown>;

/** The events of a stream, whose names must be those in their data. */
function eventsOf(text: string): Event[] {
  return text
    .trimEnd()
    .split('\n\n')
    .map((block) => {
      const [, name, data = ''] = /^event: (\S+)\ndata: (.*)$/.exec(block) ?? assert.fail(block);
      const event = JSON.parse(data) as Event;
      assert.equal(event.type, name);
      return event;
    });
}

test('a response has the shape of the contract', async () => {
  const server = createFakeServer({ cachedTokens: 1 });
  const response = await respond(server, { ...base, instructions: 'be brief', metadata: { a: 'b' } });
  assert.equal(response.status, 200, response.text);
  const body = response.json();
  assert.ok(Value.Check(ResponseBody, body), response.text);
  assert.deepEqual(rendered(server).messages, [
    { role: 'system', content: 'be brief' },
    { role: 'user', content: 'hi' },
  ]);
  const message = body.output[0] ?? assert.fail('no output');
  assert.deepEqual(body.output, [
    {
      type: 'message',
      id: message.id,
      status: 'incomplete',
      role: 'assistant',
      content: [{ type: 'output_text', text: 'abc', annotations: [], logprobs: [] }],
    },
  ]);
  assert.deepEqual([body.status, body.incomplete_details], ['incomplete', { reason: 'max_output_tokens' }]);
  assert.deepEqual([body.store, body.metadata, body.max_output_tokens], [false, { a: 'b' }, 3]);
  const usage = body.usage ?? assert.fail('no usage');
  assert.deepEqual([usage.output_tokens, usage.total_tokens - usage.input_tokens], [3, 3]);
  assert.equal(usage.input_tokens_details.cached_tokens, 1);
});

test('a finished response is completed; sampling fields reach the engine', async () => {
  const server = createFakeServer({ continuation: () => 'ok' });
  const fields = {
    temperature: 0.5,
    top_p: 0.5,
    top_k: 3,
    min_tokens: 1,
    seed: 4,
    top_logprobs: 2,
    max_output_tokens: 9,
  };
  const body = (await respond(server, { ...base, ...fields })).json();
  assert.deepEqual([body.status, body.incomplete_details], ['completed', null]);
  assert.equal(body.output[0].content[0].logprobs.length, 2);
  assert.equal(body.output[0].content[0].logprobs[0].top_logprobs.length, 2);
  const [request] = server.engine.submitted;
  const { temperature, topP, topK, seed } = request?.sampling ?? {};
  assert.deepEqual([temperature, topP, topK, seed], [0.5, 0.5, 3, 4n]);
  assert.deepEqual([request?.maxTokens, request?.minTokens, request?.logprobs], [9, 1, 2]);
});

test('items of the input become the conversation', async () => {
  const server = createFakeServer({ contextTokensMax: 5000 });
  const input = [
    { role: 'developer', content: 'rules' },
    {
      type: 'message',
      role: 'user',
      content: [
        { type: 'input_text', text: 'a' },
        { type: 'input_text', text: 'b' },
      ],
    },
    { type: 'reasoning', id: 'rs_1' },
    { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'hm' }] },
    { type: 'function_call', call_id: 'call_1', name: 'get_weather', arguments: '{"city":"Oslo"}' },
    { type: 'function_call', call_id: 'call_2', name: 'get_weather', arguments: '{"city":"Rome"}' },
    { type: 'function_call_output', call_id: 'call_1', output: 'rain' },
  ];
  const response = await respond(server, { ...base, input, tools: [weather] });
  assert.equal(response.status, 200, response.text);
  const call = (id: string, city: string) => ({
    id,
    type: 'function',
    function: { name: 'get_weather', arguments: { city } },
  });
  assert.deepEqual(rendered(server).messages, [
    { role: 'system', content: 'rules' },
    { role: 'user', content: 'a\nb' },
    { role: 'assistant', content: 'hm', tool_calls: [call('call_1', 'Oslo'), call('call_2', 'Rome')] },
    { role: 'tool', content: 'rain', tool_call_id: 'call_1' },
  ]);
  assert.deepEqual(rendered(server).tools, [
    { type: 'function', function: { name: 'get_weather', parameters: { type: 'object' } } },
  ]);
});

test('a stream tells of a message and a call, numbered, and ends with the whole response', async () => {
  const body = { ...base, tools: [weather], stream: true, max_output_tokens: 200 };
  const response = await respond(createFakeServer({ continuation: () => callText }), body);
  const events = eventsOf(response.text);
  assert.deepEqual(
    events.map((event) => event.sequence_number),
    events.map((_, index) => index),
  );
  const types = events.map(({ type }) => type.replace('response.', ''));
  const withoutRepeats = types.filter((type, i) => type !== types[i - 1]);
  assert.deepEqual(withoutRepeats, [
    ...['created', 'in_progress', 'output_item.added', 'content_part.added', 'output_text.delta', 'output_text.done'],
    ...['content_part.done', 'output_item.done', 'output_item.added', 'function_call_arguments.delta'],
    ...['function_call_arguments.done', 'output_item.done', 'completed'],
  ]);
  const deltas = (type: string) => events.filter((event) => event.type === type).map((event) => event.delta);
  assert.equal(deltas('response.output_text.delta').join(''), 'Hm.');
  assert.equal(deltas('response.function_call_arguments.delta').join(''), '{"city":"Oslo"}');
  const done = events.filter(({ type }) => type === 'response.output_item.done').map(({ item }) => item);
  const last = events.at(-1)?.response as ResponseBody;
  assert.ok(Value.Check(ResponseBody, last));
  assert.deepEqual(last.output, done);
  const [created] = events;
  assert.ok(created);
  assert.equal((created.response as ResponseBody).status, 'in_progress');
});

test('a failure in mid-stream is an error event, and the last', async () => {
  const failAfter = { choice: 0, tokens: 2, error: new NibbleError('not_finite', {}) };
  const response = await respond(createFakeServer({ failAfter }), { ...base, stream: true });
  const { type, code, param } = eventsOf(response.text).at(-1) ?? assert.fail();
  assert.deepEqual([type, code, param], ['error', 'not_finite', null]);
});

/** [what is wrong, fields, code, param] */
const refused: readonly (readonly [string, object, string, string])[] = [
  ['no input', { input: undefined }, 'invalid_request', 'input'],
  ['empty input', { input: [] }, 'invalid_request', 'input'],
  ['an item without role', { input: [{ content: 'x' }] }, 'invalid_request', 'input.0.role'],
  ['an item without content', { input: [{ role: 'user' }] }, 'invalid_request', 'input.0.content'],
  ['an unknown item', { input: [{ type: 'web_search_call' }] }, 'unsupported_parameter', 'input.0.type'],
  [
    'a picture',
    { input: [{ role: 'user', content: [{ type: 'input_image' }] }] },
    'unsupported_parameter',
    'input.0.content.0.type',
  ],
  [
    'a call without arguments',
    { input: [{ type: 'function_call', call_id: 'a', name: 'b' }] },
    'invalid_request',
    'input.0.arguments',
  ],
  [
    'an answer to no call',
    { input: [{ type: 'function_call_output', output: 'x' }] },
    'invalid_request',
    'input.0.call_id',
  ],
  ['previous_response_id', { previous_response_id: 'resp_1' }, 'unsupported_parameter', 'previous_response_id'],
  ['conversation', { conversation: 'c' }, 'unsupported_parameter', 'conversation'],
  ['prompt', { prompt: { id: 'p' } }, 'unsupported_parameter', 'prompt'],
  ['background', { background: true }, 'unsupported_parameter', 'background'],
  ['text.format', { text: { format: { type: 'xml' } } }, 'invalid_request', 'text.format.type'],
  ['a format without schema', { text: { format: { type: 'json_schema' } } }, 'invalid_request', 'text.format.schema'],
  ['a tool of the server', { tools: [{ type: 'web_search' }] }, 'invalid_request', 'tools.0.name'],
  [
    'tool_choice of an unknown function',
    { tools: [weather], tool_choice: { type: 'function', name: 'x' } },
    'invalid_request',
    'tool_choice',
  ],
  ['max_output_tokens', { max_output_tokens: -1 }, 'invalid_request', 'max_output_tokens'],
  ['an input that does not fit', { input: 'x'.repeat(600) }, 'context_length_exceeded', 'prompt'],
];

test('refused, with the field at fault', async () => {
  const server = createFakeServer();
  for (const [name, fields, code, param] of refused) {
    const response = await respond(server, { ...base, ...fields });
    assert.equal(response.status, 400, `${name}: ${response.text}`);
    const { error } = response.json();
    assert.deepEqual([error.code, error.param], [code, param], name);
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Value } from 'typebox/value';
import { ChatBody, ChatChunk } from '../../src/server/schemas/chat-response.js';
import { fakeLogprob } from '../support/fake-engine.js';
import { createFakeServer, type FakeServer, post, sseData } from '../support/fake-server.js';

const base = { model: 'fake-model', messages: [{ role: 'user', content: 'hi' }], max_tokens: 3 };
const chat = (server: FakeServer, body: object) => post(server, '/v1/chat/completions', body);

/** What the template was given for the last prompt: the fake template writes it as JSON, tokens are bytes. */
function rendered(server: FakeServer) {
  const ids = server.engine.submitted.at(-1)?.promptIds ?? assert.fail('nothing was submitted');
  return JSON.parse(Buffer.from(ids).toString());
}

const weather = {
  type: 'function',
  function: { name: 'get_weather', description: 'Weather', parameters: { type: 'object', properties: {} } },
} as const;

/** The chunks of a stream that must end with [DONE]. */
function chunksOf(text: string): ChatChunk[] {
  const data = sseData(text);
  assert.equal(data.at(-1), '[DONE]');
  return data.slice(0, -1).map((item) => {
    const chunk: unknown = JSON.parse(item);
    assert.ok(Value.Check(ChatChunk, chunk), item);
    return chunk;
  });
}

test('an answer has exactly the shape of the contract', async () => {
  const response = await chat(createFakeServer({ cachedTokens: 2 }), base);
  assert.equal(response.status, 200, response.text);
  const body = response.json();
  assert.ok(Value.Check(ChatBody, body), response.text);
  const promptTokens = JSON.stringify({ add_generation_prompt: true, messages: base.messages }).length;
  assert.deepEqual(body, {
    id: body.id,
    created: body.created,
    model: 'fake-model',
    system_fingerprint: 'fp_fake',
    object: 'chat.completion',
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: 'abc', refusal: null },
        logprobs: null,
        finish_reason: 'length',
      },
    ],
    usage: {
      prompt_tokens: promptTokens,
      completion_tokens: 3,
      total_tokens: promptTokens + 3,
      prompt_tokens_details: { cached_tokens: 2 },
    },
  });
});

test('messages reach the template: text parts as lines, developer as system, arguments as values', async () => {
  const server = createFakeServer();
  const call = { id: 'call_1', type: 'function', function: { name: 'get_weather', arguments: '{"city": "Oslo"}' } };
  const messages = [
    { role: 'developer', content: 'be brief' },
    {
      role: 'user',
      content: [
        { type: 'text', text: 'a' },
        { type: 'text', text: 'b' },
      ],
      name: 'eve',
    },
    { role: 'assistant', content: null, tool_calls: [call] },
    { role: 'tool', content: 'rain', tool_call_id: 'call_1' },
  ];
  const extra = { chat_template_kwargs: { enable_thinking: false, messages: 'mine' }, add_generation_prompt: false };
  const response = await chat(server, { ...base, messages, ...extra });
  assert.equal(response.status, 200, response.text);
  assert.deepEqual(rendered(server), {
    enable_thinking: false,
    add_generation_prompt: false,
    messages: [
      { role: 'system', content: 'be brief' },
      { role: 'user', content: 'a\nb', name: 'eve' },
      {
        role: 'assistant',
        content: '',
        tool_calls: [{ ...call, function: { name: 'get_weather', arguments: { city: 'Oslo' } } }],
      },
      { role: 'tool', content: 'rain', tool_call_id: 'call_1' },
    ],
  });
});

test('max_completion_tokens wins over max_tokens; without both the answer may fill what is left', async () => {
  // The fake engine has 512 tokens of context and 64 blocks of 16.
  const cases = [
    [{ max_completion_tokens: 5 }, 5],
    [{ max_tokens: null }, 512],
    [{ max_tokens: 1e9 }, 512],
  ] as const;
  for (const [fields, expected] of cases) {
    const server = createFakeServer();
    await chat(server, { ...base, ...fields });
    const [request] = server.engine.submitted;
    const left = 'max_tokens' in fields && fields.max_tokens === null ? (request?.promptIds.length ?? 0) : 0;
    assert.equal(request?.maxTokens, expected - left);
  }
});

test('sampling fields reach the engine as in completions; top_logprobs go up to 20', async () => {
  const server = createFakeServer();
  const fields = { temperature: 0.5, top_k: 4, seed: 3, stop: 'x', logprobs: true, top_logprobs: 20, n: 2 };
  const response = await chat(server, { ...base, ...fields });
  assert.equal(response.status, 200, response.text);
  const [first, second] = server.engine.submitted;
  assert.deepEqual([first?.sampling.temperature, first?.sampling.topK, first?.sampling.seed], [0.5, 4, 3n]);
  assert.deepEqual([first?.stop, first?.logprobs, first?.scorePrompt], [['x'], 20, false]);
  assert.deepEqual([first?.sampling.choice, second?.sampling.choice], [0, 1]);
  assert.deepEqual(
    response.json().choices.map((choice: { message: { content: string } }) => choice.message.content),
    ['abc', 'bcd'],
  );
});

test('logprobs list each token with its bytes and exactly the alternatives asked for', async () => {
  const options = { continuation: () => 'é' };
  const response = await chat(createFakeServer(options), { ...base, max_tokens: 2, logprobs: true, top_logprobs: 1 });
  const { content, refusal } = response.json().choices[0].logprobs;
  const top_logprobs = [{ token: '\u0000', logprob: fakeLogprob(0), bytes: [0] }];
  assert.deepEqual(content, [
    { token: 'bytes:\\xc3', logprob: fakeLogprob(0xc3), bytes: [0xc3], top_logprobs },
    { token: 'bytes:\\xa9', logprob: fakeLogprob(0xa9), bytes: [0xa9], top_logprobs },
  ]);
  assert.equal(refusal, null);
  const none = await chat(createFakeServer(options), { ...base, logprobs: true });
  assert.deepEqual(none.json().choices[0].logprobs.content[0].top_logprobs, []);
});

test('a stream brings the role, the text, the reason, and the usage if asked for', async () => {
  const stream = { stream: true, stream_options: { include_usage: true }, return_token_ids: true, logprobs: true };
  const response = await chat(createFakeServer(), { ...base, ...stream, max_tokens: 2 });
  const chunks = chunksOf(response.text);
  assert.deepEqual(
    chunks.map(({ choices }) => choices.map(({ delta, finish_reason: reason }) => [delta, reason])),
    [
      [[{ role: 'assistant', content: '' }, null]],
      [[{ content: 'a' }, null]],
      [[{ content: 'b' }, null]],
      [[{}, 'length']],
      [],
    ],
  );
  assert.deepEqual(
    chunks.map((chunk) => chunk.usage?.completion_tokens ?? null),
    [null, null, null, null, 2],
  );
  const choices = chunks.flatMap((chunk) => chunk.choices);
  assert.deepEqual(
    choices.flatMap((choice) => choice.token_ids ?? []),
    [97, 98],
  );
  assert.deepEqual(
    choices.flatMap((choice) => choice.logprobs?.content ?? []).map(({ token }) => token),
    ['a', 'b'],
  );
  assert.ok((chunks[0]?.prompt_token_ids ?? []).length > 10);
});

test('tool calls are parsed, streamed and not', async () => {
  const text = 'Let me see.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>';
  const options = { continuation: () => text };
  const body = { ...base, tools: [weather], max_tokens: 200 };
  const server = createFakeServer(options);
  const whole = (await chat(server, body)).json();
  assert.deepEqual(rendered(server).tools, [weather]);
  const [choice] = whole.choices;
  assert.ok(Value.Check(ChatBody, whole));
  assert.deepEqual([choice.message.content, choice.finish_reason], ['Let me see.', 'tool_calls']);
  const expected = { name: 'get_weather', arguments: '{"city":"Oslo"}' };
  assert.deepEqual(
    choice.message.tool_calls.map((call: { function: object }) => call.function),
    [expected],
  );
  const chunks = chunksOf((await chat(createFakeServer(options), { ...body, stream: true })).text);
  const deltas = chunks.flatMap(({ choices }) => choices.map(({ delta }) => delta));
  assert.equal(deltas.map(({ content }) => content ?? '').join(''), 'Let me see.');
  const calls = deltas.flatMap((delta) => delta.tool_calls ?? []);
  assert.deepEqual(
    calls.map((call) => ('type' in call ? [call.index, call.type, call.function] : [])),
    [[0, 'function', expected]],
  );
  assert.equal(chunks.at(-1)?.choices[0]?.finish_reason, 'tool_calls');
});

test('parallel_tool_calls false keeps the first call; tool_choice none keeps the text', async () => {
  const call = (x: number) => `<tool_call>{"name": "get_weather", "arguments": {"x": ${x}}}</tool_call>`;
  const text = call(1) + call(2);
  const body = { ...base, tools: [weather], max_tokens: 500 };
  const message = async (extra: object) => {
    const server = createFakeServer({ continuation: () => text });
    const response = await chat(server, { ...body, ...extra });
    return { server, choice: response.json().choices[0] };
  };
  assert.equal((await message({})).choice.message.tool_calls.length, 2);
  const single = (await message({ parallel_tool_calls: false })).choice;
  assert.deepEqual([single.message.tool_calls.length, single.message.content], [1, null]);
  const none = await message({ tool_choice: 'none' });
  assert.deepEqual([none.choice.message.content, none.choice.finish_reason], [text, 'stop']);
  assert.equal(rendered(none.server).tools, undefined);
});

test('a template that does not know tools is told about them in words', async () => {
  const chatOf = { source: '{{ messages }}', render: async (variables: object) => JSON.stringify(variables) };
  const server = createFakeServer({ chat: chatOf, contextTokensMax: 4000 });
  const call = { id: 'call_1', type: 'function', function: { name: 'get_weather', arguments: '{"city":"Oslo"}' } };
  const messages = [
    { role: 'system', content: 'be brief' },
    { role: 'assistant', content: 'hm', tool_calls: [call] },
    { role: 'tool', content: 'rain', tool_call_id: 'call_1' },
  ];
  const response = await chat(server, { ...base, messages, tools: [weather] });
  assert.equal(response.status, 200, response.text);
  const shown = rendered(server);
  assert.equal(shown.tools, undefined);
  const [system, assistant, user] = shown.messages;
  assert.ok(system.content.startsWith('be brief\n\n') && system.content.includes(JSON.stringify(weather)));
  assert.deepEqual(assistant, {
    role: 'assistant',
    content: 'hm\n<tool_call>\n{"name":"get_weather","arguments":{"city":"Oslo"}}\n</tool_call>',
  });
  assert.deepEqual(user, { role: 'user', content: '<tool_response>\nrain\n</tool_response>' });
});

test('continue_final_message goes on where the last message ends', async () => {
  const render = async ({
    messages,
    add_generation_prompt: isOpen,
  }: {
    messages?: unknown;
    add_generation_prompt?: unknown;
  }) =>
    `${(messages as { content: string }[]).map(({ content }) => `[${content}]`).join('')}${isOpen === true ? '>' : ''}`;
  const server = createFakeServer({ chat: { source: '', render } });
  const messages = [
    { role: 'user', content: 'one' },
    { role: 'assistant', content: 'The answer' },
  ];
  await chat(server, { ...base, messages, continue_final_message: true });
  await chat(server, { ...base, messages });
  assert.deepEqual(
    server.engine.submitted.map(({ promptIds }) => Buffer.from(promptIds).toString()),
    ['[one][The answer', '[one][The answer]>'],
  );
});

test('a model without a chat template says so', async () => {
  const response = await chat(createFakeServer({ chat: null }), base);
  assert.deepEqual([response.status, response.json().error.code], [400, 'chat_template_missing']);
});

const user = { role: 'user', content: 'hi' };
/** [what is wrong, fields, code, param] */
const refused: readonly (readonly [string, object, string, string])[] = [
  ['no messages', { messages: [] }, 'invalid_request', 'messages'],
  ['messages a string', { messages: 'hi' }, 'invalid_request', 'messages'],
  ['a message a string', { messages: ['hi'] }, 'invalid_request', 'messages.0'],
  ['no role', { messages: [{ content: 'x' }] }, 'invalid_request', 'messages.0.role'],
  ['an unknown role', { messages: [user, { role: 'king', content: 'x' }] }, 'invalid_request', 'messages.1.role'],
  ['no content', { messages: [{ role: 'user' }] }, 'invalid_request', 'messages.0.content'],
  ['content a number', { messages: [{ role: 'user', content: 5 }] }, 'invalid_request', 'messages.0.content'],
  [
    'a picture',
    { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] },
    'unsupported_parameter',
    'messages.0.content.0.type',
  ],
  [
    'a part without text',
    { messages: [{ role: 'user', content: [{ type: 'text' }] }] },
    'invalid_request',
    'messages.0.content.0.text',
  ],
  [
    'a tool answer to no call',
    { messages: [{ role: 'tool', content: 'x' }] },
    'invalid_request',
    'messages.0.tool_call_id',
  ],
  ['top_logprobs without logprobs', { top_logprobs: 2 }, 'invalid_request', 'top_logprobs'],
  ['top_logprobs above 20', { logprobs: true, top_logprobs: 21 }, 'invalid_request', 'top_logprobs'],
  ['logprobs a number', { logprobs: 2 }, 'invalid_request', 'logprobs'],
  ['max_completion_tokens negative', { max_completion_tokens: -1 }, 'invalid_request', 'max_completion_tokens'],
  ['stream_options without stream', { stream_options: {} }, 'invalid_request', 'stream_options'],
  ['tool_choice without tools', { tool_choice: 'auto' }, 'invalid_request', 'tool_choice'],
  ['tool_choice nonsense', { tools: [weather], tool_choice: 'maybe' }, 'invalid_request', 'tool_choice'],
  [
    'tool_choice of an unknown function',
    { tools: [weather], tool_choice: { type: 'function', function: { name: 'none' } } },
    'invalid_request',
    'tool_choice',
  ],
  [
    'a tool without a name',
    { tools: [{ type: 'function', function: {} }] },
    'invalid_request',
    'tools.0.function.name',
  ],
  ['too many tools', { tools: Array(129).fill(weather) }, 'invalid_request', 'tools'],
  ['the old functions', { functions: [] }, 'unsupported_parameter', 'functions'],
  ['the old function_call', { function_call: 'auto' }, 'unsupported_parameter', 'function_call'],
  ['audio', { audio: {} }, 'unsupported_parameter', 'audio'],
  ['modalities', { modalities: ['text', 'audio'] }, 'unsupported_parameter', 'modalities'],
  ['chat_template_kwargs a list', { chat_template_kwargs: [] }, 'invalid_request', 'chat_template_kwargs'],
  [
    'two ways to end',
    { add_generation_prompt: true, continue_final_message: true },
    'invalid_request',
    'continue_final_message',
  ],
];

test('refused, with the field at fault', async () => {
  const server = createFakeServer();
  for (const [name, fields, code, param] of refused) {
    const response = await chat(server, { ...base, ...fields });
    assert.equal(response.status, 400, `${name}: ${response.text}`);
    const { error } = response.json();
    assert.deepEqual([error.code, error.param], [code, param], name);
  }
  assert.equal(server.engine.submitted.length, 0);
});

test('null means the default for every optional field but user', async () => {
  const optional = [
    ...['logprobs', 'max_completion_tokens', 'max_tokens', 'parallel_tool_calls', 'response_format', 'tool_choice'],
    ...['tools', 'top_logprobs', 'add_generation_prompt', 'continue_final_message', 'chat_template_kwargs'],
    ...['modalities', 'audio', 'functions', 'function_call'],
  ];
  const response = await chat(createFakeServer(), {
    ...base,
    ...Object.fromEntries(optional.map((name) => [name, null])),
  });
  assert.equal(response.status, 200, response.text);
});

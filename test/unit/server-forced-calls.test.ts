/** tool_choice "required" and named functions: what the text must be, and how it becomes calls, streamed and not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Value } from 'typebox/value';
import { ChatBody, ChatChunk } from '../../src/server/schemas/chat-response.js';
import { ForcedCallReader } from '../../src/server/tools/forced.js';
import type { ToolFormat } from '../../src/server/tools/format.js';
import { createFakeServer, fakeChat, post, sseData } from '../support/fake-server.js';

const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const weather = { type: 'function', function: { name: 'get_weather', parameters } } as const;
const now = { type: 'function', function: { name: 'now' } } as const;
const base = {
  model: 'fake-model',
  messages: [{ role: 'user', content: 'hi' }],
  tools: [weather, now],
  max_tokens: 400,
};
const named = { type: 'function', function: { name: 'get_weather' } };

/** Names of templates' formats, by what their templates say. */
const templates: Readonly<Record<ToolFormat, string>> = {
  hermes: 'tools <tool_call>',
  mistral: 'tools [TOOL_CALLS]',
  llama3: 'tools <|python_tag|>',
};

async function submitted(format: ToolFormat, extra: object) {
  const server = createFakeServer({ chat: { ...fakeChat, source: templates[format] } });
  const response = await post(server, '/v1/chat/completions', { ...base, ...extra });
  assert.equal(response.status, 200, response.text);
  const [request] = server.engine.submitted;
  const prompt = Buffer.from(request?.promptIds ?? []).toString();
  const constraint = request?.constraint;
  assert.deepEqual(server.engine.constraints, constraint === undefined ? [] : [constraint]);
  return { opening: prompt.slice(prompt.lastIndexOf('}') + 1), constraint };
}

test('the constraint is made of the functions that may be called; the prompt opens the call', async () => {
  const call = (name: string, given: string, value: object) => ({
    type: 'object',
    properties: { name: { const: name }, [given]: value },
    required: ['name', given],
  });
  const empty = { type: 'object', properties: {}, additionalProperties: false };
  const both = (given: string) => ({
    anyOf: [call('get_weather', given, { $id: 'tool:get_weather', ...parameters }), call('now', given, empty)],
  });
  const one = (given: string) => ({ anyOf: [both(given).anyOf[0]] });
  const end = '\n</tool_call>';
  const between = '\n<tool_call>\n';
  const array = (items: object, more = {}) => ({ type: 'array', items, minItems: 1, ...more });
  const cases: readonly (readonly [ToolFormat, object, string, object, object])[] = [
    ['hermes', { tool_choice: 'required' }, '<tool_call>\n', both('arguments'), { frame: { end, between } }],
    [
      'hermes',
      { tool_choice: 'required', parallel_tool_calls: false },
      '<tool_call>\n',
      both('arguments'),
      { frame: { end, between: null } },
    ],
    ['hermes', { tool_choice: named }, '<tool_call>\n', one('arguments'), { frame: { end, between: null } }],
    ['mistral', { tool_choice: 'required' }, '[TOOL_CALLS]', array(both('arguments')), {}],
    ['mistral', { tool_choice: named }, '[TOOL_CALLS]', array(one('arguments'), { maxItems: 1 }), {}],
    ['llama3', { tool_choice: 'required' }, '', both('parameters'), {}],
  ];
  for (const [format, extra, opening, schema, more] of cases) {
    const found = await submitted(format, extra);
    assert.equal(found.opening, opening);
    assert.deepEqual(found.constraint, { kind: 'json_schema', schema: JSON.stringify(schema), ...more });
  }
  assert.deepEqual(await submitted('hermes', { tool_choice: 'auto' }), { opening: '', constraint: undefined });
});

test('auto: a strict function makes calls valid, and leaves other text free', async () => {
  const strict = { ...weather, function: { ...weather.function, strict: true } };
  const call = (name: string, value: object) => ({
    type: 'object',
    properties: { name: { const: name }, arguments: value },
    required: ['name', 'arguments'],
  });
  const anyOf = [call('get_weather', { $id: 'tool:get_weather', ...parameters }), call('now', { type: 'object' })];
  const frame = { mark: '<tool_call>\n', end: '\n</tool_call>', between: null };
  const constraint = { kind: 'json_schema', schema: JSON.stringify({ anyOf }), frame };
  for (const extra of [{}, { tool_choice: 'auto' }]) {
    assert.deepEqual(await submitted('hermes', { tools: [strict, now], ...extra }), { opening: '', constraint });
  }
  const free = { opening: '', constraint: undefined };
  assert.deepEqual(await submitted('hermes', { tools: [strict], tool_choice: 'none' }), free);
  assert.deepEqual(await submitted('llama3', { tools: [strict] }), free);
  const asked = await submitted('hermes', { tools: [strict], guided_regex: 'a' });
  assert.deepEqual(asked.constraint, { kind: 'regex', pattern: 'a' });

  const text = 'Let me see.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>';
  const server = createFakeServer({ continuation: () => text });
  const [choice] = (await post(server, '/v1/chat/completions', { ...base, tools: [strict, now] })).json().choices;
  assert.deepEqual([choice.message.content, choice.finish_reason], ['Let me see.', 'tool_calls']);
  assert.deepEqual(JSON.parse(choice.message.tool_calls[0].function.arguments), { city: 'Oslo' });
});

test('what cannot be kept is refused, with the field at fault', async () => {
  const withParameters = (value: object) => [{ type: 'function', function: { name: 'f', parameters: value } }];
  const cases: readonly (readonly [object, string, string])[] = [
    [{ tool_choice: 'required', response_format: { type: 'json_object' } }, 'invalid_request', 'response_format'],
    [{ tool_choice: named, guided_regex: 'a' }, 'invalid_request', 'guided_regex'],
    [{ tool_choice: 'required', tools: withParameters({ type: 'what' }) }, 'constraint_invalid', 'tools'],
    [{ tool_choice: 'required', tools: withParameters({ not: {} }) }, 'constraint_invalid', 'tools'],
  ];
  for (const [extra, code, param] of cases) {
    const response = await post(createFakeServer(), '/v1/chat/completions', { ...base, ...extra });
    assert.equal(response.status, 400, response.text);
    const { error } = response.json();
    assert.deepEqual([error.code, error.param], [code, param], response.text);
    if (param === 'tools') assert.match(error.message, /'tool:f#/, 'it says which function');
  }
});

/** As the constraint has it: one line, a space after each comma and colon. */
function oneLine(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(oneLine).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).map(([key, member]) => `${JSON.stringify(key)}: ${oneLine(member)}`);
  return `{${members.join(', ')}}`;
}

const argumentSets: readonly object[] = [
  {},
  { city: 'Oslo' },
  { a: -1.5e3, b: null, c: [true, false, []], d: { e: {} } },
  { text: 'quotes " and \\ and \n and } and ] and {"name": "f", "arguments": {' },
  { '}': '\\', '"': '\\"' },
  { emoji: '😀日本é' },
];

const writers: Readonly<Record<ToolFormat, (calls: readonly (readonly [string, object])[]) => string>> = {
  hermes: (calls) =>
    calls.map(([name, args]) => `${oneLine({ name, arguments: args })}\n</tool_call>`).join('\n<tool_call>\n'),
  mistral: (calls) => oneLine(calls.map(([name, args]) => ({ name, arguments: args }))),
  llama3: ([call]) => oneLine({ name: call?.[0], parameters: call?.[1] }),
};

test('calls are read however the text is cut', () => {
  for (const [format, write] of Object.entries(writers)) {
    for (const [at, args] of argumentSets.entries()) {
      const other = argumentSets[(at + 1) % argumentSets.length] ?? {};
      const all = [['get_weather', args] as const, ['n.o-w_2', other] as const];
      const calls = format === 'llama3' ? all.slice(0, 1) : all;
      const text = write(calls);
      for (let size = 1; size <= text.length; size++) {
        const reader = new ForcedCallReader();
        const found: { name: string; text: string }[] = [];
        for (let i = 0; i < text.length; i += size) {
          for (const piece of reader.push(text.slice(i, i + size))) {
            if (piece.kind === 'call') found.push({ name: piece.call.name, text: piece.call.arguments });
            else if (piece.kind === 'arguments') (found.at(-1) ?? assert.fail()).text += piece.text;
            else assert.fail(`content: ${piece.text}`);
          }
        }
        assert.deepEqual(reader.finish(), []);
        assert.deepEqual(
          found,
          calls.map(([name, value]) => ({ name, text: oneLine(value) })),
          `${format} in pieces of ${size}`,
        );
      }
    }
  }
});

test('arguments are streamed as they come', async () => {
  const text = writers.hermes([
    ['get_weather', { city: 'Oslo' }],
    ['now', {}],
  ]);
  const options = { continuation: () => text };
  const body = { ...base, tool_choice: 'required' };
  const whole = (await post(createFakeServer(options), '/v1/chat/completions', body)).json();
  assert.ok(Value.Check(ChatBody, whole));
  const [choice] = whole.choices;
  assert.deepEqual([choice?.message.content, choice?.finish_reason], [null, 'tool_calls']);
  const expected = [
    { name: 'get_weather', arguments: '{"city": "Oslo"}' },
    { name: 'now', arguments: '{}' },
  ];
  assert.deepEqual(
    choice?.message.tool_calls?.map((call) => call.function),
    expected,
  );
  const streamed = await post(createFakeServer(options), '/v1/chat/completions', { ...body, stream: true });
  const chunks = sseData(streamed.text)
    .slice(0, -1)
    .map((item) => JSON.parse(item) as ChatChunk);
  for (const chunk of chunks) assert.ok(Value.Check(ChatChunk, chunk), JSON.stringify(chunk));
  const deltas = chunks.flatMap(({ choices }) => choices.flatMap(({ delta }) => delta.tool_calls ?? []));
  const joined: { name: string; arguments: string }[] = [];
  for (const delta of deltas) {
    if ('id' in delta) joined.push({ ...delta.function });
    else (joined[delta.index] ?? assert.fail()).arguments += delta.function.arguments;
  }
  assert.deepEqual(joined, expected);
  assert.ok(deltas.length > 10, 'one token at a time');
  assert.equal(chunks.at(-1)?.choices[0]?.finish_reason, 'tool_calls');
});

test('a call that max_tokens cuts keeps its name and what there is of its arguments', async () => {
  const text = '{"name": "get_weather", "arguments": {"city": "Os';
  const server = createFakeServer({ continuation: () => `${text}lo"}}` });
  const cut = { ...base, tool_choice: named, max_tokens: text.length };
  const [choice] = (await post(server, '/v1/chat/completions', cut)).json().choices;
  assert.equal(choice.finish_reason, 'length');
  assert.deepEqual(choice.message.tool_calls[0].function, { name: 'get_weather', arguments: '{"city": "Os' });
});

test('responses: arguments as events, the call as an item', async () => {
  const text = '{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>';
  const server = createFakeServer({ continuation: () => text });
  const tools = [{ type: 'function', ...weather.function }];
  const body = { model: 'fake-model', input: 'hi', tools, tool_choice: { type: 'function', name: 'get_weather' } };
  const { text: stream } = await post(server, '/v1/responses', { ...body, stream: true });
  const lines = stream.split('\n').filter((line) => line.startsWith('data: '));
  const events = lines.map((line) => JSON.parse(line.slice('data: '.length)));
  const of = (type: string) => events.filter((event) => event.type === type);
  const deltas = of('response.function_call_arguments.delta').map(({ delta }) => delta);
  assert.equal(deltas.join(''), '{"city": "Oslo"}');
  assert.ok(deltas.length > 5);
  assert.equal(of('response.function_call_arguments.done')[0]?.arguments, '{"city": "Oslo"}');
  const [item, ...others] = of('response.completed')[0]?.response.output ?? [];
  assert.deepEqual(others, []);
  assert.deepEqual(
    [item.type, item.name, item.arguments, item.status],
    ['function_call', 'get_weather', '{"city": "Oslo"}', 'completed'],
  );
});

test('responses: text.format is a constraint, and is told back', async () => {
  const format = { type: 'json_schema', name: 'place', schema: parameters, strict: true };
  const server = createFakeServer();
  const response = await post(server, '/v1/responses', { model: 'fake-model', input: 'hi', text: { format } });
  assert.equal(response.status, 200, response.text);
  assert.deepEqual(server.engine.submitted[0]?.constraint, { kind: 'json_schema', schema: JSON.stringify(parameters) });
  assert.deepEqual(response.json().text, { format });
  const bad = { model: 'fake-model', input: 'hi', text: { format: { ...format, schema: { type: 'what' } } } };
  const { error } = (await post(createFakeServer(), '/v1/responses', bad)).json();
  assert.deepEqual([error.code, error.param], ['constraint_invalid', 'text.format.schema']);
});

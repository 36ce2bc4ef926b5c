import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ToolFormat, toolSupportOf } from '../../src/server/tools/format.js';
import { ToolParser } from '../../src/server/tools/parser.js';

const names = new Set(['add', 'get_weather', 'é']);

type Result = { readonly content: string; readonly calls: readonly (readonly [string, unknown])[] };

function parse(format: ToolFormat, pieces: readonly string[]): Result {
  const parser = new ToolParser(format, names);
  const found = [...pieces.flatMap((piece) => parser.push(piece)), ...parser.finish()];
  return {
    content: found.map((piece) => (piece.kind === 'content' ? piece.text : '')).join(''),
    calls: found.flatMap((piece) =>
      piece.kind === 'call' ? [[piece.call.name, JSON.parse(piece.call.arguments)] as const] : [],
    ),
  };
}

const argumentSets: readonly object[] = [
  {},
  { a: 1, b: -2.5e3 },
  { city: 'Paris', unit: null, days: [1, 2, 3] },
  { text: 'quote " backslash \\ newline \n brace } bracket ]' },
  { nested: { deep: { deeper: [{ x: '</tool' }, '[TOOL', '<|python'] } } },
  { emoji: '\u{1f600}日本é', empty: '', yes: true },
];

/** How each format writes one call. */
const writers: readonly (readonly [string, ToolFormat, (name: string, args: object) => string])[] = [
  ['hermes', 'hermes', (name, args) => `<tool_call>\n${JSON.stringify({ name, arguments: args })}\n</tool_call>`],
  [
    'hermes, pretty',
    'hermes',
    (name, args) => `<tool_call>${JSON.stringify({ arguments: args, name }, null, 2)}</tool_call>`,
  ],
  ['hermes without markers', 'hermes', (name, args) => JSON.stringify({ name, arguments: args })],
  [
    'arguments as text',
    'hermes',
    (name, args) => `<tool_call>${JSON.stringify({ name, arguments: JSON.stringify(args) })}</tool_call>`,
  ],
  ['mistral', 'mistral', (name, args) => `[TOOL_CALLS] ${JSON.stringify([{ name, arguments: args }])}`],
  ['mistral, named', 'mistral', (name, args) => `[TOOL_CALLS]${name}[ARGS]${JSON.stringify(args)}`],
  ['mistral, named, short', 'mistral', (name, args) => `[TOOL_CALLS]${name}${JSON.stringify(args)}`],
  ['llama3', 'llama3', (name, args) => JSON.stringify({ name, parameters: args })],
  [
    'llama3, marked',
    'llama3',
    (name, args) => `<|python_tag|>${JSON.stringify({ type: 'function', name, parameters: args })}`,
  ],
  ['llama3, white space', 'llama3', (name, args) => `\n\n ${JSON.stringify({ name, parameters: args }, null, 1)}\n`],
];

for (const [title, format, write] of writers) {
  test(`${title}: a call is found however the text is cut`, () => {
    for (const [at, args] of argumentSets.entries()) {
      const text = write('get_weather', args);
      const expected: Result = { content: '', calls: [['get_weather', args]] };
      assert.deepEqual(parse(format, [text]), expected, `arguments ${at}`);
      assert.deepEqual(parse(format, [...text]), expected, `arguments ${at}, by character`);
      fc.assert(
        fc.property(fc.array(fc.nat(text.length), { maxLength: 6 }), (cuts) => {
          const bounds = [0, ...cuts.toSorted((a, b) => a - b), text.length];
          const pieces = bounds.slice(1).map((end, i) => text.slice(bounds[i], end));
          assert.deepEqual(parse(format, pieces), expected);
        }),
        { numRuns: 20, seed: 1 },
      );
    }
  });
}

test('several calls, with words around them', () => {
  const call = (name: string, x: number) => `<tool_call>\n{"name": "${name}", "arguments": {"x": ${x}}}\n</tool_call>`;
  const text = `I will look.\n${call('add', 1)}\n${call('é', 2)}\n`;
  const calls = [
    ['add', { x: 1 }],
    ['é', { x: 2 }],
  ] as const;
  for (const pieces of [[text], [...text]]) {
    assert.deepEqual(parse('hermes', pieces), { content: 'I will look.', calls });
  }
  const list = '[TOOL_CALLS][{"name": "add", "arguments": {"x": 1}}, {"name": "é", "arguments": {"x": 2}}]';
  assert.deepEqual(parse('mistral', [list]), { content: '', calls });
  const named = 'Hm.[TOOL_CALLS]add{"x": 1}[TOOL_CALLS]add{"x": 2}';
  assert.deepEqual(parse('mistral', [...named]), {
    content: 'Hm.',
    calls: [
      ['add', { x: 1 }],
      ['add', { x: 2 }],
    ],
  });
  const row = '{"name": "add", "parameters": {"x": 1}}; {"name": "é", "parameters": {"x": 2}}';
  assert.deepEqual(parse('llama3', [...row]), { content: '', calls });
});

test('what is no call stays text, to the last character', () => {
  const texts: readonly (readonly [ToolFormat, string])[] = [
    ['hermes', 'plain words, a < b and <tool_ and <tool_call'],
    ['hermes', '<tool_call>not json</tool_call> after'],
    ['hermes', '<tool_call>{"name": "add", "arguments": 5}</tool_call>'],
    ['hermes', '<tool_call>{"name": "add", "argum'],
    ['hermes', '{"answer": 42}'],
    ['hermes', '{"name": "not_offered", "arguments": {}}'],
    ['hermes', ' \n '],
    ['mistral', '[1, 2] and [TOOL_'],
    ['mistral', '[TOOL_CALLS]nothing here'],
    ['llama3', '{"name": "add", "parameters": {"x": 1}} and more'],
    ['llama3', '<|python_tag|>print(1)'],
    ['llama3', ''],
  ];
  for (const [format, text] of texts) {
    for (const pieces of [[text], [...text]])
      assert.deepEqual(parse(format, pieces), { content: text, calls: [] }, text);
  }
});

test('text that cannot be a call is given out at once', () => {
  const parser = new ToolParser('hermes', names);
  const shown = ['Hello', ' wor', 'ld <', 'b> <tool', '!'].map((piece) =>
    parser
      .push(piece)
      .map((found) => (found.kind === 'content' ? found.text : 'call'))
      .join(''),
  );
  // White space and a possible beginning of the marker wait for what follows.
  assert.deepEqual(shown, ['Hello', ' wor', 'ld', ' <b>', ' <tool!']);
});

test('a template tells how its model calls tools', () => {
  const support = (template: string) => toolSupportOf(template);
  assert.deepEqual(support('{% for m in messages %}{{ m.content }}{% endfor %}'), {
    format: 'hermes',
    isNative: false,
  });
  assert.deepEqual(support('{% if tools %}<tool_call>'), { format: 'hermes', isNative: true });
  assert.deepEqual(support("{% if tools %}{{ '[TOOL_CALLS]' }}"), { format: 'mistral', isNative: true });
  assert.deepEqual(support('{% if tools %}{"name": function name, "parameters": dictionary}'), {
    format: 'llama3',
    isNative: true,
  });
});

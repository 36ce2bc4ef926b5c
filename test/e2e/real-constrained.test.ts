/** Constrained output of the default model at temperature 1: schemas, tool calls, patterns, choices, grammars. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { Random } from '../../src/random.js';
import type { ChatBody, ChatChunk } from '../../src/server/schemas/chat-response.js';
import { randomSchema } from '../support/random-schema.js';
import { RealServer } from '../support/real-server.js';

const ajv = new Ajv2020({ strict: false, validateFormats: false });
let server: RealServer;
before(async () => {
  server = await RealServer.start({ flags: ['--kv-tokens', '32768', '--max-sequences', '16'] });
});
after(() => server.stop());

/** Runs them with some at a time, as clients do. */
async function spread<T>(tasks: readonly (() => Promise<T>)[]): Promise<T[]> {
  const results: T[] = [];
  const left = tasks.entries();
  const work = async () => {
    for (const [i, task] of left) results[i] = await task();
  };
  await Promise.all(Array.from({ length: 12 }, work));
  return results;
}

async function chat(body: object): Promise<string> {
  const response = await fetch(`${server.url}/v1/chat/completions`, {
    method: 'POST',
    // One that is kept open may be closed just when it is used again.
    headers: { 'content-type': 'application/json', connection: 'close' },
    body: JSON.stringify({ model: 'default', temperature: 1, ...body }),
  });
  const text = await response.text();
  assert.equal(response.status, 200, text);
  return text;
}

/** A third of a minute of the tests, twice that at night. */
const schemaCount = process.env.NIBBLE_NIGHTLY === '1' ? 200 : 100;

test(`${schemaCount} random schemas: every whole text is valid`, async () => {
  const random = new Random(99);
  const schemas = Array.from({ length: schemaCount }, () => randomSchema(random, 4));
  const choices = await spread(
    schemas.map((schema, seed) => () => {
      const prompt = `A value for the JSON schema ${JSON.stringify(schema)}:\n`;
      return server.choice({ prompt, guided_json: schema, max_tokens: 250, temperature: 1, seed });
    }),
  );
  let whole = 0;
  for (const [i, { text, finish_reason }] of choices.entries()) {
    if (finish_reason !== 'stop') continue;
    whole++;
    const schema = schemas[i] ?? true;
    assert.ok(ajv.validate(schema, JSON.parse(text)), `${text} under ${JSON.stringify(schema)}: ${ajv.errorsText()}`);
  }
  assert.ok(whole >= schemaCount * 0.75, `${whole} of ${schemaCount} texts ended before max_tokens`);
});

type Call = { readonly name: string; readonly arguments: string };

function callsOfStream(text: string): { readonly calls: readonly Call[]; readonly reason: string | null } {
  const calls: { name: string; arguments: string }[] = [];
  let reason: string | null = null;
  for (const line of text.split('\n\n')) {
    if (!line.startsWith('data: {')) continue;
    const [choice] = (JSON.parse(line.slice('data: '.length)) as ChatChunk).choices;
    reason = choice?.finish_reason ?? reason;
    for (const delta of choice?.delta.tool_calls ?? []) {
      if ('id' in delta) calls[delta.index] = { ...delta.function };
      else (calls[delta.index] ?? assert.fail('arguments of no call')).arguments += delta.function.arguments;
    }
  }
  return { calls, reason };
}

test('60 forced tool calls parse, streamed and not, and are the same', async () => {
  const random = new Random(7);
  const cases = Array.from({ length: 60 }, (_, seed) => {
    const tools = ['first', 'second'].map((name) => {
      const properties = { a: randomSchema(random, 2), b: { type: 'integer', minimum: 0 } };
      const parameters = { type: 'object', properties, required: ['a', 'b'] };
      return { type: 'function', function: { name, parameters } };
    });
    const choice = seed % 2 === 0 ? 'required' : { type: 'function', function: { name: 'second' } };
    const messages = [{ role: 'user', content: 'Call a function.' }];
    return { tools, tool_choice: choice, parallel_tool_calls: seed % 4 === 0, messages, seed, max_tokens: 200 };
  });
  const answers = await spread(
    cases.map((body) => async () => {
      const [plain, streamed] = await Promise.all([chat(body), chat({ ...body, stream: true })]);
      return { plain: (JSON.parse(plain) as ChatBody).choices[0], streamed: callsOfStream(streamed) };
    }),
  );
  let whole = 0;
  for (const [i, { plain, streamed }] of answers.entries()) {
    const calls = (plain?.message.tool_calls ?? []).map(({ function: called }) => called);
    assert.deepEqual(streamed, { calls, reason: plain?.finish_reason });
    const { tools, tool_choice: choice } = cases[i] ?? assert.fail();
    // What max_tokens cut may be anything's beginning.
    if (plain?.finish_reason !== 'tool_calls') continue;
    whole++;
    assert.equal(plain.message.content, null);
    for (const { name, arguments: text } of calls) {
      const tool = tools.find((one) => one.function.name === name) ?? assert.fail(name);
      assert.ok(choice === 'required' || name === 'second');
      assert.ok(ajv.validate(tool.function.parameters, JSON.parse(text)), `${text}: ${ajv.errorsText()}`);
    }
  }
  assert.ok(whole >= 50, `${whole} of 60 answers were whole`);
});

test('patterns, choices, grammars and response_format', async () => {
  const pattern = '\\d{4}-\\d{2}-\\d{2}(?:T\\d{2}:\\d{2})?';
  const grammar = 'root ::= term ([-+] term)*\nterm ::= [0-9]+ | "(" root ")"\n';
  const ask = (extra: object, seed: number) =>
    server.choice({ prompt: 'Today is ', temperature: 1, max_tokens: 60, seed, ...extra });
  for (let seed = 0; seed < 5; seed++) {
    const [date, colour, sum] = await Promise.all([
      ask({ guided_regex: pattern }, seed),
      ask({ structured_outputs: { choice: ['red', 'green', 'blue'] } }, seed),
      ask({ guided_grammar: grammar }, seed),
    ]);
    assert.match(date.text, new RegExp(`^${pattern}$`));
    assert.ok(['red', 'green', 'blue'].includes(colour.text), colour.text);
    assert.equal(colour.finish_reason, 'stop');
    assert.match(sum.text, /^[-+()0-9]+$/);
    const messages = [{ role: 'user', content: 'An object, please.' }];
    const body = JSON.parse(
      await chat({ messages, seed, max_tokens: 150, response_format: { type: 'json_object' } }),
    ) as ChatBody;
    const [choice] = body.choices;
    assert.equal(choice?.message.content?.[0], '{');
    if (choice?.finish_reason === 'stop') assert.equal(typeof JSON.parse(choice.message.content ?? ''), 'object');
  }
});

test('the same text alone and among others', async () => {
  const schema = { type: 'array', items: { type: 'string', maxLength: 20 }, minItems: 5, maxItems: 5 };
  const probe = { prompt: 'Five names: ', guided_json: schema, max_tokens: 120, temperature: 1, seed: 3, logprobs: 2 };
  const alone = await server.choice(probe);
  const others = Array.from({ length: 8 }, (_, seed) =>
    server.choice({ prompt: 'Once upon a time', max_tokens: 60, temperature: 1, seed }),
  );
  assert.deepEqual(await server.choice(probe), alone);
  await Promise.all(others);
});

test('a constraint that cannot be used is refused, and the next one is served', async () => {
  const refused = [
    { guided_json: { type: 'object', not: {} } },
    { guided_regex: '(?=a)b' },
    { guided_grammar: 'root ::=' },
  ];
  for (const extra of refused) {
    const response = await server.post({ prompt: 'x', ...extra });
    const { error } = (await response.json()) as { readonly error: { readonly code: string } };
    assert.deepEqual([response.status, error.code], [400, 'constraint_invalid']);
  }
  assert.equal((await server.choice({ prompt: 'x', guided_choice: ['yes'], max_tokens: 9 })).text, 'yes');
  await server.becomeIdle();
});

/** How a request says what its text must be. What the constraints then allow is tested with the grammar engine. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { complete, createFakeServer } from '../support/fake-server.js';

const base = { model: 'fake-model', prompt: 'hi', max_tokens: 3 };
const schema = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] };
const schemaText = JSON.stringify(schema);

async function constraintOf(extra: object): Promise<unknown> {
  const server = createFakeServer();
  const response = await complete(server, { ...base, ...extra });
  assert.equal(response.status, 200, response.text);
  const [request] = server.engine.submitted;
  // It was checked before the sequence was submitted.
  assert.deepEqual(server.engine.constraints, request?.constraint === undefined ? [] : [request.constraint]);
  return request?.constraint ?? null;
}

test('every way to ask for a constraint', async () => {
  const json = { kind: 'json_schema', schema: schemaText };
  const cases: readonly (readonly [object, unknown])[] = [
    [{ response_format: { type: 'text' } }, null],
    [{ response_format: { type: 'json_object' } }, { kind: 'json_object' }],
    [{ response_format: { type: 'json_schema', json_schema: { name: 'x', schema, strict: true } } }, json],
    [{ response_format: { type: 'json_schema', json_schema: { name: 'x', description: 'y', schema } } }, json],
    [{ guided_json: schema }, json],
    [{ guided_json: schemaText }, json],
    [{ guided_json: true }, { kind: 'json_schema', schema: 'true' }],
    [{ guided_regex: 'a+' }, { kind: 'regex', pattern: 'a+' }],
    [{ guided_choice: ['yes', 'no'] }, { kind: 'choice', choices: ['yes', 'no'] }],
    [{ guided_grammar: 'root ::= "a"' }, { kind: 'grammar', text: 'root ::= "a"' }],
    [{ structured_outputs: { json: schema } }, json],
    [{ structured_outputs: { json_object: true } }, { kind: 'json_object' }],
    [{ structured_outputs: { json_object: false, regex: 'a+' } }, { kind: 'regex', pattern: 'a+' }],
    [{ structured_outputs: { choice: ['yes'] } }, { kind: 'choice', choices: ['yes'] }],
    [{ structured_outputs: { grammar: 'root ::= "a"' } }, { kind: 'grammar', text: 'root ::= "a"' }],
    [{ structured_outputs: {}, guided_json: null, response_format: null }, null],
  ];
  for (const [extra, expected] of cases) assert.deepEqual(await constraintOf(extra), expected, JSON.stringify(extra));
});

test('all choices of a request have it', async () => {
  const server = createFakeServer();
  await complete(server, { ...base, prompt: ['a', 'b'], n: 2, guided_choice: ['x'] });
  assert.equal(server.engine.submitted.length, 4);
  assert.ok(server.engine.submitted.every(({ constraint }) => constraint?.kind === 'choice'));
  assert.equal(server.engine.constraints.length, 1);
});

test('what cannot be used is refused, with the field at fault', async () => {
  const cases: readonly (readonly [object, string, string])[] = [
    [{ response_format: { type: 'xml' } }, 'invalid_request', 'response_format.type'],
    [{ response_format: { type: 'json_schema' } }, 'invalid_request', 'response_format.json_schema'],
    [
      { response_format: { type: 'json_schema', json_schema: { schema: { type: 'what' } } } },
      'constraint_invalid',
      'response_format.json_schema.schema',
    ],
    [{ guided_json: '{' }, 'constraint_invalid', 'guided_json'],
    [{ guided_json: { not: {} } }, 'constraint_invalid', 'guided_json'],
    [{ guided_json: 3 }, 'invalid_request', 'guided_json'],
    [{ guided_regex: '(' }, 'constraint_invalid', 'guided_regex'],
    [{ guided_choice: [] }, 'invalid_request', 'guided_choice'],
    [{ structured_outputs: { regex: 'a{9999}' } }, 'constraint_invalid', 'structured_outputs.regex'],
    [{ guided_regex: 'a'.repeat(70_000) }, 'constraint_too_complex', 'guided_regex'],
    [{ guided_regex: 'a', guided_choice: ['b'] }, 'invalid_request', 'guided_choice'],
    [{ guided_json: {}, structured_outputs: { json: {} } }, 'invalid_request', 'structured_outputs.json'],
  ];
  for (const [extra, code, param] of cases) {
    const server = createFakeServer();
    for (const stream of [false, true]) {
      const response = await complete(server, { ...base, stream, ...extra });
      assert.equal(response.status, 400, response.text);
      const { error } = response.json();
      assert.deepEqual([error.code, error.param], [code, param], JSON.stringify(extra).slice(0, 100));
    }
    assert.equal(server.engine.submitted.length, 0);
  }
});

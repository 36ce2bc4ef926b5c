import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { KeyStore, readKeys } from '../../src/server/access/keys.js';
import { operations } from '../../src/server/openapi/operations.js';
import { complete, createFakeServer, post } from '../support/fake-server.js';

type Media = { readonly schema?: { readonly $ref?: string } };
type Response = { readonly content: Readonly<Record<string, Media>> };
type Operation = {
  readonly operationId: string;
  readonly security?: unknown;
  readonly requestBody?: { readonly content: Readonly<Record<string, Media>> };
  readonly responses: Readonly<Record<string, Response>>;
};
type Document = {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, object>>;
    readonly securitySchemes?: object;
  };
};

const { app } = createFakeServer();
const read = async (from = app): Promise<Document> => (await from.inject('/openapi.json')).json();
const all = ({ paths }: Document) =>
  Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ path, method, operation })),
  );

/** Every `$ref` in a value. */
function references(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, member]) =>
    key === '$ref' && typeof member === 'string' ? [member] : references(member),
  );
}

test('the document is OpenAPI 3.1, and its references lead somewhere', async () => {
  const document = await read();
  assert.equal(document.openapi, '3.1.0');
  const found = references(document);
  assert.ok(found.length > 30);
  for (const reference of new Set(found)) {
    const target = reference
      .split('/')
      .slice(1)
      .reduce<unknown>((value, key) => (value as never)?.[key], document);
    assert.equal(typeof target, 'object', reference);
  }
  const ids = all(document).map(({ operation }) => operation.operationId);
  assert.equal(new Set(ids).size, ids.length);
  for (const id of ids) assert.match(id, /^[a-zA-Z0-9]+$/);
});

test('it has every route of the server, and no others', async () => {
  await app.ready();
  const served = new Set<string>();
  for (const { path, method } of all(await read())) {
    const url = path.replace('{id}', 'x');
    const response = await app.inject({ method: method.toUpperCase() as 'GET', url });
    assert.ok(![404, 405].includes(response.statusCode) || path.includes('{'), `${method} ${path}`);
    served.add(`${method.toUpperCase()} ${path.replace('{id}', ':id')}`);
  }
  for (const url of knownUrls(app.printRoutes({ commonPrefix: false }))) {
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const) {
      const isDocumented = served.has(`${method} ${url}`);
      const response = await app.inject({ method, url: url.replace(':id', 'x') });
      assert.equal(response.statusCode === 405, !isDocumented, `${method} ${url} ${response.statusCode}`);
    }
  }
});

/** URLs of Fastify's route tree, whose lines are indented by four columns a level. */
function knownUrls(tree: string): readonly string[] {
  const parts: string[] = [];
  const urls: string[] = [];
  for (const line of tree.split('\n')) {
    const [, indent = '', part = '', methods] = /^([│├└─\s]*)(\S+)(?: \((.*)\))?$/.exec(line) ?? [];
    if (part === '') continue;
    const depth = indent.length / 4 - 1;
    parts.splice(depth, parts.length, part);
    if (methods !== undefined && part !== '*') urls.push(parts.join(''));
  }
  return urls;
}

test('its schemas are those that requests and answers are checked with', async () => {
  const document = await read();
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  ajv.addSchema(document, 'document');
  const validate = (name: string, value: unknown): boolean =>
    ajv.validate(`document#/components/schemas/${name}`, value) as boolean;
  const server = createFakeServer();
  const base = { model: 'default', prompt: 'x', max_tokens: 2 };
  for (const [extra, isValid] of [
    [{}, true],
    [{ temperature: null, n: 2, logit_bias: { 5: -100 }, stop: ['a', 'b'], unknown: 1 }, true],
    [{ prompt: [[1], [2, 3]], echo: true, logprobs: 5, seed: -5, top_k: -1 }, true],
    [{ temperature: 2.5 }, false],
    [{ prompt: ['a', 1] }, false],
    [{ stop: ['a', 'b', 'c', 'd', 'e'] }, false],
    [{ model: null }, false],
    [{ logit_bias: { 5: '1' } }, false],
  ] as const) {
    const body = { ...base, ...extra };
    assert.equal(validate('CompletionRequest', body), isValid, JSON.stringify(body));
    const response = await complete(server, body);
    assert.equal(response.status, isValid ? 200 : 400);
    assert.ok(validate(isValid ? 'Completion' : 'Error', response.json()), response.text);
  }
  const chat = { model: 'default', messages: [{ role: 'user', content: 'x' }], max_tokens: 2, logprobs: true };
  const answer = await post(server, '/v1/chat/completions', chat);
  assert.ok(validate('ChatCompletion', answer.json()), answer.text);
  const response = await post(server, '/v1/responses', { model: 'default', input: 'x', max_output_tokens: 2 });
  assert.ok(validate('Response', response.json()), response.text);
  assert.ok(validate('ModelList', (await server.app.inject('/v1/models')).json()));
});

test('keys are in it where they are in force, and only there', async () => {
  const closed = createFakeServer({ keys: new KeyStore(readKeys(null, 'secret')) });
  for (const [document, isClosed] of [
    [await read(), false],
    [await read(closed.app), true],
  ] as const) {
    assert.equal(document.components.securitySchemes !== undefined, isClosed);
    for (const { path, operation } of all(document)) {
      const isOpen = operations.find((row) => row.path === path)?.isOpen === true;
      const url = path.replace('{id}', 'x');
      assert.equal(operation.security !== undefined, isClosed && !isOpen, path);
      assert.equal('401' in operation.responses, isClosed && !isOpen, path);
      const status = (await closed.app.inject({ url, method: operation.requestBody ? 'POST' : 'GET' })).statusCode;
      assert.equal(status === 401, !isOpen, path);
    }
  }
});

test('/docs needs neither scripts nor the network, and shows every operation and field', async () => {
  const { body, headers } = await app.inject('/docs');
  assert.match(String(headers['content-type']), /^text\/html; charset=utf-8/);
  const style = /<style>([\s\S]*)<\/style>/.exec(body)?.[1] ?? '';
  const hash = createHash('sha256').update(style).digest('base64');
  assert.match(String(headers['content-security-policy']), /^default-src 'none'/);
  assert.ok(String(headers['content-security-policy']).includes(`style-src 'sha256-${hash}'`));
  assert.doesNotMatch(body, /<script|\bsrc=|<link|@import|url\(/);
  for (const { path } of operations) assert.ok(body.includes(path.replace("'", '')), path);
  for (const field of ['logit_bias', 'chat_template_kwargs', 'max_output_tokens', 'add_special_tokens']) {
    assert.ok(body.includes(`<code>${field}</code>`), field);
  }
  const ids = new Set([...body.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id));
  for (const [, target] of body.matchAll(/href="#([^"]+)"/g)) assert.ok(ids.has(target), target);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Value } from 'typebox/value';
import { ModelListBody } from '../../src/server/schemas/models.js';
import { complete, createFakeServer } from '../support/fake-server.js';

const base = { model: 'fake-model', prompt: 'hi' };

test('while loading: health answers as llama-server does, ready and work get 503', async () => {
  const server = createFakeServer({ loading: true });
  const health = await server.app.inject('/health');
  assert.equal(health.statusCode, 503);
  assert.deepEqual(health.json(), {
    error: { code: 503, message: 'Loading model', type: 'unavailable_error' },
  });
  for (const url of ['/ready', '/v1/models', '/v1/models/fake-model']) {
    const response = await server.app.inject(url);
    assert.equal(response.statusCode, 503);
    assert.equal(response.headers['retry-after'], '1');
    assert.deepEqual(response.json().error, {
      message: 'Loading model',
      type: 'unavailable_error',
      param: null,
      code: 'model_loading',
    });
  }
  // Whatever the body is: it isn't read.
  for (const body of [base, '{']) assert.equal((await complete(server, body)).status, 503);
  assert.equal((await server.app.inject('/metrics')).statusCode, 200);
});

test('when ready: everything answers', async () => {
  const { app } = createFakeServer();
  const health = await app.inject('/health');
  assert.deepEqual([health.statusCode, health.json()], [200, { status: 'ok' }]);
  const ready = await app.inject('/ready');
  assert.deepEqual([ready.statusCode, ready.json()], [200, { status: 'ready' }]);
  const models = await app.inject('/v1/models');
  assert.ok(Value.Check(ModelListBody, models.json()));
  const model = {
    id: 'fake-model',
    object: 'model',
    created: 1_700_000_000,
    owned_by: 'nibble',
    state: 'ready',
    max_model_len: 512,
    recipe: { architecture: 'llama', weights: { Q4_1: 1 }, activations: 'a8' },
  };
  assert.deepEqual(models.json(), { object: 'list', data: [model] });
  assert.deepEqual((await app.inject('/v1/models/fake-model')).json(), model);
  assert.deepEqual((await app.inject('/v1/models/default')).json(), model);
  const absent = await app.inject('/v1/models/other');
  assert.deepEqual([absent.statusCode, absent.json().error.code], [404, 'model_not_found']);
});

test('while draining: not ready and no new work, but alive, and running work ends', async () => {
  const server = createFakeServer();
  server.engine.hold();
  const running = complete(server, { ...base, max_tokens: 4 });
  while (server.engine.submitted.length === 0) await new Promise((resolve) => setImmediate(resolve));
  server.readiness.beginDraining();
  const drained = server.engine.drain();
  for (const response of [await server.app.inject('/ready'), await server.app.inject('/v1/models')]) {
    const isModels = response.json().object === 'list';
    assert.ok(isModels || (response.statusCode === 503 && response.json().error.code === 'draining'));
  }
  assert.equal((await server.app.inject('/health')).statusCode, 200);
  const refused = await complete(server, base);
  assert.deepEqual([refused.status, refused.json().error.code], [503, 'draining']);
  server.engine.release();
  await drained;
  assert.equal((await running).json().choices[0].text, 'abcd');
});

test('readiness moves one way', () => {
  const server = createFakeServer();
  server.readiness.beginDraining();
  server.readiness.becomeReady();
  assert.equal(server.readiness.state, 'draining');
  const loading = createFakeServer({ loading: true });
  loading.readiness.beginDraining();
  assert.throws(() => loading.readiness.requireReady(), { code: 'draining' });
});

test('unknown routes get 404, wrong methods 405 with Allow, both as error objects', async () => {
  const { app } = createFakeServer();
  for (const [method, url, status, allow] of [
    ['GET', '/v2', 404, undefined],
    ['POST', '/v1/chat', 404, undefined],
    ['GET', `/${'x'.repeat(5000)}`, 404, undefined],
    ['GET', '/v1/completions', 405, 'POST'],
    ['GET', '/v1/chat/completions', 405, 'POST'],
    ['PUT', '/v1/responses', 405, 'POST'],
    ['GET', '/tokenize', 405, 'POST'],
    ['POST', '/version', 405, 'GET, HEAD'],
    ['DELETE', '/v1/completions', 405, 'POST'],
    ['POST', '/health', 405, 'GET, HEAD'],
    ['PUT', '/v1/models', 405, 'GET, HEAD'],
    ['DELETE', '/v1/models/fake-model', 405, 'GET, HEAD'],
    ['OPTIONS', '/metrics', 405, 'GET, HEAD'],
    ['PATCH', '/ready', 405, 'GET, HEAD'],
    ['TRACE', '/ready?x=/nothing', 405, 'GET, HEAD'],
    ['LINK', '/v1/models/fake-model', 405, 'GET, HEAD'],
    ['LINK', '/v1/models/a/b', 404, undefined],
  ] as const) {
    const response = await app.inject({ method, url, headers: { 'content-type': 'application/json' }, payload: '{' });
    assert.equal(response.statusCode, status, `${method} ${url.slice(0, 40)}`);
    assert.equal(response.headers.allow, allow);
    const { error } = response.json();
    assert.deepEqual(Object.keys(error).sort(), ['code', 'message', 'param', 'type']);
    assert.equal(error.code, status === 404 ? 'route_not_found' : 'method_not_allowed');
    assert.ok(error.message.length < 300);
  }
});

test('URLs that cannot be decoded get 400', async () => {
  const { app } = createFakeServer();
  const response = await app.inject('/v1/models/%zz');
  assert.deepEqual([response.statusCode, response.json().error.code], [400, 'invalid_request']);
});

test('HEAD works where GET does', async () => {
  const { app } = createFakeServer();
  const response = await app.inject({ method: 'HEAD', url: '/health' });
  assert.deepEqual([response.statusCode, response.body], [200, '']);
});

test('a sane request id is returned and logged, another is replaced', async () => {
  const server = createFakeServer();
  const kept = await complete(server, base, { 'x-request-id': 'trace-01.a:b_c' });
  assert.equal(kept.headers['x-request-id'], 'trace-01.a:b_c');
  assert.ok(server.log.some((line) => JSON.parse(line).requestId === 'trace-01.a:b_c'));
  for (const id of ['has space', 'x'.repeat(129), 'quote"', 'é']) {
    const replaced = await complete(server, base, { 'x-request-id': id });
    assert.match(String(replaced.headers['x-request-id']), /^[0-9a-f-]{36}$/);
  }
});

test('neither prompts nor their errors are logged', async () => {
  const secret = 'correct horse battery staple';
  const server = createFakeServer({ failAfter: { choice: 0, tokens: 1, error: new Error('broken inside') } });
  await complete(server, { ...base, prompt: secret });
  await complete(server, { ...base, prompt: secret, stream: true });
  await complete(server, { ...base, prompt: [secret, 5] });
  await complete(server, `{"prompt": "${secret}`);
  const log = server.log.join('');
  assert.ok(!log.includes('horse'));
  // The failure itself is there, for the operator.
  assert.ok(log.includes('broken inside'));
});

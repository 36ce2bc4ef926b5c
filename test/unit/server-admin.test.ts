import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { pino } from 'pino';
import { NibbleError } from '../../src/errors.js';
import { KeyStore } from '../../src/server/access/keys.js';
import { buildAdminApp } from '../../src/server/admin-app.js';
import { FakeEngine } from '../support/fake-engine.js';
import { complete, createFakeServer, type FakeServerOptions } from '../support/fake-server.js';

const key = 'admin-key';
const entry = { name: 'admin', hash: createHash('sha256').update(key).digest(), limits: {} };

/** A server of one loaded model, and its admin routes. Every other source is a model of its own. */
function createServer(options: FakeServerOptions = {}) {
  const server = createFakeServer(options);
  const { models, metrics } = server;
  const app = buildAdminApp({
    ...{ models, metrics, logger: pino({ level: 'silent' }), tls: null, drainMs: 20, costReports: null },
    keys: new KeyStore([entry]),
  });
  const call = async (method: 'GET' | 'POST', url: string, body?: object) => {
    const response = await app.inject({
      ...{ method, url, headers: { authorization: `Bearer ${key}` } },
      ...(body === undefined ? {} : { payload: body }),
    });
    return { status: response.statusCode, code: response.json().error?.code, body: response.json() };
  };
  /** Adds a model that is loaded. */
  const add = (name: string, engine: FakeEngine) => {
    const model = { ...server.model, id: name, engine };
    models.registry.add(name, name, { model, bytes: 500, close: async () => {} });
  };
  return { ...server, server, call, add };
}

const answer = { model: 'default', prompt: 'hi', max_tokens: 4 };

test('nobody gets in without the key', async () => {
  const { server } = createServer();
  const app = buildAdminApp({
    ...{
      models: server.models,
      metrics: server.metrics,
      logger: pino({ level: 'silent' }),
      tls: null,
      drainMs: 20,
      costReports: null,
    },
    keys: new KeyStore([entry]),
  });
  for (const headers of [{}, { authorization: 'Bearer other' }]) {
    const response = await app.inject({ url: '/admin/models', headers });
    assert.deepEqual([response.statusCode, response.json().error.code], [401, 'invalid_api_key']);
  }
});

test('what makes no sense is refused, with the field at fault', async () => {
  const { call, add } = createServer();
  add('b', new FakeEngine());
  const refused: readonly (readonly [string, object, number, string])[] = [
    ['/admin/models/load', { name: 'x' }, 404, 'model_not_found'],
    ['/admin/models/load', { name: 'b', source: 'b' }, 409, 'model_exists'],
    ['/admin/models/load', { name: '../x', source: 'x' }, 400, 'invalid_request'],
    ['/admin/models/unload', { name: 'x' }, 404, 'model_not_found'],
    ['/admin/models/unload', { name: 'fake-model', remove: true }, 409, 'model_in_use'],
    ['/admin/models/unload', { name: 'b', removed: true }, 400, 'invalid_request'],
    ['/admin/aliases', { alias: 'chat', model: 'x' }, 404, 'model_not_found'],
    ['/admin/canary', { alias: 'chat', candidate: 'b', share: 0.5 }, 404, 'alias_not_found'],
    ['/admin/canary', { alias: 'default', candidate: 'x', share: 0.5 }, 404, 'model_not_found'],
    ['/admin/canary', { alias: 'default', candidate: 'b', share: 1.5 }, 400, 'invalid_request'],
    ['/admin/promote', { alias: 'default' }, 409, 'canary_missing'],
    ['/admin/rollback', { alias: 'default' }, 409, 'canary_missing'],
  ];
  for (const [url, body, status, code] of refused) {
    const response = await call('POST', url, body);
    assert.deepEqual([response.status, response.code], [status, code], `${url} ${JSON.stringify(body)}`);
  }
  assert.equal((await call('GET', '/v1/models')).status, 404);
});

test('a new model that cannot be loaded is told why, and is not kept', async () => {
  const { call } = createServer();
  const { status, code } = await call('POST', '/admin/models/load', { name: 'x', source: 'x.gguf' });
  assert.deepEqual([status, code], [400, 'model_file_not_found']);
  const { body } = await call('GET', '/admin/models');
  assert.deepEqual(
    body.models.map(({ name, state, bytes }: Record<string, unknown>) => [name, state, bytes]),
    [['fake-model', 'ready', 1000]],
  );
  assert.deepEqual([body.used_bytes, body.budget_bytes], [1000, null]);
});

test('an alias answers with its model, and is listed with it', async () => {
  const { call, add, server, app } = createServer();
  const other = new FakeEngine();
  add('b', other);
  await call('POST', '/admin/aliases', { alias: 'chat', model: 'b' });
  const response = await complete(server, { ...answer, model: 'chat' });
  assert.deepEqual([response.status, response.json().model, other.submitted.length], [200, 'b', 1]);
  const { data } = (await app.inject('/v1/models')).json();
  assert.deepEqual(
    data.map(({ id, root }: Record<string, unknown>) => [id, root]),
    [
      ['fake-model', undefined],
      ['b', undefined],
      ['chat', 'b'],
    ],
  );
});

test('a report counts both sides, their failures, and what both think of an answer', async () => {
  const { call, add, server } = createServer();
  const broken = new FakeEngine({ failAfter: { choice: 0, tokens: 2, error: new NibbleError('not_finite', {}) } });
  add('b', broken);
  await call('POST', '/admin/canary', { alias: 'default', candidate: 'b', share: 1 });
  assert.equal((await complete(server, answer)).status, 500);
  await call('POST', '/admin/canary', { alias: 'default', candidate: 'b', share: 0, shadow: 1 });
  assert.equal((await complete(server, answer)).status, 200);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const { body } = await call('GET', '/admin/aliases');
  const [{ report, model, canary }] = body.aliases;
  assert.deepEqual([model, canary], ['fake-model', { candidate: 'b', share: 0, shadow: 1 }]);
  // Half a second for three more tokens after the first.
  const seconds = 0.5 / 3;
  assert.deepEqual(report.baseline, {
    ...{ sequences: 1, errors: 0, tokens: 4 },
    firstTokenSeconds: { p50: 0.5, p95: 0.5 },
    interTokenSeconds: { p50: seconds, p95: seconds },
    energy: null,
  });
  assert.deepEqual([report.candidate.sequences, report.candidate.errors], [1, 1]);
  // Both engines are the same fake, which breaks where it generates and not where it reads.
  assert.deepEqual([report.quality.tokens, report.quality.agreement, report.notCompared], [4, 1, 0]);
  const [compared] = broken.submitted.slice(-1);
  assert.deepEqual([compared?.priority, compared?.maxTokens, compared?.promptIds.length], [100, 0, 2 + 4]);
});

test('a comparison that one model refuses is left out, and the answer stands', async () => {
  const { call, add, server } = createServer();
  add('b', new FakeEngine({ contextTokensMax: 3 }));
  await call('POST', '/admin/canary', { alias: 'default', candidate: 'b', share: 0, shadow: 1 });
  assert.equal((await complete(server, answer)).status, 200);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const [{ report }] = (await call('GET', '/admin/aliases')).body.aliases;
  assert.deepEqual([report.quality, report.notCompared], [null, 1]);
});

test('models with other tokens are not compared, but may be tried', async () => {
  const { call, models, model } = createServer();
  const tokenizer = { ...model.tokenizer, tokenText: (id: number) => (id === 7 ? '?' : model.tokenizer.tokenText(id)) };
  models.registry.add('b', 'b', { model: { ...model, id: 'b', tokenizer }, bytes: 1, close: async () => {} });
  const canary = { alias: 'default', candidate: 'b', share: 0.5 };
  assert.equal((await call('POST', '/admin/canary', { ...canary, shadow: 0.5 })).code, 'canary_incompatible');
  assert.equal(models.routing.status('default').canary, null);
  assert.equal((await call('POST', '/admin/canary', canary)).status, 200);
});

test('unloading waits for answers, and cuts them when the time to drain is over', async () => {
  const { call, models, model, server } = createServer();
  const engine = new FakeEngine();
  let isClosed = false;
  const close = async () => {
    isClosed = true;
    assert.equal(engine.runningCount, 1, 'the answer still runs');
  };
  models.registry.add('b', 'b', { model: { ...model, id: 'b', engine }, bytes: 500, close });
  engine.hold();
  const running = complete(server, { ...answer, model: 'b' });
  while (engine.submitted.length === 0) await new Promise((resolve) => setImmediate(resolve));
  const unloaded = await call('POST', '/admin/models/unload', { name: 'b' });
  assert.deepEqual([unloaded.body.models[1].state, isClosed], ['unloaded', true]);
  engine.release();
  assert.equal((await running).status, 200);
});

/** GET /v1/cost: who sees what, in which form; what is wrong is told by its parameter. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { Ajv } from 'ajv';
import { pino } from 'pino';
import { report } from '../../src/metering/ledger/report.js';
import type { ReportQuery } from '../../src/metering/ledger/types.js';
import { KeyStore } from '../../src/server/access/keys.js';
import { buildAdminApp } from '../../src/server/admin-app.js';
import { CostReport } from '../../src/server/schemas/cost-report.js';
import { createFakeServer } from '../support/fake-server.js';
import { euros, openStore, row, temporary } from '../support/ledger-kit.js';

const sha256 = (text: string) => createHash('sha256').update(text).digest();
const entry = (name: string) => ({ name, hash: sha256(`${name}-key`), limits: { requestsPerMinute: 100 } });
const bearer = (name: string) => ({ authorization: `Bearer ${name}-key` });
const matches = new Ajv({ strict: false }).compile(CostReport);

const start = Date.UTC(2026, 0, 31);

/** Two requests of alice, one of bob, one of nobody, and a minute of idle time, of the last day of January. */
function setUp(t: TestContext) {
  const store = openStore(temporary(t, 'l.db'));
  t.after(() => store.close());
  const at = (number: number, key: string, more = {}) =>
    row(number, { key, startedMs: start + number * 1000, ...more });
  store.write([at(1, 'alice'), at(2, 'bob', { model: 'n' }), at(3, 'alice', { model: 'n' }), at(4, '')]);
  const idle = {
    ...{ kind: 'idle', key: '', model: '', recipe: '', idleJoules: 60 },
    prefillJoules: 0,
    decodeJoules: 0,
  };
  store.write([at(-2, '', { ...idle, tdpJoules: 0, startedMs: start + 60_000 })]);
  const asked: ReportQuery[] = [];
  const costReports = {
    report: async (query: ReportQuery) => {
      asked.push(query);
      return report(store.database, query);
    },
  };
  const server = createFakeServer({ costReports, keys: new KeyStore([entry('alice'), entry('bob'), entry('eve')]) });
  const ask = async (query: string, who: string, app = server.app) => {
    const response = await app.inject({ url: `/v1/cost${query}`, headers: bearer(who) });
    if (response.statusCode === 200) assert.ok(matches(response.json()), JSON.stringify(matches.errors));
    return response;
  };
  return { server, costReports, asked, ask };
}

const january = `?from=${start / 1000}&to=2026-02-01`;

test('a key sees its own costs; parameters and prices stand beside them', async (t) => {
  const { ask } = setUp(t);
  const body = (await ask(january, 'alice')).json();
  assert.deepEqual(body, {
    object: 'cost_report',
    from: '2026-01-31T00:00:00.000Z',
    to: '2026-02-01T00:00:00.000Z',
    group_by: [],
    data: [
      {
        ...{ requests: 2, prompt_tokens: 20, cached_tokens: 8, completion_tokens: 4 },
        ...{ joules: 6, prefill_joules: 2, decode_joules: 4, idle_joules: 0, tdp_joules: 6, machine_seconds: 0.5 },
        cost: { currency: 'EUR', energy: 2, hardware: 4, total: 6, carbon_grams: 16 },
      },
    ],
    prices: [JSON.parse(euros.content)],
    has_more: false,
    next: null,
  });
  assert.deepEqual((await ask(january, 'eve')).json().data, []);
  assert.equal((await ask(january, 'mallory')).statusCode, 401);
  // The name of another key is no parameter.
  assert.equal((await ask(`${january}&key=bob`, 'eve')).statusCode, 400);
});

test('groups, in pages', async (t) => {
  const { ask } = setUp(t);
  const url = `${january}&group_by=model,key&limit=1`;
  const first = (await ask(url, 'alice')).json();
  assert.deepEqual(
    [first.data.length, first.data[0].model, first.data[0].key, first.has_more],
    [1, 'm', 'alice', true],
  );
  const second = (await ask(`${url}&after=${first.next}`, 'alice')).json();
  assert.deepEqual([second.data.length, second.data[0].model, second.has_more, second.next], [1, 'n', false, null]);
  // Another key's page has that key's lines, wherever it begins.
  const others = (await ask(`${url}&after=${first.next}`, 'bob')).json();
  assert.deepEqual(
    others.data.map(({ key }: { key: string }) => key),
    ['bob'],
  );
});

test('with an admin key: everybody, and what was nobody’s', async (t) => {
  const { server, costReports, ask } = setUp(t);
  const { models, metrics } = server;
  const keys = new KeyStore([entry('root')]);
  const logger = pino({ level: 'silent' });
  const admin = buildAdminApp({ models, metrics, logger, keys, tls: null, drainMs: 1, costReports });
  const body = (await ask(`${january}&group_by=key`, 'root', admin)).json();
  const lines = body.data.map(({ key, requests }: { key: string | null; requests: number }) => [key, requests]);
  assert.deepEqual(lines, [
    [null, 1],
    ['alice', 2],
    ['bob', 1],
  ]);
  assert.deepEqual([body.idle.length, body.idle[0].joules, body.idle[0].idle_joules, body.own], [1, 60, 60, []]);
  assert.equal((await ask('', 'alice', admin)).statusCode, 401);
  // An admin key is one of the admin routes only.
  assert.equal((await ask('', 'root')).statusCode, 401);
});

test('without keys in force: what was asked without a key', async (t) => {
  const { costReports } = setUp(t);
  const open = createFakeServer({ costReports });
  const body = (await open.app.inject(`/v1/cost${january}&group_by=key`)).json();
  assert.deepEqual(
    body.data.map(({ key }: { key: null }) => key),
    [null],
  );
  assert.equal(body.idle, undefined);
});

test('times: dates, times with zones, seconds; by default the last day', async (t) => {
  const { ask, asked } = setUp(t);
  const range = async (query: string) => {
    assert.equal((await ask(query, 'alice')).statusCode, 200, query);
    const { fromMs, toMs } = asked.at(-1) ?? assert.fail('nothing was asked');
    return [fromMs, toMs];
  };
  const hour = 3_600_000;
  assert.deepEqual(await range('?from=2026-01-31&to=2026-01-31T12:00:00%2B01:00'), [start, start + 11 * hour]);
  assert.deepEqual(await range(`?from=${start / 1000}.5&to=2026-01-31T00:01Z`), [start + 500, start + 60_000]);
  const [from = 0, to = 0] = await range('');
  assert.equal(to - from, 86_400_000);
});

test('what is wrong is told by its parameter', async (t) => {
  const { ask, asked } = setUp(t);
  const wrong: readonly (readonly [string, string])[] = [
    ['from=yesterday', 'from'],
    ['to=2026-13-01', 'to'],
    ['from=2026-01-02&to=2026-01-02', 'from'],
    ['from=-5', 'from'],
    ['group_by=tenant', 'group_by'],
    ['group_by=key,key', 'group_by'],
    ['group_by=', 'group_by'],
    ['limit=0', 'limit'],
    ['limit=1001', 'limit'],
    ['limit=ten', 'limit'],
    ['after=%00', 'after'],
    ['after=bm9uc2Vuc2U', 'after'],
    [`after=${Buffer.from('["a","EUR"]').toString('base64url')}`, 'after'],
    [`after=${Buffer.from('[1]').toString('base64url')}`, 'after'],
  ];
  for (const [query, param] of wrong) {
    const response = await ask(`?${query}`, 'alice');
    assert.equal(response.statusCode, 400, query);
    assert.deepEqual([response.json().error.code, response.json().error.param], ['invalid_request', param], query);
  }
  assert.equal((await ask('?from=1&from=2', 'alice')).statusCode, 400);
  assert.match((await ask('?group_by=tenant', 'alice')).json().error.message, /be some of key, model and recipe/);
  assert.deepEqual(asked, []);
});

test('without a ledger the answer says so', async () => {
  const response = await createFakeServer().app.inject('/v1/cost');
  assert.deepEqual([response.statusCode, response.json().error.code], [400, 'ledger_off']);
});

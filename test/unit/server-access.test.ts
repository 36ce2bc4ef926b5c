import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { NibbleError } from '../../src/errors.js';
import { Allowance } from '../../src/server/access/allowance.js';
import { KeyStore, readKeys } from '../../src/server/access/keys.js';
import { complete, createFakeServer, sseData } from '../support/fake-server.js';

const folder = mkdtempSync(join(tmpdir(), 'nibble-keys-'));
after(() => rmSync(folder, { recursive: true }));

const hashOf = (key: string): string => createHash('sha256').update(key).digest('hex');

function keyFile(content: unknown): string {
  const path = join(folder, `${Math.random()}.json`);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

const base = { model: 'fake-model', prompt: 'hi', max_tokens: 4 };
const bearer = (key: string) => ({ authorization: `Bearer ${key}` });
const codeOf = (response: { json: () => { error: { code: string } } }): string => response.json().error.code;

test('without keys everybody may ask, with them only those who have one', async () => {
  assert.equal((await complete(createFakeServer(), base)).status, 200);
  const keys = new KeyStore(readKeys(keyFile({ keys: [{ name: 'alice', sha256: hashOf('a-key') }] }), 'b-key, c-key'));
  const server = createFakeServer({ keys });
  for (const key of ['a-key', 'b-key', 'c-key']) assert.equal((await complete(server, base, bearer(key))).status, 200);
  // Requests of a key are one tenant, whoever its user is.
  assert.deepEqual(
    server.engine.submitted.map(({ tenant }) => tenant),
    ['alice', `variable-${hashOf('b-key').slice(0, 8)}`, `variable-${hashOf('c-key').slice(0, 8)}`],
  );
  const wrong = [{}, bearer('A-key'), bearer(hashOf('a-key')), { authorization: 'Basic a-key' }, bearer('a-key b-key')];
  for (const headers of wrong) {
    const response = await complete(server, base, headers);
    assert.deepEqual([response.status, codeOf(response)], [401, 'invalid_api_key'], JSON.stringify(headers));
    assert.equal(response.headers['www-authenticate'], 'Bearer');
  }
  const statusOf = async (url: string) => (await server.app.inject(url)).statusCode;
  assert.deepEqual([await statusOf('/health'), await statusOf('/ready'), await statusOf('/metrics')], [200, 200, 200]);
  assert.deepEqual(
    [await statusOf('/v1/models'), await statusOf('/version'), await statusOf('/none')],
    [401, 401, 404],
  );
  assert.ok(!server.log.join('').includes('-key'));
});

test('a key has cached prompts and turns of its own; a salt divides them further', async () => {
  const entries = [
    { name: 'alice', sha256: hashOf('a') },
    { name: 'bob', sha256: hashOf('b') },
    { name: 'one', sha256: hashOf('c'), sharesCache: true },
    { name: 'two', sha256: hashOf('d'), sharesCache: true },
  ];
  const server = createFakeServer({ keys: new KeyStore(readKeys(keyFile({ keys: entries }), undefined)) });
  for (const key of ['a', 'b', 'c', 'd']) {
    for (const salt of [{}, { cache_salt: 'x' }, { cache_salt: 'y' }]) {
      assert.equal((await complete(server, { ...base, ...salt, priority: -5 }, bearer(key))).status, 200);
    }
  }
  const open = createFakeServer();
  for (const salt of [{}, { cache_salt: 'x' }, { cache_salt: 'x' }]) await complete(open, { ...base, ...salt });
  const scopes = [...server.engine.submitted, ...open.engine.submitted].map(({ cacheScope = 0 }) => cacheScope);
  const names = scopes.map((scope) => scopes.indexOf(scope));
  //                       alice    bob      one      two      without keys
  assert.deepEqual(names, [0, 1, 2, 3, 4, 5, 6, 7, 8, 6, 7, 8, 6, 7, 7]);
  assert.equal(scopes[6], 0);
  assert.ok(server.engine.submitted.every(({ priority }) => priority === 0));
  const bad = await complete(open, { ...base, cache_salt: '' });
  assert.deepEqual([bad.status, bad.json().error.param], [400, 'cache_salt']);
});

test('a local server without keys answers no page that lets its own name point here', async () => {
  const statusOf = async (server: ReturnType<typeof createFakeServer>, host: string, more = {}) =>
    (await complete(server, base, { host, ...more })).status;
  const local = createFakeServer({ isLocal: true, corsOrigins: ['https://desk.example:8443'] });
  const own = ['localhost', 'LOCALHOST.:80', 'nibble.localhost:8080', '127.0.0.1:8080', '[::1]:8080', '10.0.0.5'];
  for (const host of [...own, 'desk.example', 'desk.example:1']) assert.equal(await statusOf(local, host), 200, host);
  for (const host of ['evil.example', 'localhost.evil.example:8080', '127.0.0.1.evil.example', 'mylocalhost', '[x]']) {
    assert.equal(await statusOf(local, host), 421, host);
  }
  const refused = await local.app.inject({ url: '/v1/models', headers: { host: 'evil.example' } });
  assert.equal(codeOf({ json: () => refused.json() }), 'host_unknown');
  // Probes come under any name; where a key is needed, or other machines may come, the name doesn't matter.
  assert.equal((await local.app.inject({ url: '/health', headers: { host: 'evil.example' } })).statusCode, 200);
  const keys = new KeyStore(readKeys(null, 'k'));
  assert.equal(await statusOf(createFakeServer({ isLocal: true, keys }), 'evil.example', bearer('k')), 200);
  assert.equal(await statusOf(createFakeServer(), 'evil.example'), 200);
  assert.equal(await statusOf(createFakeServer({ isLocal: true, corsOrigins: ['*'] }), 'evil.example'), 200);
});

test('keys can be replaced while the server runs, and what they have used stays used', () => {
  let nowMs = 0;
  const limited = { name: 'a', hash: Buffer.from(hashOf('k'), 'hex'), limits: { requestsPerMinute: 1 } };
  const store = new KeyStore([limited], () => nowMs);
  store.find('Bearer k')?.allowance.begin();
  store.replace([limited, { ...limited, name: 'b', hash: Buffer.from(hashOf('l'), 'hex') }]);
  assert.throws(() => store.find('Bearer k')?.allowance.begin(), { code: 'key_limit_exceeded' });
  assert.equal(store.find('bearer  l ')?.name, 'b');
  nowMs = 60_000;
  store.find('Bearer k')?.allowance.begin();
  store.replace([]);
  assert.ok(!store.isClosed);
  assert.equal(store.find('Bearer k'), null);
});

test('a key file that is wrong is refused, whatever is wrong with it', () => {
  const sha256 = hashOf('x');
  const contents: readonly unknown[] = [
    '{',
    [],
    { keys: [] },
    { keys: [{ name: 'a' }] },
    { keys: [{ name: 'a', sha256: 'short' }] },
    { keys: [{ name: 'a b', sha256 }] },
    { keys: [{ name: 'a', sha256, requestsPerMinute: 0 }] },
    { keys: [{ name: 'a', sha256, requestPerMinute: 5 }] },
    {
      keys: [
        { name: 'a', sha256 },
        { name: 'a', sha256: hashOf('y') },
      ],
    },
  ];
  const isRefusal = (error: unknown) =>
    error instanceof NibbleError && error.code === 'config_invalid' && error.param === 'apiKeyFile';
  for (const content of contents) assert.throws(() => readKeys(keyFile(content), undefined), isRefusal);
  assert.throws(() => readKeys(join(folder, 'absent'), undefined), isRefusal);
  assert.deepEqual(readKeys(null, ' , '), []);
});

test('an allowance fills up evenly, and says when to come back', () => {
  let nowMs = 1000;
  const allowance = new Allowance({ requestsPerMinute: 2, tokensPerMinute: 600, concurrency: 3 }, () => nowMs);
  const retryAfter = (): number | null => {
    try {
      allowance.begin();
      return null;
    } catch (error) {
      assert.ok(error instanceof NibbleError && error.code === 'key_limit_exceeded');
      return error.retryAfterSeconds;
    }
  };
  const end = allowance.begin();
  assert.equal(retryAfter(), null);
  // One request a 30 s.
  assert.equal(retryAfter(), 30);
  nowMs += 29_000;
  assert.equal(retryAfter(), 1);
  nowMs += 1000;
  assert.equal(retryAfter(), null);
  // Three run.
  nowMs += 60_000;
  assert.equal(retryAfter(), 1);
  end();
  end();
  assert.equal(retryAfter(), null);
  assert.equal(retryAfter(), 1);
  // An answer may overdraw: 600 + 300 tokens are gone, and 10 come back each second.
  const tokens = new Allowance({ tokensPerMinute: 600 }, () => nowMs);
  tokens.charge(900);
  assert.throws(() => tokens.begin(), { retryAfterSeconds: 31 });
  nowMs += 30_100;
  tokens.begin();
});

test('prompts and answers are charged to the key, streamed or not', async () => {
  const entry = { name: 'a', hash: Buffer.from(hashOf('k'), 'hex'), limits: { tokensPerMinute: 20 } };
  for (const stream of [false, true]) {
    const keys = new KeyStore([entry], () => 0);
    const server = createFakeServer({ keys });
    // 2 prompt tokens once, and 2 · 4 of the answers: 10 a request.
    for (const status of [200, 200, 429]) {
      const response = await complete(server, { ...base, n: 2, stream }, bearer('k'));
      assert.equal(response.status, status, response.text);
      if (status === 429) assert.ok(Number(response.headers['retry-after']) >= 3);
    }
  }
});

test('a key may have so many requests at a time, and one that leaves makes room', async () => {
  const entry = { name: 'a', hash: Buffer.from(hashOf('k'), 'hex'), limits: { concurrency: 1 } };
  const server = createFakeServer({ keys: new KeyStore([entry]) });
  server.engine.hold();
  const first = complete(server, base, bearer('k'));
  while (server.engine.submitted.length === 0) await new Promise((resolve) => setImmediate(resolve));
  const second = await complete(server, base, bearer('k'));
  assert.deepEqual([second.status, codeOf(second)], [429, 'key_limit_exceeded']);
  server.engine.release();
  assert.equal((await first).status, 200);
  assert.equal((await complete(server, base, bearer('k'))).status, 200);
});

test('a request that takes too long is stopped, streamed or not', async () => {
  for (const stream of [false, true]) {
    const server = createFakeServer({ requestMsMax: 30 });
    server.engine.hold();
    const response = await complete(server, { ...base, stream });
    const body = stream ? JSON.parse(sseData(response.text)[0] ?? '') : response.json();
    assert.deepEqual([response.status, body.error.code], [stream ? 200 : 504, 'request_timeout']);
    assert.ok(server.engine.signals.every((signal) => signal.aborted));
  }
});

test('browsers of other origins get permission only if an operator gave it', async () => {
  const origin = 'https://app.example';
  const ask = (app: ReturnType<typeof createFakeServer>['app'], from = origin) =>
    app.inject({
      method: 'OPTIONS',
      url: '/v1/completions',
      headers: { origin: from, 'access-control-request-method': 'POST' },
    });
  const closed = await ask(createFakeServer().app);
  assert.deepEqual([closed.statusCode, closed.headers['access-control-allow-origin']], [405, undefined]);
  const keys = new KeyStore([{ name: 'a', hash: Buffer.from(hashOf('k'), 'hex'), limits: {} }]);
  const server = createFakeServer({ corsOrigins: [origin, 'https://b.example'], keys });
  const preflight = await ask(server.app);
  assert.deepEqual([preflight.statusCode, preflight.headers['access-control-allow-origin']], [204, origin]);
  assert.equal((await ask(server.app, 'https://evil.example')).headers['access-control-allow-origin'], undefined);
  // Answers, streams and refusals carry it too: a page could not read them otherwise.
  for (const [headers, extra] of [
    [bearer('k'), {}],
    [bearer('k'), { stream: true }],
    [{}, {}],
  ] as const) {
    const response = await complete(server, { ...base, ...extra }, { origin, ...headers });
    assert.equal(response.headers['access-control-allow-origin'], origin);
  }
  const all = await ask(createFakeServer({ corsOrigins: ['*'] }).app);
  assert.equal(all.headers['access-control-allow-origin'], '*');
});

test('every response has the headers that keep browsers from mischief', async () => {
  const server = createFakeServer();
  const answers = [await complete(server, base), await complete(server, { ...base, stream: true })];
  // The last two are no URLs: what can't be decoded, and a parameter of 2,000 bytes.
  const urls = ['/none', '/health', '/v1/models/%zz', `/v1/models/${'%E0%A4%84'.repeat(700)}`];
  const others = await Promise.all(urls.map((url) => server.app.inject(url)));
  for (const { headers } of [...answers, ...others]) {
    assert.match(String(headers['x-request-id']), /^[0-9a-f-]{36}$/);
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.match(String(headers['content-security-policy']), /default-src 'none'/);
    assert.equal(headers['referrer-policy'], 'no-referrer');
    assert.match(String(headers['cache-control']), /no-(store|cache)/);
  }
});

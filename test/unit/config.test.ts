import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { chooseKvTokens, loadConfig, unknownVariables } from '../../src/config.js';
import { NibbleError } from '../../src/errors.js';
import { checkDocument, configurationDocument } from '../support/generated-docs.js';

const folder = mkdtempSync(join(tmpdir(), 'nibble-config-'));
after(() => rmSync(folder, { recursive: true }));

function file(content: string): string {
  const path = join(folder, `${Math.random()}.json`);
  writeFileSync(path, content);
  return path;
}

/** The error of a call: it must be config_invalid, blame the key and name the source. */
function assertInvalid(call: () => unknown, key: string, source: string | RegExp): void {
  assert.throws(call, (error: unknown) => {
    assert.ok(error instanceof NibbleError);
    assert.equal(error.code, 'config_invalid');
    assert.equal(error.param, key);
    assert.ok(error.message.startsWith(`${key}: `), error.message);
    if (typeof source === 'string') assert.ok(error.message.includes(source), error.message);
    else assert.match(error.message, source);
    return true;
  });
}

test('docs/configuration.md lists every setting', () => {
  checkDocument('configuration.md', configurationDocument());
});

test('defaults', () => {
  assert.deepEqual(loadConfig({}, {}), {
    model: 'default',
    models: null,
    modelMemoryMb: null,
    host: '127.0.0.1',
    port: 8080,
    socket: null,
    tlsCert: null,
    tlsKey: null,
    apiKeyFile: null,
    adminPort: null,
    adminHost: '127.0.0.1',
    adminKeyFile: null,
    corsOrigins: null,
    requestSeconds: null,
    threads: null,
    nice: 0,
    activations: null,
    lookups: null,
    kv: null,
    contextTokens: null,
    kvTokens: null,
    pinPrefix: null,
    maxSequences: 64,
    maxWaiting: 256,
    maxWaitingTokens: 262_144,
    queueSeconds: 300,
    itlTarget: 100,
    speculate: 'ngram',
    tokenPruning: 'on',
    kvEvents: null,
    energyMeter: 'auto',
    prices: null,
    ledger: null,
    ledgerDays: 400,
    coreWatts: 10,
    drainSeconds: 25,
    logLevel: 'info',
    packCacheMb: 16_000,
    offline: false,
    home: null,
  });
});

test('flag over environment over file over default', () => {
  const config = file('{"port": 1, "threads": 1, "maxWaiting": 1, "offline": true}');
  const env = { NIBBLE_PORT: '2', NIBBLE_THREADS: '2', NIBBLE_CONFIG: config };
  const { port, threads, maxWaiting, offline, host } = loadConfig({ port: '3' }, env);
  assert.deepEqual(
    { port, threads, maxWaiting, offline, host },
    {
      port: 3,
      threads: 2,
      maxWaiting: 1,
      offline: true,
      host: '127.0.0.1',
    },
  );
});

test('--config wins over NIBBLE_CONFIG', () => {
  const config = loadConfig({ config: file('{"port": 5}') }, { NIBBLE_CONFIG: file('{"port": 6}') });
  assert.equal(config.port, 5);
});

test('a switch can be turned off by the environment over a file', () => {
  assert.equal(loadConfig({ config: file('{"offline": true}') }, { NIBBLE_OFFLINE: '0' }).offline, false);
  assert.equal(loadConfig({ offline: true }, { NIBBLE_OFFLINE: 'false' }).offline, true);
});

test('auto asks for the automatic value over a weaker source', () => {
  const config = file('{"threads": 4, "home": "auto"}');
  assert.equal(loadConfig({ threads: 'auto', config }, {}).threads, null);
  assert.equal(loadConfig({ config }, {}).home, null);
  assertInvalid(() => loadConfig({ port: 'auto' }, {}), 'port', '--port');
});

test('an empty variable counts as not set', () => {
  assert.equal(loadConfig({}, { NIBBLE_PORT: '', NIBBLE_CONFIG: '' }).port, 8080);
});

test('what Kubernetes sets for a service called nibble is no setting', () => {
  const env = {
    NIBBLE_PORT: 'tcp://10.0.0.7:80',
    NIBBLE_SERVICE_HOST: '10.0.0.7',
    NIBBLE_PORT_80_TCP: 'tcp://10.0.0.7:80',
  };
  assert.equal(loadConfig({}, env).port, 8080);
  assert.deepEqual(unknownVariables(env), []);
  assertInvalid(() => loadConfig({}, { NIBBLE_PORT: 'udp://10.0.0.7:80' }), 'port', 'NIBBLE_PORT');
});

test('variables that only look like settings are named', () => {
  const known = { NIBBLE_PORT: '1', NIBBLE_HOME: '/h', NIBBLE_CONFIG: 'c', NIBBLE_API_KEYS: 'k', PORT: '2' };
  assert.deepEqual(unknownVariables({ ...known, NIBBLE_PROT: '3', NIBBLE_: '' }), ['NIBBLE_PROT', 'NIBBLE_']);
});

test('the result is frozen', () => {
  assert.ok(Object.isFrozen(loadConfig({}, {})));
});

test('a wrong value names the setting and its source', () => {
  assertInvalid(() => loadConfig({ port: '65536' }, {}), 'port', '(from --port)');
  assertInvalid(() => loadConfig({}, { NIBBLE_KV_TOKENS: '1e3' }), 'kvTokens', '(from NIBBLE_KV_TOKENS)');
  assertInvalid(() => loadConfig({}, { NIBBLE_OFFLINE: 'yes' }), 'offline', '(from NIBBLE_OFFLINE)');
  assertInvalid(() => loadConfig({ activations: 'f16' }, {}), 'activations', '"a8", "f32" or "auto"');
  assertInvalid(() => loadConfig({ threads: '0' }, {}), 'threads', 'from 1 to 1024');
  assertInvalid(() => loadConfig({ threads: '2.5' }, {}), 'threads', '--threads');
  assertInvalid(() => loadConfig({ model: '' }, {}), 'model', '--model');
});

test('a file is read by the same rules, with JSON types', () => {
  const wrongType = file('{"port": "8080"}');
  assertInvalid(() => loadConfig({ config: wrongType }, {}), 'port', wrongType);
  const unknown = file('{"prot": 8080}');
  assertInvalid(() => loadConfig({ config: unknown }, {}), 'prot', unknown);
  assertInvalid(() => loadConfig({ config: file('[1]') }, {}), 'config', 'JSON object');
  assertInvalid(() => loadConfig({ config: file('{port: 1}') }, {}), 'config', 'not valid JSON');
  assertInvalid(
    () => loadConfig({ config: join(folder, 'absent.json') }, {}),
    'config',
    "absent.json can't be read: no such file",
  );
  assertInvalid(() => loadConfig({ config: file('{"__proto__": {"port": 1}}') }, {}), '__proto__', 'is not a setting');
});

test('a mistake in a weaker source is reported even if a stronger one decides', () => {
  assertInvalid(() => loadConfig({ port: '1' }, { NIBBLE_PORT: 'x' }), 'port', 'NIBBLE_PORT');
});

test('the KV pool holds eight contexts where memory allows, else half of the memory, in whole blocks', () => {
  assert.equal(chooseKvTokens({ contextTokens: 1000, bytesPerToken: 10, availableBytes: 1e9 }), 8000);
  // Half of 100 kB at 10 B a token: 5000 tokens, rounded down to blocks of 16.
  assert.equal(chooseKvTokens({ contextTokens: 1000, bytesPerToken: 10, availableBytes: 1e5 }), 4992);
  assert.equal(chooseKvTokens({ contextTokens: 1000, bytesPerToken: 10, availableBytes: 0 }), 16);
});

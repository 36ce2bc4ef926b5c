/** `"cost": true`: what a request has cost is in its usage, and only there. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readPrices } from '../../src/cli/prices.js';
import { Energy } from '../../src/cli/serve-energy.js';
import type { CostAccount } from '../../src/cost/attribution.js';
import { EnergyMonitor } from '../../src/metering/energy-monitor.js';
import type { CostBody } from '../../src/server/schemas/cost.js';
import { createFakeServer, listen, sseData } from '../support/fake-server.js';

const body: CostBody = {
  joules: 3,
  prefill_joules: 1,
  decode_joules: 2,
  machine_seconds: 0.5,
  source: 'measured',
  meter: 'a plug',
};

const price: NonNullable<CostBody['price']> = {
  ...{ currency: 'EUR', energy: 0, hardware: 0, total: 0, carbon_grams: 0 },
  ...{ tariff_per_kwh: 0.3, carbon_grams_per_kwh: 400, pue: 1, hardware_per_hour: 0.01 },
};

/** A desk whose every account comes to the same. */
function desk(sum: CostBody = body) {
  const opened: CostAccount[] = [];
  const energy = new Energy(
    new EnergyMonitor({ source: 'measured', description: '', joules: () => 0, close() {} }),
    null,
  );
  energy.monitor.close();
  const open = () => {
    const account = energy.open();
    opened.push(account);
    return account;
  };
  const bill = (account: CostAccount) => {
    assert.ok(opened.includes(account));
    return sum;
  };
  const begin = (...given: Parameters<Energy['begin']>) => energy.begin(...given);
  return { opened, open, begin, bill };
}

const text = { model: 'default', prompt: 'hi' };
const message = { model: 'default', messages: [{ role: 'user', content: 'hi' }] };
const requests: readonly (readonly [string, object])[] = [
  ['/v1/completions', { model: 'default', prompt: 'hi', n: 2 }],
  ['/v1/chat/completions', message],
  ['/v1/responses', { model: 'default', input: 'hi' }],
];

test('usage has the cost if it was asked for, at every endpoint', async () => {
  for (const [url, payload] of requests) {
    const costs = desk();
    const { app } = createFakeServer({ costs });
    const plain = await app.inject({ method: 'POST', url, payload });
    assert.equal(plain.statusCode, 200);
    assert.equal(plain.json().usage.nibble_cost, undefined, url);
    const asked = await app.inject({ method: 'POST', url, payload: { ...payload, cost: true } });
    assert.deepEqual(asked.json().usage.nibble_cost, body, url);
    // One account for the request, whatever the number of choices.
    assert.equal(costs.opened.length, 1, url);
  }
});

test('a stream has it with its usage', async () => {
  const { app } = createFakeServer({ costs: desk() });
  const payload = { ...message, cost: true, stream: true, stream_options: { include_usage: true } };
  const response = await app.inject({ method: 'POST', url: '/v1/chat/completions', payload });
  const last = JSON.parse(sseData(response.body).at(-2) ?? '{}');
  assert.deepEqual(last.usage.nibble_cost, body);
});

test('a header asks as well, and the answer has it in headers', async () => {
  const priced = { ...body, joules: 3.25, price: { ...price, total: 0.0000125, carbon_grams: 0.5 } };
  for (const [url, payload] of requests) {
    const { app } = createFakeServer({ costs: desk(priced) });
    for (const value of ['true', '1']) {
      const { headers, json } = await app.inject({ method: 'POST', url, payload, headers: { 'x-nibble-cost': value } });
      assert.deepEqual(json().usage.nibble_cost, priced, url);
      assert.equal(headers['x-nibble-energy-joules'], '3.25');
      assert.equal(headers['x-nibble-energy-source'], 'measured');
      assert.equal(headers['x-nibble-cost'], '0.0000125 EUR');
      assert.equal(headers['x-nibble-carbon-grams'], '0.5');
    }
    const silent = await app.inject({ method: 'POST', url, payload, headers: { 'x-nibble-cost': 'false' } });
    assert.equal(silent.json().usage.nibble_cost, undefined);
    assert.equal(silent.headers['x-nibble-energy-joules'], undefined);
  }
  // Without prices there is no money to tell.
  const { app } = createFakeServer({ costs: desk() });
  const { headers } = await app.inject({ method: 'POST', url: '/v1/completions', payload: { ...text, cost: true } });
  assert.deepEqual([headers['x-nibble-energy-joules'], headers['x-nibble-cost']], ['3', undefined]);
});

test('a stream has it in trailers, which its head names', async (t) => {
  const { app } = createFakeServer({ costs: desk() });
  const url = new URL(await listen(app));
  t.after(() => app.close());
  const read = async (payload: object): Promise<IncomingMessage> => {
    const sent = request({ ...{ host: url.hostname, port: url.port, method: 'POST', path: '/v1/completions' } });
    sent.setHeader('content-type', 'application/json').end(JSON.stringify({ ...text, stream: true, ...payload }));
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    response.resume();
    await once(response, 'end');
    return response;
  };
  const asked = await read({ cost: true });
  assert.equal(asked.headers.trailer, 'x-nibble-energy-joules, x-nibble-energy-source');
  assert.deepEqual(asked.trailers, { 'x-nibble-energy-joules': '3', 'x-nibble-energy-source': 'measured' });
  const plain = await read({});
  assert.deepEqual([plain.headers.trailer, plain.trailers], [undefined, {}]);
});

test('where nothing measures, asking is refused', async () => {
  const { app } = createFakeServer();
  const payload = { model: 'default', prompt: 'hi', cost: true };
  const { statusCode, body: text } = await app.inject({ method: 'POST', url: '/v1/completions', payload });
  assert.equal(statusCode, 400);
  assert.deepEqual([JSON.parse(text).error.code, JSON.parse(text).error.param], ['unsupported_parameter', 'cost']);
});

test('a bill: what the account has come to, and its worth by the file of prices', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'nibble-prices-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = (content: unknown): string => {
    const path = join(folder, 'prices.json');
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
    return path;
  };
  const prices = readPrices(file({ currency: 'EUR', tariffPerKwh: 0.36, hardwarePrice: 8766, hardwareYears: 1 }));
  assert.deepEqual([prices.pue, prices.carbonGramsPerKwh, prices.tariffHours], [1, 0, []]);
  let joules = 0;
  let ms = 0;
  const meter = { source: 'measured', description: 'a plug', joules: () => joules, close() {} } as const;
  const energy = new Energy(new EnergyMonitor(meter, () => ms), prices);
  t.after(() => energy.monitor.close());
  const account = energy.open();
  energy.begin({ key: '', model: 'm', recipe: 'r' }, account);
  const work = { layers: 1, layerBytes: 1, headBytes: 1, int8MacsPerToken: 1, fp32MacsPerToken: 0 };
  const model = { ...work, int8MacsPerRow: 0, fp32MacsPerRow: 0, macsPerPosition: 1, kvBytesPerPosition: 1 };
  energy.monitor.addStep(3600, [{ accounts: [account], phase: 'decode', tokens: 1, rows: 1, cachedTokens: 0 }], model);
  joules = 3.6e6;
  ms = 3.6e6;
  const bill = energy.bill(account);
  assert.deepEqual([bill.joules, bill.prefill_joules, bill.machine_seconds], [3.6e6, 0, 3600]);
  // A kWh, and an hour of the 8,766 of a year.
  const { energy: power, hardware, total, currency } = bill.price ?? assert.fail('no price');
  assert.deepEqual([power, hardware, total, currency], [0.36, 1, 0.36 + hardware, 'EUR']);
  const wrong: readonly unknown[] = ['{', {}, { currency: 'EUR' }, { currency: 'euro', tariffPerKwh: 1 }];
  const more: readonly object[] = [
    { tariffPerKwh: -1 },
    { pue: 0.5 },
    { unknown: 1 },
    { tariffHours: [{ from: 1 }] },
    { timeZone: 'Mars' },
  ];
  for (const content of [...wrong, ...more.map((change) => ({ currency: 'EUR', tariffPerKwh: 1, ...change }))]) {
    assert.throws(() => readPrices(file(content)), { code: 'config_invalid' }, JSON.stringify(content));
  }
  assert.throws(() => readPrices(join(folder, 'none.json')), { code: 'config_invalid' });
});

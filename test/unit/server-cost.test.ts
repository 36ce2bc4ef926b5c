/** `"cost": true`: what a request has cost is in its usage, and only there. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readPrices } from '../../src/cli/prices.js';
import { Energy } from '../../src/cli/serve-energy.js';
import type { CostAccount } from '../../src/cost/attribution.js';
import { EnergyMonitor } from '../../src/metering/energy-monitor.js';
import type { CostBody } from '../../src/server/schemas/cost.js';
import { createFakeServer, sseData } from '../support/fake-server.js';

const body: CostBody = {
  joules: 3,
  prefill_joules: 1,
  decode_joules: 2,
  machine_seconds: 0.5,
  source: 'measured',
  meter: 'a plug',
};

/** A desk whose every account comes to the same. */
function desk() {
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
    return body;
  };
  return { opened, open, bill };
}

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
  const work = { layerBytes: 1, headBytes: 1, int8MacsPerToken: 1, fp32MacsPerToken: 0 };
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

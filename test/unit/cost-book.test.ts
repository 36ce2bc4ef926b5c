/** The books of a server: what every request, every key and the idle machine have cost, at the prices of the hour. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CostAccount } from '../../src/cost/attribution.js';
import type { Prices } from '../../src/cost/price.js';
import type { ModelWork } from '../../src/cost/step-work.js';
import { CostBook, type CostEntry } from '../../src/metering/cost-book.js';
import { EnergyMonitor } from '../../src/metering/energy-monitor.js';
import type { LedgerRow } from '../../src/metering/ledger/types.js';
import type { EnergySource } from '../../src/metering/types.js';

const near = (actual: number, expected: number) =>
  assert.ok(Math.abs(actual - expected) <= 1e-9 * Math.max(1, Math.abs(expected)), `${actual} for ${expected}`);

const work: ModelWork = {
  ...{ layers: 1, layerBytes: 1000, headBytes: 0, int8MacsPerToken: 1, fp32MacsPerToken: 0 },
  ...{ int8MacsPerRow: 0, fp32MacsPerRow: 0, macsPerPosition: 0, kvBytesPerPosition: 0 },
};

const prices: Prices = {
  ...{ currency: 'EUR', tariffPerKwh: 0.36, tariffHours: [{ from: 13, to: 24, perKwh: 0.72 }], pue: 2 },
  ...{ carbonGramsPerKwh: 100, carbonHours: [], hardwarePrice: 8766, hardwareYears: 1, timeZone: 'UTC' },
};

/** A machine that draws 100 W, on a clock that stands still until it is told. */
function setUp(t: { after(work: () => void): void }, given: Prices | null = prices) {
  const clock = { ms: Date.UTC(2026, 0, 1, 12, 59, 30) };
  const start = clock.ms;
  const meter = {
    source: 'measured' as EnergySource,
    description: 'a plug',
    joules: () => (clock.ms - start) / 10,
    close() {},
  };
  const monitor = new EnergyMonitor(meter, () => clock.ms);
  const written: LedgerRow[][] = [];
  const book = new CostBook({ monitor, prices: given, write: (rows) => written.push([...rows]), now: () => clock.ms });
  t.after(() => {
    book.close();
    monitor.close();
  });
  /** So many seconds pass, in which steps run for these, one after the other, and then nothing. */
  const pass = (seconds: number, ...steps: (readonly [CostEntry | null, number])[]) => {
    for (const [entry, stepSeconds] of steps) {
      const accounts = entry === null ? [] : [entry.account];
      monitor.addStep(stepSeconds, [{ accounts, phase: 'decode', tokens: 1, rows: 0, cachedTokens: 0 }], work);
    }
    clock.ms += seconds * 1000;
    book.tick();
  };
  /** The newest version of each row. */
  const rows = () => new Map(written.flat().map((row) => [row.number, row]));
  return { clock, meter, monitor, book, written, rows, pass };
}

const payer = { key: 'alice', model: 'm', recipe: 'r' };
const tokens = { promptTokens: 3, cachedTokens: 1, completionTokens: 2 };

test('requests, the server itself and idle time add up to the meter, in joules, seconds, money and carbon', (t) => {
  const { book, monitor, clock, pass, rows } = setUp(t);
  const start = clock.ms;
  const [a, b] = [book.begin(payer), book.begin({ ...payer, key: '' })];
  pass(10, [a, 4], [b, 2], [null, 1]);
  pass(10, [a, 10]);
  a.close('done', tokens);
  pass(25, [b, 5]);
  b.close('abort', tokens);
  pass(40);
  const all = [...rows().values()];
  const sum = (read: (row: LedgerRow) => number) => all.reduce((total, row) => total + read(row), 0);
  const seconds = (clock.ms - start) / 1000;
  near(
    sum(({ prefillJoules, decodeJoules, idleJoules }) => prefillJoules + decodeJoules + idleJoules),
    100 * seconds,
  );
  near(
    sum(({ machineSeconds }) => machineSeconds),
    seconds,
  );
  const kindSeconds = (kind: string) => sum((row) => (row.kind === kind ? row.machineSeconds : 0));
  near(kindSeconds('request'), 4 + 2 + 10 + 5);
  near(kindSeconds('own'), 1);
  near(kindSeconds('idle'), seconds - 22);
  // 85 s at 100 W, doubled by the site; the first 30 s of them before 13 o'clock, as the clock stood at each reading.
  near(
    sum(({ carbonGrams }) => carbonGrams),
    ((100 * seconds * 2) / 3.6e6) * 100,
  );
  near(
    sum(({ hardwareCost }) => hardwareCost),
    seconds / 3600,
  );
  near(
    sum(({ energyCost }) => energyCost),
    ((100 * 2) / 3.6e6) * (20 * 0.36 + 65 * 0.72),
  );
  const { requests, own, idle } = book;
  near(
    requests.cost + own.cost + idle.cost,
    sum(({ energyCost, hardwareCost }) => energyCost + hardwareCost),
  );
  const totals = monitor.totals().get('measured') ?? assert.fail('nothing was measured');
  near(totals.decode + totals.idle, 100 * seconds);
});

test('a row says whose it is, how it went and how much; it grows until it is closed', (t) => {
  const { clock, book, pass, rows, written } = setUp(t);
  const startedMs = clock.ms;
  const entry = book.begin(payer);
  pass(2, [entry, 1]);
  const request = () => rows().get(1) ?? assert.fail('no row');
  assert.equal(book.sumsOf(entry.account)?.decodeJoules, 100);
  assert.equal(book.sumsOf(new CostAccount()), null);
  const { outcome, endedMs, decodeJoules, promptTokens, cachedTokens, completionTokens } = request();
  assert.deepEqual([outcome, endedMs, decodeJoules], ['running', null, 100]);
  assert.deepEqual([promptTokens, cachedTokens, completionTokens], [0, 0, 0]);
  pass(1);
  assert.ok(written.at(-1)?.every(({ kind }) => kind === 'idle') ?? false, 'what did not change is not written again');
  // A step that was under way when it ended.
  entry.close('done', tokens);
  pass(3, [entry, 0.5]);
  const { energyCost, hardwareCost, carbonGrams, ...rest } = request();
  near(energyCost, (300 / 3.6e6) * 0.36);
  near(hardwareCost, 1.5 / 3600);
  near(carbonGrams, (300 / 3.6e6) * 100);
  assert.deepEqual(rest, {
    ...{ number: 1, kind: 'request', startedMs, endedMs: startedMs + 3000, outcome: 'done', ...payer, ...tokens },
    ...{ prefillJoules: 0, decodeJoules: 150, idleJoules: 0, tdpJoules: 0, machineSeconds: 1.5 },
  });
  written.length = 0;
  pass(1);
  assert.ok(!rows().has(1), 'it is complete');
});

test('a request that ended is complete once the meter has been read again', (t) => {
  const { book, meter, pass, rows } = setUp(t);
  const entry = book.begin(payer);
  const plug = Object.assign(meter, { hasNews: false });
  pass(0.5, [entry, 0.5]);
  entry.close('done', tokens);
  pass(0.5);
  pass(0.5);
  assert.deepEqual([rows().get(1)?.outcome, rows().get(1)?.decodeJoules], ['done', 0]);
  plug.hasNews = true;
  pass(0.5);
  assert.equal(rows().get(1)?.decodeJoules, 50);
});

test('a request that was refused is in no books', (t) => {
  const { book, pass, rows } = setUp(t);
  book.begin(payer).cancel();
  pass(1);
  assert.deepEqual(
    [...rows().values()].map(({ kind }) => kind),
    ['idle'],
  );
});

test('a request under way is entered at most half a second after anything happened to it', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const { book, monitor, meter, clock, written } = setUp(t);
  const step = (entry: CostEntry) =>
    monitor.addStep(0.1, [{ accounts: [entry.account], phase: 'decode', tokens: 1, rows: 0, cachedTokens: 0 }], work);
  const wait = (ms: number): readonly LedgerRow[] => {
    written.length = 0;
    clock.ms += ms;
    t.mock.timers.tick(ms);
    return written.flat().filter(({ kind }) => kind === 'request');
  };
  const entry = book.begin(payer);
  assert.deepEqual(wait(499), []);
  assert.deepEqual(
    wait(1).map(({ outcome, decodeJoules }) => [outcome, decodeJoules]),
    [['running', 0]],
  );
  step(entry);
  assert.equal(wait(500)[0]?.decodeJoules, 10);
  step(entry);
  entry.close('done', tokens);
  assert.deepEqual(
    wait(500).map(({ outcome, decodeJoules }) => [outcome, decodeJoules]),
    [['done', 20]],
  );
  const readings = t.mock.method(meter, 'joules').mock;
  assert.deepEqual(wait(5000), [], 'with nothing under way nothing is entered');
  assert.equal(readings.callCount(), 5, 'but the meter is read once a second');
  book.begin(payer);
  book.close();
  readings.resetCalls();
  wait(60_000);
  assert.deepEqual([written, readings.callCount()], [[], 60], 'nor by a book that was closed');
});

test('idle time is entered by the minute, what the server does for itself apart from it', (t) => {
  const { book, clock, pass, rows } = setUp(t);
  // From 12:59:30.
  for (let i = 0; i < 3; i++) pass(20, [null, 5]);
  const clockOf = (ms: number | null) => new Date(ms ?? 0).toISOString().slice(11, 19);
  const found = [...rows().values()].map(({ kind, startedMs, endedMs, machineSeconds }) => [
    kind,
    `${clockOf(startedMs)}-${clockOf(endedMs)}`,
    machineSeconds,
  ]);
  // A window belongs to the minute in which it is read.
  assert.deepEqual(found.toSorted(), [
    ['idle', '12:59:00-13:00:00', 15],
    ['idle', '13:00:00-13:01:00', 30],
    ['own', '12:59:00-13:00:00', 5],
    ['own', '13:00:00-13:01:00', 10],
  ]);
  assert.ok([...rows().keys()].every((number) => Number.isSafeInteger(number) && number < 0));
  assert.equal(clock.ms, Date.UTC(2026, 0, 1, 13, 0, 30));
  assert.equal(book.idle.machineSeconds, 45);
});

test('a machine that draws nothing while idle is paid off all the same', (t) => {
  const { meter, pass, rows } = setUp(t);
  Object.assign(meter, { joules: () => 0 });
  pass(30);
  const [idle] = rows().values();
  assert.deepEqual([idle?.kind, idle?.idleJoules, idle?.machineSeconds], ['idle', 0, 30]);
  near(idle?.hardwareCost ?? 0, 30 / 3600);
});

test('sums of a key outlive its requests; tokens and money are its own', (t) => {
  const { book, pass } = setUp(t);
  for (const key of ['alice', 'bob', 'alice']) {
    const entry = book.begin({ ...payer, key });
    pass(1, [entry, 1]);
    entry.close('done', tokens);
  }
  const read = (key: string) => {
    const { requests, tokens: count, tally } = book.keys.get(key) ?? assert.fail(key);
    return [requests, count, tally.decodeJoules];
  };
  assert.deepEqual(read('alice'), [2, 10, 200]);
  assert.deepEqual(read('bob'), [1, 5, 100]);
});

test('the number of keys is bounded: the rest share a name', (t) => {
  const { book } = setUp(t);
  for (let i = 0; i < 5000; i++) book.begin({ ...payer, key: `key-${i}` }).close('done', tokens);
  assert.equal(book.keys.size, 2049);
  assert.equal(book.keys.get('other')?.requests, 5000 - 2048);
});

test('joules that nothing measured are told apart, and without prices there is no money', (t) => {
  const { book, meter, pass, rows } = setUp(t, null);
  const entry = book.begin(payer);
  pass(1, [entry, 1]);
  meter.source = 'tdp';
  pass(2, [entry, 2]);
  const { decodeJoules, tdpJoules, energyCost, hardwareCost } = rows().get(1) ?? assert.fail('no row');
  assert.deepEqual([decodeJoules, tdpJoules, energyCost, hardwareCost], [300, 200, 0, 0]);
});

/** The ledger beside a server: trouble with its file is told and counted, and costs no row that there is room for. */
import assert from 'node:assert/strict';
import { mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { Ledger } from '../../src/metering/ledger/ledger.js';
import { pages } from '../../src/metering/ledger/report.js';
import { openDatabase } from '../../src/metering/ledger/store.js';
import { all, euros, openStore, row, temporary } from '../support/ledger-kit.js';

function start(t: TestContext, path: string, more: { readonly rowsMax?: number; readonly keptDays?: number } = {}) {
  const told: string[] = [];
  const waiters: (() => void)[] = [];
  const tell = (what: string) => {
    told.push(what);
    for (const wake of waiters.splice(0)) wake();
  };
  const ledger = new Ledger({
    data: { path, run: 7, prices: euros, keptDays: more.keptDays ?? 1_000_000 },
    events: {
      onTrouble: (message) => tell(`trouble: ${message}`),
      onRecovered: () => tell('recovered'),
      onSetAside: (aside) => tell(`aside: ${aside}`),
    },
    retryMs: 20,
    ...(more.rowsMax === undefined ? {} : { rowsMax: more.rowsMax }),
  });
  // Its thread doesn't keep the process alive.
  const alive = setInterval(() => {}, 1000);
  t.after(async () => {
    await ledger.close();
    clearInterval(alive);
  });
  const next = async () => {
    if (told.length === 0) await new Promise<void>((resolve) => waiters.push(resolve));
    return told.shift();
  };
  return { ledger, next };
}

/** Rows of the file, by number and joules of the answer. */
function read(path: string) {
  const database = openDatabase(path, true);
  const rows = [...pages(database, 0, 1e15)].flat();
  database.close();
  return rows.map(({ number, decodeJoules }) => [number, decodeJoules]);
}

test('rows are written behind the back of requests, and are there after a close', async (t) => {
  const path = temporary(t, 'l.db');
  const { ledger } = start(t, path);
  ledger.write([row(1), row(2)]);
  ledger.write([row(2, { decodeJoules: 9 }), row(3)]);
  const { lines } = await ledger.report({ ...all, groupBy: ['key'] });
  assert.equal(lines.length, 1);
  await ledger.close();
  assert.deepEqual(read(path), [
    [1, 2],
    [2, 9],
    [3, 2],
  ]);
  assert.deepEqual([ledger.counts.lost, ledger.counts.failures, ledger.isUp], [0, 0, true]);
});

test('a file that can not be opened: rows wait, the newest if there is no room; then they are written', async (t) => {
  const path = temporary(t, 'l.db');
  mkdirSync(path);
  const { ledger, next } = start(t, path, { rowsMax: 3 });
  assert.match((await next()) ?? '', /^trouble: /);
  assert.equal(ledger.isUp, false);
  await assert.rejects(ledger.report(all), { code: 'ledger_unavailable' });
  for (let number = 1; number <= 5; number++) ledger.write([row(number)]);
  ledger.write([row(5, { decodeJoules: 9 })]);
  rmdirSync(path);
  assert.equal(await next(), 'recovered');
  await ledger.close();
  assert.deepEqual(read(path), [
    [3, 2],
    [4, 2],
    [5, 9],
  ]);
  assert.equal(ledger.counts.lost, 2);
  assert.ok(ledger.counts.failures >= 1);
});

test('a damaged ledger is set aside and the books go on; another file is left alone', async (t) => {
  const path = temporary(t, 'l.db');
  const store = openStore(path);
  store.write(Array.from({ length: 500 }, (_, i) => row(i + 1)));
  const size = Number((store.database.prepare('PRAGMA page_count').raw().get() as readonly number[])[0]);
  store.close();
  assert.ok(size > 10);
  const { open } = await import('node:fs/promises');
  const file = await open(path, 'r+');
  await file.write(Buffer.alloc(4096 * (size - 1), 0xa5), 0, 4096 * (size - 1), 100);
  await file.close();
  const { ledger, next } = start(t, path);
  assert.match((await next()) ?? '', /^aside: .*l\.db\.corrupt-/);
  ledger.write([row(9)]);
  await ledger.close();
  assert.deepEqual(read(path), [[9, 2]]);

  const notes = temporary(t, 'notes.txt');
  writeFileSync(notes, 'x'.repeat(5000));
  const other = start(t, notes);
  assert.match((await other.next()) ?? '', /is not a ledger/);
  other.ledger.write([row(1)]);
  await other.ledger.close();
  assert.equal(other.ledger.counts.written, 0);
});

test('no more reports wait than there is room for', async (t) => {
  const { ledger } = start(t, temporary(t, 'l.db'));
  const asked = Array.from({ length: 40 }, () => ledger.report(all));
  const settled = await Promise.allSettled(asked);
  const refused = settled.filter(({ status }) => status === 'rejected');
  assert.equal(refused.length, 40 - 16);
  for (const one of refused) assert.equal(one.status === 'rejected' && one.reason.code, 'queue_full');
});

test('rows older than they are to be kept are deleted', async (t) => {
  const path = temporary(t, 'l.db');
  const dayMs = 86_400_000;
  const before = openStore(path);
  before.write([row(1, { startedMs: Date.now() - 11 * dayMs }), row(2, { startedMs: Date.now() - 9 * dayMs })]);
  before.close();
  const { ledger } = start(t, path, { keptDays: 10 });
  // What is old goes behind the first writing, so a report or two may still see it.
  for (let requests = 2; requests === 2; ) {
    const { lines } = await ledger.report(all);
    requests = lines[0]?.requests ?? 0;
  }
  await ledger.close();
  assert.deepEqual(read(path), [[2, 2]]);
});

/** The ledger's file: what is written can be read, by those who may, and no other file is touched. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { test } from 'node:test';
import Database from 'libsql';
import { pages, report } from '../../src/metering/ledger/report.js';
import { openDatabase, setAside } from '../../src/metering/ledger/store.js';
import type { LedgerRow } from '../../src/metering/ledger/types.js';
import { all, euros, openStore, row, temporary } from '../support/ledger-kit.js';

test('a row replaces the one of its number; those of other runs stay', (t) => {
  const path = temporary(t, 'l.db');
  const first = openStore(path, 1);
  first.write([row(1, { outcome: 'running', endedMs: null, decodeJoules: 0 }), row(2)]);
  first.write([row(1)]);
  first.close();
  const second = openStore(path, 2);
  second.write([row(1, { decodeJoules: 5 })]);
  const [line] = report(second.database, all).lines;
  assert.deepEqual(
    [line?.requests, line?.decodeJoules, line?.prefillJoules, line?.promptTokens],
    [3, 2 + 2 + 5, 3, 30],
  );
  second.close();
});

test('requests that ran when the server died are lost, with what they had cost till then', (t) => {
  const path = temporary(t, 'l.db');
  const first = openStore(path, 1);
  first.write([row(1, { outcome: 'running', endedMs: null }), row(2)]);
  // Nobody closes it: another run opens the same file.
  const second = openStore(path, 2);
  second.write([row(1, { outcome: 'running', endedMs: null })]);
  const rows = [...pages(second.database, 0, 1e15)].flat();
  assert.deepEqual(
    rows.map(({ run, number, outcome, endedMs }) => [run, number, outcome, endedMs]),
    [
      [1, 1, 'lost', null],
      [2, 1, 'running', null],
      [1, 2, 'done', 2500],
    ],
  );
  assert.equal(report(second.database, all).lines[0]?.prefillJoules, 3);
  for (const store of [first, second]) store.close();
});

test('lines by group, in pages, within a time', (t) => {
  const store = openStore(temporary(t, 'l.db'));
  const keys = ['carol', 'alice', 'bob', 'alice', ''];
  store.write(keys.map((key, i) => row(i + 1, { key, model: i === 3 ? 'n' : 'm' })));
  const read = (more: object) => report(store.database, { ...all, ...more });
  const names = (more: object) => read(more).lines.map(({ group, requests }) => [...group, requests]);
  assert.deepEqual(names({ groupBy: ['key'] }), [
    ['', 1],
    ['alice', 2],
    ['bob', 1],
    ['carol', 1],
  ]);
  assert.deepEqual(names({ groupBy: ['model', 'key'], fromMs: 2000, toMs: 5000 }), [
    ['m', 'alice', 1],
    ['m', 'bob', 1],
    ['n', 'alice', 1],
  ]);
  const groupBy = ['key'];
  const first = read({ groupBy, limit: 2 });
  assert.deepEqual([first.lines.map(({ group }) => group[0]), first.hasMore], [['', 'alice'], true]);
  const rest = read({ groupBy, limit: 2, after: ['alice', 'EUR'] });
  assert.deepEqual([rest.lines.map(({ group }) => group[0]), rest.hasMore], [['bob', 'carol'], false]);
  store.close();
});

test('a key sees its own requests only, and nothing of the idle machine', (t) => {
  const store = openStore(temporary(t, 'l.db'));
  const idle: Partial<LedgerRow> = { kind: 'idle', key: '', idleJoules: 60, prefillJoules: 0, decodeJoules: 0 };
  store.write([row(1), row(2, { key: 'bob' }), row(-5, { ...idle, startedMs: 60_000 })]);
  const own = report(store.database, { ...all, key: 'bob', groupBy: ['key'] });
  assert.deepEqual([own.lines.map(({ group }) => group), own.idle, own.own], [[['bob']], [], []]);
  assert.deepEqual(report(store.database, { ...all, key: 'eve' }), {
    ...{ lines: [], hasMore: false, idle: [], own: [], prices: [] },
  });
  const whole = report(store.database, all);
  assert.deepEqual([whole.lines[0]?.requests, whole.idle[0]?.idleJoules, whole.own], [2, 60, []]);
  store.close();
});

test('money of different currencies is never added, and every price file is named', (t) => {
  const path = temporary(t, 'l.db');
  const francs = { currency: 'CHF', content: '{"currency":"CHF"}' };
  for (const [run, prices] of [euros, francs, null, euros].entries()) {
    const store = openStore(path, run, prices);
    store.write([row(1)]);
    store.close();
  }
  const database = openDatabase(path, true);
  const { lines, prices } = report(database, all);
  assert.deepEqual(
    lines.map(({ currency, requests, energyCost }) => [currency, requests, energyCost]),
    [
      ['', 1, 1],
      ['CHF', 1, 1],
      ['EUR', 2, 2],
    ],
  );
  assert.deepEqual(prices, [euros.content, francs.content]);
  database.close();
});

test('rows are read in the order of their time, whatever the size of a page', (t) => {
  const store = openStore(temporary(t, 'l.db'));
  // Several at the same millisecond.
  const rows = Array.from({ length: 103 }, (_, i) => row(i + 1, { startedMs: Math.floor(i / 7) }));
  store.write(rows);
  const read = [...pages(store.database, 0, 1e15, 10)];
  assert.deepEqual([read.length, read.at(-1)?.length], [11, 3]);
  assert.deepEqual(
    read.flat().map(({ number }) => number),
    rows.map(({ number }) => number),
  );
  assert.deepEqual([...pages(store.database, 10, 11)].flat().length, 7);
  store.close();
});

test('old rows go, a part at a time', (t) => {
  const store = openStore(temporary(t, 'l.db'));
  store.write(Array.from({ length: 6000 }, (_, i) => row(i + 1, { startedMs: i })));
  assert.equal(store.prune(5500), true);
  assert.equal(store.prune(5500), false);
  assert.deepEqual(
    [...pages(store.database, 0, 1e15)].flat().length,
    500,
    'those that began before 5500 are gone, and no others',
  );
  store.close();
});

test('a file that is no ledger is refused and left as it is', (t) => {
  const text = temporary(t, 'notes.txt');
  writeFileSync(text, 'not a database, and dear to somebody. '.repeat(50));
  const before = readFileSync(text);
  assert.throws(() => openStore(text), { fault: 'foreign' });
  assert.deepEqual(readFileSync(text), before);
  const other = temporary(t, 'other.db');
  const theirs = new Database(other);
  theirs.exec('CREATE TABLE customers (name TEXT)');
  theirs.close();
  assert.throws(() => openStore(other), { fault: 'foreign' });
  assert.deepEqual(readdirSync(dirname(other)), [basename(other)]);
  const newer = temporary(t, 'newer.db');
  openStore(newer).close();
  const later = new Database(newer);
  later.exec('PRAGMA user_version = 2');
  later.close();
  assert.throws(() => openStore(newer), { fault: 'newer' });
});

test('a damaged ledger is told, and can be set aside', (t) => {
  const path = temporary(t, 'l.db');
  const store = openStore(path);
  store.write(Array.from({ length: 2000 }, (_, i) => row(i + 1)));
  store.close();
  const bytes = readFileSync(path);
  // The header stays, so it is still known for a ledger; every page of the tables is garbage.
  writeFileSync(path, bytes.fill(0xa5, 100));
  assert.throws(() => openStore(path).write([row(1)]), { fault: 'corrupt' });
  const aside = setAside(path, Date.UTC(2026, 0, 31, 12));
  assert.equal(basename(aside), 'l.db.corrupt-2026-01-31T120000.000Z');
  assert.ok(existsSync(aside) && !existsSync(path));
  const fresh = openStore(path);
  fresh.write([row(1)]);
  fresh.close();
});

test('no room on the disk: all rows of a batch or none', (t) => {
  const store = openStore(temporary(t, 'l.db'));
  store.write([row(1)]);
  store.database.exec('PRAGMA max_page_count = 16');
  const many = Array.from({ length: 5000 }, (_, i) => row(i + 2));
  assert.throws(() => store.write(many), { fault: 'failed', message: /SQLITE_FULL/ });
  store.database.exec('PRAGMA max_page_count = 100000');
  assert.equal(report(store.database, all).lines[0]?.requests, 1);
  store.write(many);
  assert.equal(report(store.database, all).lines[0]?.requests, 5001);
  store.close();
});

/**
 * The ledger of a real server: under 16 clients the parts are the whole that the meter counted, and what was committed
 * outlives the process. `NIBBLE_LEDGER_SECONDS` keeps the clients at it for longer.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pages } from '../../src/metering/ledger/report.js';
import { openDatabase } from '../../src/metering/ledger/store.js';
import type { ExportRow } from '../../src/metering/ledger/types.js';
import { client, Plug } from '../support/ledger-clients.js';
import { openStore } from '../support/ledger-kit.js';
import { RealServer } from '../support/real-server.js';

const loadSeconds = Number(process.env.NIBBLE_LEDGER_SECONDS ?? 4);
const folder = mkdtempSync(join(tmpdir(), 'nibble-ledger-'));
after(() => rmSync(folder, { recursive: true }));

function read(path: string): readonly ExportRow[] {
  const database = openDatabase(path, true);
  const rows = [...pages(database, 0, 1e15)].flat();
  database.close();
  return rows;
}

/** Looks until there is what is looked for, or fails after a minute. */
async function readUntil(
  path: string,
  isThere: (rows: readonly ExportRow[]) => boolean,
): Promise<readonly ExportRow[]> {
  for (let tries = 0; tries < 600; tries++) {
    const rows = read(path);
    if (isThere(rows)) return rows;
    await sleep(100);
  }
  assert.fail('the ledger does not have it');
}

const joulesOf = ({ prefillJoules, decodeJoules, idleJoules }: ExportRow) => prefillJoules + decodeJoules + idleJoules;
const sum = (values: readonly number[]) => values.reduce((all, value) => all + value, 0);

test('16 clients: requests, idle time and the server’s own work add up to the meter', async (t) => {
  const plug = await Plug.start();
  t.after(() => plug.close());
  const path = join(folder, 'load.db');
  const flags = ['--ledger', path, '--energy-meter', plug.setting, '--kv-tokens', '4096', '--max-sequences', '12'];
  const server = await RealServer.start({ flags });
  const end = performance.now() + loadSeconds * 1000;
  // However slow the machine: the meter must have been read, and everybody served.
  const goesOn = () => performance.now() < end || plug.told.length < 4;
  const asked = await Promise.all(Array.from({ length: 16 }, (_, i) => client(server, i, goesOn)));
  await server.becomeIdle();
  await server.stop();
  const rows = read(path);
  const requests = rows.filter(({ kind }) => kind === 'request');
  assert.ok(requests.length >= 16 && requests.length <= sum(asked), `${requests.length} of ${sum(asked)}`);
  assert.deepEqual(
    [...new Set(requests.map(({ outcome }) => outcome))].filter((one) => !/^(done|abort)$/.test(one)),
    [],
  );
  const whole = sum(rows.map(joulesOf));
  // The first reading is where the count begins; of the last ones the server may have died before the answer.
  const counted = plug.told.slice(-3).map((last) => last - (plug.told[0] ?? 0));
  const isWhole = counted.some((joules) => Math.abs(joules - whole) <= 1e-9 * joules);
  assert.ok(whole > 0 && isWhole, `${whole} J in the ledger; the meter counted ${counted}`);
  assert.ok(
    requests.some(({ cachedTokens }) => cachedTokens > 0),
    'somebody found something in the prefix cache',
  );
  assert.equal(sum(rows.map(({ tdpJoules }) => tdpJoules)), 0);
});

test('killed: what was entered is there, and a request under way keeps what it had cost', async () => {
  const path = join(folder, 'killed.db');
  const server = await RealServer.start({ flags: ['--ledger', path, '--kv-tokens', '4096'] });
  await server.complete({ prompt: 'Once upon a time', max_tokens: 4 });
  const endless = server.post({ prompt: 'And then', max_tokens: 3000, ignore_eos: true });
  endless.catch(() => {});
  const isEntered = (rows: readonly ExportRow[]) =>
    rows.some(({ outcome, kind }) => kind === 'request' && outcome === 'done') &&
    rows.some(({ outcome, decodeJoules }) => outcome === 'running' && decodeJoules > 0);
  const before = await readUntil(path, isEntered);
  server.signal('SIGKILL');
  await server.exited();
  const store = openStore(path, 1, null);
  store.close();
  const found = read(path).filter(({ kind }) => kind === 'request');
  assert.deepEqual(
    found.map(({ number, outcome, promptTokens, completionTokens }) => [
      number,
      outcome,
      promptTokens,
      completionTokens,
    ]),
    [
      [1, 'done', 4, 4],
      [2, 'lost', 2, 0],
    ],
  );
  // The last word of the process may be later than our look.
  for (const row of found) {
    const then = before.find(({ kind, number }) => kind === 'request' && number === row.number);
    assert.ok(joulesOf(row) >= (then === undefined ? 0 : joulesOf(then)));
  }
});

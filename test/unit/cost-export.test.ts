/** `nibble cost export`: what a spreadsheet and a data frame read is what the ledger holds. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Command } from 'commander';
import { parquetReadObjects } from 'hyparquet';
import { columns } from '../../src/cli/cost/columns.js';
import { registerCost } from '../../src/cli/cost/index.js';
import { openStore, row, temporary } from '../support/ledger-kit.js';

async function run(...args: string[]): Promise<void> {
  const program = new Command().exitOverride();
  registerCost(program);
  await program.parseAsync(['node', 'nibble', 'cost', 'export', ...args]);
}

const start = Date.UTC(2026, 0, 31, 12);

/** Three requests, one of them under way, whose model has a name that is hard to write down. */
function ledger(t: Parameters<typeof temporary>[0]): string {
  const path = temporary(t, 'l.db');
  const store = openStore(path, 5);
  const at = (number: number, more = {}) => row(number, { startedMs: start + number, endedMs: start + 100, ...more });
  const names = { model: '=1+1,"two"\nlines', key: 'ä' };
  store.write([at(1), at(2, { endedMs: null, outcome: 'running' }), at(3, { ...names, decodeJoules: 1 / 3 })]);
  store.close();
  return path;
}

const names = columns.map(({ name }) => name);
/** As `row` and the price file have them, in the order of the columns. */
const money = ['EUR', '1', '2', '8', '5'];

test('CSV: a line for each row, times as ISO 8601, nothing that a spreadsheet would run', async (t) => {
  const path = ledger(t);
  const out = temporary(t, 'out.csv');
  await run('--ledger', path, '--out', out);
  const first = [
    '2026-01-31T12:00:00.001Z',
    '2026-01-31T12:00:00.100Z',
    'request',
    'done',
    'alice',
    'm',
    'r',
    '10,4,2',
  ];
  const second = ['2026-01-31T12:00:00.002Z', '', 'request', 'running', 'alice', 'm', 'r', '10,4,2'];
  const third = ['2026-01-31T12:00:00.003Z', '2026-01-31T12:00:00.100Z', 'request', 'done', 'ä'];
  const expected = [
    names.join(','),
    [...first, '1,2,0,3,0.25', ...money, '1'].join(','),
    [...second, '1,2,0,3,0.25', ...money, '2'].join(','),
    [...third, `"'=1+1,""two""\nlines"`, 'r', '10,4,2', '1,0.3333333333333333,0,3,0.25', ...money, '3'].join(','),
  ];
  assert.equal(readFileSync(out, 'utf8'), `${expected.join('\n')}\n`);
});

test('Parquet: the same rows with their types, as another reader has them', async (t) => {
  const path = ledger(t);
  const out = temporary(t, 'out.parquet');
  await run('--ledger', path, '--format', 'parquet', '--out', out, '--from', '2026-01-31T12:00:00.002Z');
  const bytes = readFileSync(out);
  const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  const rows = await parquetReadObjects({ file });
  assert.equal(rows.length, 2);
  assert.deepEqual(Object.keys(rows[0] ?? {}), names);
  const [running, last] = rows;
  assert.deepEqual([running?.started, running?.ended], [new Date(start + 2), null]);
  assert.deepEqual([last?.ended, last?.decode_joules, last?.prompt_tokens], [new Date(start + 100), 1 / 3, 10n]);
  assert.deepEqual([last?.model, last?.key, last?.currency], ['=1+1,"two"\nlines', 'ä', 'EUR']);
});

test('an empty ledger gives an empty table', async (t) => {
  const path = temporary(t, 'l.db');
  openStore(path).close();
  const [csv, parquet] = [temporary(t, 'out.csv'), temporary(t, 'out.parquet')];
  await run('--ledger', path, '--out', csv);
  assert.equal(readFileSync(csv, 'utf8'), `${names.join(',')}\n`);
  await run('--ledger', path, '--out', parquet, '--format', 'parquet');
  assert.equal(readFileSync(parquet).toString('latin1', 0, 4), 'PAR1');
});

test('files are neither replaced nor made up', async (t) => {
  const path = ledger(t);
  await assert.rejects(run('--ledger', path, '--out', path), { code: 'output_exists' });
  await assert.rejects(run('--ledger', `${path}.none`), { code: 'ledger_unreadable' });
  await assert.rejects(run('--ledger', 'package.json'), { code: 'ledger_unreadable' });
  await assert.rejects(run('--ledger', path, '--format', 'parquet'), { code: 'config_invalid', param: 'out' });
  await assert.rejects(run('--ledger', path, '--from', 'yesterday'), { code: 'config_invalid', param: 'from' });
});

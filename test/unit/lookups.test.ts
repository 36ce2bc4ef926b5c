/** When bit planes are looked up: what a measurement says, and where the answer is kept. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readLookups } from '../../src/cli/open-options.js';
import { lookupTokens, type TuneRow } from '../../src/cli/tune.js';
import { chooseLookups, defaultLookups, tuningFile, writeTuning } from '../../src/engine/lookups.js';
import type { CpuInfo } from '../../src/native/contract.js';

const cpu = { brand: 'a CPU', level: 'avx2' } as CpuInfo;
const found = { w1: 16, w2: 8, w3: 2, w4: 0 };
let home: string;
before(async () => {
  home = await mkdtemp(join(tmpdir(), 'nibble-lookups-'));
});
after(() => rm(home, { recursive: true, force: true }));

test('the count is the last before looking up is slower for the first time', () => {
  const rows = (...pairs: readonly (readonly [number, number])[]): TuneRow[] =>
    pairs.map(([lookup, multiply], i) => ({ bits: 'w2', tokens: 2 ** i, lookup, multiply }));
  assert.equal(lookupTokens(rows([9, 3], [9, 8], [9, 9])), 4);
  assert.equal(lookupTokens(rows([9, 3], [7, 8], [9, 1])), 1);
  assert.equal(lookupTokens(rows([2, 3], [9, 1])), 0);
  assert.equal(lookupTokens(rows([9, 3], [9, 8], [7, 9]).toReversed()), 2);
});

test('a setting goes before a measurement, and that before the default', async () => {
  const own = join(home, 'own');
  assert.deepEqual(await chooseLookups(null, own, cpu), { lookups: defaultLookups, from: 'default' });
  await writeTuning(own, cpu, found);
  assert.deepEqual(await chooseLookups(null, own, cpu), { lookups: found, from: 'tuning' });
  const wanted = readLookups('1,2,3,16');
  assert.deepEqual(await chooseLookups(wanted, own, cpu), {
    lookups: { w1: 1, w2: 2, w3: 3, w4: 16 },
    from: 'setting',
  });
  assert.equal(readLookups(null), null);
});

test('what was measured on another CPU or level, or is no measurement, counts for nothing', async () => {
  const own = join(home, 'other');
  await writeTuning(own, { ...cpu, level: 'avx512' }, found);
  assert.equal((await chooseLookups(null, own, cpu)).from, 'default');
  await writeTuning(own, { ...cpu, brand: 'another' }, found);
  assert.equal((await chooseLookups(null, own, cpu)).from, 'default');
  const whole = { version: 1, cpu: cpu.brand, level: cpu.level, lookups: found };
  for (const text of ['', '{', 'null', JSON.stringify({ ...whole, lookups: { ...found, w1: 17 } })]) {
    await writeFile(tuningFile(own), text);
    assert.equal((await chooseLookups(null, own, cpu)).from, 'default', text);
  }
  await writeFile(tuningFile(own), JSON.stringify(whole));
  assert.equal((await chooseLookups(null, own, cpu)).from, 'tuning');
});

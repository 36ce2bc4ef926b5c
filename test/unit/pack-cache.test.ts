import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { evictPacks, storePack } from '../../src/engine/pack-cache.js';
import type { LoadedModelInfo, NativeModel } from '../../src/native/contract.js';
import { FakeNative } from '../support/fake-native.js';

const NOW_MS = 1_700_000_000_000;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-packs-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function put(name: string, bytes: number, ageMs: number): Promise<void> {
  await writeFile(join(folder, name), Buffer.alloc(bytes));
  await utimes(join(folder, name), NOW_MS / 1000, (NOW_MS - ageMs) / 1000);
}
const left = async () => (await readdir(folder)).sort();

/** A model whose weights were packed in the way given; counts how often it is asked to store them. */
function model(info: Pick<LoadedModelInfo, 'pack' | 'packedBytes'>, onStore: () => Promise<void>): NativeModel {
  const fake = new FakeNative({ blockCount: 1 });
  return { ...fake, info: { ...fake.info, ...info }, storePack: onStore } as unknown as NativeModel;
}

test('the packs used longest ago go first, until the rest fits', async () => {
  await put('a.pack', 100, 3000);
  await put('b.pack', 100, 9000);
  await put('c.pack', 100, 1000);
  await evictPacks(folder, 300, NOW_MS);
  assert.deepEqual(await left(), ['a.pack', 'b.pack', 'c.pack'], 'exactly the bound fits');
  await evictPacks(folder, 299, NOW_MS);
  assert.deepEqual(await left(), ['a.pack', 'c.pack']);
  await evictPacks(folder, 100, NOW_MS);
  assert.deepEqual(await left(), ['c.pack']);
  await evictPacks(folder, 0, NOW_MS);
  assert.deepEqual(await left(), []);
});

test('what a dead process left goes after an hour; what is not a pack stays', async () => {
  await put('a.pack.1.tmp', 50, 3_600_001);
  await put('a.pack.2.tmp', 50, 3_599_999);
  await put('notes.txt', 5000, 9_000_000);
  await evictPacks(folder, 0, NOW_MS);
  assert.deepEqual(await left(), ['a.pack.2.tmp', 'notes.txt']);
});

test('room is made before a pack is stored, in a folder that is made too', async () => {
  await put('old.pack', 600, 1000);
  let seen: readonly string[] = [];
  const storing = model({ pack: 'made', packedBytes: 500 }, async () => {
    seen = await left();
  });
  await storePack(storing, folder, 1000);
  assert.deepEqual(seen, [], 'old and new together would exceed the bound');
  const inner = join(folder, 'a', 'b');
  let stored = 0;
  await storePack(
    model({ pack: 'made', packedBytes: 1 }, async () => {
      stored += 1;
    }),
    inner,
    1000,
  );
  assert.equal(stored, 1);
  assert.equal((await stat(inner)).mode & 0o777, 0o700);
});

test('nothing is stored that is larger than the bound, can not be told apart later, or is stored already', async () => {
  const refuse = () => assert.fail('must not be stored');
  await put('old.pack', 600, 1000);
  await storePack(model({ pack: 'made', packedBytes: 1001 }, refuse), folder, 1000);
  await storePack(model({ pack: 'unsettled', packedBytes: 10 }, refuse), folder, 1000);
  await storePack(model({ pack: 'stored', packedBytes: 600 }, refuse), folder, 1000);
  assert.deepEqual(await left(), ['old.pack']);
  await storePack(model({ pack: 'stored', packedBytes: 600 }, refuse), folder, 599);
  assert.deepEqual(await left(), [], 'a bound that became smaller holds at the next start');
});

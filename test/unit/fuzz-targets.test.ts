/** The fuzzers of tools/fuzz.mjs, for a moment: their seeds are sound, and some changes of each find nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../src/random.js';
import { changed } from '../fuzz/changes.js';
import { fuzz, INPUT_BYTES_MAX } from '../fuzz/loop.js';
import { targets } from '../fuzz/targets.js';

for (const [name, target] of Object.entries(targets)) {
  test(`${name}: seeds, and 100 changes of them`, async () => {
    const seeds = await target.seeds();
    const random = new Random(2);
    // A fuzzer whose seeds are all refused looks at refusals only.
    let taken = 0;
    for (const seed of seeds) if ((await target.run(seed)) !== false) taken += 1;
    assert.ok(taken > 0);
    for (let i = 0; i < 100; i++) await target.run(changed(seeds, target.words, random, INPUT_BYTES_MAX));
  });
}

test('what goes wrong ends the run, with its input known', async () => {
  // Two letters in a row that are in no seed.
  const run = (input: Buffer) => {
    if (/xy/.test(input.toString('latin1'))) throw new Error('found');
  };
  let last: Buffer = Buffer.alloc(0);
  const target = { seeds: () => [Buffer.from('aaaa')], words: ['x', 'y'], run };
  const before = (input: Buffer) => {
    last = input;
  };
  await assert.rejects(fuzz(target, 60, 1, before), /found/);
  assert.match(last.toString('latin1'), /xy/);
});

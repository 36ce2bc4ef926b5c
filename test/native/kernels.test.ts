/** Every kernel of every level of this host against its scalar reference, bit for bit. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadAddon } from '../../src/native/load.js';

const addon = loadAddon();
const { levels, level } = addon.cpuInfo();
const ran = new Set<string>();

for (const isa of levels) {
  for (const seed of [1, Number(process.env.NIBBLE_SEED ?? 20_260_101)]) {
    test(`${isa}, seed ${seed}`, async () => {
      const { cases, calls, failures } = await addon.checkKernels(isa, seed);
      assert.deepEqual(failures, []);
      // 13 weight formats × shapes, attention, elementwise: a check that checks little is broken.
      assert.ok(cases > 1000, `only ${cases} cases`);
      assert.ok(calls > 1000, `the level's own counter moved by ${calls} only`);
      ran.add(isa);
    });
  }
}

test('the levels expected of this machine ran', () => {
  const expected = (process.env.NIBBLE_EXPECT_LEVELS ?? '').split(',').filter((name) => name !== '');
  for (const name of ['scalar', ...expected]) assert.ok(ran.has(name), `${name} did not run; ${[...ran]} did`);
});

test('NIBBLE_ISA caps the level that is chosen; a level that is unknown changes nothing', () => {
  const before = process.env.NIBBLE_ISA;
  const chosen = (name: string) => {
    process.env.NIBBLE_ISA = name;
    return addon.cpuInfo().level;
  };
  try {
    for (const isa of levels) assert.equal(chosen(isa), isa);
    assert.equal(chosen('scalar'), 'scalar');
    assert.equal(chosen('mmx'), levels.at(-1));
    assert.equal(chosen(''), levels.at(-1));
  } finally {
    if (before === undefined) delete process.env.NIBBLE_ISA;
    else process.env.NIBBLE_ISA = before;
  }
  assert.equal(addon.cpuInfo().level, level);
});

test('a level that this machine lacks is refused', async () => {
  for (const isa of ['avx2', 'avx512', 'neon'] as const) {
    if (levels.includes(isa)) continue;
    await assert.rejects(addon.checkKernels(isa, 1), { code: 'native_invalid_argument' });
  }
  await assert.rejects(addon.checkKernels('mmx' as 'avx2', 1), { code: 'native_invalid_argument' });
});

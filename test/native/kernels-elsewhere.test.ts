/**
 * Kernels of levels that this CPU lacks, emulated on it (AVX-512) or cross-built and run under qemu (NEON), and those
 * that it has under AddressSanitizer and UBSan (ThreadSanitizer: threads.test.ts). A kind that this machine can't build
 * says so and passes, except with CI=true or when NIBBLE_EXPECT_CHECKS names it.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { loadAddon } from '../../src/native/load.js';

const tool = fileURLToPath(new URL('../../tools/native-check.mjs', import.meta.url));
const UNAVAILABLE = 3;
const expected = (process.env.NIBBLE_EXPECT_CHECKS ?? '').split(',').filter((name) => name !== '');
const { levels: ownLevels } = loadAddon().cpuInfo();
/** Levels that must run; scalar code runs beside each as its reference. */
const levelsOf: Readonly<Record<string, readonly string[]>> = {
  'simde-avx512': ['avx512'],
  aarch64: ['neon'],
  asan: ownLevels.length > 1 ? ownLevels.filter((level) => level !== 'scalar') : ['scalar'],
};

/** The same kernels as this CPU runs them (kernels.test.ts) say more, and compile in a tenth of the time. */
const isRunForReal = (kind: string) => kind === 'simde-avx512' && ownLevels.includes('avx512');

async function run(kind: string): Promise<{ readonly status: number | null; readonly output: string }> {
  const child = spawn(process.execPath, [tool, kind], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { status, output };
}

test('expected kinds exist', () => {
  for (const kind of expected) assert.ok(kind in levelsOf, `NIBBLE_EXPECT_CHECKS names ${kind}`);
});

for (const [kind, levels] of Object.entries(levelsOf)) {
  test(kind, async (t) => {
    if (isRunForReal(kind) && !expected.includes(kind)) {
      t.diagnostic('this CPU has the level itself');
      return;
    }
    const { status, output } = await run(kind);
    const tail = output.split('\n').slice(-60).join('\n');
    if (status === UNAVAILABLE) {
      assert.ok(process.env.CI !== 'true' && !expected.includes(kind), tail);
      t.diagnostic(`NOT RUN: ${tail.trim()}`);
      return;
    }
    assert.equal(status, 0, tail);
    for (const level of levels) {
      const line = new RegExp(`^${level} +(\\d+) cases, (\\d+) .*, 0 failures$`, 'm').exec(output);
      assert.ok(Number(line?.[1]) > 1000 && Number(line?.[2]) > 1000, `${level} did not run as it should:\n${tail}`);
    }
    assert.match(output, /^team +0 failures$/m);
    t.diagnostic(`ran: ${levels.join(', ')}`);
  });
}

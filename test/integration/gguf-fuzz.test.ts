/** Ruined at random: headers read in TypeScript, and whole models loaded natively. NIBBLE_SEED replays a failure. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { fuzzHeader } from '../support/gguf-fuzz.js';

const seconds = process.env.NIBBLE_NIGHTLY === '1' ? 60 : 15;
const seed = Number(process.env.NIBBLE_SEED ?? 1);
/** Natively a few hundred cases a second, of which each load is short. */
const nativeSeconds = Math.min(seconds, 20);
/** A single case takes milliseconds; a child that is silent for so long hangs. */
const silenceMsMax = 60_000;

test(`headers, ${seconds} s (seed ${seed}): a model or a coded error, quickly, in bounded memory`, async (t) => {
  const { cases, accepted, codes, slowestMs, memoryGrowth } = await fuzzHeader({ cases: 1, seconds }, seed);
  t.diagnostic(`${cases} cases, ${accepted} accepted, ${JSON.stringify(codes)}, slowest ${slowestMs.toFixed(0)} ms`);
  assert.ok(cases > 100);
  for (const code of Object.keys(codes)) assert.match(code, /^(model_|tokenizer_)/);
  assert.ok(Object.keys(codes).length >= 5, 'the changes must reach different checks');
  assert.ok(memoryGrowth < 1024 ** 3, `${memoryGrowth} bytes`);
});

type Line = { readonly case?: number; readonly sound?: string; readonly counts?: Readonly<Record<string, number>> };

/** Runs the child; its summary. Fails with the case that it died in or hung at. */
async function fuzzNatively(): Promise<Readonly<Record<string, number>>> {
  const script = fileURLToPath(new URL('../support/native-fuzz-main.ts', import.meta.url));
  const args = ['--import', 'tsx', script, String(nativeSeconds), String(seed)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const exit = once(child, 'exit');
  let stderr = '';
  child.stderr.on('data', (bytes) => {
    stderr += String(bytes);
  });
  let last: Line = {};
  let watchdog: NodeJS.Timeout | undefined;
  for await (const line of createInterface({ input: child.stdout })) {
    last = JSON.parse(line);
    clearTimeout(watchdog);
    watchdog = setTimeout(() => child.kill('SIGKILL'), silenceMsMax);
  }
  clearTimeout(watchdog);
  const [code, signal] = await exit;
  assert.deepEqual([code, signal], [0, null], `seed ${seed}, ${JSON.stringify(last)}: ${stderr}`);
  assert.ok(last.counts);
  return last.counts;
}

test(`models loaded natively, ${nativeSeconds} s (seed ${seed}): coded errors, finite rows or failed ones`, async (t) => {
  const counts = await fuzzNatively();
  t.diagnostic(JSON.stringify(counts));
  for (const outcome of ['header: finite', 'data: finite', 'data: model_tensor_not_finite', 'data: failed rows']) {
    assert.ok((counts[outcome] ?? 0) > 0, `no case came to ${outcome}`);
  }
  assert.ok((counts['options: native_invalid_argument'] ?? 0) > 0);
  // A file that loads must also run.
  const refusedSteps = Object.keys(counts).filter((outcome) => outcome.includes('step:'));
  assert.deepEqual(
    refusedSteps.filter((outcome) => !outcome.startsWith('options')),
    [],
  );
});

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

test('the young generation is small during a start, and as V8 wants it afterwards, in new threads too', async () => {
  const main = fileURLToPath(new URL('../support/heap-main.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', main]);
  const { during, after, thread, hasGc } = JSON.parse(stdout) as Readonly<Record<string, number | boolean>>;
  assert.ok(Number(during) <= 6, `${during} MiB: two halves of about the first size`);
  assert.ok(Number(after) >= 10, `${after} MiB afterwards`);
  assert.ok(Number(thread) >= 10, `${thread} MiB in a thread`);
  assert.equal(hasGc, false, 'the program keeps its globals');
});

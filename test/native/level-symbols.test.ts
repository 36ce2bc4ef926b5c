/** The objects of the levels, as built for the addon, give the linker nothing to share with the rest of the program. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const check = (folder: string) =>
  spawnSync(process.execPath, ['tools/check-level-symbols.mjs', folder], { cwd: root, encoding: 'utf8' });

test('each level exports its table alone', () => {
  const { status, stdout, stderr } = check('build/release');
  assert.equal(status, 0, stderr);
  const levels = process.arch === 'x64' ? 3 : 1;
  assert.match(stdout, new RegExp(`^${2 * levels} level objects`)); // general kernels, and Tender's
});

test('an object with a shared inline function is found, and so is a build without levels', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'nibble-symbols-'));
  t.after(() => rmSync(folder, { recursive: true }));
  assert.equal(check(folder).status, 1);
  const objects = join(folder, 'CMakeFiles/nibble_avx2.dir');
  mkdirSync(objects, { recursive: true });
  const source = join(folder, 'table.cpp');
  const table = 'namespace nibble::kernels::avx2 { int table() { return shared(1); } }';
  writeFileSync(source, `template <class T> [[gnu::noinline]] T shared(T x) { return x; }\n${table}\n`);
  const built = spawnSync(process.env.CXX ?? 'c++', ['-std=c++20', '-c', source, '-o', join(objects, 'table.o')]);
  assert.equal(built.status, 0, String(built.stderr));
  const { status, stderr } = check(folder);
  assert.equal(status, 1);
  assert.match(stderr, /exports W int shared<int>\(int\)/);
});

// The thread team under the thread sanitizer: a data race, a lost wake-up or a miscounted barrier ends the program with
// a report or fails its own counts. kernels-elsewhere.test.ts runs the same checks under the address sanitizer.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'nibble-threads-'));
after(() => rmSync(folder, { recursive: true }));

const sources = [
  'test/native/threads-main.cpp',
  'native/threads/team.cpp',
  'native/threads/topology.cpp',
  'native/check/check_team.cpp',
  'native/check/check_topology.cpp',
];
const compiler = process.env.CXX ?? 'c++';

test('the team has no fault that -fsanitize=thread finds', () => {
  const program = join(folder, 'threads');
  const flags = ['-std=c++20', '-O1', '-g', '-pthread', '-Wall', '-Wextra', '-Wshadow', '-Werror', '-fsanitize=thread'];
  const built = spawnSync(compiler, [...flags, ...sources, '-o', program], { cwd: root });
  assert.equal(built.status, 0, String(built.stderr));
  // The thread sanitizer of older compilers can't place its shadow memory under full address randomization.
  const ran = spawnSync('setarch', ['-R', program], { encoding: 'utf8' });
  assert.equal(ran.status, 0, `${ran.stdout}${ran.stderr}`);
});

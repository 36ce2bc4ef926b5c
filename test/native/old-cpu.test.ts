/**
 * The whole program on emulated old CPUs: a wider instruction outside its level would end it with SIGILL, and any
 * difference in a bit may change a token.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { writeTinyModel } from '../support/gguf-fixtures.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const emulator = 'qemu-x86_64-static';
const isHost = process.arch === 'x64' && process.platform === 'linux';
const hasEmulator = isHost && spawnSync(emulator, ['--version']).status === 0;
const reason = isHost ? `needs ${emulator} (Debian: apt install qemu-user-static)` : 'needs an x86-64 Linux';
const options = hasEmulator ? {} : { skip: reason };

const folder = mkdtempSync(join(tmpdir(), 'nibble-old-cpu-'));
const model = join(folder, 'tiny.gguf');
before(() => writeTinyModel(model, { seed: 7 }));
after(() => rmSync(folder, { recursive: true }));

/** Runs Node, on an emulated CPU if one is named; the result is what it printed. */
function node(cpu: string | null, args: readonly string[]): string {
  const [command, ...rest] =
    cpu === null ? [process.execPath, ...args] : [emulator, '-cpu', cpu, process.execPath, ...args];
  const ran = spawnSync(command, rest, { cwd: root, encoding: 'utf8' });
  assert.deepEqual([ran.status, ran.signal], [0, null], ran.stderr);
  return ran.stdout;
}

function generate(cpu: string | null): string {
  const sampling = ['--max-tokens', '24', '--temperature', '1', '--seed', '3', '--threads', '2'];
  return node(cpu, ['dist/cli/main.js', 'generate', '--model', model, ...sampling, 'The old machine']);
}

for (const [cpu, levels] of [
  ['Nehalem', ['scalar']],
  ['Haswell', ['scalar', 'avx2']],
] as const) {
  test(`on a ${cpu} the levels are ${levels.join(', ')} and the text is the same as here`, options, () => {
    const script =
      "console.log(JSON.stringify(require('./build/release/Release/nibble.node').cpuInfo().levels.slice()))";
    assert.deepEqual(JSON.parse(node(cpu, ['-e', script])), levels);
    const here = generate(null);
    assert.ok(here.length >= 8, here);
    assert.equal(generate(cpu), here);
  });
}

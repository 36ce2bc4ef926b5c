import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { machineOf, packageVersion, sourceCommit } from '../../src/cli/output.js';
import type { CpuInfo } from '../../src/native/contract.js';

const cpu: CpuInfo = {
  brand: 'Some CPU',
  logicalCpus: 8,
  physicalCores: 4,
  quotaCores: 2,
  defaultThreads: 2,
  levels: ['scalar', 'avx2'],
  level: 'avx2',
};

test('the machine of a result is what ran, or else the default', () => {
  assert.deepEqual(machineOf(cpu), { cpu: 'Some CPU', isa: 'avx2', threads: 2, cores: 4 });
  const ran = machineOf(cpu, { isa: 'scalar', threads: 1 });
  assert.deepEqual([ran.isa, ran.threads], ['scalar', 1]);
});

test('the commit is the one of the checkout', async () => {
  const head = execFileSync('git', ['rev-parse', 'HEAD'], { cwd: import.meta.dirname, encoding: 'utf8' }).trim();
  assert.equal(await sourceCommit(), head);
  assert.match(packageVersion(), /^\d+\.\d+\.\d+/);
});

test('--json results are one line of JSON on stdout and nothing else', () => {
  const script = `
    const { printJsonResult } = await import('./src/cli/output.ts');
    const machine = { cpu: 'c', isa: 'avx2', threads: 1, cores: 1 };
    await printJsonResult({ machine, model: 'm' }, { tokensPerS: 5 });
    process.exit(0);`;
  const cwd = new URL('../..', import.meta.url);
  const args = ['--import', 'tsx', '--input-type=module', '-e', script];
  const stdout = execFileSync(process.execPath, args, { cwd, encoding: 'utf8' });
  assert.ok(stdout.endsWith('}\n') && stdout.trim().split('\n').length === 1);
  const { commit, ...rest } = JSON.parse(stdout);
  assert.deepEqual(rest, { tokensPerS: 5, machine: { cpu: 'c', isa: 'avx2', threads: 1, cores: 1 }, model: 'm' });
  assert.match(commit, /^[0-9a-f]{40}$|^\d+\.\d+\.\d+/);
});

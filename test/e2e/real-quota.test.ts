/** Inside a CPU quota: a pool that fits it, and no spinning that uses it up. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { makeQuotaGroup } from '../support/cpu-quota.js';
import { RealServer } from '../support/real-server.js';

const body = { prompt: 'Once upon a time', temperature: 0, ignore_eos: true };

/** Tokens a second while decoding: the prefill is left out by taking the difference of two lengths. */
async function decodeTokensPerS(server: RealServer): Promise<number> {
  const timed = async (tokens: number) => {
    const start = performance.now();
    await server.complete({ ...body, max_tokens: tokens });
    return performance.now() - start;
  };
  await timed(4);
  const short = await timed(8);
  return (1000 * 64) / Math.max(1, (await timed(72)) - short);
}

test('a quota of one core: one thread, no throttling while idle, about the speed of one thread', async (t) => {
  const group = makeQuotaGroup(1);
  if (typeof group === 'string') {
    // Not a skip: what can be shown without such a group is shown below and by the checks of topology.cpp.
    t.diagnostic(`NO QUOTA TESTED: this machine lets us make no cgroup with a quota (${group})`);
    return;
  }
  t.diagnostic(`cgroup version ${group.version}`);
  try {
    const free = await RealServer.start({ flags: ['--threads', '1', '--kv-tokens', '1024'] });
    const inside = await RealServer.start({ flags: ['--kv-tokens', '1024'], launcher: group.launcher }).catch(
      async (error: unknown) => {
        await free.stop();
        throw error;
      },
    );
    try {
      assert.equal(inside.threads, 1, 'the pool must fit the quota');
      const { text } = (await inside.complete({ ...body, max_tokens: 16 })).choices[0] ?? {};
      assert.equal((await free.complete({ ...body, max_tokens: 16 })).choices[0]?.text, text);
      const rates: { free: number; inside: number } = { free: 0, inside: 0 };
      for (let round = 0; round < 3; round += 1) {
        rates.free = Math.max(rates.free, await decodeTokensPerS(free));
        rates.inside = Math.max(rates.inside, await decodeTokensPerS(inside));
      }
      const ratio = rates.inside / rates.free;
      t.diagnostic(`decode: ${rates.inside.toFixed(1)} tokens/s in the quota, ${rates.free.toFixed(1)} without one`);
      assert.ok(ratio > 0.4, `the quota costs ${ratio}`);

      await inside.becomeIdle();
      await sleep(500);
      const before = group.throttledCount();
      await sleep(3000);
      const growth = group.throttledCount() - before;
      t.diagnostic(`throttled ${before} times under load, ${growth} times in 3 s of idling`);
      assert.ok(growth <= 1, `${growth} times`);
    } finally {
      await Promise.all([free.stop(), inside.stop()]);
    }
  } finally {
    group.remove();
  }
});

const topologyMain = `
#include <cstdio>
#include "check/check_team.h"
int main() {
  const auto failures = nibble::check_topology();
  for (const auto& failure : failures) std::puts(failure.c_str());
  return failures.empty() ? 0 : 1;
}`;

test('the pool size fits made-up machines: cores, masks, quotas of cgroup versions 1 and 2', () => {
  const native = fileURLToPath(new URL('../../native', import.meta.url));
  const folder = mkdtempSync(join(tmpdir(), 'nibble-quota-'));
  try {
    writeFileSync(join(folder, 'main.cpp'), topologyMain);
    const sources = [join(folder, 'main.cpp'), `${native}/threads/topology.cpp`, `${native}/check/check_topology.cpp`];
    const program = join(folder, 'check');
    execFileSync('c++', ['-std=c++20', '-I', native, ...sources, '-pthread', '-o', program]);
    assert.equal(execFileSync(program, { encoding: 'utf8' }), '');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

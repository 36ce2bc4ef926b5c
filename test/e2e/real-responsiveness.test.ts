/** Compute never holds up the event loop, and an idle server sleeps. `bench/health-latency.ts` measures the times. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { percentiles } from '../../src/cli/bench/statistics.js';
import { askWhile, longPrompt } from '../support/health-client.js';
import { RealServer } from '../support/real-server.js';

let server: RealServer;
before(async () => {
  server = await RealServer.start({ flags: ['--kv-tokens', '8192'] });
});
after(() => server.stop());

const PROMPT_TOKENS = 8000;

for (const seed of [1, 2]) {
  test(`/health and /metrics answer while a prompt of ${PROMPT_TOKENS} tokens is prefilled (${seed} of 2)`, async () => {
    const stepsBefore = (await server.metrics()).get('nibble_steps_total') ?? 0;
    const start = performance.now();
    let isRunning = true;
    const completion = server.complete({ prompt: longPrompt(PROMPT_TOKENS, seed), max_tokens: 1 }).finally(() => {
      isRunning = false;
    });
    const times = await askWhile(server.url, () => isRunning);
    assert.equal((await completion).usage.prompt_tokens, PROMPT_TOKENS);
    const steps = ((await server.metrics()).get('nibble_steps_total') ?? 0) - stepsBefore;
    const stepMs = (performance.now() - start) / steps;
    assert.ok(steps >= PROMPT_TOKENS / 512);
    // A server that answers between steps only would take half a step at the median. The machine may be busy with other
    // things, which slows steps and answers alike, so what counts is their ratio.
    assert.ok(times.length > 2 * steps, `only ${times.length} answers in ${steps} steps`);
    const { p50, p99 } = percentiles(times);
    assert.ok(p50 < stepMs / 6, `half of the answers took more than ${p50} ms; a step took ${stepMs} ms`);
    assert.ok(p99 < Math.max(250, stepMs / 2), `one answer in a hundred took ${p99} ms; a step took ${stepMs} ms`);
  });
}

/** CPU time of a process in clock ticks (100 a second): utime and stime of /proc/PID/stat. */
function cpuTicks(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

const hasProc = process.platform === 'linux';
test('a server that has nothing to do uses less than 1 % of a core', { skip: !hasProc && 'needs /proc' }, async () => {
  await server.complete({ prompt: 'The capital of France is', max_tokens: 16 });
  await server.becomeIdle();
  await sleep(500);
  assert.ok(cpuTicks(server.pid) > 100, 'the clock of the process must have counted the prefill');
  // A while after the last work V8 cleans up once (some 0.1 s), so one quiet window of three is asked for. What never
  // sleeps has none.
  const shares: number[] = [];
  while (shares.length < 3 && !shares.some((share) => share < 0.01)) {
    const before = cpuTicks(server.pid);
    await sleep(8000);
    shares.push((cpuTicks(server.pid) - before) / 800);
  }
  assert.ok(Math.min(...shares) < 0.01, `shares of a core: ${shares.join(', ')}`);
});

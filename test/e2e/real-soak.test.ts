/**
 * Twice as many clients as the server has places for, some of which hang up or talk nonsense: nobody is left without
 * an answer, memory doesn't grow, and afterwards the whole KV pool is there. Forty seconds; NIBBLE_NIGHTLY=1 makes it
 * ten minutes, the last two in a quota of one core, and also judges the times of answers, which a busy machine would
 * spoil.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { median, quantile } from '../../src/cli/bench/statistics.js';
import { makeQuotaGroup } from '../support/cpu-quota.js';
import { askWhile, longPrompt } from '../support/health-client.js';
import { RealServer } from '../support/real-server.js';
import { type Outcome, residentMiB, soak } from '../support/soak.js';

const isNightly = process.env.NIBBLE_NIGHTLY === '1';
const secondsFree = isNightly ? 480 : 40;
const secondsInQuota = 120;

const sequences = 8;
const waiting = 8;
const contextTokens = 8192;
/** One sequence of the longest kind fills the pool. */
const flags = [
  ...['--kv-tokens', String(contextTokens), '--context-tokens', String(contextTokens)],
  ...['--max-sequences', String(sequences), '--max-waiting', String(waiting)],
];

/** Resident memory while `isWanted`, twice a second, MiB. */
async function watchMemory(pid: number, isWanted: () => boolean): Promise<readonly number[]> {
  const samples: number[] = [];
  while (isWanted()) {
    samples.push(residentMiB(pid));
    await sleep(500);
  }
  return samples;
}

/** Median resident memory in the third and in the last quarter, MiB: the first half fills caches and the pool. */
function quarters(samples: readonly number[]): { readonly third: number; readonly last: number } {
  const quarter = Math.floor(samples.length / 4);
  return {
    third: median(samples.slice(2 * quarter, 3 * quarter)),
    last: median(samples.slice(3 * quarter, 4 * quarter)),
  };
}

const growthMax = 1.02;

function countsOf(outcomes: readonly Outcome[]) {
  const refused = outcomes.filter((outcome) => outcome.kind === 'refused');
  return {
    completed: outcomes.filter(({ kind }) => kind === 'completed').length,
    cut: outcomes.filter(({ kind }) => kind === 'cut').length,
    busy: refused.filter(({ status }) => status === 429).length,
    nonsense: refused.filter(({ status }) => status === 400).length,
    tooLarge: refused.filter(({ status }) => status === 413).length,
  };
}

function checkOutcomes(t: TestContext, outcomes: readonly Outcome[]): void {
  const wrong = outcomes.filter(({ kind }) => kind === 'wrong');
  assert.deepEqual(wrong.slice(0, 5), []);
  const counts = countsOf(outcomes);
  t.diagnostic(JSON.stringify(counts));
  for (const [kind, count] of Object.entries(counts)) assert.ok(count > 0, `none was ${kind}, so nothing was shown`);
  const refused = outcomes.filter((outcome) => outcome.kind === 'refused');
  const p99 = quantile(
    refused.map(({ ms }) => ms),
    0.99,
  );
  t.diagnostic(`refused within ${p99.toFixed(1)} ms (p99)`);
  if (isNightly) assert.ok(p99 < 50, `refusing took ${p99} ms`);
}

type Round = { readonly outcomes: readonly Outcome[]; readonly memory: readonly number[]; readonly healthP99: number };

async function soakOnce(server: RealServer, seconds: number, seed: number): Promise<Round> {
  let isRunning = true;
  const health = askWhile(server.url, () => isRunning);
  const memory = watchMemory(server.pid, () => isRunning);
  const outcomes = await soak(server.url, 2 * (sequences + waiting), seconds * 1000, seed).finally(() => {
    isRunning = false;
  });
  return { outcomes, memory: await memory, healthP99: quantile(await health, 0.99) };
}

/**
 * A heap that grows once, or a slow machine on which nobody was refused yet, is no failure: in the short mode such a
 * round is followed by another. What leaks grows in each of them.
 */
const roundsMax = isNightly ? 1 : 4;

async function survive(t: TestContext, server: RealServer, seconds: number): Promise<void> {
  const outcomes: Outcome[] = [];
  for (let seed = 1; seed <= roundsMax; seed++) {
    const round = await soakOnce(server, seconds, seed);
    outcomes.push(...round.outcomes);
    const { third, last } = quarters(round.memory);
    t.diagnostic(`resident memory: ${third.toFixed(1)} MiB in the third quarter, ${last.toFixed(1)} in the last`);
    t.diagnostic(`/health and /metrics answered within ${round.healthP99.toFixed(1)} ms (p99)`);
    if (isNightly) assert.ok(round.healthP99 < 20, `/health took ${round.healthP99} ms`);
    const isFlat = last <= growthMax * third;
    if (isFlat && Object.values(countsOf(outcomes)).every((count) => count > 0)) break;
    assert.ok(isFlat || seed < roundsMax, `resident memory grew from ${third} to ${last} MiB`);
  }
  checkOutcomes(t, outcomes);
  await server.becomeIdle();
  const prompt = longPrompt(contextTokens - 32, 5);
  const { usage } = await server.complete({ prompt, max_tokens: 32, ignore_eos: true });
  assert.deepEqual([usage.prompt_tokens, usage.completion_tokens], [contextTokens - 32, 32]);
}

const noProc = process.platform !== 'linux' && 'needs /proc';

test(`${secondsFree} s at twice the capacity`, { skip: noProc }, async (t) => {
  const server = await RealServer.start({ flags });
  try {
    await survive(t, server, secondsFree);
  } finally {
    await server.stop();
  }
});

async function surviveInQuota(t: TestContext): Promise<void> {
  const group = makeQuotaGroup(1);
  if (typeof group === 'string') {
    t.diagnostic(`NO QUOTA TESTED: this machine lets us make no cgroup with a quota (${group})`);
    return;
  }
  try {
    const server = await RealServer.start({ flags, launcher: group.launcher });
    try {
      await survive(t, server, secondsInQuota);
    } finally {
      await server.stop();
    }
  } finally {
    group.remove();
  }
}

if (isNightly) test(`${secondsInQuota} s of the same in a quota of one core`, { skip: noProc }, surviveInQuota);

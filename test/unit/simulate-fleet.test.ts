/** Replicas behind a router, simulated: who gets which request, and what that does to the caches. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { divide, mergeResults, predictFleet } from '../../src/cli/simulate/fleet.js';
import type { Policy } from '../../src/cli/simulate/policy.js';
import { parseTraceSpec } from '../../src/cli/simulate/trace.js';
import type { Arrival } from '../../src/scheduler/simulation.js';

const policy: Policy = {
  ...{ itlTarget: 100, maxSequences: 16, maxWaiting: 256, maxWaitingTokens: 1 << 20, queueSeconds: 300 },
  ...{ kvTokens: 8192, stepTokens: 512, lookAhead: 128 },
};
const conditions = { cost: [1, 0.1, 0.05, 0.0001, 0.0005] as const, contextTokens: 4096, goodTtftMs: 2000 };

/** Requests of groups in turn, so far apart that no load is left of the one before. */
const arrivals = (groups: readonly number[], gapMs: number): readonly Arrival[] =>
  groups.map((group, i) => ({
    atMs: i * gapMs,
    promptIds: new Int32Array(100).fill(group, 0, 80).fill(1000 + i, 80),
    outputTokens: 4,
    tenant: '',
    priority: 0,
  }));

const groupsOf = (part: readonly Arrival[]): readonly number[] => part.map(({ promptIds }) => promptIds[0] ?? 0);

test('in turn, each replica gets every third request', () => {
  const parts = divide(arrivals([1, 2, 3, 4, 5, 6, 7], 10), 3, 'round-robin');
  assert.deepEqual(parts.map(groupsOf), [
    [1, 4, 7],
    [2, 5],
    [3, 6],
  ]);
});

test('prompts that begin alike go to the same replica while it has room', () => {
  const groups = Array.from({ length: 60 }, (_, i) => i % 6);
  const parts = divide(arrivals(groups, 60_000), 4, 'cache-aware');
  assert.equal(parts.flat().length, 60);
  for (let group = 0; group < 6; group += 1) {
    const homes = parts.filter((part) => groupsOf(part).includes(group));
    assert.equal(homes.length, 1, `group ${group}`);
  }
});

test('a beginning that everybody asks for is spread: no replica gets more than a quarter above the average', () => {
  const parts = divide(arrivals(new Array(400).fill(7), 1), 4, 'cache-aware');
  const sizes = parts.map((part) => part.length);
  assert.equal(
    sizes.reduce((a, b) => a + b),
    400,
  );
  for (const size of sizes) assert.ok(size <= 1.25 * 100 + 2, `${sizes}`);
});

test('a replica that joins takes its share of the groups, and leaves the others where they were', () => {
  const all = arrivals(
    Array.from({ length: 200 }, (_, i) => i),
    60_000,
  );
  const home = (replicas: number) => {
    const parts = divide(all, replicas, 'cache-aware');
    return new Map(parts.flatMap((part, replica) => groupsOf(part).map((group) => [group, replica] as const)));
  };
  const [before, after] = [home(4), home(5)];
  const moved = [...before].filter(([group, replica]) => after.get(group) !== replica);
  for (const [group] of moved) assert.equal(after.get(group), 4);
  // A fifth of 200 on average.
  assert.ok(moved.length > 20 && moved.length < 65, `${moved.length}`);
});

test('groups that fit into the caches together, but not into each: routing by beginnings finds them', () => {
  // Four replicas of 8,192 tokens; 20 groups of 1,024 tokens each need 20,480.
  const spec = parseTraceSpec('poisson:rate=2,requests=100,shared=1024,groups=20,prompt=32,output=8,seed=3');
  assert.ok(spec);
  const [inTurn, aware] = (['round-robin', 'cache-aware'] as const).map((routing) =>
    predictFleet(spec, 4, routing, policy, conditions),
  );
  assert.ok(inTurn && aware);
  for (const result of [inTurn, aware]) {
    assert.equal(result.completed, 400);
    assert.equal(result.outputTokens, 3200);
    // Each prompt token is computed or found.
    assert.equal(result.prefillTokens + result.cachedTokens, 400 * 1056);
  }
  // Found again: at best all but the first of each group.
  assert.ok(aware.cachedTokens > 0.75 * 380 * 1024, `${aware.cachedTokens}`);
  assert.ok(aware.cachedTokens > 1.5 * inTurn.cachedTokens);
  assert.ok(aware.ttftMs.mean < inTurn.ttftMs.mean);
});

test('one replica is the same whatever the routing; two results are their sum', () => {
  const spec = parseTraceSpec('poisson:rate=3,requests=50,shared=64,groups=5');
  assert.ok(spec);
  const [a, b] = (['round-robin', 'cache-aware'] as const).map((routing) =>
    predictFleet(spec, 1, routing, policy, conditions),
  );
  assert.deepEqual(a, b);
  assert.ok(a);
  const both = mergeResults([a, a]);
  assert.equal(both.requests, 100);
  assert.equal(both.seconds, a.seconds);
  assert.equal(both.ttftMs.count, 2 * a.ttftMs.count);
  assert.equal(both.ttftMs.quantile(0.5), a.ttftMs.quantile(0.5));
  assert.throws(() => predictFleet({ ...spec, kind: 'closed' }, 2, 'round-robin', policy, conditions), {
    code: 'config_invalid',
  });
});

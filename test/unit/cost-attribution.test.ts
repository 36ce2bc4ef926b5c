/** Whose energy it was: the parts add up to the whole, and each is what the work model says. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Attribution, CostAccount, type StepPart } from '../../src/cost/attribution.js';
import type { EnergyTable } from '../../src/cost/energy-table.js';
import { type ModelWork, positionsSeen, workOf } from '../../src/cost/step-work.js';

const near = (actual: number, expected: number, relative = 1e-9) =>
  assert.ok(Math.abs(actual - expected) <= relative * Math.max(Math.abs(expected), 1e-12), `${actual} for ${expected}`);

/** Round figures, so that sums can be done by hand. */
const table: EnergyTable = { memoryBytePj: 1, int8MacPj: 1, fp32MacPj: 1, source: 'made up' };
const model: ModelWork = {
  layers: 4,
  layerBytes: 1000,
  headBytes: 100,
  int8MacsPerToken: 50,
  fp32MacsPerToken: 3,
  int8MacsPerRow: 7,
  fp32MacsPerRow: 2,
  macsPerPosition: 4,
  kvBytesPerPosition: 10,
};

test('a decode alone: all weights, its own context', () => {
  // Weights 1000 + 100; MACs 50 + 3 + 7 + 2; KV (20 read, 1 written, 1 read) · 10; attention to 21 positions · 4.
  assert.deepEqual(workOf([{ tokens: 1, rows: 1, cachedTokens: 20 }], model, table), [1000 + 100 + 62 + 220 + 84]);
});

test('a prompt and a decode together: weights by tokens, the head by rows, the rest is their own', () => {
  const parts = [
    { tokens: 3, rows: 0, cachedTokens: 4 },
    { tokens: 1, rows: 1, cachedTokens: 20 },
  ];
  assert.equal(positionsSeen(parts[0] ?? { tokens: 0, rows: 0, cachedTokens: 0 }), 5 + 6 + 7);
  assert.deepEqual(workOf(parts, model, table), [750 + 3 * 53 + (4 + 6) * 10 + 18 * 4, 250 + 53 + 100 + 9 + 220 + 84]);
});

test('more of one sequence changes its work as the model says, and of the others only what is shared', () => {
  const other = { tokens: 1, rows: 1, cachedTokens: 20 };
  const own = (parts: readonly number[], tokens: number, all: number) => (parts[0] ?? 0) - (1000 * tokens) / all;
  const one = workOf([{ tokens: 4, rows: 0, cachedTokens: 0 }, other], model, table);
  const two = workOf([{ tokens: 8, rows: 0, cachedTokens: 0 }, other], model, table);
  // Own work: tokens · 53, KV 2 · tokens · 10, attention (1 + … + tokens) · 4.
  near(own(one, 4, 5), 4 * 53 + 80 + 40);
  near(own(two, 8, 9), 8 * 53 + 160 + 144);
  near((one[1] ?? 0) - (two[1] ?? 0), 1000 / 5 - 1000 / 9);
});

test('cached positions cost the hitter reading them, not computing them', () => {
  const [cold = 0] = workOf([{ tokens: 64, rows: 1, cachedTokens: 0 }], model, table);
  const [hit = 0] = workOf([{ tokens: 1, rows: 1, cachedTokens: 63 }], model, table);
  near(hit, 1000 + 100 + 62 + (63 + 2) * 10 + 64 * 4);
  assert.ok(hit < cold / 2);
});

test('tokens that later layers do not see count for the layers that see them', () => {
  // Of 4 layers the first sees 8 tokens behind 16; the second and third 4 behind 8, the last 2 behind 4.
  const pruned = [
    { firstLayer: 1, tokens: 4, cachedTokens: 8 },
    { firstLayer: 3, tokens: 2, cachedTokens: 4 },
  ];
  const part = { tokens: 8, rows: 0, cachedTokens: 16, pruned };
  const [work = 0] = workOf([part], model, table);
  const tokens = (8 + 4 + 4 + 2) / 4;
  const kv = (16 + 16 + 2 * (8 + 8) + (4 + 4)) / 4;
  // Each token sees those before it and itself: 8·16 + 36, 4·8 + 10, 2·4 + 3.
  const seen = (164 + 2 * 42 + 11) / 4;
  near(work, 1000 + tokens * 53 + kv * 10 + seen * 4);
  // Beside a decode the weights are shared by what goes through a layer in the mean.
  const [, decode = 0] = workOf([part, { tokens: 1, rows: 0, cachedTokens: 0 }], model, table);
  near(decode, 1000 / (tokens + 1) + 53 + 20 + 4);
});

test('twice the tokens: a share that changes as the model says, and a neighbour that pays no more', () => {
  const joulesOf = (tokens: number): readonly number[] => {
    const attribution = new Attribution(0, 0);
    const accounts = [new CostAccount(), new CostAccount()];
    const works = [
      { tokens, rows: 0, cachedTokens: 0 },
      { tokens: 4, rows: 0, cachedTokens: 32 },
    ];
    const work = workOf(works, model, table);
    const parts = accounts.map((account, i) => ({
      accounts: [account],
      phase: 'prefill' as const,
      work: work[i] ?? 0,
    }));
    // A machine that needs a joule for a unit of work: a step with more work takes more energy.
    const all = work.reduce((sum, one) => sum + one, 0);
    attribution.addStep(all / 1000, parts);
    attribution.settle(all, all / 1000);
    return accounts.map(({ joules }) => joules);
  };
  const [[one = 0, beside = 0], [two = 0, besideTwo = 0]] = [joulesOf(8), joulesOf(16)];
  // Own: tokens · 53, KV 2 · tokens · 10, attention (1 + … + tokens) · 4. Shared: 1000 by tokens.
  near(one, 8 * 53 + 160 + 36 * 4 + (1000 * 8) / 12);
  near(two, 16 * 53 + 320 + 136 * 4 + (1000 * 16) / 20);
  // The neighbour's own work stays; of the weights it pays less, because they serve more tokens.
  near(beside - besideTwo, (1000 * 4) / 12 - (1000 * 4) / 20);
});

test('idle power is learnt, and idle time is nobody else’s', () => {
  const attribution = new Attribution(100, 0);
  attribution.settle(120, 10); // 2 W with nothing to do
  const account = new CostAccount();
  attribution.addStep(4, [{ accounts: [account], phase: 'prefill', work: 5 }]);
  attribution.settle(200, 20); // 80 J: 6 s idle at 2 W, the rest is the step's
  near(attribution.idleJoules, 20 + 12);
  near(account.prefillJoules, 68);
  assert.equal(account.decodeJoules, 0);
  near(account.machineSeconds, 4);
});

test('idle power falls at once to what was measured, and rises slowly: a little work may hide in a window', () => {
  const attribution = new Attribution(0, 0);
  attribution.settle(20, 10); // 2 W
  attribution.settle(30, 20); // 1 W
  attribution.settle(60, 30); // 3 W, of which three tenths of the rise are believed: 1.6 W
  attribution.addStep(4, [{ accounts: [], phase: 'decode', work: 1 }]);
  attribution.settle(140, 40);
  near(attribution.idleJoules, 60 + 6 * 1.6);
});

test('a step is divided by work, and by phase', () => {
  const attribution = new Attribution(0, 0);
  const [a, b] = [new CostAccount(), new CostAccount()];
  attribution.addStep(1, [
    { accounts: [a], phase: 'prefill', work: 3 },
    { accounts: [b], phase: 'decode', work: 1 },
  ]);
  // In any unit: small numbers are work too.
  attribution.addStep(3, [{ accounts: [a], phase: 'decode', work: 0.5 }]);
  attribution.settle(40, 4);
  near(a.prefillJoules, 7.5);
  near(a.decodeJoules, 30);
  near(b.joules, 2.5);
  near(a.machineSeconds + b.machineSeconds, 4);
});

test('whatever happens, accounts and idle time add up to the meter', () => {
  const scenario = fc.array(
    fc.oneof(
      fc.record({ kind: fc.constant('settle' as const), joules: fc.nat(500_000).map((n) => n / 1000) }),
      fc.record({ kind: fc.constant('step' as const) }),
    ),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(scenario, fc.infiniteStream(fc.nat(1_000_000).map((n) => n / 1_000_000)), (events, random) => {
      const accounts = Array.from({ length: 5 }, () => new CostAccount());
      const attribution = new Attribution(7, 3);
      let [joules, seconds] = [7, 3];
      const next = () => random.next().value ?? 0;
      for (const event of events) {
        if (event.kind === 'step') {
          const count = Math.floor(next() * 6);
          const parts: StepPart[] = Array.from({ length: count }, () => ({
            accounts: [accounts[Math.floor(next() * 4.999)] ?? new CostAccount()],
            phase: next() < 0.5 ? 'prefill' : 'decode',
            work: next() * 1e12,
          }));
          const duration = next() * 0.1;
          attribution.addStep(duration, parts);
          seconds += duration * (0.5 + next());
        } else {
          joules += event.joules;
          seconds += next();
          attribution.settle(joules, seconds);
        }
      }
      attribution.settle(joules, seconds);
      const parts = accounts.reduce((sum, account) => sum + account.joules, attribution.idleJoules);
      near(parts, joules - 7);
      near(attribution.totalJoules, joules - 7);
      near(attribution.steps.joules + attribution.idleJoules, joules - 7);
      assert.ok(accounts.every(({ prefillJoules, decodeJoules }) => prefillJoules >= 0 && decodeJoules >= 0));
      assert.ok(attribution.idleJoules >= 0);
    }),
    { numRuns: 1000, seed: 20 },
  );
});

/** Who pays for which step: what the engine says of each, and that the parts make the whole. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CostAccount } from '../../src/cost/attribution.js';
import type { ModelWork } from '../../src/cost/step-work.js';
import { EnergyMonitor, type StepWork } from '../../src/metering/energy-monitor.js';
import { openMeter } from '../../src/metering/open-meter.js';
import type { EnergySource, Meter } from '../../src/metering/types.js';
import { collect, promptOf, request, startKit, stopKit, submitOne } from '../support/engine-kit.js';

/** A machine that draws 10 W all the time, of which its clock knows. */
class SteadyMeter implements Meter {
  source: EnergySource = 'measured';
  readonly description = 'steady';
  seconds = 0;
  joules(): number {
    return 10 * this.seconds;
  }
  close(): void {}
}

const work: ModelWork = {
  layers: 4,
  layerBytes: 1e6,
  headBytes: 2e5,
  int8MacsPerToken: 2e6,
  fp32MacsPerToken: 0,
  int8MacsPerRow: 4e5,
  fp32MacsPerRow: 0,
  macsPerPosition: 1e4,
  kvBytesPerPosition: 1e3,
};

test('each step names its sequences, their phase, and what was cached', async () => {
  const steps: (readonly Omit<StepWork, 'accounts'>[])[] = [];
  const seen: (readonly CostAccount[])[] = [];
  const kit = startKit({
    config: { lookAheadTokensMax: 0 },
    observer: {
      onStep: ({ parts }) => {
        steps.push(parts.map(({ accounts: _, ...rest }) => rest));
        seen.push(...parts.map(({ accounts }) => accounts));
      },
    },
  });
  const account = new CostAccount();
  await collect(submitOne(kit.engine, request(promptOf(40, 1), 3, { accounts: [account] })));
  assert.deepEqual(steps, [
    [{ phase: 'prefill', tokens: 40, rows: 1, cachedTokens: 0 }],
    [{ phase: 'decode', tokens: 1, rows: 1, cachedTokens: 40 }],
    [{ phase: 'decode', tokens: 1, rows: 1, cachedTokens: 41 }],
  ]);
  assert.deepEqual(
    seen.map(([first]) => first === account),
    [true, true, true],
  );
  // The same prompt again: two whole blocks of 16 are found, so the hitter computes 8 tokens.
  steps.length = 0;
  await collect(submitOne(kit.engine, request(promptOf(40, 1), 1)));
  assert.deepEqual(steps, [[{ phase: 'prefill', tokens: 8, rows: 1, cachedTokens: 32 }]]);
  assert.deepEqual(seen.at(-1), []);
  await stopKit(kit);
});

/** Says again what stood 13 tokens before, but for every fifth token: guesses are often right, never always. */
const repeating = (history: readonly number[]): number =>
  history.length % 5 === 0 ? history.length % 97 : (history.at(-13) ?? 1);

for (const speculates of [false, true]) {
  const also = speculates ? ' and wrong guesses' : '';
  test(`many requests, preempted and aborted ones${also} among them: the parts make the whole`, async () => {
    const meter = new SteadyMeter();
    const monitor = new EnergyMonitor(meter, () => meter.seconds * 1000);
    let stepCount = 0;
    const kit = startKit({
      // A pool that is too small for all of them.
      config: { kvBlockCount: 24, sequencesMax: 8, speculates },
      ...(speculates ? { native: { sample: repeating } } : {}),
      observer: {
        onStep: ({ parts }) => {
          stepCount += 1;
          monitor.addStep(0.01, parts, work);
          meter.seconds += 0.0125;
          if (stepCount % 7 === 0) monitor.settle();
        },
      },
    });
    const accounts = Array.from({ length: 12 }, () => new CostAccount());
    const abort = new AbortController();
    const all = accounts.map((account, i) => {
      const { signal } = i === 5 ? abort : new AbortController();
      const generations = kit.engine.submit([request(promptOf(20 + 9 * i, i), 30, { accounts: [account] })], signal);
      return Promise.all(generations.map(collect));
    });
    setImmediate(() => abort.abort());
    await Promise.allSettled(all);
    const { preemptions, speculation } = kit.engine.gauges();
    assert.ok(preemptions > 0);
    assert.equal(speculation.draftTokens > speculation.acceptedTokens, speculates);
    const totals = monitor.totals().get('measured') ?? assert.fail('nothing was measured');
    const paid = accounts.reduce((sum, { joules }) => sum + joules, 0);
    const whole = meter.joules();
    assert.ok(whole > 1);
    assert.ok(Math.abs(paid + totals.idle - whole) < 1e-9 * whole, `${paid} + ${totals.idle} of ${whole}`);
    assert.ok(Math.abs(totals.prefill + totals.decode - paid) < 1e-9 * whole);
    // A fifth of the time no step ran.
    assert.ok(Math.abs(totals.idle - whole / 5) < 1e-9 * whole, `${totals.idle}`);
    monitor.close();
    await stopKit(kit);
  });
}

test('what a lost source had counted stays its own', () => {
  const meter = new SteadyMeter();
  const monitor = new EnergyMonitor(meter, () => meter.seconds * 1000);
  meter.seconds = 2;
  assert.deepEqual([...monitor.totals()], [['measured', { prefill: 0, decode: 0, idle: 20 }]]);
  meter.source = 'tdp';
  meter.seconds = 3;
  const part: StepWork = { accounts: [], phase: 'decode', tokens: 1, rows: 1, cachedTokens: 3 };
  monitor.addStep(1, [part], work);
  const totals = monitor.totals();
  assert.deepEqual(totals.get('measured'), { prefill: 0, decode: 0, idle: 20 });
  assert.deepEqual(totals.get('tdp'), { prefill: 0, decode: 10, idle: 0 });
  monitor.close();
});

test('modelled: the work of all steps by the table, none of it idle, whoever asked for it', () => {
  let ms = 0;
  const { meter } = openMeter({ setting: 'modelled', wattsPerCore: 10, hearsOfSteps: true });
  const monitor = new EnergyMonitor(meter, () => ms);
  ms = 1000;
  monitor.settle();
  const [a, b] = [new CostAccount(), new CostAccount()];
  const plain = { phase: 'decode' as const, tokens: 1, rows: 1, cachedTokens: 3 };
  monitor.addStep(0.1, [{ ...plain, accounts: [a] }], work);
  monitor.addStep(
    0.2,
    [
      { ...plain, accounts: [a] },
      { ...plain, accounts: [b] },
    ],
    work,
  );
  ms = 2000;
  const totals = monitor.totals().get('modelled');
  // Twice all weights, 1.2 MB at 64 pJ a byte; three times a token and a row, 2.4e6 products at 0.3 pJ, 5 positions of
  // the cache, 1 kB each, and 4 positions seen, 1e4 products in floats at 4.6 pJ.
  const expected = (2 * 1.2e6 * 64 + 3 * (2.4e6 * 0.3 + 5 * 1e3 * 64 + 4 * 1e4 * 4.6)) * 1e-12;
  assert.ok(Math.abs((totals?.decode ?? 0) / expected - 1) < 1e-9, `${totals?.decode} for ${expected}`);
  assert.ok(Math.abs((a.joules + b.joules) / expected - 1) < 1e-9);
  assert.equal(totals?.idle, 0);
  assert.throws(() => openMeter({ setting: 'modelled', wattsPerCore: 10 }), { code: 'config_invalid' });
  monitor.close();
});

test('a meter that reads by itself: what it counts is of all the time since its last reading', () => {
  const plug = {
    ...{ source: 'measured' as EnergySource, description: 'a plug', hasNews: true, sum: 0 },
    joules: (): number => {
      plug.hasNews = false;
      return plug.sum;
    },
    close() {},
  };
  let ms = 0;
  const monitor = new EnergyMonitor(plug, () => ms);
  const accounts = [new CostAccount(), new CostAccount()];
  for (const account of accounts) {
    const part: StepWork = { accounts: [account], phase: 'decode', tokens: 1, rows: 1, cachedTokens: 0 };
    monitor.addStep(0.5, [part], work);
    ms += 500;
    // Somebody wants a figure; the plug has not been read meanwhile.
    monitor.settle();
    assert.equal(account.joules, 0);
  }
  plug.sum = 30;
  plug.hasNews = true;
  monitor.settle();
  assert.deepEqual(
    accounts.map(({ joules }) => joules),
    [15, 15],
  );
  monitor.close();
});

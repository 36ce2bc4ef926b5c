/** Who pays for which step: what the engine says of each, and that the parts make the whole. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CostAccount } from '../../src/cost/attribution.js';
import type { ModelWork } from '../../src/cost/step-work.js';
import { EnergyMonitor, type StepWork } from '../../src/metering/energy-monitor.js';
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

test('many requests, preempted and aborted ones among them: the parts make the whole', async () => {
  const meter = new SteadyMeter();
  const monitor = new EnergyMonitor(meter, () => meter.seconds * 1000);
  let stepCount = 0;
  const kit = startKit({
    // A pool that is too small for all of them.
    config: { kvBlockCount: 24, sequencesMax: 8 },
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
  assert.ok(kit.engine.gauges().preemptions > 0);
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

/** The scheduler on a simulated clock: times worked out by hand, and what must hold under any load. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseTraceSpec, syntheticSource } from '../../src/cli/simulate/trace.js';
import { Random } from '../../src/random.js';
import { LogHistogram } from '../../src/scheduler/log-histogram.js';
import {
  type Arrival,
  type ArrivalSource,
  type Served,
  Simulation,
  type SimulationOptions,
} from '../../src/scheduler/simulation.js';
import { StepCost } from '../../src/scheduler/step-cost.js';

const options: SimulationOptions = {
  limits: {
    contextTokens: 8192,
    blockTokens: 16,
    blockCount: 4096,
    sequencesMax: 16,
    waitingMax: 256,
    waitingTokensMax: 1_000_000,
    stepTokensMax: 512,
    stepRowsMax: 512,
    itlTargetMs: 100,
    lookAheadTokensMax: 128,
  },
  cost: new StepCost([2, 0.5, 0.25, 0.0002, 0.0004]),
  queueMsMax: 300_000,
  turnMs: 0.5,
  goodTtftMs: 2000,
  goodItlMs: 100,
};

function arrival(atMs: number, prompt: number, outputTokens: number, more: Partial<Arrival> = {}): Arrival {
  // Prompts share nothing unless a test says so: the first id is the arrival's own.
  const promptIds = new Int32Array(prompt).fill(nextPrompt++);
  return { atMs, promptIds, outputTokens, tenant: '', priority: 0, ...more };
}
let nextPrompt = 1;

function listed(arrivals: readonly Arrival[], onEnded: (served: Served, nowMs: number) => void): ArrivalSource {
  let at = 0;
  return {
    get nextMs() {
      return arrivals[at]?.atMs ?? Number.POSITIVE_INFINITY;
    },
    take: () => arrivals[at++] as Arrival,
    ended: (nowMs, served) => onEnded(served, nowMs),
  };
}

function simulate(arrivals: readonly Arrival[], more: Partial<SimulationOptions> = {}) {
  const served: Served[] = [];
  const result = new Simulation(
    listed(arrivals, (one) => served.push(one)),
    { ...options, ...more },
  ).run();
  return { result, served };
}

const near = (actual: number, expected: number) =>
  assert.ok(Math.abs(actual - expected) < 1e-6 * expected, `${actual} instead of ${expected}`);

describe('one request alone', () => {
  it('takes a turn, its prompt, and a step for each further token', () => {
    const { result, served } = simulate([arrival(1000, 100, 3)]);
    const [one] = served;
    assert.ok(one);
    // 100 tokens that read 1 … 100 positions; then one token that reads 101, one that reads 102, each put behind the
    // step before it while that one ran, so that no turn is waited for.
    const first = 1000.5 + 2 + 50 + 0.25 + 0.0002 * 5050;
    const last = first + 2 * (2 + 0.5 + 0.25) + 0.0004 * (101 + 102);
    near(one.firstMs, first);
    near(one.lastMs, last);
    assert.deepEqual([one.outcome, one.tokens, result.steps, result.good], ['completed', 3, 3, 1]);
    assert.deepEqual([result.prefillTokens, result.outputTokens, result.cachedTokens], [100, 3, 0]);
  });

  it('waits for the turn of every step when nothing is planned ahead', () => {
    const limits = { ...options.limits, lookAheadTokensMax: 0 };
    const ahead = simulate([arrival(0, 100, 3)]).served[0]?.lastMs ?? 0;
    const behind = simulate([arrival(0, 100, 3)], { limits }).served[0]?.lastMs ?? 0;
    near(behind - ahead, 2 * 0.5);
  });

  it('is not good when its first token comes late, or the others', () => {
    const good = (more: Partial<SimulationOptions>) => simulate([arrival(0, 100, 3)], more).result.good;
    assert.deepEqual([good({ goodTtftMs: 53 }), good({ goodTtftMs: 54 })], [0, 1]);
    assert.deepEqual([good({ goodItlMs: 2.7 }), good({ goodItlMs: 2.9 })], [0, 1]);
  });
});

describe('many requests', () => {
  it('all end, or are refused, in a pool and a line that are far too small, and twice in the same way', () => {
    const spec = parseTraceSpec('bursts:rate=6,requests=2000,prompt=200,output=60,spread=1,tenants=5,burst=80,seed=7');
    assert.ok(spec);
    const limits = { ...options.limits, contextTokens: 2048, blockCount: 140, waitingMax: 60 };
    const run = () => new Simulation(syntheticSource(spec), { ...options, limits, queueMsMax: 20_000 }).run();
    const result = run();
    const { requests, completed, refused, timedOut, preemptions } = result;
    assert.equal(requests, 2000);
    assert.equal(completed + refused + timedOut, requests);
    const some = { completed, refused, timedOut, preemptions };
    assert.ok(
      Object.values(some).every((count) => count >= 20),
      JSON.stringify(some),
    );
    assert.deepEqual(run(), result);
  });

  it('of a closed loop are never more at once than clients', () => {
    const spec = parseTraceSpec('closed:clients=5,requests=200,prompt=50,output=20,spread=0.5');
    assert.ok(spec);
    const source = syntheticSource(spec);
    let live = 0;
    let most = 0;
    const counted: ArrivalSource = {
      get nextMs() {
        return source.nextMs;
      },
      take() {
        most = Math.max(most, ++live);
        return source.take();
      },
      ended(nowMs, served) {
        live--;
        source.ended(nowMs, served);
      },
    };
    assert.equal(new Simulation(counted, options).run().completed, 200);
    assert.deepEqual([live, most], [0, 5]);
  });

  it('share a beginning: it is computed once', () => {
    const shared = Int32Array.from({ length: 330 }, (_, i) => (i < 320 ? 5 : 6));
    const arrivals = [0, 1, 2, 3].map((i) => arrival(1000 * i, 330, 2, { promptIds: shared }));
    const { result } = simulate(arrivals);
    assert.deepEqual([result.prefillTokens, result.cachedTokens], [330 + 3 * 10, 3 * 320]);
  });
});

describe('a light client beside a heavy one', () => {
  it('waits for two turns at most, though fifty requests were there before', () => {
    const heavy = Array.from({ length: 50 }, () => arrival(0, 100, 40, { tenant: 'heavy' }));
    const { served } = simulate([...heavy, arrival(200, 100, 40, { tenant: 'light' })], {
      limits: { ...options.limits, sequencesMax: 4 },
    });
    const turns = served.filter(({ tenant }) => tenant === 'heavy').map(({ firstMs, lastMs }) => lastMs - firstMs);
    const light = served.find(({ tenant }) => tenant === 'light');
    assert.ok(light);
    const waited = light.firstMs - light.arrivedMs;
    assert.ok(waited <= 2 * Math.max(...turns), `${waited} ms of turns of ${Math.max(...turns)}`);
    // Without tenants it is the last of 51.
    const alike = [...heavy, arrival(200, 100, 40, { tenant: 'heavy' })];
    const last = simulate(alike, { limits: { ...options.limits, sequencesMax: 4 } }).served.find(
      ({ arrivedMs }) => arrivedMs === 200,
    );
    assert.ok(last && last.firstMs - last.arrivedMs > 8 * Math.max(...turns));
  });
});

describe('running answers while a prompt of 8,000 tokens arrives', () => {
  const load = () => [...Array.from({ length: 4 }, () => arrival(0, 20, 400)), arrival(500, 8000, 2)];
  const slowest = (itlTargetMs: number, stepTokensMax: number) => {
    const limits = { ...options.limits, itlTargetMs, stepTokensMax };
    return simulate(load(), { limits }).result.itlMs.quantile(1);
  };

  it('go on within twice the target when it is cut into chunks, and stand still when it is not', () => {
    assert.ok(slowest(100, 512) <= 200, `${slowest(100, 512)}`);
    // 8,000 tokens and the 32 million positions that they read.
    const whole = 0.5 * 8000 + (0.0002 * 8000 * 8001) / 2;
    assert.ok(slowest(Number.POSITIVE_INFINITY, 8192) > 0.99 * whole);
  });
});

describe('the histogram', () => {
  it('has the quantiles of the values to within a percent', () => {
    const random = new Random(11);
    const values = Array.from({ length: 5000 }, () => Math.exp(3 * random.normal()));
    const histogram = new LogHistogram();
    for (const value of values) histogram.add(value);
    const sorted = values.toSorted((a, b) => a - b);
    for (const q of [0.01, 0.5, 0.95, 0.99, 1]) {
      const exact = sorted[Math.ceil(q * values.length) - 1] ?? Number.NaN;
      assert.ok(Math.abs(histogram.quantile(q) / exact - 1) < 0.01, `${q}: ${histogram.quantile(q)} for ${exact}`);
    }
    assert.equal(histogram.count, 5000);
    near(histogram.mean, values.reduce((sum, value) => sum + value, 0) / 5000);
  });

  it('knows none of no values, and keeps the smallest and the largest apart', () => {
    const histogram = new LogHistogram();
    assert.ok(Number.isNaN(histogram.quantile(0.5)));
    histogram.add(0);
    histogram.add(1e12);
    assert.ok(histogram.quantile(0.5) <= 1e-3 && histogram.quantile(1) > 1e9);
  });
});

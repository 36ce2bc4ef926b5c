/** What `nibble simulate` reads from its command line and from files. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { readCost } from '../../src/cli/simulate/cost.js';
import { limitsOf, type Policy, readPolicy } from '../../src/cli/simulate/policy.js';
import { parseTraceSpec, readTrace, recordedSource, syntheticSource } from '../../src/cli/simulate/trace.js';
import { NibbleError } from '../../src/errors.js';
import type { Arrival, ArrivalSource } from '../../src/scheduler/simulation.js';

const folder = mkdtempSync(join(tmpdir(), 'nibble-simulate-'));
after(() => rmSync(folder, { recursive: true }));

function takeAll(source: ArrivalSource): Arrival[] {
  const arrivals: Arrival[] = [];
  while (source.nextMs < Number.POSITIVE_INFINITY) arrivals.push(source.take());
  return arrivals;
}

function made(text: string): Arrival[] {
  const spec = parseTraceSpec(text) ?? assert.fail(text);
  return takeAll(syntheticSource(spec));
}

const isCoded = (code: string, text: RegExp) => (error: unknown) =>
  error instanceof NibbleError && error.code === code && text.test(error.message);

describe('made requests', () => {
  it('arrive at the rate asked for, with gaps as far apart as a Poisson process has them', () => {
    const times = made('poisson:rate=20,requests=20000').map(({ atMs }) => atMs);
    const gaps = times.slice(1).map((time, i) => time - (times[i] ?? 0));
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
    const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
    // Of 20,000 exponential gaps the mean is known to 0.7 %, the deviation, equal to it, to 1.4 %: four of these.
    assert.ok(Math.abs(mean / 50 - 1) < 0.03, `${mean}`);
    assert.ok(Math.abs(Math.sqrt(variance) / 50 - 1) < 0.06, `${Math.sqrt(variance)}`);
  });

  it('of bursts come together, at the same rate over all', () => {
    const times = made('bursts:rate=20,requests=20000,burst=100').map(({ atMs }) => atMs);
    for (let i = 0; i < times.length; i += 100) {
      assert.equal(new Set(times.slice(i, i + 100)).size, 1);
    }
    assert.equal(new Set(times).size, 200);
    assert.ok(Math.abs((times.at(-1) ?? 0) / 1e6 - 1) < 0.3, `${times.at(-1)} ms for 20,000 requests`);
    assert.equal(new Set(made('bursts:requests=32').map(({ atMs }) => atMs)).size, 2);
  });

  it('have the lengths asked for: all alike, or spread with the same median', () => {
    const alike = made('poisson:requests=50,prompt=70,output=9');
    assert.ok(alike.every(({ promptIds, outputTokens }) => promptIds.length === 70 && outputTokens === 9));
    const spread = made('poisson:requests=4001,prompt=100,output=9,spread=1')
      .map(({ promptIds }) => promptIds.length)
      .toSorted((a, b) => a - b);
    assert.ok(Math.abs((spread[2000] ?? 0) - 100) < 8, `median ${spread[2000]}`);
    // A deviation of 1 of the logarithm: 84 % are below e times the median.
    const below = spread.filter((length) => length < 271).length / spread.length;
    assert.ok(Math.abs(below - 0.84) < 0.02, `${below}`);
  });

  it('share what they are told to share, and nothing else', () => {
    const [a, b] = made('poisson:requests=2,prompt=30,shared=20').map(({ promptIds }) => promptIds);
    assert.ok(a && b);
    assert.equal(a.length, 50);
    assert.deepEqual(a.subarray(0, 20), b.subarray(0, 20));
    assert.ok(a.subarray(20).every((id, i) => id !== b[20 + i]));
  });

  it('are the same for a seed, and others for another', () => {
    const text = 'poisson:requests=50,spread=1,tenants=3,seed=';
    assert.deepEqual(made(`${text}4`), made(`${text}4`));
    assert.notDeepEqual(made(`${text}4`), made(`${text}5`));
    assert.equal(new Set(made(`${text}4`).map(({ tenant }) => tenant)).size, 3);
  });

  it('are refused where a number makes no sense', () => {
    assert.equal(parseTraceSpec('trace.jsonl'), null);
    assert.equal(parseTraceSpec('poissons'), null);
    for (const list of ['speed=1', 'rate', 'rate=', 'rate=0', 'rate=-1', 'prompt=0', 'tenants=1.5', 'toString=1']) {
      assert.throws(() => parseTraceSpec(`poisson:${list}`), isCoded('config_invalid', /trace/), list);
    }
  });
});

describe('a recorded trace', () => {
  const write = (...lines: readonly string[]) => {
    const path = join(folder, 'trace.jsonl');
    writeFileSync(path, `${lines.join('\n')}\n`);
    return path;
  };

  it('is read in order of time', async () => {
    const path = write(
      '{"t":2,"prompt":40,"output":5,"tenant":"b","priority":1}',
      '',
      '{"t":0.5,"prompt":30,"output":4,"group":3,"shared":16}',
      '{"t":1,"prompt":8,"output":1,"group":3,"shared":16}',
    );
    const arrivals = takeAll(recordedSource(await readTrace(path)));
    assert.deepEqual(
      arrivals.map(({ atMs, promptIds, outputTokens, tenant, priority }) => {
        return [atMs, promptIds.length, outputTokens, tenant, priority];
      }),
      [
        [500, 30, 4, '', 0],
        [1000, 8, 1, '', 0],
        [2000, 40, 5, 'b', 1],
      ],
    );
    const [first, second] = arrivals;
    assert.deepEqual(first?.promptIds.subarray(0, 8), second?.promptIds);
    assert.notEqual(first?.promptIds[16], first?.promptIds[15]);
  });

  it('names the line that is wrong', async () => {
    const good = '{"t":1,"prompt":8,"output":1}';
    for (const bad of ['{', '[]', '{"t":-1,"prompt":8,"output":1}', '{"t":1,"prompt":0,"output":1}', '{"t":1}']) {
      await assert.rejects(readTrace(write(good, bad)), isCoded('data_invalid', /2/), bad);
    }
    await assert.rejects(readTrace(join(folder, 'missing')), isCoded('data_unreadable', /missing/));
  });
});

describe('costs', () => {
  it('are five numbers', async () => {
    assert.deepEqual(await readCost('1,0.5, 0.25,0,2e-4'), [1, 0.5, 0.25, 0, 2e-4]);
    for (const text of ['', '1,2,3,4', '1,2,3,4,5,6', '1,2,3,4,x', '1,2,3,4,', '-1,2,3,4,5', 'Infinity,1,1,1,1']) {
      await assert.rejects(readCost(text), isCoded('config_invalid', /cost/), text);
    }
  });

  it('may be what a server has learned', async () => {
    const names = ['step', 'token', 'row', 'prefill_position', 'decode_position'];
    const lines = names.map((per, i) => `nibble_step_cost_ms{per="${per}",model_name="m"} ${2 / 10 ** i}`);
    const server = createServer((request, response) => {
      response.statusCode = request.url === '/metrics' ? 200 : 404;
      response.end(`# HELP nibble_step_cost_ms x\n${lines.join('\n')}\n`);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    try {
      assert.deepEqual(await readCost(`http://127.0.0.1:${port}/`), [2, 0.2, 0.02, 0.002, 0.0002]);
      lines.pop();
      await assert.rejects(readCost(`http://127.0.0.1:${port}`), isCoded('bench_failed', /nibble_step_cost_ms/));
    } finally {
      server.close();
    }
  });
});

describe('a policy', () => {
  it('is a list of changes, one for each use of the option', () => {
    const first = readPolicy('itlTarget=50,maxSequences=8');
    assert.deepEqual(readPolicy('stepTokens=64', first), [{ itlTarget: 50, maxSequences: 8 }, { stepTokens: 64 }]);
    for (const text of ['', 'itl=5', 'itlTarget', 'itlTarget=0', 'maxSequences=513', 'toString=1', 'kvTokens=1e3']) {
      assert.throws(() => readPolicy(text), /must be/, text);
    }
  });

  it('lets every decode fit into a step', () => {
    const policy: Policy = {
      ...{ itlTarget: 100, maxSequences: 64, maxWaiting: 1, maxWaitingTokens: 2, queueSeconds: 3 },
      ...{ kvTokens: 100, stepTokens: 16, lookAhead: 5 },
    };
    const { stepTokensMax, blockCount, waitingMax } = limitsOf(policy, 512);
    assert.deepEqual([stepTokensMax, blockCount, waitingMax], [64, 7, 1]);
  });
});

/** What the page and `nibble top` read out of /metrics. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadBetween } from '../../src/ui/load.js';
import { growth, parseMetrics, quantileBetween, seriesOf, sumOf } from '../../src/ui/metrics-text.js';
import { createFakeServer } from '../support/fake-server.js';

const snapshot = (text: string, atMs = 0) => parseMetrics(text, atMs);

test('series: labels with escapes, infinities, times after the value; comments are none', () => {
  const text = [
    '# HELP a Text.',
    'a 1',
    'a{x="1",y="q\\"u\\\\o\\nte, x=\\"2\\""} 2.5e3 1700000000000',
    'b_bucket{le="+Inf"} +Inf',
  ].join('\n');
  const parsed = snapshot(text, 7);
  assert.equal(parsed.atMs, 7);
  assert.deepEqual(seriesOf(parsed, 'a'), [
    { labels: {}, value: 1 },
    { labels: { x: '1', y: 'q"u\\o\nte, x="2"' }, value: 2500 },
  ]);
  assert.equal(sumOf(parsed, 'a'), 2501);
  assert.equal(sumOf(parsed, 'a', { x: '2' }), 0);
  assert.equal(sumOf(parsed, 'b_bucket', { le: '+Inf' }), Number.POSITIVE_INFINITY);
});

test('a counter that fell was started anew, and grew by what it has', () => {
  assert.equal(growth(snapshot('a 5'), snapshot('a 7'), 'a'), 2);
  assert.equal(growth(snapshot('a 5'), snapshot('a 3'), 'a'), 3);
  assert.equal(growth(snapshot(''), snapshot('a 3'), 'a'), 3);
});

const histogram = (...counts: readonly number[]) => {
  const bounds = ['1', '2', '4', '+Inf'];
  return snapshot(bounds.map((le, i) => `h_bucket{le="${le}"} ${counts[i]}`).join('\n'));
};

test('quantiles are interpolated within their bucket, as Prometheus has it', () => {
  // Ten between 1 and 2, ten between 2 and 4: the median is the border, three quarters are in the middle of the second.
  const [before, after] = [histogram(5, 5, 5, 5), histogram(5, 15, 25, 25)];
  assert.equal(quantileBetween(before, after, 'h', 0.5), 2);
  assert.equal(quantileBetween(before, after, 'h', 0.75), 3);
  assert.equal(quantileBetween(before, after, 'h', 0.25), 1.5);
  assert.equal(quantileBetween(before, before, 'h', 0.5), null);
  // Beyond the last bound nothing is known but the bound.
  assert.equal(quantileBetween(before, histogram(5, 5, 5, 9), 'h', 0.5), 4);
});

test('load: rates over the time between, state at the end', () => {
  const scrape = (atMs: number, prefill: number, decode: number, joules: number, hits: number) =>
    snapshot(
      [
        `nibble_step_tokens_total{model_name="m",phase="prefill"} ${prefill}`,
        `nibble_step_tokens_total{model_name="m",phase="decode"} ${decode}`,
        `nibble_energy_joules_total{phase="decode",source="measured"} ${joules}`,
        'nibble_energy_joules_total{phase="decode",source="tdp"} 100',
        `vllm:prefix_cache_queries{model_name="m"} ${2 * hits}`,
        `vllm:prefix_cache_hits{model_name="m"} ${hits}`,
        'nibble_kv_blocks_capacity{model_name="m"} 100',
        'nibble_kv_blocks_used{model_name="m"} 25',
        'nibble_kv_blocks_cached{model_name="m"} 50',
        'nibble_sequences_running{model_name="m"} 3',
        'nibble_http_requests_total{route="/",method="GET",status="200"} 9',
        `nibble_http_requests_total{route="/",method="GET",status="429"} ${hits}`,
      ].join('\n'),
      atMs,
    );
  const load = loadBetween(scrape(1000, 0, 0, 10, 0), scrape(3000, 400, 100, 30, 8));
  assert.equal(load.promptTokensPerS, 200);
  assert.equal(load.answerTokensPerS, 50);
  assert.equal(load.running, 3);
  assert.equal(load.hitShare, 0.5);
  assert.equal(load.errorsPerS, 4);
  // 20 J in 2 s by the sensor; the estimate that ran before it took over has ended.
  assert.deepEqual(load.energy, {
    source: 'measured',
    watts: { prefill: 0, decode: 10, idle: 0 },
    joulesPerToken: 0.2,
  });
  assert.deepEqual(load.models, [{ name: 'm', running: 3, waiting: 0, kvUsed: 0.25, kvCached: 0.5 }]);
  assert.equal(load.firstTokenP50, null);
});

test('every name that is read is one that a server has', async () => {
  const { body } = await createFakeServer().app.inject('/metrics');
  const parsed = parseMetrics(body, 0);
  const read = new Set<string>();
  const watched = {
    ...parsed,
    series: {
      get: (name: string) => {
        read.add(name);
        return parsed.series.get(name);
      },
    } as unknown as typeof parsed.series,
  };
  loadBetween(watched, watched);
  // These have no series before the first request.
  const whenHappened = ['nibble_http_requests_total', 'vllm:request_success_total'];
  assert.ok(read.size > 10);
  for (const name of whenHappened) assert.match(body, new RegExp(`^# TYPE ${name} counter$`, 'm'));
  assert.deepEqual(
    [...read].filter((name) => !parsed.series.has(name) && !whenHappened.includes(name)),
    [],
  );
});

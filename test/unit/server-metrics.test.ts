import assert from 'node:assert/strict';
import { test } from 'node:test';
import { countersOf } from '../support/fake-native.js';
import { complete, createFakeServer, type FakeServer } from '../support/fake-server.js';

/** Samples by name and labels, without the label that every series has. */
async function scrape(server: FakeServer): Promise<ReadonlyMap<string, number>> {
  const response = await server.app.inject('/metrics');
  assert.equal(response.statusCode, 200);
  assert.match(String(response.headers['content-type']), /^text\/plain; version=0\.0\.4/);
  const samples = new Map<string, number>();
  for (const line of response.body.split('\n')) {
    const match = /^([\w:]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (match === null) continue;
    const labels = (match[2] ?? '').split(',').filter((label) => label !== '' && !label.startsWith('model_name='));
    samples.set(`${match[1]}${labels.length > 0 ? `{${labels.sort().join(',')}}` : ''}`, Number(match[3]));
  }
  return samples;
}

const finished = {
  reason: 'length',
  promptTokens: 10,
  completionTokens: 4,
  cachedTokens: 0,
  queueSeconds: 0.25,
  firstTokenSeconds: 1,
  totalSeconds: 3,
} as const;

test('what only grows is a counter, and nothing else is', async () => {
  const { body } = await createFakeServer().app.inject('/metrics');
  const types = [...body.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type = '']) => [name, type] as const);
  // vLLM's older names of its hits lack the ending.
  const others = ['vllm:prefix_cache_queries', 'vllm:prefix_cache_hits'];
  const isWrong = ([name, type]: readonly [string, string]) => name.endsWith('_total') !== (type === 'counter');
  assert.ok(types.length > 30);
  assert.deepEqual(
    types.filter((row) => isWrong(row) && !others.includes(row[0])),
    [],
  );
  for (const [, help = ''] of body.matchAll(/^# HELP \S+ (.*)$/gm)) assert.match(help, /^[A-Z0-9].*\.$/, help);
});

test('every name that routers read is there from the start', async () => {
  const samples = await scrape(createFakeServer({ loading: true }));
  const names = new Set([...samples.keys()].map((key) => key.replace(/\{.*/, '').replace(/_(bucket|sum|count)$/, '')));
  for (const name of [
    'vllm:num_requests_waiting',
    'vllm:num_requests_running',
    'vllm:kv_cache_usage_perc',
    'vllm:cache_config_info',
    'vllm:prefix_cache_queries',
    'vllm:prefix_cache_hits',
    'vllm:prompt_tokens_total',
    'vllm:generation_tokens_total',
    'vllm:time_to_first_token_seconds',
    'vllm:inter_token_latency_seconds',
    'vllm:e2e_request_latency_seconds',
    'vllm:request_queue_time_seconds',
    'vllm:request_prefill_time_seconds',
    'vllm:request_decode_time_seconds',
    'nibble_sequences_running',
    'nibble_steps_total',
    'nibble_build_info',
  ]) {
    assert.ok(names.has(name), name);
  }
});

test('gauges show what the engine says, the build info what runs', async () => {
  const server = createFakeServer();
  server.engine.runningCount = 5;
  const samples = await scrape(server);
  assert.equal(samples.get('vllm:num_requests_running'), 5);
  assert.equal(samples.get('vllm:num_requests_waiting'), 3);
  assert.equal(samples.get('vllm:kv_cache_usage_perc'), 0.25);
  assert.equal(samples.get('nibble_kv_blocks_capacity'), 64);
  const costs = ['step', 'token', 'row', 'prefill_position', 'decode_position'];
  const learned = costs.map((per) => samples.get(`nibble_step_cost_ms{per="${per}"}`));
  assert.deepEqual(learned, [2, 0.5, 0.25, 0.0002, 0.0004]);
  assert.equal(samples.get('vllm:cache_config_info{block_size="16",num_gpu_blocks="64"}'), 1);
  assert.equal(samples.get('nibble_build_info{isa="avx2",threads="2",version="0.0.0-test"}'), 1);
  assert.ok((await server.app.inject('/metrics')).body.includes('model_name="fake-model"'));
});

test('what the engine reports is counted', async () => {
  const server = createFakeServer();
  const { observer } = server.modelMetrics;
  const work = { weightBytes: 1000, kvBytes: 10, activationBytes: 300, int8Macs: 500, fp32Macs: 50, tableLookups: 70 };
  const counters = countersOf({ ...work, totalNs: 2e9, gateUp: 1.5e9, head: 4e8, wait: 1e8 });
  observer.onStep({ prefillTokens: 7, decodeTokens: 2, counters, parts: [] });
  observer.onFinished(finished);
  observer.onFinished({ ...finished, reason: 'error', completionTokens: 0, firstTokenSeconds: null });
  observer.onToken({ interTokenSeconds: null });
  observer.onToken({ interTokenSeconds: 0.03 });
  const samples = await scrape(server);
  const expected: Readonly<Record<string, number>> = {
    'vllm:request_success_total{finished_reason="length"}': 1,
    nibble_sequences_failed_total: 1,
    'vllm:prompt_tokens_total': 20,
    'vllm:generation_tokens_total': 4,
    'vllm:request_queue_time_seconds_sum': 0.5,
    'vllm:time_to_first_token_seconds_sum': 1,
    'vllm:time_to_first_token_seconds_count': 1,
    'vllm:request_prefill_time_seconds_sum': 0.75,
    'vllm:request_decode_time_seconds_sum': 2,
    'vllm:e2e_request_latency_seconds_sum': 6,
    'vllm:inter_token_latency_seconds_count': 1,
    'vllm:inter_token_latency_seconds_bucket{le="0.025"}': 0,
    'vllm:inter_token_latency_seconds_bucket{le="0.05"}': 1,
    nibble_steps_total: 1,
    'nibble_step_tokens_total{phase="prefill"}': 7,
    'nibble_step_tokens_total{phase="decode"}': 2,
    'nibble_step_seconds_total{operator="gateUp"}': 1.5,
    'nibble_step_seconds_total{operator="head"}': 0.4,
    'nibble_step_bytes_total{source="weights"}': 1000,
    'nibble_step_bytes_total{source="activations"}': 300,
    nibble_step_table_lookups_total: 70,
    'nibble_step_macs_total{type="int8"}': 500,
    'nibble_energy_joules_total{phase="decode",source="tdp"}': 2,
  };
  for (const [name, value] of Object.entries(expected)) assert.equal(samples.get(name), value, name);
});

test('the prefix cache counters grow with requests, responses are counted by route pattern', async () => {
  const server = createFakeServer({ cachedTokens: 1 });
  await complete(server, { model: 'default', prompt: 'abc', n: 2 });
  await complete(server, { model: 'default' });
  await server.app.inject('/v1/models/a');
  await server.app.inject('/v1/models/b');
  await server.app.inject('/nowhere/1');
  await server.app.inject('/nowhere/2');
  const samples = await scrape(server);
  for (const name of ['vllm:prefix_cache_queries', 'vllm:prefix_cache_queries_total']) {
    assert.equal(samples.get(name), 6, name);
  }
  for (const name of ['vllm:prefix_cache_hits', 'vllm:prefix_cache_hits_total'])
    assert.equal(samples.get(name), 2, name);
  const responses = (method: string, route: string, status: number) =>
    samples.get(`nibble_http_requests_total{method="${method}",route="${route}",status="${status}"}`);
  assert.equal(responses('POST', '/v1/completions', 200), 1);
  assert.equal(responses('POST', '/v1/completions', 400), 1);
  assert.equal(responses('GET', '/v1/models/:id', 404), 2);
  assert.equal(responses('GET', 'unmatched', 404), 2);
});

test('money of all that ran; what keys used is for the admin routes only', async () => {
  const { metrics } = createFakeServer();
  const lines = (text: string, pattern: RegExp) => text.split('\n').filter((line) => pattern.test(line));
  const open = await metrics.text();
  // Of requests 1, of the server itself 2, of idle time 4.
  assert.deepEqual(lines(open, /^nibble_(cost|carbon|ledger)/), [
    'nibble_cost_total{currency="EUR"} 7',
    'nibble_carbon_grams_total 7',
    'nibble_ledger_rows_total{result="written"} 7',
    'nibble_ledger_rows_total{result="lost"} 1',
    'nibble_ledger_failures_total 2',
    'nibble_ledger_up 1',
    'nibble_ledger_waiting_rows 3',
  ]);
  assert.doesNotMatch(open, /alice/);
  assert.deepEqual(lines(await metrics.textWithKeys(), /alice/), [
    'nibble_key_energy_joules_total{key="alice"} 10',
    'nibble_key_requests_total{key="alice"} 2',
    'nibble_key_tokens_total{key="alice"} 5',
    'nibble_key_cost_total{key="alice",currency="EUR"} 1',
  ]);
});

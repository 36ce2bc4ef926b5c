import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { pino } from 'pino';
import { createTracing, wantsTraces } from '../../src/server/tracing.js';
import { complete, createFakeServer } from '../support/fake-server.js';

type Value = { readonly stringValue?: string; readonly intValue?: number };
type SentSpan = {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly { readonly key: string; readonly value: Value }[];
  readonly status: { readonly code?: number };
};
type Sent = {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly { readonly key: string; readonly value: Value }[] };
    readonly scopeSpans: readonly { readonly spans: readonly SentSpan[] }[];
  }[];
};

/** A collector: keeps what is sent to it. */
const sent: { readonly url: string; readonly text: string }[] = [];
const collector = createServer((request, response) => {
  const pieces: Buffer[] = [];
  request.on('data', (piece: Buffer) => pieces.push(piece));
  request.on('end', () => {
    sent.push({ url: request.url ?? '', text: Buffer.concat(pieces).toString() });
    response.setHeader('content-type', 'application/json').end('{}');
  });
});
before(() => new Promise<void>((resolve) => void collector.listen(0, '127.0.0.1', resolve)));
after(() => void collector.close());

const attributesOf = ({ attributes }: SentSpan): Readonly<Record<string, unknown>> =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? value.intValue]));
const milliseconds = ({ startTimeUnixNano, endTimeUnixNano }: SentSpan): number =>
  Number(BigInt(endTimeUnixNano) - BigInt(startTimeUnixNano)) / 1e6;

test('traces are off unless a place to send them is named, and nothing says no', async () => {
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://x' };
  assert.equal(wantsTraces({}), false);
  assert.equal(wantsTraces(endpoint), true);
  assert.equal(wantsTraces({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://x' }), true);
  assert.equal(wantsTraces({ ...endpoint, OTEL_SDK_DISABLED: 'true' }), false);
  assert.equal(wantsTraces({ ...endpoint, OTEL_TRACES_EXPORTER: 'none' }), false);
  assert.equal(await createTracing({}, '1', pino({ level: 'silent' })), null);
});

test('a request is a span of the caller, with its queue, prefill and decode; no text is sent', async () => {
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
  process.env.OTEL_RESOURCE_ATTRIBUTES = 'deployment.environment.name=test';
  const tracing = (await createTracing(process.env, '1.2.3', pino({ level: 'silent' }))) ?? assert.fail('no traces');
  const server = createFakeServer({ tracing });
  const [traceId, parentId] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331'];
  const headers = { traceparent: `00-${traceId}-${parentId}-01`, 'x-request-id': 'request-7' };
  const body = { model: 'default', prompt: 'a secret', max_tokens: 4, stop: ['zzz'] };
  assert.equal((await complete(server, body, headers)).status, 200);
  await tracing.close();
  assert.deepEqual(
    sent.map(({ url }) => url),
    ['/v1/traces'],
  );
  const text = sent[0]?.text ?? '';
  assert.ok(!text.includes('secret') && !text.includes('abcd') && !text.includes('zzz'));
  const [found] = (JSON.parse(text) as Sent).resourceSpans;
  const resource = Object.fromEntries(
    found?.resource.attributes.map(({ key, value }) => [key, value.stringValue]) ?? [],
  );
  assert.equal(resource['service.name'], 'nibble');
  assert.equal(resource['service.version'], '1.2.3');
  assert.equal(resource['deployment.environment.name'], 'test');
  const spans = new Map(found?.scopeSpans.flatMap((scope) => scope.spans.map((span) => [span.name, span])));
  const whole = spans.get('POST /v1/completions') ?? assert.fail([...spans.keys()].join());
  assert.deepEqual([whole.traceId, whole.parentSpanId], [traceId, parentId]);
  assert.deepEqual(attributesOf(whole), {
    'http.request.method': 'POST',
    'http.route': '/v1/completions',
    'http.response.status_code': 200,
    'nibble.request.id': 'request-7',
    'gen_ai.response.model': 'fake-model',
    'gen_ai.usage.input_tokens': 8,
    'gen_ai.usage.output_tokens': 4,
  });
  // The times that the fake engine reports, ms.
  for (const [name, expected] of [
    ['queue', 250],
    ['prefill', 250],
    ['decode', 500],
  ] as const) {
    const span = spans.get(name) ?? assert.fail(name);
    assert.deepEqual([span.traceId, span.parentSpanId], [traceId, whole.spanId]);
    assert.ok(Math.abs(milliseconds(span) - expected) < 1, `${name}: ${milliseconds(span)} ms`);
  }
  assert.equal(attributesOf(spans.get('decode') ?? whole)['nibble.finish_reason'], 'length');
});

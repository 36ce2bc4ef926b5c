import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { ModelRegistry } from '../../src/engine/model-registry.js';
import type { PruningPlan } from '../../src/engine/pruning.js';
import { DEFAULT_ALIAS, Routing } from '../../src/engine/routing.js';
import { NibbleError } from '../../src/errors.js';
import { Tally } from '../../src/metering/tally.js';
import type { InfillIds, Tokenizer } from '../../src/model/types.js';
import { type AppOptions, buildApp } from '../../src/server/app.js';
import { Metrics } from '../../src/server/metrics/metrics.js';
import type { ModelMetrics } from '../../src/server/metrics/model-metrics.js';
import { Models } from '../../src/server/models.js';
import { Readiness } from '../../src/server/readiness.js';
import type { ServedModel } from '../../src/server/served-model.js';
import { createFakeTokenizer, FakeEngine, type FakeEngineOptions } from './fake-engine.js';

export type FakeServer = {
  readonly app: FastifyInstance;
  readonly engine: FakeEngine;
  readonly readiness: Readiness;
  readonly models: Models;
  readonly metrics: Metrics;
  /** Of the one model. */
  readonly modelMetrics: ModelMetrics;
  readonly model: ServedModel;
  /** Texts that went to the tokenizer worker. */
  readonly longTexts: string[];
  /** Everything logged, as JSON lines. */
  readonly log: string[];
};

export type FakeServerOptions = FakeEngineOptions &
  Pick<
    AppOptions,
    | 'keys'
    | 'tracing'
    | 'costReports'
    | 'corsOrigins'
    | 'isLocal'
    | 'tls'
    | 'requestMsMax'
    | 'pingMs'
    | 'stallMs'
    | 'page'
  > & {
    readonly tokenizer?: Tokenizer;
    readonly infill?: InfillIds;
    readonly chat?: ServedModel['chat'];
    readonly loading?: boolean;
    readonly costs?: ServedModel['costs'];
    readonly allowsPruning?: boolean;
    readonly usualPruning?: PruningPlan;
  };

/** Renders a conversation as JSON: what a test expects of a template it can read off the prompt. */
export const fakeChat: NonNullable<ServedModel['chat']> = {
  source: 'a template that knows tools and <tool_call>',
  render: async (variables) => JSON.stringify(variables),
};

/** Books in which each part came to as much, in euros. */
function fakeSums(cost: number): Tally {
  const tally = new Tally();
  const growth = { prefillJoules: 0, decodeJoules: 10 * cost, idleJoules: 0, machineSeconds: 3600 };
  tally.add(growth, 'measured', { perKwh: 0, gramsPerKwh: 360_000, pue: 1, hardwarePerHour: cost });
  return tally;
}

const fakeBook: Parameters<Metrics['addCosts']>[0] = {
  prices: {
    ...{ currency: 'EUR', tariffPerKwh: 0, tariffHours: [], carbonGramsPerKwh: 360_000, carbonHours: [], pue: 1 },
    ...{ hardwarePrice: 0, hardwareYears: 1, timeZone: null },
  },
  ...{ requests: fakeSums(1), own: fakeSums(2), idle: fakeSums(4), tick: () => {} },
  keys: new Map([['alice', { tally: fakeSums(1), tokens: 5, requests: 2 }]]),
};

/** The application around a fake engine, not yet listening. */
export function createFakeServer(options: FakeServerOptions = {}): FakeServer {
  const engine = new FakeEngine(options);
  const tokenizer = options.tokenizer ?? createFakeTokenizer();
  const longTexts: string[] = [];
  const metrics = new Metrics('0.0.0-test');
  metrics.addEnergy({ totals: () => new Map([['tdp', { prefill: 1, decode: 2, idle: 3 }]]) });
  metrics.addCosts(fakeBook, { counts: { written: 7, lost: 1, failures: 2 }, isUp: true, waitingRows: 3 });
  const modelMetrics = metrics.addModel();
  const model: ServedModel = {
    id: 'fake-model',
    createdSeconds: 1_700_000_000,
    fingerprint: 'fp_fake',
    engine,
    tokenizer,
    recipe: { architecture: 'llama', weights: { Q4_1: 1 }, activations: 'a8' },
    chat: options.chat === undefined ? fakeChat : options.chat,
    pruning: { isAllowed: options.allowsPruning ?? true, layers: 30, usual: options.usualPruning ?? null },
    infill: options.infill ?? null,
    costs: options.costs ?? null,
    onSequenceEnd: (prompt, cached) => modelMetrics.countPrefixCache(prompt, cached),
    encodeLong: async (text, encodeOptions) => {
      longTexts.push(text);
      return tokenizer.encode(text, encodeOptions);
    },
  };
  const readiness = new Readiness();
  const registry = new ModelRegistry<ServedModel>({
    prepare: async (name) => {
      throw new NibbleError('model_file_not_found', { path: name });
    },
    onFailure: () => undefined,
    budgetBytes: null,
    now: () => performance.now(),
  });
  const routing = new Routing();
  const models = new Models({ registry, routing, readiness, queueMsMax: 1000 });
  if (options.loading !== true) {
    registry.add(model.id, model.id, { model, bytes: 1000, close: () => engine.close() });
    routing.set(DEFAULT_ALIAS, model.id);
    readiness.becomeReady();
    modelMetrics.attach({ id: model.id, engine, level: 'avx2', threads: 2 });
  }
  const page = '<!doctype html><title>A page</title><style>p{}</style><script>1</script>';
  const log: string[] = [];
  const logger = pino({ level: 'debug' }, { write: (line: string) => void log.push(line) });
  const app = buildApp({ page, ...options, models, metrics, logger });
  return { app, engine, readiness, models, metrics, modelMetrics, model, longTexts, log };
}

/** Starts listening on a free port; returns the base URL. */
export async function listen(app: FastifyInstance): Promise<string> {
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  return `http://127.0.0.1:${port}`;
}

/** POSTs a completion. */
export const complete = (server: FakeServer, body: unknown, headers: Record<string, string> = {}) =>
  post(server, '/v1/completions', body, headers);

/** POSTs through Fastify's injection. A string is sent as it is. */
export async function post(server: FakeServer, url: string, body: unknown, headers: Record<string, string> = {}) {
  const response = await server.app.inject({
    method: 'POST',
    url,
    headers: { 'content-type': 'application/json', ...headers },
    payload: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return { status: response.statusCode, headers: response.headers, text: response.body, json: () => response.json() };
}

/** The `data:` payloads of an event stream; comments are left out. */
export function sseData(text: string): string[] {
  return text
    .split('\n\n')
    .filter((event) => event.startsWith('data: '))
    .map((event) => event.slice('data: '.length));
}

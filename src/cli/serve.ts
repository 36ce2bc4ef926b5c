import { createHash } from 'node:crypto';
import type { Command } from 'commander';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { type Config, loadConfig, settingKeys } from '../config.js';
import type { OpenedModel, OpenModel, OpenModelOptions } from '../engine/open-types.js';
import { warmUp } from '../engine/warm-up.js';
import { KV_BLOCK_TOKENS } from '../limits.js';
import { recipeOf } from '../model/recipe.js';
import type { Metrics } from '../server/metrics.js';
import type { Readiness } from '../server/readiness.js';
import type { ServedModel } from '../server/served-model.js';
import { SETTLE_MS, startSmall } from './heap.js';
import { isOpenToAll, listen, onHangup, originsOf, readTls } from './listen.js';
import { packageVersion, writeStdout } from './output.js';
import { addSettingOptions } from './settings.js';

/** What `serve` runs on; everything else is the process. */
type Server = {
  readonly app: FastifyInstance;
  readonly config: Config;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly readiness: Readiness;
};

/** The options of `openModel` that the settings decide. */
export function openOptions(config: Config): OpenModelOptions {
  const { model, threads, activations, kv, contextTokens, kvTokens, offline, home } = config;
  const { maxSequences, maxWaiting, maxWaitingTokens, queueSeconds, itlTarget, speculate } = config;
  const queue = { maxSequences, maxWaiting, maxWaitingTokens, queueSeconds, itlTarget, speculate };
  const packCacheBytes = config.packCacheMb * 1e6;
  return { model, threads, activations, kv, contextTokens, kvTokens, packCacheBytes, offline, home, ...queue };
}

function servedModel(opened: OpenedModel, config: Config): ServedModel {
  const { modelFile } = opened;
  const identity = [packageVersion(), modelFile.id, modelFile.fileBytes, config.activations, config.kv].join('\n');
  return {
    id: modelFile.id,
    createdSeconds: Math.floor(Date.now() / 1000),
    fingerprint: `fp_${createHash('sha256').update(identity).digest('hex').slice(0, 12)}`,
    engine: opened.engine,
    tokenizer: opened.tokenizer,
    recipe: { ...recipeOf(modelFile), activations: config.activations },
    chat: opened.chatTemplate,
    infill: modelFile.tokenizer.infill ?? null,
    encodeLong: opened.encodeLong,
  };
}

/** The one line that says what is running, and where. */
function readyLine(url: string, opened: OpenedModel): string {
  const { level, threads, kvBytes, loadNs } = opened.nativeModel.info;
  const kvTokens = opened.engine.gauges().kvBlocksTotal * KV_BLOCK_TOKENS;
  const kvMiB = Math.round(kvBytes / 1024 / 1024);
  const parts = [
    `model ${opened.modelFile.id}`,
    `isa ${level}`,
    `${threads} thread${threads === 1 ? '' : 's'}`,
    `KV pool ${kvTokens} tokens (${kvMiB} MiB)`,
    `loaded in ${Math.round(loadNs / 1e6)} ms`,
  ];
  return `nibble: ready on ${url} · ${parts.join(' · ')}\n`;
}

/** Resolves after `ms` without keeping the process alive. */
const after = (ms: number): Promise<'late'> =>
  new Promise((resolve) => {
    setTimeout(() => resolve('late'), ms).unref();
  });

/** How long written responses get to reach their readers once every sequence has ended, ms. */
const FLUSH_MS = 2000;

/** Refuses new work, lets running work end within the time given, cuts the rest, closes everything. */
async function shutDown(server: Server, opened: OpenedModel | null): Promise<void> {
  const { app, config, logger, readiness } = server;
  readiness.beginDraining();
  if (opened !== null) {
    const outcome = await Promise.race([opened.engine.drain(), after(config.drainSeconds * 1000)]);
    if (outcome === 'late') logger.warn('running requests were cut: the time to drain is over');
    await opened.engine.close();
  }
  const closed = app.close();
  if ((await Promise.race([closed, after(FLUSH_MS)])) === 'late') app.server.closeAllConnections();
  await closed;
  await opened?.close();
}

/** The first SIGTERM or SIGINT resolves; a second one ends the process at once. */
function firstSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let isFirst = true;
    const onSignal = (signal: NodeJS.Signals) => {
      if (!isFirst) process.exit(signal === 'SIGINT' ? 130 : 143);
      isFirst = false;
      resolve(signal);
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
}

/** Warms the opened model up, joins it to the server and says so. */
async function becomeReady(server: Server, opened: OpenedModel, url: string): Promise<void> {
  await warmUp(opened.engine, opened.tokenizer).catch((error: unknown) => {
    server.logger.warn({ err: error }, 'the model could not be warmed up');
  });
  const model = servedModel(opened, server.config);
  const { level, threads } = opened.nativeModel.info;
  server.metrics.attach({ id: model.id, engine: model.engine, level, threads });
  server.readiness.becomeReady(model);
  await writeStdout(readyLine(url, opened));
}

/**
 * Serves until a signal comes, then ends the process with code 0. Rejects when it can't listen or load; the caller then
 * has to end the process, because the HTTP server may be up.
 */
export async function serve(config: Config, openModel: OpenModel): Promise<void> {
  const stopped = firstSignal();
  const endOfStart = startSmall();
  const tls = readTls(config);
  const [{ createLogger }, { Metrics }, { Readiness }, { KeyStore, readKeys }] = await Promise.all([
    import('../server/logger.js'),
    import('../server/metrics.js'),
    import('../server/readiness.js'),
    import('../server/access/keys.js'),
  ]);
  const keyEntries = () => readKeys(config.apiKeyFile, process.env.NIBBLE_API_KEYS);
  const keys = new KeyStore(keyEntries());
  const logger = createLogger(config.logLevel);
  const metrics = new Metrics(packageVersion());
  const readiness = new Readiness();
  const loading = new AbortController();
  // Loading has threads of its own, so it starts before the HTTP framework is read; a failure is told after listening.
  const opening = openModel({
    ...openOptions(config),
    ...(config.pinPrefix === null ? {} : { pinPrefix: config.pinPrefix }),
    observer: metrics.observer,
    onPinned: (prefixes) => logger.info({ prefixes }, 'prefixes pinned'),
    onWarning: (message) => logger.warn(message),
    signal: loading.signal,
  });
  opening.catch(() => undefined);
  const { buildApp } = await import('../server/app.js');
  const requestMsMax = config.requestSeconds === null ? null : config.requestSeconds * 1000;
  const app = buildApp({ readiness, metrics, logger, keys, tls, requestMsMax, corsOrigins: originsOf(config) });
  const server: Server = { app, config, logger, metrics, readiness };

  // Listening doesn't wait for the model: probes should see "loading", not a refused connection.
  const url = await listen(app, config);
  logger.info({ url, model: config.model }, 'loading');
  if (isOpenToAll(config) && !keys.isClosed) {
    logger.warn({ host: config.host }, 'other machines can use this server, and no API key is needed');
  }
  onHangup(app, config, logger, () => keys.replace(keyEntries()));
  const first = await Promise.race([opening, stopped]);
  if (typeof first === 'string') {
    // Stopped while loading: nothing to drain, and loading may not be interruptible.
    logger.info({ signal: first }, 'stopped while loading');
    loading.abort();
    process.exit(0);
  }
  await becomeReady(server, first, url);
  setTimeout(endOfStart, SETTLE_MS).unref();
  const signal = await stopped;
  logger.info({ signal }, 'draining');
  await shutDown(server, first);
  logger.info('stopped');
  process.exit(0);
}

/** Adds `nibble serve`. */
export function registerServe(program: Command): void {
  const command = program.command('serve').description('Serve a model over HTTP with the OpenAI completions API.');
  addSettingOptions(command, settingKeys).action(async (flags: Readonly<Record<string, unknown>>) => {
    const config = loadConfig(flags, process.env);
    await serve(config, async (options) => (await import('../engine/open.js')).openModel(options));
  });
}

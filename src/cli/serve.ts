import { availableParallelism, setPriority } from 'node:os';
import type { Command } from 'commander';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { type Config, loadConfig, settingKeys, unknownVariables } from '../config.js';
import type { PrepareModel } from '../engine/open-types.js';
import type { KeyStore } from '../server/access/keys.js';
import type { Models } from '../server/models.js';
import { bannerOf } from './banner.js';
import { SETTLE_MS, startSmall } from './heap.js';
import type { KvEvents } from './kv-events/index.js';
import { isOpenToAll, listen, onHangup, originsOf, readTls } from './listen.js';
import { packageVersion, readPage, writeStdout } from './output.js';
import { AdminKeys, startAdmin } from './serve-admin.js';
import { startEnergy } from './serve-energy.js';
import { becomeReady, createModels, ModelOpener, namedSources, openFirst } from './serve-models.js';
import { addSettingOptions } from './settings.js';

/** What `serve` runs on; everything else is the process. */
type Server = {
  readonly app: FastifyInstance;
  readonly config: Config;
  readonly logger: Logger;
  readonly models: Models;
};

/** Resolves after `ms` without keeping the process alive. */
const after = (ms: number): Promise<'late'> =>
  new Promise((resolve) => {
    setTimeout(() => resolve('late'), ms).unref();
  });

/** How long written responses get to reach their readers once every sequence has ended, ms. */
const FLUSH_MS = 2000;

/** Refuses new work, lets running work end within the time given, cuts the rest, closes everything. */
async function shutDown({ app, config, logger, models }: Server): Promise<void> {
  models.readiness.beginDraining();
  models.registry.close();
  const loaded = models.registry.loaded();
  const drained = Promise.all(loaded.map(({ model }) => model.engine.drain()));
  if ((await Promise.race([drained, after(config.drainSeconds * 1000)])) === 'late') {
    logger.warn('running requests were cut: the time to drain is over');
  }
  await Promise.all(loaded.map(({ model }) => model.engine.close()));
  const closed = app.close();
  if ((await Promise.race([closed, after(FLUSH_MS)])) === 'late') app.server.closeAllConnections();
  await closed;
  await Promise.all(loaded.map((model) => model.close()));
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

/** Says what is allowed and yet hardly meant. */
function warnOfSettings(config: Config, keys: KeyStore, logger: Logger): void {
  const { host, threads } = config;
  if (isOpenToAll(config) && !keys.isClosed) {
    logger.warn({ host }, 'other machines can use this server, and no API key is needed');
  }
  const variables = unknownVariables(process.env);
  if (variables.length > 0) logger.warn({ variables }, 'these variables are no settings (docs/configuration.md)');
  const cpus = availableParallelism();
  if (threads !== null && threads > cpus) {
    logger.warn({ threads, cpus }, 'there are more threads than CPUs: in each step all wait for those without one');
  }
}

async function openKvEvents({ kvEvents }: Config, logger: Logger): Promise<KvEvents | null> {
  if (kvEvents === null) return null;
  const events = await (await import('./kv-events/index.js')).KvEvents.open(kvEvents);
  const isOpen = isOpenToAll({ host: events.host, socket: null });
  if (isOpen) logger.warn({ kvEvents }, 'whoever reaches this address can read the tokens of prompts');
  return events;
}

/** What the application takes of the settings. */
const appSettings = (config: Config) => ({
  requestMsMax: config.requestSeconds === null ? null : config.requestSeconds * 1000,
  corsOrigins: originsOf(config),
  // No browser reaches a socket's path.
  isLocal: config.socket === null && !isOpenToAll(config),
  page: readPage(),
});

/**
 * Serves until a signal comes, then ends the process with code 0. Rejects when it can't listen or load; the caller then
 * has to end the process, because the HTTP server may be up.
 */
export async function serve(config: Config, prepareModel: PrepareModel): Promise<void> {
  const stopped = firstSignal();
  // Before there are threads: they get what their maker has.
  if (config.nice > 0) setPriority(config.nice);
  const endOfStart = startSmall();
  const tls = readTls(config);
  const sources = namedSources(config);
  const [{ createLogger }, { Metrics }, { KeyStore, readKeys }] = await Promise.all([
    import('../server/logger.js'),
    import('../server/metrics/metrics.js'),
    import('../server/access/keys.js'),
  ]);
  const keyEntries = () => readKeys(config.apiKeyFile, process.env.NIBBLE_API_KEYS);
  const keys = new KeyStore(keyEntries());
  const adminKeys = new AdminKeys(config);
  const logger = createLogger(config.logLevel);
  const metrics = new Metrics(packageVersion());
  const loading = new AbortController();
  const energy = startEnergy(config, logger);
  if (energy !== null) {
    metrics.addEnergy(energy.monitor);
    metrics.addCosts(energy.book, energy.ledger);
  }
  const kvEvents = await openKvEvents(config, logger);
  const opener = new ModelOpener(config, prepareModel, metrics, logger, { energy, kvEvents });
  // Loading has threads of its own, so it starts before the HTTP framework is read; a failure is told after listening.
  const opening = openFirst(opener, config, sources, loading.signal);
  opening.catch(() => undefined);
  const { buildApp } = await import('../server/app.js');
  const models = await createModels(opener, config, logger);
  const { createTracing } = await import('../server/tracing.js');
  const tracing = await createTracing(process.env, packageVersion(), logger);
  const app = buildApp({ models, metrics, tracing, logger, keys, tls, ...appSettings(config), costReports: energy });
  const server: Server = { app, config, logger, models };

  // Listening doesn't wait for the model: probes should see "loading", not a refused connection.
  const url = await listen(app, config);
  logger.info({ url, model: sources[0]?.source }, 'loading');
  warnOfSettings(config, keys, logger);
  const admin = await startAdmin(config, adminKeys, { models, metrics, logger, tls, costReports: energy });
  onHangup(app, config, logger, () => {
    keys.replace(keyEntries());
    adminKeys.reload();
  });
  const first = await Promise.race([opening, stopped]);
  if (typeof first === 'string') {
    // Stopped while loading: nothing to drain, and loading may not be interruptible.
    logger.info({ signal: first }, 'stopped while loading');
    loading.abort();
    process.exit(0);
  }
  becomeReady(models, first, sources);
  const addresses = { url, adminUrl: admin?.url ?? null };
  await writeStdout(bannerOf(addresses, first, energy?.monitor ?? null, process.stdout.isTTY === true));
  void app.compileSchemas().then(() => setTimeout(endOfStart, SETTLE_MS).unref());
  const signal = await stopped;
  logger.info({ signal }, 'draining');
  void admin?.app.close();
  await shutDown(server);
  kvEvents?.close();
  await Promise.all([tracing?.close(), energy?.close()]);
  logger.info('stopped');
  process.exit(0);
}

/** Adds `nibble serve`. */
export function registerServe(program: Command): void {
  const command = program.command('serve').description("Serve models over HTTP with OpenAI's API.");
  addSettingOptions(command, settingKeys).action(async (flags: Readonly<Record<string, unknown>>) => {
    const config = loadConfig(flags, process.env);
    await serve(config, async (options) => (await import('../engine/open.js')).prepareModel(options));
  });
}

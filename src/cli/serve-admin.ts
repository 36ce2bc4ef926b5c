/** The admin routes of `serve`: whether there are any, where, and for whom. */
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import type { Config } from '../config.js';
import { configInvalid } from '../errors.js';
import { type KeyEntry, KeyStore, readKeys } from '../server/access/keys.js';
import type { TlsFiles } from '../server/app.js';
import type { Metrics } from '../server/metrics/metrics.js';
import type { Models } from '../server/models.js';
import type { CostReports } from '../server/routes/cost.js';
import { listen } from './listen.js';

export type Admin = { readonly app: FastifyInstance; readonly url: string };

/** Keys of the admin routes; null if there are no such routes. */
export class AdminKeys {
  readonly #config: Config;
  readonly store: KeyStore | null;

  /** Throws `config_invalid` if there shall be routes that nobody may use, or everybody. */
  constructor(config: Config) {
    this.#config = config;
    this.store = config.adminPort === null ? null : new KeyStore(this.#read());
  }

  reload(): void {
    this.store?.replace(this.#read());
  }

  #read(): readonly KeyEntry[] {
    const entries = readKeys(this.#config.adminKeyFile, process.env.NIBBLE_ADMIN_KEYS, 'adminKeyFile');
    if (entries.length > 0) return entries;
    const message = 'needs a key of its own: set NIBBLE_ADMIN_KEYS or adminKeyFile';
    throw configInvalid('adminPort', message);
  }
}

/** Listens for the admin routes, if there shall be any. Throws `listen_failed`. */
export async function startAdmin(
  config: Config,
  keys: AdminKeys,
  parts: {
    readonly models: Models;
    readonly metrics: Metrics;
    readonly logger: Logger;
    readonly tls: TlsFiles | null;
    readonly costReports: CostReports | null;
  },
): Promise<Admin | null> {
  if (keys.store === null || config.adminPort === null) return null;
  const { buildAdminApp } = await import('../server/admin-app.js');
  const app = buildAdminApp({ ...parts, keys: keys.store, drainMs: config.drainSeconds * 1000 });
  const url = await listen(app, { ...config, host: config.adminHost, port: config.adminPort, socket: null });
  parts.logger.info({ url }, 'admin routes');
  return { app, url };
}

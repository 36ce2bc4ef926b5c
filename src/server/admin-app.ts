import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import type { KeyStore } from './access/keys.js';
import { createFastify, type TlsFiles } from './app.js';
import type { Metrics } from './metrics/metrics.js';
import type { Models } from './models.js';
import { registerAccess } from './plugins/access.js';
import { registerErrors } from './plugins/errors.js';
import { registerAdmin } from './routes/admin.js';
import { type CostReports, registerCost } from './routes/cost.js';
import { registerKeyMetrics } from './routes/metrics.js';

export type AdminAppOptions = {
  readonly models: Models;
  readonly metrics: Metrics;
  readonly logger: FastifyBaseLogger;
  /** Keys of their own; there is at least one. */
  readonly keys: KeyStore;
  readonly tls: TlsFiles | null;
  /** Time that requests get to finish on a model that is unloaded, ms. */
  readonly drainMs: number;
  /** What requests have cost; null: nobody knows. */
  readonly costReports: CostReports | null;
};

/** The HTTP application of whoever runs the server: on an address of its own, so that it can stay on this machine. */
export function buildAdminApp({
  models,
  metrics,
  logger,
  keys,
  tls,
  drainMs,
  costReports,
}: AdminAppOptions): FastifyInstance {
  const app = createFastify(logger, tls, metrics);
  app.removeContentTypeParser('text/plain');
  registerErrors(app, []);
  registerAccess(app, keys, null);
  registerAdmin(app, models, drainMs);
  registerKeyMetrics(app, metrics);
  registerCost(app, costReports, () => null);
  return app;
}

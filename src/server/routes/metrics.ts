import type { FastifyInstance } from 'fastify';
import type { Metrics } from '../metrics/metrics.js';

/** GET /metrics, in Prometheus' text format. Reads counters and gauges only; never waits on compute. */
export function registerMetrics(app: FastifyInstance, metrics: Metrics): void {
  app.get('/metrics', async (_request, reply) => {
    reply.header('content-type', metrics.contentType);
    return metrics.text();
  });
}

/** The same for whoever runs the server, with what each API key has used. */
export function registerKeyMetrics(app: FastifyInstance, metrics: Metrics): void {
  app.get('/admin/metrics', async (_request, reply) => {
    reply.header('content-type', metrics.contentType);
    return metrics.textWithKeys();
  });
}

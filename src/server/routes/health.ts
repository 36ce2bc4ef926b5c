import type { FastifyInstance } from 'fastify';
import type { Static } from 'typebox';
import type { Readiness } from '../readiness.js';
import type { LoadingBody } from '../schemas/health.js';

const loadingBody: Static<typeof LoadingBody> = {
  error: { code: 503, message: 'Loading model', type: 'unavailable_error' },
};

/**
 * GET /health: is the process alive and its model loaded? It stays 200 while draining, or an orchestrator would kill a
 * server that is finishing its requests. GET /ready: should it get new requests?
 */
export function registerHealth(app: FastifyInstance, readiness: Readiness): void {
  app.get('/health', async (_request, reply) => {
    if (readiness.state === 'loading') return reply.code(503).send(loadingBody);
    return { status: 'ok' };
  });
  app.get('/ready', async () => {
    readiness.requireReady();
    return { status: 'ready' };
  });
}

import type { FastifyInstance } from 'fastify';
import type { Readiness } from '../readiness.js';

/** What llama-server answers while it loads: probes written for it look at this body, whose code is a number. */
const loadingBody = { error: { code: 503, message: 'Loading model', type: 'unavailable_error' } } as const;

/**
 * GET /health: is the process alive and its model loaded? It stays 200 while draining, or an orchestrator would kill a
 * server that is finishing its requests. GET /ready: should it get new requests?
 */
export function registerHealth(app: FastifyInstance, readiness: Readiness): void {
  app.get('/health', async (_request, reply) => {
    if (readiness.state.kind === 'loading') return reply.code(503).send(loadingBody);
    return { status: 'ok' };
  });
  app.get('/ready', async () => {
    readiness.requireModel();
    return { status: 'ready' };
  });
}

import type { FastifyInstance } from 'fastify';
import { NibbleError } from '../../errors.js';
import type { ApiKey, KeyStore } from '../access/keys.js';
import { operations } from '../openapi/operations.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** The key that the request came with; null where none is needed. */
    apiKey: ApiKey | null;
  }
}

/** Probes, scrapers and the description of the API come without a key: they neither cost nor tell anything. */
const openRoutes: ReadonlySet<string> = new Set(operations.filter(({ isOpen }) => isOpen).map(({ path }) => path));

/** Refuses requests without a known key, if keys are in force. */
export function registerAccess(app: FastifyInstance, keys: KeyStore): void {
  app.decorateRequest('apiKey', null);
  app.addHook('onRequest', async (request, reply) => {
    if (!keys.isClosed || openRoutes.has(request.routeOptions.url ?? '')) return;
    request.apiKey = keys.find(request.headers.authorization);
    if (request.apiKey !== null) return;
    reply.header('www-authenticate', 'Bearer');
    throw new NibbleError('invalid_api_key', {});
  });
}

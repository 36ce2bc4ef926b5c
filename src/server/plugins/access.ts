import type { FastifyInstance } from 'fastify';
import { NibbleError } from '../../errors.js';
import type { ApiKey, KeyStore } from '../access/keys.js';
import { operations } from '../openapi/operations.js';
import { isLocalHost } from './hosts.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** The key that the request came with; null where none is needed. */
    apiKey: ApiKey | null;
  }
}

/** Probes, scrapers and the description of the API come without a key: they neither cost nor tell anything. */
const openRoutes: ReadonlySet<string> = new Set(operations.filter(({ isOpen }) => isOpen).map(({ path }) => path));

/**
 * Refuses requests without a known key, if keys are in force. Without keys, requests to other hosts' names: `hostNames`
 * are those that a server on a loopback address has, null if it is meant for other machines.
 */
export function registerAccess(app: FastifyInstance, keys: KeyStore, hostNames: ReadonlySet<string> | null): void {
  app.decorateRequest('apiKey', null);
  app.addHook('onRequest', async (request, reply) => {
    if (openRoutes.has(request.routeOptions.url ?? '')) return;
    if (!keys.isClosed) {
      if (hostNames === null || isLocalHost(request.headers.host, hostNames)) return;
      throw new NibbleError('host_unknown', { host: (request.headers.host ?? '').slice(0, 128) });
    }
    request.apiKey = keys.find(request.headers.authorization);
    if (request.apiKey !== null) return;
    reply.header('www-authenticate', 'Bearer');
    throw new NibbleError('invalid_api_key', {});
  });
}

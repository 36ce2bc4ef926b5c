import type { FastifyInstance } from 'fastify';
import type { KeyStore } from '../access/keys.js';
import { openApiDocument } from '../openapi/document.js';
import { documentationPage, pagePolicy } from '../openapi/page.js';

/** GET /openapi.json and GET /docs: the API for programs and for people. */
export function registerDocs(app: FastifyInstance, version: string, keys: KeyStore): void {
  app.get('/openapi.json', async () => openApiDocument(version, keys.isClosed));
  app.get('/docs', async (_request, reply) => {
    reply.header('content-security-policy', pagePolicy);
    reply.type('text/html; charset=utf-8');
    return documentationPage(version);
  });
}

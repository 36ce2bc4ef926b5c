import type { FastifyInstance } from 'fastify';
import type { KeyStore } from '../access/keys.js';
import { openApiDocument } from '../openapi/document.js';
import { documentationPage, pagePolicy } from '../openapi/page.js';

/** GET /openapi.json and GET /docs: the API for programs and for people. Open to everybody, so that they are kept. */
export function registerDocs(app: FastifyInstance, version: string, keys: KeyStore): void {
  const documents = new Map<boolean, string>();
  let page: string | null = null;
  app.get('/openapi.json', async (_request, reply) => {
    reply.type('application/json; charset=utf-8');
    const document = documents.get(keys.isClosed) ?? JSON.stringify(openApiDocument(version, keys.isClosed));
    documents.set(keys.isClosed, document);
    return document;
  });
  app.get('/docs', async (_request, reply) => {
    reply.header('content-security-policy', pagePolicy);
    reply.type('text/html; charset=utf-8');
    page ??= documentationPage(version);
    return page;
  });
}

import type { FastifyInstance } from 'fastify';

/** GET /version. */
export function registerVersion(app: FastifyInstance, version: string): void {
  app.get('/version', async () => ({ version }));
}

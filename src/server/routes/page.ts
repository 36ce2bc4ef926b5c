import { createHash } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import { NibbleError } from '../../errors.js';

/** What a policy names an inline script or style by. */
function hashesOf(page: string, tag: 'script' | 'style'): string {
  const texts = [...page.matchAll(new RegExp(`<${tag}>([\\s\\S]*?)</${tag}>`, 'g'))];
  return texts.map(([, text = '']) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`).join(' ');
}

/** The page may run its own script, use its own style and ask its own server: nothing else, and nobody may frame it. */
function policyOf(page: string): string {
  return [
    "default-src 'none'",
    `script-src ${hashesOf(page, 'script')}`,
    `style-src ${hashesOf(page, 'style')}`,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
}

/** GET /: the page for people, one HTML file. Open to everybody: where a key is needed, the page asks for it. */
export function registerPage(app: FastifyInstance, page: string | null): void {
  const policy = policyOf(page ?? '');
  app.get('/', async (_request, reply) => {
    if (page === null) throw new NibbleError('route_not_found', { method: 'GET', url: '/' });
    reply.header('content-security-policy', policy);
    reply.type('text/html; charset=utf-8');
    return page;
  });
}

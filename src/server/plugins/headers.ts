import type { FastifyReply } from 'fastify';

/**
 * Headers for browsers, on every response: nothing here is a page to be framed, a script or a thing to be kept. The
 * documentation page has a policy of its own.
 */
export function setSecurityHeaders(reply: FastifyReply, isEncrypted: boolean): void {
  reply.header('x-content-type-options', 'nosniff');
  reply.header('referrer-policy', 'no-referrer');
  reply.header('cache-control', 'no-store');
  reply.header('content-security-policy', "default-src 'none'; frame-ancestors 'none'");
  if (isEncrypted) reply.header('strict-transport-security', 'max-age=31536000');
}

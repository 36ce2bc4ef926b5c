import { randomUUID } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Metrics } from '../metrics/metrics.js';

const saneId = /^[\w.:-]{1,128}$/;

/** The caller's request id if it is harmless in logs and headers, else a new one. */
export function requestIdFrom(header: string | readonly string[] | undefined): string {
  return typeof header === 'string' && saneId.test(header) ? header : randomUUID();
}

/** Probes and scrapers come many times a second; their lines would drown the others. */
const quietRoutes: ReadonlySet<string> = new Set(['/health', '/ready', '/metrics']);

/** Gives a response its request id, counts it, and logs one line about it: never its content. */
export function followRequest(request: FastifyRequest, reply: FastifyReply, metrics: Metrics): void {
  reply.header('x-request-id', request.id);
  // Fastify's onResponse doesn't run when the client leaves before an answer; `close` comes in any case.
  reply.raw.once('close', () => finish(request, reply, metrics));
}

function finish(request: FastifyRequest, reply: FastifyReply, metrics: Metrics): void {
  const route = request.routeOptions.url ?? 'unmatched';
  // A response that was never ended lost its client; 499 is what nginx calls that.
  const status = reply.raw.writableEnded ? reply.raw.statusCode : 499;
  metrics.countResponse(route, request.method, status);
  const ms = Math.round(reply.elapsedTime);
  const line = { method: request.method, route, status, code: request.errorCode ?? undefined, ms };
  if (quietRoutes.has(route)) request.log.debug(line, 'request');
  else request.log.info(line, 'request');
}

import { setMaxListeners } from 'node:events';
import type { FastifyReply } from 'fastify';

/**
 * A controller that aborts when the client goes away before its response is complete.
 *
 * Fastify's `request.signal` isn't usable: it aborts as soon as the body of a POST has been read. The response's
 * `close` comes once in any case; whether everything had been written tells a disconnect from a normal end.
 */
export function abortOnDisconnect(reply: FastifyReply): AbortController {
  const controller = new AbortController();
  // Every sequence of the request listens to the same signal.
  setMaxListeners(0, controller.signal);
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort();
  });
  if (reply.raw.destroyed || reply.raw.socket?.destroyed === true) controller.abort();
  return controller;
}

import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Generation, GenerationRequest } from '../../engine/types.js';
import { LOGGED_FIELDS_MAX } from '../../limits.js';
import { describeError } from '../plugins/errors.js';
import type { ErrorBody } from '../schemas/error.js';
import type { ServedModel } from '../served-model.js';
import { abortOnDisconnect } from './abort.js';
import { type SseOptions, SseStream } from './sse.js';

/** A request understood, and the two ways to answer it. */
export type Job = {
  readonly requests: readonly GenerationRequest[];
  readonly isStream: boolean;
  /** The whole answer. Rejects with the first failure. */
  readonly collect: (generations: readonly Generation[]) => Promise<object>;
  /** Sends all but the end of the stream. Rejects with the first failure. */
  readonly stream: (sse: SseStream, generations: readonly Generation[]) => Promise<void>;
  /** Tells the reader of a stream about a failure; by default as OpenAI's completions do. */
  readonly streamError?: (sse: SseStream, body: ErrorBody) => Promise<void>;
  /** Whether the stream ends with `[DONE]`; by default it does. */
  readonly hasMarker?: boolean;
};

/** Names only, shortened: values are the user's, and even a name can be long. */
export function logIgnoredFields(request: FastifyRequest, names: readonly string[]): void {
  if (names.length === 0) return;
  const fields = names.slice(0, LOGGED_FIELDS_MAX).map((name) => name.slice(0, 64));
  request.log.debug({ fields, fieldCount: names.length }, 'fields ignored');
}

/**
 * Runs the sequences of a request and answers it, streamed or whole. A client that leaves ends them; so does the first
 * failure. What fails before the head is out becomes an error response.
 */
export async function respond(
  request: FastifyRequest,
  reply: FastifyReply,
  model: ServedModel,
  sseOptions: SseOptions,
  plan: () => Promise<Job>,
): Promise<unknown> {
  const controller = abortOnDisconnect(reply);
  const job = await plan();
  if (controller.signal.aborted) return reply.hijack();
  const generations = model.engine.submit(job.requests, controller.signal);
  if (!job.isStream) {
    try {
      return await job.collect(generations);
    } catch (error) {
      if (controller.signal.aborted) return reply.hijack();
      controller.abort();
      throw error;
    }
  }
  const sse = new SseStream(reply, sseOptions);
  try {
    await job.stream(sse, generations);
  } catch (error) {
    if (!controller.signal.aborted) {
      // The head is out, so the failure travels in the stream; the other choices end with it.
      controller.abort();
      const { body } = describeError(error, request.log);
      await (job.streamError?.(sse, body) ?? sse.send(body));
    }
  }
  await sse.end(job.hasMarker ?? true);
  return reply;
}

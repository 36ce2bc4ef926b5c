import { randomUUID } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { LOGGED_FIELDS_MAX } from '../../limits.js';
import { abortOnDisconnect } from '../completions/abort.js';
import type { OnSequenceEnd, ResponseHead } from '../completions/choices.js';
import { collectCompletion } from '../completions/collect.js';
import { type CompletionPlan, planCompletion } from '../completions/plan.js';
import { type SseOptions, SseStream } from '../completions/sse.js';
import { streamCompletion } from '../completions/stream.js';
import { describeError } from '../plugins/errors.js';
import type { Readiness } from '../readiness.js';
import { CompletionRequest, unknownFields } from '../schemas/completion-request.js';
import type { ServedModel } from '../served-model.js';

export type CompletionRouteOptions = {
  readonly readiness: Readiness;
  readonly sse: SseOptions;
  readonly onSequenceEnd: OnSequenceEnd;
};

function responseHead(model: ServedModel): ResponseHead {
  return {
    id: `cmpl-${randomUUID().replaceAll('-', '')}`,
    object: 'text_completion',
    created: Math.floor(Date.now() / 1000),
    model: model.id,
    system_fingerprint: model.fingerprint,
  };
}

/** Names only, shortened: values are the user's, and even a name can be long. */
function logIgnoredFields(request: FastifyRequest, body: object): void {
  const names = unknownFields(body);
  if (names.length === 0) return;
  const fields = names.slice(0, LOGGED_FIELDS_MAX).map((name) => name.slice(0, 64));
  request.log.debug({ fields, fieldCount: names.length }, 'fields ignored');
}

/** POST /v1/completions. */
export function registerCompletions(app: FastifyInstance, options: CompletionRouteOptions): void {
  const { readiness, onSequenceEnd } = options;

  const answerStream = async (
    request: FastifyRequest,
    reply: FastifyReply,
    plan: CompletionPlan,
    model: ServedModel,
    controller: AbortController,
  ): Promise<void> => {
    const generations = model.engine.submit(plan.requests, controller.signal);
    const sse = new SseStream(reply, options.sse);
    try {
      await streamCompletion(sse, responseHead(model), plan, generations, model, onSequenceEnd);
    } catch (error) {
      if (!controller.signal.aborted) {
        // The head is out, so the failure travels in the stream; the other choices end with it.
        controller.abort();
        await sse.send(describeError(error, request.log).body);
      }
    }
    await sse.end();
  };

  app.post<{ Body: CompletionRequest }>(
    '/v1/completions',
    {
      schema: { body: CompletionRequest },
      // Before the body is read: a server that can't answer shouldn't take it in.
      onRequest: async () => void readiness.requireModel(),
    },
    async (request, reply) => {
      const controller = abortOnDisconnect(reply);
      const model = readiness.requireModel();
      logIgnoredFields(request, request.body);
      const plan = await planCompletion(request.body, model);
      if (controller.signal.aborted) return reply.hijack();
      if (request.body.stream === true) {
        await answerStream(request, reply, plan, model, controller);
        return reply;
      }
      try {
        const generations = model.engine.submit(plan.requests, controller.signal);
        return await collectCompletion(responseHead(model), plan, generations, model, onSequenceEnd);
      } catch (error) {
        if (controller.signal.aborted) return reply.hijack();
        controller.abort();
        throw error;
      }
    },
  );
}

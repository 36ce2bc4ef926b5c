import { randomUUID } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import type { ResponseHead } from '../completions/choices.js';
import { collectCompletion } from '../completions/collect.js';
import { planCompletion } from '../completions/plan.js';
import { streamCompletion } from '../completions/stream.js';
import { type Job, logIgnoredFields, type RespondOptions, respond } from '../generation/respond.js';
import { CompletionRequest } from '../schemas/completion-request.js';
import { unknownFields } from '../schemas/fields.js';
import type { ServedModel } from '../served-model.js';

/** What every route that generates is given. */
export type GenerationRouteOptions = RespondOptions;

function responseHead(model: ServedModel): ResponseHead {
  return {
    id: `cmpl-${randomUUID().replaceAll('-', '')}`,
    object: 'text_completion',
    created: Math.floor(Date.now() / 1000),
    model: model.id,
    system_fingerprint: model.fingerprint,
  };
}

/** POST /v1/completions. */
export function registerCompletions(app: FastifyInstance, options: GenerationRouteOptions): void {
  const { models } = options;
  app.post<{ Body: CompletionRequest }>(
    '/v1/completions',
    {
      schema: { body: CompletionRequest },
      // Before the body is read: a server that can't answer shouldn't take it in.
      onRequest: async () => models.requireReady(),
    },
    (request, reply) => {
      logIgnoredFields(request, unknownFields(CompletionRequest, request.body));
      return respond(request, reply, options, async (model): Promise<Job> => {
        const plan = await planCompletion(request.body, model);
        const head = responseHead(model);
        return {
          requests: plan.requests,
          isStream: request.body.stream === true,
          collect: (generations) => collectCompletion(head, plan, generations, model, model.onSequenceEnd),
          stream: (sse, generations) => streamCompletion(sse, head, plan, generations, model, model.onSequenceEnd),
        };
      });
    },
  );
}

import { randomUUID } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import { type ChatHead, collectChat } from '../chat/collect.js';
import { planChat } from '../chat/plan.js';
import { streamChat } from '../chat/stream.js';
import { type Job, logIgnoredFields, respond } from '../generation/respond.js';
import { ChatRequest } from '../schemas/chat-request.js';
import { unknownFields } from '../schemas/fields.js';
import type { ServedModel } from '../served-model.js';
import type { GenerationRouteOptions } from './completions.js';

function responseHead(model: ServedModel): ChatHead {
  return {
    id: `chatcmpl-${randomUUID().replaceAll('-', '')}`,
    created: Math.floor(Date.now() / 1000),
    model: model.id,
    system_fingerprint: model.fingerprint,
  };
}

/** POST /v1/chat/completions. */
export function registerChat(app: FastifyInstance, options: GenerationRouteOptions): void {
  const { models } = options;
  app.post<{ Body: ChatRequest }>(
    '/v1/chat/completions',
    { schema: { body: ChatRequest }, onRequest: async () => models.requireReady() },
    (request, reply) => {
      logIgnoredFields(request, unknownFields(ChatRequest, request.body));
      return respond(request, reply, options, async (model): Promise<Job> => {
        const plan = await planChat(request.body, model);
        const context = { plan, model, onSequenceEnd: model.onSequenceEnd };
        const head = responseHead(model);
        return {
          requests: plan.requests,
          isStream: request.body.stream === true,
          collect: (generations) => collectChat(head, context, generations),
          stream: (sse, generations) => streamChat(sse, head, context, generations),
        };
      });
    },
  );
}

import type { FastifyInstance } from 'fastify';
import { type Job, logIgnoredFields, respond } from '../generation/respond.js';
import { collectResponse, ResponseStream } from '../responses/answer.js';
import { emptyResponse } from '../responses/build.js';
import { planResponse } from '../responses/to-chat.js';
import { unknownFields } from '../schemas/fields.js';
import { ResponsesRequest } from '../schemas/responses-request.js';
import type { GenerationRouteOptions } from './completions.js';

/** POST /v1/responses. */
export function registerResponses(app: FastifyInstance, options: GenerationRouteOptions): void {
  const { models } = options;
  app.post<{ Body: ResponsesRequest }>(
    '/v1/responses',
    { schema: { body: ResponsesRequest }, onRequest: async () => models.requireReady() },
    (request, reply) => {
      logIgnoredFields(request, unknownFields(ResponsesRequest, request.body));
      return respond(request, reply, options, async (model): Promise<Job> => {
        const plan = await planResponse(request.body, model);
        const context = { plan, model, onSequenceEnd: model.onSequenceEnd };
        const empty = emptyResponse(request.body, model);
        const stream = new ResponseStream();
        return {
          requests: plan.requests,
          isStream: request.body.stream === true,
          collect: (generations) => collectResponse(empty, context, generations),
          stream: (sse, generations) => stream.send(sse, empty, context, generations),
          streamError: (sse, body) => stream.fail(sse, body),
          hasMarker: false,
        };
      });
    },
  );
}

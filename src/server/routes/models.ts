import type { FastifyInstance } from 'fastify';
import { NibbleError } from '../../errors.js';
import type { Readiness } from '../readiness.js';
import type { ModelBody, ModelListBody } from '../schemas/models.js';
import type { ServedModel } from '../served-model.js';

function modelBody(model: ServedModel): ModelBody {
  return {
    id: model.id,
    object: 'model',
    created: model.createdSeconds,
    owned_by: 'nibble',
    max_model_len: model.engine.contextTokensMax,
    recipe: model.recipe,
  };
}

/** GET /v1/models and GET /v1/models/:id. */
export function registerModels(app: FastifyInstance, readiness: Readiness): void {
  /** A draining server still knows its model. */
  const knownModel = (): ServedModel => {
    const { state } = readiness;
    return state.kind === 'draining' && state.model !== null ? state.model : readiness.requireModel();
  };
  app.get('/v1/models', async (): Promise<ModelListBody> => ({ object: 'list', data: [modelBody(knownModel())] }));
  app.get<{ Params: { id: string } }>('/v1/models/:id', async (request): Promise<ModelBody> => {
    const model = knownModel();
    const { id } = request.params;
    if (id === model.id || id === 'default') return modelBody(model);
    const parameters = { model: id.slice(0, 128), available: [model.id] };
    throw new NibbleError('model_not_found', parameters, { param: 'model' });
  });
}

import type { FastifyInstance } from 'fastify';
import type { ModelStatus } from '../../engine/model-registry.js';
import { NibbleError } from '../../errors.js';
import type { Models } from '../models.js';
import type { ModelBody, ModelListBody } from '../schemas/models.js';
import type { ServedModel } from '../served-model.js';

const startSeconds = Math.floor(Date.now() / 1000);

function modelBody({ name, state, model }: ModelStatus<ServedModel>): ModelBody {
  const common = { id: name, object: 'model', owned_by: 'nibble', state } as const;
  if (model === null) return { ...common, created: startSeconds };
  const { createdSeconds, engine, recipe } = model;
  return { ...common, created: createdSeconds, max_model_len: engine.contextTokensMax, recipe };
}

/** GET /v1/models and GET /v1/models/:id. */
export function registerModels(app: FastifyInstance, models: Models): void {
  /** A draining server still knows its models. */
  const knownModels = (): readonly ModelStatus<ServedModel>[] => {
    if (models.readiness.state === 'loading') models.requireReady();
    return models.registry.list();
  };
  app.get('/v1/models', async (): Promise<ModelListBody> => {
    const data = knownModels().map(modelBody);
    for (const { alias, model } of models.routing.list()) {
      const target = data.find(({ id }) => id === model);
      const isShown = alias !== 'default' && target !== undefined && !data.some(({ id }) => id === alias);
      if (isShown) data.push({ ...target, id: alias, root: model });
    }
    return { object: 'list', data };
  });
  app.get<{ Params: { id: string } }>('/v1/models/:id', async (request): Promise<ModelBody> => {
    const known = knownModels();
    const { id } = request.params;
    const target = models.routing.target(id);
    const found = known.find(({ name }) => name === target);
    if (found !== undefined) return modelBody(found);
    const parameters = { model: id.slice(0, 128), available: known.map((status) => status.name) };
    throw new NibbleError('model_not_found', parameters, { param: 'model' });
  });
}

import type { FastifyInstance } from 'fastify';
import { NibbleError } from '../../errors.js';
import type { Models } from '../models.js';
import { AliasRequest, CanaryRequest, LoadRequest, RolloutRequest, UnloadRequest } from '../schemas/admin.js';
import type { ServedModel } from '../served-model.js';

/** Waits for nothing but the model: whoever administrates sees when it is there. */
const noEnd = new AbortController().signal;

function modelsBody({ registry }: Models): object {
  const models = registry.list().map(({ name, source, state, inUse, bytes, failure }) => ({
    name,
    source,
    state,
    in_use: inUse,
    bytes,
    failure: failure === null ? null : { code: failure.code, message: failure.message },
  }));
  return { models, used_bytes: registry.usedBytes, budget_bytes: registry.budgetBytes };
}

function aliasBody({ routing, rollouts }: Models, alias: string): object {
  return { ...routing.status(alias), report: rollouts.report(alias) };
}

/** Loads a model; what is wrong with it is told as it is, since the path came from whoever asks. */
async function load({ registry }: Models, { name, source }: LoadRequest): Promise<void> {
  const isNew = source !== undefined;
  if (isNew) registry.add(name, source);
  try {
    (await registry.acquire(name, noEnd)).release();
  } catch (error) {
    if (isNew) await registry.remove(name);
    throw error instanceof NibbleError && error.cause instanceof NibbleError ? error.cause : error;
  }
}

/** Waits for the requests of a model, but no longer than they have to end. */
async function unload({ registry, routing }: Models, name: string, remove: boolean, drainMs: number): Promise<void> {
  const alias = remove ? routing.aliasOf(name) : null;
  if (alias !== null) throw new NibbleError('model_in_use', { model: name, alias });
  let timer: NodeJS.Timeout | undefined;
  const cut = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, drainMs);
  });
  try {
    if (remove) routing.forget(name);
    await (remove ? registry.remove(name, cut) : registry.unload(name, cut));
  } finally {
    clearTimeout(timer);
  }
}

/** Whether a text means the same tokens to both. */
function haveSameTokens({ tokenizer: ours }: ServedModel, { tokenizer: theirs }: ServedModel): boolean {
  if (ours.vocabSize !== theirs.vocabSize) return false;
  for (let id = 0; id < ours.vocabSize; id++) if (ours.tokenText(id) !== theirs.tokenText(id)) return false;
  return true;
}

/** Both models are loaded before the first request can meet the candidate. */
async function startCanary(models: Models, { alias, candidate, share, shadow = 0 }: CanaryRequest): Promise<void> {
  const { registry, routing, rollouts } = models;
  const before = routing.status(alias);
  const theirs = await registry.acquire(candidate, noEnd);
  try {
    if (shadow > 0) {
      const ours = await registry.acquire(before.model, noEnd);
      ours.release();
      if (!haveSameTokens(ours.model, theirs.model)) {
        throw new NibbleError('canary_incompatible', { baseline: before.model, candidate });
      }
    }
    const { model, canary } = routing.status(alias);
    // A new share goes on with the counts; another pair of models begins anew.
    if (canary?.candidate !== candidate || model !== before.model) rollouts.begin(alias);
    routing.startCanary(alias, { candidate, share, shadow });
  } finally {
    theirs.release();
  }
}

/** The routes of `/admin`: which models are loaded, and which of them answers for a name. */
export function registerAdmin(app: FastifyInstance, models: Models, drainMs: number): void {
  const { registry, routing } = models;
  const onRequest = async () => models.requireReady();
  app.get('/admin/models', async () => modelsBody(models));
  app.post<{ Body: LoadRequest }>(
    '/admin/models/load',
    { schema: { body: LoadRequest }, onRequest },
    async ({ body }) => {
      await load(models, body);
      return modelsBody(models);
    },
  );
  app.post<{ Body: UnloadRequest }>(
    '/admin/models/unload',
    { schema: { body: UnloadRequest }, onRequest },
    async ({ body: { name, remove = false } }) => {
      await unload(models, name, remove, drainMs);
      return modelsBody(models);
    },
  );
  app.get('/admin/aliases', async () => ({ aliases: routing.list().map(({ alias }) => aliasBody(models, alias)) }));
  app.post<{ Body: AliasRequest }>(
    '/admin/aliases',
    { schema: { body: AliasRequest }, onRequest },
    async ({ body: { alias, model } }) => {
      registry.require(model);
      routing.set(alias, model);
      return aliasBody(models, alias);
    },
  );
  app.post<{ Body: CanaryRequest }>(
    '/admin/canary',
    { schema: { body: CanaryRequest }, onRequest },
    async ({ body }) => {
      await startCanary(models, body);
      return aliasBody(models, body.alias);
    },
  );
  for (const action of ['promote', 'rollback'] as const) {
    app.post<{ Body: RolloutRequest }>(
      `/admin/${action}`,
      { schema: { body: RolloutRequest }, onRequest },
      async ({ body: { alias } }) => {
        routing[action](alias);
        return aliasBody(models, alias);
      },
    );
  }
}

import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Generation, GenerationEvent, GenerationRequest } from '../../engine/types.js';
import { NibbleError } from '../../errors.js';
import { LOGGED_FIELDS_MAX } from '../../limits.js';
import { cacheScope } from '../access/cache-scope.js';
import type { ApiKey } from '../access/keys.js';
import type { Models, ModelUse } from '../models.js';
import { describeError } from '../plugins/errors.js';
import type { ErrorBody } from '../schemas/error.js';
import { recipeLabel, type ServedModel } from '../served-model.js';
import type { Tracing } from '../tracing.js';
import { abortOnDisconnect } from './abort.js';
import { asksForCost, costHeaders } from './cost-headers.js';
import { enterInto } from './spending.js';
import { type SseOptions, SseStream } from './sse.js';
import type { CostAccount } from './usage.js';

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

export type RespondOptions = {
  readonly models: Models;
  /** null: no traces. */
  readonly tracing: Tracing | null;
  readonly sse: SseOptions;
  /** Longest time from a request to the end of its answer, ms; null for no bound. */
  readonly requestMsMax: number | null;
};

/**
 * The sequences of a key's request belong to that key, and what they use is charged to it. Its cached prompts are its
 * own, and it can't put itself before other keys: priorities below 0 count as 0.
 */
function ownedBy(
  apiKey: ApiKey | null,
  salt: string | null,
  requests: readonly GenerationRequest[],
): readonly GenerationRequest[] {
  const isAlone = apiKey !== null && !apiKey.sharesCache;
  const scope = cacheScope(isAlone ? apiKey.name : null, salt);
  const scoped = scope === 0 ? requests : requests.map((request) => ({ ...request, cacheScope: scope }));
  if (apiKey === null) return scoped;
  const prompts = new Set(requests.map(({ promptIds }) => promptIds));
  apiKey.allowance.charge([...prompts].reduce((sum, ids) => sum + ids.length, 0));
  return scoped.map((request) => {
    return { ...request, tenant: apiKey.name, priority: Math.max(0, request.priority ?? 0) };
  });
}

async function* charged(generation: Generation, { allowance }: ApiKey): Generation & AsyncGenerator<GenerationEvent> {
  for await (const event of generation) {
    if (event.kind === 'text') allowance.charge(event.tokenIds.length);
    yield event;
  }
}

/** Ends what takes too long, as a disconnect would; `isOver` tells the difference. */
function startDeadline(controller: AbortController, reply: FastifyReply, ms: number | null): { isOver: boolean } {
  const deadline = { isOver: false };
  if (ms === null) return deadline;
  const timer = setTimeout(() => {
    deadline.isOver = true;
    controller.abort();
  }, ms);
  reply.raw.once('close', () => clearTimeout(timer));
  return deadline;
}

/** Submits the sequences of a request, and enters it into the books if there are any: `account` is its own already. */
function submit(
  model: ServedModel,
  apiKey: ApiKey | null,
  requests: readonly GenerationRequest[],
  account: CostAccount | undefined,
  signal: AbortSignal,
): readonly Generation[] {
  if (model.costs === null) return model.engine.submit(requests, signal);
  const payer = { key: apiKey?.name ?? '', model: model.id, recipe: recipeLabel(model.recipe) };
  const entry = model.costs.begin(payer, account);
  try {
    return model.engine.submit(enterInto(entry, requests), signal);
  } catch (error) {
    entry.cancel();
    throw error;
  }
}

/** Headers with what a request has cost so far; none if it didn't ask. */
function costOf({ requests }: Job, { costs }: ServedModel): Readonly<Record<string, string>> {
  const account = requests[0]?.accounts?.[0];
  return account === undefined || costs === null ? {} : costHeaders(costs.bill(account));
}

/**
 * Runs the sequences of a request and answers it, streamed or whole. A client that leaves ends them; so do the first
 * failure and the deadline. What fails before the head is out becomes an error response.
 */
export async function respond(
  request: FastifyRequest<{
    Body: { model: string; user?: string | null; cost?: boolean | null; cache_salt?: string | null };
  }>,
  reply: FastifyReply,
  options: RespondOptions,
  plan: (model: ServedModel) => Promise<Job>,
): Promise<unknown> {
  const { apiKey } = request;
  if (asksForCost(request)) request.body.cost = true;
  const controller = abortOnDisconnect(reply);
  if (apiKey !== null) reply.raw.once('close', apiKey.allowance.begin());
  const trace = options.tracing?.begin(request, reply) ?? null;
  const deadline = startDeadline(controller, reply, options.requestMsMax);
  const failure = (error: unknown): unknown =>
    deadline.isOver ? new NibbleError('request_timeout', { seconds: (options.requestMsMax ?? 0) / 1000 }) : error;
  const hasLeft = () => controller.signal.aborted && !deadline.isOver;
  let job: Job;
  let use: ModelUse;
  try {
    const { model: name, user } = request.body;
    use = await options.models.use(name, user || request.id, reply, controller.signal);
    job = await plan(use.model);
  } catch (error) {
    if (hasLeft()) return reply.hijack();
    throw failure(error);
  }
  if (deadline.isOver) throw failure(null);
  if (hasLeft()) return reply.hijack();
  const watched = use.watch(ownedBy(apiKey, request.body.cache_salt ?? null, job.requests));
  const requests = trace?.watch(watched, use.model.id) ?? watched;
  const submitted = submit(use.model, apiKey, requests, job.requests[0]?.accounts?.[0], controller.signal);
  const generations = apiKey === null ? submitted : submitted.map((generation) => charged(generation, apiKey));
  if (!job.isStream) {
    try {
      const answer = await job.collect(generations);
      reply.headers(costOf(job, use.model));
      return answer;
    } catch (error) {
      if (hasLeft()) return reply.hijack();
      controller.abort();
      throw failure(error);
    }
  }
  const trailers = Object.keys(costOf(job, use.model));
  const sse = new SseStream(reply, options.sse, trailers);
  try {
    await job.stream(sse, generations);
  } catch (error) {
    if (!controller.signal.aborted || deadline.isOver) {
      // The head is out, so the failure travels in the stream; the other choices end with it.
      controller.abort();
      const { body } = describeError(failure(error), request.log);
      await (job.streamError?.(sse, body) ?? sse.send(body));
    }
  }
  await sse.end(job.hasMarker ?? true, costOf(job, use.model));
  return reply;
}

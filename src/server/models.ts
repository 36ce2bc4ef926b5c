/** The models as the routes see them: by the names that requests use, for as long as a request lasts. */
import type { FastifyReply } from 'fastify';
import type { Lease, ModelRegistry } from '../engine/model-registry.js';
import type { Choice, Routing } from '../engine/routing.js';
import type { GenerationRequest } from '../engine/types.js';
import { NibbleError } from '../errors.js';
import { abortOnDisconnect } from './generation/abort.js';
import type { Readiness } from './readiness.js';
import { Rollouts } from './rollouts.js';
import type { ServedModel } from './served-model.js';

export type ModelsOptions = {
  readonly registry: ModelRegistry<ServedModel>;
  readonly routing: Routing;
  readonly readiness: Readiness;
  /** Longest wait for a model that has to be loaded first, ms. */
  readonly queueMsMax: number;
};

/** A model in use by one request. */
export type ModelUse = {
  readonly model: ServedModel;
  /** The sequences of the request as they are to be submitted: those of a canary are watched. */
  readonly watch: (requests: readonly GenerationRequest[]) => readonly GenerationRequest[];
};

export class Models {
  readonly registry: ModelRegistry<ServedModel>;
  readonly routing: Routing;
  readonly readiness: Readiness;
  readonly rollouts: Rollouts;
  readonly #queueMsMax: number;

  constructor({ registry, routing, readiness, queueMsMax }: ModelsOptions) {
    this.registry = registry;
    this.routing = routing;
    this.readiness = readiness;
    this.rollouts = new Rollouts(registry);
    this.#queueMsMax = queueMsMax;
  }

  /** Throws `model_loading` before the first model is there, `draining` after the last request was taken. */
  requireReady(): void {
    this.readiness.requireReady();
  }

  /**
   * The model that a name means, for the request that `reply` answers: it stays in memory until that is closed. One
   * that isn't loaded is loaded first. Requests with the same `key` get the same arm of a canary. Rejects with
   * `model_not_found`, `model_unavailable`, `queue_full`, `queue_timeout`, or the signal's reason.
   */
  async use(name: string, key: string, reply: FastifyReply, signal: AbortSignal): Promise<ModelUse> {
    this.requireReady();
    const { choice, lease } = await this.#lease(this.routing.resolve(name, key), signal);
    reply.raw.once('close', lease.release);
    if (signal.aborted) lease.release();
    return { model: lease.model, watch: (requests) => this.rollouts.watch(choice, requests, lease.model.costs) };
  }

  /** The same for requests that only want a model's tokens. */
  async borrow(name: string, reply: FastifyReply): Promise<ServedModel> {
    return (await this.use(name, '', reply, abortOnDisconnect(reply).signal)).model;
  }

  async #lease(choice: Choice, signal: AbortSignal): Promise<{ choice: Choice; lease: Lease<ServedModel> }> {
    const { model, arm, fallback } = choice;
    try {
      return { choice, lease: this.registry.acquireReady(model) ?? (await this.#wait(model, signal)) };
    } catch (error) {
      if (arm === null || fallback === null || signal.aborted) throw error;
      // A candidate that can't be had must not cost anybody an answer.
      this.rollouts.countUnavailable(arm.alias);
      const baseline: Choice = { model: fallback, arm: { ...arm, side: 'baseline' }, fallback: null, shadow: null };
      return { choice: baseline, lease: await this.#wait(fallback, signal) };
    }
  }

  async #wait(name: string, signal: AbortSignal): Promise<Lease<ServedModel>> {
    const late = new AbortController();
    const waitedSeconds = this.#queueMsMax / 1000;
    const timer = setTimeout(
      () => late.abort(new NibbleError('queue_timeout', { waitedSeconds }, { retryAfterSeconds: 1 })),
      this.#queueMsMax,
    );
    try {
      return await this.registry.acquire(name, AbortSignal.any([signal, late.signal]));
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Which model a name means: aliases, and the share of an alias's requests that a candidate gets. Pure. */
import { createHash } from 'node:crypto';
import { NibbleError } from '../errors.js';
import { ALIASES_MAX } from '../limits.js';

/** The name that requests use which don't care. It is always there. */
export const DEFAULT_ALIAS = 'default';

/** A candidate for an alias: the share of requests that it answers, and that of the others on which it is compared. */
export type Canary = { readonly candidate: string; readonly share: number; readonly shadow: number };

export type AliasStatus = {
  readonly alias: string;
  /** The model that answers. */
  readonly model: string;
  /** The model that answered before the last change, which `rollback` brings back. */
  readonly previous: string | null;
  readonly canary: Canary | null;
};

/** What a request for a name gets. */
export type Choice = {
  readonly model: string;
  /** For a name with a canary: whose answer it is. */
  readonly arm: { readonly alias: string; readonly side: 'baseline' | 'candidate' } | null;
  /** Who answers if the candidate can't be loaded. */
  readonly fallback: string | null;
  /** Whom the answer shall be compared with afterwards. */
  readonly shadow: string | null;
};

type Route = Omit<AliasStatus, 'alias'>;

/** The same text falls on the same point of [0, 1); `what` makes points for different purposes independent. */
function point(what: string, key: string): number {
  return createHash('sha256').update(`${what}\0${key}`).digest().readUInt32BE(0) / 2 ** 32;
}

export class Routing {
  readonly #routes = new Map<string, Route>();

  /**
   * The model that a name means. `key` decides between baseline and candidate: requests with the same key get the same
   * one, and who is with the candidate stays there when its share grows.
   */
  resolve(name: string, key: string): Choice {
    const route = this.#routes.get(name);
    if (route === undefined) return { model: name, arm: null, fallback: null, shadow: null };
    const { model, canary } = route;
    if (canary === null) return { model, arm: null, fallback: null, shadow: null };
    if (point(`canary ${name}`, key) < canary.share) {
      return { model: canary.candidate, arm: { alias: name, side: 'candidate' }, fallback: model, shadow: null };
    }
    const shadow = point(`shadow ${name}`, key) < canary.shadow ? canary.candidate : null;
    return { model, arm: { alias: name, side: 'baseline' }, fallback: null, shadow };
  }

  /** The model behind a name, whatever canary there is. */
  target(name: string): string {
    return this.#routes.get(name)?.model ?? name;
  }

  list(): readonly AliasStatus[] {
    return [...this.#routes].map(([alias, route]) => ({ alias, ...route }));
  }

  /** Throws `alias_not_found`. */
  status(alias: string): AliasStatus {
    return { alias, ...this.#find(alias) };
  }

  /** Lets a name mean a model from now on, without a canary. Throws `aliases_full`. */
  set(alias: string, model: string): void {
    const before = this.#routes.get(alias);
    if (before === undefined && this.#routes.size >= ALIASES_MAX) {
      throw new NibbleError('aliases_full', { limit: ALIASES_MAX });
    }
    const previous = before === undefined || before.model === model ? (before?.previous ?? null) : before.model;
    this.#routes.set(alias, { model, previous, canary: null });
  }

  /** Begins, changes or (with another candidate) replaces the canary of an alias. Throws `alias_not_found`. */
  startCanary(alias: string, canary: Canary): void {
    this.#routes.set(alias, { ...this.#find(alias), canary });
  }

  /** The candidate becomes the model of the alias. Throws `alias_not_found`, `canary_missing`. */
  promote(alias: string): void {
    const { model, canary } = this.#find(alias);
    if (canary === null) throw new NibbleError('canary_missing', { alias });
    this.#routes.set(alias, { model: canary.candidate, previous: model, canary: null });
  }

  /**
   * Ends the canary; without one, the model that was there before the last change comes back. Throws
   * `alias_not_found`, `canary_missing` if there is nothing to go back to.
   */
  rollback(alias: string): void {
    const route = this.#find(alias);
    const { model, previous, canary } = route;
    if (canary !== null) this.#routes.set(alias, { ...route, canary: null });
    else if (previous !== null) this.#routes.set(alias, { model: previous, previous: model, canary: null });
    else throw new NibbleError('canary_missing', { alias });
  }

  /** An alias that a model answers for, or is the candidate of; null if there is none. */
  aliasOf(model: string): string | null {
    return this.list().find((route) => route.model === model || route.canary?.candidate === model)?.alias ?? null;
  }

  /** Forgets a model as the one to go back to. */
  forget(model: string): void {
    for (const [alias, route] of this.#routes) {
      if (route.previous === model) this.#routes.set(alias, { ...route, previous: null });
    }
  }

  #find(alias: string): Route {
    const route = this.#routes.get(alias);
    if (route === undefined) throw new NibbleError('alias_not_found', { alias: alias.slice(0, 128) });
    return route;
  }
}

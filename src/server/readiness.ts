import { NibbleError } from '../errors.js';
import type { ServedModel } from './served-model.js';

export type ServerState =
  | { readonly kind: 'loading' }
  | { readonly kind: 'ready'; readonly model: ServedModel }
  | { readonly kind: 'draining'; readonly model: ServedModel | null };

/** Where the server is in its life: loading → ready → draining. The routes ask it, the `serve` command moves it. */
export class Readiness {
  #state: ServerState = { kind: 'loading' };

  get state(): ServerState {
    return this.#state;
  }

  /** The model is loaded. Ignored once draining has begun. */
  becomeReady(model: ServedModel): void {
    if (this.#state.kind === 'loading') this.#state = { kind: 'ready', model };
  }

  /** No new work from now on. */
  beginDraining(): void {
    this.#state = { kind: 'draining', model: this.#state.kind === 'ready' ? this.#state.model : null };
  }

  /** The model, for new work. Throws `model_loading` or `draining`. */
  requireModel(): ServedModel {
    switch (this.#state.kind) {
      case 'ready':
        return this.#state.model;
      case 'loading':
        throw new NibbleError('model_loading', {}, { retryAfterSeconds: 1 });
      case 'draining':
        throw new NibbleError('draining', {}, { retryAfterSeconds: 1 });
    }
  }
}

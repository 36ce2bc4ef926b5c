import { NibbleError } from '../errors.js';

export type ServerState = 'loading' | 'ready' | 'draining';

/** Where the server is in its life: loading → ready → draining. The routes ask it, the `serve` command moves it. */
export class Readiness {
  #state: ServerState = 'loading';

  get state(): ServerState {
    return this.#state;
  }

  /** The first model is loaded. Ignored once draining has begun. */
  becomeReady(): void {
    if (this.#state === 'loading') this.#state = 'ready';
  }

  /** No new work from now on. */
  beginDraining(): void {
    this.#state = 'draining';
  }

  /** Throws `model_loading` or `draining` unless new work is welcome. */
  requireReady(): void {
    if (this.#state === 'loading') throw new NibbleError('model_loading', {}, { retryAfterSeconds: 1 });
    if (this.#state === 'draining') throw new NibbleError('draining', {}, { retryAfterSeconds: 1 });
  }
}

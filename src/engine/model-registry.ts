/**
 * Which models there are, which of them are in memory, and who uses them. It knows nothing of files or requests: how a
 * model is opened is given to it. Models are loaded one at a time, when they are first asked for; where memory is
 * bounded, the one whose last use is longest ago makes room. One that is in use is never taken away: it gets no new
 * users, and goes when the last one has left.
 */
import { NibbleError } from '../errors.js';
import { LOAD_RETRY_MS, MODELS_MAX, WAITING_MAX } from '../limits.js';
import { asNibbleError } from './as-nibble-error.js';

/** A model in memory. */
export type LoadedModel<M> = {
  readonly model: M;
  /** Weights and KV cache. */
  readonly bytes: number;
  /** Ends what still runs on it, then frees it. Idempotent. */
  close(): Promise<void>;
};

/** A model that is known to be there, with what it will need. */
export type PreparedModel<M> = {
  /** At least about what `LoadedModel.bytes` will be. */
  readonly bytes: number;
  readonly open: () => Promise<LoadedModel<M>>;
};

export type RegistryOptions<M> = {
  /** Looks at a model's file without loading it. */
  readonly prepare: (name: string, source: string) => Promise<PreparedModel<M>>;
  /** Told why a model could not be loaded. */
  readonly onFailure: (name: string, error: NibbleError) => void;
  /** What all loaded models may take together, bytes; null: no bound. */
  readonly budgetBytes: number | null;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
};

/** The right to use a model until it is given back. */
export type Lease<M> = {
  readonly name: string;
  readonly model: M;
  /** Idempotent. */
  release(): void;
};

export type ModelStatus<M> = {
  readonly name: string;
  readonly source: string;
  readonly state: 'unloaded' | 'loading' | 'ready' | 'draining';
  /** Requests that use it; while it is loading, requests that wait for it. */
  readonly inUse: number;
  /** What it takes in memory; 0 unless it is loaded. */
  readonly bytes: number;
  readonly model: M | null;
  /** Why the last attempt to load it failed. */
  readonly failure: NibbleError | null;
};

type Waiter<M> = { readonly resolve: (lease: Lease<M>) => void; readonly reject: (error: unknown) => void };
type Usage = { count: number };
type Loaded<M> = { readonly loaded: LoadedModel<M>; readonly usage: Usage };
type Failure = { readonly error: NibbleError; readonly atMs: number };
type State<M> =
  | { readonly kind: 'unloaded'; readonly failure: Failure | null }
  | { readonly kind: 'loading'; readonly waiters: Set<Waiter<M>>; readonly ended: Promise<void> }
  | (Loaded<M> & { readonly kind: 'ready' })
  | (Loaded<M> & { readonly kind: 'draining'; readonly idle: Signal; readonly ended: Promise<void> });
type Entry<M> = { readonly name: string; readonly source: string; state: State<M>; usedAt: number };
type Signal = { readonly raised: Promise<void>; readonly raise: () => void };

function createSignal(): Signal {
  let raise = () => {};
  const raised = new Promise<void>((resolve) => {
    raise = resolve;
  });
  return { raised, raise };
}

const unavailable = (model: string, cause: NibbleError): NibbleError =>
  new NibbleError('model_unavailable', { model }, { cause, retryAfterSeconds: Math.ceil(LOAD_RETRY_MS / 1000) });

/** Waits, but not longer than the signal allows. */
function abortable(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = (): void => reject(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
    void promise.then(() => {
      signal.removeEventListener('abort', leave);
      resolve();
    });
  });
}

export class ModelRegistry<M> {
  readonly #options: RegistryOptions<M>;
  readonly #entries = new Map<string, Entry<M>>();
  /** Forgotten, but still in memory. */
  readonly #leaving = new Set<Entry<M>>();
  /** Settled when every load asked for so far has ended. */
  #loads: Promise<void> = Promise.resolve();
  #uses = 0;
  #isClosed = false;

  constructor(options: RegistryOptions<M>) {
    this.#options = options;
  }

  /** Makes a model known. Throws `model_exists`, `models_full`. */
  add(name: string, source: string, loaded: LoadedModel<M> | null = null): void {
    if (this.#entries.has(name)) throw new NibbleError('model_exists', { model: name });
    if (this.#entries.size >= MODELS_MAX) throw new NibbleError('models_full', { limit: MODELS_MAX });
    const state: State<M> =
      loaded === null ? { kind: 'unloaded', failure: null } : { kind: 'ready', loaded, usage: { count: 0 } };
    this.#entries.set(name, { name, source, state, usedAt: ++this.#uses });
  }

  /** Throws `model_not_found`. */
  require(name: string): void {
    this.#find(name);
  }

  get budgetBytes(): number | null {
    return this.#options.budgetBytes;
  }

  /** Every model, in the order in which they became known. */
  list(): readonly ModelStatus<M>[] {
    return [...this.#entries.values()].map(({ name, source, state }) => {
      const isLoaded = state.kind === 'ready' || state.kind === 'draining';
      return {
        name,
        source,
        state: state.kind,
        inUse: isLoaded ? state.usage.count : state.kind === 'loading' ? state.waiters.size : 0,
        bytes: isLoaded ? state.loaded.bytes : 0,
        model: isLoaded ? state.loaded.model : null,
        failure: state.kind === 'unloaded' ? (state.failure?.error ?? null) : null,
      };
    });
  }

  /** The models in memory, those included that are forgotten. */
  loaded(): readonly LoadedModel<M>[] {
    const states = [...this.#entries.values(), ...this.#leaving].map(({ state }) => state);
    return states.flatMap((state) => (state.kind === 'ready' || state.kind === 'draining' ? [state.loaded] : []));
  }

  /** Memory of the models that are loaded, bytes. */
  get usedBytes(): number {
    return this.loaded().reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /**
   * A model to use, loaded first if it isn't. Rejects with `model_not_found`, with what loading it fails with (also for
   * LOAD_RETRY_MS afterwards, so that requests for a broken file cost nothing), `queue_full`, `draining`, or the
   * signal's reason.
   */
  async acquire(name: string, signal: AbortSignal): Promise<Lease<M>> {
    for (;;) {
      signal.throwIfAborted();
      const entry = this.#find(name);
      const { state } = entry;
      switch (state.kind) {
        case 'ready':
          return this.#lease(entry, state);
        case 'draining':
          await abortable(state.ended, signal);
          break;
        case 'loading':
          return await this.#waitFor(state.waiters, signal);
        case 'unloaded':
          this.#startLoading(entry, state.failure);
          break;
        default:
          return state satisfies never;
      }
    }
  }

  /** A model to use if it is there already; null otherwise. */
  acquireReady(name: string): Lease<M> | null {
    const entry = this.#entries.get(name);
    return entry?.state.kind === 'ready' && !this.#isClosed ? this.#lease(entry, entry.state) : null;
  }

  /**
   * Frees a model's memory when its last user has left, or when `cut` has resolved. The next request for it loads it
   * again. Throws `model_not_found`.
   */
  unload(name: string, cut?: Promise<void>): Promise<void> {
    return this.#unload(this.#find(name), cut);
  }

  /** Unloads a model and forgets it: requests for it get `model_not_found` at once. Throws that too. */
  async remove(name: string, cut?: Promise<void>): Promise<void> {
    const entry = this.#find(name);
    this.#entries.delete(name);
    this.#leaving.add(entry);
    await this.#unload(entry, cut);
    this.#leaving.delete(entry);
  }

  /** No new users from now on: those that wait for a model get `draining`. */
  close(): void {
    this.#isClosed = true;
    for (const { state } of this.#entries.values()) {
      if (state.kind !== 'loading') continue;
      for (const waiter of state.waiters) waiter.reject(new NibbleError('draining', {}, { retryAfterSeconds: 1 }));
      state.waiters.clear();
    }
  }

  #find(name: string): Entry<M> {
    if (this.#isClosed) throw new NibbleError('draining', {}, { retryAfterSeconds: 1 });
    const entry = this.#entries.get(name);
    if (entry !== undefined) return entry;
    const parameters = { model: name.slice(0, 128), available: [...this.#entries.keys()] };
    throw new NibbleError('model_not_found', parameters, { param: 'model' });
  }

  #lease(entry: Entry<M>, { loaded, usage }: Loaded<M>): Lease<M> {
    usage.count++;
    entry.usedAt = ++this.#uses;
    let isHeld = true;
    const release = (): void => {
      if (!isHeld) return;
      isHeld = false;
      usage.count--;
      entry.usedAt = ++this.#uses;
      if (usage.count === 0 && entry.state.kind === 'draining') entry.state.idle.raise();
    };
    return { name: entry.name, model: loaded.model, release };
  }

  #waitFor(waiters: Set<Waiter<M>>, signal: AbortSignal): Promise<Lease<M>> {
    if (waiters.size >= WAITING_MAX) {
      throw new NibbleError('queue_full', { waiting: waiters.size }, { retryAfterSeconds: 1 });
    }
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        waiters.delete(waiter);
        reject(signal.reason);
      };
      const done =
        <T>(settle: (value: T) => void) =>
        (value: T): void => {
          signal.removeEventListener('abort', leave);
          settle(value);
        };
      const waiter: Waiter<M> = { resolve: done(resolve), reject: done(reject) };
      waiters.add(waiter);
      signal.addEventListener('abort', leave, { once: true });
    });
  }

  #startLoading(entry: Entry<M>, failure: Failure | null): void {
    if (failure !== null && this.#options.now() - failure.atMs < LOAD_RETRY_MS) {
      throw unavailable(entry.name, failure.error);
    }
    const waiters = new Set<Waiter<M>>();
    const ended = this.#loads.then(() => this.#load(entry, waiters));
    entry.state = { kind: 'loading', waiters, ended };
    this.#loads = ended;
  }

  /** Never rejects. */
  async #load(entry: Entry<M>, waiters: ReadonlySet<Waiter<M>>): Promise<void> {
    try {
      const prepared = await this.#options.prepare(entry.name, entry.source);
      await this.#makeRoom(prepared.bytes);
      const loaded = await prepared.open();
      try {
        // The estimate may have been too low.
        await this.#makeRoom(loaded.bytes);
      } catch (error) {
        await loaded.close();
        throw error;
      }
      const state = { kind: 'ready', loaded, usage: { count: 0 } } as const;
      entry.state = state;
      entry.usedAt = ++this.#uses;
      for (const waiter of waiters) waiter.resolve(this.#lease(entry, state));
    } catch (cause) {
      const error = asNibbleError(cause);
      entry.state = { kind: 'unloaded', failure: { error, atMs: this.#options.now() } };
      this.#options.onFailure(entry.name, error);
      for (const waiter of waiters) waiter.reject(unavailable(entry.name, error));
    }
  }

  /** Unloads what was used longest ago until so many more bytes fit. Throws `model_memory_exceeded`. */
  async #makeRoom(bytes: number): Promise<void> {
    const { budgetBytes } = this.#options;
    while (budgetBytes !== null && this.usedBytes + bytes > budgetBytes) {
      if (bytes > budgetBytes) throw new NibbleError('model_memory_exceeded', { neededBytes: bytes, budgetBytes });
      // Whoever is on the way out makes room first; no other has to go for as long as that may be enough.
      const states = [...this.#entries.values(), ...this.#leaving].map(({ state }) => state);
      const leaving = states.find((state) => state.kind === 'draining');
      if (leaving !== undefined) await leaving.ended;
      else await this.#evict();
    }
  }

  /** Unloads the idle model that was used longest ago; if none is idle, the one in use that was. */
  async #evict(): Promise<void> {
    let victim: { readonly entry: Entry<M>; readonly state: Loaded<M> } | null = null;
    for (const entry of this.#entries.values()) {
      const { state } = entry;
      if (state.kind !== 'ready') continue;
      const isBusy = state.usage.count > 0;
      const wasBusy = victim !== null && victim.state.usage.count > 0;
      if (victim === null || (isBusy === wasBusy ? entry.usedAt < victim.entry.usedAt : wasBusy)) {
        victim = { entry, state };
      }
    }
    if (victim !== null) await this.#drain(victim.entry, victim.state);
  }

  async #unload(entry: Entry<M>, cut: Promise<void> | undefined): Promise<void> {
    while (entry.state.kind === 'loading') await entry.state.ended;
    const { state } = entry;
    if (state.kind === 'unloaded') return;
    const ended = state.kind === 'ready' ? this.#drain(entry, state) : state.ended;
    void cut?.then(() => entry.state.kind === 'draining' && entry.state.idle.raise());
    await ended;
  }

  /** Waits for the last user, then frees. */
  #drain(entry: Entry<M>, { loaded, usage }: Loaded<M>): Promise<void> {
    const idle = createSignal();
    const ended = idle.raised
      .then(() => loaded.close())
      .catch(() => undefined)
      .then(() => {
        entry.state = { kind: 'unloaded', failure: null };
      });
    const state = { kind: 'draining', loaded, usage, idle, ended } as const;
    entry.state = state;
    if (usage.count === 0) idle.raise();
    return ended;
  }
}

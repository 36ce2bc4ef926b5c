import { readFileSync } from 'node:fs';
import type { Worker } from 'node:worker_threads';
import { messageOf, NibbleError } from '../errors.js';
import {
  GRAMMAR_BUSY_FACTOR,
  GRAMMAR_COMPILE_MS_MAX,
  GRAMMAR_MASK_MS_MAX,
  GRAMMAR_START_MS_MAX,
  GRAMMAR_WAITING_MAX,
} from '../limits.js';
import { packMetadata } from '../model/tokenizer/worker-messages.js';
import type { TokenizerMetadata } from '../model/types.js';
import { startThread } from '../worker-thread.js';
import {
  AT_MATCHER,
  CONTROL_WORDS,
  type GrammarAnswer,
  type GrammarRequest,
  type GrammarThreadData,
  PROGRESS,
  SIGNAL,
} from './messages.js';
import { createSharedMask, maskAt, writeToken } from './shared-mask.js';
import { checkSize } from './source.js';
import { type Constraint, ConstraintError } from './types.js';

export type MatcherEvents = {
  /** The mask that was asked for is there. */
  onMask(): void;
  /** Everything has been said: no token but the end can follow. */
  onFinished(): void;
  onError(error: NibbleError): void;
};

/** Follows one generated text. */
export interface Matcher {
  /** Where the mask of the next position is written, as soon as it is known (`SamplingSpec.mask`). */
  readonly mask: Int32Array;
  /** Tells the token sampled at the next position, under its mask. */
  accept(token: number): void;
  /** Asks to be told when the mask of the next position is there. */
  ask(): void;
  /** No event comes afterwards. */
  close(): void;
}

/** What the engine needs of constrained output; `GrammarEngine` is the one that serves. */
export interface ConstraintEngine {
  compile(constraint: Constraint): Promise<void>;
  open(constraint: Constraint, endsFrom: number, events: MatcherEvents): Matcher;
}

type Job =
  | { readonly kind: 'compile'; readonly constraint: Constraint; readonly settle: (error: NibbleError | null) => void }
  | { readonly kind: 'open' | 'ask'; readonly live: LiveMatcher };

type LiveMatcher = {
  readonly id: number;
  readonly constraint: Constraint;
  readonly endsFrom: number;
  readonly events: MatcherEvents;
  readonly tokens: number[];
  readonly mask: Int32Array;
};

/** What the thread had done when it was looked at, and used of a CPU (ms; null: unknown). */
type Look = { readonly progress: number; readonly atMs: number; readonly cpuMs: number | null };

export type GrammarEngineOptions = {
  readonly metadata: TokenizerMetadata;
  readonly endIds: ReadonlySet<number>;
  /** Tokens that the model's logits have. */
  readonly vocabSize: number;
};

/** As the error that a request gets. */
export function constraintError(error: ConstraintError): NibbleError {
  const { message } = error;
  return new NibbleError(error.isTooComplex ? 'constraint_too_complex' : 'constraint_invalid', { message });
}

/**
 * Constrained output off the event loop: one thread, started at the first constraint, that is told each token and
 * writes the mask of the next where the sampler reads it. A constraint that takes too long, or breaks the engine
 * within, ends the thread; its own request fails, all others go on in a new thread, which is told their tokens again.
 */
export class GrammarEngine implements ConstraintEngine {
  readonly #options: GrammarEngineOptions;
  #thread: Worker | null = null;
  #isReady = false;
  #isClosed = false;
  /** Answers come in this order. */
  readonly #jobs: Job[] = [];
  #compiling = 0;
  readonly #control = new Int32Array(new SharedArrayBuffer(4 * CONTROL_WORDS));
  #timer: NodeJS.Timeout | null = null;
  #cpuFile: string | null = null;
  #looked: Look = { progress: 0, atMs: 0, cpuMs: null };
  readonly #matchers = new Map<number, LiveMatcher>();
  #lastId = 0;

  constructor(options: GrammarEngineOptions) {
    this.#options = options;
  }

  /**
   * Resolves when the constraint can be used. Rejects with `constraint_invalid`, `constraint_too_complex`, `queue_full`
   * when too many wait, `draining` after `close`.
   */
  compile(constraint: Constraint): Promise<void> {
    if (this.#isClosed) return Promise.reject(new NibbleError('draining', {}));
    if (this.#compiling >= GRAMMAR_WAITING_MAX) {
      return Promise.reject(new NibbleError('queue_full', { waiting: this.#compiling }, { retryAfterSeconds: 1 }));
    }
    try {
      checkSize(constraint);
    } catch (error) {
      return Promise.reject(error instanceof ConstraintError ? constraintError(error) : error);
    }
    this.#compiling++;
    return new Promise((resolve, reject) => {
      const settle = (error: NibbleError | null): void => {
        this.#compiling--;
        if (error === null) resolve();
        else reject(error);
      };
      this.#send({ kind: 'compile', constraint, settle }, { kind: 'compile', constraint });
    });
  }

  /** @param endsFrom tokens to generate before an end token may come, unless the text is complete; Infinity: never. */
  open(constraint: Constraint, endsFrom: number, events: MatcherEvents): Matcher {
    const mask = createSharedMask(this.#options.vocabSize);
    const live: LiveMatcher = { id: ++this.#lastId, constraint, endsFrom, events, tokens: [], mask };
    this.#matchers.set(live.id, live);
    this.#sendOpen(live);
    return {
      mask,
      accept: (token) => {
        live.tokens.push(token);
        writeToken(mask, live.tokens.length, token);
        this.#wake();
      },
      ask: () => {
        if (this.#matchers.has(live.id)) this.#send({ kind: 'ask', live }, { kind: 'ask', matcher: live.id });
      },
      close: () => this.#drop(live),
    };
  }

  /** Ends the thread; what waits is rejected with `draining`. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const thread = this.#forget();
    const error = new NibbleError('draining', {});
    for (const job of this.#jobs.splice(0)) if (job.kind === 'compile') job.settle(error);
    for (const live of [...this.#matchers.values()]) this.#fail(live, error);
    await thread?.terminate();
  }

  #sendOpen(live: LiveMatcher): void {
    const { id: matcher, constraint, endsFrom, mask } = live;
    const tokens = Int32Array.from(live.tokens);
    this.#send({ kind: 'open', live }, { kind: 'open', matcher, constraint, tokens, endsFrom, mask });
  }

  #send(job: Job, request: GrammarRequest): void {
    this.#thread ??= this.#start();
    this.#thread.ref();
    this.#jobs.push(job);
    this.#thread.postMessage(request);
    this.#wake();
  }

  #wake(): void {
    Atomics.add(this.#control, SIGNAL, 1);
    Atomics.notify(this.#control, SIGNAL);
    if (this.#timer !== null) return;
    this.#looked = this.#look();
    this.#timer = setTimeout(this.#watch, GRAMMAR_MASK_MS_MAX).unref();
  }

  #drop(live: LiveMatcher): void {
    if (!this.#matchers.delete(live.id)) return;
    this.#thread?.postMessage({ kind: 'close', matcher: live.id } satisfies GrammarRequest);
    this.#wake();
  }

  #fail(live: LiveMatcher, error: NibbleError): void {
    if (!this.#matchers.has(live.id)) return;
    this.#drop(live);
    live.events.onError(error);
  }

  #start(): Worker {
    const { metadata, endIds, vocabSize } = this.#options;
    const control = this.#control;
    control[AT_MATCHER] = 0;
    const workerData: GrammarThreadData = { metadata: packMetadata(metadata), endIds: [...endIds], vocabSize, control };
    const thread = startThread(import.meta.url, './grammar-main', { name: 'nibble-grammar', workerData });
    const onDeath = (what: string): void => {
      if (this.#thread === thread) this.#lost(`the grammar engine gave up on it (${what.slice(0, 200)})`);
    };
    thread.on('message', (answer: GrammarAnswer) => {
      if (this.#thread === thread) this.#take(answer);
    });
    thread.on('error', (error) => onDeath(messageOf(error)));
    thread.on('exit', (code) => onDeath(`exit code ${code}`));
    return thread;
  }

  #take(answer: GrammarAnswer): void {
    if (answer.kind === 'ready') {
      this.#isReady = true;
      this.#cpuFile = answer.cpuFile;
      this.#looked = this.#look();
    } else if (answer.kind === 'ended') {
      const live = this.#matchers.get(answer.matcher);
      if (live === undefined) return;
      if (answer.message === null) live.events.onFinished();
      else this.#fail(live, constraintError(new ConstraintError(answer.message)));
    } else {
      this.#takeAnswer(answer);
    }
  }

  #takeAnswer(answer: Extract<GrammarAnswer, { kind: 'done' | 'refused' }>): void {
    const job = this.#jobs.shift();
    if (this.#jobs.length === 0) this.#thread?.unref();
    if (job === undefined) return;
    const refusal =
      answer.kind === 'refused' ? constraintError(new ConstraintError(answer.message, answer.isTooComplex)) : null;
    if (job.kind === 'compile') job.settle(refusal);
    else if (refusal !== null) this.#fail(job.live, refusal);
    else if (job.kind === 'ask' && this.#matchers.has(job.live.id)) job.live.events.onMask();
  }

  #look(): Look {
    return { progress: Atomics.load(this.#control, PROGRESS), atMs: performance.now(), cpuMs: this.#cpuMs() };
  }

  /** Whether the thread owes an answer or a mask. */
  get #isBusy(): boolean {
    if (this.#jobs.length > 0) return true;
    for (const { mask, tokens } of this.#matchers.values()) if (maskAt(mask, tokens.length) === null) return true;
    return false;
  }

  /** Runs only while there is work; a busy event loop must not take its own lateness for the thread's. */
  readonly #watch = (): void => {
    this.#timer = null;
    if (!this.#isBusy) return;
    const limitMs = this.#limitMs;
    const now = this.#look();
    if (now.progress !== this.#looked.progress) this.#looked = now;
    const leftMs = this.#leftMs(now, limitMs);
    if (leftMs > 0) {
      this.#timer = setTimeout(this.#watch, leftMs).unref();
      return;
    }
    setImmediate(() => {
      const hasMoved = this.#look().progress !== this.#looked.progress;
      if (!hasMoved && this.#isBusy) this.#lost(`it takes more than ${limitMs / 1000} s`);
      else this.#timer ??= setTimeout(this.#watch, GRAMMAR_MASK_MS_MAX).unref();
    });
  };

  /** On a busy machine a job may take longer, as long as it hasn't had a CPU for half of its time. */
  #leftMs({ atMs, cpuMs }: Look, limitMs: number): number {
    const ranMs = atMs - this.#looked.atMs;
    if (ranMs < limitMs) return limitMs - ranMs;
    const before = this.#looked.cpuMs;
    const wasIdle = cpuMs !== null && before !== null && cpuMs - before < limitMs / 2;
    return wasIdle && ranMs < GRAMMAR_BUSY_FACTOR * limitMs ? limitMs / 2 : 0;
  }

  #cpuMs(): number | null {
    if (this.#cpuFile === null) return null;
    try {
      return Number(readFileSync(this.#cpuFile, 'utf8').split(' ')[0]) / 1e6;
    } catch {
      return null;
    }
  }

  /** How long the thread may take for what it is at. */
  get #limitMs(): number {
    if (!this.#isReady) return GRAMMAR_START_MS_MAX;
    return this.#control[AT_MATCHER] === 0 ? GRAMMAR_COMPILE_MS_MAX : GRAMMAR_MASK_MS_MAX;
  }

  #forget(): Worker | null {
    const thread = this.#thread;
    this.#thread = null;
    this.#isReady = false;
    this.#cpuFile = null;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    return thread;
  }

  /** The thread is of no use any more. What it was at is to blame; the others start again. */
  #lost(why: string): void {
    const wasReady = this.#isReady;
    const culprit = this.#matchers.get(this.#control[AT_MATCHER] ?? 0);
    void this.#forget()?.terminate();
    const jobs = this.#jobs.splice(0);
    const message = `The constraint can't be used: ${why}. Simplify it.`;
    const error = wasReady
      ? new NibbleError('constraint_too_complex', { message })
      : new NibbleError('engine_failed', { message: `the grammar's thread didn't start: ${why}` });
    if (culprit !== undefined) this.#fail(culprit, error);
    const blamed = wasReady ? jobs.splice(0, culprit === undefined ? 1 : 0) : jobs.splice(0);
    for (const job of blamed) {
      if (job.kind === 'compile') job.settle(error);
      else this.#fail(job.live, error);
    }
    for (const live of this.#matchers.values()) this.#sendOpen(live);
    for (const job of jobs) {
      if (job.kind === 'compile') this.#send(job, { kind: 'compile', constraint: job.constraint });
      else if (job.kind === 'ask') this.#send(job, { kind: 'ask', matcher: job.live.id });
    }
  }
}

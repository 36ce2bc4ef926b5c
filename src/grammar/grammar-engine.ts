import { readFileSync } from 'node:fs';
import type { Worker } from 'node:worker_threads';
import { NibbleError } from '../errors.js';
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
import type { GrammarAnswer, GrammarRequest, GrammarThreadData } from './messages.js';
import { checkSize } from './source.js';
import { type Constraint, ConstraintError } from './types.js';

export type MatcherEvents = {
  /** The tokens allowed at `position` of the generated ones. Once per position, in order. */
  onMask(position: number, mask: Int32Array): void;
  /** Everything has been said: no token but the end can follow. */
  onFinished(): void;
  onError(error: NibbleError): void;
};

/** Follows one generated text. */
export interface Matcher {
  /** Tells the token sampled at the next position. */
  accept(token: number): void;
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
  | { readonly kind: 'open' | 'accept'; readonly live: LiveMatcher; readonly position: number };

type LiveMatcher = {
  readonly id: number;
  readonly constraint: Constraint;
  readonly endsFrom: number;
  readonly events: MatcherEvents;
  readonly tokens: number[];
};

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
 * answers with the mask of the next. A constraint that takes too long, or breaks the engine within, ends the thread;
 * its own request fails, all others go on in a new thread, which is told their tokens again.
 */
export class GrammarEngine implements ConstraintEngine {
  readonly #options: GrammarEngineOptions;
  #thread: Worker | null = null;
  #isReady = false;
  #isClosed = false;
  /** Answers come in this order. */
  readonly #jobs: Job[] = [];
  #compiling = 0;
  /** Since when the first job has been worked on, ms. */
  #sinceMs = 0;
  #timer: NodeJS.Timeout | null = null;
  #cpuFile: string | null = null;
  /** What the thread had used of a CPU when the job was first looked at, ms; null: unknown. */
  #looked: { readonly job: Job; readonly cpuMs: number | null } | null = null;
  readonly #matchers = new Set<LiveMatcher>();
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
    const live: LiveMatcher = { id: ++this.#lastId, constraint, endsFrom, events, tokens: [] };
    this.#matchers.add(live);
    this.#sendOpen(live);
    return {
      accept: (token) => {
        if (!this.#matchers.has(live)) return;
        live.tokens.push(token);
        const job: Job = { kind: 'accept', live, position: live.tokens.length };
        this.#send(job, { kind: 'accept', matcher: live.id, token });
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
    for (const live of [...this.#matchers]) this.#fail(live, error);
    await thread?.terminate();
  }

  #sendOpen(live: LiveMatcher): void {
    const { id: matcher, constraint, endsFrom } = live;
    const tokens = Int32Array.from(live.tokens);
    this.#send(
      { kind: 'open', live, position: tokens.length },
      { kind: 'open', matcher, constraint, tokens, endsFrom },
    );
  }

  #send(job: Job, request: GrammarRequest): void {
    this.#thread ??= this.#start();
    this.#thread.ref();
    if (this.#jobs.push(job) === 1) this.#sinceMs = performance.now();
    this.#thread.postMessage(request);
    this.#timer ??= setTimeout(this.#watch, GRAMMAR_MASK_MS_MAX);
  }

  #drop(live: LiveMatcher): void {
    if (this.#matchers.delete(live))
      this.#thread?.postMessage({ kind: 'close', matcher: live.id } satisfies GrammarRequest);
  }

  #fail(live: LiveMatcher, error: NibbleError): void {
    if (!this.#matchers.has(live)) return;
    this.#drop(live);
    live.events.onError(error);
  }

  #start(): Worker {
    const { metadata, endIds, vocabSize } = this.#options;
    const workerData: GrammarThreadData = { metadata: packMetadata(metadata), endIds: [...endIds], vocabSize };
    const thread = startThread(import.meta.url, './grammar-main', { name: 'nibble-grammar', workerData });
    const onDeath = (what: string): void => {
      if (this.#thread === thread) this.#lost(`the grammar engine gave up on it (${what.slice(0, 200)})`);
    };
    thread.on('message', (answer: GrammarAnswer) => {
      if (this.#thread === thread) this.#take(answer);
    });
    thread.on('error', (error) => onDeath(error instanceof Error ? error.message : String(error)));
    thread.on('exit', (code) => onDeath(`exit code ${code}`));
    return thread;
  }

  #take(answer: GrammarAnswer): void {
    this.#sinceMs = performance.now();
    if (answer.kind === 'ready') {
      this.#isReady = true;
      this.#cpuFile = answer.cpuFile;
      return;
    }
    const job = this.#jobs.shift();
    if (this.#jobs.length === 0) this.#thread?.unref();
    if (job === undefined) return;
    const refusal =
      answer.kind === 'refused' ? constraintError(new ConstraintError(answer.message, answer.isTooComplex)) : null;
    if (job.kind === 'compile') {
      job.settle(refusal);
      return;
    }
    const { live, position } = job;
    if (!this.#matchers.has(live)) return;
    if (refusal !== null) this.#fail(live, refusal);
    else if (answer.kind === 'mask') live.events.onMask(position, answer.mask);
    else live.events.onFinished();
  }

  /** Runs only while there is work; a busy event loop must not take its own lateness for the thread's. */
  readonly #watch = (): void => {
    this.#timer = null;
    const [job] = this.#jobs;
    if (job === undefined) return;
    const limitMs = this.#limitMs(job);
    const leftMs = this.#leftMs(job, limitMs);
    if (leftMs > 0) {
      this.#timer = setTimeout(this.#watch, leftMs);
      return;
    }
    setImmediate(() => {
      if (job === this.#jobs[0]) this.#lost(`it takes more than ${limitMs / 1000} s`);
      else if (this.#jobs.length > 0) this.#timer ??= setTimeout(this.#watch, GRAMMAR_MASK_MS_MAX);
    });
  };

  /** On a busy machine a job may take longer, as long as it hasn't had a CPU for half of its time. */
  #leftMs(job: Job, limitMs: number): number {
    const cpuMs = this.#cpuMs();
    if (this.#looked?.job !== job) this.#looked = { job, cpuMs };
    const ranMs = performance.now() - this.#sinceMs;
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

  #limitMs(job: Job): number {
    if (!this.#isReady) return GRAMMAR_START_MS_MAX;
    return job.kind === 'accept' ? GRAMMAR_MASK_MS_MAX : GRAMMAR_COMPILE_MS_MAX;
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

  /** The thread is of no use any more. The job it was at is to blame; the others start again. */
  #lost(why: string): void {
    const wasReady = this.#isReady;
    void this.#forget()?.terminate();
    const jobs = this.#jobs.splice(0);
    const blamed = wasReady ? jobs.splice(0, 1) : jobs.splice(0);
    for (const job of blamed) {
      const message = `The constraint can't be used: ${why}. Simplify it.`;
      const error = wasReady
        ? new NibbleError('constraint_too_complex', { message })
        : new NibbleError('engine_failed', { message: `the grammar's thread didn't start: ${why}` });
      if (job.kind === 'compile') job.settle(error);
      else this.#fail(job.live, error);
    }
    for (const job of jobs) {
      if (job.kind === 'compile') this.#send(job, { kind: 'compile', constraint: job.constraint });
    }
    for (const live of this.#matchers) this.#sendOpen(live);
  }
}

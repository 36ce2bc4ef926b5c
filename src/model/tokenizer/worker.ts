/** Tokenization off the event loop: a long prompt takes seconds, during which `/health` must still answer. */
import type { Worker } from 'node:worker_threads';
import { messageOf, NibbleError } from '../../errors.js';
import { TOKENIZER_WAITING_CHARS_MAX, TOKENIZER_WAITING_MAX } from '../../limits.js';
import { startThread } from '../../worker-thread.js';
import type { EncodeOptions, TokenizerMetadata } from '../types.js';
import { packMetadata, type WorkerAnswer, type WorkerRequest } from './worker-messages.js';

type Job = {
  readonly chars: number;
  readonly resolve: (ids: Int32Array) => void;
  readonly reject: (error: Error) => void;
};

const WORKER_NAME = 'nibble-tokenizer';

/**
 * One worker thread with its own tokenizer, started at the first call and kept. An idle worker doesn't keep the
 * process alive; one at work does.
 */
export class TokenizerWorker {
  readonly #metadata: TokenizerMetadata;
  #worker: Worker | null = null;
  readonly #jobs = new Map<number, Job>();
  #waitingChars = 0;
  #lastJob = 0;
  #closed = false;

  constructor(metadata: TokenizerMetadata) {
    this.#metadata = metadata;
  }

  /**
   * As `Tokenizer.encode`. Rejects with `queue_full` when too many texts wait, `draining` after `close`, and
   * `engine_failed` if the thread dies (the next call starts another) or can't tokenize.
   */
  encode(text: string, options: EncodeOptions): Promise<Int32Array> {
    if (this.#closed) return Promise.reject(new NibbleError('draining', {}));
    const waiting = this.#jobs.size;
    const isFull = waiting >= TOKENIZER_WAITING_MAX || this.#waitingChars + text.length > TOKENIZER_WAITING_CHARS_MAX;
    if (waiting > 0 && isFull) {
      return Promise.reject(new NibbleError('queue_full', { waiting }, { retryAfterSeconds: 1 }));
    }
    return new Promise((resolve, reject) => {
      this.#worker ??= this.#start();
      const job = ++this.#lastJob;
      this.#jobs.set(job, { chars: text.length, resolve, reject });
      this.#waitingChars += text.length;
      this.#worker.ref();
      const request: WorkerRequest = { job, text, options };
      this.#worker.postMessage(request);
    });
  }

  /** Ends the thread; texts still waiting are rejected with `draining`. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    const worker = this.#worker;
    this.#worker = null;
    this.#failAll(new NibbleError('draining', {}));
    await worker?.terminate();
  }

  #start(): Worker {
    const worker = startThread(import.meta.url, './worker-main', {
      name: WORKER_NAME,
      workerData: packMetadata(this.#metadata),
    });
    worker.on('message', (answer: WorkerAnswer) => this.#finish(answer));
    const onDeath = (message: string) => {
      if (this.#worker !== worker) return;
      this.#worker = null;
      this.#failAll(new NibbleError('engine_failed', { message: `the tokenizer's thread ended: ${message}` }));
    };
    worker.on('error', (error) => onDeath(messageOf(error)));
    worker.on('exit', (code) => onDeath(`exit code ${code}`));
    return worker;
  }

  #finish(answer: WorkerAnswer): void {
    const job = this.#jobs.get(answer.job);
    if (job === undefined) return;
    this.#jobs.delete(answer.job);
    this.#waitingChars -= job.chars;
    if (this.#jobs.size === 0) this.#worker?.unref();
    if (answer.kind === 'ids') job.resolve(answer.ids);
    else job.reject(new NibbleError('engine_failed', { message: `tokenization: ${answer.message}` }));
  }

  #failAll(error: NibbleError): void {
    const jobs = [...this.#jobs.values()];
    this.#jobs.clear();
    this.#waitingChars = 0;
    for (const job of jobs) job.reject(error);
  }
}

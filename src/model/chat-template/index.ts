/**
 * The chat template of a model file, a Jinja program by whoever made the file. It runs in a thread of its own, with an
 * empty environment and bounds on time, memory and output; the interpreter gives it values and no way out of them.
 */
import type { Worker } from 'node:worker_threads';
import { messageOf, NibbleError } from '../../errors.js';
import {
  CHAT_PROMPT_CHARS_MAX,
  CHAT_TEMPLATE_HEAP_MB_MAX,
  CHAT_TEMPLATE_MS_MAX,
  CHAT_TEMPLATE_WAITING_MAX,
} from '../../limits.js';
import { startThread } from '../../worker-thread.js';
import type { TemplateAnswer, TemplateSource } from './messages.js';

type Variables = Readonly<Record<string, unknown>>;
type Job = {
  readonly variables: Variables;
  readonly resolve: (text: string) => void;
  readonly reject: (error: Error) => void;
};

const failed = (message: string) => new NibbleError('chat_template_failed', { message }, { param: 'messages' });

/**
 * Renders conversations, one at a time. The thread starts with the first one and is kept; after a template that ran
 * out of time or memory the next conversation gets a new thread. Idle, it doesn't keep the process alive.
 */
export class ChatTemplate {
  readonly source: string;
  readonly #data: TemplateSource;
  readonly #msMax: number;
  readonly #waiting: Job[] = [];
  #worker: Worker | null = null;
  #current: Job | null = null;
  #deadline: NodeJS.Timeout | undefined;
  #closed = false;

  /** `constants` are variables of every rendering (`bos_token`, `eos_token`); requests can't replace them. */
  constructor(source: string, constants: Readonly<Record<string, string>>, msMax = CHAT_TEMPLATE_MS_MAX) {
    this.source = source;
    this.#data = { source, constants, charsMax: CHAT_PROMPT_CHARS_MAX };
    this.#msMax = msMax;
  }

  /**
   * The prompt for these variables (`messages`, `tools`, `add_generation_prompt`, …). Rejects with
   * `chat_template_failed` if the template refuses them or exceeds a bound, `queue_full`, and `draining` after `close`.
   */
  render(variables: Variables): Promise<string> {
    if (this.#closed) return Promise.reject(new NibbleError('draining', {}));
    const waiting = this.#waiting.length;
    if (waiting >= CHAT_TEMPLATE_WAITING_MAX) {
      return Promise.reject(new NibbleError('queue_full', { waiting }, { retryAfterSeconds: 1 }));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ variables, resolve, reject });
      this.#next();
    });
  }

  /** Ends the thread; conversations that wait are rejected with `draining`. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    const jobs = [...(this.#current === null ? [] : [this.#current]), ...this.#waiting.splice(0)];
    const worker = this.#drop();
    for (const job of jobs) job.reject(new NibbleError('draining', {}));
    await worker?.terminate();
  }

  #next(): void {
    if (this.#current !== null) return;
    const job = this.#waiting.shift();
    if (job === undefined) {
      this.#worker?.unref();
      return;
    }
    this.#current = job;
    // The first job of a thread has to wait for the thread, which isn't the template's time.
    if (this.#worker === null) this.#worker = this.#start();
    else this.#watch();
    this.#worker.ref();
    this.#worker.postMessage(job.variables);
  }

  #watch(): void {
    this.#deadline = setTimeout(() => this.#fail(`it takes more than ${this.#msMax} ms`), this.#msMax);
  }

  #start(): Worker {
    const worker = startThread(import.meta.url, './template-main', {
      name: 'nibble-chat-template',
      workerData: this.#data,
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: CHAT_TEMPLATE_HEAP_MB_MAX },
    });
    worker.on('message', (answer: TemplateAnswer) => {
      if (this.#worker === worker) this.#finish(answer);
    });
    const onDeath = (message: string) => {
      if (this.#worker === worker) this.#fail(`its thread ended: ${message}`);
    };
    worker.on('error', (error) => onDeath(messageOf(error)));
    worker.on('exit', (code) => onDeath(`exit code ${code}`));
    return worker;
  }

  #finish(answer: TemplateAnswer): void {
    if (answer.kind === 'ready') {
      this.#watch();
      return;
    }
    clearTimeout(this.#deadline);
    const job = this.#current;
    this.#current = null;
    if (answer.kind === 'text') job?.resolve(answer.text);
    else job?.reject(failed(answer.message));
    this.#next();
  }

  /** Ends the thread, and the conversation that it worked on. */
  #fail(message: string): void {
    const job = this.#current;
    void this.#drop()?.terminate();
    job?.reject(failed(message));
    this.#next();
  }

  #drop(): Worker | null {
    clearTimeout(this.#deadline);
    const worker = this.#worker;
    this.#worker = null;
    this.#current = null;
    return worker;
  }
}

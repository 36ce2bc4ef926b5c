/** The server's side of the ledger: takes rows, answers reports, and never makes a request wait or fail. */
import type { Worker } from 'node:worker_threads';
import { messageOf, NibbleError } from '../../errors.js';
import { LEDGER_CLOSE_MS, LEDGER_REPORTS_WAITING_MAX, LEDGER_RETRY_MS, LEDGER_ROWS_WAITING_MAX } from '../../limits.js';
import { startThread } from '../../worker-thread.js';
import type { LedgerAnswer, LedgerRequest, LedgerThreadData } from './messages.js';
import type { LedgerRow, Report, ReportQuery } from './types.js';

export type LedgerEvents = {
  /** Rows can't be written, and are kept as long as there is room. Told once until it works again. */
  readonly onTrouble: (message: string) => void;
  readonly onRecovered: () => void;
  /** A damaged file was moved there, and a new one begun. */
  readonly onSetAside: (path: string) => void;
};

export type LedgerOptions = {
  readonly data: LedgerThreadData;
  readonly events: LedgerEvents;
  readonly retryMs?: number;
  readonly rowsMax?: number;
};

type Job =
  | { readonly kind: 'write'; readonly rows: ReadonlyMap<number, LedgerRow> }
  | { readonly kind: 'report'; readonly settle: (answer: Report | NibbleError) => void }
  | { readonly kind: 'close'; readonly settle: () => void };

export class Ledger {
  /** Rows committed (each as often as it grew), rows given up for want of room, and failed attempts. */
  readonly counts = { written: 0, lost: 0, failures: 0 };
  readonly #options: LedgerOptions;
  readonly #retryMs: number;
  readonly #rowsMax: number;
  /** By number: a later version of a row replaces the earlier one. */
  readonly #waiting = new Map<number, LedgerRow>();
  readonly #jobs: Job[] = [];
  #worker: Worker | null = null;
  #isWriting = false;
  #retryTimer: NodeJS.Timeout | null = null;
  #isTroubled = false;
  #isClosed = false;

  constructor(options: LedgerOptions) {
    this.#options = options;
    this.#retryMs = options.retryMs ?? LEDGER_RETRY_MS;
    this.#rowsMax = options.rowsMax ?? LEDGER_ROWS_WAITING_MAX;
    // So that a file that can't be used is told of at the start, and not with the first request.
    this.#send();
  }

  /** Whether the last attempt to write was good. */
  get isUp(): boolean {
    return !this.#isTroubled;
  }

  get waitingRows(): number {
    return this.#waiting.size;
  }

  write(rows: readonly LedgerRow[]): void {
    for (const row of rows) this.#keep(row);
    this.#pump();
  }

  /** Of everything that was given to `write` before. Rejects with `queue_full` or `ledger_unavailable`. */
  report(query: ReportQuery): Promise<Report> {
    const waiting = this.#jobs.filter(({ kind }) => kind === 'report').length;
    if (waiting >= LEDGER_REPORTS_WAITING_MAX) {
      return Promise.reject(new NibbleError('queue_full', { waiting }, { retryAfterSeconds: 1 }));
    }
    if (this.#waiting.size > 0 && this.#retryTimer === null) this.#send();
    return new Promise((resolve, reject) => {
      const settle = (answer: Report | NibbleError) =>
        answer instanceof NibbleError ? reject(answer) : resolve(answer);
      this.#post({ kind: 'report', settle }, { kind: 'report', query });
    });
  }

  /** Writes what waits and closes the file, for as long as that is worth waiting for. */
  async close(): Promise<void> {
    this.#stopRetrying();
    this.#isWriting = false;
    this.#pump();
    this.#isClosed = true;
    const worker = this.#worker;
    if (worker === null) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, LEDGER_CLOSE_MS);
    });
    const closed = new Promise<void>((resolve) => this.#post({ kind: 'close', settle: resolve }, { kind: 'close' }));
    await Promise.race([closed, late]);
    clearTimeout(timer);
    await worker.terminate();
  }

  #keep(row: LedgerRow): void {
    if (!this.#waiting.has(row.number) && this.#waiting.size >= this.#rowsMax) {
      const [oldest = row.number] = this.#waiting.keys();
      this.#waiting.delete(oldest);
      this.counts.lost += 1;
    }
    this.#waiting.set(row.number, row);
  }

  #pump(): void {
    if (this.#isWriting || this.#isClosed || this.#retryTimer !== null || this.#waiting.size === 0) return;
    this.#send();
  }

  #send(): void {
    this.#isWriting = true;
    const rows = new Map(this.#waiting);
    this.#waiting.clear();
    this.#post({ kind: 'write', rows }, { kind: 'write', rows: [...rows.values()] });
  }

  #post(job: Job, request: LedgerRequest): void {
    this.#worker ??= this.#start();
    this.#jobs.push(job);
    this.#worker.postMessage(request);
  }

  #start(): Worker {
    const workerData = this.#options.data;
    const worker = startThread(import.meta.url, './ledger-main', { name: 'nibble-ledger', workerData });
    // It must not keep the process alive.
    worker.unref();
    const died = (what: string): void => {
      if (this.#worker !== worker) return;
      this.#worker = null;
      for (const job of this.#jobs.splice(0)) this.#take(job, { kind: 'failed', message: what });
    };
    worker.on('message', (answer: LedgerAnswer) => {
      const job = this.#worker === worker ? this.#jobs.shift() : undefined;
      if (job !== undefined) this.#take(job, answer);
    });
    worker.on('error', (error) => died(messageOf(error)));
    worker.on('exit', (code) => died(`the ledger's thread ended with code ${code}`));
    return worker;
  }

  #take(job: Job, answer: LedgerAnswer): void {
    switch (job.kind) {
      case 'write':
        this.#isWriting = false;
        if (answer.kind === 'written') this.#written(job.rows.size, answer.setAside);
        else this.#failed(job.rows, answer.kind === 'failed' ? answer.message : 'the thread gave another answer');
        return;
      case 'report':
        if (answer.kind === 'report') job.settle(answer.report);
        else job.settle(new NibbleError('ledger_unavailable', {}, { retryAfterSeconds: 5 }));
        return;
      case 'close':
        job.settle();
        return;
      default:
        job satisfies never;
    }
  }

  #written(count: number, setAside: string | null): void {
    this.counts.written += count;
    if (setAside !== null) this.#options.events.onSetAside(setAside);
    if (this.#isTroubled) this.#options.events.onRecovered();
    this.#isTroubled = false;
    this.#pump();
  }

  #failed(rows: ReadonlyMap<number, LedgerRow>, message: string): void {
    this.counts.failures += 1;
    const newer = new Map(this.#waiting);
    this.#waiting.clear();
    for (const row of [...rows.values(), ...newer.values()]) this.#keep(row);
    if (!this.#isTroubled) this.#options.events.onTrouble(message);
    this.#isTroubled = true;
    if (this.#isClosed) return;
    this.#retryTimer = setTimeout(() => {
      this.#stopRetrying();
      this.#send();
    }, this.#retryMs).unref();
  }

  #stopRetrying(): void {
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
  }
}

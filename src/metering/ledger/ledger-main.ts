/** The ledger's thread: the disk may be slow, full or broken, and no request notices. */
import { parentPort, workerData } from 'node:worker_threads';
import { messageOf } from '../../errors.js';
import type { LedgerAnswer, LedgerRequest, LedgerThreadData } from './messages.js';
import { report } from './report.js';
import { LedgerError, LedgerStore, setAside } from './store.js';
import type { LedgerRow } from './types.js';

const PRUNE_MS = 3_600_000;
const DAY_MS = 86_400_000;

const data = workerData as LedgerThreadData;
let store: LedgerStore | null = null;

function opened(): LedgerStore {
  store ??= new LedgerStore(data);
  return store;
}

function isCorrupt(error: unknown): boolean {
  return error instanceof LedgerError && error.fault === 'corrupt';
}

/** A damaged file is kept for whoever can mend it; the books go on in a new one. Returns where the old one is. */
function beginAnew(): string {
  store?.close();
  store = null;
  return setAside(data.path, Date.now());
}

function write(rows: readonly LedgerRow[]): string | null {
  try {
    opened().write(rows);
    return null;
  } catch (error) {
    if (!isCorrupt(error)) throw error;
    const aside = beginAnew();
    opened().write(rows);
    return aside;
  }
}

function answer(request: LedgerRequest): LedgerAnswer {
  switch (request.kind) {
    case 'write':
      return { kind: 'written', setAside: write(request.rows) };
    case 'report':
      return { kind: 'report', report: report(opened().database, request.query) };
    case 'close':
      store?.close();
      parentPort?.unref();
      return { kind: 'closed' };
    default:
      return request satisfies never;
  }
}

/** Old rows go in small parts, between which rows and reports have their turn. */
function prune(): void {
  let hasMore = false;
  try {
    hasMore = opened().prune(Date.now() - data.keptDays * DAY_MS);
  } catch {
    // Whoever writes next tells what is wrong.
  }
  setTimeout(prune, hasMore ? 0 : PRUNE_MS).unref();
}

parentPort?.on('message', (request: LedgerRequest) => {
  let reply: LedgerAnswer;
  try {
    reply = answer(request);
  } catch (error) {
    reply = { kind: 'failed', message: messageOf(error) };
  }
  parentPort?.postMessage(reply);
});
setTimeout(prune, 0);

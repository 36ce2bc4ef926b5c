/** The ledger's file: opens, writes, prunes. Everything here blocks, so the server uses it on a thread of its own. */
import { closeSync, openSync, readSync, renameSync } from 'node:fs';
// A native package: it stays outside the bundle, and only the ledger's thread and its export load it.
import Database from 'libsql';
import { messageOf } from '../../errors.js';
import { APPLICATION_ID, SCHEMA, SCHEMA_VERSION, UPSERT } from './schema.js';
import type { LedgerRow } from './types.js';

/** `foreign`: it is there, but no ledger of ours; `corrupt`: it was one. */
export type LedgerFault = 'foreign' | 'newer' | 'corrupt' | 'failed';

export class LedgerError extends Error {
  readonly fault: LedgerFault;

  constructor(fault: LedgerFault, message: string, cause?: unknown) {
    super(message, { cause });
    this.fault = fault;
  }
}

/** Longest wait for another process that writes, ms. */
const BUSY_MS = 2000;
/** Rows deleted at once: a report or a batch of rows waits for no longer than this takes. */
const PRUNED_ROWS = 5000;

const headerBytes = 100;
const applicationIdAt = 68;

/** Refuses a file that is something else before SQLite writes to it. Absent and empty files are fine. */
function checkHeader(path: string): void {
  const header = Buffer.alloc(headerBytes);
  let length: number;
  try {
    const file = openSync(path, 'r');
    try {
      length = readSync(file, header, 0, headerBytes, 0);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return;
    throw new LedgerError('failed', messageOf(error), error);
  }
  const isOurs = header.readUInt32BE(applicationIdAt) === APPLICATION_ID;
  // A database that was made, but not filled before the power went: nothing is in it yet.
  const isNew = length === 0 || (header.toString('latin1', 0, 15) === 'SQLite format 3' && isUntouched(header));
  if (!isOurs && !isNew) throw new LedgerError('foreign', `${path} is not a ledger`);
}

/** No tables, no marks: user version, application id and size in pages tell. */
function isUntouched(header: Buffer): boolean {
  return header.readUInt32BE(applicationIdAt) === 0 && header.readUInt32BE(60) === 0 && header.readUInt32BE(28) <= 1;
}

function faultOf(error: unknown): LedgerError {
  if (error instanceof LedgerError) return error;
  const message = messageOf(error);
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const isCorrupt = code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB';
  return new LedgerError(isCorrupt ? 'corrupt' : 'failed', code === '' ? message : `${code}: ${message}`, error);
}

/** Runs what uses the database; its errors as ours. */
export function attempt<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw faultOf(error);
  }
}

/** Opens a ledger, or makes one. Throws a LedgerError. */
export function openDatabase(path: string, readonly: boolean): Database.Database {
  checkHeader(path);
  return attempt(() => {
    const database = new Database(path, { readonly, timeout: BUSY_MS });
    try {
      if (!readonly) prepare(database);
      else if (versionOf(database) !== SCHEMA_VERSION) throw new LedgerError('newer', `${path} has another version`);
      return database;
    } catch (error) {
      database.close();
      throw error;
    }
  });
}

function versionOf(database: Database.Database): unknown {
  const [version] = database.prepare('PRAGMA user_version').raw().get() as readonly unknown[];
  return version;
}

function prepare(database: Database.Database): void {
  // What was committed outlives the process; only a power cut can take the last seconds, and never the file.
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL');
  const version = versionOf(database);
  if (version === 0) database.exec(`BEGIN; ${SCHEMA} COMMIT;`);
  else if (version !== SCHEMA_VERSION) throw new LedgerError('newer', `the ledger has the version ${version}`);
}

/** Moves a damaged ledger out of the way; returns where it is now. */
export function setAside(path: string, nowMs: number): string {
  const aside = `${path}.corrupt-${new Date(nowMs).toISOString().replaceAll(':', '')}`;
  renameSync(path, aside);
  for (const part of ['-wal', '-shm']) {
    try {
      renameSync(`${path}${part}`, `${aside}${part}`);
    } catch {
      // It need not be there.
    }
  }
  return aside;
}

export type StoreOptions = {
  readonly path: string;
  /** Tells this start of the server from any other. */
  readonly run: number;
  /** The price file as JSON, and its currency; null: no prices. */
  readonly prices: { readonly currency: string; readonly content: string } | null;
};

/** One server's writing end. */
export class LedgerStore {
  readonly database: Database.Database;
  readonly #run: number;
  readonly #prices: number | null;
  readonly #upsert: Database.Statement;

  constructor({ path, run, prices }: StoreOptions) {
    const database = openDatabase(path, false);
    this.database = database;
    this.#run = run;
    try {
      this.#prices = prices === null ? null : attempt(() => pricesId(database, prices.currency, prices.content));
      attempt(() =>
        database.prepare(`UPDATE entries SET outcome = 'lost' WHERE outcome = 'running' AND run <> ?`).run([run]),
      );
      this.#upsert = database.prepare(UPSERT);
    } catch (error) {
      database.close();
      throw error;
    }
  }

  /** All rows or none. Throws a LedgerError. */
  write(rows: readonly LedgerRow[]): void {
    attempt(() => {
      this.database.exec('BEGIN IMMEDIATE');
      try {
        for (const row of rows) this.#upsert.run(valuesOf(row, this.#run, this.#prices));
        this.database.exec('COMMIT');
      } catch (error) {
        // SQLite has rolled some failures back by itself.
        if (this.database.inTransaction) this.database.exec('ROLLBACK');
        throw error;
      }
    });
  }

  /** Deletes some of the rows that began before; returns whether there may be more. */
  prune(beforeMs: number): boolean {
    const old = `SELECT run, number FROM entries WHERE started_ms < ? LIMIT ${PRUNED_ROWS}`;
    const { changes } = attempt(() =>
      this.database.prepare(`DELETE FROM entries WHERE (run, number) IN (${old})`).run([beforeMs]),
    );
    return changes === PRUNED_ROWS;
  }

  /** Leaves one file behind, if no other process has it open. */
  close(): void {
    try {
      this.database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    } catch {
      // What is committed is safe beside the file, too.
    }
    this.database.close();
  }
}

function pricesId(database: Database.Database, currency: string, content: string): number {
  database.prepare('INSERT OR IGNORE INTO prices (currency, content) VALUES (?, ?)').run([currency, content]);
  const [id] = database.prepare('SELECT id FROM prices WHERE content = ?').raw().get([content]) as readonly number[];
  return id ?? 0;
}

function valuesOf(row: LedgerRow, run: number, prices: number | null): unknown[] {
  return [
    ...[run, row.number, row.kind, Math.round(row.startedMs), row.endedMs === null ? null : Math.round(row.endedMs)],
    ...[row.outcome, row.key, row.model, row.recipe, prices],
    ...[row.promptTokens, row.cachedTokens, row.completionTokens],
    ...[row.prefillJoules, row.decodeJoules, row.idleJoules, row.tdpJoules, row.machineSeconds],
    ...[row.energyCost, row.hardwareCost, row.carbonGrams],
  ];
}

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { LedgerStore } from '../../src/metering/ledger/store.js';
import type { LedgerRow, ReportQuery } from '../../src/metering/ledger/types.js';

/** A folder that ends with the test. */
export function temporary(t: TestContext, file: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'nibble-ledger-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return join(folder, file);
}

/** A request of 3 J and 3 units of money, but for what is given. */
export function row(number: number, more: Partial<LedgerRow> = {}): LedgerRow {
  return {
    ...{ number, kind: 'request', startedMs: 1000 * number, endedMs: 1000 * number + 500, outcome: 'done' },
    ...{ key: 'alice', model: 'm', recipe: 'r', promptTokens: 10, cachedTokens: 4, completionTokens: 2 },
    ...{ prefillJoules: 1, decodeJoules: 2, idleJoules: 0, tdpJoules: 3, machineSeconds: 0.25 },
    ...{ energyCost: 1, hardwareCost: 2, carbonGrams: 8 },
    ...more,
  };
}

export const euros = { currency: 'EUR', content: '{"currency":"EUR"}' };

export function openStore(path: string, run = 1, prices: typeof euros | null = euros): LedgerStore {
  return new LedgerStore({ path, run, prices });
}

/** Everything, as whoever runs the server sees it. */
export const all: ReportQuery = { fromMs: 0, toMs: 1e15, key: null, groupBy: [], limit: 100, after: null };

/** What the server and the ledger's thread tell each other. Each request has one answer, in order. */
import type { StoreOptions } from './store.js';
import type { LedgerRow, Report, ReportQuery } from './types.js';

export type LedgerThreadData = StoreOptions & { readonly keptDays: number };

export type LedgerRequest =
  | { readonly kind: 'write'; readonly rows: readonly LedgerRow[] }
  | { readonly kind: 'report'; readonly query: ReportQuery }
  | { readonly kind: 'close' };

export type LedgerAnswer =
  /** `setAside`: a damaged file was moved there, and a new one begun. */
  | { readonly kind: 'written'; readonly setAside: string | null }
  | { readonly kind: 'report'; readonly report: Report }
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'closed' };

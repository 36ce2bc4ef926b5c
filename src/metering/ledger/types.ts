/** What the ledger holds, and what is asked of it. */
import type { Sums } from '../tally.js';

/** `idle`: a minute in which nothing ran; `own`: work of the server for no request, by the minute. */
export type RowKind = 'request' | 'idle' | 'own';

/** `lost`: the server died while it ran. */
export type Outcome = 'running' | 'done' | 'abort' | 'error' | 'lost';

export type LedgerRow = Sums & {
  /** Unique within one run of the server. */
  readonly number: number;
  readonly kind: RowKind;
  /** Milliseconds since 1970. */
  readonly startedMs: number;
  readonly endedMs: number | null;
  readonly outcome: Outcome;
  /** Name of the API key, of the model and of its recipe; empty where there is none. */
  readonly key: string;
  readonly model: string;
  readonly recipe: string;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
};

const GROUPS = ['key', 'model', 'recipe'] as const;
export type Group = (typeof GROUPS)[number];

export type ReportQuery = {
  /** Requests that began in [fromMs, toMs). */
  readonly fromMs: number;
  readonly toMs: number;
  /** Only those of this key; null: of all, and what was nobody's. */
  readonly key: string | null;
  readonly groupBy: readonly Group[];
  readonly limit: number;
  /** The values of the last line of the page before: its groups and its currency; null: the first page. */
  readonly after: readonly string[] | null;
};

/** Sums of the requests that share the values of `group`, in the order of `groupBy`. */
export type ReportLine = Sums & {
  readonly group: readonly string[];
  /** Empty where no prices were known. */
  readonly currency: string;
  readonly requests: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
};

export type Report = {
  /** By groups and currency, ascending. */
  readonly lines: readonly ReportLine[];
  readonly hasMore: boolean;
  /** What was nobody's, by currency; empty in the report of one key. */
  readonly idle: readonly ReportLine[];
  readonly own: readonly ReportLine[];
  /** Price files, as JSON, that the figures were worked out with. */
  readonly prices: readonly string[];
};

export type ExportRow = LedgerRow & {
  readonly run: number;
  readonly currency: string;
};

/** Keeps the books: what each request, each API key and the idle machine have cost, at the prices of the hour. */
import { CostAccount } from '../cost/attribution.js';
import { hourOfDay, type Prices, type Rates, ratesAt } from '../cost/price.js';
import { COST_KEYS_MAX } from '../limits.js';
import type { EnergyMonitor } from './energy-monitor.js';
import type { LedgerRow, Outcome, RowKind } from './ledger/types.js';
import { growthOf, joulesOf, nothing, type Reading, Tally } from './tally.js';

/** Whose request it is, and what answers it. */
export type Payer = {
  /** Name of the API key; empty where none is needed. */
  readonly key: string;
  readonly model: string;
  readonly recipe: string;
};

/** Tokens of a request; prompts count once, however many answers they have. */
export type TokenCounts = {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
};

/** What one API key has caused since the start. */
export type KeySums = { readonly tally: Tally; tokens: number; requests: number };

/** How often requests under way are entered again: what is lost when the process dies is younger than a second. */
const TICK_MS = 500;
/** Idle time is entered by the minute: it would wear flash memory out for nothing. */
const MINUTE_MS = 60_000;
/** Keys come and go with their file; those beyond the bound share one name. */
const OTHER_KEYS = 'other';

/** A row of the ledger in the making. */
class Line {
  readonly tally = new Tally();
  readonly startedMs: number;
  endedMs: number | null = null;
  outcome: Outcome = 'running';
  tokens: TokenCounts = { promptTokens: 0, cachedTokens: 0, completionTokens: 0 };
  isChanged = true;
  readonly #number: number;
  readonly #kind: RowKind;
  readonly #payer: Payer;

  constructor(number: number, kind: RowKind, payer: Payer, startedMs: number) {
    this.#number = number;
    this.#kind = kind;
    this.#payer = payer;
    this.startedMs = startedMs;
  }

  take(): LedgerRow {
    this.isChanged = false;
    const { startedMs, endedMs, outcome } = this;
    const what = { number: this.#number, kind: this.#kind, startedMs, endedMs, outcome };
    return { ...what, ...this.#payer, ...this.tokens, ...this.tally.copy() };
  }
}

/** A request in the books, from its submission until no step computes for it any more. */
export class CostEntry {
  readonly account: CostAccount;
  readonly line: Line;
  readonly key: KeySums;
  seen: Reading = nothing;
  /** At which settlement it was closed: the next one completes it. */
  closedAt: number | null = null;
  readonly #monitor: EnergyMonitor;
  readonly #now: () => number;

  constructor(account: CostAccount, line: Line, key: KeySums, monitor: EnergyMonitor, now: () => number) {
    this.account = account;
    this.line = line;
    this.key = key;
    this.#monitor = monitor;
    this.#now = now;
  }

  /** Tokens of its prompts: known before it ends, so that a request that is lost has them too. */
  expect(promptTokens: number): void {
    this.line.tokens = { ...this.line.tokens, promptTokens };
  }

  /** It never began: it is no request that cost anything. */
  cancel(): void {
    this.closedAt = -1;
    this.line.isChanged = false;
  }

  /** Its last step has returned. */
  close(outcome: Exclude<Outcome, 'running' | 'lost'>, tokens: TokenCounts): void {
    this.closedAt = this.#monitor.settlements;
    this.line.endedMs = this.#now();
    this.line.outcome = outcome;
    this.line.tokens = tokens;
    this.line.isChanged = true;
    this.key.requests += 1;
    this.key.tokens += tokens.promptTokens + tokens.completionTokens;
  }
}

const nobody: Payer = { key: '', model: '', recipe: '' };

export type CostBookOptions = {
  readonly monitor: EnergyMonitor;
  readonly prices: Prices | null;
  /** Takes rows as they grow; a row with the number of an earlier one replaces it. */
  readonly write?: (rows: readonly LedgerRow[]) => void;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
};

export class CostBook {
  readonly prices: Prices | null;
  /** Since the start: of requests, of steps that ran for none, and with nothing to do. */
  readonly requests = new Tally();
  readonly own = new Tally();
  readonly idle = new Tally();
  /** By name; at most COST_KEYS_MAX and one. */
  readonly keys = new Map<string, KeySums>();
  readonly #monitor: EnergyMonitor;
  readonly #write: (rows: readonly LedgerRow[]) => void;
  readonly #now: () => number;
  readonly #open = new Set<CostEntry>();
  readonly #entries = new WeakMap<CostAccount, CostEntry>();
  readonly #minutes = new Map<number, Line>();
  readonly #minuteTimer: NodeJS.Timeout;
  #ownSeen: Reading = nothing;
  #idleSeen: Reading = nothing;
  #tickTimer: NodeJS.Timeout | null = null;
  #lastNumber = 0;
  #rates: { readonly minute: number; readonly rates: Rates } | null = null;

  constructor({ monitor, prices, write = () => {}, now = Date.now }: CostBookOptions) {
    this.#monitor = monitor;
    this.prices = prices;
    this.#write = write;
    this.#now = now;
    monitor.onSettled = () => this.#advance();
    this.#minuteTimer = setInterval(() => this.tick(), MINUTE_MS);
    this.#minuteTimer.unref();
  }

  /** Begins a request. Its sequences carry `account` (a new one by default) until `cancel` or `close`. */
  begin(payer: Payer, account = new CostAccount()): CostEntry {
    this.#lastNumber += 1;
    const line = new Line(this.#lastNumber, 'request', payer, this.#now());
    const entry = new CostEntry(account, line, this.#keyOf(payer.key), this.#monitor, this.#now);
    this.#open.add(entry);
    this.#entries.set(account, entry);
    this.#tickTimer ??= setTimeout(this.#onTick, TICK_MS).unref();
    return entry;
  }

  /** Sums of the request with this account; null if there is none. */
  sumsOf(account: CostAccount): Tally | null {
    return this.#entries.get(account)?.line.tally ?? null;
  }

  /** Prices in force now; null if none are known. */
  rates(): Rates | null {
    if (this.prices === null) return null;
    const minute = Math.floor(this.#now() / MINUTE_MS);
    if (this.#rates?.minute !== minute) {
      this.#rates = { minute, rates: ratesAt(this.prices, hourOfDay(minute * MINUTE_MS, this.prices.timeZone)) };
    }
    return this.#rates.rates;
  }

  /** Enters everything up to now: for the ledger, and before figures are read. */
  tick(): void {
    this.#monitor.settle();
    const rows: LedgerRow[] = [];
    for (const entry of this.#open) {
      if (entry.line.isChanged) rows.push(entry.line.take());
      if (entry.closedAt !== null && entry.closedAt < this.#monitor.settlements) this.#open.delete(entry);
    }
    const current = Math.floor(this.#now() / MINUTE_MS);
    for (const [number, line] of this.#minutes) {
      if (line.isChanged) rows.push(line.take());
      if (line.startedMs < current * MINUTE_MS) this.#minutes.delete(number);
    }
    if (rows.length > 0) this.#write(rows);
  }

  /** The last entries. */
  close(): void {
    clearInterval(this.#minuteTimer);
    if (this.#tickTimer !== null) clearTimeout(this.#tickTimer);
    this.tick();
    this.#monitor.onSettled = null;
  }

  readonly #onTick = (): void => {
    this.#tickTimer = null;
    this.tick();
    if (this.#open.size > 0) this.#tickTimer = setTimeout(this.#onTick, TICK_MS).unref();
  };

  /** Accounts have grown: so do all sums that they are part of. */
  #advance(): void {
    const { source, own, idle } = this.#monitor;
    const rates = this.rates();
    for (const entry of this.#open) {
      const { prefillJoules, decodeJoules, machineSeconds } = entry.account;
      if (machineSeconds === entry.seen.machineSeconds) continue;
      const reading = { prefillJoules, decodeJoules, idleJoules: 0, machineSeconds };
      const growth = growthOf(reading, entry.seen);
      entry.seen = reading;
      entry.line.isChanged = true;
      for (const tally of [entry.line.tally, entry.key.tally, this.requests]) tally.add(growth, source, rates);
    }
    const { prefillJoules, decodeJoules, machineSeconds } = own;
    const ownReading = { prefillJoules, decodeJoules, idleJoules: 0, machineSeconds };
    const idleReading = { ...nothing, idleJoules: idle.joules, machineSeconds: idle.seconds };
    const grow = (kind: 'own' | 'idle', growth: Reading): void => {
      if (growth.machineSeconds === 0 && joulesOf(growth) === 0) return;
      this[kind].add(growth, source, rates);
      const line = this.#minute(kind);
      line.tally.add(growth, source, rates);
      line.isChanged = true;
    };
    grow('own', growthOf(ownReading, this.#ownSeen));
    grow('idle', growthOf(idleReading, this.#idleSeen));
    this.#ownSeen = ownReading;
    this.#idleSeen = idleReading;
  }

  /** The row of this minute. Its number is its own and negative; requests count up from 1. */
  #minute(kind: 'own' | 'idle'): Line {
    const minute = Math.floor(this.#now() / MINUTE_MS);
    const number = -(2 * minute + (kind === 'own' ? 1 : 0));
    const known = this.#minutes.get(number);
    if (known !== undefined) return known;
    const line = new Line(number, kind, nobody, minute * MINUTE_MS);
    line.endedMs = (minute + 1) * MINUTE_MS;
    line.outcome = 'done';
    this.#minutes.set(number, line);
    return line;
  }

  #keyOf(name: string): KeySums {
    const isKnown = this.keys.has(name) || this.keys.size < COST_KEYS_MAX;
    const label = isKnown ? name : OTHER_KEYS;
    const sums = this.keys.get(label) ?? { tally: new Tally(), tokens: 0, requests: 0 };
    this.keys.set(label, sums);
    return sums;
  }
}
